//! Timers of processes; the wheel has tests of its own.

use crate::world::*;
use kernel::{HostId, Kind, Time, limits};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_timer_goes_off_once_and_never_early() {
    let mut world = World::new(1);
    let pid = world.puppet(0);
    let at = world.now.after(Duration::from_micros(10_500));
    world.act(pid, |cx| cx.set_timer(at, 7)).unwrap();
    for _ in 0..10 {
        world.advance(MS);
        assert_eq!(world.got(pid), []);
    }
    world.advance(MS);
    assert_eq!(world.got(pid), [Got::Timer(7)]);
    world.advance(Duration::from_secs(100));
    assert_eq!(world.got(pid).len(), 1);
    assert_eq!(world.counts().timers, 0);
}

#[test]
fn the_shard_says_when_it_has_to_be_called_for_its_timers() {
    let mut world = World::new(1);
    let pid = world.puppet(0);
    world.settle();
    assert_eq!(world.shards[0].next_due(), None);
    let span = Duration::from_secs(3_600);
    world.act(pid, |cx| cx.set_timer(cx.now().after(span), 1)).unwrap();
    let mut turns = 0;
    while world.got(pid).is_empty() {
        let due = world.shards[0].next_due().expect("a timer runs");
        assert!(due > world.now && due <= Time::default().after(span));
        world.now = due;
        world.settle();
        turns += 1;
    }
    assert_eq!(world.now, Time::default().after(span));
    assert!(turns < 10, "{turns}");
}

#[test]
fn a_stopped_timer_does_not_go_off_and_only_its_owner_stops_it() {
    let mut world = World::new(1);
    let (owner, other) = (world.puppet(0), world.puppet(0));
    let timer = world.act(owner, |cx| cx.set_timer(cx.now().after(MS), 1)).unwrap();
    assert!(!world.act(other, |cx| cx.cancel_timer(timer)));
    assert!(world.act(owner, |cx| cx.cancel_timer(timer)));
    assert!(!world.act(owner, |cx| cx.cancel_timer(timer)));
    world.advance(5 * MS);
    assert_eq!(world.got(owner), []);
    // Nor does the old handle stop the next timer.
    world.act(owner, |cx| cx.set_timer(cx.now().after(MS), 2)).unwrap();
    assert!(!world.act(owner, |cx| cx.cancel_timer(timer)));
}

#[test]
fn timers_of_one_millisecond_go_off_in_the_order_of_their_times_and_then_of_being_set() {
    let mut world = World::new(1);
    let pid = world.puppet(0);
    for (token, micros) in [(5, 10_900), (2, 10_200), (3, 10_200), (4, 10_500), (1, 10_100)] {
        let at = Time::default().after(Duration::from_micros(micros));
        world.act(pid, |cx| cx.set_timer(at, token)).unwrap();
    }
    world.advance(11 * MS);
    assert_eq!(world.got(pid), [1, 2, 3, 4, 5].map(Got::Timer));
}

#[test]
fn a_process_stops_all_its_timers_at_once_and_nobody_elses() {
    let mut world = World::new(1);
    let (owner, other) = (world.puppet(0), world.puppet(0));
    for n in 1..=100 {
        for pid in [owner, other] {
            world.act(pid, |cx| cx.set_timer(cx.now().after(MS * n), u64::from(n))).unwrap();
        }
    }
    world.advance(5 * MS);
    let before = world.got(owner).len();
    world.act(owner, |cx| cx.cancel_timers());
    assert_eq!(world.counts().timers as usize, 100 - world.got(other).len());
    world.act(owner, |cx| cx.set_timer(cx.now().after(MS), 7)).unwrap();
    world.advance(200 * MS);
    assert_eq!(world.got(owner)[before..], [Got::Timer(7)]);
    assert_eq!(world.got(other).len(), 100);
}

#[test]
fn the_timers_of_a_process_go_with_it() {
    let mut world = World::new(1);
    let pid = world.puppet(0);
    for n in 0..100 {
        world.act(pid, |cx| cx.set_timer(Time(n * 1_000_000_000), n)).unwrap();
    }
    world.returns(pid);
    // The next process of the slot gets none of them.
    let next = world.puppet(0);
    assert_eq!(world.counts().timers, 0);
    world.advance(Duration::from_secs(200));
    assert_eq!(world.got(next), []);
}

#[test]
fn running_and_unread_timers_of_a_process_are_bounded() {
    let mut world = World::new(1);
    let pid = world.mannered(0, HostId::SYSTEM, Manner::Deaf);
    let set = |world: &mut World| {
        let set = |_: &u32| world.act(pid, |cx| cx.set_timer(cx.now().after(MS), 1)).is_ok();
        (0..2 * limits::TIMERS_PER_PROCESS).filter(set).count() as u32
    };
    assert_eq!(set(&mut world), limits::TIMERS_PER_PROCESS);
    let error = world.act(pid, |cx| cx.set_timer(cx.now(), 1)).unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    world.advance(2 * MS);
    assert_eq!(world.counts().timers, 0);
    // They went off, but it did not read them.
    assert_eq!(set(&mut world), 0);
    world.manner(pid, Manner::Reads);
    world.nudge(pid);
    world.settle();
    assert_eq!(set(&mut world), limits::TIMERS_PER_PROCESS);
}
