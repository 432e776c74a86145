//! The `wsrelay.*` options: each with the contract's default, its type, and what is refused.

use std::time::Duration;

use manifest::{Compression, OriginPattern, RelayOptions, SlowPolicy};

use crate::folder::Folder;

/// A router with the relay and these options, the first of them in line 8.
fn with_options(options: &str) -> Folder {
    Folder::with_entries(&format!(
        "  - name: ws\n    kind: http.router\n    meta: {{ server: gateway }}\n    \
         post_middleware: [websocket_relay]\n    post_options:\n{options}"
    ))
}

fn options(folder: &Folder) -> RelayOptions {
    let manifest = folder.load();
    let router = manifest.routers.iter().find(|router| router.id.name() == "ws").expect("ws");
    router.relay.clone().expect("options of the relay")
}

#[test]
fn the_defaults_are_the_contracts() {
    let expected = RelayOptions {
        allowed_origins: vec![],
        max_message: 1_048_576,
        send_buffer: 1_048_576,
        slow_policy: SlowPolicy::Close,
        write_timeout: Duration::from_secs(30),
        ping_interval: Duration::from_secs(30),
        ping_timeout: Duration::from_secs(20),
        compression: Compression::Off,
        max_connections: None,
        max_connections_per_ip: None,
        rate_messages: None,
        rate_bytes: None,
        subprotocols: vec![],
    };
    assert_eq!(RelayOptions::default(), expected);
    assert_eq!(options(&with_options("")), expected);
}

#[test]
fn every_option_is_taken() {
    let folder = with_options(
        "
      wsrelay.allowed.origins: 'https://a.example.com, https://*.example.org:8443'
      wsrelay.max.message: 64KiB
      wsrelay.send.buffer: 2097152
      wsrelay.slow.policy: drop_oldest
      wsrelay.write.timeout: 5s
      wsrelay.ping.interval: 1m
      wsrelay.ping.timeout: 500ms
      wsrelay.compression: off
      wsrelay.max.connections: 1000
      wsrelay.max.connections.per.ip: 10
      wsrelay.rate.messages: 20
      wsrelay.rate.bytes: 1MiB
      wsrelay.subprotocols: chat.v2, chat.v1
",
    );
    let options = options(&folder);
    assert_eq!(options.allowed_origins.len(), 2);
    assert!(
        matches!(&options.allowed_origins[1], OriginPattern::Wildcard { suffix, port: Some(8443), .. } if suffix == "example.org")
    );
    assert_eq!((options.max_message, options.send_buffer), (64 << 10, 2 << 20));
    assert_eq!(options.slow_policy, SlowPolicy::DropOldest);
    assert_eq!(options.write_timeout, Duration::from_secs(5));
    assert_eq!(options.ping_interval, Duration::from_secs(60));
    assert_eq!(options.ping_timeout, Duration::from_millis(500));
    assert_eq!(options.max_connections, Some(1000));
    assert_eq!(options.max_connections_per_ip, Some(10));
    assert_eq!((options.rate_messages, options.rate_bytes), (Some(20), Some(1 << 20)));
    assert_eq!(options.subprotocols, ["chat.v2", "chat.v1"]);
}

#[test]
fn a_boolean_is_taken_where_on_or_off_is_meant() {
    for (written, meant) in [
        ("on", Compression::On),
        ("true", Compression::On),
        ("'on'", Compression::On),
        ("takeover", Compression::Takeover),
        ("off", Compression::Off),
    ] {
        let folder = with_options(&format!("      wsrelay.compression: {written}"));
        assert_eq!(options(&folder).compression, meant, "{written}");
    }
    assert_eq!(options(&with_options("      wsrelay.compression: false")).compression, Compression::Off);
    assert_eq!(options(&with_options("      wsrelay.compression: 'off'")).compression, Compression::Off);
}

/// An option, and the message about it without its place.
const MISTAKES: &[(&str, &str)] = &[
    (
        "wsrelay.max.mesage: 1MiB",
        "unknown option \"post_options.wsrelay.max.mesage\" (did you mean \"wsrelay.max.message\"?)",
    ),
    (
        "wsrelay.max.message: 1MB",
        "post_options.wsrelay.max.message: \"1MB\" has the unknown unit \"MB\": write \"1MiB\"",
    ),
    (
        "wsrelay.send.buffer: 0",
        "post_options.wsrelay.send.buffer: 0 leaves room for nothing, expected a size such as 1MiB",
    ),
    (
        "wsrelay.slow.policy: drop",
        "post_options.wsrelay.slow.policy: found \"drop\", expected one of close, drop_oldest, drop_newest",
    ),
    (
        "wsrelay.slow.policy: drop_oldes",
        "post_options.wsrelay.slow.policy: found \"drop_oldes\" (did you mean \"drop_oldest\"?)",
    ),
    (
        "wsrelay.write.timeout: 30",
        "post_options.wsrelay.write.timeout: \"30\" has no unit: write \"30s\" for seconds or \"30ms\" for milliseconds",
    ),
    ("wsrelay.ping.interval: 0s", "post_options.wsrelay.ping.interval: 0s is no time at all, expected one such as 30s"),
    ("wsrelay.ping.timeout: -1s", "post_options.wsrelay.ping.timeout: \"-1s\" is negative: a duration is 0s or longer"),
    (
        "wsrelay.compression: gzip",
        "post_options.wsrelay.compression: found \"gzip\", expected one of off, on, takeover",
    ),
    (
        "wsrelay.max.connections: -1",
        "post_options.wsrelay.max.connections: found the number -1, expected a whole number, 1 or more",
    ),
    (
        "wsrelay.max.connections.per.ip: 1.5",
        "post_options.wsrelay.max.connections.per.ip: found the number 1.5, expected a whole number, 1 or more",
    ),
    (
        "wsrelay.rate.messages: lots",
        "post_options.wsrelay.rate.messages: found \"lots\", expected a whole number, 1 or more",
    ),
    ("wsrelay.rate.bytes: {}", "post_options.wsrelay.rate.bytes: found a map, expected a size such as \"1MiB\""),
    ("wsrelay.subprotocols: 'a b'", "post_options.wsrelay.subprotocols: \"a b\" cannot be the name of a subprotocol"),
    ("wsrelay.subprotocols: a,a", "post_options.wsrelay.subprotocols: \"a\" stands twice"),
    (
        "wsrelay.allowed.origins: [a]",
        "post_options.wsrelay.allowed.origins: found a list, expected origins with commas between them, as one text",
    ),
    (
        "wsrelay.allowed.origins: 'https://a.com/chat'",
        "post_options.wsrelay.allowed.origins: \"https://a.com/chat\" is no origin such as https://app.example.com: \
         it has a path: only scheme, host and port are compared",
    ),
    (
        "wsrelay.allowed.origins: 'https://a.com,,https://b.com'",
        "post_options.wsrelay.allowed.origins: there is nothing between two commas",
    ),
];

#[test]
fn each_mistake_in_an_option_is_answered() {
    for (option, expected) in MISTAKES {
        let mistakes = with_options(&format!("      {option}\n")).mistakes();
        assert_eq!(mistakes.len(), 1, "{option}: {mistakes:#?}");
        let (place, message) = mistakes[0].split_once(": app:ws: ").expect("an entry");
        assert_eq!(message, *expected);
        assert!(place.starts_with("x.yaml:8:"), "{place}");
    }
}

#[test]
fn a_lone_star_is_a_warning() {
    let folder = with_options("      wsrelay.allowed.origins: '*'\n");
    assert_eq!(options(&folder).allowed_origins, [OriginPattern::Any]);
    assert_eq!(
        folder.warnings(),
        ["x.yaml:8:32: warning: app:ws: every web page may connect: wsrelay.allowed.origins is *"]
    );
}

#[test]
fn options_without_the_relay_are_a_warning() {
    let folder = Folder::with_entries(
        "- { name: ws, kind: http.router, meta: { server: gateway }, post_options: { wsrelay.max.message: 1KiB } }",
    );
    assert_eq!(
        folder.warnings(),
        ["x.yaml:3:77: warning: app:ws: these options do nothing: post_middleware does not list websocket_relay"]
    );
}
