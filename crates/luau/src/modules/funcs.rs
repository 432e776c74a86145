//! `funcs`: entries of kind `function.lua`, each call a process of its own.

use super::process::spawning::spawner::{finish, more_context};
use super::process::spawning::{Beginning, awaited, give_result};
use crate::call::{Call, Native, Raise};
use crate::program::calls::Waiter;
use crate::registry::Role;
use kernel::Pid;

pub(super) const FUNCTIONS: &[(&str, Native)] = &[
    ("call", Native::of(|call| run(call, "funcs.call(id, ...)", 0))),
    ("async", Native::of(|call| begin(call, "funcs.async(id, ...)", 0))),
    ("with_context", Native::of(|call| with_context(call, "funcs.with_context(values)", 0))),
    ("its_call", Native::of(|call| run(call, "caller:call(id, ...)", 1))),
    ("its_async", Native::of(|call| begin(call, "caller:async(id, ...)", 1))),
    ("and_context", Native::of(|call| with_context(call, "caller:with_context(values)", 1))),
    ("cancel", Native::of(cancel)),
];

/// Says that a method of `funcs.with_context` was called on something else.
fn on_a_caller(call: &Call<'_>, what: &str, before: usize) -> Result<(), Raise> {
    let fits = before == 0 || call.type_name(1) == "table" && call.state.metatable_pointer(1) == call.pod.caller;
    if fits {
        return Ok(());
    }
    let got = call.type_name(1);
    Err(Raise(format!("{what}: call it with a colon on what funcs.with_context gave, got {got}")))
}

/// Runs a function and waits for its result.
fn run(call: &mut Call<'_>, what: &str, before: usize) -> Result<usize, Raise> {
    on_a_caller(call, what, before)?;
    give_result(call, Beginning { what, role: Role::Function, before })
}

/// Begins a function and gives a future of its result.
fn begin(call: &mut Call<'_>, what: &str, before: usize) -> Result<usize, Raise> {
    on_a_caller(call, what, before)?;
    let state = call.state;
    if !state.reserve(8) {
        return Err(Raise("stack overflow".to_owned()));
    }
    // First, for making it may fail: the process is not to run without anybody who waits for it.
    state.push_ref(call.pod.refs.make_future);
    let future = state.top();
    if !state.call(0, 1) {
        return Err(Raise(format!("{what}: {}", state.describe(future))));
    }
    let pid = match awaited(call, Beginning { what, role: Role::Function, before })? {
        Ok(pid) => pid,
        Err(error) => return Ok(call.fail(&error)),
    };
    let reference = state.keep(future);
    call.program().more().execs.insert(pid, Waiter::Future(reference));
    let (_, cx) = call.both();
    call.pod.texts.push_pid(state, pid, cx.hosts());
    state.set_field(future, c"_pid");
    Ok(1)
}

fn with_context(call: &mut Call<'_>, what: &str, before: usize) -> Result<usize, Raise> {
    on_a_caller(call, what, before)?;
    more_context(call, what, before)?;
    finish(call, before, &[c"_context"], call.pod.refs.caller)
}

/// `cancel(pid) -> boolean`: calls a future's function off; whether it still ran.
fn cancel(call: &mut Call<'_>) -> Result<usize, Raise> {
    let text = call.bytes(1).unwrap_or_default().to_vec();
    let (program, cx) = call.both();
    let child = Pid::parse(&text, cx.hosts());
    let called_off = child.is_some_and(|child| program.call_off(child, cx));
    call.push_bool(called_off);
    Ok(1)
}
