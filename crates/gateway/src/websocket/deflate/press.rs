//! Messages to compressed ones.
//!
//! The compressors of a shard: one for each size of window that its clients asked for, made when it is first needed,
//! and made fresh for each message. Without takeover the outcome depends on the message and the window alone, so it is
//! remembered while the message is on its way to others: a broadcast is compressed once.

use super::limits;
use super::window::Window;
use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use std::collections::HashMap;

/// What each compressed message ends with, and what is left off (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The compressors of a shard.
#[derive(Default)]
pub struct Press {
    /// For windows of 2^9 to 2^15 bytes.
    compressors: [Option<Box<Compress>>; 7],
    /// Messages by the place of their bytes, which cannot be another message's while these are held.
    remembered: HashMap<(usize, usize, u8), Remembered>,
    /// Work in this turn.
    spent: u64,
    /// Messages that were compressed, or found not to be worth it; those that were remembered do not count.
    pub runs: u64,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pressed {
    /// It is smaller.
    Smaller(Bytes),
    /// It does not shrink, and goes out as it is.
    AsItIs,
    /// Another turn. `worked`: something was done for it.
    Later {
        /// Those for whom nothing was done go first.
        worked: bool,
    },
}

/// A message that is being compressed.
#[derive(Debug)]
pub struct Job {
    raw: Bytes,
    at: usize,
    out: Vec<u8>,
}

struct Remembered {
    job: Job,
    /// None while it is being compressed.
    outcome: Option<Pressed>,
    used: bool,
}

impl Press {
    /// Compresses a message that refers to no other. `bits`: its window.
    pub fn alone(&mut self, raw: &Bytes, bits: u8) -> Pressed {
        let key = (raw.as_ptr() as usize, raw.len(), bits);
        if let Some(known) = self.remembered.get_mut(&key) {
            known.used = true;
            if let Some(outcome) = &known.outcome {
                return outcome.clone();
            }
        } else if raw.is_unique() && raw.len() <= limits::PIECE {
            return self.at_once(raw, bits);
        } else if self.remembered.len() < limits::REMEMBERED {
            let job = Job::new(raw);
            self.remembered.insert(key, Remembered { job, outcome: None, used: true });
        } else if raw.len() <= limits::PIECE {
            return self.at_once(raw, bits);
        } else {
            return Pressed::Later { worked: false };
        }
        let Some(mut known) = self.remembered.remove(&key) else { return Pressed::Later { worked: false } };
        let pressed = self.work(&mut known.job, bits, &[]);
        if !matches!(pressed, Pressed::Later { .. }) {
            known.outcome = Some(pressed.clone());
            known.job.out = Vec::new();
        }
        self.remembered.insert(key, known);
        pressed
    }

    /// Compresses a message that may refer to those before it, and notes it in the window if it was compressed.
    /// `job`: what is left of the last call for the same message.
    pub fn chained(&mut self, raw: &Bytes, bits: u8, window: &mut Window, job: &mut Option<Box<Job>>) -> Pressed {
        let mut current = match job.take() {
            Some(job) if job.raw.as_ptr() == raw.as_ptr() && job.raw.len() == raw.len() => *job,
            _ => Job::new(raw),
        };
        let pressed = self.work(&mut current, bits, window.bytes());
        match pressed {
            Pressed::Smaller(_) => window.push(raw),
            Pressed::AsItIs => {}
            Pressed::Later { .. } => *job = Some(Box::new(current)),
        }
        pressed
    }

    /// The turn is over. What nobody asked for in it is forgotten, and everything if `at_rest`.
    pub fn end_turn(&mut self, at_rest: bool) {
        self.spent = 0;
        if at_rest {
            self.remembered.clear();
        } else if !self.remembered.is_empty() {
            self.remembered.retain(|_, known| std::mem::take(&mut known.used));
        }
    }

    fn at_once(&mut self, raw: &Bytes, bits: u8) -> Pressed {
        self.work(&mut Job::new(raw), bits, &[])
    }

    /// One piece of a message, if the turn has room for it.
    fn work(&mut self, job: &mut Job, bits: u8, window: &[u8]) -> Pressed {
        if self.spent >= limits::PRESS_TURN {
            return Pressed::Later { worked: false };
        }
        let end = job.raw.len().min(job.at + limits::PIECE);
        let piece = &job.raw[job.at..end];
        let before = if job.at == 0 { window } else { &job.raw[..job.at] };
        let before = &before[before.len().saturating_sub(1 << bits)..];
        self.spent +=
            limits::PRESS_START + piece.len() as u64 * limits::PRESS_BYTE + before.len() as u64 * limits::PRESS_WINDOW;
        if self.compress(bits, before, piece, &mut job.out).is_none() || job.out.len() >= end {
            self.runs += 1;
            return Pressed::AsItIs;
        }
        job.at = end;
        if end < job.raw.len() {
            return Pressed::Later { worked: true };
        }
        self.runs += 1;
        job.out.truncate(job.out.len() - TAIL.len());
        Pressed::Smaller(Bytes::from(std::mem::take(&mut job.out).into_boxed_slice()))
    }

    /// Appends a piece and the mark that ends it. `None`: the compressor failed, which it has no reason to.
    fn compress(&mut self, bits: u8, window: &[u8], piece: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let slot = &mut self.compressors[usize::from(bits.clamp(9, 15) - 9)];
        let compressor = slot.get_or_insert_with(|| {
            Box::new(Compress::new_with_window_bits(Compression::new(limits::LEVEL), false, bits))
        });
        compressor.reset();
        if !window.is_empty() {
            compressor.set_dictionary(window).ok()?;
        }
        let mut rest = piece;
        // Most messages shrink; the few bytes more are for the mark.
        out.reserve(piece.len() / 2 + 64);
        loop {
            let before = compressor.total_in();
            let status = compressor.compress_vec(rest, out, FlushCompress::Sync).ok()?;
            rest = &rest[(compressor.total_in() - before) as usize..];
            // Room is left, so the mark has been written as well.
            if rest.is_empty() && out.len() < out.capacity() {
                break;
            }
            if status == Status::StreamEnd {
                return None;
            }
            out.reserve(rest.len() + 64);
        }
        out.ends_with(&TAIL).then_some(())
    }
}

impl Job {
    fn new(raw: &Bytes) -> Job {
        Job { raw: raw.clone(), at: 0, out: Vec::new() }
    }

    /// Bytes of heap beside the message itself.
    pub fn held(&self) -> usize {
        self.out.capacity()
    }
}

#[cfg(test)]
mod tests;
