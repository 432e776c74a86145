//! Figures: numbers that one thread counts and any thread reads.
//!
//! A figure is written by one thread only, with a plain load and a plain store: to count costs what adding to an
//! integer costs, and there is nothing to publish. The few that several threads write are counted by `*_shared`.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Zero.
    pub const fn new() -> Count {
        Count(AtomicU64::new(0))
    }

    /// More by `n`. Called by one thread only.
    pub fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    /// Less by `n`. Called by one thread only.
    pub fn sub(&self, n: u64) {
        self.set(self.get().wrapping_sub(n));
    }

    /// Another number. Called by one thread only.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// More by `n`, whoever else counts at the same time.
    pub fn add_shared(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Less by `n`, whoever else counts at the same time.
    pub fn sub_shared(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many values there were up to each of `N` bounds, and beyond the last one.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    within: [Count; N],
    beyond: Count,
    sum: Count,
}

impl<const N: usize> Histogram<N> {
    /// No values yet. `bounds` grow; a value that is equal to one belongs to it.
    pub const fn new(bounds: &'static [u64; N]) -> Histogram<N> {
        Histogram { bounds, within: [const { Count::new() }; N], beyond: Count::new(), sum: Count::new() }
    }

    /// Counts a value. Called by one thread only.
    pub fn observe(&self, value: u64) {
        self.place(value).add(1);
        self.sum.add(value);
    }

    /// Counts a value, whoever else counts at the same time.
    pub fn observe_shared(&self, value: u64) {
        self.place(value).add_shared(1);
        self.sum.add_shared(value);
    }

    /// The values so far.
    pub fn read(&self) -> Distribution {
        let within = self.within.iter().map(Count::get).collect();
        Distribution { bounds: self.bounds, within, beyond: self.beyond.get(), sum: self.sum.get() }
    }

    fn place(&self, value: u64) -> &Count {
        let place = self.bounds.iter().position(|&bound| value <= bound);
        place.map_or(&self.beyond, |place| &self.within[place])
    }
}

/// What a [`Histogram`] held when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// The bounds, growing.
    pub bounds: &'static [u64],
    /// Values up to each bound and above the one before it.
    pub within: Vec<u64>,
    /// Values above the last bound.
    pub beyond: u64,
    /// The sum of all values.
    pub sum: u64,
}

impl Distribution {
    /// The values of both. They have the same bounds.
    #[must_use]
    pub fn plus(mut self, other: &Distribution) -> Distribution {
        debug_assert_eq!(self.bounds, other.bounds);
        for (mine, theirs) in self.within.iter_mut().zip(&other.within) {
            *mine += theirs;
        }
        self.beyond += other.beyond;
        self.sum = self.sum.wrapping_add(other.sum);
        self
    }
}

/// The greatest value of the last quarter to half minute: whoever looks each 15 seconds misses none, and to look
/// changes nothing.
#[derive(Debug, Default)]
pub struct Peak {
    /// The number of the span that the last value fell into.
    span: Count,
    /// The greatest value of that span, and of the one before it.
    latest: Count,
    before: Count,
}

/// Nanoseconds of a span.
const SPAN: u64 = 15_000_000_000;

impl Peak {
    /// Nothing yet.
    pub const fn new() -> Peak {
        Peak { span: Count::new(), latest: Count::new(), before: Count::new() }
    }

    /// Notes a value at a time in nanoseconds. Called by one thread only.
    pub fn note(&self, now: u64, value: u64) {
        let span = now / SPAN;
        let past = span.wrapping_sub(self.span.get());
        if past > 0 {
            self.before.set(if past == 1 { self.latest.get() } else { 0 });
            self.latest.set(0);
            self.span.set(span);
        }
        if value > self.latest.get() {
            self.latest.set(value);
        }
    }

    /// The greatest value lately, as seen at a time in nanoseconds from the same zero. Between two spans a reader may
    /// find one of the two values gone: it is told the other.
    pub fn read(&self, now: u64) -> u64 {
        match (now / SPAN).saturating_sub(self.span.get()) {
            0 => self.latest.get().max(self.before.get()),
            1 => self.latest.get(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_to_the_least_bound_that_it_does_not_exceed() {
        let histogram = Histogram::new(&[10, 20, 40]);
        for value in [0, 10, 11, 20, 21, 40, 41, 1_000] {
            histogram.observe(value);
        }
        let read = histogram.read();
        assert_eq!((read.within.as_slice(), read.beyond, read.sum), ([2, 2, 2].as_slice(), 2, 1_143));
        let both = read.clone().plus(&read);
        assert_eq!((both.within.as_slice(), both.beyond, both.sum), ([4, 4, 4].as_slice(), 4, 2_286));
    }

    #[test]
    fn what_many_threads_count_at_once_is_all_counted() {
        let (count, histogram) = (Count::new(), Histogram::new(&[1]));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for value in 0..1_000 {
                        count.add_shared(1);
                        histogram.observe_shared(value);
                    }
                });
            }
        });
        let read = histogram.read();
        assert_eq!((count.get(), read.within[0], read.beyond), (4_000, 8, 3_992));
    }

    #[test]
    fn a_peak_is_seen_for_a_quarter_minute_at_least_and_half_a_minute_at_most() {
        const SECOND: u64 = 1_000_000_000;
        for begins in [0, 14, 15, 29] {
            let peak = Peak::new();
            peak.note(begins * SECOND, 7);
            peak.note(begins * SECOND, 3);
            assert_eq!(peak.read(begins * SECOND), 7);
            assert_eq!(peak.read((begins + 15) * SECOND), 7, "begun at {begins}");
            assert_eq!(peak.read((begins + 30) * SECOND), 0, "begun at {begins}");
            // Smaller values do not hide it, and do not keep it.
            for second in begins..begins + 60 {
                peak.note(second * SECOND, 1);
                let seen = peak.read(second * SECOND);
                assert!(if second <= begins + 15 { seen == 7 } else { seen == 1 || second < begins + 30 });
            }
        }
    }
}
