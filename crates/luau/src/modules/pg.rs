//! `pg`: the natives of process groups.

use crate::call::{Call, Native, Raise};
use crate::modules::process;
use crate::program::lanes::EVENTS;
use kernel::{Error, Kind, Pid};

pub(super) const FUNCTIONS: &[(&str, Native)] = &[
    ("join", Native::of(join)),
    ("leave", Native::of(leave)),
    ("members", Native::of(members)),
    ("broadcast", Native::of(broadcast)),
    ("monitor", Native::of(monitor)),
    ("unmonitor", Native::of(unmonitor)),
];

/// The name of a group. Whether it is a good one the kernel says.
fn group(call: &Call<'_>, what: &str) -> Result<String, Raise> {
    match call.text(1) {
        Some(group) => Ok(group.to_owned()),
        None => Err(Raise(format!("{what}: group: expected a text, got {}", call.type_name(1)))),
    }
}

/// The process that is meant: itself, or one by PID or registered name. `None`: nobody has it.
fn dest(call: &mut Call<'_>, what: &str) -> Result<Option<Pid>, Raise> {
    if matches!(call.type_name(2), "nil" | "nothing") {
        return Ok(Some(call.program().pid));
    }
    let Some(text) = call.bytes(2) else {
        let kind = call.type_name(2);
        return Err(Raise(format!("{what}: dest: expected a PID or a registered name, got {kind}")));
    };
    let text = text.to_vec();
    let cx = call.cx();
    if text.first() == Some(&b'{') {
        return Ok(Pid::parse(&text, cx.hosts()));
    }
    Ok(std::str::from_utf8(&text).ok().and_then(|name| cx.lookup(name)))
}

fn done(call: &mut Call<'_>) -> usize {
    call.push_bool(true);
    1
}

fn not_found(call: &mut Call<'_>, text: String) -> usize {
    call.fail(&Error::new(Kind::NotFound, text))
}

/// `pg.join(group, dest?)`.
fn join(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "pg.join(group, dest?)";
    let group = group(call, WHAT)?;
    let Some(pid) = dest(call, WHAT)? else {
        let text = format!("{} does not live", call.state.describe(2));
        return Ok(not_found(call, text));
    };
    match call.cx().join(&group, pid) {
        Ok(()) => Ok(done(call)),
        Err(error) => Ok(call.fail(&error)),
    }
}

/// `pg.leave(group, dest?)`.
fn leave(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "pg.leave(group, dest?)";
    let group = group(call, WHAT)?;
    match dest(call, WHAT)? {
        Some(pid) if call.cx().leave(&group, pid) => Ok(done(call)),
        Some(pid) => {
            let text = format!("{} is not in the group \"{group}\"", pid.text(call.cx().hosts()));
            Ok(not_found(call, text))
        }
        None => {
            let text = format!("{} is not in the group \"{group}\"", call.state.describe(2));
            Ok(not_found(call, text))
        }
    }
}

fn push_pids(call: &mut Call<'_>, pids: &[Pid]) -> usize {
    let (state, pod) = (call.state, call.pod);
    state.push_table(i32::try_from(pids.len()).unwrap_or(0), 0);
    for (index, &pid) in pids.iter().enumerate() {
        pod.texts.push_pid(state, pid, call.cx().hosts());
        state.raw_set_index(-2, index as i32 + 1);
    }
    1
}

/// `pg.members(group)`.
fn members(call: &mut Call<'_>) -> Result<usize, Raise> {
    let group = group(call, "pg.members(group)")?;
    let members = call.cx().members(&group);
    Ok(push_pids(call, &members))
}

/// `pg.monitor(group)`.
fn monitor(call: &mut Call<'_>) -> Result<usize, Raise> {
    let group = group(call, "pg.monitor(group)")?;
    match call.cx().monitor_group(&group) {
        Ok(members) => Ok(push_pids(call, &members)),
        Err(error) => Ok(call.fail(&error)),
    }
}

/// `pg.unmonitor(group)`. What the program has not received of the group goes with it.
fn unmonitor(call: &mut Call<'_>) -> Result<usize, Raise> {
    let group = group(call, "pg.unmonitor(group)")?;
    if !call.cx().unmonitor_group(&group) {
        return Ok(not_found(call, format!("the group \"{group}\" is not monitored")));
    }
    if let Some(more) = &mut call.program().more {
        more.lanes.get(EVENTS).forget_group(&group);
    }
    Ok(done(call))
}

/// `pg.broadcast(group, topic, ...)`.
fn broadcast(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "pg.broadcast(group, topic, ...)";
    let group = group(call, WHAT)?;
    let topic = process::topic(call, 2, WHAT)?;
    let host = call.program().pid.host();
    let most = call.cx().hosts()[host].mailbox_bytes;
    let body = process::payload(call, &topic, most, WHAT)?;
    let sent = call.cx().broadcast(&group, topic, body);
    call.push_number(sent as f64);
    Ok(1)
}
