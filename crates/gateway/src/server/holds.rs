//! What the bodies of requests and the answers of one shard hold, and who of them goes when there is no room.
//!
//! Each side has half of the cap ([`Ceiling`]). When a side has used it up, those go that have made no progress for the
//! longest, and for [`limits::NO_PROGRESS`] at least, until nine tenths are left: whoever sends or reads is left alone.
//! What comes when nobody has to go is refused. The order is strict on one shard; a shard that finds nobody of its own
//! asks the others, which have made room when the client comes again.
//!
//! An answer counts from when its handler writes it. What is small goes out at once and is counted nowhere
//! ([`limits::UNCOUNTED`]).

use super::limits;
use crate::seldom::Seldom;
use crate::websocket::ceiling::{Ceiling, Rank, Side};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// In nanoseconds.
const NO_PROGRESS: u64 = limits::NO_PROGRESS.as_nanos() as u64;
/// Holds that are remembered before those that are gone are looked for.
const FEW: usize = 64;
/// For [`Hold::since`]: it waits for no client.
const NOT_WAITING: u64 = u64::MAX;

/// What one shard's requests and answers hold. Used on the shard's thread; what is held may be dropped anywhere.
pub struct Holds {
    ceiling: Arc<Ceiling>,
    shard: usize,
    /// The zero of the node's time.
    epoch: Instant,
    wake: Box<dyn Fn(usize) + Send + Sync>,
    all: Mutex<Known>,
    /// By side: until what progressed then has stood for long enough, nobody has.
    calm: [AtomicU64; Side::ALL.len()],
    told: Seldom,
}

/// The holds that may still live.
struct Known {
    holds: Vec<Weak<Hold>>,
    /// How many there may be before those that are gone are forgotten.
    most: usize,
}

/// What one body or answer holds, counted while this lives and was not cut.
pub(crate) struct Hold {
    holds: Arc<Holds>,
    side: Side,
    bytes: AtomicU64,
    /// Since when it has made no progress, in nanoseconds of the node's time.
    since: AtomicU64,
    /// Bytes that came since then, too few to be progress.
    few: AtomicU64,
    is_cut: AtomicBool,
    /// Who waits for the client, and is told of the cut.
    waker: Mutex<Option<Waker>>,
}

impl Holds {
    /// Nothing yet, on that shard. `epoch` is the zero of the node's time, and `wake` has a shard take a turn.
    pub fn new(
        ceiling: Arc<Ceiling>,
        shard: usize,
        epoch: Instant,
        wake: impl Fn(usize) + Send + Sync + 'static,
    ) -> Arc<Holds> {
        Arc::new(Holds {
            ceiling,
            shard,
            epoch,
            wake: Box::new(wake),
            all: Mutex::new(Known { holds: Vec::new(), most: FEW }),
            calm: Default::default(),
            told: Seldom::default(),
        })
    }

    /// The cap.
    pub(crate) fn ceiling(&self) -> &Arc<Ceiling> {
        &self.ceiling
    }

    pub(crate) fn shard(&self) -> usize {
        self.shard
    }

    /// Begins to count what a body or an answer holds. It waits for no client yet.
    pub(crate) fn begin(self: &Arc<Self>, side: Side) -> Arc<Hold> {
        let hold = Arc::new(Hold {
            holds: self.clone(),
            side,
            bytes: AtomicU64::new(0),
            since: AtomicU64::new(NOT_WAITING),
            few: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        let mut known = self.known();
        if known.holds.len() >= known.most {
            known.holds.retain(|hold| hold.strong_count() > 0);
            known.most = (2 * known.holds.len()).max(FEW);
        }
        known.holds.push(Arc::downgrade(&hold));
        hold
    }

    /// All that there are.
    pub(crate) fn all(&self) -> Vec<Arc<Hold>> {
        self.known().holds.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known().holds.iter().all(|hold| hold.strong_count() == 0)
    }

    /// Nanoseconds of the node's time.
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the room that other shards did not find. To be called once a turn.
    pub(crate) fn oblige(&self) {
        for side in Side::ALL {
            let wanted = self.ceiling.wanted(self.shard, side);
            if wanted > 0 {
                self.shed(side, wanted);
            }
        }
    }

    fn fits(&self, side: Side, bytes: u64) -> bool {
        self.ceiling.side_held(side) + bytes <= self.ceiling.side_limit()
    }

    /// Whether there is room, now that those are gone who make no progress.
    fn make_room(&self, hold: &Hold, bytes: u64) -> bool {
        let most = self.ceiling.side_limit();
        // Nobody goes in vain.
        if hold.bytes.load(Ordering::Relaxed) + bytes > most {
            return false;
        }
        self.shed(hold.side, bytes);
        let fits = self.fits(hold.side, bytes);
        if !fits {
            self.ceiling.want(self.shard, hold.side, bytes).for_each(&self.wake);
        }
        // It may have been the slowest itself.
        fits && !hold.is_cut()
    }

    /// Cuts those of a side that make no progress, the slowest first, until nine tenths are left with the new bytes.
    fn shed(&self, side: Side, bytes: u64) {
        let (now, calm) = (self.now(), &self.calm[side as usize]);
        let Some(long_ago) = now.checked_sub(NO_PROGRESS) else { return };
        if long_ago < calm.load(Ordering::Relaxed) {
            return;
        }
        let waiting = self.all().into_iter().filter(|hold| hold.side == side);
        let waiting = waiting.filter_map(|hold| Some((hold.rank()?.0, hold.since.load(Ordering::Relaxed), hold)));
        let (mut slow, quick): (Vec<_>, Vec<_>) = waiting.partition(|(_, since, _)| *since <= long_ago);
        slow.sort_unstable_by_key(|(rank, ..)| *rank);
        let goal = self.ceiling.side_limit() / 10 * 9;
        let mut cut = 0;
        for (.., hold) in &slow {
            if self.ceiling.side_held(side) + bytes <= goal {
                break;
            }
            hold.cut();
            cut += 1;
        }
        if cut == slow.len() {
            let next = quick.iter().map(|(_, since, _)| *since).min();
            calm.store(next.unwrap_or(now), Ordering::Relaxed);
        }
        self.tell(side, cut);
    }

    fn tell(&self, side: Side, cut: usize) {
        if cut == 0 {
            return;
        }
        if let Some(left_out) = self.told.may(Instant::now()) {
            let (shard, limit) = (self.shard, self.ceiling.side_limit());
            let (fault, message) = match side {
                Side::Body => ("bodies of requests hold more than half of --max-queued", "the slowest bodies were cut"),
                Side::Answer => ("unread answers hold more than half of --max-queued", "the slowest answers were cut"),
            };
            tracing::warn!(shard, cut, limit, left_out, fault, "{message}");
        }
    }
}

impl Hold {
    /// Counts more. `false` if there is no room for it, even when all have gone that make no progress.
    pub(crate) fn grow(&self, bytes: usize) -> bool {
        let (holds, bytes) = (&self.holds, bytes as u64);
        if self.is_cut() || !holds.fits(self.side, bytes) && !holds.make_room(self, bytes) {
            return false;
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        holds.ceiling.side_grows(holds.shard, self.side, bytes);
        if holds.ceiling.judge() {
            // Who has to go is decided in a turn.
            (holds.wake)(holds.shard);
        }
        true
    }

    /// From now on it waits for its client.
    pub(crate) fn wait(&self) {
        self.since.store(self.holds.now(), Ordering::Relaxed);
    }

    /// So many bytes were taken or have come. Only a piece of some size is progress: a byte now and then is none.
    pub(crate) fn moved(&self, bytes: usize) {
        let few = self.few.load(Ordering::Relaxed) + bytes as u64;
        let is_progress = few >= limits::STREAM_PIECE as u64;
        self.few.store(if is_progress { 0 } else { few }, Ordering::Relaxed);
        if is_progress {
            self.wait();
        }
    }

    /// It is complete: it is counted until it is dropped, and waits for no client.
    pub(crate) fn finish(&self) {
        self.since.store(NOT_WAITING, Ordering::Relaxed);
    }

    /// How slow it is, and how much it holds. None if it holds nothing, or waits for no client.
    pub(crate) fn rank(&self) -> Option<(Rank, u64)> {
        let (bytes, since) = (self.bytes.load(Ordering::Relaxed), self.since.load(Ordering::Relaxed));
        if bytes == 0 || since == NOT_WAITING {
            return None;
        }
        let is_quick = self.holds.now().saturating_sub(since) < NO_PROGRESS;
        Some((Rank::of(since, is_quick || bytes < Rank::LITTLE), bytes))
    }

    /// Gives back what it holds. Whoever waits for its client hears of it, and lets go.
    pub(crate) fn cut(&self) {
        if self.is_cut.swap(true, Ordering::Relaxed) {
            return;
        }
        self.holds.ceiling.side_was_cut(self.holds.shard, self.side);
        self.release();
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Ready once it was cut.
    pub(crate) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_cut() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn release(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        self.holds.ceiling.side_shrinks(self.holds.shard, self.side, bytes);
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("side", &self.side).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}

/// The body of an answer that is counted. It holds all of its memory until the last piece was taken, so all of it
/// counts until then, and what is taken is a copy: a piece that waits in a connection keeps nothing else.
pub(crate) struct Counted {
    bytes: Bytes,
    /// What was not taken.
    left: usize,
    is_begun: bool,
    hold: Arc<Hold>,
}

impl Counted {
    /// Begins to send what `hold` counts.
    pub(crate) fn new(bytes: Vec<u8>, hold: Arc<Hold>) -> Counted {
        hold.wait();
        Counted { left: bytes.len(), bytes: bytes.into(), is_begun: false, hold }
    }

    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(None);
        }
        if this.hold.is_cut() {
            this.bytes = Bytes::new();
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        let piece = this.bytes.split_to(this.left.min(limits::STREAM_PIECE));
        this.left = this.bytes.len();
        this.hold.moved(limits::STREAM_PIECE);
        let is_whole = !std::mem::replace(&mut this.is_begun, true) && this.left == 0;
        if is_whole {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let piece = Bytes::copy_from_slice(&piece);
        if this.left == 0 {
            this.bytes = Bytes::new();
            this.hold.release();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    /// What was promised when it was begun, cut or not.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests;
