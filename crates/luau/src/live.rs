//! The code of a node as it changes while the node runs.
//!
//! There is one current version. A new one takes its place for all shards at once: whatever is spawned from then on
//! runs it. A process keeps the version that it began with, for its coroutines and for what it requires later, until
//! it ends or upgrades. Versions share the entries that did not change, and nobody holds one that no process uses.

use crate::registry::{Entry, EntryIndex, Registry};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The code of a node, one for all its shards; a handle.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    current: Mutex<Arc<Registry>>,
    /// The number of the current version. Written with the lock held, read by every shard before it spawns.
    number: AtomicU64,
}

/// What a new version of the code changed, by ids.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Entries that have another text, method, modules, imports or kind.
    pub changed: Vec<Box<str>>,
    /// Entries that were not there.
    pub added: Vec<Box<str>>,
    /// Entries that are there no more. What runs of them goes on.
    pub removed: Vec<Box<str>>,
}

impl Changes {
    /// Whether the code is what it was.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.added.is_empty() && self.removed.is_empty()
    }
}

impl From<Arc<Registry>> for Live {
    fn from(first: Arc<Registry>) -> Live {
        let number = AtomicU64::new(first.number);
        Live(Arc::new(Shared { current: Mutex::new(first), number }))
    }
}

impl Live {
    /// The current version.
    pub fn current(&self) -> Arc<Registry> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts what was compiled in the place of the current version, for all shards at once. Nothing happens when it
    /// is the same. [`kernel::Node::outdate`] then tells the processes that run what has changed.
    pub fn publish(&self, fresh: Registry) -> Changes {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, changes) = fresh.following(&current);
        if !changes.is_empty() {
            self.0.number.store(next.number, Ordering::Release);
            *current = Arc::new(next);
        }
        changes
    }
}

/// A version as the programs of one shard share it.
pub(crate) type Version = Rc<Arc<Registry>>;

/// The current version as one shard knows it.
pub(crate) struct Here {
    live: Live,
    known: RefCell<Version>,
}

impl Here {
    pub(crate) fn new(live: Live) -> Here {
        let known = RefCell::new(Rc::new(live.current()));
        Here { live, known }
    }

    /// The current version: no lock while it is the one that was current before.
    pub(crate) fn current(&self) -> Version {
        let mut known = self.known.borrow_mut();
        if self.live.0.number.load(Ordering::Acquire) != known.number {
            *known = Rc::new(self.live.current());
        }
        known.clone()
    }
}

impl Registry {
    /// This as the version after `last`: entries keep their indices, and those that are the same are shared.
    fn following(self, last: &Registry) -> (Registry, Changes) {
        let mut changes = Changes::default();
        let mut next = Registry { number: last.number + 1, ..Registry::default() };
        next.by_id.clone_from(&last.by_id);
        let places: Vec<EntryIndex> = self
            .entries
            .iter()
            .flatten()
            .map(|entry| {
                let end = EntryIndex::new(next.by_id.len());
                *next.by_id.entry(entry.id.clone()).or_insert(end)
            })
            .collect();
        next.entries.resize_with(next.by_id.len(), || None);
        for (entry, &place) in self.entries.into_iter().flatten().zip(&places) {
            // Nobody else has an entry of a version that was never published.
            let Some(mut entry) = Arc::into_inner(entry) else { continue };
            entry.since = next.number;
            for (_, import) in &mut entry.imports {
                *import = places[import.index()];
            }
            let entry = match last.try_get(place) {
                Some(old) if entry.is_same(old) => old.clone(),
                Some(_) => {
                    changes.changed.push(entry.id.clone());
                    Arc::new(entry)
                }
                None => {
                    changes.added.push(entry.id.clone());
                    Arc::new(entry)
                }
            };
            next.by_chunk.insert(entry.chunk_name().into(), place);
            next.entries[place.index()] = Some(entry);
        }
        let gone = last.entries.iter().flatten().filter(|entry| next.find(&entry.id).is_none());
        changes.removed = gone.map(|entry| entry.id.clone()).collect();
        (next, changes)
    }

    /// An entry and all that it may load, directly or not; each once.
    pub(crate) fn used_by(&self, index: EntryIndex) -> Vec<EntryIndex> {
        let mut used = vec![index];
        let mut next = 0;
        while let Some(&index) = used.get(next) {
            next += 1;
            let Some(entry) = self.try_get(index) else { continue };
            for &(_, import) in &entry.imports {
                if !used.contains(&import) {
                    used.push(import);
                }
            }
        }
        used
    }
}

impl Entry {
    /// Whether what runs is the same.
    fn is_same(&self, other: &Entry) -> bool {
        self.role == other.role
            && self.chunk == other.chunk
            && self.bytecode == other.bytecode
            && self.method == other.method
            && self.modules == other.modules
            && self.imports == other.imports
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Role, Source};

    fn registry(list: &[(&str, &str, &[&str])]) -> Registry {
        let imports: Vec<Vec<(String, String)>> = list
            .iter()
            .map(|(_, _, imports)| imports.iter().map(|id| (id.replace("a:", ""), (*id).to_owned())).collect())
            .collect();
        let sources: Vec<Source<'_>> = list
            .iter()
            .zip(&imports)
            .map(|(&(id, text, _), imports)| Source {
                id,
                role: Role::Process,
                path: id,
                text,
                method: None,
                modules: &[],
                imports,
            })
            .collect();
        Registry::compile(&sources).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    fn ids(list: &[Box<str>]) -> Vec<&str> {
        list.iter().map(|id| &**id).collect()
    }

    #[test]
    fn a_version_shares_what_did_not_change_and_keeps_the_places_of_all() {
        let live = Live::from(Arc::new(registry(&[("a:x", "return 1", &["a:l"]), ("a:l", "return 2", &[])])));
        let first = live.current();
        let fresh = registry(&[("a:new", "return 0", &[]), ("a:l", "return 3", &[]), ("a:x", "return 1", &["a:l"])]);
        let changes = live.publish(fresh);
        assert_eq!((ids(&changes.changed), ids(&changes.added)), (vec!["a:l"], vec!["a:new"]));
        let second = live.current();
        for id in ["a:x", "a:l"] {
            assert_eq!(first.find(id), second.find(id), "{id}");
        }
        let [x, l] = ["a:x", "a:l"].map(|id| first.find(id).expect("an entry"));
        assert!(Arc::ptr_eq(first.try_get(x).expect("x"), second.try_get(x).expect("x")));
        assert_eq!(second.used_by(x), [x, l]);
        assert_eq!((second.get(x).since, second.get(l).since), (1, 2));
    }

    #[test]
    fn an_entry_that_is_gone_is_found_no_more_and_has_its_old_place_when_it_comes_back() {
        let both: &[(&str, &str, &[&str])] = &[("a:x", "return 1", &[]), ("a:y", "return 2", &[])];
        let live = Live::from(Arc::new(registry(both)));
        let place = live.current().find("a:y");
        assert_eq!(ids(&live.publish(registry(&both[..1])).removed), ["a:y"]);
        assert_eq!(live.current().find("a:y"), None);
        assert_eq!(ids(&live.publish(registry(both)).added), ["a:y"]);
        assert_eq!(live.current().find("a:y"), place);
    }

    #[test]
    fn an_entry_uses_what_its_libraries_import() {
        let all = registry(&[
            ("a:x", "", &["a:l", "a:m"]),
            ("a:y", "", &[]),
            ("a:l", "", &["a:m"]),
            ("a:m", "", &["a:n"]),
            ("a:n", "", &[]),
        ]);
        let used = all.used_by(EntryIndex::new(0));
        assert_eq!(used, ["a:x", "a:l", "a:m", "a:n"].map(|id| all.find(id).expect("an entry")));
    }

    #[test]
    fn the_same_code_is_no_new_version() {
        let list: &[(&str, &str, &[&str])] = &[("a:x", "return 1", &["a:y"]), ("a:y", "return 2", &[])];
        let live = Live::from(Arc::new(registry(list)));
        let comment: &[(&str, &str, &[&str])] = &[("a:x", "return 1 -- one", &["a:y"]), list[1]];
        for list in [list, comment] {
            assert!(live.publish(registry(list)).is_empty());
            assert_eq!(live.current().number, 1);
        }
    }

    #[test]
    fn a_version_that_nobody_uses_is_dropped() {
        let live = Live::from(Arc::new(registry(&[("a:x", "return 0", &[])])));
        let old = Arc::downgrade(&live.current());
        live.publish(registry(&[("a:x", "return 1", &[])]));
        assert!(old.upgrade().is_none());
    }
}
