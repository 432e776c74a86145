//! The `wsrelay.*` options of a router, typed.
//!
//! The names are said once, in `read`; what is unknown or near to one is found against them.

use std::time::Duration;

use crate::diagnostics::Diagnostic;
use crate::fields::Fields;
use crate::origins::OriginPattern;
use crate::yaml::{Node, Plain};

/// How the WebSocket relay treats the connections of one router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayOptions {
    /// `wsrelay.allowed.origins`: allowed besides same-origin.
    pub allowed_origins: Vec<OriginPattern>,
    /// `wsrelay.max.message`: bytes of the largest client message.
    pub max_message: u64,
    /// `wsrelay.send.buffer`: bytes that may wait for one client.
    pub send_buffer: u64,
    /// `wsrelay.slow.policy`: what happens when more than that waits.
    pub slow_policy: SlowPolicy,
    /// `wsrelay.write.timeout`: how long writing may make no progress.
    pub write_timeout: Duration,
    /// `wsrelay.ping.interval`: the time between two Pings.
    pub ping_interval: Duration,
    /// `wsrelay.ping.timeout`: how long beyond the interval a client may be silent.
    pub ping_timeout: Duration,
    /// `wsrelay.compression`.
    pub compression: Compression,
    /// `wsrelay.max.connections`; `None` for no limit.
    pub max_connections: Option<u64>,
    /// `wsrelay.max.connections.per.ip`; `None` for no limit.
    pub max_connections_per_ip: Option<u64>,
    /// `wsrelay.rate.messages`: per connection and second; `None` for no limit.
    pub rate_messages: Option<u64>,
    /// `wsrelay.rate.bytes`: per connection and second; `None` for no limit.
    pub rate_bytes: Option<u64>,
    /// `wsrelay.subprotocols`: in order of preference.
    pub subprotocols: Vec<String>,
}

/// What happens to a client that does not read what is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowPolicy {
    /// It is closed with 1013.
    Close,
    /// What waits longest is dropped.
    DropOldest,
    /// What was to be sent is dropped.
    DropNewest,
}

/// Whether messages are compressed (permessage-deflate).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// They are not.
    #[default]
    Off,
    /// Each on its own.
    On,
    /// With the context of those before: smaller, for memory per connection.
    Takeover,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            max_message: 1 << 20,
            send_buffer: 1 << 20,
            slow_policy: SlowPolicy::Close,
            write_timeout: Duration::from_secs(30),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            compression: Compression::Off,
            max_connections: None,
            max_connections_per_ip: None,
            rate_messages: None,
            rate_bytes: None,
            subprotocols: Vec::new(),
        }
    }
}

/// Reads the options of the relay; everything else in the map is reported.
pub(crate) fn read(mut fields: Fields<'_>) -> RelayOptions {
    let default = RelayOptions::default();
    let policies = [
        ("close", SlowPolicy::Close),
        ("drop_oldest", SlowPolicy::DropOldest),
        ("drop_newest", SlowPolicy::DropNewest),
    ];
    let options = RelayOptions {
        allowed_origins: origins(&mut fields),
        max_message: fields.size("wsrelay.max.message").unwrap_or(default.max_message),
        send_buffer: fields.size("wsrelay.send.buffer").unwrap_or(default.send_buffer),
        slow_policy: fields.choice("wsrelay.slow.policy", &policies, default.slow_policy),
        write_timeout: fields.duration("wsrelay.write.timeout", default.write_timeout),
        ping_interval: fields.duration("wsrelay.ping.interval", default.ping_interval),
        ping_timeout: fields.duration("wsrelay.ping.timeout", default.ping_timeout),
        compression: compression(&mut fields),
        max_connections: fields.count("wsrelay.max.connections", 1),
        max_connections_per_ip: fields.count("wsrelay.max.connections.per.ip", 1),
        rate_messages: fields.count("wsrelay.rate.messages", 1),
        rate_bytes: fields.size("wsrelay.rate.bytes"),
        subprotocols: subprotocols(&mut fields),
    };
    fields.finish_as("option");
    options
}

fn origins(fields: &mut Fields<'_>) -> Vec<OriginPattern> {
    const NAME: &str = "wsrelay.allowed.origins";
    let Some(node) = fields.get(NAME) else { return Vec::new() };
    let mut patterns = Vec::new();
    for item in items(fields, NAME, node, "origins with commas between them, as one text") {
        match OriginPattern::parse(item) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => fields.refuse(NAME, node, &error.to_string()),
        }
    }
    if patterns.contains(&OriginPattern::Any) {
        let found = "every web page may connect: wsrelay.allowed.origins is *";
        fields.report(Diagnostic::warning(&node.place, found));
    }
    patterns
}

fn compression(fields: &mut Fields<'_>) -> Compression {
    const NAME: &str = "wsrelay.compression";
    let choices = [("off", Compression::Off), ("on", Compression::On), ("takeover", Compression::Takeover)];
    let Some(node) = fields.get(NAME) else { return Compression::Off };
    // Many YAML libraries write `on` and `off` as booleans.
    match node.plain() {
        Some(Plain::Bool(false)) => Compression::Off,
        Some(Plain::Bool(true)) => Compression::On,
        _ => fields.choice_of(NAME, node, &choices).unwrap_or(Compression::Off),
    }
}

fn subprotocols(fields: &mut Fields<'_>) -> Vec<String> {
    const NAME: &str = "wsrelay.subprotocols";
    let Some(node) = fields.get(NAME) else { return Vec::new() };
    let mut protocols: Vec<String> = Vec::new();
    for item in items(fields, NAME, node, "subprotocols with commas between them, as one text") {
        // A token of RFC 9110: anything else could not stand in the header.
        let token = item.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if !token {
            fields.refuse(NAME, node, &format!("\"{item}\" cannot be the name of a subprotocol"));
        } else if protocols.iter().any(|known| known == item) {
            fields.refuse(NAME, node, &format!("\"{item}\" stands twice"));
        } else {
            protocols.push(item.to_owned());
        }
    }
    protocols
}

/// The items of a comma-separated text; an empty item is a mistake and left out.
fn items<'a>(fields: &Fields<'a>, name: &str, node: &'a Node, expected: &str) -> Vec<&'a str> {
    let Some(text) = fields.text_of(name, node, expected) else { return Vec::new() };
    // A default of nothing, as in "${env:ORIGINS|}", is none at all.
    if text.trim().is_empty() {
        return Vec::new();
    }
    let items: Vec<&str> = text.split(',').map(str::trim).collect();
    if items.contains(&"") {
        fields.refuse(name, node, "there is nothing between two commas");
    }
    items.into_iter().filter(|item| !item.is_empty()).collect()
}
