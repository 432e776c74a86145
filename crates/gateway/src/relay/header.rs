//! The `X-WS-Relay` header: JSON once, types from here on.
//!
//! Everything that can be wrong with it without asking the kernel is a [`RelayFault`]: the request gets a
//! 500 and the log the fault's text. What only makes one wonder is a warning, and the upgrade goes on.

use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;
use units::Cut;
use units::duration::DurationError;

/// The header's name, as header names are compared.
pub const NAME: &str = "x-ws-relay";
/// The topic of client messages unless the header says otherwise.
pub const MESSAGE_TOPIC: &str = "ws.message";
/// The shortest heartbeat interval: a shorter one is a mistake in the unit.
pub const HEARTBEAT_MIN: Duration = Duration::from_millis(10);
/// The longest header. Its metadata travels with every message, so it is no place for documents.
pub const HEADER_MAX: usize = 64 << 10;
/// The deepest nesting of metadata.
pub const METADATA_DEPTH: usize = 32;
/// The longest topic and the longest registered name.
pub const LABEL_MAX: usize = 255;

/// The relay's own topics, from and to the client: none of them may be the topic of client messages.
const RESERVED: [&str; 6] = ["ws.join", "ws.heartbeat", "ws.leave", "ws.send", "ws.close", "ws.control"];
const FIELDS: [&str; 4] = ["target_pid", "message_topic", "heartbeat_interval", "metadata"];

/// What a handler asks the relay for.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayHeader {
    /// Who gets the client's messages.
    pub target: Target,
    /// The topic of the client's messages.
    pub message_topic: String,
    /// How often the target gets a heartbeat, if it wants any.
    pub heartbeat: Option<Duration>,
    /// What every message to the target carries; `None` where an empty table was given.
    pub metadata: Option<Map<String, Value>>,
    /// Fields that the relay does not know, as they were written. They have no effect.
    pub unknown: Vec<String>,
}

/// The process that the relay is to feed, not yet looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The text of a PID: it begins with `{`. Whether it parses, the kernel knows
    /// ([`RelayFault::TargetNotAPid`]).
    Pid(String),
    /// A registered name.
    Name(String),
}

/// Why a header cannot be obeyed. Its `Display` is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayFault {
    /// More than [`HEADER_MAX`] bytes.
    HeaderTooLong(usize),
    /// Not JSON, and why.
    Malformed(String),
    /// JSON, but no object.
    NotAnObject(&'static str),
    /// No `target_pid`, or null.
    TargetMissing,
    /// `target_pid` is of another type.
    TargetNotAString(&'static str),
    /// `target_pid` is `"nil"`: the handler did not look at what `process.spawn` returned.
    TargetNil,
    /// `target_pid` is empty, begins with `@` or is longer than a name can be.
    TargetNotAName(String),
    /// `target_pid` begins like a PID and is none.
    TargetNotAPid(String),
    /// `message_topic` is of another type.
    TopicNotAString(&'static str),
    /// `message_topic` is empty.
    TopicEmpty,
    /// `message_topic` is the system's or one of the relay's own.
    TopicReserved(String),
    /// `message_topic` is longer than a topic can be.
    TopicTooLong(usize),
    /// `heartbeat_interval` is a number without a unit.
    HeartbeatBareNumber(String),
    /// `heartbeat_interval` is of another type.
    HeartbeatNotAString(&'static str),
    /// `heartbeat_interval` is no duration.
    Heartbeat(DurationError),
    /// `heartbeat_interval` is less than [`HEARTBEAT_MIN`].
    HeartbeatTooShort(String),
    /// `metadata` is no object.
    MetadataNotAnObject(&'static str),
    /// `metadata` is nested deeper than [`METADATA_DEPTH`].
    MetadataTooDeep,
}

impl RelayHeader {
    /// Reads the header's value.
    pub fn parse(value: &[u8]) -> Result<Self, RelayFault> {
        if value.len() > HEADER_MAX {
            return Err(RelayFault::HeaderTooLong(value.len()));
        }
        let mut fields = match serde_json::from_slice(value) {
            Ok(Value::Object(fields)) => fields,
            Ok(other) => return Err(RelayFault::NotAnObject(type_of(&other))),
            Err(error) => return Err(RelayFault::Malformed(error.to_string())),
        };
        // A null is a field that is not there, as in Lua.
        let mut field = |name| fields.remove(name).filter(|value| !value.is_null());
        Ok(RelayHeader {
            target: parse_target(field("target_pid").ok_or(RelayFault::TargetMissing)?)?,
            message_topic: field("message_topic").map_or(Ok(MESSAGE_TOPIC.to_owned()), parse_topic)?,
            heartbeat: field("heartbeat_interval").map(parse_heartbeat).transpose()?,
            metadata: field("metadata").map_or(Ok(None), parse_metadata)?,
            unknown: fields.into_iter().map(|(name, _)| name).collect(),
        })
    }

    /// What the log should say although the header is obeyed: a field that has no effect.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.unknown.iter().map(|name| {
            let hint = units::nearest::did_you_mean(name, FIELDS);
            format!("X-WS-Relay: the field {:?} is unknown and has no effect{hint}", Cut(name))
        })
    }
}

fn parse_target(value: Value) -> Result<Target, RelayFault> {
    let Value::String(text) = value else { return Err(RelayFault::TargetNotAString(type_of(&value))) };
    match text.as_bytes() {
        b"nil" => Err(RelayFault::TargetNil),
        [b'{', ..] if text.len() <= LABEL_MAX => Ok(Target::Pid(text)),
        [] | [b'@' | b'{', ..] => Err(RelayFault::TargetNotAName(text)),
        _ if text.len() > LABEL_MAX => Err(RelayFault::TargetNotAName(text)),
        _ => Ok(Target::Name(text)),
    }
}

fn parse_topic(value: Value) -> Result<String, RelayFault> {
    let Value::String(topic) = value else { return Err(RelayFault::TopicNotAString(type_of(&value))) };
    match topic.as_str() {
        "" => Err(RelayFault::TopicEmpty),
        reserved if reserved.starts_with('@') || RESERVED.contains(&reserved) => Err(RelayFault::TopicReserved(topic)),
        long if long.len() > LABEL_MAX => Err(RelayFault::TopicTooLong(long.len())),
        _ => Ok(topic),
    }
}

fn parse_heartbeat(value: Value) -> Result<Duration, RelayFault> {
    match value {
        Value::String(text) => match units::duration::parse(&text) {
            Ok(interval) if interval < HEARTBEAT_MIN => Err(RelayFault::HeartbeatTooShort(text)),
            Ok(interval) => Ok(interval),
            Err(error) => Err(RelayFault::Heartbeat(error)),
        },
        Value::Number(number) => Err(RelayFault::HeartbeatBareNumber(number.to_string())),
        other => Err(RelayFault::HeartbeatNotAString(type_of(&other))),
    }
}

/// Metadata, where no metadata and an empty table are the same: JSON may write that one `{}` or `[]`.
fn parse_metadata(value: Value) -> Result<Option<Map<String, Value>>, RelayFault> {
    match value {
        Value::Object(fields) if fields.is_empty() => Ok(None),
        Value::Array(list) if list.is_empty() => Ok(None),
        Value::Object(fields) if fields.values().all(|value| is_shallow(value, METADATA_DEPTH - 1)) => Ok(Some(fields)),
        Value::Object(_) => Err(RelayFault::MetadataTooDeep),
        other => Err(RelayFault::MetadataNotAnObject(type_of(&other))),
    }
}

/// Whether a value nests at most `levels` tables.
fn is_shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(list) => levels > 0 && list.iter().all(|value| is_shallow(value, levels - 1)),
        Value::Object(fields) => levels > 0 && fields.values().all(|value| is_shallow(value, levels - 1)),
        _ => true,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

impl fmt::Display for RelayFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X-WS-Relay: ")?;
        match self {
            Self::HeaderTooLong(len) => write!(f, "{len} bytes are too many, at most {HEADER_MAX} are allowed"),
            Self::Malformed(error) => write!(f, "malformed JSON: {error}"),
            Self::NotAnObject(found) => write!(f, "a JSON object was expected, not {found}"),
            Self::TargetMissing => f.write_str("target_pid is missing"),
            Self::TargetNotAString(found) => {
                write!(f, "target_pid must be a string, not {found}: write tostring(pid)")
            }
            Self::TargetNil => f.write_str("target_pid is \"nil\": did the spawn fail?"),
            Self::TargetNotAName(text) => {
                write!(f, "target_pid {:?} is neither a PID nor a name that can be registered", Cut(text))
            }
            Self::TargetNotAPid(text) => write!(f, "target_pid {:?} is not a PID", Cut(text)),
            Self::TopicNotAString(found) => write!(f, "message_topic must be a string, not {found}"),
            Self::TopicEmpty => f.write_str("message_topic is empty"),
            Self::TopicReserved(topic) => {
                write!(f, "message_topic {:?} is reserved: choose one of your own", Cut(topic))
            }
            Self::TopicTooLong(len) => {
                write!(f, "message_topic has {len} bytes, at most {LABEL_MAX} are allowed")
            }
            Self::HeartbeatBareNumber(number) => {
                write!(f, "heartbeat_interval {number} has no unit: write \"{number}s\" for seconds")
            }
            Self::HeartbeatNotAString(found) => {
                write!(f, "heartbeat_interval must be a duration such as \"30s\", not {found}")
            }
            Self::Heartbeat(error) => write!(f, "heartbeat_interval: {error}"),
            Self::HeartbeatTooShort(text) => write!(f, "heartbeat_interval {:?} is less than \"10ms\"", Cut(text)),
            Self::MetadataNotAnObject(found) => write!(f, "metadata must be an object, not {found}"),
            Self::MetadataTooDeep => write!(f, "metadata is nested deeper than {METADATA_DEPTH} levels"),
        }
    }
}

impl std::error::Error for RelayFault {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: Value) -> Result<RelayHeader, RelayFault> {
        RelayHeader::parse(value.to_string().as_bytes())
    }

    /// The fault of a header that is right but for these fields.
    fn fault(field: &str, value: Value) -> String {
        let mut header = json!({ "target_pid": "room:1" });
        header[field] = value;
        parse(header).expect_err("a fault").to_string()
    }

    #[test]
    fn the_documents_header_is_understood() {
        let header = parse(json!({
            "target_pid": "{app:processes|1.2.3}",
            "message_topic": "chat",
            "heartbeat_interval": "1m30s",
            "metadata": { "user_id": "u1", "roles": ["a", "b"] },
        }));
        let header = header.expect("a header");
        assert_eq!(header.target, Target::Pid("{app:processes|1.2.3}".into()));
        assert_eq!(header.message_topic, "chat");
        assert_eq!(header.heartbeat, Some(Duration::from_secs(90)));
        assert_eq!(header.metadata.map(Value::Object), Some(json!({ "user_id": "u1", "roles": ["a", "b"] })));
        assert!(header.unknown.is_empty());
    }

    #[test]
    fn all_but_the_target_has_a_default() {
        let expected = RelayHeader {
            target: Target::Name("lobby".into()),
            message_topic: "ws.message".into(),
            heartbeat: None,
            metadata: None,
            unknown: vec![],
        };
        let nulls =
            json!({ "message_topic": null, "heartbeat_interval": null, "metadata": null, "target_pid": "lobby" });
        for header in [json!({ "target_pid": "lobby" }), nulls] {
            assert_eq!(parse(header), Ok(expected.clone()));
        }
        for none in [json!({}), json!([])] {
            assert_eq!(parse(json!({ "target_pid": "lobby", "metadata": none })), Ok(expected.clone()));
        }
    }

    #[test]
    fn every_fault_says_what_is_wrong_and_what_to_write() {
        let deep = (0..METADATA_DEPTH).fold(json!(1), |inner, _| json!({ "in": inner }));
        assert!(parse(json!({ "target_pid": "room", "metadata": deep })).is_ok());
        for (field, value, expected) in [
            ("target_pid", json!(null), "target_pid is missing"),
            ("target_pid", json!(7), "target_pid must be a string, not a number: write tostring(pid)"),
            ("target_pid", json!("nil"), "target_pid is \"nil\": did the spawn fail?"),
            ("target_pid", json!(""), "target_pid \"\" is neither a PID nor a name that can be registered"),
            ("target_pid", json!("@boss"), "target_pid \"@boss\" is neither a PID nor a name that can be registered"),
            ("message_topic", json!(""), "message_topic is empty"),
            ("message_topic", json!(1), "message_topic must be a string, not a number"),
            ("message_topic", json!("@x"), "message_topic \"@x\" is reserved: choose one of your own"),
            ("message_topic", json!("x".repeat(256)), "message_topic has 256 bytes, at most 255 are allowed"),
            ("heartbeat_interval", json!(30), "heartbeat_interval 30 has no unit: write \"30s\" for seconds"),
            ("heartbeat_interval", json!(true), "heartbeat_interval must be a duration such as \"30s\", not a boolean"),
            ("heartbeat_interval", json!("9ms"), "heartbeat_interval \"9ms\" is less than \"10ms\""),
            ("heartbeat_interval", json!("0s"), "heartbeat_interval \"0s\" is less than \"10ms\""),
            ("metadata", json!("x"), "metadata must be an object, not a string"),
            ("metadata", json!([1]), "metadata must be an object, not an array"),
            ("metadata", json!({ "in": deep }), "metadata is nested deeper than 32 levels"),
        ] {
            assert_eq!(fault(field, value), format!("X-WS-Relay: {expected}"));
        }
        for topic in RESERVED {
            assert_eq!(
                fault("message_topic", json!(topic)),
                format!("X-WS-Relay: message_topic {topic:?} is reserved: choose one of your own")
            );
        }
        for text in ["30", "soon", "", "-1s", "1d"] {
            assert!(fault("heartbeat_interval", json!(text)).starts_with("X-WS-Relay: heartbeat_interval: "), "{text}");
        }
        assert!(
            fault("target_pid", json!("ä".repeat(500)))
                .ends_with("ä\"… is neither a PID nor a name that can be registered")
        );
    }

    #[test]
    fn what_is_no_json_object_is_a_fault() {
        let fault = |text: &str| RelayHeader::parse(text.as_bytes()).expect_err("a fault").to_string();
        assert!(fault("{target_pid}").starts_with("X-WS-Relay: malformed JSON: key must be a string at line 1"));
        assert!(fault("").starts_with("X-WS-Relay: malformed JSON: EOF"));
        assert!(fault(&"[".repeat(60_000)).starts_with("X-WS-Relay: malformed JSON: recursion limit"));
        assert_eq!(fault("[]"), "X-WS-Relay: a JSON object was expected, not an array");
        assert_eq!(fault("\"{pid}\""), "X-WS-Relay: a JSON object was expected, not a string");
        assert_eq!(fault(&" ".repeat(70_000)), "X-WS-Relay: 70000 bytes are too many, at most 65536 are allowed");
    }

    #[test]
    fn a_fault_is_a_line_of_the_log_however_long_the_field_is() {
        let long = |text: &str| json!(text.repeat(60_000 / text.len()));
        let (parts, zeros) = (long("1m30s000,"), json!(format!("{}1ns", "0".repeat(11_000))));
        for interval in [parts, zeros, long("9"), long("999h"), long("-"), long("\u{7f}")] {
            assert!(fault("heartbeat_interval", interval).len() < 2000);
        }
        for (field, value) in [("target_pid", long("{")), ("target_pid", long("@")), ("message_topic", long("@"))] {
            assert!(fault(field, value).len() < 1000);
        }
    }

    #[test]
    fn the_limits_themselves_are_allowed() {
        let header = parse(json!({ "target_pid": "room", "message_topic": "ws.mine", "heartbeat_interval": "10ms" }));
        let header = header.expect("a header");
        assert_eq!(header.heartbeat, Some(HEARTBEAT_MIN));
        assert_eq!(header.message_topic, "ws.mine");
    }

    #[test]
    fn an_unknown_field_is_a_warning_with_the_nearest_name() {
        let header = parse(json!({ "target_pid": "room", "a\nb": "" })).expect("a header");
        assert!(header.warnings().all(|line| line.contains("\"a\\nb\"")), "a line of the log is one line");
        let fault =
            parse(json!({ "target_pid": "room", "heartbeat_interval": "1\n" })).expect_err("a fault").to_string();
        assert!(!fault.contains('\n'), "{fault:?}");
        let header = parse(json!({ "target_pid": "room", "heartbeat_intervall": "30s" })).expect("a header");
        assert_eq!(
            header.warnings().collect::<Vec<_>>(),
            [
                "X-WS-Relay: the field \"heartbeat_intervall\" is unknown and has no effect (did you mean \"heartbeat_interval\"?)"
            ]
        );
    }
}
