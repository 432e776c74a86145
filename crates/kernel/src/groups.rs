//! Process groups: who is in which, and who wants to be told of it. One table for the whole node, in locked parts.
//!
//! A process is in a group once, however often it joined. Joins and leaves of a group have one order, that of its
//! lock, and its monitors are told in that order, whatever the shards do at the same time.
//!
//! Locks are taken in one order: the records of a shard's processes, the part of a group, the watch of a monitor.

use crate::limits;
use crate::pid::Pid;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use rustc_hash::{FxHashMap, FxHasher};
use smol_str::SmolStr;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

const PARTS: usize = 16;

/// Somebody joined or left a group that a process monitors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The group.
    pub group: SmolStr,
    /// Who joined or left.
    pub pid: Pid,
    /// Whether it joined.
    pub joined: bool,
}

/// All groups. Any shard reads and writes them.
pub(crate) struct Groups {
    parts: [Mutex<FxHashMap<SmolStr, Group>>; PARTS],
    /// By shard: what its processes have to do with groups. Only for those that do.
    records: Box<[Mutex<FxHashMap<Pid, Record>>]>,
}

/// A group that somebody is in or monitors; the others are not there.
#[derive(Default)]
struct Group {
    members: Vec<Pid>,
    /// Where in `members` each of them is.
    places: FxHashMap<Pid, usize>,
    /// Sorted, so that a run can be replayed.
    monitors: BTreeMap<Pid, Arc<Watch>>,
}

#[derive(Default)]
struct Record {
    joined: Vec<SmolStr>,
    monitored: Vec<SmolStr>,
    watch: Arc<Watch>,
}

/// What a process that monitors groups has not been told yet.
#[derive(Default)]
struct Watch(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    /// Whether mail that says so is on its way or unread.
    told: bool,
    /// In their order.
    changes: BTreeMap<u64, Change>,
    places: FxHashMap<(SmolStr, Pid), u64>,
    last: u64,
}

/// Why a process cannot join or monitor a group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GroupRefused {
    Dead,
    TooMany,
    MonitoredAlready,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under these locks, so a poisoned one is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Groups {
    pub(crate) fn new(shards: usize) -> Groups {
        Groups { parts: Default::default(), records: (0..shards).map(|_| Mutex::default()).collect() }
    }

    fn part(&self, group: &str) -> MutexGuard<'_, FxHashMap<SmolStr, Group>> {
        let mut hasher = FxHasher::default();
        group.hash(&mut hasher);
        lock(&self.parts[(hasher.finish() >> 48) as usize % PARTS])
    }

    /// Puts a process into a group, if `lives` says that it lives. Returns the monitors that are to get mail.
    pub(crate) fn join(
        &self,
        group: &SmolStr,
        pid: Pid,
        lives: impl FnOnce() -> bool,
    ) -> Result<Vec<Pid>, GroupRefused> {
        let mut records = lock(self.records.get(pid.shard()).ok_or(GroupRefused::Dead)?);
        // Under the lock: a process that ends after this look finds the group in its record.
        if !lives() {
            return Err(GroupRefused::Dead);
        }
        let record = records.entry(pid).or_default();
        if record.joined.contains(group) {
            return Ok(Vec::new());
        }
        if record.joined.len() >= limits::GROUPS_PER_PROCESS {
            return Err(GroupRefused::TooMany);
        }
        record.joined.push(group.clone());
        let mut part = self.part(group);
        let entry = part.entry(group.clone()).or_default();
        entry.places.insert(pid, entry.members.len());
        entry.members.push(pid);
        Ok(entry.tell(group, pid, true))
    }

    /// Takes a process out of a group: the monitors that are to get mail, or `None` if it was not in it.
    pub(crate) fn leave(&self, group: &str, pid: Pid) -> Option<Vec<Pid>> {
        let mut records = lock(self.records.get(pid.shard())?);
        let record = records.get_mut(&pid)?;
        let index = record.joined.iter().position(|joined| joined == group)?;
        let group = record.joined.swap_remove(index);
        Some(self.remove(&group, pid))
    }

    fn remove(&self, group: &SmolStr, pid: Pid) -> Vec<Pid> {
        let mut part = self.part(group);
        let Some(entry) = part.get_mut(group) else { return Vec::new() };
        if let Some(place) = entry.places.remove(&pid) {
            entry.members.swap_remove(place);
            if let Some(&moved) = entry.members.get(place) {
                entry.places.insert(moved, place);
            }
        }
        let told = entry.tell(group, pid, false);
        if entry.is_empty() {
            part.remove(group);
        }
        told
    }

    /// Who is in a group.
    pub(crate) fn members(&self, group: &str) -> Vec<Pid> {
        self.part(group).get(group).map_or_else(Vec::new, |entry| entry.members.clone())
    }

    /// From now on `pid` is told who joins and leaves; those who are members now.
    pub(crate) fn monitor(&self, group: &SmolStr, pid: Pid) -> Result<Vec<Pid>, GroupRefused> {
        let mut records = lock(self.records.get(pid.shard()).ok_or(GroupRefused::Dead)?);
        let record = records.entry(pid).or_default();
        if record.monitored.contains(group) {
            return Err(GroupRefused::MonitoredAlready);
        }
        if record.monitored.len() >= limits::GROUPS_PER_PROCESS {
            return Err(GroupRefused::TooMany);
        }
        record.monitored.push(group.clone());
        let mut part = self.part(group);
        let entry = part.entry(group.clone()).or_default();
        entry.monitors.insert(pid, record.watch.clone());
        Ok(entry.members.clone())
    }

    /// Ends a monitor, and what it has not told; whether there was one.
    pub(crate) fn unmonitor(&self, group: &str, pid: Pid) -> bool {
        let Some(records) = self.records.get(pid.shard()) else { return false };
        let mut records = lock(records);
        let Some(record) = records.get_mut(&pid) else { return false };
        let Some(index) = record.monitored.iter().position(|monitored| monitored == group) else { return false };
        let group = record.monitored.swap_remove(index);
        self.forget_monitor(&group, pid);
        record.watch.forget(&group);
        true
    }

    fn forget_monitor(&self, group: &SmolStr, pid: Pid) {
        let mut part = self.part(group);
        let Some(entry) = part.get_mut(group) else { return };
        entry.monitors.remove(&pid);
        if entry.is_empty() {
            part.remove(group);
        }
    }

    /// The next change that a process has not been told. After `None` the next one brings mail again.
    pub(crate) fn next_change(&self, pid: Pid) -> Option<Change> {
        let watch = lock(self.records.get(pid.shard())?).get(&pid)?.watch.clone();
        watch.next()
    }

    /// A process has ended: it is in no group and monitors none. Returns the monitors that are to get mail.
    pub(crate) fn end(&self, pid: Pid) -> Vec<Pid> {
        let record = self.records.get(pid.shard()).and_then(|records| lock(records).remove(&pid));
        let Some(record) = record else { return Vec::new() };
        for group in &record.monitored {
            self.forget_monitor(group, pid);
        }
        record.joined.iter().flat_map(|group| self.remove(group, pid)).collect()
    }

    /// How many groups have members or monitors, and how many members and monitors they have in all.
    pub(crate) fn len(&self) -> (usize, usize) {
        let of_part = |part: &Mutex<FxHashMap<SmolStr, Group>>| {
            let part = lock(part);
            (part.len(), part.values().map(|group| group.members.len() + group.monitors.len()).sum::<usize>())
        };
        self.parts.iter().map(of_part).fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }
}

impl Group {
    fn tell(&self, group: &SmolStr, pid: Pid, joined: bool) -> Vec<Pid> {
        let news = |(&monitor, watch): (&Pid, &Arc<Watch>)| watch.change(group, pid, joined).then_some(monitor);
        self.monitors.iter().filter_map(news).collect()
    }

    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.monitors.is_empty()
    }
}

impl Watch {
    /// Whether the monitor is to get mail. What it has not been told and what undoes it are nothing together, so
    /// what waits for a monitor that does not read is never more than who is in its groups and who was.
    fn change(&self, group: &SmolStr, pid: Pid, joined: bool) -> bool {
        let mut pending = lock(&self.0);
        let key = (group.clone(), pid);
        if let Some(place) = pending.places.remove(&key) {
            pending.changes.remove(&place);
            return false;
        }
        pending.last += 1;
        let place = pending.last;
        pending.places.insert(key, place);
        pending.changes.insert(place, Change { group: group.clone(), pid, joined });
        !std::mem::replace(&mut pending.told, true)
    }

    fn next(&self) -> Option<Change> {
        let mut pending = lock(&self.0);
        match pending.changes.pop_first() {
            Some((_, change)) => {
                pending.places.remove(&(change.group.clone(), change.pid));
                Some(change)
            }
            None => {
                pending.told = false;
                None
            }
        }
    }

    fn forget(&self, group: &SmolStr) {
        let mut pending = lock(&self.0);
        pending.changes.retain(|_, change| change.group != *group);
        pending.places.retain(|(of, _), _| of != group);
    }
}
