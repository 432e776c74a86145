//! The watchdog: one thread that ends slices.
//!
//! Each millisecond it looks at every shard. A shard that is still in the slice that it was in at the last look gets
//! its VM's interrupt set; the VM notices at its next loop or call, and goes on if its host's slice is longer. It
//! looks more often once a host with a shorter slice has run something. When no shard runs anything the watchdog
//! sleeps.

use mlua_sys as ffi;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

/// Nanoseconds between two looks: a millisecond, or the shortest slice of a host that has run something.
static TICK: AtomicU64 = AtomicU64::new(1_000_000);
/// Looks without any slice after which the watchdog sleeps.
const IDLE: u32 = 50;

type Interrupt = unsafe extern "C-unwind" fn(*mut ffi::lua_State, i32);

/// What one shard tells the watchdog.
pub(crate) struct Watch {
    /// Counts the beginnings and ends of slices: odd while one runs. Written by the shard, read by the watchdog.
    slice: AtomicU64,
    /// The callbacks of the VM that runs it. Written by the shard before the count turns odd.
    callbacks: AtomicPtr<ffi::lua_Callbacks>,
}

struct Watchdog {
    watched: Mutex<Vec<(Arc<Watch>, Interrupt)>>,
    /// Whether the thread sleeps until it is woken.
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

static WATCHDOG: Watchdog =
    Watchdog { watched: Mutex::new(Vec::new()), asleep: AtomicBool::new(false), thread: OnceLock::new() };

/// Counts the watchdog's looks.
static TICKS: AtomicU64 = AtomicU64::new(0);

/// A number that changes about once a millisecond while slices run.
pub(crate) fn ticks() -> u64 {
    TICKS.load(Ordering::Relaxed)
}

/// Nanoseconds between two looks.
pub(crate) fn period() -> u64 {
    TICK.load(Ordering::Relaxed)
}

/// Waits until the watchdog looks at nothing. A VM that runs no slice is not touched after that.
pub(crate) fn settle() {
    drop(WATCHDOG.list());
}

/// Nanoseconds that this thread has computed: unlike time on the clock, it says nothing of other threads.
pub fn computed() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only writes the record.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

/// A shard's place at the watchdog. Its VMs must outlive it.
pub(crate) struct Watched(Arc<Watch>);

impl Watched {
    pub(crate) fn new(interrupt: Interrupt) -> Watched {
        let watch = Arc::new(Watch { slice: AtomicU64::new(0), callbacks: AtomicPtr::default() });
        WATCHDOG.list().push((watch.clone(), interrupt));
        WATCHDOG.thread.get_or_init(|| {
            let run = || WATCHDOG.run();
            match thread::Builder::new().name("watchdog".into()).spawn(run) {
                Ok(handle) => handle.thread().clone(),
                Err(error) => panic!("the watchdog thread cannot be started: {error}"),
            }
        });
        Watched(watch)
    }

    /// A slice of that length begins. How many interrupts it outlives.
    pub(crate) fn begin(&self, callbacks: *mut ffi::lua_Callbacks, length: Duration) -> u32 {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mut tick = period();
        if length < tick {
            TICK.fetch_min(length, Ordering::Relaxed);
            tick = length;
        }
        self.0.callbacks.store(callbacks, Ordering::Relaxed);
        let slice = self.0.slice.load(Ordering::Relaxed);
        // In one order with `asleep`: either the watchdog sees the slice before it sleeps, or this sees it asleep.
        self.0.slice.store(slice + 1, Ordering::SeqCst);
        if WATCHDOG.asleep.load(Ordering::SeqCst)
            && let Some(thread) = WATCHDOG.thread.get()
        {
            thread.unpark();
        }
        u32::try_from(length.div_ceil(tick) - 1).unwrap_or(u32::MAX)
    }

    /// The slice is over.
    pub(crate) fn end(&self) {
        let slice = self.0.slice.load(Ordering::Relaxed);
        self.0.slice.store(slice + 1, Ordering::Release);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // The watchdog holds the list while it looks, so after this it touches no VM of this shard.
        WATCHDOG.list().retain(|(watch, _)| !Arc::ptr_eq(watch, &self.0));
    }
}

impl Watchdog {
    fn list(&self) -> std::sync::MutexGuard<'_, Vec<(Arc<Watch>, Interrupt)>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut seen: Vec<u64> = Vec::new();
        let mut idle = 0;
        loop {
            let running = self.look(&mut seen);
            idle = if running { 0 } else { idle + 1 };
            if idle < IDLE {
                thread::sleep(Duration::from_nanos(period()));
                continue;
            }
            self.asleep.store(true, Ordering::SeqCst);
            if !self.any_runs() {
                thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }

    /// Interrupts each slice that was there at the last look. Whether any slice ran since then.
    fn look(&self, seen: &mut Vec<u64>) -> bool {
        TICKS.fetch_add(1, Ordering::Relaxed);
        let watched = self.list();
        seen.resize(watched.len(), 0);
        let mut any = false;
        for ((watch, interrupt), seen) in watched.iter().zip(seen) {
            let slice = watch.slice.load(Ordering::Acquire);
            any |= slice != *seen || slice % 2 == 1;
            if slice % 2 == 1 && slice == *seen {
                let callbacks = watch.callbacks.load(Ordering::Relaxed);
                // SAFETY: the VM lives, since its shard is in the list. The field is a nullable function pointer of
                // the size of a pointer, read by the VM's thread at safe points; the store is one word. If the slice
                // ended meanwhile, the next one of that VM is cut short, which it survives.
                unsafe {
                    let slot = std::ptr::addr_of_mut!((*callbacks).interrupt).cast::<*mut ()>();
                    AtomicPtr::from_ptr(slot).store(*interrupt as *mut (), Ordering::Relaxed);
                }
            }
            *seen = slice;
        }
        any
    }

    fn any_runs(&self) -> bool {
        self.list().iter().any(|(watch, _)| watch.slice.load(Ordering::SeqCst) % 2 == 1)
    }
}
