//! Beginning other processes: `process.spawn` and its kin, and `process.exec`, which waits for what comes of it.

pub(super) mod spawner;

use crate::call::{Call, Raise, WAIT};
use crate::modules::channel::must_be_able_to_wait;
use crate::program::tasks::Wait;
use crate::registry::EntryIndex;
use crate::runtime::Seed;
use crate::value;
use kernel::{Error, HostId, Kind, Pid, Spawn, SpawnBody, Term};
use units::nearest;

/// Processes that one slice spawns before it is preempted.
const SPAWNS_PER_SLICE: u32 = 64;

/// Which relations a child is born with.
#[derive(Clone, Copy)]
struct Relation {
    monitored: bool,
    linked: bool,
}

const NONE: Relation = Relation { monitored: false, linked: false };
const MONITORED: Relation = Relation { monitored: true, linked: false };
const LINKED: Relation = Relation { monitored: false, linked: true };
const BOTH: Relation = Relation { monitored: true, linked: true };

pub(super) fn spawn(call: &mut Call<'_>) -> Result<usize, Raise> {
    give_pid(call, "process.spawn", NONE, 0)
}

pub(super) fn spawn_monitored(call: &mut Call<'_>) -> Result<usize, Raise> {
    give_pid(call, "process.spawn_monitored", MONITORED, 0)
}

pub(super) fn spawn_linked(call: &mut Call<'_>) -> Result<usize, Raise> {
    give_pid(call, "process.spawn_linked", LINKED, 0)
}

pub(super) fn spawn_linked_monitored(call: &mut Call<'_>) -> Result<usize, Raise> {
    give_pid(call, "process.spawn_linked_monitored", BOTH, 0)
}

/// `process.exec(id, host, ...)`.
pub(super) fn exec(call: &mut Call<'_>) -> Result<usize, Raise> {
    give_result(call, "process.exec", 0)
}

/// Spawns a process and has the task wait for its EXIT, which is for it alone; see `Program::route`.
fn give_result(call: &mut Call<'_>, name: &str, before: usize) -> Result<usize, Raise> {
    must_be_able_to_wait(call, &format!("{name}(id, host, ...)"))?;
    match child(call, name, MONITORED, before)? {
        Ok(pid) => {
            let program = call.program();
            let waiter = program.wait(Wait::Exec);
            program.more().execs.insert(pid, waiter);
            Ok(WAIT)
        }
        Err(error) => Ok(call.fail(&error)),
    }
}

/// Spawns a process, or addresses the holder of its name, and gives the PID.
fn give_pid(call: &mut Call<'_>, name: &str, relation: Relation, before: usize) -> Result<usize, Raise> {
    let found = match spawner::holder(call, name, relation, before)? {
        Some(holder) => holder,
        None => match child(call, name, relation, before)? {
            // Somebody took the name in between.
            Err(error) if error.kind == Kind::AlreadyExists => {
                spawner::holder(call, name, relation, before)?.unwrap_or(Err(error))
            }
            spawned => spawned,
        },
    };
    match found {
        Ok(pid) => {
            let (_, cx) = call.both();
            call.pod.push_pid(call.state, pid, cx.hosts());
            Ok(1)
        }
        Err(error) => Ok(call.fail(&error)),
    }
}

/// Spawns the process that the arguments `id, host, ...` describe. Of a method they come after `before` others.
fn child(call: &mut Call<'_>, name: &str, relation: Relation, before: usize) -> Result<Result<Pid, Error>, Raise> {
    let (entry, host) = match place(call, name, before)? {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    let most = call.cx().hosts()[host].mailbox_bytes;
    let args = arguments(call, name, 3 + before, most)?;
    let (registered, context) = (spawner::name(call, before), spawner::context(call, before)?);
    let first = spawner::message(call, name, before, most)?;
    let body = SpawnBody::Seed(Box::new(Seed { entry, args, context, extension: None }));
    let Relation { monitored, linked } = relation;
    let spawned = call.cx().spawn_as(Spawn { host, body, monitored, linked }, registered.as_deref(), first);
    if spawned.is_ok() {
        // Whoever spawns much at once gives way to what it spawned: a bomb cannot outrun the scheduler.
        let program = call.program();
        program.spawned += 1;
        if program.spawned.is_multiple_of(SPAWNS_PER_SLICE) {
            call.pod.arm();
        }
    }
    Ok(spawned)
}

/// The entry and the host that two arguments name.
fn place(call: &mut Call<'_>, name: &str, before: usize) -> Result<Result<(EntryIndex, HostId), Error>, Raise> {
    let text = |call: &Call<'_>, argument: usize, what: &str, example: &str| match call.text(argument) {
        Some(text) => Ok(text.to_owned()),
        None => {
            let kind = call.type_name(argument);
            Err(Raise(format!("{name}(id, host, ...): {what}: expected {example}, got {kind}")))
        }
    };
    let id = text(call, 1 + before, "id", "an entry such as \"app.ws:handler\"")?;
    let host = text(call, 2 + before, "host", "a process.host such as \"app:processes\"")?;
    let registry = &call.pod.registry;
    let namespace = registry.get(call.program().entry).namespace().to_owned();
    let resolve = |name: String| if name.contains(':') { name } else { format!("{namespace}:{name}") };
    let (id, host) = (resolve(id), resolve(host));
    let entry = match registry.process(&id) {
        Ok(entry) => entry,
        Err(text) => return Ok(Err(Error::new(Kind::NotFound, format!("{name}: {text}")))),
    };
    let hosts = call.cx().hosts();
    Ok(match hosts.find(&host).filter(|&host| host != HostId::SYSTEM) {
        Some(host) => Ok((entry, host)),
        None => {
            let hint = nearest::did_you_mean(&host, hosts.names().skip(1));
            Err(Error::new(Kind::NotFound, format!("{name}: no process.host \"{host}\"{hint}")))
        }
    })
}

/// Copies of the arguments from `first`, for the function of the new process.
fn arguments(call: &Call<'_>, name: &str, first: usize, most: u64) -> Result<Vec<Term>, Raise> {
    let copy = |argument: usize| {
        value::to_term(call.state, call.pod, argument as i32, most).map_err(|text| {
            let (place, text) = (argument + 1 - first, value::explain(&text));
            Raise(format!("{name}(id, host, ...): argument {place}: {text}"))
        })
    };
    (first..=call.count()).map(copy).collect()
}
