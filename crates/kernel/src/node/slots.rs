//! The slot words: what every shard may read of every process. They are also what makes PIDs unique.

use crate::host::HostId;
use crate::limits;
use crate::pid::Pid;
use crate::sync::{AtomicU16, AtomicU32, AtomicU64, Mutex, Ordering, PoisonError, fence};
use std::sync::OnceLock;

/// What every shard may read of a slot.
#[derive(Default)]
pub(crate) struct SlotState {
    /// Generation (upper 32 bits), host (16 bits from bit 8) and the flags below. Written by whoever owns the slot:
    /// the allocating thread until the PID is handed out, then the slot's shard; only [`ORDERED`] and [`SEALED`] by any shard.
    word: AtomicU64,
    /// Messages and bytes from other shards that are accepted but not yet in the mailbox. Raised by senders, lowered
    /// by the shard; so senders elsewhere cannot fill memory between two turns of a shard.
    in_flight_bytes: AtomicU64,
    in_flight: AtomicU32,
    /// Monitors and links from other shards that have not arrived. Raised by their makers, lowered by the shard.
    expected: AtomicU32,
    /// CANCEL events from other shards that have not arrived.
    cancels: AtomicU16,
    /// Names that the process holds. Raised by whoever registers one, lowered by whoever releases it; any shard.
    names: AtomicU16,
}

const ALIVE: u64 = 1;
/// The mailbox takes no message but reserved ones.
const FULL: u64 = 2;
/// Senders wait for room: others that can wait have to, too.
const AWAITED: u64 = 4;
/// Another shard has sent the order to end it.
const ORDERED: u64 = 8;
/// A message on its host's last topic is the last.
const HEEDS_LAST: u64 = 32;
/// The last message has been taken: nobody can send to it, find it or relate to it, as if it were dead.
const SEALED: u64 = 64;
/// Who lives there.
const IDENTITY: u64 = !(FULL | AWAITED | ORDERED | HEEDS_LAST | SEALED);

fn alive_word(host: HostId, generation: u32) -> u64 {
    u64::from(generation) << 32 | (host.index() as u64) << 8 | ALIVE
}

fn is_of(word: u64, pid: Pid) -> bool {
    word & IDENTITY == alive_word(pid.host(), pid.generation())
}

impl SlotState {
    /// A new process of the slot, in a generation that it never had.
    pub(crate) fn occupy(&self, host: HostId) -> u32 {
        let generation = (self.word.load(Ordering::Acquire) >> 32) as u32 + 1;
        // Written by swaps only: then all that is ever written to a word has one order, for loom too.
        self.word.swap(alive_word(host, generation), Ordering::AcqRel);
        generation
    }

    /// Whether a process lives here and has not taken its last message.
    pub(crate) fn lives(&self, pid: Pid) -> bool {
        let word = self.word.load(Ordering::Acquire);
        is_of(word, pid) && word & SEALED == 0
    }

    /// The process has ended. Whether monitors or links are on their way here, which are then to be told how.
    pub(crate) fn end(&self, generation: u32) -> bool {
        self.word.swap(u64::from(generation) << 32, Ordering::AcqRel);
        // With the fence of `expect`: either its maker sees that the process is dead, or it is seen here.
        fence(Ordering::SeqCst);
        self.expected.load(Ordering::Acquire) > 0
    }

    /// Announces a monitor or a link: whether the process lives. Then its signal is to follow, and is told how the
    /// process ended even if it ends before the signal arrives.
    pub(crate) fn expect(&self, pid: Pid) -> bool {
        self.expected.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let lives = self.lives(pid);
        if !lives {
            self.expected.fetch_sub(1, Ordering::Release);
        }
        lives
    }

    /// A monitor or a link has arrived.
    pub(crate) fn expected_arrived(&self) {
        self.expected.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether monitors or links are on their way, perhaps to one who lived here before.
    pub(crate) fn is_expecting(&self) -> bool {
        self.expected.load(Ordering::Acquire) > 0
    }

    /// Marks a process as one that another shard has ordered to end: whether this is the first such order. `None` if
    /// it is dead. Further orders would change nothing, so they need no signal.
    pub(crate) fn order_end(&self, pid: Pid) -> Option<bool> {
        let order = |word| (is_of(word, pid) && word & ORDERED == 0).then_some(word | ORDERED);
        match self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, order) {
            Ok(_) => Some(true),
            Err(word) => is_of(word, pid).then_some(false),
        }
    }

    /// The process heeds its host's last topic from now on. Called by its shard.
    pub(crate) fn heed_last(&self) {
        self.word.fetch_or(HEEDS_LAST, Ordering::Release);
    }

    /// A process has been sent its last message, if it heeds that.
    pub(crate) fn seal(&self, pid: Pid) {
        // It may end meanwhile, so the word is changed only as it was found.
        let seal = |word| (is_of(word, pid) && word & HEEDS_LAST != 0).then_some(word | SEALED);
        let _dead_or_deaf = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, seal);
    }

    /// Says whether the mailbox is full, and whether senders wait for room in it.
    pub(crate) fn set_room(&self, full: bool, awaited: bool) {
        let set = if full { FULL } else { 0 } | if awaited { AWAITED } else { 0 };
        self.word.fetch_or(set, Ordering::Release);
        self.word.fetch_and(!((FULL | AWAITED) & !set), Ordering::Release);
    }

    /// Reserves room for a message from another shard. Between two turns at most one mailbox more can arrive.
    /// `patient`: the sender can wait, so it does not pass those that wait already.
    pub(crate) fn reserve(&self, bytes: u64, limit: u32, limit_bytes: u64, patient: bool) -> bool {
        let refusing = if patient { FULL | AWAITED } else { FULL };
        if self.word.load(Ordering::Acquire) & refusing != 0 {
            return false;
        }
        let messages_before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        if messages_before >= limit || bytes_before >= limit_bytes {
            self.arrived(bytes);
            return false;
        }
        true
    }

    /// Counts a message whose room was granted.
    pub(crate) fn reserve_granted(&self, bytes: u64) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A message from another shard has arrived, or was dropped: its reservation ends.
    pub(crate) fn arrived(&self, bytes: u64) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.in_flight_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether one more CANCEL may be on its way; beyond the bound it would change nothing.
    pub(crate) fn reserve_cancel(&self) -> bool {
        if self.cancels.fetch_add(1, Ordering::Relaxed) >= u16::from(limits::PENDING_CANCELS) {
            self.cancels.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// A CANCEL from another shard has arrived.
    pub(crate) fn cancel_arrived(&self) {
        self.cancels.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the process may hold one more name, which is then counted.
    pub(crate) fn count_name(&self) -> bool {
        if usize::from(self.names.fetch_add(1, Ordering::Relaxed)) >= limits::NAMES_PER_PROCESS {
            self.uncount_name();
            return false;
        }
        true
    }

    /// The process holds one name less.
    pub(crate) fn uncount_name(&self) {
        self.names.fetch_sub(1, Ordering::Relaxed);
    }
}

const CHUNK: usize = 1024;
const CHUNKS: usize = limits::SLOTS as usize / CHUNK;

/// The slot words of one shard: a list that grows and never moves.
pub(super) struct SharedSlots {
    chunks: Box<[OnceLock<Box<[SlotState]>>]>,
    /// Slots that were ever used.
    used: AtomicU32,
    /// Slots whose process has ended.
    free: Mutex<Vec<u32>>,
}

impl Default for SharedSlots {
    fn default() -> SharedSlots {
        SharedSlots {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            used: AtomicU32::new(0),
            free: Mutex::default(),
        }
    }
}

impl SharedSlots {
    pub(super) fn get(&self, slot: u32) -> Option<&SlotState> {
        self.chunks[slot as usize / CHUNK].get()?.get(slot as usize % CHUNK)
    }

    /// A slot that is alive in a generation it never had.
    pub(super) fn allocate(&self, host: HostId) -> Option<(u32, u32)> {
        let freed = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let slot = match freed {
            Some(slot) => slot,
            None => {
                let slot = self.used.fetch_add(1, Ordering::Relaxed);
                if slot >= limits::SLOTS {
                    self.used.fetch_sub(1, Ordering::Relaxed);
                    return None;
                }
                slot
            }
        };
        let chunk =
            self.chunks[slot as usize / CHUNK].get_or_init(|| (0..CHUNK).map(|_| SlotState::default()).collect());
        Some((slot, chunk[slot as usize % CHUNK].occupy(host)))
    }

    /// The process of a slot has ended; see [`SlotState::end`].
    pub(super) fn retire(&self, slot: u32, generation: u32) -> bool {
        let Some(state) = self.get(slot) else { return false };
        let expected = state.end(generation);
        // The last generation is the last process of the slot: no PID is used twice.
        if generation < u32::MAX {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        }
        expected
    }
}
