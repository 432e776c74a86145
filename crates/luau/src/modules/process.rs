//! `process`: the natives of processes, messages, relations and names.

pub(super) mod spawning;

use crate::call::{Call, Native, Raise, WAIT};
use crate::modules::channel::must_be_able_to_wait;
use crate::program::lanes::INBOX;
use crate::program::tasks::Wait;
use crate::value;
use crate::vm::pod::Condemned;
use kernel::limits::LABEL_BYTES;
use kernel::{Body, Error, Frame, Kind, Message, Pid, Refused, Topic};
use spawning::spawner::FUNCTIONS as SPAWNER;
use units::nearest;

/// Topics that one process may listen to.
const TOPICS: usize = 1000;
/// Longest reason of a cancel or a termination; the rest is cut.
const REASON_CHARACTERS: usize = 1024;

pub(super) const FUNCTIONS: &[(&str, Native)] = &[
    ("receive_inbox", Native::of(receive_inbox)),
    ("channels", Native::of(channels)),
    ("listen", Native::of(listen)),
    ("unlisten", Native::of(unlisten)),
    ("pid", Native::of(pid)),
    ("send", Native::of(send)),
    ("monitor", Native::of(monitor)),
    ("unmonitor", Native::of(unmonitor)),
    ("link", Native::of(link)),
    ("unlink", Native::of(unlink)),
    ("cancel", Native::of(cancel)),
    ("terminate", Native::of(terminate)),
    ("set_options", Native::of(set_options)),
    ("get_options", Native::of(get_options)),
    ("spawn", Native::of(spawning::spawn)),
    ("spawn_monitored", Native::of(spawning::spawn_monitored)),
    ("spawn_linked", Native::of(spawning::spawn_linked)),
    ("spawn_linked_monitored", Native::of(spawning::spawn_linked_monitored)),
    ("exec", Native::of(spawning::exec)),
    ("upgrade", Native::of(spawning::upgrade)),
    SPAWNER[0],
    SPAWNER[1],
    SPAWNER[2],
    SPAWNER[3],
    SPAWNER[4],
    SPAWNER[5],
    SPAWNER[6],
    SPAWNER[7],
    SPAWNER[8],
    SPAWNER[9],
    SPAWNER[10],
    ("register", Native::of(register)),
    ("lookup", Native::of(lookup)),
    ("unregister", Native::of(unregister)),
];

// Receiving

/// `receive_inbox() -> topic, from, value, …`: the next message of the inbox; waits for one.
fn receive_inbox(call: &mut Call<'_>) -> Result<usize, Raise> {
    let (program, cx) = call.both();
    if let Some(item) = program.take(INBOX, cx) {
        return Ok(program.push_item(call.state, item, cx) as usize);
    }
    must_be_able_to_wait(call, "process.inbox():receive()")?;
    let program = call.program();
    let (id, turn) = program.wait(Wait::Receive(INBOX));
    if program.more.is_some() {
        program.watch(INBOX, id, turn);
    }
    Ok(WAIT)
}

/// `channels() -> table`: the process's own table of its lanes' channels.
fn channels(call: &mut Call<'_>) -> Result<usize, Raise> {
    let state = call.state;
    let reference = call.program().channels;
    if reference > 0 {
        state.push_ref(reference);
    } else {
        state.push_table(0, 1);
        let reference = state.keep(-1);
        call.program().channels = reference;
    }
    Ok(1)
}

/// `listen(topic) -> lane`. Messages of the topic that wait in the inbox move to it.
fn listen(call: &mut Call<'_>) -> Result<usize, Raise> {
    let topic = topic(call, 1, "process.listen(topic, {message=true}?)")?;
    if call.program().more().lanes.topics() >= TOPICS {
        return Err(Raise(format!(
            "process.listen(topic, {{message=true}}?): a process listens to at most {TOPICS} topics"
        )));
    }
    let (program, cx) = call.both();
    let (lane, new) = program.more().lanes.listen(topic);
    if new {
        // What has arrived, but was not taken, is sorted too.
        while let Some((mail, claim)) = cx.next_mail() {
            program.route(mail, claim, cx, None);
        }
    }
    call.push_number(f64::from(lane));
    Ok(1)
}

/// `unlisten(lane)`: whether it was the lane of a topic.
fn unlisten(call: &mut Call<'_>) -> Result<usize, Raise> {
    let lane = call.number(1).unwrap_or(0.0) as u32;
    let (program, cx) = call.both();
    let listened = program.unlisten(lane, cx);
    call.push_bool(listened);
    Ok(1)
}

// Addresses

/// The PID that an argument means: a PID's text or a registered name. `None`: nobody has it.
fn dest(call: &mut Call<'_>, argument: usize, what: &str) -> Result<Option<Pid>, Raise> {
    if argument <= call.count()
        && let Some(known) = call.pod.texts.pid_at(call.state.pointer(argument as i32))
    {
        return Ok(Some(known));
    }
    // The text stays at its place on the stack during the call.
    let text = if argument <= call.count() { call.state.string(argument as i32) } else { &[] };
    if text.first() == Some(&b'{') {
        return Ok(Pid::parse(text, call.cx().hosts()));
    }
    if call.bytes(argument).is_none() {
        let kind = call.type_name(argument);
        let hint = if kind == "nil" { " (did the spawn fail?)" } else { "" };
        return Err(Raise(format!("{what}: dest: expected a PID or a registered name, got {kind}{hint}")));
    }
    Ok(std::str::from_utf8(text).ok().and_then(|name| call.cx().lookup(name)))
}

fn nobody(call: &mut Call<'_>, argument: usize) -> usize {
    let text = call.state.describe(argument as i32);
    let what = if text.starts_with('{') { "does not live" } else { "is no registered name" };
    call.fail(&Error::new(Kind::NotFound, format!("{text} {what}")))
}

fn refused(call: &mut Call<'_>, argument: usize, to: Pid, refused: Refused) -> usize {
    match refused {
        Refused::NotFound => nobody(call, argument),
        Refused::Full => {
            let limits = call.cx().hosts()[to.host()].mailbox_limits();
            let text = format!("the mailbox of {} is full: {limits}", call.state.describe(argument as i32));
            call.fail(&Error::new(Kind::Unavailable, text))
        }
    }
}

fn answer(call: &mut Call<'_>, result: Result<(), Error>) -> usize {
    match result {
        Ok(()) => {
            call.push_bool(true);
            1
        }
        Err(error) => call.fail(&error),
    }
}

pub(super) fn topic(call: &Call<'_>, argument: usize, what: &str) -> Result<Topic, Raise> {
    if argument <= call.count()
        && let Some(topic) = call.pod.texts.topic(call.state, argument as i32)
    {
        return Ok(topic);
    }
    let Some(text) = call.text(argument) else {
        return Err(Raise(format!("{what}: topic: expected a text, got {}", call.type_name(argument))));
    };
    if text.is_empty() || text.len() > LABEL_BYTES {
        return Err(Raise(format!("{what}: topic: expected 1 to {LABEL_BYTES} bytes, got {}", text.len())));
    }
    if text.starts_with('@') {
        return Err(Raise(format!("{what}: topic: \"{text}\" belongs to the system (it begins with \"@\")")));
    }
    Ok(Topic::from(text))
}

// Sending

/// `process.send(dest, topic, ...)`.
fn send(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "process.send(dest, topic, ...)";
    let to = dest(call, 1, WHAT)?;
    let topic = topic(call, 2, WHAT)?;
    let host = to.map_or(kernel::HostId::SYSTEM, Pid::host);
    let most = call.cx().hosts()[host].mailbox_bytes;
    // A payload that cannot be copied is a mistake whoever is there to get it.
    let body = payload(call, &topic, most, WHAT).map_err(|Raise(text)| {
        if !text.contains(&format!("larger than {}", units::size::format(most))) {
            return Raise(text);
        }
        let limits = call.cx().hosts()[host].mailbox_limits();
        Raise(format!("{text}: {limits}"))
    })?;
    let Some(to) = to else { return Ok(nobody(call, 1)) };
    let from = call.program().pid;
    match call.cx().send(to, Message { topic, from, body }) {
        Ok(()) => {
            call.push_bool(true);
            Ok(1)
        }
        Err(error) => Ok(refused(call, 1, to, error)),
    }
}

/// What a call sends: its arguments from the third on.
pub(super) fn payload(call: &Call<'_>, topic: &Topic, most: u64, what: &str) -> Result<Body, Raise> {
    let count = call.count().saturating_sub(2) as i32;
    if count == 1
        && &**topic == "ws.send"
        && let Some(frame) = frame(call, 3)
    {
        return Ok(Body::Frame(frame));
    }
    match value::arguments(call.state, call.pod, 3, count, most) {
        Ok(None) => Ok(Body::None),
        Ok(Some(term)) => Ok(Body::Term(term)),
        Err(text) => Err(Raise(format!("{what}: payload: {}", value::explain(&text)))),
    }
}

/// A table that is exactly `{type = "text" | "binary", data = string}`, without a copy of its table.
fn frame(call: &Call<'_>, table: i32) -> Option<Frame> {
    let (state, texts) = (call.state, &call.pod.texts);
    if !state.is_table(table) {
        return None;
    }
    let top = state.top();
    let (mut place, mut binary, mut bytes) = (0, None, None);
    // What is pushed stays: at most three pairs, for which a native function always has room.
    let fits = loop {
        place = state.raw_iterate(table, place);
        if place < 0 {
            break true;
        }
        let key = state.pointer(-2);
        if key == texts.kind.place {
            let value = state.pointer(-1);
            if value != texts.text.place && value != texts.binary.place {
                break false;
            }
            binary = Some(value == texts.binary.place);
        } else if key == texts.data.place && state.is_string(-1) {
            bytes = Some(texts.frame(state, -1));
        } else {
            break false;
        }
    };
    if let (true, Some(binary), Some(bytes)) = (fits, binary, bytes) {
        return Some(Frame { binary, bytes, relayed: None });
    }
    state.set_top(top);
    None
}

// Relations

/// `process.pid()`.
fn pid(call: &mut Call<'_>) -> Result<usize, Raise> {
    let pid = call.program().pid;
    let (_, cx) = call.both();
    call.pod.texts.push_pid(call.state, pid, cx.hosts());
    Ok(1)
}

fn monitor(call: &mut Call<'_>) -> Result<usize, Raise> {
    let Some(to) = dest(call, 1, "process.monitor(dest)")? else { return Ok(nobody(call, 1)) };
    let result = call.cx().monitor(to);
    Ok(answer(call, result))
}

fn unmonitor(call: &mut Call<'_>) -> Result<usize, Raise> {
    let Some(to) = dest(call, 1, "process.unmonitor(dest)")? else { return Ok(nobody(call, 1)) };
    // The monitor of a child that `process.exec` waits for is not the program's own.
    if !call.program().execs(to) && call.cx().unmonitor(to) {
        call.push_bool(true);
        return Ok(1);
    }
    Ok(nobody(call, 1))
}

fn link(call: &mut Call<'_>) -> Result<usize, Raise> {
    let Some(to) = dest(call, 1, "process.link(dest)")? else { return Ok(nobody(call, 1)) };
    let result = call.cx().link(to);
    Ok(answer(call, result))
}

fn unlink(call: &mut Call<'_>) -> Result<usize, Raise> {
    let Some(to) = dest(call, 1, "process.unlink(dest)")? else { return Ok(nobody(call, 1)) };
    if call.cx().unlink(to) {
        call.push_bool(true);
        return Ok(1);
    }
    Ok(nobody(call, 1))
}

fn reason(call: &Call<'_>, what: &str) -> Result<Option<String>, Raise> {
    match call.type_name(2) {
        "nil" | "nothing" => Ok(None),
        "string" => {
            let text = String::from_utf8_lossy(call.state.string(2));
            Ok(Some(text.chars().take(REASON_CHARACTERS).collect()))
        }
        other => Err(Raise(format!("{what}: reason: expected a text, got {other}"))),
    }
}

fn cancel(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "process.cancel(dest, reason?)";
    let Some(to) = dest(call, 1, WHAT)? else { return Ok(nobody(call, 1)) };
    let reason = reason(call, WHAT)?;
    match call.cx().cancel(to, reason.as_deref()) {
        Ok(()) => Ok(answer(call, Ok(()))),
        Err(error) => Ok(refused(call, 1, to, error)),
    }
}

fn terminate(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "process.terminate(dest, reason?)";
    let Some(to) = dest(call, 1, WHAT)? else { return Ok(nobody(call, 1)) };
    let reason = reason(call, WHAT)?;
    let itself = to == call.program().pid;
    match call.cx().terminate(to, reason.as_deref()) {
        Ok(()) if itself => {
            // Nothing of it runs any more, wherever it stands.
            call.pod.condemned.set(Some(Condemned::Ended));
            if call.pod.can_suspend(call.state) {
                return Ok(WAIT);
            }
            call.pod.arm();
            Err(Raise("terminated".to_owned()))
        }
        Ok(()) => Ok(answer(call, Ok(()))),
        Err(error) => Ok(refused(call, 1, to, error)),
    }
}

/// `process.set_options{trap_links=true}`.
fn set_options(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "process.set_options{trap_links=true}";
    if call.type_name(1) != "table" {
        return Err(Raise(format!("{WHAT}: expected a table, got {}", call.type_name(1))));
    }
    let state = call.state;
    let (mut place, mut trap) = (0, None);
    loop {
        place = state.raw_iterate(1, place);
        if place < 0 {
            break;
        }
        let (key, value) = (state.describe(-2), state.type_name(-1));
        if key != "trap_links" {
            let hint = nearest::did_you_mean(&key, ["trap_links"]);
            return Err(Raise(format!("{WHAT}: unknown option \"{key}\"{hint}")));
        }
        if value != "boolean" {
            return Err(Raise(format!("{WHAT}: trap_links: expected a boolean, got {value}")));
        }
        trap = Some(state.boolean(-1));
        state.pop(2);
    }
    if let Some(trap) = trap {
        call.cx().set_trap_links(trap);
    }
    Ok(answer(call, Ok(())))
}

fn get_options(call: &mut Call<'_>) -> Result<usize, Raise> {
    let trap = call.cx().trap_links();
    call.state.push_table(0, 1);
    call.push_bool(trap);
    call.state.set_field(-2, c"trap_links");
    Ok(1)
}

// Names

fn name(call: &Call<'_>, what: &str) -> Result<String, Raise> {
    match call.text(1) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Raise(format!("{what}: name: expected a text, got {}", call.type_name(1)))),
    }
}

fn register(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "process.registry.register(name, pid?)";
    let name = name(call, WHAT)?;
    let pid = match call.type_name(2) {
        "nil" | "nothing" => call.program().pid,
        _ => match dest(call, 2, WHAT)? {
            Some(pid) => pid,
            None => return Ok(nobody(call, 2)),
        },
    };
    let result = call.cx().register(&name, pid);
    Ok(answer(call, result))
}

fn lookup(call: &mut Call<'_>) -> Result<usize, Raise> {
    let name = name(call, "process.registry.lookup(name)")?;
    let (_, cx) = call.both();
    match cx.lookup(&name) {
        Some(pid) => {
            call.pod.texts.push_pid(call.state, pid, cx.hosts());
            Ok(1)
        }
        None => Ok(call.fail(&Error::new(Kind::NotFound, format!("\"{name}\" is no registered name")))),
    }
}

fn unregister(call: &mut Call<'_>) -> Result<usize, Raise> {
    let name = name(call, "process.registry.unregister(name)")?;
    let cx = call.cx();
    if cx.unregister(&name) {
        return Ok(answer(call, Ok(())));
    }
    let error = match cx.lookup(&name) {
        Some(_) => Error::new(Kind::PermissionDenied, format!("\"{name}\" is held by another process")),
        None => Error::new(Kind::NotFound, format!("\"{name}\" is no registered name")),
    };
    Ok(call.fail(&error))
}
