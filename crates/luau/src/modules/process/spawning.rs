//! How programs begin processes: `process.spawn` and its relatives, `process.exec`, and what the module `funcs` calls.

pub(in crate::modules) mod spawner;

use crate::call::{Call, Raise, WAIT};
use crate::modules::channel::must_be_able_to_wait;
use crate::program::upgrade::Upgrade;
use crate::registry::{EntryIndex, Registry, Role};
use crate::runtime::Seed;
use crate::value;
use kernel::limits::LABEL_BYTES;
use kernel::{Error, HostId, Kind, Pid, Spawn, SpawnBody, Term};
use units::nearest;

/// Processes that one slice spawns before it is preempted.
const SPAWNS_PER_SLICE: u32 = 64;

/// Which relations a child is born with.
#[derive(Clone, Copy)]
pub(in crate::modules) struct Relation {
    monitored: bool,
    linked: bool,
}

const NONE: Relation = Relation { monitored: false, linked: false };
pub(in crate::modules) const MONITORED: Relation = Relation { monitored: true, linked: false };
const LINKED: Relation = Relation { monitored: false, linked: true };
const BOTH: Relation = Relation { monitored: true, linked: true };

/// A call that begins a process.
#[derive(Clone, Copy)]
pub(in crate::modules) struct Beginning<'a> {
    /// The call as the user wrote it, such as `process.spawn(id, host, ...)`.
    pub(in crate::modules) what: &'a str,
    /// The entry that it runs.
    pub(in crate::modules) role: Role,
    /// Its arguments before the id: of a method the spawner.
    pub(in crate::modules) before: usize,
}

impl<'a> Beginning<'a> {
    fn of_process(what: &'a str, before: usize) -> Beginning<'a> {
        Beginning { what, role: Role::Process, before }
    }

    /// The call without its arguments.
    pub(in crate::modules) fn name(&self) -> &'a str {
        self.what.split('(').next().unwrap_or(self.what)
    }
}

pub(super) fn spawn(call: &mut Call<'_>) -> Result<usize, Raise> {
    give_pid(call, "process.spawn(id, host, ...)", NONE, 0)
}

pub(super) fn spawn_monitored(call: &mut Call<'_>) -> Result<usize, Raise> {
    give_pid(call, "process.spawn_monitored(id, host, ...)", MONITORED, 0)
}

pub(super) fn spawn_linked(call: &mut Call<'_>) -> Result<usize, Raise> {
    give_pid(call, "process.spawn_linked(id, host, ...)", LINKED, 0)
}

pub(super) fn spawn_linked_monitored(call: &mut Call<'_>) -> Result<usize, Raise> {
    give_pid(call, "process.spawn_linked_monitored(id, host, ...)", BOTH, 0)
}

/// `process.exec(id, host, ...)`.
pub(super) fn exec(call: &mut Call<'_>) -> Result<usize, Raise> {
    give_result(call, Beginning::of_process("process.exec(id, host, ...)", 0))
}

/// `process.upgrade(id, ...)`: what can be wrong with it is found here, before anything has happened. Then the task is
/// suspended, and the program has given way when the slice goes on; see `Program::upgrade`.
pub(super) fn upgrade(call: &mut Call<'_>) -> Result<usize, Raise> {
    let beginning = Beginning::of_process("process.upgrade(id, ...)", 0);
    must_be_able_to_wait(call, beginning.what)?;
    let (program, _) = call.both();
    let own = program.version.get(program.entry);
    if own.role != Role::Process {
        let text = format!("{} runs for one call, which a process.lua cannot answer; only those are upgraded", own.id);
        return Err(Raise(format!("{}: {text}", beginning.what)));
    }
    let id = match call.type_name(1) {
        "nil" | "nothing" => own.id.to_string(),
        _ => id(call, beginning.what, 1, "id: expected an entry such as \"app.ws:handler\", or nil")?,
    };
    let version = call.pod.code.current();
    let entry = match find(&version, beginning, &id) {
        Ok(entry) => entry,
        Err(error) => return Ok(call.fail(&error)),
    };
    let host = call.program().pid.host();
    let most = call.cx().hosts()[host].mailbox_bytes;
    let args = arguments(call, beginning.what, 2, most)?;
    call.program().more().upgrade = Some(Box::new(Upgrade { version, entry, args }));
    Ok(WAIT)
}

/// Begins a process and has the task wait for its EXIT, which is for it alone; see `Program::route`.
pub(in crate::modules) fn give_result(call: &mut Call<'_>, beginning: Beginning<'_>) -> Result<usize, Raise> {
    must_be_able_to_wait(call, beginning.what)?;
    match awaited(call, beginning)? {
        Ok(pid) => {
            call.program().await_result(pid);
            Ok(WAIT)
        }
        Err(error) => Ok(call.fail(&error)),
    }
}

/// Begins a process whose end is to be waited for, unless too many are already.
pub(in crate::modules) fn awaited(call: &mut Call<'_>, beginning: Beginning<'_>) -> Result<Result<Pid, Error>, Raise> {
    if let Err(error) = call.program().has_room_for_call(beginning.name()) {
        return Ok(Err(error));
    }
    child(call, beginning, MONITORED)
}

/// Spawns a process, or addresses the holder of its name, and gives the PID.
fn give_pid(call: &mut Call<'_>, what: &str, relation: Relation, before: usize) -> Result<usize, Raise> {
    let beginning = Beginning::of_process(what, before);
    let found = match spawner::holder(call, what, relation, before)? {
        Some(holder) => holder,
        None => match child(call, beginning, relation)? {
            // Somebody took the name in between.
            Err(error) if error.kind == Kind::AlreadyExists => {
                spawner::holder(call, what, relation, before)?.unwrap_or(Err(error))
            }
            spawned => spawned,
        },
    };
    match found {
        Ok(pid) => {
            let (_, cx) = call.both();
            call.pod.texts.push_pid(call.state, pid, cx.hosts());
            Ok(1)
        }
        Err(error) => Ok(call.fail(&error)),
    }
}

/// Spawns the process that the arguments describe: `id, host, ...` or, of a function, `id, ...`. A function runs on
/// the host of its caller.
fn child(call: &mut Call<'_>, beginning: Beginning<'_>, relation: Relation) -> Result<Result<Pid, Error>, Raise> {
    let Beginning { what, role, before } = beginning;
    let own = call.program().pid.host();
    let entry = match entry(call, beginning)? {
        Ok(entry) => entry,
        Err(error) => return Ok(Err(error)),
    };
    let (host, first) = match role {
        Role::Function => (own, 2 + before),
        Role::Process | Role::Library => match host(call, beginning)? {
            Ok(host) => (host, 3 + before),
            Err(error) => return Ok(Err(error)),
        },
    };
    let most = call.cx().hosts()[host].mailbox_bytes;
    let args = arguments(call, what, first, most)?;
    let (registered, context) = (spawner::name(call, before), spawner::context(call, before)?);
    let message = spawner::message(call, what, before, most)?;
    let body = SpawnBody::Seed(Box::new(Seed { entry, args, context, extension: None }));
    let Relation { monitored, linked } = relation;
    let spawned = call.cx().spawn_as(Spawn { host, body, monitored, linked }, registered.as_deref(), message);
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

/// The id that an argument names, in the caller's namespace unless it names one.
fn id(call: &mut Call<'_>, what: &str, argument: usize, expected: &str) -> Result<String, Raise> {
    let Some(text) = call.text(argument) else {
        return Err(Raise(format!("{what}: {expected}, got {}", call.type_name(argument))));
    };
    // Room for a namespace before a name.
    if text.len() > 2 * LABEL_BYTES {
        return Err(Raise(format!("{what}: {expected}, got a text of {} bytes", text.len())));
    }
    if text.contains(':') {
        return Ok(text.to_owned());
    }
    let text = text.to_owned();
    let program = call.program();
    Ok(format!("{}:{text}", program.version.get(program.entry).namespace()))
}

fn entry(call: &mut Call<'_>, beginning: Beginning<'_>) -> Result<Result<EntryIndex, Error>, Raise> {
    let example = match beginning.role {
        Role::Function => "id: expected an entry such as \"app:price\"",
        Role::Process | Role::Library => "id: expected an entry such as \"app.ws:handler\"",
    };
    let id = id(call, beginning.what, 1 + beginning.before, example)?;
    Ok(find(&call.pod.code.current(), beginning, &id))
}

fn find(code: &Registry, beginning: Beginning<'_>, id: &str) -> Result<EntryIndex, Error> {
    let found = code.find_as(beginning.role, id);
    found.map_err(|text| Error::new(Kind::NotFound, format!("{}: {text}", beginning.name())))
}

fn host(call: &mut Call<'_>, beginning: Beginning<'_>) -> Result<Result<HostId, Error>, Raise> {
    let example = "host: expected a process.host such as \"app:processes\"";
    let host = id(call, beginning.what, 2 + beginning.before, example)?;
    let hosts = call.cx().hosts();
    let found = hosts.find(&host).filter(|&host| host != HostId::SYSTEM);
    Ok(found.ok_or_else(|| {
        let hint = nearest::did_you_mean(&host, hosts.names().skip(1));
        Error::new(Kind::NotFound, format!("{}: no process.host \"{host}\"{hint}", beginning.name()))
    }))
}

/// Copies of the arguments from `first`, for the function of the new process.
fn arguments(call: &Call<'_>, what: &str, first: usize, most: u64) -> Result<Vec<Term>, Raise> {
    value::to_terms(call.state, call.pod, first as i32, call.count() as i32, most)
        .map_err(|(place, text)| Raise(format!("{what}: argument {place}: {}", value::explain(&text))))
}
