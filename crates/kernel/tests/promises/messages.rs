//! Order, refusal, credit.

use crate::world::*;
use kernel::limits::{MAILBOX_BYTES, MAILBOX_MESSAGES};
use kernel::{Host, HostId, Refused};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A world of two shards with the host `app:small`, whose mailboxes take four messages or a thousand bytes.
fn small() -> (World, HostId) {
    let mut host = Host::new("app:small");
    (host.mailbox_messages, host.mailbox_bytes) = (4, 1_000);
    let world = World::with_hosts(2, vec![host]);
    let host = world.host("app:small");
    (world, host)
}

#[test]
fn from_one_sender_to_one_receiver_messages_arrive_in_order_and_none_twice() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (from, to) = (world.puppet(0), world.puppet(shard));
        for n in 0..100 {
            world.send(from, to, &n.to_string());
            if n % 7 == 0 {
                world.turn(0);
            }
            if n % 13 == 0 {
                world.turn(shard);
            }
        }
        world.settle();
        let sent: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(world.topics(to, from), sent);
    }
}

#[test]
fn a_message_to_a_new_process_on_another_shard_arrives_although_that_shard_had_no_turn() {
    let mut world = World::new(4);
    let parent = world.puppet(0);
    let host = HostId::SYSTEM;
    let child = world.node.spawn_from_outside(2, host, Box::new(())).unwrap();
    world.send(parent, child, "hello");
    assert!(world.is_alive(child));
    world.settle();
    assert_eq!(world.topics(child, parent), ["hello"]);
}

#[test]
fn a_send_to_a_dead_process_answers_not_found_at_once() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (from, to) = (world.puppet(0), world.puppet(shard));
        world.settle();
        world.returns(to);
        assert_eq!(world.act(from, |cx| cx.send(to, message(from, "late"))), Err(Refused::NotFound));
    }
}

#[test]
fn a_process_that_is_found_by_its_name_can_be_sent_to_although_its_shard_has_not_seen_it_yet() {
    let mut world = World::new(2);
    let (here, there) = (world.puppet(0), world.puppet(1));
    world.settle();
    let new = world.node.spawn_from_outside(0, HostId::SYSTEM, Box::new(())).unwrap();
    world.act(there, |cx| cx.register("new", new)).unwrap();
    // The shard of `here` and `new` has had no turn since.
    let found = world.act(here, |cx| cx.lookup("new")).unwrap();
    world.send(here, found, "hello");
    world.act(here, |cx| cx.monitor(found)).unwrap();
    world.settle();
    assert_eq!(world.topics(new, here), ["hello"]);
}

#[test]
fn a_pid_with_another_host_than_its_process_is_nobody() {
    for shard in NEAR_AND_FAR {
        let (mut world, _) = small();
        let (from, to) = (world.puppet(0), world.puppet(shard));
        world.settle();
        let text = to.text(&world.node.hosts).to_string().replace("moonwire:system", "app:small");
        let forged = kernel::Pid::parse(text.as_bytes(), &world.node.hosts).unwrap();
        assert_eq!(world.act(from, |cx| cx.send(forged, message(from, "hello"))), Err(Refused::NotFound));
        assert!(!world.is_alive(forged));
    }
}

#[test]
fn a_full_mailbox_answers_at_once_and_takes_messages_again_when_some_were_received() {
    for shard in NEAR_AND_FAR {
        let (mut world, host) = small();
        let from = world.puppet(0);
        let to = world.mannered(shard, host, Manner::Deaf);
        for _ in 0..4 {
            world.send(from, to, "fits");
        }
        world.settle();
        assert_eq!(world.act(from, |cx| cx.send(to, message(from, "too many"))), Err(Refused::Full));
        world.manner(to, Manner::Reads);
        world.nudge(to);
        world.settle();
        world.send(from, to, "fits again");
        world.settle();
        assert_eq!(world.topics(to, from), ["fits", "fits", "fits", "fits", "fits again"]);
    }
}

#[test]
fn a_mailbox_is_full_when_its_bytes_are() {
    for shard in NEAR_AND_FAR {
        let (mut world, host) = small();
        let from = world.puppet(0);
        let to = world.mannered(shard, host, Manner::Deaf);
        world.act(from, |cx| cx.send(to, big(from, 1_000))).unwrap();
        world.settle();
        assert_eq!(world.act(from, |cx| cx.send(to, message(from, "small"))), Err(Refused::Full));
    }
}

#[test]
fn a_message_that_a_process_took_but_did_not_receive_fills_its_mailbox() {
    for shard in NEAR_AND_FAR {
        let (mut world, host) = small();
        let from = world.puppet(0);
        let to = world.mannered(shard, host, Manner::Hoards);
        for _ in 0..4 {
            world.send(from, to, "taken");
        }
        world.settle();
        assert_eq!(world.topics(to, from).len(), 4);
        assert_eq!(world.act(from, |cx| cx.send(to, message(from, "too many"))), Err(Refused::Full));
    }
}

#[test]
fn what_is_on_its_way_to_a_shard_without_a_turn_is_bounded_in_messages_and_bytes() {
    let mut world = World::new(2);
    let (from, to) = (world.puppet(0), world.puppet(1));
    world.settle();
    let taken = (0..2 * MAILBOX_MESSAGES).filter(|_| world.act(from, |cx| cx.send(to, message(from, "m"))).is_ok());
    assert_eq!(taken.count() as u32, MAILBOX_MESSAGES);
    // Flushed or not.
    world.turn(0);
    assert_eq!(world.act(from, |cx| cx.send(to, message(from, "m"))), Err(Refused::Full));
    world.settle();
    assert_eq!(world.topics(to, from).len() as u32, MAILBOX_MESSAGES);
    let half = MAILBOX_BYTES as usize / 2 + 1;
    let taken = (0..5).filter(|_| world.act(from, |cx| cx.send(to, big(from, half))).is_ok()).count();
    assert_eq!(taken, 2);
}

#[test]
fn a_reserved_message_is_never_refused_by_a_full_mailbox() {
    for shard in NEAR_AND_FAR {
        let (mut world, host) = small();
        let from = world.puppet(0);
        let to = world.mannered(shard, host, Manner::Deaf);
        for _ in 0..4 {
            world.send(from, to, "fits");
        }
        world.settle();
        world.act(from, |cx| cx.send_reserved(to, message(from, "leave"))).unwrap();
        world.manner(to, Manner::Reads);
        world.nudge(to);
        world.settle();
        assert_eq!(world.topics(to, from).last().unwrap(), "leave");
    }
}

#[test]
fn credit_comes_back_when_a_message_is_received() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let from = world.puppet(0);
        let to = world.mannered(shard, HostId::SYSTEM, Manner::Hoards);
        let size = message(from, "m").size();
        for _ in 0..3 {
            world.act(from, |cx| cx.send_credited(to, message(from, "m"))).unwrap();
        }
        world.settle();
        assert_eq!(world.act(from, |cx| cx.take_receipts()), (0, 0));
        world.manner(to, Manner::Reads);
        world.act(from, |cx| cx.wake_on_receipts(true));
        world.act(from, |cx| cx.send_credited(to, message(from, "m"))).unwrap();
        world.settle();
        assert_eq!(world.act(from, |cx| cx.take_receipts()), (4, 4 * size));
        assert_eq!(world.got(from), [Got::Receipts]);
    }
}

#[test]
fn credit_comes_back_when_the_receiver_ends_with_unread_and_with_held_mail() {
    for shard in NEAR_AND_FAR {
        for manner in [Manner::Deaf, Manner::Hoards] {
            let mut world = World::new(2);
            let from = world.puppet(0);
            let to = world.mannered(shard, HostId::SYSTEM, manner);
            world.settle();
            let size = message(from, "m").size();
            for _ in 0..3 {
                world.act(from, |cx| cx.send_credited(to, message(from, "m"))).unwrap();
            }
            world.settle();
            world.fails(to);
            world.settle();
            assert_eq!(world.act(from, |cx| cx.take_receipts()), (3, 3 * size), "{manner:?}");
        }
    }
}

#[test]
fn credit_comes_back_when_the_receiver_had_ended_before_the_message_arrived() {
    let mut world = World::new(2);
    let (from, to) = (world.puppet(0), world.puppet(1));
    world.settle();
    world.act(from, |cx| cx.send_credited(to, message(from, "m"))).unwrap();
    world.fails(to);
    world.settle();
    assert_eq!(world.act(from, |cx| cx.take_receipts()).0, 1);
    // What was on its way no longer counts against the next process of the slot.
    let (host, next) = (HostId::SYSTEM, world.puppet(1));
    assert_eq!((next.shard(), next.host()), (1, host));
    let taken = (0..2 * MAILBOX_MESSAGES).filter(|_| world.act(from, |cx| cx.send(next, message(from, "m"))).is_ok());
    assert_eq!(taken.count() as u32, MAILBOX_MESSAGES);
}

#[test]
fn a_flood_of_cancels_is_bounded_also_towards_a_shard_without_a_turn() {
    let mut most = Vec::new();
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let from = world.puppet(0);
        let to = world.mannered(shard, HostId::SYSTEM, Manner::Deaf);
        world.settle();
        for round in 0..3 {
            for _ in 0..1_000 {
                world.act(from, |cx| cx.cancel(to, Some("please"))).unwrap();
            }
            if round == 1 {
                world.settle();
            }
        }
        world.manner(to, Manner::Reads);
        world.nudge(to);
        world.settle();
        most.push(world.got(to).len());
        // The bound is on what waits: afterwards there is room again.
        world.act(from, |cx| cx.cancel(to, None)).unwrap();
        world.settle();
        assert_eq!(world.got(to).last(), Some(&Got::Cancel(from, None)));
    }
    assert!(most.iter().all(|&got| got == kernel::limits::PENDING_CANCELS as usize), "{most:?}");
}

#[test]
fn a_message_sent_before_a_spawn_is_in_place_before_the_child_can_act() {
    let mut world = World::with_hosts(3, vec![spread()]);
    let (parent, witness) = (world.puppet(0), world.puppet(2));
    world.settle();
    world.send(parent, witness, "first");
    let host = world.host("app:spread");
    let child = loop {
        let spawn = kernel::Spawn { host, ..child() };
        let child = world.act(parent, |cx| cx.spawn(spawn)).unwrap();
        if child.shard() == 1 {
            break child;
        }
    };
    // The parent's shard has not flushed; the child's shard has a turn, and then the witness's.
    world.turn(1);
    world.send(child, witness, "second");
    world.turn(1);
    world.turn(2);
    assert_eq!(world.got(witness), [Got::Message(parent, "first".into()), Got::Message(child, "second".into())]);
}

#[test]
fn no_shard_is_woken_for_a_message_before_all_that_was_sent_earlier_is_in_place() {
    let mut world = World::new(4);
    let sender = world.puppet(0);
    let others: Vec<_> = (1..4).map(|shard| world.puppet(shard)).collect();
    world.settle();
    // Whoever is woken could answer to the outside at once, and the outside could act on any other shard.
    let woken = Arc::<AtomicUsize>::default();
    for shard in 1..4 {
        let (node, woken) = (Arc::downgrade(&world.node), woken.clone());
        let waker = move || {
            let node = node.upgrade().expect("the node lives");
            assert!((1..4).all(|other| node.has_signals(other)), "shard {shard} is ahead of others");
            woken.fetch_add(1, Ordering::SeqCst);
        };
        world.node.set_waker(shard, Box::new(waker));
    }
    for &to in others.iter().rev() {
        world.send(sender, to, "first");
        world.send(sender, to, "second");
    }
    world.shards[0].flush();
    // At most one wake for a batch.
    assert_eq!(woken.load(Ordering::SeqCst), 3);
}
