//! One shard, one session, a target that notes what it gets, and a client made of bytes.

use super::super::super::deflate::Agreement;
use super::super::{Agenda, Relay, Session, SessionProcess, Want, Wanted};
use kernel::term::View;
use kernel::{
    Body, Cx, Error, Event, Exit, Factory, Host, Hosts, Mail, Message, Next, Node, Pid, Process, Shard, Spawn,
    SpawnBody, Term, Time, Topic,
};
use manifest::RelayOptions;
use serde_json::{Value, json};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct NoSeeds;

impl Factory for NoSeeds {
    fn create(&mut self, _: Box<dyn Any + Send>, _: Pid) -> Result<Box<dyn Process>, Error> {
        Err(Error::new(kernel::Kind::Internal, "no seeds here"))
    }
}

/// A process that notes its mail, answers it if it is asked to, or leaves it where it is while it is deaf.
#[derive(Clone, Default)]
pub(super) struct Puppet {
    pub(super) pid: Option<Pid>,
    seen: Rc<RefCell<Vec<(String, Value)>>>,
    exits: Rc<RefCell<Vec<Exit>>>,
    pub(super) deaf: Rc<Cell<bool>>,
    /// Whether it sends each client's message back.
    pub(super) answers: Rc<Cell<bool>>,
}

impl Process for Puppet {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        while !self.deaf.get()
            && let Some((mail, claim)) = cx.next_mail()
        {
            match mail {
                Mail::Message(message) => {
                    cx.received(message.from, claim);
                    if self.answers.get() && &*message.topic == "ws.message" {
                        let answer =
                            Message { topic: Topic::from("ws.send"), from: cx.pid(), body: message.body.clone() };
                        cx.send(message.from, answer).expect("the client lives");
                    }
                    let from = message.from.text(cx.hosts()).to_string();
                    let data = match &message.body {
                        Body::None => Value::Null,
                        Body::Term(term) => crate::relay::values::json_of(term.view()),
                        Body::Frame(frame) => crate::relay::values::json_of(frame.to_term(&from).view()),
                    };
                    self.seen.borrow_mut().push((message.topic.to_string(), data));
                }
                Mail::Event(Event::Exit { exit, .. } | Event::LinkDown { exit, .. }) => {
                    self.exits.borrow_mut().push((*exit).clone());
                }
                _ => {}
            }
        }
        Next::Wait
    }
}

impl Puppet {
    pub(super) fn pid(&self) -> Pid {
        self.pid.expect("spawned")
    }

    /// What came since the last call: topics and data, the client's PID left out.
    pub(super) fn seen(&self) -> Vec<(String, Value)> {
        let mut seen = std::mem::take(&mut *self.seen.borrow_mut());
        for (topic, data) in &mut seen {
            if topic.starts_with("ws.")
                && let Value::Object(fields) = data
            {
                assert!(fields.remove("client_pid").is_some(), "every message has the client's PID");
            }
        }
        seen
    }

    pub(super) fn topics(&self) -> Vec<String> {
        self.seen().into_iter().map(|(topic, _)| topic).collect()
    }

    pub(super) fn exit(&self) -> Exit {
        let mut exits = self.exits.borrow_mut();
        assert_eq!(exits.len(), 1, "a monitor fires once");
        exits.remove(0)
    }
}

pub(super) struct Stage {
    pub(super) shard: Shard,
    pub(super) session: Rc<RefCell<Session>>,
    agenda: Rc<Agenda>,
    pub(super) client: Pid,
    pub(super) target: Puppet,
    pub(super) now: Time,
    /// What the socket takes before it is full; `None`: everything.
    pub(super) takes: Option<usize>,
    written: Vec<u8>,
}

/// The usual stage: no metadata, no heartbeat, default options, the join already seen.
pub(super) fn open() -> Stage {
    let stage = Stage::new(RelayOptions::default(), |_| {});
    assert_eq!(stage.target.topics(), ["ws.join"]);
    stage
}

pub(super) fn open_with(change: impl FnOnce(&mut RelayOptions)) -> Stage {
    let mut options = RelayOptions::default();
    change(&mut options);
    let stage = Stage::new(options, |_| {});
    assert_eq!(stage.target.topics(), ["ws.join"]);
    stage
}

impl Stage {
    pub(super) fn new(options: RelayOptions, change: impl FnOnce(&mut Wanted)) -> Stage {
        Stage::build(options, None, change)
    }

    /// A connection that agreed on permessage-deflate.
    pub(super) fn compressed(options: RelayOptions, agreed: Agreement) -> Stage {
        Stage::build(options, Some(agreed), |_| {})
    }

    fn build(options: RelayOptions, agreed: Option<Agreement>, change: impl FnOnce(&mut Wanted)) -> Stage {
        let mut small = Host::new("app:small");
        small.mailbox_messages = 3;
        let mut gateway = Host::new("app:gateway");
        gateway.last_topic = Some(super::super::CLOSE);
        let hosts = Hosts::new(vec![Host::new("app:processes"), gateway, small]);
        let node = Node::new(7, 1, hosts);
        let mut shard = Shard::new(node, 0, Box::new(NoSeeds));
        let target = spawn(&mut shard, "app:processes");
        let mut wanted =
            Wanted { target: target.pid(), topic: Topic::from("ws.message"), heartbeat: None, metadata: None };
        change(&mut wanted);
        let relay = Arc::new(Relay { entry: "app:ws".to_owned(), options });
        let agenda = Rc::new(Agenda::default());
        let session = Rc::new(RefCell::new(Session::new(wanted, agreed, relay, agenda.clone(), 0)));
        let host = shard.node().hosts.find("app:gateway").expect("a host");
        let body = SpawnBody::Here(Box::new(SessionProcess(session.clone())));
        let client = shard.spawn(Spawn { host, body, monitored: false, linked: false }).expect("room");
        let watched = shard.enter(client, |cx| (Next::Wait, session.borrow_mut().watch(cx).is_ok()));
        assert_eq!(watched, Some(true));
        shard.enter(client, |cx| (session.borrow_mut().open(cx), ()));
        let now = Time::default();
        let mut stage = Stage { shard, session, agenda, client, target, now, takes: None, written: Vec::new() };
        stage.turn();
        stage
    }

    /// Runs everything that is ready, and lets the socket write.
    pub(super) fn turn(&mut self) {
        self.shard.begin(self.now);
        loop {
            while self.shard.run(64) {}
            self.go_on();
            while self.shard.run(64) {}
            self.agenda.take(&mut Vec::new());
            let act = self.write();
            self.agenda.end_turn(!self.shard.has_ready());
            let session = self.session.borrow();
            let unfinished = session.has_output() && !session.is_blocked() && self.takes != Some(0);
            if !act && !unfinished && self.agenda.is_empty() && !self.agenda.has_rested() {
                break;
            }
        }
    }

    /// Lets the session go on with what it has read, as the sockets do at the beginning of a turn.
    fn go_on(&mut self) {
        let mut rested = Vec::new();
        self.agenda.take_rested(&mut rested);
        for _ in rested {
            let session = self.session.clone();
            self.shard.enter(self.client, |cx| (session.borrow_mut().on_turn(cx), ()));
        }
    }

    /// One turn that begins so much later, and nothing after it.
    pub(super) fn one_turn(&mut self, later: Duration) {
        self.now = self.now.after(later);
        self.shard.begin(self.now);
        self.go_on();
        while self.shard.run(64) {}
        self.agenda.take(&mut Vec::new());
        self.write();
        self.agenda.end_turn(true);
    }

    /// Lets a target that was deaf look at its mail when it runs next.
    pub(super) fn prod(&mut self) {
        let target = self.target.pid();
        self.shard.enter(target, |_| (Next::Again, ()));
    }

    /// Another process that monitors the target.
    pub(super) fn share(&mut self) -> Pid {
        let (other, target) = (spawn(&mut self.shard, "app:processes").pid(), self.target.pid());
        self.shard.enter(other, |cx| (Next::Wait, cx.monitor(target).expect("alive")));
        other
    }

    /// Sends a message without a body.
    pub(super) fn tell(&mut self, from: Pid, to: Pid, topic: &str) {
        let message = Message { topic: Topic::from(topic), from, body: Body::None };
        self.shard.enter(from, |cx| (Next::Wait, cx.send(to, message).expect("there is room")));
    }

    pub(super) fn pass(&mut self, time: Duration) {
        // In steps, so that each timer finds the clock near its own time.
        for _ in 0..100 {
            self.now = self.now.after(time / 100);
            self.turn();
        }
    }

    /// Writes as the socket would; whether that made the session act.
    fn write(&mut self) -> bool {
        let mut session = self.session.borrow_mut();
        session.attend();
        // Like a socket that is not offered anything before it says that it has room.
        let is_full = session.is_blocked() && self.takes == Some(0);
        let mut piece = Vec::new();
        if let Some(outbox) = session.outbox().filter(|_| !is_full) {
            outbox.gather(|bytes| {
                piece.extend_from_slice(bytes);
                true
            });
        }
        if piece.is_empty() {
            return false;
        }
        let now = piece.len().min(self.takes.unwrap_or(usize::MAX));
        self.takes = self.takes.map(|left| left - now);
        self.written.extend_from_slice(&piece[..now]);
        let act = session.wrote(now, now < piece.len(), now > 0, self.now);
        drop(session);
        if act {
            let session = self.session.clone();
            self.shard.enter(self.client, |cx| (session.borrow_mut().on_written(cx), ()));
        }
        act
    }

    /// Sends a client's frame.
    pub(super) fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let mut bytes = frame(opcode, payload);
        self.bytes(&mut bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.frame(1, text.as_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &mut [u8]) {
        let session = self.session.clone();
        self.shard.begin(self.now);
        if self.shard.enter(self.client, |cx| (session.borrow_mut().on_bytes(bytes, cx), ())).is_none() {
            session.borrow_mut().on_bytes_after(bytes);
        }
        self.turn();
    }

    pub(super) fn close_frame(&mut self, code: u16, reason: &str) {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_bytes());
        self.frame(8, &payload);
    }

    pub(super) fn lose(&mut self) {
        let session = self.session.clone();
        self.shard.enter(self.client, |cx| (session.borrow_mut().on_lost(cx), ()));
        self.turn();
    }

    /// Sends from the target.
    pub(super) fn send(&mut self, topic: &str, body: Body) {
        let from = self.target.pid();
        self.send_from(from, topic, body);
        self.turn();
    }

    pub(super) fn send_from(&mut self, from: Pid, topic: &str, body: Body) {
        let message = Message { topic: Topic::from(topic), from, body };
        let client = self.client;
        self.shard.enter(from, |cx| (Next::Wait, cx.send(client, message).is_ok()));
    }

    pub(super) fn send_json(&mut self, topic: &str, value: &Value) {
        self.send(topic, term(value));
    }

    /// What the client got: opcodes and payloads, control frames too.
    pub(super) fn got(&mut self) -> Vec<(u8, Vec<u8>)> {
        let frames = self.got_raw().into_iter();
        let plain = |(rsv1, opcode, payload): (bool, u8, Vec<u8>)| {
            assert!(!rsv1, "no reserved bits");
            (opcode, payload)
        };
        frames.map(plain).collect()
    }

    /// The same, and whether RSV1 was set.
    pub(super) fn got_raw(&mut self) -> Vec<(bool, u8, Vec<u8>)> {
        self.turn();
        let mut bytes = &std::mem::take(&mut self.written)[..];
        let mut frames = Vec::new();
        while let [first, second, rest @ ..] = bytes {
            assert_eq!(first & 0xb0, 0x80, "whole frames without other reserved bits");
            let (length, rest) = match second {
                126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
                127 => (u64::from_be_bytes(rest[..8].try_into().expect("8")) as usize, &rest[8..]),
                short => (usize::from(*short), rest),
            };
            frames.push((first & 0x40 != 0, first & 0xf, rest[..length].to_vec()));
            bytes = &rest[length..];
        }
        frames
    }

    pub(super) fn got_texts(&mut self) -> Vec<String> {
        let texts = self.got().into_iter().filter(|(opcode, _)| *opcode == 1);
        texts.map(|(_, payload)| String::from_utf8(payload).expect("UTF-8")).collect()
    }

    /// The close frame that the client got last: code and reason.
    pub(super) fn got_close(&mut self) -> Option<(u16, String)> {
        let (opcode, payload) = self.got().pop()?;
        assert_eq!(opcode, 8, "the close frame is last");
        let (code, reason) = payload.split_first_chunk::<2>()?;
        Some((u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("UTF-8")))
    }

    pub(super) fn want(&self) -> Want {
        self.session.borrow().want()
    }

    pub(super) fn figures(&self) -> Arc<crate::figures::Figures> {
        self.session.borrow().agenda.figures.clone()
    }

    pub(super) fn is_alive(&self) -> bool {
        self.shard.node().is_alive(self.client)
    }

    /// A process that monitors the client.
    pub(super) fn monitor(&mut self) -> Puppet {
        let watcher = spawn(&mut self.shard, "app:processes");
        let client = self.client;
        self.shard.enter(watcher.pid(), |cx| (Next::Wait, cx.monitor(client).expect("alive")));
        watcher
    }

    pub(super) fn leave(&self) -> (String, String, u64) {
        let mut seen = self.target.seen();
        let (topic, data) = seen.pop().expect("a leave");
        assert_eq!(topic, "ws.leave", "the leave is last");
        assert!(seen.iter().all(|(topic, _)| topic != "ws.leave"), "and the only one");
        let text = |field: &str| data[field].as_str().expect("a text").to_owned();
        (text("cause"), text("reason"), data["code"].as_u64().expect("a code"))
    }
}

pub(super) fn spawn(shard: &mut Shard, host: &str) -> Puppet {
    let mut puppet = Puppet::default();
    let host = shard.node().hosts.find(host).expect("a host");
    let body = SpawnBody::Here(Box::new(puppet.clone()));
    puppet.pid = Some(shard.spawn(Spawn { host, body, monitored: false, linked: false }).expect("room"));
    puppet
}

/// A client's frame: masked, with a mask of zeros.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | short as u8),
        middle @ 126..65536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

pub(super) fn term(value: &Value) -> Body {
    let Value::Object(fields) = value else {
        return Body::Term(match value {
            Value::String(text) => Term::string(text),
            other => {
                let wrapped = json!({ "x": other });
                let term = crate::relay::values::term_of(wrapped.as_object().expect("an object"));
                let View::Table(table) = term.view() else { unreachable!() };
                crate::relay::values::term_of_view(table.get("x").expect("x"))
            }
        });
    };
    Body::Term(crate::relay::values::term_of(fields))
}
