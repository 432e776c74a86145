//! The keeper of a service: a process that starts another one and starts it again when it fails.

use crate::error::Error;
use crate::host::HostId;
use crate::message::{Event, Exit, Mail};
use crate::pid::Pid;
use crate::process::{Body, Cx, Next, Process, Spawn};
use crate::supervisor::order::no_supervisor;
use crate::timers::{Time, TimerId};
use std::any::Any;
use std::time::Duration;

/// How a failed service is started again.
#[derive(Clone, Debug, PartialEq)]
pub struct Restart {
    /// Pause before the first new start.
    pub initial_delay: Duration,
    /// The pause grows to at most this.
    pub max_delay: Duration,
    /// Each pause is so many times the one before.
    pub backoff_factor: f64,
    /// Part of a pause, 0 to 1, that is added or taken away at random.
    pub jitter: f64,
    /// New starts without a stable time between them before the keeper gives up; 0: never.
    pub max_attempts: u32,
    /// A service that ran for so long is stable: the next pause is the first one again.
    pub stable_after: Duration,
}

/// Told to whoever wants to know what becomes of a service.
#[derive(Debug)]
pub enum Notice<'a> {
    /// It runs.
    Started(Pid),
    /// It could not be started, or it failed; the next start comes after this pause.
    Failed(&'a Exit, Duration),
    /// It failed too often.
    GaveUp(&'a Exit),
    /// It returned, or was stopped.
    Ended,
}

/// What a keeper keeps.
pub struct Service {
    /// The host of the service's process.
    pub host: HostId,
    /// The name that the service's process holds before it runs.
    pub name: Option<Box<str>>,
    /// Makes the seed of each start.
    pub seed: Box<dyn FnMut() -> Box<dyn Any + Send> + Send>,
    /// When and how often it is started again.
    pub restart: Restart,
    /// Between the request to end and the order; `None` for a service that takes the time that it needs.
    pub stop_timeout: Option<Duration>,
    /// Numbers from 0 up to 1, for the jitter.
    pub random: Box<dyn FnMut() -> f64 + Send>,
    /// Told of each change.
    pub notice: Box<dyn FnMut(Notice<'_>) + Send>,
}

/// Keeps one service running until it is cancelled. It returns when the service returned, and fails when it gave up.
pub struct Keeper {
    service: Service,
    state: State,
    attempts: u32,
}

enum State {
    New,
    Running { pid: Pid, since: Time },
    Pausing { timer: Option<TimerId> },
    Stopping { pid: Pid },
}

const START: u64 = 1;
const KILL: u64 = 2;

impl Keeper {
    /// A keeper that starts its service when it first runs.
    pub fn new(service: Service) -> Keeper {
        Keeper { service, state: State::New, attempts: 0 }
    }

    fn start(&mut self, cx: &mut Cx<'_>) -> Option<Next> {
        let body = Body::Seed((self.service.seed)());
        let spawn = Spawn { host: self.service.host, body, monitored: true, linked: false };
        match cx.spawn_as(spawn, self.service.name.as_deref(), None) {
            Ok(pid) => {
                self.state = State::Running { pid, since: cx.now() };
                (self.service.notice)(Notice::Started(pid));
                None
            }
            Err(error) => self.failed(&Exit::failed(error), cx),
        }
    }

    fn failed(&mut self, exit: &Exit, cx: &mut Cx<'_>) -> Option<Next> {
        let restart = &self.service.restart;
        if let State::Running { since, .. } = self.state
            && cx.now().since(since) >= restart.stable_after
        {
            self.attempts = 0;
        }
        if restart.max_attempts != 0 && self.attempts >= restart.max_attempts {
            (self.service.notice)(Notice::GaveUp(exit));
            let error = exit.error.clone().unwrap_or_else(|| Error::new(crate::Kind::Internal, "the service failed"));
            return Some(Next::End(Exit::failed(error)));
        }
        let pause = pause(restart, self.attempts, (self.service.random)());
        self.attempts += 1;
        (self.service.notice)(Notice::Failed(exit, pause));
        // A keeper has one timer at a time, so the limit cannot refuse it.
        let timer = cx.set_timer(cx.now().after(pause), START).ok();
        self.state = State::Pausing { timer };
        None
    }

    fn stop(&mut self, cx: &mut Cx<'_>) -> Option<Next> {
        match self.state {
            State::Running { pid, .. } => {
                // Refused when it has just ended: then its EXIT is on the way.
                let _refused = cx.cancel(pid, Some("the service is stopped"));
                if let Some(most) = self.service.stop_timeout {
                    let _one_timer = cx.set_timer(cx.now().after(most), KILL);
                }
                self.state = State::Stopping { pid };
                None
            }
            State::Stopping { .. } => None,
            State::New | State::Pausing { .. } => {
                if let State::Pausing { timer: Some(timer) } = self.state {
                    cx.cancel_timer(timer);
                }
                (self.service.notice)(Notice::Ended);
                Some(Next::End(Exit::normal(None)))
            }
        }
    }

    fn handle(&mut self, mail: Mail, cx: &mut Cx<'_>) -> Option<Next> {
        match mail {
            Mail::Event(Event::Exit { from, exit, .. }) => match self.state {
                State::Running { pid, .. } if pid == from && exit.is_failure() => self.failed(&exit, cx),
                State::Running { pid, .. } | State::Stopping { pid } if pid == from => {
                    (self.service.notice)(Notice::Ended);
                    Some(Next::End(Exit::normal(None)))
                }
                _ => None,
            },
            Mail::Event(Event::Cancel { .. }) => self.stop(cx),
            Mail::Timer(START) if matches!(self.state, State::Pausing { .. }) => self.start(cx),
            Mail::Timer(KILL) => {
                if let State::Stopping { pid } = self.state {
                    let _gone = cx.terminate(pid, Some("the service did not stop in time"));
                }
                None
            }
            _ => None,
        }
    }
}

impl Process for Keeper {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        // The mail first: a keeper that was stopped before it ran starts nothing.
        while let Some((mail, claim)) = cx.next_mail() {
            if let Mail::Message(message) = &mail {
                cx.received(message.from, claim);
                no_supervisor(message, cx);
            }
            if let Some(next) = self.handle(mail, cx) {
                return next;
            }
        }
        if matches!(self.state, State::New)
            && let Some(next) = self.start(cx)
        {
            return next;
        }
        Next::Wait
    }

    fn ended(&mut self, _exit: &Exit, cx: &mut Cx<'_>) {
        // A keeper that is ended by order leaves no service that nobody keeps.
        if let State::Running { pid, .. } | State::Stopping { pid } = self.state {
            let _has_ended = cx.terminate(pid, Some("its keeper has ended"));
        }
    }
}

/// The pause before new start number `attempt` (from 0).
fn pause(restart: &Restart, attempt: u32, random: f64) -> Duration {
    let grown = restart.initial_delay.as_secs_f64() * restart.backoff_factor.max(1.0).powi(attempt.min(1_000) as i32);
    let capped = grown.min(restart.max_delay.as_secs_f64()).max(0.0);
    let jitter = 1.0 + restart.jitter.clamp(0.0, 1.0) * (2.0 * random - 1.0);
    Duration::try_from_secs_f64((capped * jitter).min(restart.max_delay.as_secs_f64())).unwrap_or(restart.max_delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restart() -> Restart {
        Restart {
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(90),
            backoff_factor: 2.0,
            jitter: 0.0,
            max_attempts: 0,
            stable_after: Duration::from_secs(60),
        }
    }

    #[test]
    fn the_pause_grows_to_its_cap_and_never_beyond() {
        let pauses: Vec<u64> = (0..9).map(|attempt| pause(&restart(), attempt, 0.5).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 90, 90]);
        assert_eq!(pause(&restart(), u32::MAX, 0.5).as_secs(), 90);
    }

    #[test]
    fn jitter_stays_within_its_part() {
        let restart = Restart { jitter: 0.5, ..restart() };
        for random in [0.0, 0.25, 0.999] {
            let seconds = pause(&restart, 1, random).as_secs_f64();
            assert!((1.0..=3.0).contains(&seconds), "{seconds}");
        }
    }
}
