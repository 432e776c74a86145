//! A set of PIDs that is small for nearly every process and large for a few.

use crate::pid::Pid;
use rustc_hash::FxHashSet;
use smallvec::SmallVec;

/// Beyond so many members a set is hashed.
const FEW: usize = 8;

#[derive(Debug)]
pub(crate) enum PidSet {
    Few(SmallVec<[Pid; 2]>),
    Many(FxHashSet<Pid>),
}

impl Default for PidSet {
    fn default() -> PidSet {
        PidSet::Few(SmallVec::new())
    }
}

impl PidSet {
    /// Whether it is new.
    pub(crate) fn insert(&mut self, pid: Pid) -> bool {
        match self {
            PidSet::Few(list) if list.contains(&pid) => false,
            PidSet::Few(list) if list.len() < FEW => {
                list.push(pid);
                true
            }
            PidSet::Few(list) => {
                let mut set: FxHashSet<Pid> = list.drain(..).collect();
                set.insert(pid);
                *self = PidSet::Many(set);
                true
            }
            PidSet::Many(set) => set.insert(pid),
        }
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, pid: Pid) -> bool {
        match self {
            PidSet::Few(list) => match list.iter().position(|&member| member == pid) {
                Some(index) => {
                    list.remove(index);
                    true
                }
                None => false,
            },
            PidSet::Many(set) => {
                let was = set.remove(&pid);
                if set.is_empty() {
                    *self = PidSet::default();
                }
                was
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            PidSet::Few(list) => list.len(),
            PidSet::Many(set) => set.len(),
        }
    }

    /// All members, smallest first: the order does not depend on a hash, so a run can be replayed.
    pub(crate) fn into_sorted(self) -> Vec<Pid> {
        let mut all: Vec<Pid> = match self {
            PidSet::Few(list) => list.into_vec(),
            PidSet::Many(set) => set.into_iter().collect(),
        };
        all.sort_unstable();
        all
    }
}
