//! A child that tells its supervisor when it is up.

use crate::message::{Body, Exit, Message};
use crate::pid::Pid;
use crate::process::{Cx, Next, Process};
use crate::topic::Topic;

/// The topic on which a child says that it is up.
pub(super) const UP: Topic = Topic::fixed("@supervisor.up");

/// A process that tells its supervisor when it first waits or has returned, and is otherwise the process itself.
pub struct Reporting {
    process: Box<dyn Process>,
    supervisor: Option<Pid>,
}

impl Reporting {
    /// The child `process` of `supervisor`.
    pub fn new(process: Box<dyn Process>, supervisor: Pid) -> Reporting {
        Reporting { process, supervisor: Some(supervisor) }
    }
}

impl Process for Reporting {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        let next = self.process.step(cx);
        let up = match &next {
            Next::Wait => !cx.is_doomed(),
            Next::End(exit) => !exit.is_failure(),
            Next::Again | Next::Preempted => false,
        };
        if up && let Some(supervisor) = self.supervisor.take() {
            tell(supervisor, cx);
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

/// Tells a supervisor that the running process is up. There is one such message for each start, so it needs no room.
pub(super) fn tell(supervisor: Pid, cx: &mut Cx<'_>) {
    let message = Message { topic: UP, from: cx.pid(), body: Body::None };
    let _supervisor_gone = cx.send_reserved(supervisor, message);
}
