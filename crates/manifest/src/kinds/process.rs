//! `process.host`, `process.service`, `process.supervisor`.

use std::time::Duration;

use crate::diagnostics::{Diagnostic, Place};
use crate::fields::Fields;
use crate::kinds::{Kind, lifecycle};
use crate::model::{
    Child, ChildRestart, Placement, ProcessHost, ProcessService, ProcessSupervisor, Strategy, Supervised, Value,
};
use crate::yaml::{Content, Node, Plain, quoted};

/// The slices that a host may give: a shorter one is spent on switching, a longer one is felt by all others.
const SLICES: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(10));

/// `process.host`.
pub(crate) fn host(mut fields: Fields<'_>) -> Option<ProcessHost> {
    let placements = [("parent", Placement::Parent), ("spread", Placement::Spread)];
    let host = ProcessHost {
        id: fields.entry.id.clone(),
        max_processes: fields.count("max_processes", 1),
        memory_limit: fields.size("memory_limit").unwrap_or(64 << 20),
        mailbox_limit: fields.count("mailbox_limit", 1).unwrap_or(10_000),
        mailbox_bytes: fields.size("mailbox_bytes").unwrap_or(8 << 20),
        slice: fields.duration_within("slice", Duration::from_millis(1), SLICES),
        placement: fields.choice("placement", &placements, Placement::Parent),
        place: fields.entry.node.place.clone(),
    };
    fields.finish();
    Some(host)
}

/// `process.service`.
pub(crate) fn service(mut fields: Fields<'_>) -> Option<ProcessService> {
    let process = fields.reference("process", &[Kind::ProcessLua]);
    let host = fields.reference("host", &[Kind::ProcessHost]);
    let input = fields.get("input").map_or(Value::Null, value);
    let lifecycle = lifecycle::lifecycle(&mut fields);
    let entry = fields.entry;
    fields.finish();
    Some(ProcessService {
        id: entry.id.clone(),
        process: process?,
        host: host?,
        input,
        lifecycle,
        place: entry.node.place.clone(),
    })
}

/// `process.supervisor`. Three restarts in five seconds are Erlang's usual measure.
pub(crate) fn supervisor(mut fields: Fields<'_>) -> Option<ProcessSupervisor> {
    let strategies = [
        ("one_for_one", Strategy::OneForOne),
        ("one_for_all", Strategy::OneForAll),
        ("rest_for_one", Strategy::RestForOne),
    ];
    let strategy = fields.choice("strategy", &strategies, Strategy::OneForOne);
    let intensity = fields.count("intensity", 0).unwrap_or(3);
    let period = fields.duration("period", Duration::from_secs(5));
    let children = children(&mut fields);
    let bounded = fields.get("lifecycle").and_then(|node| node.get("stop_timeout")).is_some_and(|node| !node.is_null());
    let lifecycle = lifecycle::lifecycle(&mut fields);
    let entry = fields.entry;
    fields.finish();
    Some(ProcessSupervisor {
        id: entry.id.clone(),
        strategy,
        intensity,
        period,
        children,
        stop_timeout: bounded.then_some(lifecycle.stop_timeout),
        lifecycle,
        parent: None,
        place: entry.node.place.clone(),
    })
}

fn children(fields: &mut Fields<'_>) -> Vec<Child> {
    const EXPECTED: &str = "a list of children, each with process and host, or with supervisor";
    fields.required("children", EXPECTED);
    let mut children: Vec<Child> = Vec::new();
    for node in fields.list("children", EXPECTED) {
        let Some(child) = child(fields.inner("children", Some(node), false), &node.place) else { continue };
        if children.iter().any(|other| other.name == child.name) {
            let found = format!("children: the name {} stands twice", quoted(&child.name));
            fields.report(Diagnostic::error(&node.place, found).expected("a name for each"));
        }
        children.push(child);
    }
    children
}

/// A process, or a supervisor with its children. Five seconds to stop are Erlang's usual measure too.
fn child(mut fields: Fields<'_>, place: &Place) -> Option<Child> {
    let restarts = [
        ("permanent", ChildRestart::Permanent),
        ("transient", ChildRestart::Transient),
        ("temporary", ChildRestart::Temporary),
    ];
    let what = if fields.get("supervisor").is_some() {
        fields.reference("supervisor", &[Kind::ProcessSupervisor]).map(Supervised::Supervisor)
    } else {
        let process = fields.reference("process", &[Kind::ProcessLua]);
        let host = fields.reference("host", &[Kind::ProcessHost]);
        let input = fields.get("input").map_or(Value::Null, value);
        let stop_timeout = fields.duration("stop_timeout", Duration::from_secs(5));
        process.zip(host).map(|(process, host)| Supervised::Process { process, host, input, stop_timeout })
    };
    let name = fields.text("name", "a name").map(str::to_owned);
    let restart = fields.choice("restart", &restarts, ChildRestart::Permanent);
    fields.finish();
    let what = what?;
    let name = name.unwrap_or_else(|| what.entry().name().to_owned());
    Some(Child { name, what, restart, place: place.clone() })
}

/// Any YAML value. Its depth is bounded by the reader of YAML.
fn value(node: &Node) -> Value {
    match &node.content {
        Content::List(items) => Value::List(items.iter().map(value).collect()),
        Content::Map(fields) => Value::Map(fields.iter().map(|(key, item)| (key.text.clone(), value(item))).collect()),
        Content::Scalar { text, .. } => match node.plain() {
            Some(Plain::Null) => Value::Null,
            Some(Plain::Bool(value)) => Value::Bool(value),
            Some(Plain::Number(number)) => Value::Number(number),
            _ => Value::String(text.clone()),
        },
    }
}
