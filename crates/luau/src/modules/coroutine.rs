//! `coroutine.spawn`.

use crate::call::{Call, Native, Raise};
use crate::state::State;

pub(super) const FUNCTIONS: &[(&str, Native)] = &[("spawn", Native::of(spawn))];

/// `coroutine.spawn(fn, ...)`: runs fn beside the caller; it begins when the caller waits.
fn spawn(call: &mut Call<'_>) -> Result<usize, Raise> {
    if call.type_name(1) != "function" {
        return Err(Raise(format!("coroutine.spawn(fn, ...): fn: expected a function, got {}", call.type_name(1))));
    }
    let state = call.state;
    let count = call.count() as i32;
    let thread = state.push_thread();
    if !thread.reserve(count + 1) {
        return Err(Raise("coroutine.spawn(fn, ...): too many arguments".to_owned()));
    }
    // What may fail for want of memory comes before the thread is kept for good.
    let anchor = state.keep(-1);
    state.pop(1);
    state.move_to(thread, count);
    let birth = birth(state);
    call.program().more().tasks.add(thread, anchor, count - 1, birth);
    Ok(0)
}

/// The calls on a thread, without the one of `coroutine.spawn` itself.
fn birth(state: State) -> String {
    let trace = state.trace();
    match trace.split_once('\n') {
        Some((first, rest)) if first.starts_with("[C]") => rest.to_owned(),
        _ => trace,
    }
}
