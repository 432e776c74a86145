//! A process that heeds its host's last topic is gone for everybody as soon as somebody said it.

use kernel::{
    Body, Cx, Error, Factory, Host, Hosts, Kind, Message, Next, Node, Pid, Process, Refused, Shard, Spawn, SpawnBody,
    Time, Topic,
};
use std::any::Any;

struct NoSeeds;

impl Factory for NoSeeds {
    fn create(&mut self, _: Box<dyn Any + Send>, _: Pid) -> Result<Box<dyn Process>, Error> {
        Err(Error::new(Kind::Internal, "no seeds here"))
    }
}

/// Takes everything and does nothing.
struct Listener;

impl Process for Listener {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        while let Some((mail, claim)) = cx.next_mail() {
            if let kernel::Mail::Message(message) = mail {
                cx.received(message.from, claim);
            }
        }
        Next::Wait
    }
}

fn shards() -> Vec<Shard> {
    let mut host = Host::new("app:clients");
    host.last_topic = Some(Topic::fixed("close"));
    let node = Node::new(3, 2, Hosts::new(vec![host, Host::new("app:others")]));
    let mut shards: Vec<Shard> = (0..2).map(|index| Shard::new(node.clone(), index, Box::new(NoSeeds))).collect();
    shards.iter_mut().for_each(|shard| shard.begin(Time(1)));
    shards
}

fn spawn(shard: &mut Shard, host: &str, heeds: bool) -> Pid {
    let host = shard.node().hosts.find(host).expect("a host");
    let body = SpawnBody::Here(Box::new(Listener));
    let pid = shard.spawn(Spawn { host, body, monitored: false, linked: false }).expect("room");
    if heeds {
        shard.enter(pid, |cx| (Next::Wait, cx.heed_last_topic()));
    }
    pid
}

/// Sends `close` and then another message in the same slice.
fn close_and_more(shard: &mut Shard, from: Pid, to: Pid) -> (Result<(), Refused>, Result<(), Refused>, bool) {
    let message = |topic| Message { topic: Topic::fixed(topic), from, body: Body::None };
    let act = |cx: &mut Cx<'_>| (cx.send(to, message("close")), cx.send(to, message("more")), cx.is_alive(to));
    shard.enter(from, |cx| (Next::Wait, act(cx))).expect("alive")
}

#[test]
fn after_the_last_message_nobody_is_there() {
    let mut shards = shards();
    let client = spawn(&mut shards[0], "app:clients", true);
    let far = spawn(&mut shards[1], "app:clients", true);
    let sender = spawn(&mut shards[0], "app:others", false);
    for to in [client, far] {
        let gone = (Ok(()), Err(Refused::NotFound), false);
        assert_eq!(close_and_more(&mut shards[0], sender, to), gone);
    }
}

#[test]
fn a_process_that_does_not_heed_it_takes_it_as_any_other() {
    let mut shards = shards();
    let handler = spawn(&mut shards[0], "app:clients", false);
    let far = spawn(&mut shards[1], "app:clients", false);
    let sender = spawn(&mut shards[0], "app:others", false);
    for to in [handler, far] {
        assert_eq!(close_and_more(&mut shards[0], sender, to), (Ok(()), Ok(()), true));
    }
}

#[test]
fn the_place_of_a_process_that_was_closed_is_used_again() {
    let mut shards = shards();
    let client = spawn(&mut shards[0], "app:clients", true);
    let sender = spawn(&mut shards[0], "app:others", false);
    close_and_more(&mut shards[0], sender, client).0.expect("taken");
    shards[0].end(client, kernel::Exit::normal(None));
    let next = spawn(&mut shards[0], "app:clients", false);
    assert!(shards[0].node().is_alive(next));
    assert_eq!(close_and_more(&mut shards[0], sender, next), (Ok(()), Ok(()), true));
}

#[test]
fn a_process_that_was_closed_can_still_be_ended_from_every_shard() {
    for shard in [0, 1] {
        let mut shards = shards();
        let client = spawn(&mut shards[0], "app:clients", true);
        let sender = spawn(&mut shards[shard], "app:others", false);
        close_and_more(&mut shards[shard], sender, client).0.expect("taken");
        let living = |shards: &[Shard]| shards[0].node().hosts[client.host()].living();
        assert_eq!(living(&shards), 1);
        let ended = shards[shard].enter(sender, |cx| (Next::Wait, cx.terminate(client, None)));
        assert_eq!(ended, Some(Ok(())));
        shards[shard].flush();
        shards[0].begin(Time(1));
        assert_eq!(living(&shards), 0);
        let again = shards[shard].enter(sender, |cx| (Next::Wait, cx.terminate(client, None)));
        assert_eq!(again, Some(Err(Refused::NotFound)));
    }
}
