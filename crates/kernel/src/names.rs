//! Registered names: one table for the whole node, in sixteen locked parts.

use crate::pid::Pid;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use rustc_hash::{FxHashMap, FxHasher};
use smol_str::SmolStr;
use std::hash::{Hash, Hasher};

const PARTS: usize = 16;

/// Who holds which name. Any shard reads and writes it; a lock is held for one look-up.
#[derive(Default)]
pub(crate) struct Names {
    parts: [Mutex<FxHashMap<SmolStr, Pid>>; PARTS],
}

impl Names {
    fn part(&self, name: &str) -> MutexGuard<'_, FxHashMap<SmolStr, Pid>> {
        let mut hasher = FxHasher::default();
        name.hash(&mut hasher);
        let part = &self.parts[(hasher.finish() >> 48) as usize % PARTS];
        // No code that can panic runs under the lock, so a poisoned one is still whole.
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<Pid> {
        self.part(name).get(name).copied()
    }

    /// Takes the name for `pid`; the holder's PID if somebody has it.
    pub(crate) fn register(&self, name: &SmolStr, pid: Pid) -> Result<(), Pid> {
        let mut part = self.part(name);
        match part.get(name) {
            Some(&holder) => Err(holder),
            None => {
                part.insert(name.clone(), pid);
                Ok(())
            }
        }
    }

    /// Frees the name if `pid` holds it.
    pub(crate) fn release(&self, name: &str, pid: Pid) -> bool {
        let mut part = self.part(name);
        if part.get(name) == Some(&pid) {
            part.remove(name);
            return true;
        }
        false
    }

    /// Names that are held.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}
