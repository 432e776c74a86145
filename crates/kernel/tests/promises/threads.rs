//! The same shards on threads of their own, at once: what no order of turns in one thread can show.

use crate::world::*;
use kernel::{Counts, Cx, Event, Hosts, Kind, Mail, Next, Node, Pid, Process, Refused, Shard, Spawn, SpawnBody, Time};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SHARDS: usize = 3;
/// Children of each parent in all, and at once.
const CHILDREN: usize = 10_000;
const AT_ONCE: usize = 50;

/// Spawns children on all shards, and counts what each said before its EXIT.
struct Parent {
    started: usize,
    /// Living children and how many of their messages came.
    open: HashMap<Pid, usize>,
    /// The child before: sent to when it may just be ending, or its slot just have another process.
    before: Option<Pid>,
    done: Arc<AtomicUsize>,
}

/// Says three things to its parent, takes a name for a moment, and ends.
struct Child;

impl Process for Child {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        let me = cx.pid();
        let Some((Mail::Message(order), claim)) = cx.next_mail() else { return Next::Wait };
        cx.received(order.from, claim);
        cx.register(&format!("child {me:?}"), me).expect("nobody else takes this name");
        for n in 0..3 {
            let sent = cx.send_reserved(order.from, message(me, &n.to_string()));
            assert_eq!(sent, Ok(()), "a parent outlives its children");
        }
        Next::End(if me < order.from { failure() } else { kernel::Exit::normal(None) })
    }
}

impl Process for Parent {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        while let Some((mail, claim)) = cx.next_mail() {
            match mail {
                Mail::Message(message) => {
                    let seen = self.open.get_mut(&message.from).expect("a message after its sender's EXIT");
                    assert_eq!(*message.topic, *seen.to_string());
                    *seen += 1;
                    cx.received(message.from, claim);
                }
                Mail::Event(Event::Exit { from, .. }) => {
                    assert_eq!(self.open.remove(&from), Some(3), "an EXIT came twice or before the messages");
                    assert_eq!(cx.lookup(&format!("child {from:?}")), None);
                    assert!(!cx.is_alive(from));
                    assert_eq!(cx.monitor(from).map_err(|error| error.kind), Err(Kind::NotFound));
                }
                _ => {}
            }
        }
        while self.started < CHILDREN && self.open.len() < AT_ONCE {
            let host = cx.hosts().find("app:spread").expect("the host is there");
            let make: Make = Box::new(|_| Ok(Box::new(Child)));
            let body = SpawnBody::Seed(Box::new(make));
            let child = cx.spawn(Spawn { host, body, monitored: true, linked: false }).expect("there is room");
            assert_eq!(self.open.insert(child, 0), None, "a PID came twice");
            self.started += 1;
            assert_ne!(cx.send(child, message(cx.pid(), "speak")), Err(Refused::NotFound), "it has not spoken yet");
            if let Some(before) = self.before.replace(child) {
                // Dead or alive, and whoever has its slot: nothing of this may reach another process.
                let _either = cx.send(before, message(cx.pid(), "speak"));
                let _either = cx.cancel(before, None);
            }
        }
        if self.started == CHILDREN && self.open.is_empty() {
            self.done.fetch_add(1, Ordering::SeqCst);
            return Next::End(kernel::Exit::normal(None));
        }
        Next::Wait
    }
}

#[test]
fn shards_that_run_at_once_lose_mix_up_and_leak_nothing() {
    let node = Node::new(0xb007, SHARDS, Hosts::new(vec![spread()]));
    let done = Arc::new(AtomicUsize::new(0));
    let deadline = Instant::now() + Duration::from_secs(60);
    let threads: Vec<_> = (0..SHARDS)
        .map(|index| {
            let (node, done) = (node.clone(), done.clone());
            std::thread::spawn(move || {
                let mut shard = Shard::new(node.clone(), index, Box::new(Puppets(Shared::default())));
                let parent = Parent { started: 0, open: HashMap::new(), before: None, done: done.clone() };
                let body = SpawnBody::Here(Box::new(parent));
                shard.spawn(Spawn { body, ..child() }).expect("there is room");
                // The last turns bring what was on its way when the last parent ended.
                let mut turns_left = 3;
                while turns_left > 0 {
                    assert!(Instant::now() < deadline, "the parents do not come to their end");
                    let all_done = done.load(Ordering::SeqCst) == SHARDS;
                    shard.begin(Time::default());
                    let more = shard.run(20);
                    shard.flush();
                    if all_done && !more && !node.has_signals(index) {
                        turns_left -= 1;
                    } else if !more && !node.has_signals(index) {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no shard panicked");
    }
    let counts = node.gauges().map(Counts::read).fold(Counts::default(), Counts::plus);
    assert_eq!((counts.processes, counts.monitors, counts.links, node.names()), (0, 0, 0, 0));
    assert_eq!(counts.spawned as usize, SHARDS * (CHILDREN + 1));
    let living = node.hosts.find("app:spread").map(|host| node.hosts[host].living());
    assert_eq!(living, Some(0));
}
