//! The cap on what the queues of all connections hold together, and who goes first when it is passed.
//!
//! Each shard counts what its connections hold in a plain number and publishes it once a turn ([`Ceiling::publish`]).
//! When the sum passes the cap an *episode* begins: each shard says for how long its slowest client has made no
//! progress, and the shard of the slowest of all closes that one ([`Ceiling::turn_of`]), until the sum is below nine
//! tenths of the cap. No shard stands still for another one: who is not in turn wakes who is, and goes on with its work.
//!
//! So the order is strict among the clients of one shard. Over all shards it is strict while there is room to wait for
//! who is in turn: an eighth of the cap. Beyond that each shard closes its own slowest, and all of them at once may close
//! one more each than it takes.
//!
//! What HTTP holds counts as well, and each of its [`Side`]s has a bound of its own, half of the cap:
//! [`crate::server::holds`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The cap unless something else is said: 512 MiB.
pub const MAX_QUEUED: u64 = 512 << 20;

/// How slow a client is: what is less goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u64);

/// One for all shards of a node.
#[derive(Debug)]
pub struct Ceiling {
    limit: u64,
    /// An episode is under way.
    over: AtomicBool,
    shards: Box<[Share]>,
}

/// One shard's part. Written by the shard, but for `slowest` when an episode begins; read by all.
#[derive(Debug, Default)]
struct Share {
    held: AtomicU64,
    slowest: AtomicU64,
    evicted: AtomicU64,
    sides: [SideShare; Side::ALL.len()],
}

/// What HTTP holds, by the side that sends it. All of a side together get half of the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Bodies of requests that are arriving, or that their handlers work on.
    Body,
    /// Answers that wait to be sent.
    Answer,
}

/// A shard's part of a side. Written by the shard, but for `wanted`; read by all.
#[derive(Debug, Default)]
struct SideShare {
    bytes: AtomicU64,
    cut: AtomicU64,
    /// Another shard had no room for so many bytes: those who make no progress here should go.
    wanted: AtomicU64,
}

/// What a shard has to do in an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Close its slowest client.
    Mine,
    /// Wake that shard: it is in turn.
    Of(usize),
    /// Nothing: there is room again, or nobody can be closed.
    Over,
}

/// What one shard has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes that connections hold: what they do not take, what is unfinished, what waits for their targets.
    pub bytes: u64,
    /// Connections that were closed for want of room.
    pub evicted: u64,
}

impl Side {
    /// Both.
    pub const ALL: [Side; 2] = [Side::Body, Side::Answer];
}

impl Rank {
    /// Not known yet in this episode; might be the slowest.
    const UNKNOWN: Rank = Rank(0);
    /// There is none.
    const NONE: Rank = Rank(u64::MAX);
    /// Beyond all others.
    const LAST: u64 = 1 << 63;
    /// Whoever holds less than this is of little help, and goes last.
    pub const LITTLE: u64 = 8 << 10;

    /// The rank of a client that has made no progress since `since` nanoseconds of the node's time.
    pub fn of(since: u64, goes_last: bool) -> Rank {
        let since = since.clamp(1, Rank::LAST - 2);
        Rank(if goes_last { since | Rank::LAST } else { since })
    }
}

impl Ceiling {
    /// A cap of so many bytes for a node of so many shards.
    pub fn new(limit: u64, shards: usize) -> Arc<Ceiling> {
        let shards = (0..shards.max(1)).map(|_| Share::default()).collect();
        Arc::new(Ceiling { limit, over: AtomicBool::new(false), shards })
    }

    /// The cap, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What all shards have published, with what HTTP holds.
    pub fn held(&self) -> Held {
        self.shards.iter().fold(Held::default(), |sum, share| Held {
            bytes: sum.bytes + share.bytes(),
            evicted: sum.evicted + share.evicted.load(Ordering::Relaxed),
        })
    }

    /// Whether clients have to go.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Says what a shard holds now. Whether clients have to go.
    pub fn publish(&self, shard: usize, held: Held) -> bool {
        let share = &self.shards[shard];
        share.held.store(held.bytes, Ordering::Relaxed);
        share.evicted.store(held.evicted, Ordering::Relaxed);
        self.judge()
    }

    /// Whose turn it is, now that the slowest client of `shard` is known, if it has one.
    pub fn turn_of(&self, shard: usize, slowest: Option<Rank>) -> Turn {
        let mine = slowest.unwrap_or(Rank::NONE);
        self.shards[shard].slowest.store(mine.0, Ordering::Relaxed);
        if !self.judge() {
            return Turn::Over;
        }
        let others = self.shards.iter().enumerate().filter(|(other, share)| {
            // One that holds nothing has nobody to close, whether it has said so or not.
            *other != shard && share.bytes() > 0
        });
        let rank = |share: &Share| Rank(share.slowest.load(Ordering::Relaxed));
        match others.map(|(other, share)| (rank(share), other)).min() {
            // The order is worth a little room, not any.
            Some((theirs, other)) if theirs < mine && !(slowest.is_some() && self.is_far_over()) => Turn::Of(other),
            _ if slowest.is_some() => Turn::Mine,
            _ => Turn::Over,
        }
    }

    /// What one side of HTTP may hold.
    pub fn side_limit(&self) -> u64 {
        self.limit / 2
    }

    /// What a side holds on all shards.
    pub fn side_held(&self, side: Side) -> u64 {
        self.shards.iter().map(|share| share.side(side).bytes.load(Ordering::Relaxed)).sum()
    }

    /// How many of a side were cut for want of room.
    pub fn side_cut(&self, side: Side) -> u64 {
        self.shards.iter().map(|share| share.side(side).cut.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn side_grows(&self, shard: usize, side: Side, bytes: u64) {
        self.shards[shard].side(side).bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn side_shrinks(&self, shard: usize, side: Side, bytes: u64) {
        self.shards[shard].side(side).bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn side_was_cut(&self, shard: usize, side: Side) {
        self.shards[shard].side(side).cut.fetch_add(1, Ordering::Relaxed);
    }

    /// Says to the other shards that hold something of a side how much room is missed: those to be woken.
    pub(crate) fn want(&self, shard: usize, side: Side, bytes: u64) -> impl Iterator<Item = usize> {
        let others = self
            .shards
            .iter()
            .enumerate()
            .filter(move |(other, share)| *other != shard && share.side(side).bytes.load(Ordering::Relaxed) > 0);
        others.map(move |(other, share)| {
            share.side(side).wanted.fetch_max(bytes, Ordering::Relaxed);
            other
        })
    }

    /// For how many bytes another shard had no room, at most, since this was asked last.
    pub(crate) fn wanted(&self, shard: usize, side: Side) -> u64 {
        let wanted = &self.shards[shard].side(side).wanted;
        if wanted.load(Ordering::Relaxed) == 0 { 0 } else { wanted.swap(0, Ordering::Relaxed) }
    }

    fn sum(&self) -> u64 {
        self.shards.iter().map(Share::bytes).sum()
    }

    fn is_far_over(&self) -> bool {
        self.sum() > self.limit.saturating_add(self.limit / 8)
    }

    /// Begins or ends an episode. Whether one is under way.
    pub fn judge(&self) -> bool {
        let sum = self.sum();
        if sum > self.limit {
            if !self.over.swap(true, Ordering::Relaxed) {
                for share in &self.shards {
                    share.slowest.store(Rank::UNKNOWN.0, Ordering::Relaxed);
                }
            }
            return true;
        }
        if self.is_over() && sum <= self.limit / 10 * 9 {
            self.over.store(false, Ordering::Relaxed);
        }
        self.is_over()
    }
}

impl Share {
    fn bytes(&self) -> u64 {
        let sides = self.sides.iter().map(|side| side.bytes.load(Ordering::Relaxed));
        self.held.load(Ordering::Relaxed) + sides.sum::<u64>()
    }

    fn side(&self, side: Side) -> &SideShare {
        &self.sides[side as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(bytes: u64) -> Held {
        Held { bytes, ..Held::default() }
    }

    fn rank(since: u64) -> Option<Rank> {
        Some(Rank::of(since, false))
    }

    #[test]
    fn nobody_goes_below_the_cap_and_some_go_until_nine_tenths_of_it() {
        let ceiling = Ceiling::new(1_000, 1);
        assert!(!ceiling.publish(0, held(1_000)));
        assert!(ceiling.publish(0, held(1_001)));
        assert_eq!(ceiling.turn_of(0, rank(5)), Turn::Mine);
        assert!(ceiling.publish(0, held(901)), "not yet");
        assert!(!ceiling.publish(0, held(900)));
        assert_eq!(ceiling.turn_of(0, rank(5)), Turn::Over);
    }

    #[test]
    fn the_slowest_of_all_shards_is_the_next() {
        let ceiling = Ceiling::new(1_000, 3);
        ceiling.publish(0, held(500));
        assert!(ceiling.publish(1, held(501)));
        assert_eq!(ceiling.turn_of(0, rank(7)), Turn::Of(1), "it has not said yet how slow its slowest is");
        assert_eq!(ceiling.turn_of(1, rank(9)), Turn::Of(0));
        assert_eq!(ceiling.turn_of(0, rank(7)), Turn::Mine);
        assert_eq!(ceiling.turn_of(0, rank(12)), Turn::Of(1));
        assert_eq!(ceiling.turn_of(1, rank(9)), Turn::Mine);
        assert_eq!(ceiling.turn_of(1, None), Turn::Of(0));
    }

    #[test]
    fn a_shard_that_waits_for_another_waits_no_longer_than_there_is_room() {
        let ceiling = Ceiling::new(1_000, 2);
        ceiling.publish(0, held(500));
        ceiling.publish(1, held(700));
        assert_eq!(ceiling.turn_of(0, rank(7)), Turn::Mine, "200 over the cap, and the other one is silent");
    }

    #[test]
    fn whoever_holds_little_goes_last() {
        assert!(Rank::of(1, true) > Rank::of(1_000, false));
        assert!(Rank::of(1, true) < Rank::of(2, true));
        assert!(Rank::of(u64::MAX, true) < Rank::NONE && Rank::of(0, false) > Rank::UNKNOWN);
    }

    #[test]
    fn what_http_holds_counts_like_all_else_and_begins_an_episode() {
        let ceiling = Ceiling::new(1_000, 2);
        ceiling.publish(0, held(600));
        ceiling.side_grows(1, Side::Answer, 300);
        ceiling.side_grows(1, Side::Body, 100);
        assert!(!ceiling.judge());
        ceiling.side_grows(0, Side::Body, 1);
        assert!(ceiling.judge());
        assert_eq!(ceiling.turn_of(0, rank(5)), Turn::Of(1), "it holds answers, and has not said how slow they are");
        assert_eq!(ceiling.turn_of(1, rank(4)), Turn::Mine);
        assert_eq!((ceiling.side_held(Side::Body), ceiling.held().bytes), (101, 1_001));
    }
}
