//! A Luau program as a process of the kernel.
//!
//! A program is one or more tasks: the main one, and those that `coroutine.spawn` started. A task is a Luau thread;
//! it runs until it waits (a native function breaks out of it), is preempted, or is done. A slice runs tasks that are
//! ready until none is, takes mail between them, and is over after about a millisecond whatever happens.

pub(crate) mod calls;
mod deadlock;
mod heap;
pub(crate) mod lanes;
mod mail;
mod outdated;
pub(crate) mod slice;
pub(crate) mod tasks;
pub(crate) mod upgrade;

use crate::live::Version;
use crate::registry::EntryIndex;
use crate::runtime::{Extension, Seed};
use crate::vm::Pod;
use calls::{Settled, Waiter};
use heap::Heap;
use kernel::{Cx, Exit, Kind, Next, Pid, Process, Term};
use lanes::Lanes;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::os::raw::c_int;
use std::rc::Rc;
use tasks::{Task, Tasks};
use upgrade::Upgrade;

pub(crate) use slice::SliceTimer;

/// One process's program.
pub(crate) struct Program {
    pub(crate) pod: Rc<Pod>,
    timer: Rc<SliceTimer>,
    /// The code that it runs, and its entry in that.
    pub(crate) version: Version,
    pub(crate) entry: EntryIndex,
    /// The number of the version up to which it knows what has changed.
    pub(crate) told: u64,
    /// OUTDATED waits to be received.
    pub(crate) outdated_waits: bool,
    pub(crate) pid: Pid,
    phase: Phase,
    /// Keeps the main thread alive.
    anchor: c_int,
    pub(crate) main: Task,
    /// The channels of its lanes, as a registry reference to a table; 0 for none yet.
    pub(crate) channels: c_int,
    /// What only programs with more than one coroutine, channel or timer have.
    pub(crate) more: Option<Box<More>>,
    /// What it hands on to all processes that it begins: a table. It never changes.
    pub(crate) context: Option<Box<Term>>,
    pub(crate) extension: Option<Box<dyn Extension>>,
    /// Processes that it has spawned.
    pub(crate) spawned: u32,
    heap: Heap,
    /// Its last slice was cut short: the task goes on first.
    preempted: bool,
}

#[derive(Default)]
pub(crate) struct More {
    pub(crate) tasks: Tasks,
    pub(crate) lanes: Lanes,
    /// Timers that have fired, whose ticks are not in their channels yet.
    pub(crate) ticks: Vec<u64>,
    /// The results of `require`, as a registry reference to a table; 0 for none yet.
    pub(crate) loaded: c_int,
    /// Children whose results are waited for, and by what: their EXIT is no event.
    pub(crate) execs: FxHashMap<Pid, Waiter>,
    /// Futures whose results have come, but are not in them yet.
    pub(crate) settled: VecDeque<Settled>,
    /// State of `math.random`.
    pub(crate) random: u64,
    /// State of the choice among the ready cases of a select.
    pub(crate) choice: u64,
    /// The program that takes the place of this one as soon as the running task is suspended.
    pub(crate) upgrade: Option<Box<Upgrade>>,
}

enum Phase {
    /// Not started: the arguments of its function.
    New(Vec<Term>),
    /// The chunk runs; the arguments wait for the function that it exposes.
    Chunk(Vec<Term>),
    /// The function runs.
    Function,
}

impl Program {
    pub(crate) fn new(pod: Rc<Pod>, version: Version, timer: Rc<SliceTimer>, pid: Pid, seed: Seed) -> Program {
        let Seed { entry, args, context, extension } = seed;
        let (thread, anchor) = pod.new_thread();
        pod.living.set(pod.living.get() + 1);
        let main = Task::new(thread);
        let phase = Phase::New(args);
        Program {
            pod,
            timer,
            told: version.number,
            outdated_waits: false,
            version,
            entry,
            pid,
            phase,
            anchor,
            main,
            channels: 0,
            more: None,
            context: context.map(Box::new),
            extension,
            spawned: 0,
            heap: Heap::default(),
            preempted: false,
        }
    }

    pub(crate) fn more(&mut self) -> &mut More {
        if self.more.is_none() {
            let more = self.more.insert(Box::default());
            // From now on there is a queue, and a main task that is ready has its place in it.
            if matches!(self.main.wait, tasks::Wait::Ready { .. }) {
                more.tasks.ready.push_back(0);
            }
        }
        self.more.get_or_insert_default()
    }

    /// Whether a call waits for a process: its monitor is not the program's own.
    pub(crate) fn execs(&self, child: Pid) -> bool {
        self.more.as_ref().is_some_and(|more| more.execs.contains_key(&child))
    }

    pub(crate) fn timer(&self) -> &SliceTimer {
        &self.timer
    }

    /// What a process's random numbers begin with, where they are to repeat; another one each time.
    pub(crate) fn next_seed(&self) -> Option<u64> {
        let seed = self.timer.seed.get()?;
        self.timer.seed.set(Some(seed.wrapping_add(2)));
        Some(seed)
    }

    fn fail(&self, kind: Kind, message: impl Into<Box<str>>) -> Next {
        Next::End(Exit::failed(kernel::Error::new(kind, message)))
    }

    fn release(&mut self) {
        let main = self.pod.main();
        if self.heap.category.is_none() {
            self.pod.take_back(self.main.thread, self.anchor);
        } else {
            // What it holds counts in its own memory category.
            main.release(self.anchor);
        }
        if self.channels > 0 {
            main.release(self.channels);
        }
        if let Some(mut more) = self.more.take() {
            more.tasks.release(main);
            more.lanes.release_timers(main);
            if more.loaded > 0 {
                main.release(more.loaded);
            }
        }
        if let Some((category, _)) = self.heap.category.take() {
            self.pod.give_back_category(category);
        }
        self.pod.living.set(self.pod.living.get() - 1);
        let current = self.pod.code.current();
        if current.number != self.version.number {
            // It may be the last that used its version.
            self.version = current;
            self.pod.sweep_chunks();
        }
    }

    fn log_end(&self, exit: &Exit, cx: &Cx<'_>) {
        let Some(error) = &exit.error else { return };
        let pid = self.pid.text(cx.hosts());
        let entry = &*self.version.get(self.entry).id;
        if error.kind == Kind::Canceled {
            tracing::info!(%pid, entry, reason = %error.message, "process terminated");
        } else {
            let trace = error.stack.as_deref().unwrap_or("");
            let separator = if trace.is_empty() { "" } else { "\n" };
            tracing::error!(%pid, entry, kind = error.kind.name(), error = %format!("{}{separator}{trace}", error.message), "process failed");
        }
    }
}

impl Process for Program {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        if self.pod.poisoned.get() {
            return self.fail(Kind::Internal, "its virtual machine had a fault and was ended");
        }
        slice::run(self, cx)
    }

    fn is_outdated(&self) -> bool {
        self.news().next().is_some()
    }

    fn ended(&mut self, exit: &Exit, cx: &mut Cx<'_>) {
        self.log_end(exit, cx);
        // Unread messages that programs hold in channels go back to their senders' credit.
        if let Some(more) = &mut self.more {
            more.lanes.give_back(cx);
        }
        self.drop_calls("its caller has ended", cx);
        self.release();
        if let Some(extension) = self.extension.take() {
            extension.finished(exit, cx);
        }
    }
}
