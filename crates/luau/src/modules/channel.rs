//! What channels need of the scheduler: to suspend a task, to wake one, and to look at a lane.

use crate::call::{Call, Native, Raise, WAIT};
use crate::modules::time::now_of;
use crate::program::slice::wait_token;
use crate::program::tasks::{Parked, Wait};
use kernel::Time;
use kernel::timers::TICK;

pub(super) const FUNCTIONS: &[(&str, Native)] = &[
    ("task", Native::of(task)),
    ("park", Native::of(park)),
    ("wake", Native::of(wake)),
    ("has", Native::of(has)),
    ("take", Native::of(take)),
    ("watch", Native::of(watch)),
    ("one_in", Native::of(one_in)),
    ("passed", Native::of(passed)),
];

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

/// `park(waiter, what?, due?, call?)`: suspends the running task until it is woken, at `due` at the latest; not at all if
/// that has happened since the waiter was set up, for the task may have been preempted in between. `what` says what it
/// waits for if only another task of the program can bring it: 1 to receive, 2 to send, 3 one of several. If the process
/// has no timer left for `due`, nobody is to serve the waiter, and the `call` raises.
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
    let due = call.number(3);
    let parked = match call.number(2).unwrap_or(0.0) as u32 {
        _ if due.is_some() => Parked::Open,
        1 => Parked::Receive,
        2 => Parked::Send,
        3 => Parked::Select,
        _ => Parked::Open,
    };
    let (program, cx) = call.both();
    let (id, turn) = program.wait(Wait::Park(parked));
    let Some(due) = due else { return Ok(WAIT) };
    let set = cx.set_timer(Time(due as u64), wait_token(id, turn));
    if let Some(task) = program.task(id) {
        match set {
            Ok(timer) => task.timer = Some(timer),
            Err(_) => task.wait = Wait::Running,
        }
    }
    let Err(error) = set else { return Ok(WAIT) };
    if call.type_name(1) == "table" {
        state.push_bool(true);
        state.set_field(1, c"done");
    }
    Err(Raise(format!("{}: {error}", call.text(4).unwrap_or("waiting"))))
}

/// `passed(due) -> number?`: when a deadline went off, in seconds since 1970, if it has passed.
fn passed(call: &mut Call<'_>) -> Result<usize, Raise> {
    let due = call.number(1).unwrap_or(f64::INFINITY) as u64;
    let now = now_of(call);
    if now.0 < due {
        call.push_nil();
    } else {
        // A timer would have gone off with the next tick.
        let at = Time(due.div_ceil(TICK).saturating_mul(TICK)).min(now);
        let wall = call.program().timer().wall(at);
        call.push_number(wall);
    }
    Ok(1)
}

/// `wake(task)`.
fn wake(call: &mut Call<'_>) -> Result<usize, Raise> {
    let id = call.number(1).unwrap_or(0.0) as u32;
    call.program().wake(id, 0);
    Ok(0)
}

/// `has(lane)`: whether something waits on a lane.
fn has(call: &mut Call<'_>) -> Result<usize, Raise> {
    let lane = call.number(1).unwrap_or(0.0) as u32;
    let (program, cx) = call.both();
    let has = program.has(lane, cx);
    call.push_bool(has);
    Ok(1)
}

/// `take(lane) -> false | true, …`: the next item of a lane, if there is one.
fn take(call: &mut Call<'_>) -> Result<usize, Raise> {
    let lane = call.number(1).unwrap_or(0.0) as u32;
    let (program, cx) = call.both();
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
    program.watch(lane, id, turn);
    // Something came after the task had looked.
    if !program.more().lanes.get(lane).is_empty()
        && let Some(task) = program.task(id)
    {
        task.skip = true;
    }
    Ok(0)
}

/// `one_in(n)`: true once in `n` times, by chance. Each process has a sequence of its own, always the same.
fn one_in(call: &mut Call<'_>) -> Result<usize, Raise> {
    let n = call.number(1).unwrap_or(1.0).clamp(1.0, 4e9) as u64;
    let choice = &mut call.program().more().choice;
    // SplitMix64 (Steele, Lea and Flood, 2014).
    *choice = choice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *choice;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let taken = ((mixed >> 32) * n) >> 32 == 0;
    call.push_bool(taken);
    Ok(1)
}
