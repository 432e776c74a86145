//! One slice of a program: from the kernel's call to its answer.

use super::tasks::{Task, TaskId, Wait};
use super::{Phase, Program};
use crate::call::Running;
use crate::failure;
use crate::registry::Role;
use crate::state::{Resumed, State};
use crate::value;
use crate::vm::Pod;
use crate::vm::pod::Condemned;
use crate::vm::watchdog::Watched;
use kernel::{Cx, Exit, Kind, Next, Stopped, Time};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// Mail that is taken between two tasks, so that a task that never waits cannot keep mail from the others.
const MAIL: usize = 64;
/// Timer tokens with this bit belong to a wait: the task's number and turn are below.
pub(super) const OF_WAIT: u64 = 1 << 63;

/// The token of the timer that ends a task's wait in a turn.
pub(crate) fn wait_token(id: TaskId, turn: u32) -> u64 {
    OF_WAIT | u64::from(id) << 32 | u64::from(turn)
}

/// Tells the watchdog when slices begin and end, and the programs what time it is.
pub(crate) struct SliceTimer {
    pub(crate) watched: Watched,
    /// Seconds since 1970 at the node's time 0.
    pub(crate) epoch: f64,
    /// The time now.
    pub(crate) clock: Box<dyn Fn() -> Time>,
    /// What the next process's random numbers begin with, if they are to repeat from run to run.
    pub(crate) seed: Cell<Option<u64>>,
}

impl SliceTimer {
    /// Seconds since 1970.
    pub(crate) fn wall(&self, time: Time) -> f64 {
        self.epoch + time.0 as f64 / 1e9
    }
}

/// How a task came back.
enum Came {
    /// It waits.
    Waits,
    /// Its slice is over.
    Preempted,
    /// The program has given way to another one.
    Upgraded,
    /// It is done; its results are on its stack.
    Done,
    Ends(Exit),
}

pub(super) fn run(program: &mut Program, cx: &mut Cx<'_>) -> Next {
    let pod = program.pod.clone();
    let timer = program.timer.clone();
    if let Some(next) = program.measured(cx) {
        pod.collector.after_slice(0, pod.memory.used.get());
        return next;
    }
    let host = &cx.hosts()[program.pid.host()];
    let (limit, length) = (host.memory_limit as usize, host.slice);
    // From here on native functions reach the program and the kernel through these pointers, and so does this slice.
    let this: *mut Program = program;
    let kernel: *mut Cx<'static> = std::ptr::from_mut(cx).cast();
    let running = Running { program: this, cx: kernel };
    pod.running.set(&running);
    pod.begin_slice(program.heap.category.map(|(category, _)| category));
    pod.memory.begin(limit);
    pod.last_for(timer.watched.begin(pod.callbacks(), length));
    let ran = catch_unwind(AssertUnwindSafe(|| Slice { program: this, cx: kernel, pod: &pod, limit }.run()));
    timer.watched.end();
    pod.disarm();
    let taken = pod.memory.end();
    pod.running.set(std::ptr::null());
    let next = match ran {
        Ok(next) => program.account(next, taken, limit),
        Err(panic) => {
            pod.poisoned.set(true);
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let entry = &*program.version.get(program.entry).id;
            tracing::error!(entry, panic = text.unwrap_or("unknown"), "a fault in a native function: its pod is ended");
            program.fail(Kind::Internal, "a fault in a native function")
        }
    };
    if !pod.poisoned.get() {
        pod.collector.after_slice(taken, pod.memory.used.get());
    }
    next
}

struct Slice<'a> {
    program: *mut Program,
    cx: *mut Cx<'static>,
    pod: &'a Rc<Pod>,
    limit: usize,
}

impl Slice<'_> {
    #[allow(clippy::mut_from_ref)]
    fn program(&self) -> &mut Program {
        // SAFETY: see `run`; callers do not hold the result across a resume.
        unsafe { &mut *self.program }
    }

    #[allow(clippy::mut_from_ref)]
    fn cx(&self) -> &mut Cx<'_> {
        // SAFETY: see `run`; callers do not hold the result across a resume.
        unsafe { &mut *self.cx.cast::<Cx<'_>>() }
    }

    fn run(&self) -> Next {
        loop {
            if let Phase::New(args) = &mut self.program().phase {
                let args = std::mem::take(args);
                let program = self.program();
                program.phase = Phase::Chunk(args);
                let chunk = program.version.try_get(program.entry).ok_or_else(|| "the entry is gone".to_owned());
                if let Err(text) = chunk.and_then(|chunk| self.pod.push_chunk(program.main.thread, chunk)) {
                    return program.fail(Kind::Internal, text);
                }
            }
            // Tasks take turns only where they wait: one that was preempted goes on before anything else happens.
            if !std::mem::take(&mut self.program().preempted) {
                self.take_mail();
                self.program().fire(self.cx());
                // Ticks go into channels that the program can bend, so even they may run for too long.
                if self.pod.condemned.get() == Some(Condemned::Stuck) {
                    return Next::End(self.stuck(self.program().main.thread));
                }
                if self.pod.is_over() && (self.program().is_ready() || self.cx().has_mail()) {
                    return Next::Preempted;
                }
            }
            let Some(id) = self.next_ready() else {
                if self.cx().has_mail() {
                    continue;
                }
                return match self.program().deadlock() {
                    Some(exit) => Next::End(exit),
                    None => Next::Wait,
                };
            };
            match self.resume_through(id) {
                Came::Waits | Came::Upgraded => {}
                Came::Preempted => return Next::Preempted,
                Came::Ends(exit) => return Next::End(exit),
                Came::Done if id != 0 => {
                    let main = self.pod.main();
                    self.program().more().tasks.remove(id, main);
                }
                Came::Done => return self.ended(),
            }
            if self.cx().is_doomed() {
                return Next::Wait;
            }
        }
    }

    // Tasks

    fn next_ready(&self) -> Option<TaskId> {
        let program = self.program();
        match &mut program.more {
            Some(more) if more.tasks.living > 0 || !more.tasks.ready.is_empty() => {
                if let Some(id) = more.tasks.ready.pop_front() {
                    return Some(id);
                }
            }
            _ => {}
        }
        matches!(program.main.wait, Wait::Ready { .. }).then_some(0)
    }

    /// Resumes a task; after the chunk the function that it exposes, at once: nothing else may run while the main
    /// thread holds a function that has not begun, for a coroutine could be made of it.
    fn resume_through(&self, id: TaskId) -> Came {
        match self.resume(id) {
            Came::Done if id == 0 => match self.begin_function() {
                Some(Ok(())) => self.resume(id),
                Some(Err(exit)) => Came::Ends(exit),
                None => Came::Done,
            },
            came => came,
        }
    }

    /// Resumes a task: its innermost coroutine first, then those around it.
    fn resume(&self, id: TaskId) -> Came {
        let Some(task) = self.program().task(id) else { return Came::Waits };
        let Wait::Ready { mut values } = task.wait else { return Came::Waits };
        task.wait = Wait::Running;
        let top = task.thread;
        let mut chain = std::mem::take(&mut task.broken);
        if let Some(timer) = task.timer.take() {
            // What it waited for may have come before its deadline.
            self.cx().cancel_timer(timer);
        }
        if let Some(more) = &mut self.program().more {
            more.tasks.current = id;
        }
        loop {
            let thread = chain.first().copied().unwrap_or(top);
            self.pod.broken.borrow_mut().clear();
            self.pod.memory.slice_limit.set(isize::try_from(self.limit).unwrap_or(isize::MAX));
            let resumed = thread.resume(values);
            self.pod.memory.slice_limit.set(isize::MAX);
            match resumed {
                Resumed::Broke => {
                    let mut inner = self.pod.broken.borrow_mut();
                    if thread != top {
                        inner.push(thread);
                        inner.extend(chain.drain(1..));
                    }
                    let Some(task) = self.program().task(id) else { return Came::Waits };
                    task.broken = inner.drain(..).collect();
                    drop(inner);
                    return self.broke(id);
                }
                // A coroutine of the program's own is done, yielded or failed: whoever resumed it sees that.
                _ if thread != top => {
                    chain.remove(0);
                    values = 0;
                }
                Resumed::Finished => {
                    if id != 0 {
                        // Nobody gets what it returned, and it is dead for those who have its thread.
                        top.set_top(0);
                    }
                    if let Some(task) = self.program().task(id) {
                        task.wait = Wait::Done;
                    }
                    return Came::Done;
                }
                Resumed::Yielded => {
                    let error = failure::new("coroutine.yield outside of a coroutine that somebody resumes", top);
                    return Came::Ends(Exit::failed(error));
                }
                Resumed::Failed => return Came::Ends(self.failed(id, top)),
            }
        }
    }

    /// A task has broken out: it waits, or it was preempted or condemned.
    fn broke(&self, id: TaskId) -> Came {
        match self.pod.condemned.get() {
            Some(Condemned::Stuck) => {
                let thread = self.program().task(id).map_or(self.pod.main(), |task| task.innermost());
                return Came::Ends(self.stuck(thread));
            }
            Some(Condemned::Ended) => return Came::Waits,
            None => {}
        }
        if self.program().upgrade(self.cx()) {
            return Came::Upgraded;
        }
        let program = self.program();
        let Some(task) = program.task(id) else { return Came::Waits };
        if task.wait == Wait::Running {
            task.wait = Wait::Ready { values: 0 };
            program.preempted = true;
            if let Some(more) = &mut program.more {
                more.tasks.ready.push_front(id);
            }
            return Came::Preempted;
        }
        Came::Waits
    }

    fn stuck(&self, thread: State) -> Exit {
        let host = &self.cx().hosts()[self.program().pid.host()];
        let (name, slice) = (&host.name, units::duration::format(host.slice));
        let text =
            format!("ran for more than 10 ms where it cannot be suspended (slice is {slice} on host \"{name}\")");
        Exit::failed(failure::new(&text, thread).stopped(Stopped::Time))
    }

    fn failed(&self, id: TaskId, thread: State) -> Exit {
        if self.pod.condemned.get() == Some(Condemned::Stuck) {
            return self.stuck(thread);
        }
        let mut trace = thread.trace();
        if let Some(birth) = self.program().more.as_ref().and_then(|more| more.tasks.birth(id)) {
            trace.push_str("\nin a coroutine spawned at\n");
            trace.push_str(birth);
        }
        let mut error = failure::of_stack(thread, self.pod, trace);
        if &*error.message == "not enough memory" {
            let host = &self.cx().hosts()[self.program().pid.host()];
            let (name, limit) = (&host.name, units::size::format(host.memory_limit));
            error.kind = Kind::Unavailable;
            error.stopped = Some(Stopped::Memory);
            let one = if self.pod.memory.refused_block.get() {
                let most = units::size::format(self.pod.memory.block.get() as u64);
                format!("one string, buffer or table may take {most} where ")
            } else {
                String::new()
            };
            error.message = format!("not enough memory: {one}memory_limit is {limit} on host \"{name}\"").into();
        }
        Exit::failed(error)
    }

    /// The main task is done: with its chunk, then its function is put in its place; or with that (`None`).
    fn begin_function(&self) -> Option<Result<(), Exit>> {
        let program = self.program();
        let thread = program.main.thread;
        let Phase::Chunk(args) = &mut program.phase else { return None };
        let args = std::mem::take(args);
        let entry = program.version.get(program.entry);
        let failed = |text: String| Some(Err(Exit::failed(kernel::Error::new(Kind::Invalid, text))));
        if let Err(text) = expose(thread, entry.method.as_deref(), entry.role) {
            return failed(format!("{}: {text}", entry.id));
        }
        program.phase = Phase::Function;
        for term in &args {
            if !value::push_term(thread, self.pod, term) {
                return failed("too many arguments".to_owned());
            }
        }
        program.main.wait = Wait::Ready { values: args.len() as i32 };
        Some(Ok(()))
    }

    /// The program's function has returned: `return value`, or `return nil, err` for a failure.
    fn ended(&self) -> Next {
        let thread = self.program().main.thread;
        if thread.top() >= 2 && thread.is_nil(1) && !thread.is_nil(2) {
            thread.set_top(2);
            return Next::End(Exit::failed(failure::of_stack(thread, self.pod, String::new())));
        }
        if thread.top() == 0 || thread.is_nil(1) {
            return Next::End(Exit::normal(None));
        }
        let most = self.cx().hosts()[self.program().pid.host()].mailbox_bytes;
        match value::to_term(thread, self.pod, 1, most) {
            Ok(term) => Next::End(Exit::normal(Some(term))),
            // What cannot be copied has no value for others; the program did end well.
            Err(_) => Next::End(Exit::normal(None)),
        }
    }

    // Mail

    fn take_mail(&self) {
        for _ in 0..MAIL {
            if matches!(self.program().main.wait, Wait::Ready { .. }) && self.program().more.is_none() {
                return;
            }
            let Some((mail, claim)) = self.cx().next_mail() else { return };
            self.program().route(mail, claim, self.cx(), None);
            // What came may be large: the rest has its time in the next slice.
            if self.pod.is_over() {
                return;
            }
        }
    }
}

/// Leaves on the stack only the function that a chunk exposes.
fn expose(thread: State, method: Option<&str>, role: Role) -> Result<(), String> {
    let called = method.unwrap_or("handler");
    let what = || match role {
        Role::Function => "function",
        Role::Process => "process",
        Role::Library => "library",
    };
    let kind = if thread.top() == 0 { "nothing" } else { thread.type_name(1) };
    match kind {
        "function" => thread.set_top(1),
        "table" => {
            thread.set_top(1);
            thread.push_string(called.as_bytes());
            let found = thread.raw_get_top(1);
            if found != "function" {
                return Err(format!("the table that its chunk returns has no function \"{called}\" (it is {found})"));
            }
            thread.remove(1);
        }
        _ => {
            return Err(format!(
                "its chunk must return a function, a table that holds \"{called}\", or nothing and define `{called}` as a local or global function; a {} cannot run without one",
                what()
            ));
        }
    }
    Ok(())
}

impl Program {
    pub(crate) fn task(&mut self, id: TaskId) -> Option<&mut Task> {
        if id == 0 {
            return Some(&mut self.main);
        }
        self.more.as_mut()?.tasks.get(id)
    }

    pub(crate) fn current(&self) -> TaskId {
        self.more.as_ref().map_or(0, |more| more.tasks.current)
    }

    fn is_ready(&self) -> bool {
        matches!(self.main.wait, Wait::Ready { .. })
            || self.more.as_ref().is_some_and(|more| !more.tasks.ready.is_empty() || !more.settled.is_empty())
    }

    /// Makes a waiting task ready, with `values` on top of its innermost thread.
    pub(crate) fn wake(&mut self, id: TaskId, values: i32) {
        let Some(task) = self.task(id) else { return };
        if !matches!(task.wait, Wait::Receive(_) | Wait::Park(_) | Wait::Sleep | Wait::Exec) {
            return;
        }
        let was = std::mem::replace(&mut task.wait, Wait::Ready { values });
        if let Some(more) = &mut self.more {
            more.tasks.private -= u32::from(id != 0 && was.is_private());
            more.tasks.ready.push_back(id);
        }
    }

    /// The running task begins to wait.
    pub(crate) fn wait(&mut self, wait: Wait) -> (TaskId, u32) {
        let id = self.current();
        if let Some(more) = &mut self.more {
            more.tasks.private += u32::from(id != 0 && wait.is_private());
        }
        match self.task(id) {
            Some(task) => {
                task.turn = task.turn.wrapping_add(1);
                task.wait = wait;
                (id, task.turn)
            }
            None => (id, 0),
        }
    }
}
