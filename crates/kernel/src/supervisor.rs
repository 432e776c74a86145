//! Supervisors: processes that start others, start them again by a strategy when they fail, and stop them in order.
//!
//! [`machine`] decides, without a process; it is what the tests compare with Erlang's rules. [`Supervisor`] is the
//! process around it: it spawns and ends what the machine says, and brings it exits, timers and requests. [`order`] is
//! how others ask for something. A child is told apart from one that still starts by [`Reporting`].
//!
//! The differences from Erlang's supervisor are three. A child of the configuration that fails at its first start
//! counts as a restart, so that a supervisor which cannot start its children fails by its intensity like any other. A
//! child that fails while others are stopped or started is dealt with in the same go. And a child counts as started
//! when it first waits, because there is no `init`.

pub mod machine;
pub mod order;
mod reporting;

use crate::error::{Error, Kind};
use crate::host::{HostId, Hosts};
use crate::message::{Body, Event as Happening, Exit, Mail, Message};
use crate::pid::Pid;
use crate::process::{Body as SpawnBody, Cx, Next, Process, Spawn};
use crate::term::{Field, TableView, Term, View, Writer};
use crate::timers::TimerId;
use machine::{Command, Event, Key, Machine, Report, Run};
use order::{ASK, Answer, Change, Order, Request};
pub use reporting::Reporting;
use rustc_hash::FxHashMap;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What the failure of one child means for the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strategy {
    /// Nothing: it alone is started again.
    OneForOne,
    /// All are stopped and started again.
    OneForAll,
    /// Those after it are stopped and started again with it.
    RestForOne,
}

/// When a child is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildRestart {
    /// Always.
    Permanent,
    /// After a failure.
    Transient,
    /// Never; it is forgotten when it ends.
    Temporary,
}

impl ChildRestart {
    /// Each with its name.
    pub const ALL: [(&'static str, ChildRestart); 3] = [
        ("permanent", ChildRestart::Permanent),
        ("transient", ChildRestart::Transient),
        ("temporary", ChildRestart::Temporary),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        ChildRestart::ALL.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

/// What holds for all children of a supervisor.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a failure means.
    pub strategy: Strategy,
    /// More restarts than this within the period end the supervisor.
    pub intensity: u32,
    /// Over which restarts are counted.
    pub period: Duration,
    /// So long the next child waits for one that has not come up.
    pub start_timeout: Duration,
}

/// What a supervisor has to know of a child.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its name among its siblings.
    pub id: Arc<str>,
    /// When it is started again.
    pub restart: ChildRestart,
    /// Between the request to end and the order; `None` for a supervisor, which takes what its own children need.
    pub stop_timeout: Option<Duration>,
}

/// What a child is made of.
pub struct Source {
    /// The id of its entry.
    pub entry: Box<str>,
    /// `"process"` or `"supervisor"`.
    pub kind: &'static str,
    /// Where it lives.
    pub host: HostId,
    /// The name that it holds before it runs.
    pub name: Option<Box<str>>,
    /// Makes the seed of each start. What becomes of it tells the supervisor when it is up; see [`Reporting`].
    pub seed: Box<dyn FnMut(Pid) -> Box<dyn Any + Send> + Send>,
}

/// Makes a child of a request; `id`, `restart` and the rest are its fields.
pub type Adopt = Box<dyn Fn(&TableView<'_>, &Hosts) -> Result<(Spec, Source), Error> + Send>;

/// Told of each change, and the PID of a child that has started.
pub type Tell = Box<dyn FnMut(&Report, Option<Pid>) + Send>;

/// What a supervisor is made of.
pub struct Plan {
    /// What holds for all children.
    pub settings: Settings,
    /// The first children, in the order in which they start.
    pub children: Vec<(Spec, Source)>,
    /// Makes those that are added later.
    pub adopt: Adopt,
    /// Told what becomes of the children.
    pub notice: Tell,
    /// The supervisor that this one is a child of: told when all children have started.
    pub parent: Option<Pid>,
}

/// Commands that one step carries out: a child that is refused again and again does not stop the shard.
const COMMANDS_PER_STEP: usize = 64;

/// Supervises its children until it is cancelled or they fail too often.
pub struct Supervisor {
    machine: Machine,
    sources: FxHashMap<Key, Source>,
    keys: Key,
    runs: FxHashMap<Run, Pid>,
    pids: FxHashMap<Pid, Run>,
    askers: FxHashMap<Request, Pid>,
    requests: Request,
    todo: VecDeque<Command>,
    timer: Option<TimerId>,
    begun: bool,
    adopt: Adopt,
    notice: Tell,
    parent: Option<Pid>,
}

impl Supervisor {
    /// A supervisor that starts its children when it first runs.
    pub fn new(plan: Plan) -> Supervisor {
        let Plan { settings, children, adopt, notice, parent } = plan;
        let (specs, sources): (Vec<Spec>, Vec<Source>) = children.into_iter().unzip();
        let keys = sources.len() as Key;
        Supervisor {
            machine: Machine::new(settings, (0..).zip(specs)),
            sources: (0..).zip(sources).collect(),
            keys,
            runs: FxHashMap::default(),
            pids: FxHashMap::default(),
            askers: FxHashMap::default(),
            requests: 0,
            todo: VecDeque::new(),
            timer: None,
            begun: false,
            adopt,
            notice,
            parent,
        }
    }

    fn happens(&mut self, event: Event<'_>, cx: &Cx<'_>) {
        let mut commands = Vec::new();
        self.machine.handle(cx.now(), event, &mut commands);
        self.todo.extend(commands);
    }

    fn take(&mut self, mail: Mail, cx: &mut Cx<'_>) {
        match mail {
            Mail::Event(Happening::Exit { from, exit, .. }) => {
                if let Some(run) = self.pids.remove(&from) {
                    self.runs.remove(&run);
                    self.happens(Event::Exited(run, &exit), cx);
                }
            }
            Mail::Event(Happening::Cancel { .. }) => self.happens(Event::Stop, cx),
            Mail::Event(Happening::LinkDown { .. }) => {}
            Mail::Timer(token) => self.happens(Event::Timer(token), cx),
            Mail::Message(message) if message.topic == ASK => self.asked(&message, cx),
            Mail::Message(message) if message.topic == reporting::UP => {
                if let Some(&run) = self.pids.get(&message.from) {
                    self.happens(Event::Started(run), cx);
                }
            }
            _ => {}
        }
    }

    // Requests

    fn asked(&mut self, message: &Message, cx: &mut Cx<'_>) {
        let Body::Term(term) = &message.body else { return };
        let View::Table(request) = term.view() else { return };
        let op = request.get("op").and_then(View::as_str).unwrap_or_default();
        if op == "children" {
            let list = self.list(cx.hosts());
            return answer(message.from, Exit::normal(Some(list)), cx);
        }
        let order = match Change::ALL.iter().find(|(word, _)| *word == op) {
            Some(&(_, change)) => {
                let id = request.get("id").and_then(View::as_str).unwrap_or_default();
                Order::Change(Arc::from(id), change)
            }
            None => match (self.adopt)(&request, cx.hosts()) {
                Ok((spec, source)) => {
                    self.keys += 1;
                    self.sources.insert(self.keys, source);
                    Order::Add(self.keys, spec)
                }
                Err(error) => return answer(message.from, Exit::failed(error), cx),
            },
        };
        self.requests += 1;
        self.askers.insert(self.requests, message.from);
        self.happens(Event::Asked(self.requests, order), cx);
    }

    /// The children, for a program: `{id, kind, restart, entry, pid}`.
    fn list(&self, hosts: &Hosts) -> Term {
        let mut writer = Writer::default();
        let Some(table) = writer.table(false) else { return writer.finish() };
        for child in self.machine.children() {
            let pid = child.run().and_then(|run| self.runs.get(&run)).map(|pid| pid.text(hosts).to_string());
            let source = self.sources.get(&child.key);
            writer.term(&Term::from([
                ("id", Some(Field::Text(&child.spec().id))),
                ("kind", source.map(|source| Field::Text(source.kind))),
                ("restart", Some(Field::Text(child.spec().restart.name()))),
                ("entry", source.map(|source| Field::Text(&source.entry))),
                ("pid", pid.as_deref().map(Field::Text)),
            ]));
        }
        writer.end(table, u32::try_from(self.machine.children().len()).unwrap_or(0), 0);
        writer.finish()
    }

    // Commands

    fn carry_out(&mut self, command: Command, cx: &mut Cx<'_>) -> Option<Exit> {
        match command {
            Command::Spawn(run, key) => self.spawn(run, key, cx),
            Command::Cancel(run) => {
                if let Some(&pid) = self.runs.get(&run) {
                    // Refused when it has just ended: then its EXIT is on the way.
                    let _refused = cx.cancel(pid, Some("its supervisor stops it"));
                }
            }
            Command::Terminate(run) => {
                if let Some(&pid) = self.runs.get(&run) {
                    let _gone = cx.terminate(pid, Some("it did not stop in time"));
                }
            }
            Command::SetTimer(at, token) => {
                self.clear_timer(cx);
                // It has one timer at a time, so the limit cannot refuse it.
                self.timer = cx.set_timer(at, token).ok();
            }
            Command::ClearTimer => self.clear_timer(cx),
            Command::Answer(request, result) => {
                let asker = self.askers.remove(&request)?;
                let exit = match result {
                    Ok(Answer::Done) => Exit::normal(Some(truth())),
                    Ok(Answer::Started(run)) => match self.runs.get(&run) {
                        Some(pid) => Exit::normal(Some(Term::string(pid.text(cx.hosts()).to_string()))),
                        None => Exit::failed(Error::new(Kind::NotFound, "the child has ended already")),
                    },
                    Err(error) => Exit::failed(error),
                };
                answer(asker, exit, cx);
            }
            Command::Forget(key) => {
                self.sources.remove(&key);
            }
            Command::Report(report) => {
                let pid = match &report {
                    Report::Started(_, run, _) => self.runs.get(run).copied(),
                    _ => None,
                };
                (self.notice)(&report, pid);
                if let (Report::Up, Some(parent)) = (&report, self.parent) {
                    reporting::tell(parent, cx);
                }
            }
            Command::End(exit) => return Some(exit),
        }
        None
    }

    fn spawn(&mut self, run: Run, key: Key, cx: &mut Cx<'_>) {
        let Some(source) = self.sources.get_mut(&key) else { return };
        let body = SpawnBody::Seed((source.seed)(cx.pid()));
        let spawn = Spawn { host: source.host, body, monitored: true, linked: false };
        match cx.spawn_as(spawn, source.name.as_deref(), None) {
            Ok(pid) => {
                self.runs.insert(run, pid);
                self.pids.insert(pid, run);
            }
            Err(error) => self.happens(Event::Exited(run, &Exit::failed(error)), cx),
        }
    }

    fn clear_timer(&mut self, cx: &mut Cx<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel_timer(timer);
        }
    }
}

/// Answers whoever asked, if they still wait.
fn answer(asker: Pid, exit: Exit, cx: &mut Cx<'_>) {
    let _gone = cx.end_other(asker, exit);
}

fn truth() -> Term {
    let mut writer = Writer::default();
    writer.bool(true);
    writer.finish()
}

impl Process for Supervisor {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        for _ in 0..COMMANDS_PER_STEP {
            let mail = cx.next_mail();
            let command = self.todo.pop_front();
            // The mail first: a supervisor that was stopped before it ran starts nothing.
            if mail.is_none() && command.is_none() {
                if self.begun {
                    return Next::Wait;
                }
                self.begun = true;
                self.happens(Event::Start, cx);
            }
            // Mail is read even while there is always more to do, as when a child cannot be spawned at all.
            if let Some((mail, claim)) = mail {
                if let Mail::Message(message) = &mail {
                    cx.received(message.from, claim);
                }
                self.take(mail, cx);
            }
            if let Some(command) = command
                && let Some(exit) = self.carry_out(command, cx)
            {
                return Next::End(exit);
            }
        }
        Next::Again
    }

    fn ended(&mut self, _exit: &Exit, cx: &mut Cx<'_>) {
        // Stronger than links: a child that traps them is ended as well.
        for &pid in self.runs.values() {
            let _gone = cx.terminate(pid, Some("its supervisor has ended"));
        }
    }
}
