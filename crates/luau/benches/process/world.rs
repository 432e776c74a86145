//! A node of one shard that runs the programs beside this file, moved by hand and measured.

use kernel::term::Writer;
use kernel::{
    Body, Cx, Frame, Host, HostId, Hosts, Mail, Message, Next, Node, Pid, Process, Relayed, Shard, Spawn, SpawnBody,
    Term, Time, Topic,
};
use luau::{Registry, Role, Runtime, Seed, Source};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A program: its id, its text, and the aliases of the libraries that it imports.
type Program = (&'static str, &'static str, &'static [&'static str]);

/// Programs that others require.
const LIBRARIES: &[&str] = &["shapes", "quota", "history", "workloads"];
/// What a realistic process requires.
const THREE: &[&str] = &["shapes", "quota", "history"];
const PROGRAMS: [Program; 11] = [
    ("spawner", include_str!("programs/spawner.luau"), &[]),
    ("waiter", include_str!("programs/waiter.luau"), &[]),
    ("reader", include_str!("programs/reader.luau"), THREE),
    ("hub", include_str!("programs/hub.luau"), &[]),
    ("pair", include_str!("programs/pair.luau"), &[]),
    ("room", include_str!("programs/room.luau"), THREE),
    ("shapes", include_str!("programs/shapes.luau"), &[]),
    ("quota", include_str!("programs/quota.luau"), &[]),
    ("history", include_str!("programs/history.luau"), &[]),
    ("workloads", include_str!("programs/workloads.luau"), &[]),
    ("code", include_str!("programs/code.luau"), &["workloads"]),
];

/// The driver's own process: it counts what programs report, and takes what a connection would send.
struct Driver(Rc<Cell<usize>>);

impl Process for Driver {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        while let Some((mail, claim)) = cx.next_mail() {
            if let Mail::Message(message) = mail {
                cx.received(message.from, claim);
                self.0.set(self.0.get() + usize::from(&*message.topic == "done"));
            }
        }
        Next::Wait
    }
}

pub(crate) struct World {
    pub(crate) shard: Shard,
    registry: Arc<Registry>,
    host: HostId,
    pub(crate) driver: Pid,
    done: Rc<Cell<usize>>,
    start: Instant,
}

impl World {
    pub(crate) fn new() -> World {
        World::with_copies(0)
    }

    /// A world with so many copies of each program beside it, as entries of their own: `app:room.1` and so on.
    pub(crate) fn with_copies(copies: usize) -> World {
        let modules: Vec<String> = luau::modules::BUILT_IN.map(String::from).to_vec();
        let endings = std::iter::once(String::new()).chain((1..=copies).map(|copy| format!(".{copy}")));
        let mut named = Vec::new();
        for ending in endings {
            for program in PROGRAMS {
                let import = |alias: &&str| (alias.to_string(), format!("app:{alias}{ending}"));
                let imports: Vec<(String, String)> = program.2.iter().map(import).collect();
                named.push((format!("app:{}{ending}", program.0), imports, program));
            }
        }
        let sources: Vec<Source<'_>> = named
            .iter()
            .map(|(id, imports, (name, text, _))| {
                let library = LIBRARIES.contains(name);
                let role = if library { Role::Library } else { Role::Process };
                let method = (!library).then_some("main");
                Source { id, role, path: id, text, method, modules: &modules, imports }
            })
            .collect();
        let registry = match Registry::compile(&sources) {
            Ok(registry) => Arc::new(registry),
            Err(errors) => panic!("{}", errors[0]),
        };
        let mut host = Host::new("app:processes");
        host.max_processes = u32::MAX;
        let node = Node::new(7, 1, Hosts::new(vec![host]));
        let host = node.hosts.find("app:processes").expect("the host is there");
        let start = Instant::now();
        let now = move || Time(start.elapsed().as_nanos() as u64);
        let runtime = Runtime::new(registry.clone(), Vec::new(), 0.0, Box::new(now));
        let mut shard = Shard::new(node, 0, Box::new(runtime));
        let done = Rc::new(Cell::new(0));
        let body = SpawnBody::Here(Box::new(Driver(done.clone())));
        let spawn = Spawn { host: HostId::SYSTEM, body, monitored: false, linked: false };
        let driver = shard.spawn(spawn).expect("there is room");
        World { shard, registry, host, driver, done, start }
    }

    /// Begins a program.
    pub(crate) fn spawn(&mut self, id: &str, args: Vec<Term>) -> Pid {
        let entry = self.registry.find(id).expect("the program is there");
        let body = SpawnBody::Seed(Box::new(Seed { entry, args, context: None, extension: None }));
        self.shard.spawn(Spawn { host: self.host, body, monitored: false, linked: false }).expect("there is room")
    }

    /// Begins a hub of so many processes, and runs until all wait.
    pub(crate) fn hub(&mut self, entry: &str, count: usize) -> Pid {
        let driver = self.name();
        let hub = self.spawn("app:hub", vec![driver, Term::string(entry), number(count)]);
        self.until_done(1);
        hub
    }

    /// Begins a process that begins others.
    pub(crate) fn spawner(&mut self) -> Pid {
        let driver = self.name();
        let spawner = self.spawn("app:spawner", vec![driver]);
        self.until_done(0);
        spawner
    }

    /// Has a process begin others, and runs until all wait.
    pub(crate) fn spawn_many(&mut self, spawner: Pid, entry: &str, count: usize) {
        self.order(spawner, "spawn", entry, count, 0);
    }

    /// Tells a program of these what to do, and runs until it is done.
    pub(crate) fn order(&mut self, to: Pid, shape: &str, payload: &str, messages: usize, receivers: usize) {
        let mut writer = Writer::default();
        let table = writer.table(false).expect("one table is not too deep");
        for (key, value) in [("shape", shape), ("payload", payload)] {
            writer.string(key.as_bytes());
            writer.string(value.as_bytes());
        }
        for (key, value) in [("messages", messages), ("receivers", receivers)] {
            writer.string(key.as_bytes());
            writer.number(value as f64);
        }
        writer.end(table, 0, 4);
        self.send(to, "order", Body::Term(writer.finish()));
        self.until_done(1);
    }

    /// The driver's PID as programs know it.
    pub(crate) fn name(&self) -> Term {
        Term::string(self.driver.text(&self.shard.node().hosts).to_string())
    }

    /// Sends from the driver.
    pub(crate) fn send(&mut self, to: Pid, topic: &'static str, body: Body) {
        let message = Message { topic: Topic::fixed(topic), from: self.driver, body };
        let sent = self.shard.enter(self.driver, |cx| (Next::Wait, cx.send(to, message)));
        assert_eq!(sent, Some(Ok(())), "every message is taken");
    }

    /// A client's message, as a connection relays it.
    pub(crate) fn relay(&mut self, to: Pid) {
        let bytes = bytes::Bytes::copy_from_slice(b"a message of thirty-two bytes...");
        let relayed = Some(Relayed { metadata: None });
        self.send(to, "ws.message", Body::Frame(Frame { binary: false, bytes, relayed }));
    }

    /// One turn, as a driver makes it.
    pub(crate) fn turn(&mut self, steps: usize) {
        self.shard.begin(Time(self.start.elapsed().as_nanos() as u64));
        self.shard.run(steps);
    }

    /// Runs until so many programs have reported, and nothing is left to do.
    pub(crate) fn until_done(&mut self, reports: usize) {
        while self.shard.has_ready() {
            self.turn(64);
        }
        assert_eq!(self.done.replace(0), reports, "a program has not done its work");
    }
}

pub(crate) fn number(value: usize) -> Term {
    let mut writer = Writer::default();
    writer.number(value as f64);
    writer.finish()
}

/// Time that this thread has computed.
pub(crate) fn computed() -> Duration {
    Duration::from_nanos(luau::computed())
}

/// Resident bytes of this program.
pub(crate) fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0.0) * 1024.0
}
