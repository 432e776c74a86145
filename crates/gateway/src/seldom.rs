//! Lines of the log that many clients could cause: one now and then, with the number of those left out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// From one line to the next.
const EVERY: Duration = Duration::from_secs(5);

/// One kind of line. Any thread may ask.
#[derive(Debug)]
pub(crate) struct Seldom {
    began: Instant,
    /// When the last line was written, in milliseconds since `began`, and one more.
    last: AtomicU64,
    left_out: AtomicU64,
}

impl Default for Seldom {
    fn default() -> Self {
        Seldom { began: Instant::now(), last: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }
}

impl Seldom {
    /// Whether a line may be written now: how many were left out since the last one.
    pub(crate) fn may(&self, now: Instant) -> Option<u64> {
        let now = u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let last = self.last.load(Ordering::Relaxed);
        let is_soon = last != 0 && now.saturating_sub(last) < EVERY.as_millis() as u64;
        if is_soon || self.last.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_passes_and_the_next_one_says_how_many_were_left_out() {
        let seldom = Seldom::default();
        let now = seldom.began;
        assert_eq!(seldom.may(now), Some(0));
        assert_eq!(seldom.may(now), None);
        assert_eq!(seldom.may(now + EVERY - Duration::from_millis(1)), None);
        assert_eq!(seldom.may(now + EVERY), Some(2));
        assert_eq!(seldom.may(now + EVERY), None);
    }
}
