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
    bodies: AtomicU64,
    slowest: AtomicU64,
    evicted: AtomicU64,
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

impl Rank {
    /// Not known yet in this episode; might be the slowest.
    const UNKNOWN: Rank = Rank(0);
    /// There is none.
    const NONE: Rank = Rank(u64::MAX);
    /// Whoever holds little is of little help: last.
    const LITTLE: u64 = 1 << 63;

    /// The rank of a client that has made no progress since `since` nanoseconds of the node's time.
    pub fn of(since: u64, holds_little: bool) -> Rank {
        let since = since.clamp(1, Rank::LITTLE - 2);
        Rank(if holds_little { since | Rank::LITTLE } else { since })
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

    /// What all shards have published, with what unfinished request bodies hold.
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
            *other != shard && share.held.load(Ordering::Relaxed) > 0
        });
        let rank = |share: &Share| Rank(share.slowest.load(Ordering::Relaxed));
        match others.map(|(other, share)| (rank(share), other)).min() {
            // The order is worth a little room, not any.
            Some((theirs, other)) if theirs < mine && !(slowest.is_some() && self.is_far_over()) => Turn::Of(other),
            _ if slowest.is_some() => Turn::Mine,
            _ => Turn::Over,
        }
    }

    /// Begins to count what an unfinished request body holds.
    pub fn body(self: &Arc<Self>, shard: usize) -> BodyHold {
        BodyHold { ceiling: self.clone(), shard, bytes: 0 }
    }

    fn sum(&self) -> u64 {
        self.shards.iter().map(Share::bytes).sum()
    }

    fn is_far_over(&self) -> bool {
        self.sum() > self.limit.saturating_add(self.limit / 8)
    }

    /// Begins or ends an episode. Whether one is under way.
    fn judge(&self) -> bool {
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
        self.held.load(Ordering::Relaxed) + self.bodies.load(Ordering::Relaxed)
    }
}

/// What one request body holds, counted while this lives. All bodies together get half of the cap.
#[derive(Debug)]
pub struct BodyHold {
    ceiling: Arc<Ceiling>,
    shard: usize,
    bytes: u64,
}

impl BodyHold {
    /// Counts more of the body. `false` if there is no room for it.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let shards = &self.ceiling.shards;
        let all: u64 = shards.iter().map(|share| share.bodies.load(Ordering::Relaxed)).sum();
        if all + bytes as u64 > self.ceiling.limit / 2 {
            return false;
        }
        self.bytes += bytes as u64;
        shards[self.shard].bodies.fetch_add(bytes as u64, Ordering::Relaxed);
        true
    }
}

impl Drop for BodyHold {
    fn drop(&mut self) {
        self.ceiling.shards[self.shard].bodies.fetch_sub(self.bytes, Ordering::Relaxed);
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
    fn request_bodies_get_half_of_the_cap_and_give_back_all_that_they_took() {
        let ceiling = Ceiling::new(1_000, 2);
        let mut first = ceiling.body(0);
        let mut second = ceiling.body(1);
        assert!(first.grow(300) && second.grow(200));
        assert!(!second.grow(1), "the other half is for connections");
        assert_eq!(ceiling.held().bytes, 500);
        drop(first);
        assert!(second.grow(1));
        drop(second);
        assert_eq!(ceiling.held(), Held::default());
    }
}
