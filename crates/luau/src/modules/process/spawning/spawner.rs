//! Spawners: what `process.with_name`, `with_context` and `with_message` give. A spawner is a read-only table, and so is
//! all that it holds: its fields say what the child is born with.

use super::super::topic;
use super::{BOTH, Beginning, LINKED, MONITORED, NONE, Relation, give_pid, give_result};
use crate::call::{Call, Native, Raise};
use crate::state::State;
use crate::value;
use kernel::{Body, Error, Kind, Message, Pid, Refused, Term};
use std::ffi::CStr;
use std::os::raw::c_int;

/// Bytes of the values that travel.
const CONTEXT: u64 = 64 << 10;
/// Bytes of a message that a spawner holds; the host's limit is looked at when it is sent.
const MESSAGE: u64 = 8 << 20;

const FIELDS: [&CStr; 4] = [c"_name", c"_context", c"_topic", c"_values"];

pub(in crate::modules::process) const FUNCTIONS: [(&str, Native); 11] = [
    ("with_name", Native::of(|call| with_name(call, 0))),
    ("with_context", Native::of(|call| with_context(call, 0))),
    ("with_message", Native::of(|call| with_message(call, 0))),
    ("and_name", Native::of(|call| with_name(call, method(call, "with_name(name)")?))),
    ("and_context", Native::of(|call| with_context(call, method(call, "with_context(values)")?))),
    ("and_message", Native::of(|call| with_message(call, method(call, "with_message(topic, ...)")?))),
    ("its_spawn", Native::of(|call| give(call, "spawner:spawn(id, host, ...)", NONE))),
    ("its_spawn_monitored", Native::of(|call| give(call, "spawner:spawn_monitored(id, host, ...)", MONITORED))),
    ("its_spawn_linked", Native::of(|call| give(call, "spawner:spawn_linked(id, host, ...)", LINKED))),
    (
        "its_spawn_linked_monitored",
        Native::of(|call| give(call, "spawner:spawn_linked_monitored(id, host, ...)", BOTH)),
    ),
    (
        "its_exec",
        Native::of(|call| {
            let before = method(call, "exec(id, host, ...)")?;
            give_result(call, Beginning::of_process("spawner:exec(id, host, ...)", before))
        }),
    ),
];

fn give(call: &mut Call<'_>, what: &str, relation: Relation) -> Result<usize, Raise> {
    let before = method(call, what.trim_start_matches("spawner:"))?;
    give_pid(call, what, relation, before)
}

/// The arguments before those of the call: the spawner itself.
fn method(call: &Call<'_>, what: &str) -> Result<usize, Raise> {
    if call.type_name(1) == "table" && call.state.metatable_pointer(1) == call.pod.spawner {
        return Ok(1);
    }
    Err(Raise(format!("spawner:{what}: call it with a colon on a spawner, got {}", call.type_name(1))))
}

// Making

fn with_name(call: &mut Call<'_>, before: usize) -> Result<usize, Raise> {
    if call.text(1 + before).is_none() {
        let got = call.type_name(1 + before);
        return Err(Raise(format!("process.with_name(name): name: expected a text, got {got}")));
    }
    call.state.copy(1 + before as i32);
    finish(call, before, &[c"_name"], call.pod.refs.spawner)
}

fn with_context(call: &mut Call<'_>, before: usize) -> Result<usize, Raise> {
    more_context(call, "process.with_context(values)", before)?;
    finish(call, before, &[c"_context"], call.pod.refs.spawner)
}

/// Leaves the values that travel, with those of the argument after `before` others added, read-only.
pub(in crate::modules) fn more_context(call: &mut Call<'_>, what: &str, before: usize) -> Result<(), Raise> {
    let (state, given) = (call.state, 1 + before as i32);
    if call.type_name(1 + before) != "table" {
        return Err(Raise(format!("{what}: values: expected a table, got {}", call.type_name(1 + before))));
    }
    match context(call, before)? {
        Some(context) => call.push_term(&context)?,
        None => state.push_table(0, 4),
    }
    let merged = state.top();
    let mut place = 0;
    loop {
        place = state.raw_iterate(given, place);
        if place < 0 {
            break;
        }
        if !state.is_string(-2) {
            return Err(Raise(format!("{what}: values: expected texts as keys, got a {}", state.type_name(-2))));
        }
        state.raw_set(merged);
    }
    let copy = value::to_term(state, call.pod, merged, CONTEXT);
    let copy = copy.map_err(|text| Raise(format!("{what}: values: {}", value::explain(&text))))?;
    call.push_term(&copy)?;
    freeze(state)
}

fn with_message(call: &mut Call<'_>, before: usize) -> Result<usize, Raise> {
    const WHAT: &str = "process.with_message(topic, ...)";
    topic(call, 1 + before, WHAT)?;
    let (state, first) = (call.state, 2 + before as i32);
    let count = call.count() as i32 + 1 - first;
    let copy = value::arguments(state, call.pod, first, count, MESSAGE);
    let copy = copy.map_err(|text| Raise(format!("{WHAT}: payload: {}", value::explain(&text))))?;
    state.copy(first - 1);
    // In a table, so that no payload and a payload of nil are told apart from a message that there is not.
    state.push_table(1, 0);
    if let Some(copy) = copy {
        call.push_term(&copy)?;
        state.raw_set_index(-2, 1);
    }
    freeze(state)?;
    finish(call, before, &[c"_topic", c"_values"], call.pod.refs.spawner)
}

/// Leaves a new spawner, or its like with another metatable: the one that the call is a method of with the values on
/// top in the given fields.
pub(in crate::modules) fn finish(
    call: &mut Call<'_>,
    before: usize,
    fields: &[&CStr],
    metatable: c_int,
) -> Result<usize, Raise> {
    let state = call.state;
    if !state.reserve(8) {
        return Err(Raise("stack overflow".to_owned()));
    }
    state.push_table(0, 4);
    let spawner = state.top();
    if before > 0 {
        for field in FIELDS {
            state.get_field(1, field);
            state.set_field(spawner, field);
        }
    }
    for (index, field) in fields.iter().enumerate() {
        state.copy(spawner - (fields.len() - index) as i32);
        state.set_field(spawner, field);
    }
    state.push_ref(metatable);
    state.set_metatable(spawner);
    state.set_readonly(spawner);
    Ok(1)
}

/// Makes the value on top, with all that is in it, read-only.
fn freeze(state: State) -> Result<(), Raise> {
    if state.type_name(-1) != "table" {
        return Ok(());
    }
    if !state.reserve(4) {
        return Err(Raise("stack overflow".to_owned()));
    }
    let (table, mut place) = (state.top(), 0);
    state.set_readonly(table);
    loop {
        place = state.raw_iterate(table, place);
        if place < 0 {
            return Ok(());
        }
        freeze(state)?;
        state.pop(2);
    }
}

// Reading

/// The name that the child is to hold.
pub(super) fn name(call: &Call<'_>, before: usize) -> Option<String> {
    let state = call.state;
    if before == 0 {
        return None;
    }
    state.get_field(1, c"_name");
    let name = state.is_string(-1).then(|| String::from_utf8_lossy(state.string(-1)).into_owned());
    state.pop(1);
    name
}

/// The values that the child gets: the caller's own, or those of the spawner, which began with them.
pub(super) fn context(call: &mut Call<'_>, before: usize) -> Result<Option<Term>, Raise> {
    let state = call.state;
    if before > 0 {
        state.get_field(1, c"_context");
        let term = (state.type_name(-1) == "table").then(|| value::to_term(state, call.pod, -1, u64::MAX));
        state.pop(1);
        if let Some(term) = term {
            return term.map(Some).map_err(Raise);
        }
    }
    Ok(call.program().context.as_deref().cloned())
}

/// The message that the child finds.
pub(super) fn message(call: &mut Call<'_>, what: &str, before: usize, most: u64) -> Result<Option<Message>, Raise> {
    let state = call.state;
    if before == 0 {
        return Ok(None);
    }
    let top = state.top();
    state.get_field(1, c"_topic");
    state.get_field(1, c"_values");
    let message = if state.is_string(top + 1) {
        let topic = String::from_utf8_lossy(state.string(top + 1)).as_ref().into();
        state.raw_get_index(top + 2, 1);
        let body = match value::arguments(state, call.pod, top + 3, i32::from(!state.is_nil(top + 3)), most) {
            Ok(Some(term)) => Body::Term(term),
            Ok(None) => Body::None,
            Err(text) => return Err(Raise(format!("{what}: message: {}", value::explain(&text)))),
        };
        Some(Message { topic, from: call.program().pid, body })
    } else {
        None
    };
    state.set_top(top);
    Ok(message)
}

/// Addresses the living holder of the spawner's name in place of a child: the message, then the relations.
pub(super) fn holder(
    call: &mut Call<'_>,
    what: &str,
    relation: Relation,
    before: usize,
) -> Result<Option<Result<Pid, Error>>, Raise> {
    let Some(held) = self::name(call, before) else { return Ok(None) };
    let Some(pid) = call.cx().lookup(&held).filter(|&pid| call.cx().is_alive(pid)) else { return Ok(None) };
    let most = call.cx().hosts()[pid.host()].mailbox_bytes;
    if let Some(message) = message(call, what, before, most)? {
        match call.cx().send(pid, message) {
            Ok(()) => {}
            Err(Refused::NotFound) => return Ok(None),
            Err(Refused::Full) => {
                let limits = call.cx().hosts()[pid.host()].mailbox_limits();
                let name = what.split('(').next().unwrap_or(what);
                let text = format!("{name}: the mailbox of \"{held}\" is full: {limits}");
                return Ok(Some(Err(Error::new(Kind::Unavailable, text))));
            }
        }
    }
    let cx = call.cx();
    if relation.monitored
        && let Err(error) = cx.monitor(pid)
        && error.kind != Kind::AlreadyExists
    {
        return Ok(None);
    }
    if relation.linked && cx.link(pid).is_err() {
        return Ok(None);
    }
    Ok(Some(Ok(pid)))
}
