//! Every order of what threads may do with an inbox, a slot word and a name: `cargo xtask ci --only loom`.

use super::inbox::Inbox;
use super::slots::SlotState;
use crate::host::HostId;
use crate::names::Names;
use crate::pid::Pid;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;
use smol_str::SmolStr;

/// Loom's orders of everything, with at most three switches away from a thread that could go on.
fn every_order(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn pid(generation: u32) -> Pid {
    Pid::new(7, HostId::SYSTEM, 0, 0, generation)
}

// The inbox

#[test]
fn whatever_is_pushed_is_taken_once_and_in_order_and_no_wake_is_lost() {
    every_order(|| {
        let inbox = Arc::new(Inbox::<(usize, usize)>::default());
        let (bell, wakes) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let pushers: Vec<_> = (0..2)
            .map(|pusher| {
                let (inbox, bell, wakes) = (inbox.clone(), bell.clone(), wakes.clone());
                thread::spawn(move || {
                    for n in 0..2 {
                        if inbox.push(std::iter::once((pusher, n))) {
                            wakes.fetch_add(1, Ordering::Relaxed);
                            bell.notify();
                        }
                    }
                })
            })
            .collect();
        let (mut all, mut batches) = (Vec::new(), 0);
        while all.len() < 4 {
            // As a driver does: it sleeps only if nothing is there, and a lost wake would be a deadlock here.
            if !inbox.has_some() {
                bell.wait();
                continue;
            }
            let mut batch = Vec::new();
            inbox.take(&mut batch);
            batches += 1;
            all.extend(batch);
        }
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        for pusher in 0..2 {
            let of_it: Vec<usize> = all.iter().filter(|item| item.0 == pusher).map(|item| item.1).collect();
            assert_eq!(of_it, [0, 1]);
        }
        assert!(wakes.load(Ordering::Relaxed) <= batches, "a batch was announced twice");
    });
}

#[test]
fn who_finds_a_name_finds_its_process_in_the_inbox_before_what_it_sends_there() {
    every_order(|| {
        let (inbox, names) = (Arc::new(Inbox::<&str>::default()), Arc::new(Names::default()));
        let birth = {
            let (inbox, names) = (inbox.clone(), names.clone());
            thread::spawn(move || {
                let mut list = inbox.lock();
                names.register(&SmolStr::new_static("kitchen"), pid(1)).unwrap();
                list.push("birth");
                inbox.filled();
            })
        };
        if names.lookup("kitchen").is_some() {
            inbox.push(std::iter::once("message"));
            let mut batch = Vec::new();
            inbox.take(&mut batch);
            assert_eq!(batch, ["birth", "message"]);
        }
        birth.join().unwrap();
    });
}

// Slot words

#[test]
fn a_monitor_that_was_accepted_is_seen_by_the_end_of_its_process() {
    every_order(|| {
        let state = Arc::new(SlotState::default());
        let one = pid(state.occupy(HostId::SYSTEM));
        let watcher = {
            let state = state.clone();
            thread::spawn(move || state.expect(one))
        };
        let expected = state.end(one.generation());
        // Accepted: its signal is on the way, and the end must be kept for it.
        if watcher.join().unwrap() {
            assert!(expected, "nobody kept the end");
            state.expected_arrived();
        }
        assert!(!state.is_expecting());
    });
}

#[test]
fn of_two_orders_to_end_one_is_sent_and_none_reaches_the_next_process_of_the_slot() {
    every_order(|| {
        let state = Arc::new(SlotState::default());
        let one = pid(state.occupy(HostId::SYSTEM));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let state = state.clone();
                thread::spawn(move || state.order_end(one))
            })
            .collect();
        state.end(one.generation());
        let next = pid(state.occupy(HostId::SYSTEM));
        let sent = others.into_iter().filter_map(|other| other.join().unwrap()).filter(|&first| first).count();
        assert!(sent <= 1);
        assert!(!state.lives(one) && state.lives(next) && next.generation() > one.generation());
        assert_eq!(state.order_end(next), Some(true), "an old order marked the next process");
    });
}

#[test]
fn a_last_message_seals_its_receiver_and_never_the_next_process_of_the_slot() {
    every_order(|| {
        let state = Arc::new(SlotState::default());
        let one = pid(state.occupy(HostId::SYSTEM));
        state.heed_last();
        let sender = {
            let state = state.clone();
            thread::spawn(move || state.seal(one))
        };
        state.end(one.generation());
        let next = pid(state.occupy(HostId::SYSTEM));
        state.heed_last();
        sender.join().unwrap();
        assert!(state.lives(next) && !state.lives(one));
    });
}

#[test]
fn a_seal_and_an_order_and_a_full_mailbox_do_not_undo_each_other() {
    every_order(|| {
        let state = Arc::new(SlotState::default());
        let one = pid(state.occupy(HostId::SYSTEM));
        state.heed_last();
        let (sealer, killer) = (state.clone(), state.clone());
        let sealer = thread::spawn(move || sealer.seal(one));
        let killer = thread::spawn(move || killer.order_end(one));
        state.set_room(true, false);
        sealer.join().unwrap();
        assert_eq!(killer.join().unwrap(), Some(true));
        assert!(!state.lives(one), "the seal is gone");
        assert_eq!(state.order_end(one), Some(false), "the order is gone");
        assert!(!state.reserve(1, 10, 10, false), "the mailbox is full");
    });
}

#[test]
fn senders_on_other_shards_reserve_no_more_than_the_limit_and_all_comes_back() {
    every_order(|| {
        let state = Arc::new(SlotState::default());
        state.occupy(HostId::SYSTEM);
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let state = state.clone();
                thread::spawn(move || (0..2).filter(|_| state.reserve(5, 2, 1_000, false)).count())
            })
            .collect();
        let reserved: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        // Two that meet may both be refused by the other's attempt, but never are three accepted.
        assert!((1..=2).contains(&reserved), "{reserved} reserved");
        (0..reserved).for_each(|_| state.arrived(5));
        assert!(state.reserve(5, 1, 1, false), "a reservation was lost");
    });
}

#[test]
fn a_full_mailbox_that_is_published_refuses_whoever_sees_it() {
    every_order(|| {
        let state = Arc::new(SlotState::default());
        let one = pid(state.occupy(HostId::SYSTEM));
        let sender = {
            let state = state.clone();
            thread::spawn(move || (state.reserve(1, 10, 10, true), state.reserve(1, 10, 10, true)))
        };
        state.set_room(false, true);
        state.set_room(true, true);
        let (first, second) = sender.join().unwrap();
        assert!(first || !second, "it was full and then was not, although it only filled");
        assert!(!state.reserve(1, 10, 10, true) && state.lives(one));
    });
}

// Names

#[test]
fn of_two_processes_that_want_a_name_one_gets_it_and_only_its_holder_frees_it() {
    every_order(|| {
        let names = Arc::new(Names::default());
        let takers: Vec<_> = (1..3)
            .map(|generation| {
                let names = names.clone();
                thread::spawn(move || {
                    let taken = names.register(&SmolStr::new_static("kitchen"), pid(generation)).is_ok();
                    (taken, !taken && names.release("kitchen", pid(generation)))
                })
            })
            .collect();
        let results: Vec<(bool, bool)> = takers.into_iter().map(|taker| taker.join().unwrap()).collect();
        assert_eq!(results.iter().filter(|(taken, _)| *taken).count(), 1);
        assert!(results.iter().all(|(_, freed)| !freed), "somebody freed what another one holds");
        assert!(names.lookup("kitchen").is_some());
    });
}
