//! `relay_header`: any bytes as the value of `X-WS-Relay`.
//!
//! - The verdict and the fields are those of a reading field by field of what serde_json makes of the value.
//! - What is wrong is one line that names the header, so nothing that a program writes there can forge a line of the log.
//! - Metadata becomes a term, and the term's JSON is the metadata again.

use gateway::relay::header::{HEADER_MAX, HEARTBEAT_MIN, LABEL_MAX, METADATA_DEPTH, RelayFault, RelayHeader, Target};
use serde_json::{Map, Value};
use std::time::Duration;

/// The target.
pub fn run(data: &[u8]) {
    let ours = RelayHeader::parse(data);
    match &ours {
        Ok(header) => {
            let written = expected(data).expect("we obey a header that has a fault");
            assert_eq!(*header, written);
            header.warnings().for_each(|warning| one_line(&warning));
            if let Some(metadata) = &header.metadata {
                back_and_forth(metadata);
            }
        }
        Err(fault) => {
            assert!(expected(data).is_none(), "{fault}");
            one_line(&fault.to_string());
            let long = matches!(fault, RelayFault::HeaderTooLong(_));
            assert_eq!(long, data.len() > HEADER_MAX);
        }
    }
}

fn one_line(text: &str) {
    assert!(text.starts_with("X-WS-Relay: "), "{text}");
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.len() < 4096, "{} bytes for the log", text.len());
}

/// What the header says, or `None` if anything is wrong with it.
fn expected(data: &[u8]) -> Option<RelayHeader> {
    let value: Value = serde_json::from_slice(data).ok().filter(|_| data.len() <= HEADER_MAX)?;
    let fields = value.as_object()?;
    let field = |name| fields.get(name).filter(|value| !value.is_null());

    let target = field("target_pid")?.as_str()?;
    let usable = target != "nil" && (1..=LABEL_MAX).contains(&target.len()) && !target.starts_with('@');
    let target = match target {
        _ if !usable => return None,
        pid if pid.starts_with('{') => Target::Pid(pid.to_owned()),
        name => Target::Name(name.to_owned()),
    };
    let topic = field("message_topic").map_or(Some("ws.message"), Value::as_str)?;
    let reserved = ["ws.join", "ws.heartbeat", "ws.leave", "ws.send", "ws.close", "ws.control"];
    if topic.is_empty() || topic.starts_with('@') || reserved.contains(&topic) || topic.len() > LABEL_MAX {
        return None;
    }
    let heartbeat: Option<Duration> = match field("heartbeat_interval") {
        None => None,
        Some(value) => Some(units::duration::parse(value.as_str()?).ok().filter(|every| *every >= HEARTBEAT_MIN)?),
    };
    let metadata = match field("metadata") {
        None => None,
        Some(Value::Array(list)) if list.is_empty() => None,
        Some(value) => Some(value.as_object()?).filter(|fields| !fields.is_empty()),
    };
    if metadata.is_some_and(|fields| depth(fields.values()) >= METADATA_DEPTH) {
        return None;
    }
    let known = ["target_pid", "message_topic", "heartbeat_interval", "metadata"];
    Some(RelayHeader {
        target,
        message_topic: topic.to_owned(),
        heartbeat,
        metadata: metadata.cloned(),
        unknown: fields.keys().filter(|name| !known.contains(&name.as_str())).cloned().collect(),
    })
}

/// Tables within one another below these values.
fn depth<'v>(values: impl Iterator<Item = &'v Value>) -> usize {
    let of = |value: &'v Value| match value {
        Value::Array(list) => 1 + depth(list.iter()),
        Value::Object(fields) => 1 + depth(fields.values()),
        _ => 0,
    };
    values.map(of).max().unwrap_or(0)
}

fn back_and_forth(metadata: &Map<String, Value>) {
    let text = serde_json::to_vec(metadata).expect("it was JSON");
    let term = luau::json::to_term(&text).expect("metadata is a term");
    let mut out = Vec::new();
    luau::json::from_term(&term, &mut out, luau::json::Binary::Refuse).expect("a term of JSON is JSON");
    let back: Value = serde_json::from_slice(&out).expect("JSON");
    assert!(crate::json::same(&back, &Value::Object(metadata.clone())), "{}", String::from_utf8_lossy(&out));
}
