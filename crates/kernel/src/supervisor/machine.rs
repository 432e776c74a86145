//! What a supervisor decides, without a process around it: events and the time in, commands out.
//!
//! It does one thing at a time: it waits for one child to stop or for one child to come up. What is to happen is
//! marked at the children ([`Child::stop`], [`Child::start`]), and [`Machine::advance`] takes the next step: stops
//! before starts, the last child first to stop, the first child first to start. A child that ends in between only
//! marks more. Requests wait until nothing is marked.

use super::order::{Answer, Change, Order, Request};
use super::{ChildRestart, Settings, Spec, Strategy};
use crate::error::{Error, Kind};
use crate::limits;
use crate::message::Exit;
use crate::timers::Time;
use std::collections::VecDeque;
use std::sync::Arc;

/// One life of a child: each start gets a new number.
pub type Run = u64;
/// A child as long as the supervisor knows it, whatever it is called.
pub type Key = u64;

/// What happens to a supervisor.
#[derive(Debug)]
pub enum Event<'a> {
    /// Its process runs for the first time.
    Start,
    /// A child has come to wait for something.
    Started(Run),
    /// A child has ended, or could not be spawned.
    Exited(Run, &'a Exit),
    /// The timer with this token went off.
    Timer(u64),
    /// Somebody wants something of it; the number is for the answer.
    Asked(Request, Order),
    /// It is to stop.
    Stop,
}

/// What a supervisor does.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Spawn the child with this key; if it is refused, that is an [`Event::Exited`].
    Spawn(Run, Key),
    /// Ask a child to end.
    Cancel(Run),
    /// Order a child to end.
    Terminate(Run),
    /// Set the one timer, in place of one that runs.
    SetTimer(Time, u64),
    /// Stop the timer.
    ClearTimer,
    /// Answer a request.
    Answer(Request, Result<Answer, Error>),
    /// The child with this key is never spawned again.
    Forget(Key),
    /// Tell whoever wants to know.
    Report(Report),
    /// End the supervisor.
    End(Exit),
}

/// What becomes of the children.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// A child runs; whether it did before.
    Started(Arc<str>, Run, bool),
    /// A child has not come to wait for anything within the start timeout; it is taken as started.
    Slow(Arc<str>),
    /// A child failed, or a permanent one returned, and it is started again.
    Restarts(Arc<str>, Exit),
    /// A child has ended and is not started again.
    Ended(Arc<str>, Exit),
    /// A child did not stop in time and is terminated.
    Overdue(Arc<str>),
    /// Restarts were too frequent; the last was for this child.
    GaveUp(Arc<str>, Exit),
    /// All children have been started for the first time.
    Up,
}

/// One child and what is to become of it.
#[derive(Debug)]
pub struct Child {
    pub(super) key: Key,
    spec: Spec,
    run: Option<Run>,
    /// It has run before.
    again: bool,
    /// It is to be stopped.
    stop: bool,
    /// It is to be started once everything that is to be stopped is.
    start: bool,
    waiting: Option<Waiting>,
}

/// A request that a child's start or stop answers.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Waiting {
    /// It was added: if it fails at once it is forgotten.
    Added(Request),
    Restarted(Request),
    Stopped(Request),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Doing {
    Nothing,
    Stopping(Run),
    Starting(Run),
}

#[derive(Debug, PartialEq)]
enum Phase {
    New,
    Starting,
    Up,
    Ending(Exit),
    Ended,
}

/// The decisions of one supervisor.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    children: Vec<Child>,
    phase: Phase,
    doing: Doing,
    /// The number of the last run, and of the last timer.
    runs: Run,
    token: u64,
    /// When the restarts within the period were.
    restarts: VecDeque<Time>,
    backlog: VecDeque<(Request, Order)>,
}

impl Machine {
    /// A supervisor of these children, in the order in which they start. It does nothing before [`Event::Start`].
    pub fn new(settings: Settings, children: impl IntoIterator<Item = (Key, Spec)>) -> Machine {
        let children = children.into_iter().map(|(key, spec)| Child::new(key, spec)).collect();
        Machine {
            settings,
            children,
            phase: Phase::New,
            doing: Doing::Nothing,
            runs: 0,
            token: 0,
            restarts: VecDeque::new(),
            backlog: VecDeque::new(),
        }
    }

    /// Its children, in the order in which they start.
    pub fn children(&self) -> &[Child] {
        &self.children
    }

    /// Takes one event; what is to be done is added to `out`.
    pub fn handle(&mut self, now: Time, event: Event<'_>, out: &mut Vec<Command>) {
        if self.phase == Phase::Ended {
            return;
        }
        match event {
            Event::Start if self.phase == Phase::New => {
                self.phase = Phase::Starting;
                self.children.iter_mut().for_each(|child| child.start = true);
            }
            Event::Start => {}
            Event::Started(run) if self.doing == Doing::Starting(run) => {
                self.done(out);
                self.started(run, out);
            }
            Event::Started(_) => {}
            Event::Exited(run, exit) => self.exited(now, run, exit, out),
            Event::Timer(token) if token == self.token => self.overdue(out),
            Event::Timer(_) => {}
            Event::Asked(request, order) if matches!(self.phase, Phase::Ending(_)) => {
                refuse(request, order, stops(), out);
            }
            Event::Asked(request, order) if self.backlog.len() < limits::SUPERVISOR_BACKLOG => {
                self.backlog.push_back((request, order));
            }
            Event::Asked(request, order) => {
                refuse(request, order, Error::new(Kind::Unavailable, "the supervisor is busy"), out);
            }
            Event::Stop => self.end(Exit::normal(None), out),
        }
        if self.phase != Phase::New {
            self.advance(now, out);
        }
    }

    /// Does what is next, until there is something to wait for.
    fn advance(&mut self, now: Time, out: &mut Vec<Command>) {
        while self.doing == Doing::Nothing && self.phase != Phase::Ended {
            if let Some(at) = self.children.iter().rposition(|child| child.stop) {
                let child = &self.children[at];
                match child.run {
                    Some(run) => {
                        out.push(Command::Cancel(run));
                        self.doing = Doing::Stopping(run);
                        self.wait(now, child.spec.stop_timeout, out);
                    }
                    None => self.stopped(at, out),
                }
            } else if let Phase::Ending(exit) = &mut self.phase {
                out.push(Command::End(std::mem::take(exit)));
                self.phase = Phase::Ended;
            } else if let Some(child) = self.children.iter_mut().find(|child| child.start) {
                self.runs += 1;
                child.start = false;
                child.run = Some(self.runs);
                out.push(Command::Spawn(self.runs, child.key));
                self.doing = Doing::Starting(self.runs);
                self.wait(now, Some(self.settings.start_timeout), out);
            } else if self.phase == Phase::Starting {
                self.phase = Phase::Up;
                out.push(Command::Report(Report::Up));
            } else if let Some((request, order)) = self.backlog.pop_front() {
                self.obey(request, order, out);
            } else {
                break;
            }
        }
    }

    fn wait(&mut self, now: Time, at_most: Option<std::time::Duration>, out: &mut Vec<Command>) {
        self.token += 1;
        if let Some(at_most) = at_most {
            out.push(Command::SetTimer(now.after(at_most), self.token));
        }
    }

    /// What it waited for has come, or is no longer awaited.
    fn done(&mut self, out: &mut Vec<Command>) {
        self.doing = Doing::Nothing;
        self.token += 1;
        out.push(Command::ClearTimer);
    }

    fn position(&self, run: Run) -> Option<usize> {
        self.children.iter().position(|child| child.run == Some(run))
    }

    /// A child has come up, or takes so long that nobody waits for it any more.
    fn started(&mut self, run: Run, out: &mut Vec<Command>) {
        let Some(at) = self.position(run) else { return };
        let child = &mut self.children[at];
        out.push(Command::Report(Report::Started(child.spec.id.clone(), run, child.again)));
        child.again = true;
        if let Some(Waiting::Added(request) | Waiting::Restarted(request)) = child.waiting {
            child.waiting = None;
            out.push(Command::Answer(request, Ok(Answer::Started(run))));
        }
    }

    fn overdue(&mut self, out: &mut Vec<Command>) {
        match self.doing {
            Doing::Nothing => {}
            Doing::Stopping(run) => {
                if let Some(at) = self.position(run) {
                    out.push(Command::Report(Report::Overdue(self.children[at].spec.id.clone())));
                }
                out.push(Command::Terminate(run));
            }
            Doing::Starting(run) => {
                self.done(out);
                if let Some(at) = self.position(run) {
                    out.push(Command::Report(Report::Slow(self.children[at].spec.id.clone())));
                }
                self.started(run, out);
            }
        }
    }

    /// A child has ended.
    fn exited(&mut self, now: Time, run: Run, exit: &Exit, out: &mut Vec<Command>) {
        let Some(at) = self.position(run) else { return };
        self.children[at].run = None;
        let starting = self.doing == Doing::Starting(run);
        if starting || self.doing == Doing::Stopping(run) {
            self.done(out);
        }
        // Fine, whatever the exit: it was to end.
        if self.children[at].stop {
            return self.stopped(at, out);
        }
        if starting && exit.is_failure() {
            if let Some(waiting) = self.children[at].waiting.take() {
                return self.not_started(at, waiting, exit, out);
            }
        } else if starting {
            // A child that returned before it ever waited has been up all the same.
            self.children[at].run = Some(run);
            self.started(run, out);
            self.children[at].run = None;
        }
        let Spec { id, restart, .. } = self.children[at].spec.clone();
        match restart {
            ChildRestart::Temporary => {
                out.push(Command::Report(Report::Ended(id, exit.clone())));
                self.forget(at, out);
            }
            ChildRestart::Transient if !exit.is_failure() => {
                out.push(Command::Report(Report::Ended(id, exit.clone())));
            }
            ChildRestart::Transient | ChildRestart::Permanent => self.restart(now, at, exit, out),
        }
    }

    /// Who asked for a child that failed at once is told, and nothing else happens.
    fn not_started(&mut self, at: usize, waiting: Waiting, exit: &Exit, out: &mut Vec<Command>) {
        let failed = || Error::new(Kind::Internal, "the child failed");
        let error = exit.error.clone().unwrap_or_else(failed);
        out.push(Command::Report(Report::Ended(self.children[at].spec.id.clone(), exit.clone())));
        if let Waiting::Added(request) | Waiting::Restarted(request) = waiting {
            out.push(Command::Answer(request, Err(error)));
        }
        if matches!(waiting, Waiting::Added(_)) || self.children[at].spec.restart == ChildRestart::Temporary {
            self.forget(at, out);
        }
    }

    /// Marks what the end of a child means by the strategy, unless there were too many such ends.
    fn restart(&mut self, now: Time, at: usize, exit: &Exit, out: &mut Vec<Command>) {
        let id = self.children[at].spec.id.clone();
        self.restarts.push_back(now);
        while self.restarts.front().is_some_and(|&then| now.since(then) > self.settings.period) {
            self.restarts.pop_front();
        }
        let most = usize::try_from(self.settings.intensity).unwrap_or(usize::MAX);
        if self.restarts.len() > most {
            out.push(Command::Report(Report::GaveUp(id.clone(), exit.clone())));
            return self.end(Exit::failed(too_often(&id, &self.settings, exit)), out);
        }
        out.push(Command::Report(Report::Restarts(id, exit.clone())));
        let concerned = match self.settings.strategy {
            Strategy::OneForOne => at..at + 1,
            Strategy::OneForAll => 0..self.children.len(),
            Strategy::RestForOne => at..self.children.len(),
        };
        for at in concerned {
            self.mark_stop(at, out);
            // A temporary child is forgotten when it has stopped, so it does not come back.
            self.children[at].start = true;
        }
    }

    /// A child that runs is to be stopped; nobody waits any more for it to come up.
    fn mark_stop(&mut self, at: usize, out: &mut Vec<Command>) {
        if let Some(run) = self.children[at].run {
            self.children[at].stop = true;
            if self.doing == Doing::Starting(run) {
                self.done(out);
            }
        }
    }

    /// A child that was to be stopped is.
    fn stopped(&mut self, at: usize, out: &mut Vec<Command>) {
        let child = &mut self.children[at];
        child.stop = false;
        let temporary = child.spec.restart == ChildRestart::Temporary;
        if let Some(Waiting::Stopped(request)) = child.waiting {
            child.waiting = None;
            out.push(Command::Answer(request, Ok(Answer::Done)));
        }
        if temporary {
            self.forget(at, out);
        }
    }

    fn forget(&mut self, at: usize, out: &mut Vec<Command>) {
        let child = self.children.remove(at);
        if let Some(Waiting::Added(request) | Waiting::Restarted(request)) = child.waiting {
            let text = "the child was stopped before it was up";
            out.push(Command::Answer(request, Err(Error::new(Kind::Canceled, text))));
        }
        out.push(Command::Forget(child.key));
    }

    /// Begins to end: everything stops, the last child first, and nobody gets anything any more.
    fn end(&mut self, exit: Exit, out: &mut Vec<Command>) {
        if matches!(self.phase, Phase::Ending(_) | Phase::Ended) {
            return;
        }
        for at in 0..self.children.len() {
            self.mark_stop(at, out);
            let child = &mut self.children[at];
            child.start = false;
            if let Some(Waiting::Added(request) | Waiting::Restarted(request)) = child.waiting {
                child.waiting = None;
                out.push(Command::Answer(request, Err(stops())));
            }
        }
        for (request, order) in std::mem::take(&mut self.backlog) {
            refuse(request, order, stops(), out);
        }
        self.phase = Phase::Ending(exit);
    }

    /// Does what somebody asked for. Nothing else is going on.
    fn obey(&mut self, request: Request, order: Order, out: &mut Vec<Command>) {
        let (id, change) = match order {
            Order::Add(key, spec) => return self.add(request, key, spec, out),
            Order::Change(id, change) => (id, change),
        };
        let answer = match self.children.iter().position(|child| child.spec.id == id) {
            None => Err(Error::new(Kind::NotFound, format!("no child \"{id}\""))),
            Some(at) => {
                let child = &mut self.children[at];
                match (change, child.run) {
                    (Change::Terminate, Some(_)) => {
                        child.waiting = Some(Waiting::Stopped(request));
                        child.stop = true;
                        return;
                    }
                    (Change::Terminate, None) => Ok(Answer::Done),
                    (Change::Restart, None) => {
                        child.waiting = Some(Waiting::Restarted(request));
                        child.start = true;
                        return;
                    }
                    (Change::Delete, None) => {
                        self.forget(at, out);
                        Ok(Answer::Done)
                    }
                    (Change::Restart | Change::Delete, Some(_)) => {
                        Err(Error::new(Kind::Conflict, format!("the child \"{id}\" runs")))
                    }
                }
            }
        };
        out.push(Command::Answer(request, answer));
    }

    fn add(&mut self, request: Request, key: Key, spec: Spec, out: &mut Vec<Command>) {
        let error = if self.children.iter().any(|child| child.spec.id == spec.id) {
            Error::new(Kind::AlreadyExists, format!("there is a child \"{}\" already", spec.id))
        } else if self.children.len() >= limits::CHILDREN_PER_SUPERVISOR {
            let most = limits::CHILDREN_PER_SUPERVISOR;
            Error::new(Kind::Unavailable, format!("a supervisor has at most {most} children"))
        } else {
            let waiting = Some(Waiting::Added(request));
            return self.children.push(Child { start: true, waiting, ..Child::new(key, spec) });
        };
        refuse(request, Order::Add(key, spec), error, out);
    }
}

impl Child {
    /// What is known of it.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its present life, if it runs.
    pub fn run(&self) -> Option<Run> {
        self.run
    }

    fn new(key: Key, spec: Spec) -> Child {
        Child { key, spec, run: None, again: false, stop: false, start: false, waiting: None }
    }
}

fn stops() -> Error {
    Error::new(Kind::Unavailable, "the supervisor stops")
}

fn refuse(request: Request, order: Order, error: Error, out: &mut Vec<Command>) {
    out.push(Command::Answer(request, Err(error)));
    if let Order::Add(key, _) = order {
        out.push(Command::Forget(key));
    }
}

fn too_often(id: &str, settings: &Settings, exit: &Exit) -> Error {
    let why = exit.error.as_ref().map_or("it returned", |error| &*error.message);
    let (most, period) = (settings.intensity, units::duration::format(settings.period));
    Error::new(Kind::Internal, format!("more than {most} restarts within {period}, the last of \"{id}\": {why}"))
}
