//! A client's bytes to events, in place.
//!
//! ```
//! use gateway::websocket::codec::{Decoder, Event};
//!
//! let mut decoder = Decoder::new(1 << 20);
//! // The shard's read buffer: a masked "Hello" (RFC 6455 section 5.7), then the beginning of a next frame.
//! let mut read = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x81";
//! let mut rest = &mut read[..];
//! assert_eq!(decoder.next(&mut rest), Some(Event::Message { binary: false, data: b"Hello" }));
//! assert_eq!(decoder.next(&mut rest), None, "the rest is consumed and waits in the decoder");
//! ```

use super::super::deflate::limits;
use super::header::{self, Header};
use super::{Event, Fault, Opcode, Violation, close_code_may_be_sent, mask, utf8};
use std::cell::Cell;

/// One connection's decoder. It never looks at a byte twice and reserves nothing for a length that a client
/// merely declares.
#[derive(Debug)]
pub struct Decoder {
    /// The unfinished message, unmasked, followed by the payload of an unfinished control frame.
    /// No capacity unless something is unfinished.
    assembly: Vec<u8>,
    phase: Phase,
    /// The largest message, over all its fragments.
    max_message: usize,
    /// The text of the unfinished message so far.
    text: utf8::Validator,
    /// The kind of the unfinished message.
    open: Option<Opcode>,
    spent: Spent,
    deflate: Deflate,
}

/// What the next byte is.
#[derive(Debug)]
enum Phase {
    /// A byte of a head, of which `len` bytes are here already.
    Head { len: u8, bytes: [u8; header::LONGEST] },
    /// A byte of a payload that was not there as a whole.
    Payload {
        opcode: Opcode,
        fin: bool,
        /// How much of the assembly's end this control frame will be; 0 for data.
        control: u8,
        /// The key as it applies to the next byte.
        mask: [u8; 4],
        missing: u64,
    },
    /// Of no interest: the client closed or broke the protocol.
    Ended,
}

/// What the last event lent from the assembly; it is released when the next event is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spent {
    Nothing,
    Control(u8),
    Everything,
}

/// Whether messages may be compressed, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deflate {
    /// They may not.
    Off,
    /// They may; the unfinished one, if any, is not.
    Agreed,
    /// The unfinished one is.
    Message,
}

thread_local! {
    /// Frames that did not end their message, of text and of binary ones. Here and not in the decoder, which most
    /// connections have for nothing but whole frames.
    static FRAGMENTS: Cell<[u32; 2]> = const { Cell::new([0; 2]) };
}

fn count_fragment(binary: bool) {
    let mut fragments = FRAGMENTS.get();
    fragments[usize::from(binary)] = fragments[usize::from(binary)].saturating_add(1);
    FRAGMENTS.set(fragments);
}

/// Frames that did not end their message, of text and of binary ones: those that this thread has decoded since the last
/// call.
pub fn take_fragments() -> [u32; 2] {
    FRAGMENTS.take()
}

const AT_HEAD: Phase = Phase::Head { len: 0, bytes: [0; header::LONGEST] };

impl Decoder {
    /// A decoder that refuses messages of more than `max_message` bytes.
    pub const fn new(max_message: usize) -> Self {
        Decoder {
            assembly: Vec::new(),
            phase: AT_HEAD,
            max_message,
            text: utf8::Validator::new(),
            open: None,
            spent: Spent::Nothing,
            deflate: Deflate::Off,
        }
    }

    /// The same for a connection on which permessage-deflate was agreed. Of a compressed message no more is taken in
    /// than one of `max_message` bytes can have compressed.
    pub fn with_deflate(self) -> Self {
        Decoder { deflate: Deflate::Agreed, ..self }
    }

    /// The next event in `input`, which is moved past the bytes that were used and unmasked in place.
    ///
    /// `None`: all bytes are used and more are needed. Ask until then, because the memory of a message that
    /// came in several reads is given back by the next call. A caller that stops earlier (no credit) keeps
    /// what is left of `input` and passes it on later, before newer bytes. After [`Event::Close`] and
    /// [`Event::Fault`] there is no other event: all input is swallowed.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i mut [u8]) -> Option<Event<'s>> {
        if self.spent != Spent::Nothing {
            self.release();
        }
        let finished = loop {
            match &mut self.phase {
                Phase::Head { .. } => {
                    let header = match self.head(input) {
                        Ok(Some(header)) => header,
                        Ok(None) => return None,
                        Err(fault) => return Some(self.fail(fault)),
                    };
                    let opcode = header.opcode;
                    let whole = header.len <= input.len() as u64;
                    if whole && (opcode.is_control() || (header.fin && self.open.is_none())) {
                        let payload = take(input, header.len as usize);
                        mask::apply(payload, header.mask);
                        return Some(self.in_place(opcode, header.compressed, payload));
                    }
                    self.phase = Phase::Payload {
                        opcode,
                        fin: header.fin,
                        control: if opcode.is_control() { header.len as u8 } else { 0 },
                        mask: header.mask,
                        missing: header.len,
                    };
                    if !opcode.is_control() && self.open.is_none() {
                        self.open = Some(opcode);
                        if header.compressed {
                            self.deflate = Deflate::Message;
                        }
                    }
                }
                Phase::Payload { opcode, fin, control, mask, missing } => {
                    let (opcode, fin, control) = (*opcode, *fin, *control);
                    let wanted = usize::try_from(*missing).unwrap_or(usize::MAX);
                    let piece = take(input, wanted.min(input.len()));
                    mask::apply(piece, *mask);
                    *mask = mask::advance(*mask, piece.len());
                    let before = *missing;
                    *missing -= piece.len() as u64;
                    let complete = *missing == 0;

                    if !opcode.is_control() && self.open == Some(Opcode::Text) && self.deflate != Deflate::Message {
                        let fed = self.text.feed(piece);
                        let text = if complete && fin { fed.and_then(|()| self.text.finish()) } else { fed };
                        if text.is_err() {
                            return Some(self.fail(Fault::InvalidUtf8));
                        }
                    }
                    self.append(piece, fin.then_some(before));
                    if !complete {
                        return None;
                    }
                    self.phase = AT_HEAD;
                    if opcode.is_control() || fin {
                        break (opcode, control);
                    }
                    count_fragment(self.open == Some(Opcode::Binary));
                }
                Phase::Ended => {
                    *input = &mut [];
                    return None;
                }
            }
        };
        Some(self.assembled(finished.0, finished.1))
    }

    /// Bytes of heap that the unfinished message holds; 0 for an idle connection.
    pub fn held(&self) -> usize {
        self.assembly.capacity()
    }

    /// What the frame under way still lacks: 0 between frames, and more than any frame while its head is not complete. As
    /// long as it is the same part of the same frame, it is less by each byte that comes.
    pub fn missing(&self) -> u64 {
        match &self.phase {
            Phase::Head { len: 0, .. } | Phase::Ended => 0,
            Phase::Head { len, .. } => u64::MAX - u64::from(*len),
            Phase::Payload { missing, .. } => *missing,
        }
    }

    /// Gives up the unfinished message. Whatever comes is discarded.
    pub fn abandon(&mut self) {
        self.end();
        self.spent = Spent::Nothing;
    }

    /// Whether the client closed or broke the protocol, so that whatever comes is discarded.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// The rest of a head, judged alone and against what came before it.
    #[inline]
    fn head(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, Fault> {
        let Phase::Head { len, bytes } = &mut self.phase else { unreachable!("only called at a head") };
        let header = if *len == 0 {
            match header::parse(input, self.deflate != Deflate::Off)? {
                Some((header, size)) => {
                    take(input, size);
                    header
                }
                None => {
                    *len = input.len() as u8;
                    bytes[..input.len()].copy_from_slice(input);
                    *input = &mut [];
                    return Ok(None);
                }
            }
        } else {
            let had = usize::from(*len);
            let more = input.len().min(header::LONGEST - had);
            bytes[had..had + more].copy_from_slice(&input[..more]);
            match header::parse(&bytes[..had + more], self.deflate != Deflate::Off)? {
                Some((header, size)) => {
                    *len = 0;
                    take(input, size - had);
                    header
                }
                None => {
                    *len += more as u8;
                    *input = &mut [];
                    return Ok(None);
                }
            }
        };
        if !header.opcode.is_control() {
            match (header.opcode, self.open) {
                (Opcode::Continuation, None) => {
                    return Err(Fault::Protocol(Violation::ContinuationOfNothing));
                }
                (Opcode::Text | Opcode::Binary, Some(_)) => {
                    return Err(Fault::Protocol(Violation::MessageInsideMessage));
                }
                _ => {}
            }
            // At a head the assembly holds the open message and nothing else.
            let compressed = header.compressed || self.deflate == Deflate::Message;
            let max = if compressed { limits::compressed(self.max_message) } else { self.max_message };
            if header.len > (max - self.assembly.len()) as u64 {
                return Err(Fault::TooBig);
            }
        }
        Ok(Some(header))
    }

    /// The event of a frame that lies in the read buffer as a whole: nothing is copied.
    #[inline]
    fn in_place<'i>(&mut self, opcode: Opcode, compressed: bool, payload: &'i [u8]) -> Event<'i> {
        match opcode {
            _ if compressed => Event::Deflated { binary: opcode == Opcode::Binary, data: payload },
            Opcode::Text if utf8::check(payload).is_err() => self.fail(Fault::InvalidUtf8),
            Opcode::Text => Event::Message { binary: false, data: payload },
            Opcode::Binary | Opcode::Continuation => Event::Message { binary: true, data: payload },
            Opcode::Ping => Event::Ping(payload),
            Opcode::Pong => Event::Pong(payload),
            Opcode::Close => {
                self.end();
                close(payload)
            }
        }
    }

    /// The event of a frame that has just become complete in the assembly.
    fn assembled(&mut self, opcode: Opcode, control: u8) -> Event<'_> {
        let control_at = self.assembly.len() - usize::from(control);
        self.spent = Spent::Control(control);
        match opcode {
            Opcode::Ping => Event::Ping(&self.assembly[control_at..]),
            Opcode::Pong => Event::Pong(&self.assembly[control_at..]),
            Opcode::Close => {
                self.phase = Phase::Ended;
                self.spent = Spent::Everything;
                close(&self.assembly[control_at..])
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                self.spent = Spent::Everything;
                let binary = self.open.take() == Some(Opcode::Binary);
                if self.deflate == Deflate::Message {
                    self.deflate = Deflate::Agreed;
                    return Event::Deflated { binary, data: &self.assembly };
                }
                Event::Message { binary, data: &self.assembly }
            }
        }
    }

    /// Adds a piece to the assembly, which grows with what came and not with what was announced.
    /// `last` is what the message still lacks, if that is known: no use to grow beyond it.
    fn append(&mut self, piece: &[u8], last: Option<u64>) {
        let (len, capacity) = (self.assembly.len(), self.assembly.capacity());
        if capacity - len < piece.len() {
            let enough = last.map_or(usize::MAX, |missing| len.saturating_add(missing as usize));
            let target = capacity.saturating_mul(2).min(enough).max(len + piece.len());
            self.assembly.reserve_exact(target - len);
        }
        self.assembly.extend_from_slice(piece);
    }

    /// Gives back the memory of the message that the last event lent, if there is no next call for now.
    pub fn settle(&mut self) {
        if self.spent != Spent::Nothing {
            self.release();
        }
    }

    /// Takes back what the last event lent.
    #[cold]
    fn release(&mut self) {
        if let Spent::Control(len) = self.spent {
            self.assembly.truncate(self.assembly.len() - usize::from(len));
        }
        if self.spent == Spent::Everything || self.open.is_none() {
            self.assembly = Vec::new();
        }
        self.spent = Spent::Nothing;
    }

    #[cold]
    fn fail<'e>(&mut self, fault: Fault) -> Event<'e> {
        self.end();
        Event::Fault(fault)
    }

    /// Nothing that follows is of interest, and nothing that came is needed.
    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.assembly = Vec::new();
        self.open = None;
    }
}

/// Splits off the first `n` bytes of the input.
#[inline]
fn take<'i>(input: &mut &'i mut [u8], n: usize) -> &'i mut [u8] {
    let (taken, rest) = std::mem::take(input).split_at_mut(n);
    *input = rest;
    taken
}

/// The payload of a close frame (RFC 6455 section 5.5.1).
fn close(payload: &[u8]) -> Event<'_> {
    let (code, reason) = match payload {
        [] => (None, &[][..]),
        [_] => return Event::Fault(Fault::Protocol(Violation::CloseCodeCut)),
        [high, low, reason @ ..] => (Some(u16::from_be_bytes([*high, *low])), reason),
    };
    if code.is_some_and(|code| !close_code_may_be_sent(code)) {
        return Event::Fault(Fault::Protocol(Violation::CloseCodeForbidden));
    }
    match std::str::from_utf8(reason) {
        Ok(reason) => Event::Close { code, reason },
        Err(_) => Event::Fault(Fault::InvalidUtf8),
    }
}
