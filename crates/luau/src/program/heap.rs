//! What a program holds of its pod's heap, and when that is too much.

use super::Program;
use kernel::{Cx, Error, Exit, Kind, Next, Stopped};

/// A program that has taken so much is counted on its own.
const LARGE: usize = 1 << 20;
/// Times that a program may look too large in a category that it shares before it is taken to be.
const STRIKES: u8 = 3;

/// What is known of a program's part of the heap.
#[derive(Default)]
pub(super) struct Heap {
    /// Bytes that its slices took since they were last measured: an upper bound of what it holds.
    taken: usize,
    /// Its memory category and what it may have held before it had one; small programs share one.
    pub(super) category: Option<(i32, usize)>,
    /// It looked too large: the collector's cycle after which it is measured.
    measuring: Option<u64>,
    /// Times in a row that it looked too large in a category that it shares with others.
    strikes: u8,
}

impl Program {
    /// After a slice that took `taken` bytes: whether the program is too large, or has to be measured.
    pub(super) fn account(&mut self, next: Next, taken: usize, limit: usize) -> Next {
        self.heap.taken = self.heap.taken.saturating_add(taken);
        if self.heap.taken > LARGE.min(limit / 4) && self.heap.category.is_none() {
            self.heap.category = Some((self.pod.take_category(), self.heap.taken));
        }
        if self.heap.taken <= limit || matches!(next, Next::End(_)) {
            return next;
        }
        self.heap.measuring = Some(self.pod.collector.want_cycle());
        match next {
            // It goes on when it is measured; the kernel asks again.
            Next::Wait => Next::Again,
            next => next,
        }
    }

    /// Whether a program that looked too large has to wait for the collector, or is too large.
    pub(super) fn measured(&mut self, cx: &Cx<'_>) -> Option<Next> {
        let cycle = self.heap.measuring?;
        if !self.pod.collector.is_done(cycle) {
            return Some(Next::Preempted);
        }
        self.heap.measuring = None;
        let limit = cx.hosts()[self.pid.host()].memory_limit as usize;
        let (category, before) = self.heap.category?;
        let (bytes, own) = self.pod.measure(category);
        let held = bytes + before.min(LARGE);
        if held <= limit {
            self.heap.strikes = 0;
            self.heap.taken = if own { held } else { held.min(limit / 2) };
            return None;
        }
        if own || self.heap.strikes >= STRIKES {
            return Some(self.too_large(held, cx));
        }
        // It may be another process that shares the category. In a different one that shows.
        self.heap.strikes += 1;
        self.heap.taken = 0;
        let other = self.pod.take_category();
        self.pod.give_back_category(category);
        self.heap.category = Some((other, before));
        None
    }

    fn too_large(&self, held: usize, cx: &Cx<'_>) -> Next {
        let host = &cx.hosts()[self.pid.host()];
        let held = units::size::format((held as u64 >> 10) << 10);
        let (name, limit) = (&host.name, units::size::format(host.memory_limit));
        let text = format!("memory limit exceeded: it holds {held}, memory_limit is {limit} on host \"{name}\"");
        let error = Error::new(Kind::Unavailable, text).stopped(Stopped::Memory);
        Next::End(Exit::failed(error.with_stack(self.main.innermost().trace())))
    }
}
