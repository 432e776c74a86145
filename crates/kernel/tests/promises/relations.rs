//! Monitors and links.

use crate::world::*;
use kernel::Kind;

#[test]
fn everything_that_a_process_sent_before_it_ended_arrives_before_its_exit() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (watcher, target) = (world.puppet(0), world.puppet(shard));
        world.act(watcher, |cx| cx.monitor(target)).unwrap();
        world.settle();
        for topic in ["a", "b", "c"] {
            world.send(target, watcher, topic);
        }
        world.returns(target);
        world.settle();
        let message = |topic: &str| Got::Message(target, topic.into());
        assert_eq!(world.got(watcher), [message("a"), message("b"), message("c"), Got::Exit(target, None)]);
    }
}

#[test]
fn a_monitor_fires_exactly_once_and_says_how_it_ended() {
    for shard in NEAR_AND_FAR {
        for (fails, kind) in [(false, None), (true, Some(Kind::Internal))] {
            let mut world = World::new(2);
            let (watcher, target) = (world.puppet(0), world.puppet(shard));
            world.act(watcher, |cx| cx.monitor(target)).unwrap();
            world.settle();
            if fails {
                world.fails(target)
            } else {
                world.returns(target)
            }
            world.settle();
            assert_eq!(world.got(watcher), [Got::Exit(target, kind)]);
            assert_eq!(world.counts().monitors, 0);
        }
    }
}

#[test]
fn a_monitor_whose_target_ends_before_it_arrives_says_how_it_ended() {
    for fails in [false, true] {
        for slot_has_another in [false, true] {
            let mut world = World::new(2);
            let (watcher, target) = (world.puppet(0), world.puppet(1));
            world.settle();
            world.act(watcher, |cx| cx.monitor(target)).unwrap();
            if fails {
                world.fails(target)
            } else {
                world.returns(target)
            }
            if slot_has_another {
                let next = world.puppet(1);
                world.fails(next);
                world.puppet(1);
            }
            world.settle();
            assert_eq!(world.got(watcher), [Got::Exit(target, fails.then_some(Kind::Internal))]);
            assert_eq!(world.counts().monitors, 0);
        }
    }
}

#[test]
fn a_monitor_that_was_taken_back_and_made_again_while_its_target_ended_fires_once() {
    let mut world = World::new(2);
    let (watcher, target) = (world.puppet(0), world.puppet(1));
    world.settle();
    world.act(watcher, |cx| {
        cx.monitor(target).unwrap();
        assert!(cx.unmonitor(target));
        cx.monitor(target).unwrap();
    });
    world.fails(target);
    world.settle();
    assert_eq!(world.got(watcher).len(), 1);
}

#[test]
fn an_ended_monitor_does_not_fire() {
    for shard in NEAR_AND_FAR {
        for turns_between in [false, true] {
            let mut world = World::new(2);
            let (watcher, target) = (world.puppet(0), world.puppet(shard));
            world.act(watcher, |cx| cx.monitor(target)).unwrap();
            world.settle();
            if !turns_between {
                world.fails(target);
            }
            // On the other shard the end may have happened already, as long as its EXIT has not arrived.
            let known = world.act(watcher, |cx| cx.unmonitor(target));
            assert_eq!(known, turns_between || shard == 1);
            if turns_between {
                world.fails(target);
            }
            world.settle();
            let expected: &[Got] = if known { &[] } else { &[Got::Exit(target, Some(Kind::Internal))] };
            assert_eq!(world.got(watcher), expected);
            assert_eq!(world.counts().monitors, 0);
        }
    }
}

#[test]
fn a_second_monitor_of_the_same_process_already_exists() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (watcher, target) = (world.puppet(0), world.puppet(shard));
        world.act(watcher, |cx| cx.monitor(target)).unwrap();
        let error = world.act(watcher, |cx| cx.monitor(target)).unwrap_err();
        assert_eq!(error.kind, Kind::AlreadyExists);
        assert_eq!(world.counts().monitors, 1);
    }
}

#[test]
fn monitors_and_links_of_the_dead_answer_not_found() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (watcher, target) = (world.puppet(0), world.puppet(shard));
        world.settle();
        world.returns(target);
        let monitor = world.act(watcher, |cx| cx.monitor(target)).unwrap_err();
        let link = world.act(watcher, |cx| cx.link(target)).unwrap_err();
        assert_eq!((monitor.kind, link.kind), (Kind::NotFound, Kind::NotFound));
    }
}

#[test]
fn a_link_ends_the_other_process_whichever_of_the_two_fails() {
    for shard in NEAR_AND_FAR {
        for first_fails in [true, false] {
            let mut world = World::new(2);
            let (a, b) = (world.puppet(0), world.puppet(shard));
            world.act(a, |cx| cx.link(b)).unwrap();
            world.settle();
            let (fails, follows) = if first_fails { (a, b) } else { (b, a) };
            world.fails(fails);
            world.settle();
            assert_eq!(world.end_of(follows), Some(Some(Kind::Canceled)));
            assert_eq!(world.leftovers(), [0; 11]);
        }
    }
}

#[test]
fn a_normal_end_fires_no_link() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (a, b) = (world.puppet(0), world.puppet(shard));
        world.act(a, |cx| cx.link(b)).unwrap();
        world.settle();
        world.returns(b);
        world.settle();
        assert!(world.is_alive(a));
        assert_eq!((world.got(a), world.counts().links), (vec![], 0));
    }
}

#[test]
fn a_link_to_a_process_that_just_returned_does_not_fire_and_to_one_that_just_failed_does() {
    for (fails, slot_has_another) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::new(2);
        let (a, b) = (world.puppet(0), world.puppet(1));
        world.settle();
        world.act(a, |cx| cx.link(b)).unwrap();
        if fails {
            world.fails(b)
        } else {
            world.returns(b)
        }
        if slot_has_another {
            world.puppet(1);
        }
        world.settle();
        assert_eq!(world.is_alive(a), !fails);
        assert_eq!(world.counts().links, 0);
    }
}

#[test]
fn a_link_is_made_once_and_ends_from_both_sides() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (a, b) = (world.puppet(0), world.puppet(shard));
        world.act(a, |cx| cx.link(b)).unwrap();
        world.settle();
        world.act(b, |cx| cx.link(a)).unwrap();
        world.settle();
        assert_eq!(world.counts().links, 2);
        assert!(world.act(b, |cx| cx.unlink(a)));
        assert!(!world.act(b, |cx| cx.unlink(a)));
        world.settle();
        assert_eq!(world.counts().links, 0);
        world.fails(a);
        world.settle();
        assert!(world.is_alive(b));
    }
}

/// All that two processes on two shards may do with their link, in every order, with signals on the way as long as may be.
#[test]
fn a_link_that_two_shards_make_and_end_at_once_is_in_the_end_on_both_or_on_none() {
    #[derive(Clone, Copy, Debug)]
    enum Do {
        Link(usize),
        Unlink(usize),
        Flush(usize),
        Begin(usize),
    }
    const ALL: [Do; 8] = [
        Do::Link(0),
        Do::Link(1),
        Do::Unlink(0),
        Do::Unlink(1),
        Do::Flush(0),
        Do::Flush(1),
        Do::Begin(0),
        Do::Begin(1),
    ];
    // Miri takes a thousand times as long.
    const LENGTH: u32 = if cfg!(miri) { 1 } else { 4 };
    for linked in [false, true] {
        for number in 0..ALL.len().pow(LENGTH) {
            let acts: Vec<Do> = (0..LENGTH).map(|n| ALL[number / ALL.len().pow(n) % ALL.len()]).collect();
            let mut world = World::new(2);
            let pids = [world.puppet(0), world.puppet(1)];
            world.settle();
            if linked {
                world.act(pids[0], |cx| cx.link(pids[1])).unwrap();
                world.settle();
            }
            let mut last_of_each = [linked; 2];
            let now = world.now;
            for &act in &acts {
                match act {
                    Do::Link(n) => {
                        world.act(pids[n], |cx| cx.link(pids[1 - n])).unwrap();
                        last_of_each[n] = true;
                    }
                    Do::Unlink(n) => {
                        world.act(pids[n], |cx| cx.unlink(pids[1 - n]));
                        last_of_each[n] = false;
                    }
                    Do::Flush(n) => world.shards[n].flush(),
                    Do::Begin(n) => world.shards[n].begin(now),
                }
            }
            world.settle();
            let links = world.counts().links;
            assert!(links == 0 || links == 2, "{links} halves of a link after {acts:?}, linked before: {linked}");
            let fails = number % 2;
            world.fails(pids[fails]);
            world.settle();
            assert_eq!(world.is_alive(pids[1 - fails]), links == 0, "{acts:?}, linked before: {linked}");
        }
    }
}

#[test]
fn links_and_monitors_and_unread_exits_of_a_process_are_bounded() {
    let mut small = kernel::Host::new("app:small");
    small.mailbox_bytes = 10_000;
    let mut world = World::with_hosts(1, vec![small]);
    let pid = world.mannered(0, world.host("app:small"), Manner::Deaf);
    let value = || kernel::Exit::normal(Some(kernel::Term::string(vec![b'x'; 3_000])));
    let mut spawned = 0;
    let error = loop {
        match world.act(pid, |cx| cx.spawn(monitored())) {
            Ok(child) => world.try_act(child, |_| (kernel::Next::End(value()), ())),
            Err(error) => break error,
        };
        spawned += 1;
    };
    assert_eq!((error.kind, spawned), (Kind::Unavailable, 4));
    assert!(error.message.contains("mailbox_bytes is 10000"), "{}", error.message);
    world.manner(pid, Manner::Reads);
    world.nudge(pid);
    world.settle();
    assert_eq!(world.got(pid).len(), spawned);
    world.act(pid, |cx| cx.spawn(monitored())).unwrap();
}

#[test]
fn ends_that_nobody_reads_hold_no_more_than_the_mailbox_may() {
    for shard in NEAR_AND_FAR {
        let mut small = kernel::Host::new("app:small");
        small.mailbox_bytes = 10_000;
        let mut world = World::with_hosts(2, vec![small]);
        let hub = world.mannered(0, world.host("app:small"), Manner::Deaf);
        let children: Vec<_> = (0..60).map(|_| world.puppet(shard)).collect();
        for &child in &children {
            world.act(hub, |cx| cx.monitor(child)).unwrap();
        }
        world.settle();
        for (number, &child) in children.iter().enumerate() {
            let long = "x".repeat(3_000);
            let exit = match number % 2 {
                0 => kernel::Exit::normal(Some(kernel::Term::string(long.into_bytes()))),
                _ => kernel::Exit::failed(kernel::Error::new(Kind::Conflict, long).with_stack("s".repeat(3_000))),
            };
            world.try_act(child, |_| (kernel::Next::End(exit), ()));
        }
        world.settle();
        world.manner(hub, Manner::Reads);
        world.nudge(hub);
        world.settle();
        // Each of them is told. The first three come whole; of the others one learns that a value was dropped.
        let told = world.got(hub);
        assert_eq!(told.len(), children.len());
        for (number, got) in told.into_iter().enumerate() {
            let kind = match number {
                0 | 2 => None,
                _ if number % 2 == 0 => Some(Kind::Unavailable),
                _ => Some(Kind::Conflict),
            };
            assert_eq!(got, Got::Exit(children[number], kind));
        }
    }
}

#[cfg(not(miri))] // A quarter of a million processes: it would take hours.
#[test]
fn a_process_with_as_many_relations_as_it_may_have_is_told_which_limit_that_is() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (hub, other) = (world.puppet(0), world.puppet(shard));
        world.act(hub, |cx| cx.set_trap_links(true));
        for _ in 0..kernel::limits::RELATIONS_PER_PROCESS {
            world.act(hub, |cx| cx.spawn(linked())).unwrap();
        }
        world.settle();
        let names_it = |error: kernel::Error| {
            assert_eq!(error.kind, Kind::Unavailable);
            assert!(error.message.contains("250000 links, monitors and unread EXITs"), "{}", error.message);
        };
        names_it(world.act(hub, |cx| cx.monitor(other)).unwrap_err());
        names_it(world.act(hub, |cx| cx.spawn(monitored())).unwrap_err());
        names_it(world.act(hub, |cx| cx.link(other)).unwrap_err());
        // Who links itself with it from another shard learns it by the link.
        match world.act(other, |cx| cx.link(hub)) {
            Err(error) => names_it(error),
            Ok(()) => assert_eq!(shard, 1),
        }
        world.settle();
        assert_eq!((world.is_alive(other), world.is_alive(hub)), (shard == 0, true));
    }
}

#[test]
fn a_process_that_traps_links_is_told_and_lives() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (a, b) = (world.puppet(0), world.puppet(shard));
        world.act(a, |cx| {
            cx.set_trap_links(true);
            assert!(cx.trap_links());
            cx.link(b).unwrap();
        });
        world.settle();
        world.send(b, a, "last words");
        world.fails(b);
        world.settle();
        let last_words = Got::Message(b, "last words".into());
        assert_eq!(world.got(a), [last_words, Got::LinkDown(b, Some(Kind::Internal))]);
        assert!(world.is_alive(a));
    }
}

#[test]
fn a_failure_goes_along_a_chain_of_links_up_to_who_traps() {
    for shards in [1, 3] {
        let mut world = World::new(shards);
        let chain: Vec<_> = (0..20).map(|n| world.puppet(n % shards)).collect();
        let (keeper, beyond) = (world.puppet(0), world.puppet(0));
        for pair in chain.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            world.act(a, |cx| cx.link(b)).unwrap();
        }
        world.act(keeper, |cx| cx.set_trap_links(true));
        let last = chain[19];
        world.act(keeper, |cx| cx.link(last)).unwrap();
        world.act(keeper, |cx| cx.link(beyond)).unwrap();
        world.settle();
        world.fails(chain[10]);
        world.settle();
        for (n, &pid) in chain.iter().enumerate() {
            let kind = if n == 10 { Kind::Internal } else { Kind::Canceled };
            assert_eq!(world.end_of(pid), Some(Some(kind)));
        }
        assert_eq!(world.got(keeper), [Got::LinkDown(last, Some(Kind::Canceled))]);
        assert!(world.is_alive(beyond));
    }
}

#[test]
fn the_relations_that_a_child_is_born_with_exist_before_it_runs() {
    for shards in [1, 2] {
        for spawn in [monitored as fn() -> _, linked] {
            let mut world = World::with_hosts(shards, vec![spread()]);
            let parent = world.puppet(0);
            let host = world.host("app:spread");
            // The first goes to the shard of its parent, the second, if there is one, to the other.
            for _ in 0..shards {
                let make: Make = Box::new(|_| Err(kernel::Error::new(Kind::Invalid, "no such program")));
                let body = kernel::SpawnBody::Seed(Box::new(make));
                let spawn: kernel::Spawn = spawn();
                let is_monitored = spawn.monitored;
                world.act(parent, |cx| cx.set_trap_links(true));
                let child = world.act(parent, |cx| cx.spawn(kernel::Spawn { host, body, ..spawn })).unwrap();
                assert!(world.is_alive(child));
                world.settle();
                let kind = Some(Kind::Invalid);
                let told = if is_monitored { Got::Exit(child, kind) } else { Got::LinkDown(child, kind) };
                assert_eq!(world.got(parent).last(), Some(&told));
            }
        }
    }
}

#[test]
fn a_parent_that_fails_before_its_linked_child_ran_takes_it_along() {
    for shards in [1, 2] {
        let mut world = World::with_hosts(shards, vec![spread()]);
        let parent = world.puppet(0);
        let host = world.host("app:spread");
        for _ in 0..shards {
            world.act(parent, |cx| cx.spawn(kernel::Spawn { host, ..linked() })).unwrap();
        }
        world.fails(parent);
        world.settle();
        assert_eq!(world.leftovers(), [0; 11]);
    }
}
