//! PIDs, slots, hosts and where children start.

use crate::world::*;
use kernel::{Host, Kind, Pid, Spawn};
use std::collections::HashSet;

#[test]
fn no_pid_is_used_twice_although_slots_are() {
    let mut world = World::new(2);
    let (mut pids, mut slots) = (HashSet::new(), HashSet::new());
    for n in 0..500 {
        let pid = world.puppet(n % 2);
        world.settle();
        if n % 3 == 0 {
            world.fails(pid)
        } else {
            world.returns(pid)
        }
        let text = pid.text(&world.node.hosts).to_string();
        let slot = text.rsplit_once('.').unwrap().0.to_owned();
        assert!(pids.insert(text), "{pid:?} came twice");
        slots.insert(slot);
    }
    assert!(slots.len() < 10, "slots are used again: {slots:?}");
}

#[test]
fn a_pid_of_the_past_reaches_nobody_and_says_so() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (from, old) = (world.puppet(0), world.puppet(shard));
        world.settle();
        world.send(from, old, "on its way");
        world.returns(old);
        let new = world.puppet(shard);
        world.settle();
        assert!(world.is_alive(new) && !world.is_alive(old));
        assert!(world.act(from, |cx| cx.send(old, message(from, "late"))).is_err());
        assert!(world.act(from, |cx| cx.terminate(old, None)).is_err());
        world.settle();
        assert_eq!(world.got(new), []);
    }
}

#[test]
fn a_pid_of_another_start_of_the_node_is_nobody() {
    let mut world = World::new(1);
    let pid = world.puppet(0);
    let text = pid.text(&world.node.hosts).to_string().replace("b007", "b008");
    let of_before = Pid::parse(text.as_bytes(), &world.node.hosts).unwrap();
    assert!(!world.is_alive(of_before));
    assert!(world.act(pid, |cx| cx.monitor(of_before)).is_err());
}

#[test]
fn a_host_takes_so_many_processes_and_says_so() {
    let mut limited = Host::new("app:few");
    limited.max_processes = 3;
    let mut world = World::with_hosts(2, vec![limited]);
    let host = world.host("app:few");
    let parent = world.puppet(0);
    let few: Vec<Pid> = (0..3).map(|n| world.puppet_on(n % 2, host)).collect();
    let error = world.act(parent, |cx| cx.spawn(Spawn { host, ..monitored() })).unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.message.contains("app:few") && error.message.contains('3'), "{error}");
    assert_eq!(world.counts().monitors, 0);
    world.settle();
    world.returns(few[1]);
    world.act(parent, |cx| cx.spawn(Spawn { host, ..child() })).unwrap();
}

#[test]
fn children_start_beside_their_parent_or_on_the_shards_in_turn_as_their_host_says() {
    let mut world = World::with_hosts(4, vec![spread()]);
    let host = world.host("app:spread");
    let parent = world.puppet(3);
    let beside: Vec<usize> = (0..8).map(|_| world.act(parent, |cx| cx.spawn(child())).unwrap().shard()).collect();
    assert_eq!(beside, [3; 8]);
    let mut in_turn = [0; 4];
    for _ in 0..8 {
        let pid = world.act(parent, |cx| cx.spawn(Spawn { host, ..child() })).unwrap();
        assert!(world.is_alive(pid));
        // It is answered at once, and so is what is done with it.
        world.act(parent, |cx| {
            cx.send(pid, message(parent, "welcome")).unwrap();
            cx.monitor(pid).unwrap();
            cx.register(&format!("child {pid:?}"), pid).unwrap();
        });
        in_turn[pid.shard()] += 1;
        world.stage.lock().unwrap().got.entry(pid).or_default();
    }
    assert_eq!(in_turn, [2; 4]);
    world.settle();
    let children: Vec<Pid> = world.stage.lock().unwrap().got.keys().copied().filter(|&pid| pid != parent).collect();
    assert_eq!(children.len(), 8);
    for pid in children {
        assert_eq!(world.topics(pid, parent), ["welcome"]);
        assert_eq!(world.act(pid, |cx| cx.parent_of(pid)), Some(parent));
    }
}

#[test]
fn a_seed_that_cannot_be_made_is_a_failure_of_the_new_process() {
    let mut world = World::new(1);
    let parent = world.puppet(0);
    let make: Make = Box::new(|_| Err(kernel::Error::new(Kind::Invalid, "no such program")));
    let body = kernel::SpawnBody::Seed(Box::new(make));
    let pid = world.act(parent, |cx| cx.spawn(Spawn { body, ..monitored() })).unwrap();
    world.settle();
    assert_eq!(world.got(parent), [Got::Exit(pid, Some(Kind::Invalid))]);
}
