//! The limits of a host: each refusal names the limit, its value and the host.

#[path = "programs/world.rs"]
mod world;
use kernel::{Counts, Error, Host};
use std::time::{Duration, Instant};
use world::{World, computed};

/// What a program of this body fails with on a host with those limits.
fn failure(body: &str, limit: impl FnOnce(&mut Host)) -> Error {
    let text = format!("local function main() {body} end local function child() process.inbox():receive() end");
    let mut world = World::new(&[("app:main", &text)], limit);
    world.spawn("app:main", Vec::new());
    world.exit().error.expect("a failure")
}

#[track_caller]
fn says(error: &Error, parts: &[&str]) {
    for part in parts.iter().chain(&["host \"app:processes\""]) {
        assert!(error.message.contains(part), "{part}: {error}");
    }
}

/// Sends to itself until that is refused.
const FLOOD: &str = "while true do
    local ok, err = process.send(process.pid(), 'x', string.rep('y', 100))
    if not ok then return nil, err end
end";

#[test]
fn a_full_mailbox_names_both_of_its_limits() {
    let error = failure(FLOOD, |host| host.mailbox_messages = 3);
    says(&error, &["is full", "mailbox_limit is 3", "mailbox_bytes is 8MiB"]);
    assert_eq!(error.kind, kernel::Kind::Unavailable);
    let error = failure(FLOOD, |host| host.mailbox_bytes = 1024);
    says(&error, &["is full", "mailbox_limit is 10000", "mailbox_bytes is 1KiB"]);
}

#[test]
fn a_payload_that_no_mailbox_of_the_host_can_take_names_mailbox_bytes() {
    let error = failure("process.send(process.pid(), 'x', {string.rep('y', 5000)})", |host| host.mailbox_bytes = 1024);
    says(&error, &["larger than 1KiB", "mailbox_bytes"]);
}

#[test]
fn a_process_beyond_max_processes_names_it() {
    let body = "while true do
        local pid, err = process.spawn('app:main', 'app:processes')
        if not pid then return nil, err end
    end";
    // Its children fail in the same way, so any of them may be the first.
    let error = failure(body, |host| host.max_processes = 3);
    says(&error, &["max_processes is 3"]);
    assert_eq!(error.kind, kernel::Kind::Unavailable);
}

#[test]
fn a_process_beyond_memory_limit_names_it_whether_it_leaked_or_took_all_at_once() {
    for body in ["local t = {} while true do t[#t + 1] = string.rep('x', 1000) .. #t end", "string.rep('x', 64e6)"] {
        let error = failure(body, |host| host.memory_limit = 16 << 20);
        says(&error, &["memory_limit is 16MiB"]);
        assert_eq!(error.kind, kernel::Kind::Unavailable, "{body}");
    }
}

#[test]
fn a_process_that_is_ended_because_it_could_not_be_preempted_names_the_slice() {
    for slice in [1, 5] {
        let body = "table.sort({2, 1}, function() while true do end end)";
        let error = failure(body, |host| host.slice = Duration::from_millis(slice));
        says(&error, &["10 ms", &format!("slice is {slice}ms")]);
    }
}

/// Runs a program that computes for a while: how often it was preempted, the time that passed and the time computed.
fn preempted(slice: Duration) -> (u64, Duration, Duration) {
    let body = "local function main() local s = 0 for n = 1, 3e6 do s += n % 7 end return s end";
    let mut world = World::new(&[("app:main", body)], |host| host.slice = slice);
    let (began, before) = (Instant::now(), computed());
    world.spawn("app:main", Vec::new());
    assert_eq!(world.exit().error, None);
    let node = world.shard.node();
    let counts = node.gauges().map(Counts::read).fold(Counts::default(), Counts::plus);
    (counts.preempted, began.elapsed(), computed() - before)
}

#[test]
fn nobody_is_preempted_before_the_slice_of_its_host_is_over() {
    for slice in [Duration::from_millis(10), Duration::from_millis(3), Duration::from_millis(1)] {
        let (times, passed, _) = preempted(slice);
        assert!(slice * times as u32 <= passed, "{slice:?}: {times} times in {passed:?}");
    }
}

#[test]
fn a_short_slice_is_ended_more_often_than_once_a_millisecond() {
    let mut seen = Vec::new();
    // A machine that has other things to do may let the watchdog wait.
    for _ in 0..50 {
        let (times, _, computed) = preempted(Duration::from_micros(100));
        if Duration::from_millis(1) * times as u32 > computed {
            return;
        }
        seen.push((times, computed));
    }
    panic!("preempted too rarely: {seen:?}");
}
