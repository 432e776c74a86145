//! Large payloads that wait for several clients of a shard: their memory is counted once.
//!
//! Without this a picture for a thousand clients on slow lines would count as a thousand pictures, and the cap on what
//! all queues hold would end clients that are as fast as their lines.

use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

/// A smaller payload is counted for each client: it is not worth a look.
const LARGE: usize = 4 << 10;

/// The large payloads that queues of a shard share.
#[derive(Default)]
pub struct Payloads {
    known: RefCell<HashMap<(usize, usize), Weak<Share>>>,
    bytes: Cell<u64>,
}

/// A payload that is counted here, while a queue holds it. The queue holds the payload as well, so no other one can have
/// its address.
pub struct Share {
    payloads: Rc<Payloads>,
    key: (usize, usize),
}

impl Payloads {
    /// What all of them take.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Counts a payload that a queue is to hold, if it is large and others hold it as well.
    pub fn share(self: &Rc<Self>, payload: &Bytes) -> Option<Rc<Share>> {
        if payload.len() < LARGE || payload.is_unique() {
            return None;
        }
        let key = (payload.as_ptr() as usize, payload.len());
        let mut known = self.known.borrow_mut();
        if let Some(share) = known.get(&key).and_then(Weak::upgrade) {
            return Some(share);
        }
        let share = Rc::new(Share { payloads: self.clone(), key });
        known.insert(key, Rc::downgrade(&share));
        self.bytes.set(self.bytes.get() + payload.len() as u64);
        Some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.payloads.known.borrow_mut().remove(&self.key);
        self.payloads.bytes.set(self.payloads.bytes.get() - self.key.1 as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_payload_of_several_queues_is_counted_once_and_until_the_last_one_lets_go() {
        let payloads = Rc::new(Payloads::default());
        let payload = Bytes::from(vec![0; 100_000]);
        let other = payload.clone();
        let shares = [payloads.share(&payload), payloads.share(&other)].map(|share| share.expect("shared"));
        assert_eq!(payloads.bytes(), 100_000);
        let [first, second] = shares;
        drop(first);
        assert_eq!(payloads.bytes(), 100_000);
        drop(second);
        assert_eq!((payloads.bytes(), payloads.known.borrow().len()), (0, 0));
    }

    #[test]
    fn what_nobody_shares_or_is_small_is_counted_by_its_queue() {
        let payloads = Rc::new(Payloads::default());
        let small = Bytes::from(vec![0; 100]);
        let _other = small.clone();
        assert!(payloads.share(&small).is_none());
        assert!(payloads.share(&Bytes::from(vec![0; 100_000])).is_none());
    }
}
