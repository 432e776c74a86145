//! A set of PIDs that has one member or none for nearly every process, and many for a few.

use crate::pid::Pid;
use rustc_hash::FxHashSet;

/// Beyond so many members a set is hashed.
const FEW: usize = 8;

/// As large as a PID: a connection is two processes, and what each keeps of the other is in here.
#[derive(Debug)]
pub(crate) enum PidSet {
    One(Pid),
    /// Nobody, or several.
    Others(Option<Box<Others>>),
}

#[derive(Debug)]
pub(crate) enum Others {
    Few(Vec<Pid>),
    Many(FxHashSet<Pid>),
}

impl Default for PidSet {
    fn default() -> PidSet {
        PidSet::Others(None)
    }
}

impl PidSet {
    /// Whether it is new.
    pub(crate) fn insert(&mut self, pid: Pid) -> bool {
        match self {
            PidSet::One(member) if *member == pid => false,
            PidSet::One(member) => {
                *self = PidSet::Others(Some(Box::new(Others::Few(vec![*member, pid]))));
                true
            }
            PidSet::Others(None) => {
                *self = PidSet::One(pid);
                true
            }
            PidSet::Others(Some(others)) => others.insert(pid),
        }
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, pid: Pid) -> bool {
        let was = match self {
            PidSet::One(member) => *member == pid,
            PidSet::Others(None) => false,
            PidSet::Others(Some(others)) => {
                let was = others.remove(pid);
                if others.len() > 0 {
                    return was;
                }
                was
            }
        };
        if was {
            *self = PidSet::default();
        }
        was
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            PidSet::One(_) => 1,
            PidSet::Others(others) => others.as_ref().map_or(0, |others| others.len()),
        }
    }

    /// All members, smallest first: the order does not depend on a hash, so a run can be replayed.
    pub(crate) fn into_sorted(self) -> Vec<Pid> {
        let mut all: Vec<Pid> = match self {
            PidSet::One(member) => vec![member],
            PidSet::Others(None) => Vec::new(),
            PidSet::Others(Some(others)) => match *others {
                Others::Few(list) => list,
                Others::Many(set) => set.into_iter().collect(),
            },
        };
        all.sort_unstable();
        all
    }
}

impl Others {
    fn insert(&mut self, pid: Pid) -> bool {
        match self {
            Others::Few(list) if list.contains(&pid) => false,
            Others::Few(list) if list.len() < FEW => {
                list.push(pid);
                true
            }
            Others::Few(list) => {
                let mut set: FxHashSet<Pid> = list.drain(..).collect();
                set.insert(pid);
                *self = Others::Many(set);
                true
            }
            Others::Many(set) => set.insert(pid),
        }
    }

    fn remove(&mut self, pid: Pid) -> bool {
        match self {
            Others::Few(list) => match list.iter().position(|&member| member == pid) {
                Some(index) => {
                    list.remove(index);
                    true
                }
                None => false,
            },
            Others::Many(set) => set.remove(&pid),
        }
    }

    fn len(&self) -> usize {
        match self {
            Others::Few(list) => list.len(),
            Others::Many(set) => set.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostId;
    use std::collections::BTreeSet;

    #[test]
    fn a_set_has_its_members_however_many_they_are() {
        let pid = |slot: u32| Pid::new(1, HostId::SYSTEM, 0, slot, 1);
        let (mut set, mut model) = (PidSet::default(), BTreeSet::new());
        let mut seed = 88_172_645_463_325_252u64;
        for round in 0..2_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // Small for most rounds, and then large.
            let member = pid((seed % if round < 1_000 { 3 } else { 30 }) as u32);
            if seed >> 40 & 1 == 0 {
                assert_eq!(set.insert(member), model.insert(member));
            } else {
                assert_eq!(set.remove(member), model.remove(&member));
            }
            assert_eq!(set.len(), model.len());
        }
        assert_eq!(set.into_sorted(), model.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_set_is_as_small_as_its_only_member() {
        assert_eq!(size_of::<PidSet>(), size_of::<Pid>());
    }
}
