//! `time`: waiting and clocks. Durations are texts such as `"1.5s"` or numbers of nanoseconds.

use crate::call::{Call, Native, Raise, WAIT};
use crate::modules::channel::must_be_able_to_wait;
use crate::program::lanes::ChannelTimer;
use crate::program::slice::wait_token;
use crate::program::tasks::Wait;
use kernel::Time;
use kernel::timers::TICK;

pub(super) const FUNCTIONS: &[(&str, Native)] = &[
    ("sleep", Native::of(sleep)),
    ("deadline", Native::of(deadline)),
    ("start", Native::of(start)),
    ("stop", Native::of(stop)),
    ("now", Native::of(now)),
];

/// Bytes of a duration's text.
const LONGEST: usize = 64;

/// The nanoseconds of a duration.
fn duration(call: &Call<'_>, argument: usize, what: &str) -> Result<u64, Raise> {
    if let Some(number) = call.number(argument) {
        if number.is_nan() {
            return Err(Raise(format!("{what}: duration: not a number")));
        }
        return Ok(number.clamp(0.0, 9e18) as u64);
    }
    let Some(text) = call.text(argument) else {
        let kind = call.type_name(argument);
        return Err(Raise(format!("{what}: duration: expected a text such as \"1.5s\" or nanoseconds, got {kind}")));
    };
    if text.len() > LONGEST {
        return Err(Raise(format!("{what}: duration: expected a text such as \"1.5s\", got {} bytes", text.len())));
    }
    match units::duration::parse(text) {
        Ok(duration) => Ok(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        Err(error) => Err(Raise(format!("{what}: duration: {error}"))),
    }
}

/// `time.sleep(duration)`.
fn sleep(call: &mut Call<'_>) -> Result<usize, Raise> {
    let what = "time.sleep(duration)";
    let nanoseconds = duration(call, 1, what)?;
    must_be_able_to_wait(call, what)?;
    let due = now_of(call).0.saturating_add(nanoseconds);
    let (id, turn) = call.program().wait(Wait::Sleep);
    if let Err(error) = call.cx().set_timer(Time(due), wait_token(id, turn)) {
        if let Some(task) = call.program().task(id) {
            task.wait = Wait::Running;
        }
        return Err(Raise(format!("{what}: {error}")));
    }
    Ok(WAIT)
}

/// `deadline(duration) -> number`: when a duration that begins now is over. Nothing is started.
fn deadline(call: &mut Call<'_>) -> Result<usize, Raise> {
    let nanoseconds = duration(call, 1, "time.after(duration)")?;
    let now = now_of(call).0;
    // Not before the next tick, as a timer: who waits for no time at all again and again lets others run.
    let due = now.saturating_add(nanoseconds).max((now / TICK + 1) * TICK);
    let rounded = due as f64;
    // Never early, not even where a number has no room for the last nanosecond.
    call.push_number(if (rounded as u64) < due { rounded.next_up() } else { rounded });
    Ok(1)
}

/// `start(duration, channel) -> timer`: puts a tick into a channel after each duration.
fn start(call: &mut Call<'_>) -> Result<usize, Raise> {
    let what = "time.ticker(duration)";
    let every = duration(call, 1, what)?;
    if every == 0 {
        return Err(Raise(format!("{what}: duration: must be more than zero")));
    }
    let due = now_of(call).0.saturating_add(every);
    let channel = call.state.keep(2);
    let key = call.program().more().lanes.add_timer(ChannelTimer { channel, every, due, id: None });
    match call.cx().set_timer(Time(due), key) {
        Ok(id) => {
            if let Some(timer) = call.program().more().lanes.timer(key) {
                timer.id = Some(id);
            }
            call.push_number(key as f64);
            Ok(1)
        }
        Err(error) => {
            call.program().more().lanes.remove_timer(key);
            call.state.release(channel);
            Err(Raise(format!("{what}: {error}")))
        }
    }
}

/// `stop(timer)`.
fn stop(call: &mut Call<'_>) -> Result<usize, Raise> {
    let key = call.number(1).unwrap_or(0.0) as u64;
    if let Some(timer) = call.program().more().lanes.remove_timer(key) {
        if let Some(id) = timer.id {
            call.cx().cancel_timer(id);
        }
        call.state.release(timer.channel);
    }
    Ok(0)
}

/// `time.now() -> number`: seconds since 1970.
fn now(call: &mut Call<'_>) -> Result<usize, Raise> {
    let time = now_of(call);
    let wall = call.program().timer().wall(time);
    call.push_number(wall);
    Ok(1)
}

pub(super) fn now_of(call: &mut Call<'_>) -> Time {
    (call.program().timer().clock)()
}
