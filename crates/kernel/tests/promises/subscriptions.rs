//! Subscriptions: who hears of what is published, how often and in which order, and that nothing is left of the dead.

use crate::world::*;
use kernel::{Body, Claim, Cx, Exit, Host, HostId, Kind, Mail, Next, Pid, Process, Spawn, SpawnBody, Subscription};
use kernel::{Topic, limits};
use std::sync::{Arc, Mutex};

type Heard = Arc<Mutex<Vec<(Option<Subscription>, String)>>>;

/// Notes of each message for which subscription it came, and its topic.
struct Listener(Heard);

impl Process for Listener {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        while let Some((mail, claim)) = cx.next_mail() {
            if let Mail::Message(message) = mail {
                cx.received(message.from, claim);
                self.0.lock().unwrap().push((Claim::subscription(claim), message.topic.to_string()));
            }
        }
        Next::Wait
    }

    fn ended(&mut self, _: &Exit, _: &mut Cx<'_>) {}
}

fn listener(world: &mut World, shard: usize) -> (Pid, Heard) {
    let heard = Heard::default();
    let body = SpawnBody::Here(Box::new(Listener(heard.clone())));
    let pid = world.shards[shard].spawn(Spawn { host: HostId::SYSTEM, body, monitored: false, linked: false }).unwrap();
    world.settle();
    (pid, heard)
}

fn publish(world: &mut World, from: Pid, topic: &str) -> usize {
    world.act(from, |cx| cx.publish(Topic::from(topic), Body::None)).unwrap()
}

fn subscribe(world: &mut World, pid: Pid, pattern: &str) -> Subscription {
    world.act(pid, |cx| cx.subscribe(pattern)).unwrap()
}

fn topics(heard: &Heard) -> Vec<String> {
    heard.lock().unwrap().iter().map(|(_, topic)| topic.clone()).collect()
}

#[test]
fn what_is_published_reaches_whoever_subscribes_to_it_on_every_shard_once() {
    let mut world = World::new(3);
    let sender = world.puppet(0);
    let all: Vec<(Pid, Heard)> = (0..9).map(|n| listener(&mut world, n % 3)).collect();
    for (n, (pid, _)) in all.iter().enumerate() {
        subscribe(&mut world, *pid, ["order.*.paid", "order.**", "order.eu.sent"][n / 3]);
    }
    assert_eq!(publish(&mut world, sender, "order.eu.paid"), 6);
    assert_eq!(publish(&mut world, sender, "order.eu.sent"), 6);
    assert_eq!(publish(&mut world, sender, "order"), 3);
    assert_eq!(publish(&mut world, sender, "orders.eu.paid"), 0);
    world.settle();
    for (n, (_, heard)) in all.iter().enumerate() {
        let expected: &[&str] =
            [&["order.eu.paid"][..], &["order.eu.paid", "order.eu.sent", "order"], &["order.eu.sent"]][n / 3];
        assert_eq!(topics(heard), expected);
    }
}

#[test]
fn a_publisher_that_subscribes_hears_itself() {
    let mut world = World::new(1);
    let (pid, heard) = listener(&mut world, 0);
    subscribe(&mut world, pid, "a");
    assert_eq!(publish(&mut world, pid, "a"), 1);
    world.settle();
    assert_eq!(topics(&heard), ["a"]);
}

#[test]
fn patterns_of_one_process_that_overlap_bring_a_message_each_and_each_names_its_subscription() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let sender = world.puppet(0);
        let (pid, heard) = listener(&mut world, shard);
        let subscriptions = ["a.*", "a.b", "a.b", "**"].map(|pattern| subscribe(&mut world, pid, pattern));
        assert_eq!(publish(&mut world, sender, "a.b"), 4);
        world.send(sender, pid, "a.b");
        world.settle();
        let mut named: Vec<_> = heard.lock().unwrap().iter().map(|(subscription, _)| *subscription).collect();
        assert_eq!(named.pop(), Some(None), "what is sent is for no subscription");
        named.sort_unstable();
        assert_eq!(named, subscriptions.map(Some));
    }
}

#[test]
fn what_one_process_publishes_and_sends_arrives_in_its_order() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let (sender, other) = (world.puppet(0), world.puppet(0));
        let (pid, heard) = listener(&mut world, shard);
        subscribe(&mut world, pid, "n.*");
        for n in 0..30 {
            match n % 3 {
                0 => world.send(sender, pid, &format!("n.{n}")),
                _ => assert_eq!(publish(&mut world, sender, &format!("n.{n}")), 1),
            }
            publish(&mut world, other, "other");
        }
        world.settle();
        let expected: Vec<String> = (0..30).map(|n| format!("n.{n}")).collect();
        assert_eq!(topics(&heard), expected);
    }
}

#[test]
fn after_its_end_a_subscription_brings_nothing_more_and_the_others_stay() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let sender = world.puppet(0);
        let (pid, heard) = listener(&mut world, shard);
        let (first, second) = (subscribe(&mut world, pid, "a.*"), subscribe(&mut world, pid, "a.**"));
        assert!(world.act(pid, |cx| cx.unsubscribe(first)));
        assert!(!world.act(pid, |cx| cx.unsubscribe(first)));
        assert_eq!(publish(&mut world, sender, "a.b"), 1);
        world.settle();
        assert_eq!(*heard.lock().unwrap(), [(Some(second), "a.b".to_owned())]);
        assert_ne!(subscribe(&mut world, pid, "a.*"), first);
    }
}

#[test]
fn a_full_mailbox_misses_what_is_published_and_neither_publisher_nor_others_suffer() {
    for shard in NEAR_AND_FAR {
        let mut small = Host::new("app:small");
        small.mailbox_messages = 3;
        let mut world = World::with_hosts(2, vec![small]);
        let host = world.host("app:small");
        let sender = world.puppet(0);
        let (reader, heard) = listener(&mut world, shard);
        let deaf = world.mannered(shard, host, Manner::Deaf);
        world.settle();
        for pid in [reader, deaf] {
            subscribe(&mut world, pid, "n.*");
        }
        let published: usize = (0..10).map(|n| publish(&mut world, sender, &format!("n.{n}"))).sum();
        assert_eq!(published, 10 + 3);
        world.settle();
        assert_eq!(world.counts().refused, 7);
        assert_eq!(heard.lock().unwrap().len(), 10);
        world.manner(deaf, Manner::Reads);
        world.nudge(deaf);
        world.settle();
        assert_eq!(world.topics(deaf, sender), ["n.0", "n.1", "n.2"]);
        assert_eq!(publish(&mut world, sender, "n.10"), 2);
    }
}

#[test]
fn who_ends_has_no_subscriptions_and_nothing_is_left_of_them() {
    for shard in NEAR_AND_FAR {
        let mut world = World::new(2);
        let sender = world.puppet(0);
        let (pid, heard) = listener(&mut world, shard);
        for pattern in ["a.*", "a.b", "**", "x.*.y.**"] {
            subscribe(&mut world, pid, pattern);
        }
        assert_eq!(world.node.subscriptions(), 4);
        // On its way when its receiver ends.
        publish(&mut world, sender, "a.b");
        world.fails(pid);
        assert_eq!(publish(&mut world, sender, "a.b"), 0);
        world.settle();
        assert_eq!((world.node.subscriptions(), heard.lock().unwrap().len()), (0, 0));
        // Room that was taken for it is free again for whoever lives there next.
        let (next, heard) = listener(&mut world, shard);
        subscribe(&mut world, next, "a.*");
        for _ in 0..limits::MAILBOX_MESSAGES {
            assert_eq!(publish(&mut world, sender, "a.b"), 1);
        }
        world.settle();
        assert_eq!(heard.lock().unwrap().len(), limits::MAILBOX_MESSAGES as usize);
    }
}

#[test]
fn a_process_has_a_bounded_number_of_subscriptions_and_is_told_the_limit() {
    let mut world = World::new(1);
    let pid = world.puppet(0);
    world.act(pid, |cx| {
        let first = cx.subscribe("a.0").unwrap();
        for n in 1..limits::SUBSCRIPTIONS_PER_PROCESS {
            cx.subscribe(&format!("a.{n}")).unwrap();
        }
        let refused = cx.subscribe("one.more").unwrap_err();
        assert_eq!(refused.kind, Kind::Unavailable);
        assert_eq!(&*refused.message, "a process has at most 1000 subscriptions");
        assert!(cx.unsubscribe(first));
        cx.subscribe("one.more").unwrap();
        for pattern in ["", "@system", "a..b", "**.a", "a*"] {
            assert_eq!(cx.subscribe(pattern).unwrap_err().kind, Kind::Invalid);
        }
        assert_eq!(cx.publish(Topic::from("a.*"), Body::None).unwrap_err().kind, Kind::Invalid);
    });
    world.returns(pid);
    assert_eq!(world.node.subscriptions(), 0);
}
