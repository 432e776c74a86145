//! A node of one shard with one Luau process, which is asked and answers.

use kernel::{
    Body, Cx, Event, Host, Hosts, Mail, Message, Next, Node, Pid, Process, Shard, Spawn, SpawnBody, Term, Time, Topic,
};
use luau::{Registry, Role, Runtime, Seed, Source};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What the program does with a text or a value; it always answers with a table.
const PROGRAM: &str = r#"
local json = require("json")
local driver

local function decode(text)
    local value, fault = json.decode(text)
    if fault then
        return { fault = fault:message() }
    end
    local encoded, refused = json.encode(value)
    if refused then
        return { refused = refused:message() }
    end
    local again = json.encode(json.decode(encoded))
    -- By itself: it may nest as deep as a message can.
    process.send(driver, "value", value)
    return { text = encoded, again = again }
end

local function encode(value)
    local text, fault = json.encode(value)
    return { text = text, fault = fault and fault:message() }
end

local function main(whom)
    driver = whom
    local inbox = process.inbox()
    while true do
        local msg = inbox:receive()
        local answer = (if msg:topic() == "decode" then decode else encode)(msg:payload():data())
        process.send(driver, "answer", answer)
    end
end
return { main = main }
"#;

/// The other side: it keeps the last answer and the value that came before it, and how the program ended.
#[derive(Default)]
struct Heard {
    value: Option<Term>,
    answer: Option<Term>,
    end: Option<String>,
}

struct Driver(Rc<RefCell<Heard>>);

impl Process for Driver {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        while let Some((mail, claim)) = cx.next_mail() {
            match mail {
                Mail::Message(message) => {
                    cx.received(message.from, claim);
                    let mut heard = self.0.borrow_mut();
                    match message.body {
                        Body::Term(term) if &*message.topic == "value" => heard.value = Some(term),
                        Body::Term(term) => heard.answer = Some(term),
                        _ => {}
                    }
                }
                Mail::Event(Event::Exit { exit, .. }) => self.0.borrow_mut().end = Some(format!("{exit:?}")),
                _ => {}
            }
        }
        Next::Wait
    }
}

pub(super) struct Pod {
    shard: Shard,
    driver: Pid,
    program: Pid,
    heard: Rc<RefCell<Heard>>,
    start: Instant,
}

impl Pod {
    pub(super) fn new() -> Pod {
        let modules: Vec<String> = luau::modules::BUILT_IN.map(String::from).to_vec();
        let source = Source {
            id: "app:main",
            role: Role::Process,
            path: "main.luau",
            text: PROGRAM,
            method: Some("main"),
            modules: &modules,
            imports: &[],
        };
        let registry = Arc::new(Registry::compile(&[source]).expect("the program compiles"));
        let entry = registry.find("app:main").expect("the program is there");
        let node = Node::new(7, 1, Hosts::new(vec![Host::new("app:processes")]));
        let host = node.hosts.find("app:processes").expect("the host is there");
        let start = Instant::now();
        let clock = Box::new(move || Time(start.elapsed().as_nanos() as u64));
        let runtime = Runtime::new(registry, Vec::new(), 0.0, clock);
        let mut shard = Shard::new(node, 0, Box::new(runtime));
        let heard = Rc::new(RefCell::new(Heard::default()));
        let body = SpawnBody::Here(Box::new(Driver(heard.clone())));
        let driver = shard.spawn(Spawn { host, body, monitored: false, linked: false }).expect("there is room");
        let name = Term::string(driver.text(&shard.node().hosts).to_string());
        let seed = Box::new(Seed { entry, args: vec![name], context: None, extension: None });
        let spawn = Spawn { host, body: SpawnBody::Seed(seed), monitored: true, linked: false };
        let program = shard.enter(driver, |cx| (Next::Wait, cx.spawn(spawn))).expect("the driver lives");
        Pod { shard, driver, program: program.expect("there is room"), heard, start }
    }

    /// Sends to the program and runs until it answers; the value that it read, if any, and the answer.
    pub(super) fn ask(&mut self, topic: &'static str, payload: Term) -> (Option<Term>, Term) {
        let message = Message { topic: Topic::fixed(topic), from: self.driver, body: Body::Term(payload) };
        let program = self.program;
        let sent = self.shard.enter(self.driver, |cx| (Next::Wait, cx.send(program, message)));
        assert!(matches!(sent, Some(Ok(()))), "the program takes every message: {sent:?}");
        loop {
            self.shard.begin(Time(self.start.elapsed().as_nanos() as u64));
            self.shard.run(64);
            self.shard.flush();
            let mut heard = self.heard.borrow_mut();
            if let Some(answer) = heard.answer.take() {
                return (heard.value.take(), answer);
            }
            if let Some(end) = &heard.end {
                panic!("the program ended: {end}");
            }
        }
    }
}
