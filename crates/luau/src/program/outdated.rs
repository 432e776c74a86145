//! OUTDATED: a running program learns that code which it uses has a newer version.
//!
//! Nothing is queued but the wish to tell it: what has changed is found out when the program receives the event, so
//! several versions make one event, and none is lost.

use super::Program;
use crate::registry::Role;
use crate::state::State;

impl Program {
    /// The ids of the entries that it uses and that have changed since it was told last. A function has none: it
    /// finishes what it began.
    pub(super) fn news(&self) -> impl Iterator<Item = Box<str>> {
        let current = self.pod.code.current();
        let told = self.told;
        let stays = current.number == told || self.version.get(self.entry).role == Role::Function;
        let used = if stays { Vec::new() } else { self.version.used_by(self.entry) };
        used.into_iter().filter_map(move |index| {
            let entry = current.try_get(index)?;
            (entry.since > told).then(|| entry.id.clone())
        })
    }

    /// Pushes `kind, sources`, and from now on only what changes later is news.
    pub(super) fn push_outdated(&mut self, thread: State) -> i32 {
        let changed: Vec<Box<str>> = self.news().collect();
        self.told = self.pod.code.current().number;
        self.outdated_waits = false;
        thread.push_string(b"pid.outdated");
        thread.push_table(changed.len() as i32, 0);
        for (id, position) in changed.iter().zip(1..) {
            thread.push_string(id.as_bytes());
            thread.raw_set_index(-2, position);
        }
        2
    }
}
