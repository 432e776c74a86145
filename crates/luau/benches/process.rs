//! What a process costs, without sockets: `cargo bench -p luau [--bench process] -- [PROCESSES] [MESSAGES]`.
//!
//! Spawns processes that wait as the documents write it, and sends each message to one of them at random; the process
//! answers its sender. Under `valgrind --tool=callgrind` the instructions per message repeat exactly.

use kernel::{
    Body, Cx, Frame, Host, HostId, Hosts, Message, Next, Node, Pid, Process, Relayed, Shard, Spawn, SpawnBody, Time,
    Topic,
};
use luau::{Registry, Role, Runtime, Seed, Source};
use std::sync::Arc;
use std::time::Instant;

const DOCUMENTS_LOOP: &str = r#"
local function handler()
    local inbox = process.inbox()

    while true do
        local msg, ok = inbox:receive()
        if not ok then break end

        local topic = msg:topic()
        local data = msg:payload():data()

        if topic == "ws.join" then
        elseif topic == "ws.message" then
            process.send(data.client_pid, "ws.send", { type = "text", data = data.data })
        elseif topic == "ws.leave" then
        end
    end
end
"#;

/// Stands for a connection: takes what it is sent.
struct Client;

impl Process for Client {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        while let Some((mail, claim)) = cx.next_mail() {
            if let kernel::Mail::Message(message) = mail {
                cx.received(message.from, claim);
            }
        }
        Next::Wait
    }
}

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = status.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0.0);
    pages * 4096.0
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let processes = numbers.first().copied().unwrap_or(100_000);
    let messages = numbers.get(1).copied().unwrap_or(1_000_000);

    let source = Source {
        id: "app:handler",
        role: Role::Process,
        path: "handler.lua",
        text: DOCUMENTS_LOOP,
        method: Some("handler"),
        modules: &[],
        imports: &[],
    };
    let registry = Arc::new(Registry::compile(&[source]).unwrap_or_default());
    let entry = registry.find("app:handler").expect("the entry was compiled");
    let mut host = Host::new("app:processes");
    host.max_processes = u32::MAX;
    let node = Node::new(7, 1, Hosts::new(vec![host]));
    let host = node.hosts.find("app:processes").expect("the host is there");
    let start = Instant::now();
    let now = move || Time(start.elapsed().as_nanos() as u64);
    let runtime = Runtime::new(registry, Vec::new(), 0.0, Box::new(now));
    let mut shard = Shard::new(node, 0, Box::new(runtime));
    let spawn = |shard: &mut Shard, host, body| -> Pid {
        shard.spawn(Spawn { host, body, monitored: false, linked: false }).expect("there is room")
    };
    let client = spawn(&mut shard, HostId::SYSTEM, SpawnBody::Here(Box::new(Client)));

    let before = resident();
    let began = Instant::now();
    let mut pids = Vec::with_capacity(processes);
    for _ in 0..processes {
        let seed = Seed { entry, args: Vec::new(), context: None, extension: None };
        pids.push(spawn(&mut shard, host, SpawnBody::Seed(Box::new(seed))));
        if pids.len() % 64 == 0 {
            shard.begin(now());
            shard.run(64);
        }
    }
    while shard.has_ready() {
        shard.run(64);
    }
    let each = |seconds: f64, count: usize| seconds * 1e6 / count as f64;
    println!(
        "spawn {:.2} µs, {:.2} KB each, of {processes}",
        each(began.elapsed().as_secs_f64(), processes),
        (resident() - before) / 1024.0 / processes as f64
    );

    let payload = bytes::Bytes::from_static(b"a message of thirty-two bytes...");
    let mut random = 88_172_645_463_325_252u64;
    let mut turns: Vec<f64> = Vec::with_capacity(messages);
    let began = Instant::now();
    for _ in 0..messages {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let to = pids[(random % processes as u64) as usize];
        let bytes = bytes::Bytes::copy_from_slice(&payload);
        let body = Body::Frame(Frame { binary: false, bytes, relayed: Some(Relayed { metadata: None }) });
        let message = Message { topic: Topic::fixed("ws.message"), from: client, body };
        let turn = Instant::now();
        shard.enter(client, |cx| (Next::Wait, cx.send(to, message).is_ok()));
        shard.run(64);
        turns.push(turn.elapsed().as_secs_f64() * 1e6);
    }
    let total = began.elapsed().as_secs_f64();
    turns.sort_by(f64::total_cmp);
    let at = |part: f64| turns[((turns.len() - 1) as f64 * part) as usize];
    println!(
        "message and answer {:.3} µs, p50 {:.2}, p99.9 {:.1}, p99.999 {:.0}, worst {:.0} µs, of {messages} at random",
        each(total, messages),
        at(0.5),
        at(0.999),
        at(0.99999),
        at(1.0)
    );
}
