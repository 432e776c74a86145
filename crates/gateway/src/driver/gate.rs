//! The gate before what takes a shard long: handshakes of TLS, a third of a millisecond to one each.
//!
//! Many of them at once must not keep the processes and sockets of their shard waiting, so in each turn they get
//! [`SHARE`] and no more; the others wait in the order in which they came, and no more than [`WAITING`] of them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What handshakes get of a turn; the last one that begins in it may take longer.
const SHARE: Duration = Duration::from_millis(2);
/// Those that wait for a turn.
const WAITING: usize = 2_048;

/// The gate of one shard.
pub(crate) struct Gate {
    /// Wakes the shard: who waits here waits for its turns.
    wake: Arc<Notify>,
    spent: Cell<Duration>,
    waiting: RefCell<VecDeque<Rc<Ticket>>>,
}

#[derive(Default)]
struct Ticket {
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

impl Gate {
    /// The gate of the shard that `wake` wakes.
    pub(crate) fn new(wake: Arc<Notify>) -> Gate {
        Gate { wake, spent: Cell::default(), waiting: RefCell::default() }
    }

    /// Does what takes long in a turn that has time for it.
    pub(crate) async fn pass<R>(&self, act: impl FnOnce() -> R) -> Result<R, Crowded> {
        if self.spent.get() >= SHARE || self.has_waiting() {
            let ticket = Rc::new(Ticket::default());
            {
                let mut waiting = self.waiting.borrow_mut();
                // Those that gave up in the meantime wait for nothing.
                if waiting.len() >= WAITING {
                    waiting.retain(|ticket| Rc::strong_count(ticket) > 1);
                }
                if waiting.len() >= WAITING {
                    return Err(Crowded);
                }
                waiting.push_back(ticket.clone());
            }
            self.wake.notify_one();
            let call = poll_fn(|cx| {
                if ticket.called.get() {
                    return Poll::Ready(());
                }
                *ticket.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            });
            call.await;
        }
        let began = Instant::now();
        let result = act();
        self.spent.set(self.spent.get() + began.elapsed());
        self.call();
        Ok(result)
    }

    /// A turn of the shard begins.
    pub(crate) fn turn(&self) {
        self.spent.set(Duration::ZERO);
        self.call();
    }

    /// Whether somebody waits for a turn.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Calls the next one, if there is time left.
    fn call(&self) {
        while self.spent.get() < SHARE {
            let Some(ticket) = self.waiting.borrow_mut().pop_front() else { return };
            if Rc::strong_count(&ticket) == 1 {
                continue;
            }
            ticket.called.set(true);
            let waker = ticket.waker.borrow_mut().take();
            return waker.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    /// Something that takes long.
    fn long() {
        let began = Instant::now();
        while began.elapsed() < SHARE {}
    }

    #[test]
    fn what_takes_long_is_done_once_a_turn_in_the_order_in_which_it_came() {
        let gate = Gate::new(Arc::default());
        let done = RefCell::new(Vec::new());
        let mut cx = Context::from_waker(Waker::noop());
        let pass = |number: usize| {
            let (gate, done) = (&gate, &done);
            Box::pin(async move {
                gate.pass(|| {
                    long();
                    done.borrow_mut().push(number);
                })
                .await
            })
        };
        let mut all: Vec<_> = (0..4).map(pass).collect();
        for turn in 1..=4 {
            all.retain_mut(|one| one.as_mut().poll(&mut cx).is_pending());
            assert_eq!(*done.borrow(), (0..turn).collect::<Vec<_>>());
            gate.turn();
        }
        assert!(!gate.has_waiting());
    }

    #[test]
    fn who_gives_up_keeps_nobody_waiting_and_takes_no_place() {
        let gate = Gate::new(Arc::default());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(gate.pass(long)).poll(&mut cx).is_ready());
        {
            let mut left: Vec<_> = (0..WAITING).map(|_| Box::pin(gate.pass(|| ()))).collect();
            assert!(left.iter_mut().all(|one| one.as_mut().poll(&mut cx).is_pending()));
            assert_eq!(pin!(gate.pass(|| ())).poll(&mut cx), Poll::Ready(Err(Crowded)));
        }
        let mut stays = pin!(gate.pass(|| ()));
        assert!(stays.as_mut().poll(&mut cx).is_pending());
        gate.turn();
        assert_eq!(stays.poll(&mut cx), Poll::Ready(Ok(())));
    }
}
