//! What a shard counts of its connections and its turns.
//!
//! Everything here is written by the shard's own thread with plain adds ([`units::figures`]) and read by whoever wants
//! to know. What happens once for each connection or request is counted by service instead, in [`crate::server::tally`].

use crate::websocket::codec::{Opcode, take_fragments};
use units::figures::{Count, Histogram, Peak};

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const S: u64 = 1_000 * MS;

/// Bounds of what a client or a handler takes: half a millisecond to half a minute.
pub const ANSWERS: [u64; 15] = [
    500 * US,
    MS,
    2_500 * US,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    S,
    2_500 * MS,
    5 * S,
    10 * S,
    30 * S,
];
/// Bounds of how long connections last: a tenth of a second to a day.
pub const LIVES: [u64; 10] =
    [100 * MS, S, 10 * S, 60 * S, 300 * S, 900 * S, 3_600 * S, 4 * 3_600 * S, 12 * 3_600 * S, 24 * 3_600 * S];
/// Bounds of a shard's turns: fifty microseconds to a second.
pub const TURNS: [u64; 13] =
    [50 * US, 100 * US, 250 * US, 500 * US, MS, 2_500 * US, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, S];

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Of a text message.
    Text,
    /// Of a binary message.
    Binary,
    /// Close, Ping or Pong.
    Control,
}

impl Kind {
    /// Each with its name in metrics.
    pub const ALL: [(Kind, &'static str); 3] =
        [(Kind::Text, "text"), (Kind::Binary, "binary"), (Kind::Control, "control")];

    pub(crate) fn of(opcode: Opcode) -> Kind {
        match opcode {
            Opcode::Text => Kind::Text,
            Opcode::Binary | Opcode::Continuation => Kind::Binary,
            Opcode::Close | Opcode::Ping | Opcode::Pong => Kind::Control,
        }
    }
}

/// Frames of one direction.
#[derive(Debug, Default)]
pub struct Flow {
    frames: [Count; Kind::ALL.len()],
    bytes: [Count; Kind::ALL.len()],
}

impl Flow {
    /// Counts frames, and the bytes of their payloads.
    pub(crate) fn count(&self, kind: Kind, frames: u64, bytes: usize) {
        self.frames[kind as usize].add(frames);
        self.bytes[kind as usize].add(bytes as u64);
    }

    /// Frames of a kind, and the bytes of their payloads.
    pub fn read(&self, kind: Kind) -> (u64, u64) {
        (self.frames[kind as usize].get(), self.bytes[kind as usize].get())
    }
}

/// What compression makes of messages.
#[derive(Debug, Default)]
pub struct Ratio {
    /// Bytes of the messages as programs see them.
    pub plain: Count,
    /// Bytes of the same as they are on the connection.
    pub compressed: Count,
}

impl Ratio {
    pub(crate) fn count(&self, plain: usize, compressed: usize) {
        self.plain.add(plain as u64);
        self.compressed.add(compressed as u64);
    }
}

/// The close codes as metrics know them: those that the RFC names one by one, all others in ranges, so that no client
/// makes labels.
pub const CODES: [&str; 19] = [
    "1000",
    "1001",
    "1002",
    "1003",
    "1004",
    "1005",
    "1006",
    "1007",
    "1008",
    "1009",
    "1010",
    "1011",
    "1012",
    "1013",
    "1014",
    "1015",
    "3000-3999",
    "4000-4999",
    "other",
];

/// The place of a close code in [`CODES`].
fn code_place(code: u16) -> usize {
    match code {
        1000..=1015 => usize::from(code - 1000),
        3000..=3999 => 16,
        4000..=4999 => 17,
        _ => 18,
    }
}

/// Everything that `cause` of `ws.leave` can be when a connection ends.
pub const CAUSES: [&str; 8] = ["client", "lost", "idle", "protocol", "too_big", "slow", "shutdown", "server"];

/// See the module's text.
#[derive(Debug)]
pub struct Figures {
    /// Frames from clients. A message's fragments are frames of its kind.
    pub received: Flow,
    /// Frames to clients, counted when the system has taken them.
    pub sent: Flow,
    /// Messages from clients that were compressed.
    pub inflated: Ratio,
    /// Messages to clients that were compressed.
    pub deflated: Ratio,
    /// Messages from clients, by kind.
    pub messages: [Count; 2],
    /// Data frames that the policies `drop_oldest` and `drop_newest` gave up.
    pub dropped: [Count; 2],
    /// Connections that are not read: their target, their rate or their queue has to catch up.
    pub paused: Count,
    /// Connections whose sockets take no more.
    pub blocked: Count,
    /// Bytes that waited for one client that took no more, at most, lately; what all hold is counted by
    /// [`crate::websocket::ceiling`].
    pub longest_queue: Peak,
    /// Connections that a `ws.control` has given to another target, and those that it could not.
    pub transfers: [Count; 2],
    /// Heartbeats to targets.
    pub heartbeats: Count,
    /// Pings to clients.
    pub pings: Count,
    /// From a Ping to the Pong that answers it, in nanoseconds.
    pub round_trips: Histogram<15>,
    /// How long connections lasted, in nanoseconds.
    pub lives: Histogram<10>,
    codes: [Count; CODES.len()],
    causes: [Count; CAUSES.len()],
    /// What a turn took, with the tasks that ran before the next one could begin; in nanoseconds.
    pub turns: Histogram<13>,
    /// The longest of them lately.
    pub longest_turn: Peak,
    /// How much later than it was due a sleeping shard looked at a timer, at most, lately.
    pub lag: Peak,
    /// What the collector of the shard's VMs took, in nanoseconds of computing, and its cycles.
    pub collector: (Count, Count),
    /// What it took at most after one slice, lately.
    pub longest_collection: Peak,
    /// Bytes of the VMs' heaps.
    pub heap: Count,
}

impl Default for Figures {
    fn default() -> Figures {
        Figures {
            received: Flow::default(),
            sent: Flow::default(),
            inflated: Ratio::default(),
            deflated: Ratio::default(),
            messages: Default::default(),
            dropped: Default::default(),
            paused: Count::new(),
            blocked: Count::new(),
            longest_queue: Peak::new(),
            transfers: Default::default(),
            heartbeats: Count::new(),
            pings: Count::new(),
            round_trips: Histogram::new(&ANSWERS),
            lives: Histogram::new(&LIVES),
            codes: Default::default(),
            causes: Default::default(),
            turns: Histogram::new(&TURNS),
            longest_turn: Peak::new(),
            lag: Peak::new(),
            collector: Default::default(),
            longest_collection: Peak::new(),
            heap: Count::new(),
        }
    }
}

impl Figures {
    /// A connection ended.
    pub(crate) fn ended(&self, cause: &str, code: u16, after: u64) {
        self.codes[code_place(code)].add(1);
        if let Some(place) = CAUSES.iter().position(|known| *known == cause) {
            self.causes[place].add(1);
        }
        self.lives.observe(after);
    }

    /// Counts the fragments that the decoders of this thread have found.
    pub(crate) fn count_fragments(&self) {
        let [text, binary] = take_fragments();
        if text | binary > 0 {
            self.received.count(Kind::Text, u64::from(text), 0);
            self.received.count(Kind::Binary, u64::from(binary), 0);
        }
    }

    /// A turn has taken so many nanoseconds until now.
    pub(crate) fn turned(&self, now: u64, took: u64) {
        self.count_fragments();
        self.turns.observe(took);
        self.longest_turn.note(now, took);
        let luau::Collected { cycles, time, worst, heap } = luau::collected();
        let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.collector.0.set(nanoseconds(time));
        self.collector.1.set(cycles);
        self.longest_collection.note(now, nanoseconds(worst));
        self.heap.set(heap);
    }

    /// Ends by close code.
    pub fn codes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CODES.iter().zip(&self.codes).map(|(code, count)| (*code, count.get()))
    }

    /// Ends by cause.
    pub fn causes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CAUSES.iter().zip(&self.causes).map(|(cause, count)| (*cause, count.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn whatever_code_a_client_sends_there_are_nineteen_labels() {
        let labels: BTreeSet<&str> = (0..=u16::MAX).map(|code| CODES[code_place(code)]).collect();
        assert_eq!(labels.len(), CODES.len());
        let place = |code| CODES[code_place(code)];
        assert_eq!([place(1000), place(1015), place(1016), place(999)], ["1000", "1015", "other", "other"]);
        assert_eq!([place(2999), place(3000), place(3999)], ["other", "3000-3999", "3000-3999"]);
        assert_eq!([place(4000), place(4999), place(5000)], ["4000-4999", "4000-4999", "other"]);
    }
}
