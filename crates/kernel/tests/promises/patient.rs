//! A sender that waits its turn at a full mailbox.

use crate::world::*;
use kernel::{Cx, Next, Pid, Process, Refused};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A sender like the session of a connection: it has messages to send and waits when the mailbox is full.
pub(crate) struct Patient {
    to: Pid,
    left: usize,
    waits: bool,
    /// It asks for room and then sends nothing.
    fickle: bool,
    /// Messages that it still has to send, for the test to see.
    pub(crate) seen_left: Arc<AtomicUsize>,
}

impl Patient {
    pub(crate) fn new(to: Pid, left: usize, fickle: bool) -> Patient {
        Patient { to, left, waits: false, fickle, seen_left: Arc::new(AtomicUsize::new(left)) }
    }

    #[allow(dead_code, reason = "only the simulation mixes them")]
    pub(crate) fn is_fickle(&self) -> bool {
        self.fickle
    }
}

impl Process for Patient {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        while let Some((mail, claim)) = cx.next_mail() {
            match Got::from(mail) {
                Got::Room(of) if of == self.to => self.waits = false,
                Got::Message(from, _) => cx.received(from, claim),
                _ => {}
            }
        }
        if self.fickle {
            if self.left > 0 {
                self.left = 0;
                cx.await_room(self.to);
            }
            return Next::Wait;
        }
        while self.left > 0 && !self.waits {
            match cx.send_credited(self.to, message(cx.pid(), "m")) {
                Ok(()) => self.left -= 1,
                Err((Refused::Full, _)) => {
                    self.waits = true;
                    cx.await_room(self.to);
                }
                Err((Refused::NotFound, _)) => self.left = 0,
            }
        }
        self.seen_left.store(self.left, Ordering::Relaxed);
        Next::Wait
    }
}
