//! `events`: the natives of publishing and subscribing.

use crate::call::{Call, Native, Raise};
use crate::modules::process;
use crate::value;
use kernel::Body;

pub(super) const FUNCTIONS: &[(&str, Native)] =
    &[("publish", Native::of(publish)), ("subscribe", Native::of(subscribe)), ("unsubscribe", Native::of(unsubscribe))];

/// `events.publish(topic, ...)`.
fn publish(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "events.publish(topic, ...)";
    let topic = process::topic(call, 1, WHAT)?;
    let host = call.program().pid.host();
    let most = call.cx().hosts()[host].mailbox_bytes;
    let count = call.count().saturating_sub(1) as i32;
    let body = match value::arguments(call.state, call.pod, 2, count, most) {
        Ok(None) => Body::None,
        Ok(Some(term)) => Body::Term(term),
        Err(text) => return Err(Raise(format!("{WHAT}: payload: {}", value::explain(&text)))),
    };
    match call.cx().publish(topic, body) {
        Ok(sent) => {
            call.push_number(sent as f64);
            Ok(1)
        }
        Err(error) => Err(Raise(format!("{WHAT}: topic: {error}"))),
    }
}

/// `subscribe(pattern) -> lane`.
fn subscribe(call: &mut Call<'_>) -> Result<usize, Raise> {
    let pattern = String::from_utf8_lossy(call.bytes(1).unwrap_or_default()).into_owned();
    match call.cx().subscribe(&pattern) {
        Ok(subscription) => {
            let lane = call.program().more().lanes.subscribe(subscription);
            call.push_number(f64::from(lane));
            Ok(1)
        }
        Err(error) => Ok(call.fail(&error)),
    }
}

/// `unsubscribe(lane)`: whether it was the lane of a subscription.
fn unsubscribe(call: &mut Call<'_>) -> Result<usize, Raise> {
    let lane = call.number(1).unwrap_or(0.0) as u32;
    let (program, cx) = call.both();
    let ended = program.unsubscribe(lane, cx);
    call.push_bool(ended);
    Ok(1)
}
