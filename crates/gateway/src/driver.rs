//! Drives one shard: turns of sockets, processes and tokio's tasks, and rest between them.
//!
//! One turn: what other shards sent and timers, then the sockets that can be read, a few at a time with the processes
//! that they wake and the answers of those, then the processes that are ready, for about two milliseconds, then
//! everything that is for other shards, then every socket that has something to say.
//! Then tokio runs its tasks, which serve HTTP and reach the shard through [`Local::with`]. Nothing is borrowed across
//! an await, and a shard without work sleeps until a timer, another shard, a task or a socket wakes it.

mod gate;
#[cfg(test)]
mod tests;

use self::gate::Gate;
use crate::figures::Figures;
use crate::server::holds::Holds;
use crate::websocket::ceiling::Ceiling;
use crate::websocket::socket::Sockets;
use kernel::{Shard, Time};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Sockets are written at least so often while processes run.
const SLICE: Duration = Duration::from_millis(2);
/// Processes that run between two looks at the clock.
const BATCH: usize = 64;

/// The shard of this thread, as the tasks on the same thread see it.
pub struct Local {
    state: RefCell<State>,
    index: usize,
    epoch: Instant,
    wake: Arc<Notify>,
    holds: Arc<Holds>,
    gate: Gate,
    figures: Arc<Figures>,
}

struct State {
    shard: Shard,
    sockets: Sockets,
}

struct Fd(RawFd);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Local {
    /// Takes over shard number `index`. `epoch` is the zero of the node's time, and `ceiling` caps what its queues hold:
    /// the same for all shards.
    pub fn new(shard: Shard, index: usize, epoch: impl Into<Instant>, ceiling: Arc<Ceiling>) -> io::Result<Rc<Local>> {
        let epoch = epoch.into();
        let wake = Arc::new(Notify::new());
        let waker = wake.clone();
        let node = shard.node().clone();
        node.set_waker(index, Box::new(move || waker.notify_one()));
        let holds = Holds::new(ceiling, index, epoch, move |other| node.wake(other));
        let sockets = Sockets::new(holds.clone())?;
        let figures = sockets.figures().clone();
        let state = RefCell::new(State { shard, sockets });
        let gate = Gate::new(wake.clone());
        Ok(Rc::new(Local { state, index, epoch, wake, holds, gate, figures }))
    }

    /// The shard's number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The cap on what the queues of all shards hold.
    pub fn ceiling(&self) -> &Arc<Ceiling> {
        self.holds.ceiling()
    }

    /// What the requests and answers of this shard hold.
    pub(crate) fn holds(&self) -> &Arc<Holds> {
        &self.holds
    }

    /// What takes the shard long passes here.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What the shard counts. Its times are of the same zero as the node's.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Acts on the shard and its sockets, at the present time. What it made ready runs in the next turn.
    ///
    /// Not to be called from within itself.
    pub fn with<R>(&self, act: impl FnOnce(&mut Shard, &mut Sockets) -> R) -> R {
        let state = &mut *self.state.borrow_mut();
        state.shard.begin(self.now());
        let result = act(&mut state.shard, &mut state.sockets);
        self.wake.notify_one();
        result
    }

    /// Runs the shard. Never returns unless its epoll is broken; drop it to stop.
    pub async fn run(&self) -> io::Result<()> {
        let fd = Fd(self.state.borrow().sockets.raw_fd());
        // SAFETY: the epoll is `self.state`'s, which is borrowed by this future and so outlives the registration; it is
        // never closed or replaced before.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        let zero = self.epoch.into_std();
        let mut began = std::time::Instant::now();
        loop {
            let rest = self.turn(|| began.elapsed() < SLICE)?;
            if let Rest::None = rest {
                tokio::task::yield_now().await;
            }
            let ended = std::time::Instant::now();
            self.figures.turned(nanoseconds(ended - zero), nanoseconds(ended - began));
            began = ended;
            if let Rest::Until(due) = rest {
                self.rest(Some(&fd), due).await?;
                began = std::time::Instant::now();
                let now = self.now();
                if let Some(due) = due.filter(|due| *due <= now) {
                    self.figures.lag.note(now.0, now.0 - due.0);
                }
            }
        }
    }

    /// Runs the shard by tokio's clock alone, for tests that pause it: turns are cut by the number of processes, not by
    /// the time that these take, and sockets are looked at in every turn, not when the system says so. Time stands
    /// still while a process is ready or `after` is true, which is called after each turn and moves the other ends of
    /// the sockets.
    pub async fn run_paused(&self, mut after: impl FnMut(&Local) -> bool) -> io::Result<()> {
        loop {
            let rest = self.turn(|| false)?;
            match (after(self), rest) {
                (false, Rest::Until(due)) => self.rest(None, due).await?,
                _ => tokio::task::yield_now().await,
            }
        }
    }

    fn turn(&self, mut goes_on: impl FnMut() -> bool) -> io::Result<Rest> {
        let State { shard, sockets } = &mut *self.state.borrow_mut();
        self.gate.turn();
        shard.begin(self.now());
        sockets.expire(shard);
        sockets.look()?;
        while sockets.read_some(shard) {
            if goes_on() {
                shard.run(BATCH);
                sockets.write_few(shard);
            }
        }
        while shard.run(BATCH) && goes_on() {}
        sockets.flush(shard);
        self.holds.oblige();
        sockets.relieve(shard);
        shard.flush();
        // Who waits at the gate waits for turns.
        let more = sockets.has_more() || self.gate.has_waiting();
        if more || shard.has_ready() || sockets.has_work() || shard.node().has_signals(self.index) {
            return Ok(Rest::None);
        }
        Ok(Rest::Until(shard.next_due().into_iter().chain(sockets.next_due()).min()))
    }

    /// Waits for a socket, a signal, a task that used the shard, or `due`.
    async fn rest(&self, fd: Option<&AsyncFd<Fd>>, due: Option<Time>) -> io::Result<()> {
        let mut woken = pin!(self.wake.notified());
        let mut sleep = pin!(due.map(|due| sleep_until(self.epoch + Duration::from_nanos(due.0))));
        poll_fn(|cx| {
            if woken.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if sleep.as_mut().as_pin_mut().is_some_and(|sleep| sleep.poll(cx).is_ready()) {
                return Poll::Ready(Ok(()));
            }
            match fd.map(|fd| fd.poll_read_ready(cx)) {
                // Cleared before the next turn looks: what comes after that look is a new edge.
                Some(Poll::Ready(guard)) => Poll::Ready(guard.map(|mut guard| guard.clear_ready())),
                Some(Poll::Pending) | None => Poll::Pending,
            }
        })
        .await
    }

    fn now(&self) -> Time {
        Time(nanoseconds(self.epoch.elapsed()))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What follows a turn.
enum Rest {
    /// Another turn, once tokio's tasks had theirs.
    None,
    /// Sleep, until then at the latest.
    Until(Option<Time>),
}
