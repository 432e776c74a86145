//! Registered names.

use crate::world::*;
use kernel::{HostId, Kind, Spawn, limits};

#[test]
fn a_name_is_found_from_every_shard_at_once() {
    let mut world = World::new(2);
    let (here, there) = (world.puppet(0), world.puppet(1));
    world.settle();
    world.act(here, |cx| cx.register("kitchen", here)).unwrap();
    assert_eq!(world.act(there, |cx| cx.lookup("kitchen")), Some(here));
    assert_eq!(world.act(there, |cx| cx.lookup("cellar")), None);
}

#[test]
fn a_held_name_already_exists_whoever_asks() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (holder, other) = (world.puppet(0), world.puppet(shard));
        world.act(holder, |cx| cx.register("kitchen", holder)).unwrap();
        for pid in [holder, other] {
            let error = world.act(pid, |cx| cx.register("kitchen", pid)).unwrap_err();
            assert_eq!(error.kind, Kind::AlreadyExists);
            assert!(error.message.contains(&holder.text(&world.node.hosts).to_string()), "{error}");
        }
        assert_eq!(world.node.names(), 1);
    }
}

#[test]
fn a_name_is_free_again_when_its_owner_gives_it_up_or_ends() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (giver, owner) = (world.puppet(0), world.puppet(shard));
        world.act(giver, |cx| {
            cx.register("a", owner).unwrap();
            cx.register("b", owner).unwrap();
            // Only the owner gives it up.
            assert!(!cx.unregister("a"));
        });
        world.settle();
        assert!(world.act(owner, |cx| cx.unregister("a")));
        assert!(!world.act(owner, |cx| cx.unregister("a")));
        assert_eq!(world.node.names(), 1);
        world.returns(owner);
        assert_eq!((world.node.lookup("a"), world.node.lookup("b")), (None, None));
    }
}

#[test]
fn a_name_given_to_a_process_that_ends_before_it_hears_of_it_is_released() {
    let mut world = World::new(2);
    let (giver, owner) = (world.puppet(0), world.puppet(1));
    world.settle();
    world.act(giver, |cx| cx.register("late", owner)).unwrap();
    world.returns(owner);
    world.settle();
    assert_eq!(world.node.names(), 0);
    let error = world.act(giver, |cx| cx.register("dead", owner)).unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
}

#[test]
fn a_name_that_was_given_up_before_its_owner_heard_of_it_stays_with_its_next_owner() {
    let mut world = World::new(2);
    let (giver, owner) = (world.puppet(0), world.puppet(1));
    world.settle();
    world.act(giver, |cx| cx.register("hot", owner)).unwrap();
    assert!(world.act(owner, |cx| cx.unregister("hot")));
    world.act(giver, |cx| cx.register("hot", giver)).unwrap();
    world.settle();
    world.returns(owner);
    world.settle();
    assert_eq!(world.node.lookup("hot"), Some(giver));
}

#[test]
fn a_process_holds_a_bounded_number_of_names_whoever_gives_them_and_however_often() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (giver, owner) = (world.puppet(0), world.puppet(shard));
        world.settle();
        let given = (0..2 * limits::NAMES_PER_PROCESS)
            .filter(|n| world.act(giver, |cx| cx.register(&format!("name {n}"), owner)).is_ok())
            .count();
        assert_eq!(given, limits::NAMES_PER_PROCESS);
        let error = world.act(giver, |cx| cx.register("one more", owner)).unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
        // A name that somebody else holds does not count.
        world.act(giver, |cx| cx.register("mine", giver)).unwrap();
        for _ in 0..2 * limits::NAMES_PER_PROCESS {
            assert!(world.act(giver, |cx| cx.register("mine", giver)).is_err());
            assert!(world.act(giver, |cx| cx.register("given up", giver)).is_ok());
            assert!(world.act(giver, |cx| cx.unregister("given up")));
        }
        world.settle();
        assert!(world.act(owner, |cx| cx.unregister("name 7")));
        world.act(giver, |cx| cx.register("one more", owner)).unwrap();
        world.settle();
        world.returns(owner);
        assert_eq!(world.node.names(), 1);
    }
}

#[test]
fn what_could_be_a_pid_or_nobody_cannot_be_a_name() {
    let mut world = World::new(1);
    let pid = world.puppet(0);
    let long = "x".repeat(limits::LABEL_BYTES + 1);
    for name in ["", "nil", "{app:x|1.0.0.1}", "@system", &long] {
        let error = world.act(pid, |cx| cx.register(name, pid)).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid, "{name}");
    }
    world.act(pid, |cx| cx.register(&long[1..], pid)).unwrap();
}

#[test]
fn a_process_born_with_a_name_and_a_message_has_both_before_it_runs() {
    for spread_out in [false, true] {
        let mut world = World::with_hosts(2, vec![spread()]);
        let (parent, other) = (world.puppet(0), world.puppet(1));
        world.settle();
        let host = if spread_out { world.node.hosts.find("app:spread").unwrap() } else { HostId::SYSTEM };
        for name in ["tea", "coffee"] {
            let first = Some(message(parent, "first"));
            let child = world.act(parent, |cx| cx.spawn_as(Spawn { host, ..child() }, Some(name), first)).unwrap();
            // Found at once from everywhere; what is sent now comes behind the first message.
            let found = world.act(other, |cx| cx.lookup(name)).unwrap();
            assert_eq!(found, child);
            world.act(other, |cx| cx.send(found, message(other, "second"))).unwrap();
            world.settle();
            let got = [Got::Message(parent, "first".into()), Got::Message(other, "second".into())];
            assert_eq!(world.got(child), got);
            world.returns(child);
            world.settle();
        }
        assert_eq!(world.node.names(), 0);
    }
}

#[test]
fn a_process_whose_name_is_held_is_not_born() {
    for spread_out in [false, true] {
        let mut world = World::with_hosts(2, vec![spread()]);
        let parent = world.puppet(0);
        world.settle();
        let host = world.node.hosts.find(if spread_out { "app:spread" } else { "moonwire:system" }).unwrap();
        world.act(parent, |cx| cx.register("tea", parent)).unwrap();
        let before = world.node.hosts[host].living();
        for _ in 0..2 {
            let spawn = Spawn { host, monitored: true, linked: true, ..child() };
            let error = world.act(parent, |cx| cx.spawn_as(spawn, Some("tea"), None)).unwrap_err();
            assert_eq!(error.kind, Kind::AlreadyExists);
        }
        world.settle();
        assert_eq!((world.node.hosts[host].living(), world.got(parent)), (before, vec![]));
    }
}

#[test]
fn a_name_of_a_process_that_was_just_ended_is_free_for_its_successor() {
    let mut world = World::new(1);
    let parent = world.puppet(0);
    let old = world.puppet(0);
    world.act(parent, |cx| cx.register("tea", old)).unwrap();
    let new = world.act(parent, |cx| {
        cx.terminate(old, None).unwrap();
        cx.spawn_as(child(), Some("tea"), None).unwrap()
    });
    world.settle();
    assert_eq!(world.node.lookup("tea"), Some(new));
}
