//! What the connections of a shard hold, and who of them goes when all of the node hold too much: a WebSocket, a body of
//! a request or an answer, whichever is the slowest.
//!
//! It is counted where a socket was just offered what waits for it, so a broadcast to healthy clients counts nowhere,
//! however big it is.

use super::super::ceiling::{Ceiling, Held, Rank, Turn};
use super::super::session::Agenda;
use super::{Connection, Sockets};
use crate::server::holds::{Hold, Holds};
use kernel::{Shard, Time};
use std::sync::Arc;
use std::time::Duration;

/// From one search for slow clients to the next one.
const SEARCH: Duration = Duration::from_millis(20);
/// From one line of the log about it to the next one.
const TELL: Duration = Duration::from_secs(10);

/// What a connection holds, while it holds something.
pub(super) struct Holding {
    bytes: u64,
    /// Since when.
    began: Time,
}

/// Who may have to go.
enum Who {
    /// The WebSocket of a token and a generation.
    Socket(u32, u32),
    /// What a request or an answer holds.
    Hold(Arc<Hold>),
}

/// A shard's side of the cap.
pub(super) struct Relief {
    ceiling: Arc<Ceiling>,
    shard: usize,
    holds: Arc<Holds>,
    published: Held,
    /// Clients that may have to go, the slowest last, with what they hold.
    slow: Vec<(Rank, u64, Who)>,
    /// When they were searched for.
    searched: Option<Time>,
    told: Option<Time>,
    /// Closed since the log was told.
    untold: u64,
}

impl Relief {
    pub(super) fn new(holds: Arc<Holds>) -> Relief {
        let (ceiling, shard) = (holds.ceiling().clone(), holds.shard());
        let (published, slow) = (Held::default(), Vec::new());
        Relief { ceiling, shard, holds, published, slow, searched: None, told: None, untold: 0 }
    }
}

/// Counts what a connection holds now: `held` bytes.
pub(super) fn account(holding: &mut Option<Box<Holding>>, held: usize, agenda: &Agenda, now: Time) {
    let held = held as u64;
    let before = holding.as_ref().map_or(0, |holding| holding.bytes);
    if held == before {
        return;
    }
    agenda.held.set(agenda.held.get() + held - before);
    match holding {
        _ if held == 0 => *holding = None,
        Some(holding) => holding.bytes = held,
        none => *none = Some(Box::new(Holding { bytes: held, began: now })),
    }
}

impl Connection {
    /// It holds nothing any more: it is closed.
    pub(super) fn forget(&mut self, agenda: &Agenda) {
        if let Some(holding) = self.holding.take() {
            agenda.held.set(agenda.held.get() - holding.bytes);
        }
    }

    /// How slow it is, and how much it holds.
    fn rank(&self) -> Option<(Rank, u64)> {
        let holding = self.holding.as_ref()?;
        let session = self.session.borrow();
        let since = if session.is_blocked() { session.progress() } else { holding.began };
        // What it shares with others counts here: it is as slow as it is.
        let bytes = holding.bytes.max(session.waiting() as u64);
        Some((Rank::of(since.0, bytes < Rank::LITTLE), bytes))
    }
}

impl Sockets {
    /// Publishes what the shard's connections hold. If all of the node hold too much, and the slowest client is one of
    /// these, it is closed, and the next one, until there is room.
    pub fn relieve(&mut self, shard: &mut Shard) {
        if !self.publish() {
            // A search costs as much as there are connections, and there was none in vain.
            self.relief.searched = None;
            self.relief.slow = Vec::new();
            return;
        }
        loop {
            let slowest = self.slowest(shard.now());
            match self.relief.ceiling.turn_of(self.relief.shard, slowest) {
                Turn::Over => break,
                Turn::Of(other) => {
                    shard.node().wake(other);
                    break;
                }
                Turn::Mine => {
                    let Some((.., who)) = self.relief.slow.pop() else { break };
                    self.evict(shard, who);
                    self.publish();
                }
            }
        }
        self.tell(shard.now());
    }

    /// When the shard has to look again although nothing comes, while there is too much.
    pub(super) fn relief_due(&self) -> Option<Time> {
        let holds = self.agenda.held.get() > 0 || !self.relief.holds.is_empty();
        let searched = self.relief.searched.filter(|_| holds)?;
        Some(searched.after(SEARCH))
    }

    /// Whether there is too much.
    fn publish(&mut self) -> bool {
        let bytes = self.agenda.held.get() + self.agenda.payloads.bytes();
        let held = Held { bytes, evicted: self.agenda.evicted.get() };
        if held == self.relief.published {
            // What HTTP holds may be another amount by now.
            return self.relief.ceiling.judge();
        }
        self.relief.published = held;
        self.relief.ceiling.publish(self.relief.shard, held)
    }

    /// The slowest client of this shard, which stays the last of the list.
    fn slowest(&mut self, now: Time) -> Option<Rank> {
        loop {
            while let Some((rank, bytes, who)) = self.relief.slow.last() {
                let (rank, bytes) = (*rank, *bytes);
                if self.rank_of(who) == Some((rank, bytes)) {
                    return Some(rank);
                }
                // Gone, or not so slow.
                self.relief.slow.pop();
            }
            if self.relief.searched.is_some_and(|searched| now < searched.after(SEARCH)) {
                return None;
            }
            self.relief.searched = Some(now);
            self.relief.slow = self.candidates();
            if self.relief.slow.is_empty() {
                return None;
            }
            self.relief.slow.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        }
    }

    fn candidates(&self) -> Vec<(Rank, u64, Who)> {
        let sockets = self.slots.iter().enumerate().filter_map(|(token, slot)| {
            let (rank, bytes) = slot.connection.as_ref()?.rank()?;
            Some((rank, bytes, Who::Socket(token as u32, slot.generation)))
        });
        let holds = self.relief.holds.all();
        let holds = holds.into_iter().filter_map(|hold| {
            let (rank, bytes) = hold.rank()?;
            Some((rank, bytes, Who::Hold(hold)))
        });
        sockets.chain(holds).collect()
    }

    fn rank_of(&self, who: &Who) -> Option<(Rank, u64)> {
        match who {
            Who::Socket(token, generation) => {
                let slot = self.slots.get(*token as usize).filter(|slot| slot.generation == *generation)?;
                slot.connection.as_ref()?.rank()
            }
            Who::Hold(hold) => hold.rank(),
        }
    }

    /// Closes a client with 1013, or cuts one that was told to go already, or that speaks HTTP.
    fn evict(&mut self, shard: &mut Shard, who: Who) {
        self.relief.untold += 1;
        let (token, generation) = match who {
            Who::Socket(token, generation) => (token, generation),
            Who::Hold(hold) => return hold.cut(),
        };
        let Some(connection) = self.connection(token, generation) else { return };
        let (pid, session) = (connection.pid, connection.session.clone());
        match shard.enter(pid, |cx| (session.borrow_mut().on_evicted(cx), ())) {
            Some(()) => self.service(shard, token, false),
            None => self.close(token, shard.now()),
        }
    }

    /// One line for all that were closed.
    fn tell(&mut self, now: Time) {
        let relief = &mut self.relief;
        if relief.untold == 0 || relief.told.is_some_and(|told| now < told.after(TELL)) {
            return;
        }
        relief.told = Some(now);
        let closed = std::mem::take(&mut relief.untold);
        let (limit, held) = (relief.ceiling.limit(), relief.ceiling.held().bytes);
        let fault = "the queues of all connections hold more than --max-queued";
        tracing::warn!(shard = relief.shard, closed, held, limit, fault, "the slowest clients were closed");
    }
}
