//! Process groups: members, broadcasts, and who is told of joins and leaves.

use crate::world::*;
use kernel::{Body, Host, Kind, Pid, Topic, limits};

fn broadcast(world: &mut World, from: Pid, group: &str, topic: &str) -> usize {
    world.act(from, |cx| cx.broadcast(group, Topic::from(topic), Body::None))
}

fn members(world: &mut World, by: Pid, group: &str) -> Vec<Pid> {
    let mut members = world.act(by, |cx| cx.members(group));
    members.sort_unstable();
    members
}

#[test]
fn members_are_seen_from_every_shard_at_once_each_of_them_once() {
    let mut world = World::new(2);
    let (here, there) = (world.puppet(0), world.puppet(1));
    world.settle();
    world.act(here, |cx| {
        cx.join("players", here).unwrap();
        cx.join("players", there).unwrap();
        cx.join("players", there).unwrap();
    });
    assert_eq!(members(&mut world, there, "players"), [here, there]);
    assert_eq!(members(&mut world, there, "guests"), []);
    assert!(world.act(there, |cx| cx.leave("players", there)));
    assert!(!world.act(here, |cx| cx.leave("players", there)));
    assert_eq!(members(&mut world, here, "players"), [here]);
}

#[test]
fn who_ends_leaves_its_groups_and_nothing_is_left_of_them() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (keeper, member) = (world.puppet(0), world.puppet(shard));
        world.settle();
        for group in ["players", "guests"] {
            world.act(keeper, |cx| cx.join(group, member)).unwrap();
            world.act(keeper, |cx| cx.monitor_group(group)).unwrap();
        }
        world.fails(member);
        assert_eq!(members(&mut world, keeper, "players"), []);
        assert_eq!(world.act(keeper, |cx| cx.join("players", member)).unwrap_err().kind, Kind::NotFound);
        assert_eq!(world.node.groups(), (2, 2));
        world.returns(keeper);
        assert_eq!(world.node.groups(), (0, 0));
    }
}

#[test]
fn a_broadcast_reaches_every_member_once_and_its_sender_if_it_is_one() {
    let mut world = World::new(3);
    let all: Vec<Pid> = (0..9).map(|n| world.puppet(n % 3)).collect();
    let outside = world.puppet(0);
    world.settle();
    for &pid in &all {
        world.act(pid, |cx| cx.join("players", pid)).unwrap();
    }
    assert_eq!(broadcast(&mut world, all[4], "players", "goal"), 9);
    assert_eq!(broadcast(&mut world, outside, "players", "end"), 9);
    assert_eq!(broadcast(&mut world, outside, "guests", "end"), 0);
    world.settle();
    for &pid in &all {
        assert_eq!(world.topics(pid, all[4]), ["goal"]);
        assert_eq!(world.topics(pid, outside), ["end"]);
    }
    assert_eq!(world.got(outside), []);
}

#[test]
fn broadcasts_and_messages_of_one_sender_arrive_in_their_order() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (sender, member) = (world.puppet(0), world.puppet(shard));
        world.settle();
        world.act(sender, |cx| cx.join("players", member)).unwrap();
        for n in 0..20 {
            if n % 3 == 0 {
                assert_eq!(broadcast(&mut world, sender, "players", &n.to_string()), 1);
            } else {
                world.send(sender, member, &n.to_string());
            }
        }
        world.settle();
        let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        assert_eq!(world.topics(member, sender), expected);
    }
}

#[test]
fn a_broadcast_is_for_those_who_are_members_when_it_is_made() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (sender, member, late) = (world.puppet(0), world.puppet(shard), world.puppet(shard));
        world.settle();
        world.act(sender, |cx| cx.join("players", member)).unwrap();
        broadcast(&mut world, sender, "players", "now");
        world.act(sender, |cx| {
            assert!(cx.leave("players", member));
            cx.join("players", late).unwrap();
        });
        world.settle();
        assert_eq!((world.topics(member, sender).len(), world.got(late).len()), (1, 0));
    }
}

#[test]
fn a_full_mailbox_refuses_a_broadcast_and_the_others_get_it() {
    for shard in NEAR_AND_FAR {
        let mut small = Host::new("app:small");
        small.mailbox_messages = 3;
        let mut world = World::with_hosts(2, vec![small]);
        let host = world.host("app:small");
        let (sender, reader) = (world.puppet(0), world.puppet(shard));
        let deaf = world.mannered(shard, host, Manner::Deaf);
        world.settle();
        for pid in [reader, deaf] {
            world.act(sender, |cx| cx.join("players", pid)).unwrap();
        }
        let sent: usize = (0..10).map(|n| broadcast(&mut world, sender, "players", &n.to_string())).sum();
        assert_eq!(sent, 10 + 3);
        world.settle();
        assert_eq!(broadcast(&mut world, sender, "players", "10"), 1);
        assert_eq!(world.counts().refused, 8);
        world.settle();
        assert_eq!(world.topics(reader, sender).len(), 11);
        world.manner(deaf, Manner::Reads);
        world.nudge(deaf);
        world.settle();
        assert_eq!(world.topics(deaf, sender), ["0", "1", "2"]);
        assert_eq!(broadcast(&mut world, sender, "players", "11"), 2);
    }
}

#[test]
fn a_monitor_is_told_of_every_join_and_leave_after_what_it_was_given() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (watcher, old, new) = (world.puppet(0), world.puppet(shard), world.puppet(shard));
        world.settle();
        world.act(old, |cx| cx.join("players", old)).unwrap();
        assert_eq!(world.act(watcher, |cx| cx.monitor_group("players")).unwrap(), [old]);
        let again = world.act(watcher, |cx| cx.monitor_group("players")).unwrap_err();
        assert_eq!(again.kind, Kind::AlreadyExists);
        world.act(new, |cx| cx.join("players", new)).unwrap();
        world.act(new, |cx| cx.join("guests", new)).unwrap();
        world.settle();
        world.returns(old);
        world.settle();
        let group = || "players".to_owned();
        assert_eq!(world.got(watcher), [Got::Joined(new, group()), Got::Left(old, group())]);
        assert!(world.act(watcher, |cx| cx.unmonitor_group("players")));
        assert!(!world.act(watcher, |cx| cx.unmonitor_group("players")));
        world.fails(new);
        world.settle();
        assert_eq!(world.got(watcher).len(), 2);
    }
}

#[test]
fn a_monitor_that_does_not_read_is_told_only_what_is_different_when_it_does() {
    let mut world = World::new(2);
    let (watcher, stays, other) = (world.puppet(0), world.puppet(1), world.puppet(1));
    world.settle();
    world.manner(watcher, Manner::Deaf);
    world.act(watcher, |cx| cx.join("players", other)).unwrap();
    world.act(watcher, |cx| cx.monitor_group("players")).unwrap();
    for _ in 0..1_000 {
        world.act(stays, |cx| cx.join("players", stays)).unwrap();
        world.act(stays, |cx| assert!(cx.leave("players", stays)));
    }
    world.act(stays, |cx| cx.join("players", stays)).unwrap();
    world.act(other, |cx| assert!(cx.leave("players", other)));
    world.settle();
    world.manner(watcher, Manner::Reads);
    world.nudge(watcher);
    world.settle();
    let group = || "players".to_owned();
    assert_eq!(world.got(watcher), [Got::Joined(stays, group()), Got::Left(other, group())]);
}

#[test]
fn what_a_monitor_is_told_has_the_order_in_which_it_happened_whoever_did_it() {
    let mut world = World::new(3);
    let (watcher, room, member) = (world.puppet(2), world.puppet(0), world.puppet(1));
    world.settle();
    world.act(watcher, |cx| cx.monitor_group("players")).unwrap();
    // The shard of the one who let it join hands over last.
    world.act(room, |cx| cx.join("players", member)).unwrap();
    world.fails(member);
    world.turn(1);
    world.turn(2);
    world.settle();
    assert!(matches!(&*world.got(watcher), [] | [Got::Joined(..), Got::Left(..)]), "{:?}", world.got(watcher));
}

#[test]
fn a_process_is_in_a_bounded_number_of_groups_and_monitors_as_many() {
    let mut world = World::new(1);
    let pid = world.puppet(0);
    world.act(pid, |cx| {
        for n in 0..limits::GROUPS_PER_PROCESS {
            cx.join(&format!("group {n}"), pid).unwrap();
            cx.monitor_group(&format!("group {n}")).unwrap();
        }
        assert_eq!(cx.join("one more", pid).unwrap_err().kind, Kind::Unavailable);
        assert_eq!(cx.monitor_group("one more").unwrap_err().kind, Kind::Unavailable);
        assert!(cx.leave("group 7", pid));
        cx.join("one more", pid).unwrap();
        for name in ["", "@system", &"x".repeat(limits::LABEL_BYTES + 1)] {
            assert_eq!(cx.join(name, pid).unwrap_err().kind, Kind::Invalid);
        }
    });
    world.returns(pid);
    assert_eq!(world.node.groups(), (0, 0));
}
