//! How signals get from one shard to another: pushed by all, taken by one, with at most one wake for each batch.

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};

/// The list of what came for one shard.
pub(crate) struct Inbox<T> {
    list: Mutex<Vec<T>>,
    /// Whether the list may hold something; set before the lock is let go, cleared by the shard under it.
    waiting: AtomicBool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Inbox<T> {
        Inbox { list: Mutex::new(Vec::new()), waiting: AtomicBool::new(false) }
    }
}

impl<T> Inbox<T> {
    /// The list, to append to; [`Inbox::filled`] is to be called before it is let go.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        // No code that can panic runs under the lock, so a poisoned one is still whole.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was appended: whether the shard has to be woken. If not, somebody else does it or it is awake.
    pub(crate) fn filled(&self) -> bool {
        !self.waiting.swap(true, Ordering::Release)
    }

    /// Appends in order; whether the shard has to be woken.
    pub(crate) fn push(&self, items: impl Iterator<Item = T>) -> bool {
        let mut list = self.lock();
        list.extend(items);
        self.filled()
    }

    /// Whether something may be there. Costs one read.
    pub(crate) fn has_some(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Swaps all that came with an empty list.
    pub(crate) fn take(&self, into: &mut Vec<T>) {
        let mut list = self.lock();
        self.waiting.store(false, Ordering::Release);
        std::mem::swap(&mut *list, into);
    }
}
