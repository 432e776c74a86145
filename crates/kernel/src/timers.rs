//! Timers of one shard: a hierarchical wheel (Varghese and Lauck, 1987) with ticks of one millisecond.
//!
//! Setting and cancelling take constant time; a timer goes off in the first tick at or after its time, never early.
//! Those of one tick go off in the order of their times, and of being set.

use crate::pid::Pid;
use std::time::Duration;

/// A point in time: nanoseconds since the node started. The kernel never asks what time it is; it is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Time(pub u64);

impl Time {
    /// That much later; saturates.
    pub fn after(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A running timer; from [`crate::Cx::set_timer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerId {
    entry: u32,
    generation: u32,
}

/// Nanoseconds from one tick to the next: timers go off at whole ticks.
pub const TICK: u64 = 1_000_000;
const BITS: u32 = 6;
const SPOKES: usize = 1 << BITS;
const LEVELS: usize = 7;
const NONE: u32 = u32::MAX;

struct Entry {
    generation: u32,
    /// Neighbours in the spoke's list, or the next free entry.
    next: u32,
    previous: u32,
    /// Neighbours in the owner's list.
    owner_next: u32,
    owner_previous: u32,
    spoke: u16,
    live: bool,
    due: u64,
    /// When exactly, and which one of all that were set: their order within a tick.
    order: (Time, u64),
    pid: Pid,
    token: u64,
}

/// A timer that goes off.
#[derive(Clone, Copy)]
pub(crate) struct Due {
    pub(crate) entry: u32,
    pub(crate) pid: Pid,
    pub(crate) token: u64,
}

/// The head of one process's list of timers, kept in its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owned {
    first: u32,
    pub(crate) count: u32,
}

impl Default for Owned {
    fn default() -> Owned {
        Owned { first: NONE, count: 0 }
    }
}

pub(crate) struct Wheel {
    entries: Vec<Entry>,
    free: u32,
    spokes: Vec<u32>,
    /// One bit for each spoke of a level that is not empty.
    occupied: [u64; LEVELS],
    /// The tick that was handled last.
    tick: u64,
    /// Timers set so far.
    set: u64,
    pub(crate) live: u32,
}

impl Default for Wheel {
    fn default() -> Wheel {
        Wheel {
            entries: Vec::new(),
            free: NONE,
            spokes: vec![NONE; SPOKES * LEVELS],
            occupied: [0; LEVELS],
            tick: 0,
            set: 0,
            live: 0,
        }
    }
}

impl Wheel {
    pub(crate) fn set(&mut self, at: Time, pid: Pid, token: u64, owned: &mut Owned) -> TimerId {
        let due = at.0.div_ceil(TICK).max(self.tick + 1);
        self.set += 1;
        let entry = Entry {
            order: (at, self.set),
            generation: 0,
            next: NONE,
            previous: NONE,
            owner_next: owned.first,
            owner_previous: NONE,
            spoke: 0,
            live: true,
            due,
            pid,
            token,
        };
        let index = if self.free == NONE {
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        } else {
            let index = self.free;
            let slot = &mut self.entries[index as usize];
            self.free = slot.next;
            *slot = Entry { generation: slot.generation.wrapping_add(1), ..entry };
            index
        };
        if owned.first != NONE {
            self.entries[owned.first as usize].owner_previous = index;
        }
        owned.first = index;
        owned.count += 1;
        self.live += 1;
        self.link(index);
        TimerId { entry: index, generation: self.entries[index as usize].generation }
    }

    /// Whether the timer was still running.
    pub(crate) fn cancel(&mut self, id: TimerId, pid: Pid, owned: &mut Owned) -> bool {
        let Some(entry) = self.entries.get(id.entry as usize) else { return false };
        if !entry.live || entry.generation != id.generation || entry.pid != pid {
            return false;
        }
        self.unlink(id.entry);
        self.free(id.entry, owned);
        true
    }

    pub(crate) fn cancel_all(&mut self, owned: &mut Owned) {
        while owned.first != NONE {
            let index = owned.first;
            self.unlink(index);
            self.free(index, owned);
        }
    }

    /// Takes all timers that are due at `now`, in their order. The caller frees each with [`Wheel::fired`].
    pub(crate) fn take_due(&mut self, now: Time, into: &mut Vec<Due>) {
        let target = now.0 / TICK;
        while self.tick < target {
            self.advance(target);
            let (spoke, of_tick) = ((self.tick as usize) & (SPOKES - 1), into.len());
            while self.spokes[spoke] != NONE {
                let entry = self.spokes[spoke];
                self.unlink(entry);
                let Entry { pid, token, .. } = self.entries[entry as usize];
                into.push(Due { entry, pid, token });
            }
            into[of_tick..].sort_unstable_by_key(|due| self.entries[due.entry as usize].order);
        }
    }

    pub(crate) fn fired(&mut self, entry: u32, owned: &mut Owned) {
        self.free(entry, owned);
    }

    /// When [`Wheel::pop_due`] may next have something: never later than the next timer.
    pub(crate) fn next_due(&self) -> Option<Time> {
        let mut best: Option<u64> = None;
        for level in 0..LEVELS {
            if self.occupied[level] == 0 {
                continue;
            }
            let shift = BITS * level as u32;
            let here = (self.tick >> shift) as usize & (SPOKES - 1);
            // The spokes in the order in which the hand comes to them, the present one last but for level 0.
            let turned = self.occupied[level].rotate_right(here as u32);
            let steps = match turned.trailing_zeros() {
                0 if level == 0 => 0,
                0 => (turned & !1).trailing_zeros().min(64),
                steps => steps,
            };
            let at = ((self.tick >> shift) + u64::from(steps)) << shift;
            let at = at.max(self.tick);
            best = Some(best.map_or(at, |best| best.min(at)));
        }
        best.map(|tick| Time(tick.saturating_mul(TICK)))
    }

    /// Moves the hand to the next tick that can matter, at most to `target`, and brings outer spokes inward.
    fn advance(&mut self, target: u64) {
        // With nothing on the inner levels the hand can jump to where the first occupied one turns.
        let Some(level) = self.occupied.iter().position(|&spokes| spokes != 0) else {
            self.tick = target;
            return;
        };
        let turn = 1u64 << (BITS * level as u32);
        let step = turn - (self.tick & (turn - 1));
        let next = (self.tick + step).min(target);
        self.tick = next;
        if next & (SPOKES as u64 - 1) != 0 {
            return;
        }
        for level in 1..LEVELS {
            let spoke = (next >> (BITS * level as u32)) as usize & (SPOKES - 1);
            self.cascade(level, spoke);
            if spoke != 0 {
                break;
            }
        }
    }

    fn cascade(&mut self, level: usize, spoke: usize) {
        let mut index = std::mem::replace(&mut self.spokes[level * SPOKES + spoke], NONE);
        self.occupied[level] &= !(1 << spoke);
        while index != NONE {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    fn link(&mut self, index: u32) {
        let due = self.entries[index as usize].due;
        let distance = due.saturating_sub(self.tick);
        let level = ((63 - (distance | 1).leading_zeros()) / BITS).min(LEVELS as u32 - 1) as usize;
        // Farther than the outermost level reaches: as far as it reaches, and again from there.
        let reach = (1u64 << (BITS * LEVELS as u32)) - 1;
        let place = if distance > reach { self.tick + reach } else { due };
        let spoke = (place >> (BITS * level as u32)) as usize & (SPOKES - 1);
        let head = std::mem::replace(&mut self.spokes[level * SPOKES + spoke], index);
        self.occupied[level] |= 1 << spoke;
        let entry = &mut self.entries[index as usize];
        entry.spoke = (level * SPOKES + spoke) as u16;
        entry.next = head;
        entry.previous = NONE;
        if head != NONE {
            self.entries[head as usize].previous = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let (next, previous, spoke) = {
            let entry = &self.entries[index as usize];
            (entry.next, entry.previous, entry.spoke as usize)
        };
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
        } else {
            self.spokes[spoke] = next;
            if next == NONE {
                self.occupied[spoke / SPOKES] &= !(1 << (spoke % SPOKES));
            }
        }
    }

    fn free(&mut self, index: u32, owned: &mut Owned) {
        let entry = &mut self.entries[index as usize];
        entry.live = false;
        let (next, previous) = (entry.owner_next, entry.owner_previous);
        entry.next = self.free;
        self.free = index;
        if next != NONE {
            self.entries[next as usize].owner_previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].owner_next = next;
        } else {
            owned.first = next;
        }
        owned.count -= 1;
        self.live -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostId;

    fn pid() -> Pid {
        Pid::new(1, HostId::SYSTEM, 0, 0, 1)
    }

    /// Runs the wheel to `now` and gives back the tokens that went off, with the time at which each did.
    fn run(wheel: &mut Wheel, owned: &mut Owned, now: u64) -> Vec<u64> {
        let mut out = Vec::new();
        let mut due = Vec::new();
        wheel.take_due(Time(now), &mut due);
        for Due { entry, token, .. } in due {
            wheel.fired(entry, owned);
            out.push(token);
        }
        out
    }

    #[test]
    fn timers_go_off_in_order_and_never_early_and_next_due_is_never_late() {
        let mut seed = 88_172_645_463_325_252u64;
        let mut random = move |n: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % n
        };
        let (mut wheel, mut owned) = (Wheel::default(), Owned::default());
        let mut due: Vec<(u64, TimerId, u64)> = Vec::new();
        let mut now = 0u64;
        // Miri takes a thousand times as long.
        let rounds = if cfg!(miri) { 300 } else { 20_000u64 };
        for token in 0..rounds {
            let spans = [3 * TICK, 100 * TICK, 10_000 * TICK, 1_000_000 * TICK, 400_000_000 * TICK];
            let span = spans[random(5) as usize];
            let at = now + random(span);
            due.push((at, wheel.set(Time(at), pid(), token, &mut owned), token));
            if random(4) == 0 {
                let (_, id, _) = due.swap_remove(random(due.len() as u64) as usize);
                assert!(wheel.cancel(id, pid(), &mut owned));
                assert!(!wheel.cancel(id, pid(), &mut owned));
            }
            if random(3) == 0 {
                let next = wheel.next_due();
                let first = due.iter().map(|(at, ..)| *at).min();
                if let Some(first) = first {
                    assert!(next.unwrap().0 <= first.div_ceil(TICK) * TICK);
                }
                let span = [TICK / 2, 5 * TICK, 5_000 * TICK][random(3) as usize];
                now += random(span);
                let mut fired = run(&mut wheel, &mut owned, now);
                let mut expected: Vec<u64> =
                    due.iter().filter(|(at, ..)| at.div_ceil(TICK) * TICK <= now).map(|(.., token)| *token).collect();
                // A timer set for a time that has passed goes off in the next tick.
                due.retain(|(at, ..)| at.div_ceil(TICK) * TICK > now);
                fired.sort_unstable();
                expected.sort_unstable();
                let late: Vec<_> = expected.iter().filter(|token| !fired.contains(token)).collect();
                let early: Vec<_> = fired.iter().filter(|token| !expected.contains(token)).collect();
                assert!(early.is_empty(), "early {early:?}");
                // What was set within the present tick may wait for the next one.
                for &token in late {
                    due.push((now + 1, wheel_id(&wheel, token), token));
                }
            }
        }
        let left = run(&mut wheel, &mut owned, u64::MAX / 2);
        assert_eq!(left.len(), due.len());
        assert_eq!((wheel.live, owned.count, wheel.next_due()), (0, 0, None));
    }

    fn wheel_id(wheel: &Wheel, token: u64) -> TimerId {
        let index = wheel.entries.iter().position(|entry| entry.live && entry.token == token).unwrap();
        TimerId { entry: index as u32, generation: wheel.entries[index].generation }
    }

    #[test]
    fn cancel_all_leaves_nothing() {
        let (mut wheel, mut owned) = (Wheel::default(), Owned::default());
        for n in 0..1_000 {
            wheel.set(Time(n * 7 * TICK), pid(), n, &mut owned);
        }
        wheel.cancel_all(&mut owned);
        assert_eq!((wheel.live, owned.count, wheel.next_due()), (0, 0, None));
    }
}
