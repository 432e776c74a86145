//! What channels need of the scheduler: to suspend a task, to wake one, and to look at a lane.

use crate::call::{Call, Native, Raise, WAIT};
use crate::program::tasks::Wait;

pub(super) const FUNCTIONS: &[(&str, Native)] =
    &[("task", task), ("park", park), ("wake", wake), ("take", take), ("watch", watch)];

/// Says that the call cannot wait where it stands.
pub(super) fn must_be_able_to_wait(call: &Call<'_>, what: &str) -> Result<(), Raise> {
    if call.pod.can_suspend(call.state) {
        return Ok(());
    }
    Err(Raise(format!("{what}: cannot wait inside a metamethod, a sort comparator or a gsub callback")))
}

/// `task(what) -> number`: the running task, which is about to wait. Raises where it cannot.
fn task(call: &mut Call<'_>) -> Result<usize, Raise> {
    let what = call.text(1).unwrap_or("waiting").to_owned();
    must_be_able_to_wait(call, &what)?;
    let id = call.program().current();
    call.push_number(f64::from(id));
    Ok(1)
}

/// `park(waiter)`: suspends the running task until it is woken; not at all if that has happened since the waiter was
/// set up, for the task may have been preempted in between.
fn park(call: &mut Call<'_>) -> Result<usize, Raise> {
    let state = call.state;
    let done = call.type_name(1) == "table" && {
        state.get_field(1, c"done");
        state.boolean(-1)
    };
    let program = call.program();
    let id = program.current();
    let skip = program.task(id).is_some_and(|task| std::mem::take(&mut task.skip));
    if done || skip {
        return Ok(0);
    }
    must_be_able_to_wait(call, "waiting")?;
    call.program().wait(Wait::Park);
    Ok(WAIT)
}

/// `wake(task)`.
fn wake(call: &mut Call<'_>) -> Result<usize, Raise> {
    let id = call.number(1).unwrap_or(0.0) as u32;
    call.program().wake(id, 0);
    Ok(0)
}

/// `take(lane) -> false | true, …`: the next item of a lane, if there is one.
fn take(call: &mut Call<'_>) -> Result<usize, Raise> {
    let lane = call.number(1).unwrap_or(0.0) as u32;
    let (program, cx) = call.both();
    if program.more.as_mut().is_some_and(|more| more.lanes.get(lane).closed) {
        call.push_bool(true);
        call.push_nil();
        return Ok(2);
    }
    match program.take(lane, cx) {
        Some(item) => {
            let state = call.state;
            state.push_bool(true);
            let (program, cx) = call.both();
            Ok(1 + program.push_item(state, item, cx) as usize)
        }
        None => {
            call.push_bool(false);
            Ok(1)
        }
    }
}

/// `watch(lane)`: the running task, which is about to park, is woken when something comes.
fn watch(call: &mut Call<'_>) -> Result<usize, Raise> {
    let lane = call.number(1).unwrap_or(0.0) as u32;
    let program = call.program();
    let id = program.current();
    // The turn that the coming `park` will begin.
    let turn = program.task(id).map_or(0, |task| task.turn.wrapping_add(1));
    let lane = program.more().lanes.get(lane);
    lane.waiters.push_back((id, turn));
    // Something came after the task had looked.
    if (!lane.items.is_empty() || lane.closed)
        && let Some(task) = program.task(id)
    {
        task.skip = true;
    }
    Ok(0)
}
