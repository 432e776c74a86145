//! A node of one shard that runs Luau sources, for the tests beside this file.
#![allow(dead_code, missing_docs, unreachable_pub)]

use kernel::supervisor::machine::Report;
use kernel::supervisor::{Plan, Settings, Strategy, Supervisor};
use kernel::{Cx, Event, Exit, Host, HostId, Hosts, Mail, Next, Node, Process, Shard, Spawn, SpawnBody, Term, Time};
use luau::{Changes, Live, Registry, Role, Runtime, Seed, Source};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Remembers how the processes that it monitors ended.
struct Watcher(Rc<RefCell<Vec<Exit>>>);

impl Process for Watcher {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        while let Some((mail, claim)) = cx.next_mail() {
            match mail {
                Mail::Event(Event::Exit { exit, .. }) => self.0.borrow_mut().push((*exit).clone()),
                Mail::Message(message) => cx.received(message.from, claim),
                _ => {}
            }
        }
        Next::Wait
    }
}

/// A node of one shard.
pub struct World {
    pub shard: Shard,
    pub live: Live,
    host: HostId,
    exits: Rc<RefCell<Vec<Exit>>>,
    watcher: kernel::Pid,
    start: Instant,
}

impl World {
    /// A world of the given `(id, text)`; ids with `lib` in them are libraries, those with `fn` behind the colon
    /// functions.
    pub fn new(sources: &[(&str, &str)], change: impl FnOnce(&mut Host)) -> World {
        let live = Live::from(Arc::new(compile(sources)));
        let mut host = Host::new("app:processes");
        change(&mut host);
        let node = Node::new(7, 1, Hosts::new(vec![host]));
        let start = Instant::now();
        let clock = Box::new(move || Time(start.elapsed().as_nanos() as u64));
        let runtime = Runtime::new(live.clone(), Vec::new(), 0.0, clock);
        let host = node.hosts.find("app:processes").unwrap();
        let mut shard = Shard::new(node, 0, Box::new(runtime));
        let exits = Rc::new(RefCell::new(Vec::new()));
        let body = SpawnBody::Here(Box::new(Watcher(exits.clone())));
        let watcher = shard.spawn(Spawn { host: HostId::SYSTEM, body, monitored: false, linked: false }).unwrap();
        World { shard, live, host, exits, watcher, start }
    }

    /// A world of one program.
    pub fn of(text: &str) -> World {
        World::new(&[("app:main", text)], |_| {})
    }

    /// Puts other sources in the place of those that it has.
    pub fn reload(&mut self, sources: &[(&str, &str)]) -> Changes {
        let changes = self.live.publish(compile(sources));
        self.shard.node().outdate();
        changes
    }

    pub fn spawn(&mut self, id: &str, args: Vec<Term>) -> kernel::Pid {
        let entry = self.live.current().find(id).unwrap();
        let host = self.host;
        let seed = Box::new(Seed { entry, args, context: None, extension: None });
        let spawn = Spawn { host, body: SpawnBody::Seed(seed), monitored: true, linked: false };
        self.shard.enter(self.watcher, |cx| (Next::Wait, cx.spawn(spawn).unwrap())).unwrap()
    }

    /// Starts a supervisor without children under a name.
    pub fn supervise(&mut self, name: &str) -> kernel::Pid {
        let settings = Settings {
            strategy: Strategy::OneForOne,
            intensity: 3,
            period: Duration::from_secs(5),
            start_timeout: Duration::from_secs(10),
        };
        let (adopt, notice) = (luau::supervised::adopt(self.live.clone()), Box::new(|_: &Report, _| {}));
        let plan = Plan { settings, children: Vec::new(), adopt, notice, parent: None };
        let body = SpawnBody::Here(Box::new(Supervisor::new(plan)));
        let spawn = Spawn { host: HostId::SYSTEM, body, monitored: false, linked: false };
        self.shard.enter(self.watcher, |cx| (Next::Wait, cx.spawn_as(spawn, Some(name), None).unwrap())).unwrap()
    }

    /// Sends an empty message to a process.
    pub fn send(&mut self, to: kernel::Pid) {
        let message = kernel::Message { topic: "go".into(), from: self.watcher, body: kernel::Body::None };
        self.shard.enter(self.watcher, |cx| (Next::Wait, cx.send(to, message).unwrap())).unwrap();
    }

    /// Runs turns until `done` says so; panics after a minute, which only a hang takes.
    pub fn run_until(&mut self, mut done: impl FnMut(&mut World) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            self.turn();
            if done(self) {
                return;
            }
            assert!(Instant::now() < deadline, "nothing came of it within a minute; exits so far: {:?}", self.exits);
        }
    }

    pub fn turn(&mut self) {
        self.shard.begin(Time(self.start.elapsed().as_nanos() as u64));
        self.shard.run(64);
        self.shard.flush();
    }

    /// How the first process to end did, and how long the longest step took.
    pub fn exit_and_worst_step(&mut self) -> (Exit, Duration) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut worst = Duration::ZERO;
        loop {
            self.shard.begin(Time(self.start.elapsed().as_nanos() as u64));
            let before = computed();
            self.shard.run(1);
            worst = worst.max(computed() - before);
            self.shard.flush();
            if !self.exits.borrow().is_empty() {
                return (self.exits.borrow_mut().remove(0), worst);
            }
            assert!(Instant::now() < deadline, "no end within thirty seconds; the worst step so far: {worst:?}");
        }
    }

    /// How long the longest of so many steps took.
    pub fn worst_of(&mut self, steps: usize) -> Duration {
        let mut worst = Duration::ZERO;
        for _ in 0..steps {
            self.shard.begin(Time(self.start.elapsed().as_nanos() as u64));
            let before = computed();
            self.shard.run(1);
            worst = worst.max(computed() - before);
            self.shard.flush();
        }
        worst
    }

    /// How the first process to end did.
    pub fn exit(&mut self) -> Exit {
        self.run_until(|world| !world.exits.borrow().is_empty());
        self.exits.borrow_mut().remove(0)
    }
}

/// How a program of this text ends.
pub fn exit_of(text: &str) -> Exit {
    let mut world = World::of(text);
    world.spawn("app:main", Vec::new());
    world.exit()
}

/// Runs a program that returns `true`, or says what went wrong.
pub fn passes(text: &str) {
    let exit = exit_of(text);
    assert_eq!(exit.error, None, "{text}");
    assert_eq!(exit.value.as_ref().map(|value| format!("{value:?}")).as_deref(), Some("true"), "{text}");
}

/// How long this thread has computed: what other threads of the machine do does not count.
pub fn computed() -> Duration {
    Duration::from_nanos(luau::computed())
}

/// The sources of `(id, text)`, compiled; ids with `lib` in them are libraries.
/// Whether the programs are to be compiled to machine code: tests/native.rs has other files' tests in it for that.
fn is_native() -> bool {
    module_path!().starts_with("native::") && module_path!() != "native::world"
}

fn compile(sources: &[(&str, &str)]) -> Registry {
    let directive = if is_native() { "--!native\n" } else { "" };
    let sources: Vec<(&str, String)> = sources.iter().map(|(id, text)| (*id, format!("{directive}{text}"))).collect();
    let modules: Vec<String> = luau::modules::BUILT_IN.map(String::from).to_vec();
    let imports: Vec<(String, String)> = sources
        .iter()
        .filter(|(id, _)| id.contains("lib"))
        .map(|(id, _)| (id.split_once(':').unwrap().1.to_owned(), (*id).to_owned()))
        .collect();
    let list: Vec<Source<'_>> = sources
        .iter()
        .map(|(id, text)| {
            let library = id.contains("lib");
            Source {
                id,
                role: match id.split_once(':') {
                    _ if library => Role::Library,
                    Some((_, name)) if name.starts_with("fn") => Role::Function,
                    _ => Role::Process,
                },
                path: id.split_once(':').unwrap().1,
                text,
                method: (!library).then_some("main"),
                modules: &modules,
                imports: if library { &[] } else { &imports },
            }
        })
        .collect();
    Registry::compile(&list).unwrap_or_else(|errors| panic!("{errors:?}"))
}
