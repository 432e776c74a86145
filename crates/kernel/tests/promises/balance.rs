//! Where children start: with their parent, unless its shard has more to do than it can.

use crate::world::*;
use kernel::limits::{OVERLOADED_AFTER, OVERLOADED_FOR};
use kernel::{HostId, Pid};
use std::time::Duration;

/// What a turn takes.
const TURN: Duration = Duration::from_millis(2);

/// Lets all shards turn for a while.
fn pass(world: &mut World, span: Duration) {
    let end = world.now.after(span);
    while world.now < end {
        world.now = world.now.after(TURN);
        for shard in 0..world.shards.len() {
            world.turn(shard);
        }
    }
}

fn spinner(world: &mut World, shard: usize) -> Pid {
    world.mannered(shard, HostId::SYSTEM, Manner::Spins)
}

fn shard_of_child(world: &mut World, parent: Pid) -> usize {
    world.act(parent, |cx| cx.spawn(child())).unwrap().shard()
}

#[test]
fn children_of_an_overloaded_shard_start_on_one_that_is_not_until_it_has_recovered() {
    let mut world = World::new(3);
    let parent = world.puppet(0);
    world.settle();
    let (spins, also) = (spinner(&mut world, 0), spinner(&mut world, 1));
    // Short work is no overload.
    pass(&mut world, OVERLOADED_AFTER - TURN);
    assert_eq!(shard_of_child(&mut world, parent), 0);
    pass(&mut world, 4 * TURN);
    for _ in 0..6 {
        assert_eq!(shard_of_child(&mut world, parent), 2, "the only shard that has nothing to do");
    }
    // A pause in which nothing is left over is not yet the end of it.
    world.manner(spins, Manner::Reads);
    pass(&mut world, 2 * TURN);
    assert_eq!(shard_of_child(&mut world, parent), 2);
    pass(&mut world, OVERLOADED_FOR);
    assert_eq!(shard_of_child(&mut world, parent), 0);
    assert_eq!(world.counts().passed_on, 7);
    world.fails(also);
}

#[test]
fn an_overloaded_shard_keeps_its_children_while_all_others_are_busy() {
    let mut world = World::new(3);
    let parent = world.puppet(0);
    for shard in 0..3 {
        spinner(&mut world, shard);
    }
    pass(&mut world, 2 * OVERLOADED_AFTER);
    assert_eq!(shard_of_child(&mut world, parent), 0);
    assert_eq!(world.counts().passed_on, 0);
}

#[test]
fn a_shard_that_went_to_sleep_overloaded_takes_work_again() {
    let mut world = World::new(2);
    let (parent, once) = (world.puppet(0), spinner(&mut world, 1));
    pass(&mut world, 2 * OVERLOADED_AFTER);
    world.manner(once, Manner::Reads);
    world.settle();
    spinner(&mut world, 0);
    // Shard 1 rests: only shard 0 has turns.
    for _ in 0..100 {
        world.now = world.now.after(TURN);
        world.turn(0);
    }
    assert_eq!(shard_of_child(&mut world, parent), 1);
}

#[test]
fn what_a_parent_sends_to_a_child_elsewhere_comes_after_the_childs_first_message() {
    let mut world = World::new(2);
    let parent = world.puppet(0);
    spinner(&mut world, 0);
    pass(&mut world, 2 * OVERLOADED_AFTER);
    let pid = world.act(parent, |cx| {
        let pid = cx.spawn_as(monitored(), Some("child"), Some(message(cx.pid(), "first"))).unwrap();
        cx.send(pid, message(cx.pid(), "second")).unwrap();
        pid
    });
    assert_eq!(pid.shard(), 1);
    pass(&mut world, 2 * TURN);
    assert_eq!(world.topics(pid, parent), ["first", "second"]);
    world.returns(pid);
    pass(&mut world, 2 * TURN);
    assert_eq!(world.got(parent), [Got::Exit(pid, None)]);
}
