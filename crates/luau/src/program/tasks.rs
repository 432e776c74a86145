//! The tasks of a program: which threads there are, what each waits for, whose turn it is.

use crate::state::State;
use kernel::TimerId;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::os::raw::c_int;
use std::rc::Rc;

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
    /// Ends its wait at a deadline; goes when it does.
    pub(crate) timer: Option<TimerId>,
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
    /// A call of `wake`, something on a lane that it watches, or its timer.
    Park(Parked),
    /// A timer.
    Sleep,
    /// The end of a child; see [`super::calls`].
    Exec,
    /// It runs.
    Running,
    /// It is over.
    Done,
}

/// Who can end a wait of [`Wait::Park`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Parked {
    /// Something from outside of the program too: mail, a timer.
    Open,
    /// Only another task, by sending to a channel.
    Receive,
    /// Only another task, by receiving from a channel.
    Send,
    /// Only another task, in one of several ways.
    Select,
}

impl Wait {
    /// Whether only another task can end it.
    pub(crate) fn is_private(self) -> bool {
        matches!(self, Wait::Park(Parked::Receive | Parked::Send | Parked::Select))
    }
}

impl Task {
    pub(crate) fn new(thread: State) -> Task {
        Task {
            thread,
            broken: SmallVec::new(),
            wait: Wait::Ready { values: 0 },
            turn: 0,
            timer: None,
            skip: false,
            anchor: 0,
        }
    }

    /// The thread that runs, or ran when the task was suspended.
    pub(crate) fn innermost(&self) -> State {
        self.broken.first().copied().unwrap_or(self.thread)
    }
}

/// All tasks but the main one, and the order in which tasks are run.
#[derive(Default)]
pub(crate) struct Tasks {
    spawned: Vec<Option<Spawned>>,
    /// Numbers to be used again, and the turns to go on from: what was set up for the last task of a number is not taken
    /// for the next one's.
    free: Vec<(TaskId, u32)>,
    pub(crate) ready: VecDeque<TaskId>,
    pub(crate) living: u32,
    /// Those whose wait only another task can end.
    pub(crate) private: u32,
    /// The task that runs.
    pub(crate) current: TaskId,
    /// The calls that the last one was spawned by: a loop that spawns many has them once.
    birth: Option<Rc<str>>,
}

struct Spawned {
    task: Task,
    /// The calls that it was spawned by.
    birth: Rc<str>,
}

impl Tasks {
    /// Adds a ready task whose thread is kept by `anchor`, spawned by the given calls.
    pub(crate) fn add(&mut self, thread: State, anchor: c_int, values: i32, birth: String) {
        let mut task = Task { anchor, wait: Wait::Ready { values }, ..Task::new(thread) };
        let birth = match &self.birth {
            Some(last) if **last == *birth => last.clone(),
            _ => self.birth.insert(birth.into()).clone(),
        };
        let id = match self.free.pop() {
            Some((id, turn)) => {
                task.turn = turn;
                id
            }
            None => {
                self.spawned.push(None);
                self.spawned.len() as TaskId
            }
        };
        self.spawned[id as usize - 1] = Some(Spawned { task, birth });
        self.living += 1;
        self.ready.push_back(id);
    }

    pub(crate) fn get(&mut self, id: TaskId) -> Option<&mut Task> {
        Some(&mut self.spawned.get_mut((id as usize).checked_sub(1)?)?.as_mut()?.task)
    }

    /// The calls that a task was spawned by.
    pub(crate) fn birth(&self, id: TaskId) -> Option<&str> {
        Some(&self.spawned.get((id as usize).checked_sub(1)?)?.as_ref()?.birth)
    }

    /// All that live, with their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        let numbered = (1..).zip(&self.spawned);
        numbered.filter_map(|(id, spawned)| Some((id, &spawned.as_ref()?.task)))
    }

    /// Removes a task that is over.
    pub(crate) fn remove(&mut self, id: TaskId, main: State) {
        if let Some(spawned) = self.spawned.get_mut(id as usize - 1).and_then(Option::take) {
            main.release(spawned.task.anchor);
            // One more: the last wait may have been prepared and not begun.
            self.free.push((id, spawned.task.turn.wrapping_add(1)));
            self.living -= 1;
        }
    }

    pub(crate) fn release(self, main: State) {
        for spawned in self.spawned.into_iter().flatten() {
            main.release(spawned.task.anchor);
        }
    }
}
