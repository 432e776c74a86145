//! Compressed messages back to what they were.
//!
//! A small message is inflated when it is read, by the shard's one decompressor ([`Inflaters::unpack`]). A larger one
//! becomes an [`Unpacking`], which goes on step by step as its process is scheduled, with a decompressor of its own.
//! Either way no more comes out than the limit of a message and a little, whatever went in, and text is checked as it
//! comes out.

use super::super::codec::{Fault, Violation, utf8};
use super::limits;
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use std::rc::Rc;

/// What the sender left off (RFC 7692 section 7.2.2), then an empty final block: it can only be one where the message
/// really ended, so a message that is cut is noticed.
const TAIL: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];
/// What is inflated by one call.
const CHUNK: usize = 32 << 10;
/// The largest window.
const WINDOW: usize = 32 << 10;

const BROKEN: Fault = Fault::Protocol(Violation::BrokenDeflate);

/// The decompressors of a shard.
#[derive(Default)]
pub struct Inflaters {
    /// The one for what is inflated at once.
    quick: Option<Box<Decompress>>,
    /// Scratch memory for what comes out of one call, and for a small message.
    chunk: Vec<u8>,
    whole: Vec<u8>,
    /// As many more as there are decompressors at work on large messages.
    lent: Rc<()>,
    /// Work in this turn.
    spent: u64,
}

/// What a compressed message amounts to.
#[derive(Debug)]
pub enum Unpacked {
    /// The message; text is valid UTF-8.
    Whole(Bytes),
    /// It is too large to be inflated at once: [`Unpacking::step`] until it is done.
    Begun(Box<Unpacking>),
    /// It is wrong.
    Fault(Fault),
}

/// A large message that is being inflated.
#[derive(Debug)]
pub struct Unpacking {
    binary: bool,
    input: Vec<u8>,
    out: Vec<u8>,
    run: Run,
    /// None until one is free.
    engine: Option<Engine>,
}

#[derive(Debug)]
struct Engine {
    inflater: Box<Decompress>,
    _lent: Rc<()>,
}

/// How far a message is inflated.
#[derive(Debug)]
struct Run {
    /// The text so far, if it is one.
    text: Option<utf8::Validator>,
    /// The next byte that goes in.
    at: usize,
    /// The next byte of the tail.
    tail: usize,
    /// Deflate streams so far.
    streams: u32,
}

impl Inflaters {
    /// Inflates a message, at once if it is small and the turn has room for it. `window`: the end of the messages
    /// before it, as far as it may refer to them. `max`: its largest size.
    pub fn unpack(&mut self, binary: bool, input: &[u8], window: &[u8], max: usize) -> Unpacked {
        if input.len() <= limits::QUICK_IN && self.spent < limits::INFLATE_TURN {
            let inflater = self.quick.get_or_insert_with(fresh);
            let mut whole = std::mem::take(&mut self.whole);
            whole.clear();
            begin(inflater, window, &[]);
            let mut allowance = limits::INFLATE_TURN;
            let room = limits::QUICK_OUT;
            let mut run = Run::new(binary);
            let done = run.go_on(inflater, input, window, &mut whole, max, room, &mut self.chunk, &mut allowance);
            self.spent += limits::INFLATE_TURN - allowance;
            let unpacked = match done {
                Ok(true) => Some(Unpacked::Whole(Bytes::copy_from_slice(&whole))),
                Ok(false) => None,
                Err(fault) => Some(Unpacked::Fault(fault)),
            };
            self.whole = whole;
            if let Some(unpacked) = unpacked {
                return unpacked;
            }
        }
        // What was done of it is done again, by a decompressor that it can keep.
        let unpacking =
            Unpacking { binary, input: input.to_vec(), out: Vec::new(), run: Run::new(binary), engine: None };
        Unpacked::Begun(Box::new(unpacking))
    }

    /// The turn is over.
    pub fn end_turn(&mut self) {
        self.spent = 0;
    }

    fn lend(&mut self) -> Option<Engine> {
        let free = Rc::strong_count(&self.lent) <= limits::ENGINES;
        free.then(|| Engine { inflater: fresh(), _lent: self.lent.clone() })
    }
}

impl Unpacking {
    /// What came in, in bytes.
    pub fn taken(&self) -> usize {
        self.input.len()
    }

    /// Bytes of memory that it holds.
    pub fn held(&self) -> usize {
        self.input.capacity() + self.out.capacity()
    }

    /// The next step. `None`: another one is needed. The other arguments are those that it began with.
    pub fn step(
        &mut self,
        inflaters: &mut Inflaters,
        window: &[u8],
        max: usize,
    ) -> Option<Result<(bool, Bytes), Fault>> {
        if self.engine.is_none() {
            let mut engine = inflaters.lend()?;
            begin(&mut engine.inflater, window, &[]);
            self.engine = Some(engine);
        }
        let engine = self.engine.as_mut()?;
        let mut allowance = limits::INFLATE_STEP;
        let chunk = &mut inflaters.chunk;
        let out = &mut self.out;
        match self.run.go_on(&mut engine.inflater, &self.input, window, out, max, usize::MAX, chunk, &mut allowance) {
            Ok(false) => None,
            Ok(true) => Some(Ok((self.binary, Bytes::from(std::mem::take(out).into_boxed_slice())))),
            Err(fault) => Some(Err(fault)),
        }
    }
}

impl Run {
    fn new(binary: bool) -> Run {
        Run { text: (!binary).then(utf8::Validator::new), at: 0, tail: 0, streams: 1 }
    }

    /// Inflates until the message is done (`true`), or the allowance or the `room` for what comes out is used up.
    #[expect(clippy::too_many_arguments, reason = "the state of a run is its own, all else its callers'")]
    fn go_on(
        &mut self,
        inflater: &mut Decompress,
        input: &[u8],
        window: &[u8],
        out: &mut Vec<u8>,
        max: usize,
        room: usize,
        chunk: &mut Vec<u8>,
        allowance: &mut u64,
    ) -> Result<bool, Fault> {
        // Some leave the one byte out that an empty message has (section 7.2.3.6).
        if input.is_empty() {
            return Ok(true);
        }
        chunk.resize(CHUNK, 0);
        *allowance = allowance.saturating_sub(limits::INFLATE_START);
        while *allowance > 0 && out.len() <= room {
            let is_tail = self.at == input.len();
            // Small portions, so that the allowance is looked at often.
            let source = if is_tail { &TAIL[self.tail..] } else { &input[self.at..input.len().min(self.at + 2048)] };
            let (came, went) = (inflater.total_in(), inflater.total_out());
            let status = inflater.decompress(source, chunk, FlushDecompress::None).map_err(|_| BROKEN)?;
            let used = (inflater.total_in() - came) as usize;
            let made = &chunk[..(inflater.total_out() - went) as usize];
            *(if is_tail { &mut self.tail } else { &mut self.at }) += used;
            let price = used as u64 * limits::INFLATE_IN + made.len() as u64 * limits::INFLATE_OUT;
            *allowance = allowance.saturating_sub(price);
            if made.len() > max - out.len() {
                return Err(Fault::TooBig);
            }
            if let Some(text) = &mut self.text {
                text.feed(made).map_err(|_| Fault::InvalidUtf8)?;
            }
            append(out, made, max);
            if status == Status::StreamEnd {
                if self.tail == TAIL.len() || (self.tail == 0 && self.at == input.len()) {
                    return match &mut self.text {
                        Some(text) => text.finish().map(|()| true).map_err(|_| Fault::InvalidUtf8),
                        None => Ok(true),
                    };
                }
                // A final block, and the message goes on (section 7.2.3.5). Within the tail it is a cut message.
                self.streams += 1;
                if self.tail > 0 || self.streams > limits::STREAMS {
                    return Err(BROKEN);
                }
                *allowance = allowance.saturating_sub(limits::INFLATE_START);
                begin(inflater, window, out);
            } else if used == 0 && made.is_empty() {
                return Err(BROKEN);
            }
        }
        Ok(false)
    }
}

fn fresh() -> Box<Decompress> {
    Box::new(Decompress::new_with_window_bits(false, 15))
}

/// A new stream that may refer to what came before it: the window, then what the message is so far.
fn begin(inflater: &mut Decompress, window: &[u8], out: &[u8]) {
    inflater.reset(false);
    if window.is_empty() && out.is_empty() {
        return;
    }
    let shown = if out.is_empty() {
        inflater.set_dictionary(window)
    } else if out.len() >= WINDOW || window.is_empty() {
        inflater.set_dictionary(&out[out.len().saturating_sub(WINDOW)..])
    } else {
        let both = [window, out].concat();
        inflater.set_dictionary(&both[both.len().saturating_sub(WINDOW)..])
    };
    debug_assert!(shown.is_ok(), "a raw stream takes any dictionary at its beginning");
}

/// Appends, without taking much more memory than a message may have.
fn append(out: &mut Vec<u8>, made: &[u8], max: usize) {
    let (len, capacity) = (out.len(), out.capacity());
    if capacity - len < made.len() {
        let target = capacity.saturating_mul(2).min(max).max(len + made.len());
        out.reserve_exact(target - len);
    }
    out.extend_from_slice(made);
}

#[cfg(test)]
mod tests;
