//! Makes the processes of a shard: keepers and supervisors, what they keep, and Luau programs.

use crate::supervisors::SupervisorSeed;
use kernel::keeper::{Keeper, Service};
use kernel::supervisor::Supervisor;
use kernel::{Cx, Error, Exit, Factory, Next, Node, Pid, Process};
use std::any::Any;
use std::sync::Arc;
use tokio::sync::watch;

/// How far a service has come. Written by its shard, read by the start and the stop of the node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    /// It has not yet waited for anything.
    Starting,
    /// It has run until it waited, or failed: whoever needs it may start.
    Up,
    /// Its keeper has ended.
    Over,
}

/// Where the phase of a service is written and read.
pub(crate) type Phases = Arc<watch::Sender<Phase>>;

/// Moves a service on; never back.
pub(crate) fn advance(phases: &Phases, to: Phase) {
    phases.send_if_modified(|phase| {
        let forward = *phase < to;
        if forward {
            *phase = to;
        }
        forward
    });
}

/// A keeper to be.
pub(crate) struct KeeperSeed(pub(crate) Service);

/// The process of a service to be.
pub(crate) struct ServiceSeed {
    pub(crate) program: luau::Seed,
    pub(crate) phases: Phases,
}

/// The factory of one shard.
pub(crate) struct Processes {
    programs: luau::Runtime,
    node: Arc<Node>,
}

impl Processes {
    pub(crate) fn new(programs: luau::Runtime, node: Arc<Node>) -> Processes {
        Processes { programs, node }
    }

    /// A Luau program. One that cannot even begin has nobody else who would log it.
    fn program(&mut self, seed: Box<dyn Any + Send>, pid: Pid) -> Result<Box<dyn Process>, Error> {
        self.programs.create(seed, pid).inspect_err(|error| {
            tracing::error!(pid = %pid.text(&self.node.hosts), kind = error.kind.name(), %error, "process failed");
        })
    }
}

impl Factory for Processes {
    fn create(&mut self, seed: Box<dyn Any + Send>, pid: Pid) -> Result<Box<dyn Process>, Error> {
        let seed = match seed.downcast::<KeeperSeed>() {
            Ok(keeper) => return Ok(Box::new(Keeper::new(keeper.0))),
            Err(other) => other,
        };
        let seed = match seed.downcast::<SupervisorSeed>() {
            Ok(supervisor) => return Ok(Box::new(Supervisor::new(supervisor.plan()))),
            Err(other) => other,
        };
        match seed.downcast::<ServiceSeed>() {
            Ok(service) => {
                let ServiceSeed { program, phases } = *service;
                let process = self.program(Box::new(program), pid)?;
                Ok(Box::new(Starting { process, phases: Some(phases) }))
            }
            Err(program) => self.program(program, pid),
        }
    }
}

/// The process of a service: tells when it first waits, and is otherwise the process itself.
struct Starting {
    process: Box<dyn Process>,
    phases: Option<Phases>,
}

impl Process for Starting {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        let next = self.process.step(cx);
        if matches!(next, Next::Wait | Next::End(_))
            && let Some(phases) = self.phases.take()
        {
            advance(&phases, Phase::Up);
        }
        next
    }

    fn is_outdated(&self) -> bool {
        self.process.is_outdated()
    }

    fn ended(&mut self, exit: &Exit, cx: &mut Cx<'_>) {
        self.process.ended(exit, cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_never_goes_back() {
        let phases = Arc::new(watch::Sender::new(Phase::Starting));
        advance(&phases, Phase::Over);
        advance(&phases, Phase::Up);
        assert_eq!(*phases.borrow(), Phase::Over);
    }
}
