//! Calls that are under way: children whose results somebody in the program waits for.
//!
//! The EXIT of such a child is no event of the program's. It wakes the task that waits in `process.exec` or
//! `funcs.call`, or settles the future that `funcs.async` gave.

use super::Program;
use super::mail::push_result;
use super::tasks::{TaskId, Wait};
use kernel::{Cx, Error, Exit, Kind, Pid};
use std::os::raw::c_int;
use std::sync::Arc;

/// Children whose results one process may wait for.
const CALLS_PER_PROCESS: usize = 1_000;

/// What waits for the result of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// A task, since the turn in which it began to.
    Task(TaskId, u32),
    /// A future, as a registry reference.
    Future(c_int),
    /// Nothing any more: it was called off, and its EXIT is on its way.
    Nobody,
}

/// A future, as a registry reference, and what is to be put into it.
pub(crate) struct Settled {
    future: c_int,
    exit: Arc<Exit>,
}

impl Program {
    /// An error that names the limit if the program can wait for no further result.
    pub(crate) fn has_room_for_call(&self, what: &str) -> Result<(), Error> {
        if self.more.as_ref().is_none_or(|more| more.execs.len() < CALLS_PER_PROCESS) {
            return Ok(());
        }
        let text = format!("{what}: a process waits for the results of at most {CALLS_PER_PROCESS} others");
        Err(Error::new(Kind::Unavailable, text))
    }

    /// The running task begins to wait for the result of a child.
    pub(crate) fn await_result(&mut self, child: Pid) {
        let (task, turn) = self.wait(Wait::Exec);
        self.more().execs.insert(child, Waiter::Task(task, turn));
    }

    /// Brings the end of a child to what waits for its result; whether somebody did.
    pub(super) fn executed(&mut self, child: Pid, exit: &Arc<Exit>) -> bool {
        let Some(waiter) = self.more.as_mut().and_then(|more| more.execs.remove(&child)) else { return false };
        match waiter {
            Waiter::Task(id, turn) => {
                let pod = self.pod.clone();
                if let Some(task) = self.task(id).filter(|task| task.turn == turn && task.wait == Wait::Exec) {
                    let thread = task.innermost();
                    let values = if thread.reserve(12) { push_result(thread, &pod, exit) } else { 0 };
                    self.wake(id, values);
                }
            }
            // Not now: the running task may stand in the middle of an operation on the future's channel.
            Waiter::Future(future) => self.more().settled.push_back(Settled { future, exit: exit.clone() }),
            Waiter::Nobody => {}
        }
        true
    }

    /// Puts results that have come into their futures.
    pub(super) fn settle(&mut self, cx: &Cx<'_>) {
        let pod = self.pod.clone();
        let (main, own) = (pod.main(), self.main.thread);
        let limit = isize::try_from(cx.hosts()[self.pid.host()].memory_limit).unwrap_or(isize::MAX);
        while let Some(Settled { future, exit }) = self.more.as_mut().and_then(|more| more.settled.pop_front()) {
            main.push_ref(pod.refs.settle);
            main.push_ref(future);
            // Made on a thread of the process, so that it counts as the process's own.
            if own.reserve(12) {
                let values = push_result(own, &pod, &exit);
                own.move_to(main, values);
                if values == 1 {
                    main.push_nil();
                }
            } else {
                main.push_nil();
                main.push_nil();
            }
            pod.call_on_main(3, limit);
            main.release(future);
            // Results may be large: the others have their time in the next slice.
            if pod.is_over() {
                return;
            }
        }
    }

    /// Calls a future's child off; whether it was still under way.
    pub(crate) fn call_off(&mut self, child: Pid, cx: &mut Cx<'_>) -> bool {
        let Some(waiter) = self.more.as_mut().and_then(|more| more.execs.get_mut(&child)) else { return false };
        let Waiter::Future(future) = *waiter else { return false };
        *waiter = Waiter::Nobody;
        self.pod.main().release(future);
        let _ended_already = cx.terminate(child, Some("canceled"));
        true
    }

    /// Ends all children whose results are waited for: nobody is left who could take them, or hear of their end.
    pub(crate) fn drop_calls(&mut self, why: &str, cx: &mut Cx<'_>) {
        let Some(more) = &mut self.more else { return };
        let main = self.pod.main();
        for (child, waiter) in more.execs.drain() {
            // If the process goes on, in other code, their ends are nothing to it.
            cx.unmonitor(child);
            let _ended_already = cx.terminate(child, Some(why));
            if let Waiter::Future(future) = waiter {
                main.release(future);
            }
        }
        for settled in more.settled.drain(..) {
            main.release(settled.future);
        }
    }
}
