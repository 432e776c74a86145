//! Turns at a full mailbox: first come, first served, and nobody is forgotten.

use crate::patient::Patient;
use crate::world::*;
use kernel::{Host, HostId, Pid, Refused, SpawnBody};
use std::time::Duration;

/// Two shards and a host `app:small` whose mailboxes take that many messages.
fn world(messages: u32, bytes: u64) -> (World, HostId) {
    let mut host = Host::new("app:small");
    (host.mailbox_messages, host.mailbox_bytes) = (messages, bytes);
    let world = World::with_hosts(2, vec![host]);
    let host = world.host("app:small");
    (world, host)
}

fn sender(world: &mut World, shard: usize, to: Pid, left: usize, fickle: bool) -> Pid {
    let body = SpawnBody::Here(Box::new(Patient::new(to, left, fickle)));
    let pid = world.shards[shard].spawn(kernel::Spawn { body, ..child() }).unwrap();
    world.settle();
    pid
}

/// Receives one message that a deaf puppet has, and lets the world come to rest.
fn receive_one(world: &mut World, pid: Pid) -> Option<Pid> {
    let from = world.act(pid, |cx| {
        let (mail, claim) = cx.next_mail()?;
        let Got::Message(from, _) = Got::from(mail) else { panic!("not a message") };
        cx.received(from, claim);
        Some(from)
    });
    world.settle();
    from
}

#[test]
fn senders_that_wait_come_in_the_order_of_their_waiting_from_any_shard() {
    for shards in [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]] {
        let (mut world, host) = world(1, 1 << 20);
        let to = world.mannered(0, host, Manner::Deaf);
        let senders: Vec<Pid> = shards.map(|shard| sender(&mut world, shard, to, 1, false)).to_vec();
        let mut order = Vec::new();
        while let Some(from) = receive_one(&mut world, to) {
            order.push(from);
        }
        assert_eq!(order, senders);
    }
}

#[test]
fn who_comes_later_does_not_pass_those_that_wait() {
    for shard in NEAR_AND_FAR {
        let (mut world, host) = world(2, 1 << 20);
        let to = world.mannered(0, host, Manner::Deaf);
        let first = sender(&mut world, 1, to, 3, false);
        let late = world.puppet(shard);
        world.settle();
        let from = world.act(to, |cx| {
            let (mail, claim) = cx.next_mail().unwrap();
            let Got::Message(from, _) = Got::from(mail) else { panic!("not a message") };
            cx.received(from, claim);
            from
        });
        assert_eq!(from, first);
        // There is room now, but it is the first one's.
        assert!(matches!(world.act(late, |cx| cx.send_credited(to, message(late, "m"))), Err((Refused::Full, _))));
        world.settle();
        assert_eq!([receive_one(&mut world, to), receive_one(&mut world, to)], [Some(first); 2]);
        world.act(late, |cx| cx.send_credited(to, message(late, "m"))).unwrap();
    }
}

#[test]
fn whoever_waits_gets_through_however_small_the_mailbox_and_however_many_wait() {
    for (messages, bytes) in [(1, 1 << 20), (3, 1 << 20), (1_000, 1)] {
        let (mut world, host) = world(messages, bytes);
        let to = world.mannered(0, host, Manner::Deaf);
        let senders: Vec<Pid> = (0..30).map(|n| sender(&mut world, n % 2, to, 5, false)).collect();
        let mut got = 0;
        while receive_one(&mut world, to).is_some() {
            got += 1;
        }
        assert_eq!(got, 150);
        // All their credit came back.
        for pid in senders {
            assert_eq!(world.act(pid, |cx| cx.take_receipts()).0, 5);
        }
    }
}

#[test]
fn the_turn_of_a_sender_that_has_nothing_to_send_any_more_goes_to_the_next() {
    for (shard, dies) in [(0, false), (0, true), (1, false), (1, true)] {
        let (mut world, host) = world(1, 1 << 20);
        let to = world.mannered(0, host, Manner::Deaf);
        let fills = world.puppet(0);
        world.send(fills, to, "fills it");
        let fickle: Vec<Pid> = (0..5).map(|_| sender(&mut world, shard, to, 1, true)).collect();
        let waits = sender(&mut world, shard, to, 1, false);
        if dies {
            fickle.iter().for_each(|&pid| world.returns(pid));
        }
        assert_eq!(receive_one(&mut world, to), Some(fills));
        assert_eq!(receive_one(&mut world, to), Some(waits), "shard {shard}, dies {dies}");
    }
}

#[test]
fn a_sender_that_ends_with_its_turn_in_hand_leaves_it_to_the_next() {
    for shard in NEAR_AND_FAR {
        let (mut world, host) = world(1, 1 << 20);
        let to = world.mannered(0, host, Manner::Deaf);
        let fills = world.puppet(0);
        world.send(fills, to, "fills it");
        let asleep = world.mannered(shard, HostId::SYSTEM, Manner::Deaf);
        world.settle();
        world.act(asleep, |cx| cx.await_room(to));
        world.settle();
        let waits = sender(&mut world, shard, to, 1, false);
        assert_eq!(receive_one(&mut world, to), Some(fills));
        // It has not even read that its turn has come.
        assert_eq!(receive_one(&mut world, to), None);
        world.fails(asleep);
        world.settle();
        assert_eq!(receive_one(&mut world, to), Some(waits));
    }
}

#[test]
fn a_sender_with_its_turn_is_not_refused_although_others_filled_the_mailbox_again() {
    for shard in NEAR_AND_FAR {
        let (mut world, host) = world(1, 1 << 20);
        let to = world.mannered(0, host, Manner::Deaf);
        let (fills, patient) = (world.puppet(0), world.mannered(shard, HostId::SYSTEM, Manner::Deaf));
        world.send(fills, to, "fills it");
        world.settle();
        world.act(patient, |cx| cx.await_room(to));
        world.settle();
        assert_eq!(receive_one(&mut world, to), Some(fills));
        // An ordinary send cannot wait, so it need not: it finds room, and takes it.
        world.send(fills, to, "fills it again");
        world.settle();
        world.act(patient, |cx| {
            assert!(matches!(cx.next_mail(), Some((kernel::Mail::Room(of), _)) if of == to));
            cx.send_credited(to, message(patient, "mine")).unwrap();
            assert!(cx.send_credited(to, message(patient, "one too many")).is_err());
        });
        world.settle();
        assert_eq!([receive_one(&mut world, to), receive_one(&mut world, to)], [Some(fills), Some(patient)]);
    }
}

#[test]
fn whoever_waits_is_told_when_the_mailbox_ends() {
    for shard in NEAR_AND_FAR {
        for dies_first in [false, true] {
            let (mut world, host) = world(1, 1 << 20);
            let to = world.mannered(0, host, Manner::Deaf);
            let (fills, waits) = (world.puppet(0), world.puppet(shard));
            world.send(fills, to, "fills it");
            world.settle();
            if !dies_first {
                world.act(waits, |cx| cx.await_room(to));
                world.settle();
                assert_eq!(world.got(waits), []);
            }
            world.fails(to);
            if dies_first {
                world.act(waits, |cx| cx.await_room(to));
            }
            world.settle();
            assert_eq!(world.got(waits), [Got::Room(to)]);
        }
    }
}

#[test]
fn waiting_for_room_at_a_pid_that_never_was_is_answered() {
    let mut world = World::new(2);
    let waits = world.puppet(0);
    let never = kernel::Pid::parse(b"{moonwire:system|b007.77.3.1}", &world.node.hosts).unwrap();
    world.act(waits, |cx| cx.await_room(never));
    world.advance(Duration::from_millis(1));
    assert_eq!(world.got(waits), [Got::Room(never)]);
}

#[test]
fn asking_for_room_again_and_again_takes_one_place() {
    for shard in NEAR_AND_FAR {
        let (mut world, host) = world(1, 1 << 20);
        let to = world.mannered(0, host, Manner::Deaf);
        let (fills, waits) = (world.puppet(0), world.puppet(shard));
        world.send(fills, to, "fills it");
        world.settle();
        for _ in 0..100 {
            world.act(waits, |cx| cx.await_room(to));
        }
        world.settle();
        assert_eq!(receive_one(&mut world, to), Some(fills));
        assert_eq!(world.got(waits), [Got::Room(to)]);
    }
}

#[test]
fn a_sender_that_begins_anew_gets_no_receipts_for_what_it_sent_before() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (old, new) =
            (world.mannered(0, HostId::SYSTEM, Manner::Deaf), world.mannered(0, HostId::SYSTEM, Manner::Deaf));
        let sender = world.puppet(shard);
        world.settle();
        let send = |world: &mut World, to| world.act(sender, |cx| cx.send_credited(to, message(sender, "m")).unwrap());
        (0..3).for_each(|_| send(&mut world, old));
        world.act(sender, |cx| cx.forget_receipts());
        (0..2).for_each(|_| send(&mut world, new));
        world.settle();
        receive_one(&mut world, old);
        world.returns(old);
        receive_one(&mut world, new);
        assert_eq!(world.act(sender, |cx| cx.take_receipts()).0, 1);
        receive_one(&mut world, new);
        assert_eq!(world.act(sender, |cx| cx.take_receipts()).0, 1);
    }
}
