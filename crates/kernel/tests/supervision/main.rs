//! The supervisor's machine against a written model of Erlang's rules: the same random events for both, and whatever
//! they do must be the same, step by step.
//!
//! `MOONWIRE_SUPERVISION_SEED=17` runs one seed and prints what happens; `MOONWIRE_SUPERVISION_SEEDS=100000` says how
//! many run.

mod model;

use kernel::supervisor::machine::{Command, Event, Machine, Report, Run};
use kernel::supervisor::order::{Answer, Change, Order};
use kernel::supervisor::{ChildRestart, Settings, Spec, Strategy};
use kernel::{Error, Exit, Kind, Time};
use model::{Kid, Model, Want};
use std::time::Duration;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize].clone()
    }
}

const STRATEGIES: [(&str, Strategy); 3] = [
    ("one_for_one", Strategy::OneForOne),
    ("one_for_all", Strategy::OneForAll),
    ("rest_for_one", Strategy::RestForOne),
];

const KINDS: [(char, ChildRestart); 3] =
    [('p', ChildRestart::Permanent), ('t', ChildRestart::Transient), ('m', ChildRestart::Temporary)];

fn kid(random: &mut Random, name: &str) -> Kid {
    let patience = [None, Some(5), Some(50), Some(200)];
    Kid { name: name.to_owned(), kind: random.of(&['p', 'p', 't', 'm']), patience: random.of(&patience) }
}

fn spec(kid: &Kid) -> Spec {
    let restart = KINDS.iter().find(|(kind, _)| *kind == kid.kind).expect("a kind").1;
    Spec { id: kid.name.as_str().into(), restart, stop_timeout: kid.patience.map(Duration::from_millis) }
}

fn exit(failed: bool) -> Exit {
    if failed { Exit::failed(Error::new(Kind::Internal, "it broke")) } else { Exit::normal(None) }
}

/// A living process of a child.
struct Alive {
    run: Run,
    key: u64,
    up: bool,
    killed: bool,
}

struct Game {
    random: Random,
    seed: u64,
    machine: Machine,
    model: Model,
    now: u64,
    timer: Option<(u64, u64)>,
    alive: Vec<Alive>,
    /// Runs that the world refuses to spawn, before the next event.
    refused: Vec<Run>,
    keys: u64,
    requests: u64,
    answered: Vec<u64>,
    over: bool,
    talks: bool,
}

impl Game {
    fn new(seed: u64, talks: bool) -> Game {
        let mut random = Random(seed);
        let (name, strategy) = random.of(&STRATEGIES);
        let intensity = random.of(&[0u32, 1, 2, 3, 5, 1_000]);
        let period = random.of(&[10u64, 100, 1_000]);
        let start_timeout = random.of(&[20u64, 300]);
        let names = ["a", "b", "c", "d", "e"];
        let kids: Vec<Kid> = names[..random.below(6) as usize].iter().map(|name| kid(&mut random, name)).collect();
        let settings = Settings {
            strategy,
            intensity,
            period: Duration::from_millis(period),
            start_timeout: Duration::from_millis(start_timeout),
        };
        let machine = Machine::new(settings, (0..).zip(kids.iter().map(spec)));
        let model = Model::new(name, intensity as usize, period, start_timeout, &kids);
        if talks {
            println!("{name} {intensity} in {period} ms: {kids:?}");
        }
        Game {
            random,
            seed,
            machine,
            model,
            now: 0,
            timer: None,
            alive: Vec::new(),
            refused: Vec::new(),
            keys: kids.len() as u64,
            requests: 0,
            answered: Vec::new(),
            over: false,
            talks,
        }
    }

    /// Gives the machine what the model has already had, and compares what both do.
    fn compare(&mut self, what: &str, event: Event<'_>) {
        let mut commands = Vec::new();
        self.machine.handle(Time(self.now * 1_000_000), event, &mut commands);
        let said: Vec<String> = commands.into_iter().filter_map(|command| self.carry_out(command)).collect();
        let expected = std::mem::take(&mut self.model.said);
        if self.talks {
            println!("{:>6} {what}: {}", self.now, said.join(", "));
        }
        assert_eq!(said, expected, "seed {}, at {} ms, after {what}", self.seed, self.now);
        let due = self.timer.map(|(at, _)| at);
        assert_eq!(due, self.model.deadline, "seed {}, its timer at {} ms, after {what}", self.seed, self.now);
    }

    /// What a command looks like, and what it does to the world.
    fn carry_out(&mut self, command: Command) -> Option<String> {
        Some(match command {
            Command::Spawn(run, key) => {
                let name = self.machine.children().iter().find(|child| child.run() == Some(run));
                let name = name.map(|child| child.spec().id.to_string()).unwrap_or_default();
                assert!(self.alive.iter().all(|one| one.key != key), "seed {}: {name} runs twice", self.seed);
                self.alive.push(Alive { run, key, up: false, killed: false });
                if self.random.chance(8) {
                    self.refused.push(run);
                }
                format!("spawn {name} {run}")
            }
            Command::Cancel(run) => format!("cancel {run}"),
            Command::Terminate(run) => {
                self.alive.iter_mut().filter(|one| one.run == run).for_each(|one| one.killed = true);
                self.timer = None;
                format!("kill {run}")
            }
            Command::SetTimer(at, token) => {
                self.timer = Some((at.0 / 1_000_000, token));
                return None;
            }
            Command::ClearTimer => {
                self.timer = None;
                return None;
            }
            Command::Answer(request, answer) => {
                assert!(!self.answered.contains(&request), "seed {}: {request} is answered twice", self.seed);
                self.answered.push(request);
                match answer {
                    Ok(Answer::Done) => format!("answer {request} done"),
                    Ok(Answer::Started(run)) => format!("answer {request} runs {run}"),
                    Err(error) => format!("answer {request} {}", error.kind.name()),
                }
            }
            Command::Forget(_) => return None,
            Command::Report(report) => match report {
                Report::Started(id, _, again) => format!("{} {id}", if again { "restarted" } else { "started" }),
                Report::Slow(id) => format!("slow {id}"),
                Report::Restarts(id, _) => format!("restarts {id}"),
                Report::Ended(id, _) => format!("ended {id}"),
                Report::Overdue(id) => format!("overdue {id}"),
                Report::GaveUp(id, _) => format!("gave up {id}"),
                Report::Up => "up".to_owned(),
            },
            Command::End(exit) => {
                self.over = true;
                let left: Vec<Run> = self.alive.iter().map(|one| one.run).collect();
                assert!(left.is_empty(), "seed {}: it ended before {left:?} did", self.seed);
                let all = (1..=self.requests).all(|request| self.answered.contains(&request));
                assert!(all, "seed {}: somebody waits for ever", self.seed);
                if exit.is_failure() { "end failed" } else { "end ok" }.to_owned()
            }
        })
    }

    fn ends(&mut self, at: usize, failed: bool, what: &str) {
        let run = self.alive.remove(at).run;
        self.model.ended(self.now, run, failed);
        self.compare(&format!("{run} {what}"), Event::Exited(run, &exit(failed)));
    }

    fn passes(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        if let Some((at, token)) = self.timer.filter(|(at, _)| *at <= self.now) {
            self.now = self.now.max(at);
            self.timer = None;
            self.model.time_is_over(self.now);
            self.compare("its timer", Event::Timer(token));
        }
    }

    fn asks(&mut self) {
        self.requests += 1;
        let request = self.requests;
        let name = self.random.of(&["a", "b", "c", "x", "y", "z"]);
        let (want, order) = match self.random.below(8) {
            0..=3 => {
                let kid = kid(&mut self.random, name);
                let key = self.keys;
                self.keys += 1;
                (Want::Add(kid.clone()), Order::Add(key, spec(&kid)))
            }
            4 | 5 => (Want::Terminate(name.to_owned()), Order::Change(name.into(), Change::Terminate)),
            6 => (Want::Restart(name.to_owned()), Order::Change(name.into(), Change::Restart)),
            _ => (Want::Delete(name.to_owned()), Order::Change(name.into(), Change::Delete)),
        };
        let what = format!("request {request}, {want:?}");
        self.model.asked(self.now, request, want);
        self.compare(&what, Event::Asked(request, order));
    }

    fn step(&mut self) {
        if let Some(run) = self.refused.pop() {
            if let Some(at) = self.alive.iter().position(|one| one.run == run) {
                self.ends(at, true, "is refused");
            }
            return;
        }
        let count = self.alive.len() as u64;
        match self.random.below(100) {
            0..=34 => {
                let Some(at) = self.alive.iter().position(|one| !one.up) else { return self.passes(1) };
                self.alive[at].up = true;
                let run = self.alive[at].run;
                self.model.came_up(self.now, run);
                self.compare(&format!("{run} is up"), Event::Started(run));
            }
            35..=64 if count > 0 => {
                let at = self.random.below(count) as usize;
                let failed = self.alive[at].killed || self.random.chance(60);
                self.ends(at, failed, if failed { "fails" } else { "returns" });
            }
            65..=84 => {
                let step = self.random.of(&[1, 7, 40, 300, 2_000]);
                self.passes(step);
            }
            85..=97 => self.asks(),
            98 => {
                // What comes too late is no harm.
                self.model.ended(self.now, 1_000_000, true);
                self.compare("a stranger's end", Event::Exited(1_000_000, &exit(true)));
                self.compare("an old timer", Event::Timer(0));
            }
            99 if self.random.chance(15) => {
                self.model.stop(self.now);
                self.compare("stop", Event::Stop);
            }
            _ => {}
        }
    }

    /// Stops it, and ends all that still runs.
    fn finish(&mut self) {
        self.model.stop(self.now);
        self.compare("stop", Event::Stop);
        for _ in 0..1_000 {
            if self.over {
                return;
            }
            match self.alive.iter().position(|one| one.killed) {
                Some(at) => self.ends(at, true, "is killed"),
                None if self.timer.is_some() => self.passes(1_000),
                None => {
                    let at = self.alive.len() - 1;
                    self.ends(at, false, "stops");
                }
            }
        }
        panic!("seed {}: it does not end", self.seed);
    }
}

fn play(seed: u64, talks: bool) -> bool {
    let mut game = Game::new(seed, talks);
    if game.random.chance(3) {
        game.model.stop(0);
        game.compare("stop before its start", Event::Stop);
    }
    game.model.start(0);
    game.compare("start", Event::Start);
    let steps = 20 + game.random.below(150);
    for _ in 0..steps {
        if game.over {
            break;
        }
        game.step();
    }
    let early = game.over;
    if !early {
        game.finish();
    }
    early
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn a_supervisor_does_what_erlangs_rules_say_whatever_happens() {
    if let Some(seed) = number("MOONWIRE_SUPERVISION_SEED") {
        play(seed, true);
        return;
    }
    let seeds = number("MOONWIRE_SUPERVISION_SEEDS").unwrap_or(10_000);
    let early = (0..seeds).filter(|&seed| play(seed, false)).count() as u64;
    // Both ends are played: many give up by themselves, many live to be stopped.
    assert!(seeds < 1_000 || (early > seeds / 10 && early < seeds * 9 / 10), "{early} of {seeds} ended by themselves");
}
