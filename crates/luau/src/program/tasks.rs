//! The tasks of a program: which threads there are, what each waits for, whose turn it is.

use crate::state::State;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::os::raw::c_int;

/// The number of a task in its program; the main one is 0.
pub(crate) type TaskId = u32;

pub(crate) struct Task {
    /// The thread that the scheduler resumes.
    pub(crate) thread: State,
    /// Coroutines of the program's own that the last break went through, innermost first; the innermost is resumed
    /// before those around it.
    pub(crate) broken: SmallVec<[State; 1]>,
    pub(crate) wait: Wait,
    /// Grows with each wait, so that what was set up for an earlier one is recognised.
    pub(crate) turn: u32,
    /// What its next wait would wait for has happened already.
    pub(crate) skip: bool,
    /// Keeps the thread alive, for all but the main one.
    anchor: c_int,
}

/// What a task waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// Nothing: it is ready. It is resumed with the `values` on top of its innermost thread.
    Ready { values: i32 },
    /// The next thing on a lane.
    Receive(u32),
    /// A call of `wake`, or something on a lane that it watches.
    Park,
    /// A timer.
    Sleep,
    /// The end of a child; see [`super::calls`].
    Exec,
    /// It runs.
    Running,
    /// It is over.
    Done,
}

impl Task {
    pub(crate) fn new(thread: State) -> Task {
        Task { thread, broken: SmallVec::new(), wait: Wait::Ready { values: 0 }, turn: 0, skip: false, anchor: 0 }
    }

    /// The thread that runs, or ran when the task was suspended.
    pub(crate) fn innermost(&self) -> State {
        self.broken.first().copied().unwrap_or(self.thread)
    }
}

/// All tasks but the main one, and the order in which tasks are run.
#[derive(Default)]
pub(crate) struct Tasks {
    spawned: Vec<Option<Task>>,
    free: Vec<TaskId>,
    pub(crate) ready: VecDeque<TaskId>,
    pub(crate) living: u32,
    /// The task that runs.
    pub(crate) current: TaskId,
}

impl Tasks {
    /// Adds a ready task whose thread is kept by `anchor`.
    pub(crate) fn add(&mut self, thread: State, anchor: c_int, values: i32) {
        let task = Task { anchor, wait: Wait::Ready { values }, ..Task::new(thread) };
        let id = match self.free.pop() {
            Some(id) => {
                self.spawned[id as usize - 1] = Some(task);
                id
            }
            None => {
                self.spawned.push(Some(task));
                self.spawned.len() as TaskId
            }
        };
        self.living += 1;
        self.ready.push_back(id);
    }

    pub(crate) fn get(&mut self, id: TaskId) -> Option<&mut Task> {
        self.spawned.get_mut(id as usize - 1)?.as_mut()
    }

    /// Removes a task that is over.
    pub(crate) fn remove(&mut self, id: TaskId, main: State) {
        if let Some(task) = self.spawned.get_mut(id as usize - 1).and_then(Option::take) {
            main.release(task.anchor);
            self.free.push(id);
            self.living -= 1;
        }
    }

    pub(crate) fn release(self, main: State) {
        for task in self.spawned.into_iter().flatten() {
            main.release(task.anchor);
        }
    }
}
