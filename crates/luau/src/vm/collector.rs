//! When a pod's garbage is collected: in steps between slices, never inside one.
//!
//! A cycle begins when the heap has doubled since the last one ended, and then works off ten bytes for each byte that
//! is allocated. So no process pays for its neighbour's garbage within its own slice, and the heap stays bounded.

use super::watchdog::computed;
use mlua_sys as ffi;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Work of one step: about 40 KiB of heap, some 20 to 40 µs.
const STEP_KIB: i32 = 4;
const STEP_MULTIPLIER: i32 = 1000;
const STEP_BYTES: usize = 40 << 10;
/// Heap bytes below which no cycle begins.
const FLOOR: usize = 4 << 20;
/// What may follow one slice: no step begins after this. A large table is one step, however large, so a turn can take
/// this and one such step: never two of them.
const TURN: Duration = Duration::from_micros(300);
/// The same for a heap that has grown far beyond the size at which its cycle began: programs make garbage faster than
/// short turns collect it.
const LONG_TURN: Duration = Duration::from_millis(1);

/// What the collectors of a thread's VMs have done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Cycles that have ended.
    pub cycles: u64,
    /// What all of it took, as time that the thread computed.
    pub time: Duration,
    /// What it took at most after one slice, since the last call of [`collected`].
    pub worst: Duration,
    /// Bytes that the heaps had after their last slices.
    pub heap: u64,
}

thread_local! {
    static COLLECTED: Cell<Collected> = const { Cell::new(Collected { cycles: 0, time: Duration::ZERO, worst: Duration::ZERO, heap: 0 }) };
}

/// What the collectors of this thread's VMs have done so far.
pub fn collected() -> Collected {
    let now = COLLECTED.get();
    COLLECTED.set(Collected { worst: Duration::ZERO, ..now });
    now
}

pub(crate) struct Collector {
    main: *mut ffi::lua_State,
    /// Heap size at which the next cycle begins.
    threshold: Cell<usize>,
    running: Cell<bool>,
    /// Bytes of work that allocations have asked for.
    owed: Cell<usize>,
    /// Cycles that have begun and ended.
    begun: Cell<u64>,
    ended: Cell<u64>,
    /// Cycles that must be run although the heap is small.
    wanted: Cell<u64>,
    /// Its part of [`Collected::heap`].
    counted: Cell<usize>,
}

impl Collector {
    /// # Safety
    /// `main` is a state whose VM outlives the collector, and no other code steers its collector.
    pub(crate) unsafe fn new(main: *mut ffi::lua_State) -> Collector {
        // SAFETY: by the contract of the function.
        unsafe {
            ffi::lua_gc(main, ffi::LUA_GCSETSTEPMUL, STEP_MULTIPLIER);
            ffi::lua_gc(main, ffi::LUA_GCSETSTEPSIZE, STEP_KIB);
            ffi::lua_gc(main, ffi::LUA_GCSTOP, 0);
        }
        Collector {
            main,
            threshold: Cell::new(FLOOR),
            running: Cell::new(false),
            owed: Cell::new(0),
            begun: Cell::new(0),
            ended: Cell::new(0),
            wanted: Cell::new(0),
            counted: Cell::new(0),
        }
    }

    /// A slice has taken `grown` bytes and the heap has `used`: does the work that is due, within a bound.
    pub(crate) fn after_slice(&self, grown: usize, used: usize) {
        self.count_heap(used);
        if !self.running.get() {
            if used < self.threshold.get() && self.ended.get() >= self.wanted.get() {
                return;
            }
            self.running.set(true);
            self.begun.set(self.begun.get() + 1);
            self.owed.set(STEP_BYTES);
        }
        let wanted = if self.ended.get() < self.wanted.get() { STEP_BYTES * 10 } else { 0 };
        self.owed.set(self.owed.get().saturating_add(grown.saturating_mul(10)).saturating_add(wanted));
        if self.owed.get() < STEP_BYTES {
            return;
        }
        let turn = if used > self.threshold.get().saturating_mul(2) { LONG_TURN } else { TURN };
        let (began, start) = (computed(), Instant::now());
        loop {
            self.owed.set(self.owed.get().saturating_sub(STEP_BYTES));
            self.step();
            if self.owed.get() < STEP_BYTES || !self.running.get() || start.elapsed() >= turn {
                break;
            }
        }
        let took = Duration::from_nanos(computed() - began);
        let mut all = COLLECTED.get();
        all.cycles += u64::from(!self.running.get());
        all.time += took;
        all.worst = all.worst.max(took);
        COLLECTED.set(all);
    }

    /// Asks for one whole cycle that begins after this call; give the number to [`Collector::is_done`].
    pub(crate) fn want_cycle(&self) -> u64 {
        let number = self.begun.get() + 1;
        self.wanted.set(self.wanted.get().max(number));
        number
    }

    pub(crate) fn is_done(&self, cycle: u64) -> bool {
        self.ended.get() >= cycle
    }

    fn count_heap(&self, used: usize) {
        let before = self.counted.replace(used);
        if before != used {
            COLLECTED.with(|all| {
                let mut now = all.get();
                now.heap = now.heap.wrapping_add(used as u64).wrapping_sub(before as u64);
                all.set(now);
            });
        }
    }

    fn step(&self) {
        // SAFETY: by the contract of `new`; no code of the VM runs now, and a collector step runs no user code.
        let finished = unsafe {
            let finished = ffi::lua_gc(self.main, ffi::LUA_GCSTEP, 1) == 1;
            ffi::lua_gc(self.main, ffi::LUA_GCSTOP, 0);
            finished
        };
        if finished {
            // SAFETY: as above.
            let live = unsafe { ffi::lua_totalbytes(self.main, -1) };
            self.running.set(false);
            self.ended.set(self.begun.get());
            self.owed.set(0);
            self.threshold.set((live * 2).max(FLOOR));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.count_heap(0);
    }
}
