//! Connections without sockets, a million of them: `cargo bench -p gateway --bench sessions [-- COUNT]`.
//!
//! Each is a session as its socket holds it, and a Luau process of its own that has had its `ws.join` and waits, as
//! after the documents' handshake. No descriptor is opened: bytes are given to a session by hand. It prints what the
//! whole node holds, and fails if a connection does not answer.

use gateway::websocket::session::{Agenda, CLOSE, Relay, Session, SessionProcess, Wanted};
use kernel::{Host, Hosts, Next, Node, Pid, Shard, Spawn, SpawnBody, Time, Topic};
use luau::{Registry, Role, Runtime, Seed, Source};
use manifest::RelayOptions;
use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

// The server's own.
#[global_allocator]
static ALLOCATOR: luau::Allocator = luau::Allocator;

const GB: f64 = (1 << 30) as f64;
/// Of so many connections one is asked to answer.
const ASKED: usize = 1_000;
/// A client's text frame of one byte, `x`, masked with zeros (RFC 6455, section 5.2).
const FRAME: [u8; 7] = [0x81, 0x81, 0, 0, 0, 0, b'x'];

/// A connection as its socket knows it.
struct Connection {
    session: Rc<RefCell<Session>>,
    pid: Pid,
}

fn main() -> ExitCode {
    let count = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    let source = Source {
        id: "app:echo",
        role: Role::Process,
        path: "echo.luau",
        text: include_str!("../../../examples/echo/src/echo.luau"),
        method: Some("handler"),
        modules: &[],
        imports: &[],
    };
    let registry = match Registry::compile(&[source]) {
        Ok(registry) => Arc::new(registry),
        Err(errors) => panic!("{}", errors[0]),
    };
    let entry = registry.find("app:echo").expect("the program is there");
    let mut hosts = [Host::new("app:processes"), Host::new("app:gateway")];
    hosts.iter_mut().for_each(|host| host.max_processes = u32::MAX);
    hosts[1].last_topic = Some(CLOSE);
    let node = Node::new(7, 1, Hosts::new(hosts.into()));
    let find = |name| node.hosts.find(name).expect("the host is there");
    let (processes, gateway) = (find("app:processes"), find("app:gateway"));
    let start = Instant::now();
    let now = move || Time(start.elapsed().as_nanos() as u64);
    let runtime = Runtime::new(registry, Vec::new(), 0.0, Box::new(now));
    let mut shard = Shard::new(node, 0, Box::new(runtime));
    let relay = Arc::new(Relay { entry: "app:router".to_owned(), options: RelayOptions::default() });
    let agenda = Rc::new(Agenda::default());

    let before = resident();
    let mut held: Vec<Connection> = Vec::with_capacity(count);
    for token in 0..count {
        shard.begin(now());
        let seed = Seed { entry, args: Vec::new(), context: None, extension: None };
        let spawn = |host, body| Spawn { host, body, monitored: false, linked: false };
        let target = shard.spawn(spawn(processes, SpawnBody::Seed(Box::new(seed)))).expect("there is room");
        let wanted = Wanted { target, topic: Topic::from("ws.message"), heartbeat: None, metadata: None };
        let session = Session::new(wanted, None, relay.clone(), agenda.clone(), token as u32);
        let session = Rc::new(RefCell::new(session));
        let process = SpawnBody::Here(Box::new(SessionProcess(session.clone())));
        let pid = shard.spawn(spawn(gateway, process)).expect("there is room");
        let watched = shard.enter(pid, |cx| (Next::Wait, session.borrow_mut().watch(cx)));
        assert_eq!(watched, Some(Ok(())), "the target lives");
        shard.enter(pid, |cx| (session.borrow_mut().open(cx), ()));
        held.push(Connection { session, pid });
        if token % 16 == 0 {
            settle(&mut shard, now);
        }
    }
    settle(&mut shard, now);
    let (opened, after) = (start.elapsed(), resident());

    for (token, connection) in held.iter().enumerate().step_by(ASKED) {
        let mut input = FRAME;
        shard.begin(now());
        shard.enter(connection.pid, |cx| (connection.session.borrow_mut().on_bytes(&mut input, cx), ()));
        settle(&mut shard, now);
        if !connection.session.borrow().has_output() {
            eprintln!("connection {token} of {count} does not answer");
            return ExitCode::FAILURE;
        }
    }
    println!("| {count} connections in a simulated transport, each with its own parked process | |\n|---|---|");
    println!("| the whole node | {:.2} GB |", after / GB);
    println!("| one of them | {:.2} KB |", (after - before) / 1024.0 / count as f64);
    println!("| to open one | {:.2} µs |", opened.as_secs_f64() * 1e6 / count as f64);
    // To end a million processes in order shows nothing more.
    std::process::exit(0)
}

/// Runs until all wait.
fn settle(shard: &mut Shard, now: impl Fn() -> Time) {
    while shard.has_ready() {
        shard.begin(now());
        shard.run(64);
    }
}

/// Resident bytes of this program.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0.0) * 1024.0
}
