//! Every way out.

use crate::world::*;
use kernel::{HostId, Kind, Next, Refused};

#[test]
fn an_order_to_end_ends_a_process_whatever_it_does() {
    for shard in NEAR_AND_FAR {
        for manner in [Manner::Reads, Manner::Deaf, Manner::Hoards, Manner::Spins] {
            let mut world = World::new(2);
            let killer = world.puppet(0);
            let target = world.mannered(shard, HostId::SYSTEM, manner);
            world.act(killer, |cx| cx.monitor(target)).unwrap();
            world.settle();
            world.send(killer, target, "unread");
            world.act(killer, |cx| cx.terminate(target, Some("enough"))).unwrap();
            world.settle();
            assert_eq!(world.end_of(target), Some(Some(Kind::Canceled)), "{manner:?}");
            assert_eq!(world.got(killer), [Got::Exit(target, Some(Kind::Canceled))]);
            assert_eq!(world.act(killer, |cx| cx.terminate(target, None)), Err(Refused::NotFound));
        }
    }
}

#[test]
fn a_process_that_has_not_run_yet_can_be_ended_and_never_runs() {
    let mut world = World::new(1);
    let (killer, target) = (world.puppet(0), world.puppet(0));
    world.act(killer, |cx| cx.terminate(target, None)).unwrap();
    world.settle();
    assert!(!world.is_alive(target));
    // It was a seed, so there was nobody to be told of its end.
    assert_eq!(world.got(target), []);
}

#[test]
fn a_process_that_ends_itself_ends_as_soon_as_its_step_is_over() {
    let mut world = World::new(1);
    let (watcher, target) = (world.puppet(0), world.puppet(0));
    world.act(watcher, |cx| cx.monitor(target)).unwrap();
    world.settle();
    world.act(target, |cx| {
        assert!(!cx.is_doomed());
        cx.terminate(target, Some("by my own hand")).unwrap();
        assert!(cx.is_doomed());
        // It is dead for others, but what it sends now was still sent before it ended.
        cx.send(watcher, message(target, "last words")).unwrap();
        assert_eq!(cx.send(target, message(target, "to myself")), Err(Refused::NotFound));
    });
    world.settle();
    let last_words = Got::Message(target, "last words".into());
    assert_eq!(world.got(watcher), [last_words, Got::Exit(target, Some(Kind::Canceled))]);
}

#[test]
fn of_two_orders_to_end_the_first_one_counts() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (killer, target) = (world.puppet(0), world.puppet(shard));
        world.settle();
        world.act(killer, |cx| {
            cx.end_other(target, failure()).unwrap();
            let _either = cx.terminate(target, None);
        });
        world.settle();
        assert_eq!(world.end_of(target), Some(Some(Kind::Internal)));
    }
}

#[test]
fn an_order_to_end_does_not_reach_the_next_process_of_the_slot() {
    let mut world = World::new(2);
    let (killer, first) = (world.puppet(0), world.puppet(1));
    world.settle();
    world.act(killer, |cx| cx.terminate(first, None)).unwrap();
    world.returns(first);
    let second = world.puppet(1);
    world.settle();
    assert!(world.is_alive(second));
    world.act(killer, |cx| cx.terminate(second, None)).unwrap();
    world.settle();
    assert!(!world.is_alive(second));
}

#[test]
fn a_request_to_end_is_an_event_and_not_an_end() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (asks, target) = (world.puppet(0), world.puppet(shard));
        world.act(asks, |cx| cx.cancel(target, Some("please"))).unwrap();
        world.settle();
        assert!(world.is_alive(target));
        assert_eq!(world.got(target), [Got::Cancel(asks, Some("please".into()))]);
        world.returns(target);
        assert_eq!(world.act(asks, |cx| cx.cancel(target, None)), Err(Refused::NotFound));
    }
}

#[test]
fn requests_and_orders_come_also_from_outside_of_all_shards() {
    let mut world = World::new(2);
    let (a, b) = (world.puppet(0), world.puppet(1));
    world.settle();
    world.node.cancel_from_outside(a, "drain");
    world.node.terminate_from_outside(b, "drained");
    world.settle();
    assert_eq!(world.got(a), [Got::Cancel(a, Some("drain".into()))]);
    assert_eq!(world.end_of(b), Some(Some(Kind::Canceled)));
    world.node.cancel_from_outside(b, "dead");
    world.node.terminate_from_outside(b, "dead");
    world.settle();
}

#[test]
fn spinners_and_others_share_a_shard() {
    let mut world = World::new(1);
    for _ in 0..100 {
        world.mannered(0, HostId::SYSTEM, Manner::Spins);
    }
    let (from, to) = (world.puppet(0), world.puppet(0));
    world.settle();
    // However many spin, one turn is enough for those that do not.
    world.send(from, to, "through");
    world.turn(0);
    assert_eq!(world.topics(to, from), ["through"]);
}

#[test]
fn a_process_that_its_driver_feeds_stays_in_the_queue_once() {
    let mut world = World::new(1);
    let (from, to) = (world.puppet(0), world.mannered(0, HostId::SYSTEM, Manner::Deaf));
    world.settle();
    world.send(from, to, "wakes it");
    for _ in 0..100 {
        world.shards[0].enter(to, |_| (Next::Again, ()));
    }
    // One step for the one place in the queue, and nothing is left.
    world.shards[0].begin(kernel::Time::default());
    assert!(!world.shards[0].run(1));
}

#[test]
fn when_all_have_ended_every_figure_is_back_at_zero() {
    for shards in [1, 2, 4] {
        for terminated in [false, true] {
            let mut world = World::new(shards);
            let all: Vec<_> = (0..40).map(|n| world.puppet(n % shards)).collect();
            world.settle();
            for (n, &pid) in all.iter().enumerate() {
                let next = all[(n + 1) % all.len()];
                world.act(pid, |cx| {
                    cx.set_trap_links(true);
                    cx.monitor(next).unwrap();
                    cx.link(next).unwrap();
                    cx.register(&format!("name {n}"), next).unwrap();
                    cx.set_timer(kernel::Time(5_000_000_000), 1).unwrap();
                    cx.send(next, message(pid, "hello")).unwrap();
                });
            }
            world.settle();
            let counts = world.counts();
            let seen = (counts.processes, counts.monitors, counts.links, counts.timers, world.node.names());
            assert_eq!(seen, (40, 40, 80, 40, 40));
            for (n, &pid) in all.iter().enumerate() {
                if terminated {
                    world.node.terminate_from_outside(pid, "all of them");
                } else if n % 2 == 0 {
                    world.returns(pid);
                } else {
                    world.fails(pid);
                }
            }
            world.settle();
            assert_eq!(world.leftovers(), [0; 11]);
            assert_eq!(world.counts().returned + world.counts().failed, 40);
        }
    }
}
