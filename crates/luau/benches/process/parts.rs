//! The parts of the bench: each makes a world of its own, and says one line for each figure.

use crate::world::{World, computed, number, resident};
use kernel::term::Writer;
use kernel::{Body, Pid, Term};
use std::time::Duration;

pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) run: fn(usize),
    /// How many processes, or messages.
    pub(crate) count: usize,
    pub(crate) rounds: usize,
    /// Whether it belongs to those that are run when none is named.
    pub(crate) listed: bool,
}

const fn part(name: &'static str, run: fn(usize), count: usize) -> Part {
    Part { name, run, count, rounds: usize::MAX, listed: true }
}

pub(crate) const PARTS: [Part; 11] = [
    part("spawn", spawn, 100_000),
    part("send", send, 1_000_000),
    part("pair", pair, 1_000_000),
    part("answer", answer, 100_000),
    part("collector", collector, 100_000),
    part("realistic", realistic, 20_000),
    part("code", code, 200),
    Part { rounds: 1, ..part("parked", parked, 1_000_000) },
    Part { rounds: 1, ..part("million", collector, 1_000_000) },
    // For callgrind: see `crates/xtask/src/instructions.rs`.
    Part { listed: false, ..part("count-spawn", count_spawn, 1_000) },
    Part { listed: false, ..part("count-send", count_send, 1_000) },
];

const KB: f64 = 1024.0;

fn say(what: &str, value: f64, unit: &str, goal: &str) {
    println!("{what}\t{value}\t{unit}\t{goal}");
}

fn each(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// `process.spawn` in a loop, each child until it waits.
fn spawn(count: usize) {
    let mut world = World::new();
    let spawner = world.spawner();
    // The first of everything: chunks, pages, tables.
    world.spawn_many(spawner, "app:waiter", 1_000);
    let (memory, began) = (resident(), computed());
    world.spawn_many(spawner, "app:waiter", count);
    let time = computed() - began;
    let what = format!("process.spawn from Luau, of {count}, until the child waits");
    say(&what, each(time, count), "µs", "5 µs");
    say(&format!("a parked process, of {count}"), (resident() - memory) / KB / count as f64, "KB", "2.5 KB");
}

/// The same for many: what the whole program holds.
fn parked(count: usize) {
    let mut world = World::new();
    let spawner = world.spawner();
    let began = computed();
    world.spawn_many(spawner, "app:waiter", count);
    say(&format!("{count} parked processes: a spawn"), each(computed() - began, count), "µs", "");
    say(&format!("{count} parked processes: the whole node"), resident() / KB / KB / KB, "GB", "3 GB");
}

/// `process.send` in one process, `inbox:receive()`, topic and data in others.
fn send(messages: usize) {
    let mut world = World::new();
    let hub = world.hub("app:waiter", 100_000);
    for (payload, shown) in [("text", "a text of 32 bytes"), ("table", "a table of five values")] {
        for (shape, receivers) in
            [("in turn", 1), ("in turn", 1_000), ("at random", 1_000), ("in turn", 100_000), ("at random", 100_000)]
        {
            world.order(hub, shape, payload, receivers.min(100_000), receivers);
            let began = computed();
            world.order(hub, shape, payload, messages, receivers);
            let goal = if payload == "text" { "1.5 µs" } else { "" };
            let who = if receivers == 1 { "one receiver".to_owned() } else { format!("{receivers} receivers {shape}") };
            say(&format!("send and receive, {shown}, {who}"), each(computed() - began, messages), "µs", goal);
        }
    }
}

/// Two processes that answer each other: each message changes the process that runs.
fn pair(messages: usize) {
    let mut world = World::new();
    let driver = world.name();
    let first = world.spawn("app:pair", vec![driver, nil(), number(messages / 2)]);
    world.until_done(1);
    let began = computed();
    world.send(first, "go", Body::None);
    world.until_done(2);
    say(
        "send and receive, two processes in turn, one message at a time",
        each(computed() - began, messages),
        "µs",
        "1.5 µs",
    );
}

/// What a connection brings: a frame in, and the documents' answer out.
fn answer(count: usize) {
    let mut world = World::new();
    let entry: Vec<Pid> = (0..count).map(|_| world.spawn("app:waiter", Vec::new())).collect();
    world.until_done(0);
    let mut random = Random(88_172_645_463_325_252);
    let messages = 500_000;
    let began = computed();
    for index in 0..messages {
        world.relay(entry[random.below(count)]);
        if index % 16 == 15 {
            world.until_done(0);
        }
    }
    world.until_done(0);
    say(
        &format!("a client's message and its answer, {count} processes at random"),
        each(computed() - began, messages),
        "µs",
        "",
    );
}

/// Hubs that each hold the PIDs of 100,000 processes, twice, and message them at random: what the collector takes.
fn collector(count: usize) {
    let mut world = World::new();
    let held = count.min(100_000);
    let hubs: Vec<Pid> = (0..count / held).map(|_| world.hub("app:waiter", held)).collect();
    let spawning = luau::collected();
    let began = computed();
    let messages = 20;
    for _ in 0..messages {
        for &hub in &hubs {
            world.order(hub, "at random", "text", held, held);
        }
    }
    let (time, messages) = (computed() - began, messages * held * hubs.len());
    let work = luau::collected();
    let goal = if count > 100_000 { "10 ms" } else { "5 ms" };
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    say(&format!("{count} messaged at random: the collector's worst turn"), milliseconds(work.worst), "ms", goal);
    say(
        &format!("{count} messaged at random: the collector's worst turn while they were spawned"),
        milliseconds(spawning.worst),
        "ms",
        goal,
    );
    say(&format!("{count} messaged at random: cycles"), (work.cycles - spawning.cycles) as f64, "", "");
    let part = (work.time - spawning.time).as_secs_f64() / time.as_secs_f64();
    say(&format!("{count} messaged at random: the collector's part of the time"), part * 100.0, "%", "");
    say(&format!("{count} messaged at random: send and receive"), each(time, messages), "µs", "");
}

/// A process of 300 lines with three libraries, and what it would take if less of it were shared, or more.
fn realistic(count: usize) {
    let mut world = World::new();
    let spawner = world.spawner();
    let cost = |world: &mut World, entry: &str| {
        world.spawn_many(spawner, entry, 1_000);
        let (memory, began) = (resident(), computed());
        world.spawn_many(spawner, entry, count);
        (each(computed() - began, count), (resident() - memory) / KB / count as f64)
    };
    let (time, memory) = cost(&mut world, "app:room");
    say("a process of 300 lines with three libraries: spawn", time, "µs", "");
    say("a process of 300 lines with three libraries: memory", memory, "KB", "");
    let (plain, bare) = cost(&mut world, "app:waiter");
    let (more, held) = cost(&mut world, "app:reader");
    say("instances of the three libraries, in each process: spawn", more - plain, "µs", "");
    say("instances of the three libraries, in each process: memory", held - bare, "KB", "");
    let copies = 400;
    let mut world = World::with_copies(copies);
    let spawner = world.spawner();
    let memory = resident();
    for copy in 1..=copies {
        world.spawn_many(spawner, &format!("app:room.{copy}"), 1);
    }
    let own = (resident() - memory) / KB / copies as f64;
    say("the same process with code of its own: memory", own, "KB", "");
}

/// The same code as a process and in a plain interpreter, in turn.
fn code(times: usize) {
    const TURNS: usize = 3;
    for workload in ["calls", "numbers", "garbage"] {
        let mut ours = Duration::ZERO;
        let mut plain = Duration::ZERO;
        for turn in 0..=TURNS {
            let mut world = World::new();
            let args = vec![world.name(), Term::string(workload), number(times)];
            let began = computed();
            world.spawn("app:code", args);
            world.until_done(1);
            ours += computed() - began;
            plain += crate::plain::run(workload, times);
            // The first of each warms up.
            if turn == 0 {
                (ours, plain) = (Duration::ZERO, Duration::ZERO);
            }
        }
        for (time, place) in [(ours, "as a process"), (plain, "in the plain interpreter")] {
            let once = time.as_secs_f64() / TURNS as f64;
            say(&format!("Luau code, {workload}: {place}"), once * 1e3, "ms", "");
        }
        let ratio = ours.as_secs_f64() / plain.as_secs_f64();
        say(&format!("Luau code, {workload}: of the plain interpreter's time"), ratio, "", "1.05");
    }
}

fn count_spawn(count: usize) {
    let mut world = World::new();
    let spawner = world.spawner();
    world.spawn_many(spawner, "app:waiter", count);
}

fn count_send(messages: usize) {
    // No slice is long, so the watchdog ends none, and the count repeats.
    pair(messages);
}

fn nil() -> Term {
    let mut writer = Writer::default();
    writer.nil();
    writer.finish()
}

struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }
}
