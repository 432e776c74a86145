//! What a shard needs to run Luau: it makes processes of seeds and keeps their pods.

use crate::call::Native;
use crate::live::{Here, Live};
use crate::program::{Program, SliceTimer};
use crate::registry::EntryIndex;
use crate::supervised::SupervisedSeed;
use crate::vm::Pod;
use crate::vm::pod::{PROCESSES, interrupt};
use crate::vm::watchdog::Watched;
use kernel::supervisor::Reporting;
use kernel::{Cx, Error, Exit, Factory, Kind, Pid, Process, Term, Time};
use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

/// A Luau process to be: what `kernel::process::Body::Seed` is made of.
pub struct Seed {
    /// Its code.
    pub entry: EntryIndex,
    /// The arguments of its function.
    pub args: Vec<Term>,
    /// Values that it hands on to all processes that it begins, as a table; see the module `ctx`.
    pub context: Option<Term>,
    /// What it keeps for a native module.
    pub extension: Option<Box<dyn Extension>>,
}

/// What a native module keeps in a process, such as the request that it answers.
pub trait Extension: Any + Send {
    /// The process has ended, however it did. The last call; `cx` acts as the dead process.
    fn finished(self: Box<Self>, exit: &Exit, cx: &mut Cx<'_>);

    /// The same, to be recognised by its type.
    fn as_any(&mut self) -> &mut dyn Any;
}

/// A module for `require`, in two halves.
#[derive(Clone, Copy)]
pub struct NativeModule {
    /// The name that `require` knows it by.
    pub name: &'static str,
    /// Its functions in Rust.
    pub functions: &'static [(&'static str, Native)],
    /// Its part in Luau: a chunk that gets a table of the functions and returns the module.
    pub source: &'static str,
}

/// The Luau side of one shard.
pub struct Runtime {
    code: Rc<Here>,
    modules: Vec<NativeModule>,
    timer: Rc<SliceTimer>,
    pods: Vec<Rc<Pod>>,
}

impl Runtime {
    /// A runtime without any VM yet. `code` is what the whole node shares; `modules` are those beside the built-in ones; `epoch` is the Unix time in seconds
    /// at the node's time 0, `clock` the node's time now.
    pub fn new(code: impl Into<Live>, modules: Vec<NativeModule>, epoch: f64, clock: Box<dyn Fn() -> Time>) -> Runtime {
        let timer = Rc::new(SliceTimer { watched: Watched::new(interrupt), epoch, clock, seed: Cell::new(None) });
        let code = Rc::new(Here::new(code.into()));
        Runtime { code, modules, timer, pods: Vec::new() }
    }

    /// For tests: each run of the node has the same random numbers.
    pub fn repeatable(self) -> Runtime {
        self.timer.seed.set(Some(1));
        self
    }

    /// A pod with room for a process.
    fn pod(&mut self) -> Result<Rc<Pod>, String> {
        self.pods.retain(|pod| !pod.poisoned.get() || pod.living.get() > 0);
        let room = |pod: &&Rc<Pod>| pod.living.get() < PROCESSES && !pod.poisoned.get();
        if let Some(pod) = self.pods.iter().rev().find(room) {
            return Ok(pod.clone());
        }
        let pod = Pod::new(self.code.clone(), &self.modules)?;
        self.pods.push(pod.clone());
        Ok(pod)
    }
}

impl Factory for Runtime {
    fn create(&mut self, seed: Box<dyn Any + Send>, pid: Pid) -> Result<Box<dyn Process>, Error> {
        let seed = match seed.downcast::<SupervisedSeed>() {
            Ok(child) => {
                let SupervisedSeed { seed, supervisor } = *child;
                return Ok(Box::new(Reporting::new(self.create(Box::new(seed), pid)?, supervisor)));
            }
            Err(other) => other,
        };
        let seed = seed.downcast::<Seed>().map_err(|_| Error::new(Kind::Internal, "a seed that is not Luau's"))?;
        let code = self.code.current();
        // It was found in a version that is not the current one any more.
        if code.try_get(seed.entry).is_none() {
            return Err(Error::new(Kind::NotFound, "the entry of the process is gone"));
        }
        let pod = self.pod().map_err(|text| Error::new(Kind::Unavailable, text))?;
        Ok(Box::new(Program::new(pod, code, self.timer.clone(), pid, *seed)))
    }
}
