//! What waits to be written to one client, frame by frame.
//!
//! A frame is its head and its payload, and the payload may be shared with other connections. Nothing is copied
//! here; whoever writes gathers the frames ([`Outbox::gather`]) and says how far it came ([`Outbox::advance`]).

use super::super::codec::Opcode;
use super::super::codec::encoder::{Head, frame_len};
use super::shared::Share;
use crate::figures::{Flow, Kind};
use bytes::Bytes;
use std::collections::VecDeque;
use std::rc::Rc;

/// The queue of one connection. It exists only while something waits.
#[derive(Default)]
pub struct Outbox {
    frames: VecDeque<Frame>,
    /// Bytes that wait, less those of the first frame that were written.
    waiting: usize,
    /// Bytes of the first frame that were written.
    begun: usize,
    /// Of the frames' payloads, what is counted elsewhere.
    shared: usize,
    /// Frames that are still to be compressed, and what they take as they are.
    raw: usize,
    raw_bytes: usize,
    /// So many frames from the first on are not: looked at before.
    plain: usize,
}

/// Answers to Pings that wait, at most: of more Pings than that the latest is answered (RFC 6455 section 5.5.3).
const PONGS: usize = 16;

struct Frame {
    head: Head,
    payload: Bytes,
    opcode: Opcode,
    form: Form,
    /// The payload is counted elsewhere.
    share: Option<Rc<Share>>,
}

/// What a frame's payload is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// What goes out.
    Ready,
    /// What is to be compressed first. No frame behind it goes out before it.
    Raw,
    /// What goes out, and what later messages refer to: it must not be dropped.
    Chained,
}

impl Frame {
    fn new(opcode: Opcode, payload: Bytes, share: Option<Rc<Share>>) -> Frame {
        Frame { head: Head::new(opcode, payload.len()), payload, opcode, form: Form::Ready, share }
    }

    /// How much of it is counted elsewhere.
    fn shared(&self) -> usize {
        if self.share.is_some() { self.payload.len() } else { 0 }
    }

    fn len(&self) -> usize {
        frame_len(self.payload.len())
    }
}

impl Outbox {
    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// What the queue takes of memory, large payloads that it shares with other queues not included.
    pub fn memory(&self) -> usize {
        let written = self.frames.front().map_or(0, |first| self.begun.min(first.shared()));
        (self.waiting + written).saturating_sub(self.shared) + self.frames.len() * size_of::<Frame>()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Puts a frame behind the others. `share`: its payload is counted there.
    #[inline]
    pub fn push(&mut self, opcode: Opcode, payload: Bytes, share: Option<Rc<Share>>) {
        let frame = Frame::new(opcode, payload, share);
        self.waiting += frame.len();
        self.shared += frame.shared();
        self.frames.push_back(frame);
    }

    /// Puts a data frame behind the others that is compressed before it goes out.
    pub fn push_raw(&mut self, opcode: Opcode, payload: Bytes, share: Option<Rc<Share>>) {
        let frame = Frame { form: Form::Raw, ..Frame::new(opcode, payload, share) };
        self.waiting += frame.len();
        self.shared += frame.shared();
        self.raw += 1;
        self.raw_bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// The message that is to be compressed next, if any is, and how much is ready before it.
    pub fn first_raw(&mut self) -> Option<(&Bytes, usize)> {
        if self.raw == 0 {
            return None;
        }
        while self.frames.get(self.plain).is_some_and(|frame| frame.form != Form::Raw) {
            self.plain += 1;
        }
        let ready = self.waiting - self.raw_bytes;
        self.frames.get(self.plain).map(|frame| (&frame.payload, ready))
    }

    /// What [`Outbox::first_raw`] gave may go out: compressed, or as it is if there is no `payload`. `chained`: later
    /// messages refer to it.
    pub fn settle_raw(&mut self, payload: Option<Bytes>, chained: bool, share: Option<Rc<Share>>) {
        let Some(frame) = self.frames.get_mut(self.plain).filter(|frame| frame.form == Form::Raw) else { return };
        self.raw -= 1;
        self.raw_bytes -= frame.len();
        frame.form = Form::Ready;
        if let Some(payload) = payload {
            self.waiting -= frame.len();
            self.shared -= frame.shared();
            frame.head = Head::new(frame.opcode, payload.len()).compressed();
            frame.payload = payload;
            frame.share = share;
            self.shared += frame.shared();
            frame.form = if chained { Form::Chained } else { Form::Ready };
            self.waiting += frame.len();
        }
    }

    /// Whether anything can go out now.
    pub fn has_ready(&self) -> bool {
        self.frames.front().is_some_and(|frame| frame.form != Form::Raw)
    }

    /// Answers a Ping: before what else waits, behind the answers that wait, and instead of the last of them when
    /// there are [`PONGS`].
    pub fn pong(&mut self, payload: Bytes) {
        let first = usize::from(self.begun > 0);
        let pongs = self.frames.iter().skip(first).take_while(|frame| frame.opcode == Opcode::Pong).count();
        let mut place = first + pongs;
        if pongs >= PONGS {
            place -= 1;
            self.take_out(place);
        }
        let pong = Frame::new(Opcode::Pong, payload, None);
        self.waiting += pong.len();
        self.frames.insert(place, pong);
        // What was known of the frames before it still holds.
        self.plain += usize::from(place < self.plain);
    }

    /// Gives up data frames that nobody has begun to write, oldest first, until less than `limit` waits or none is
    /// left. How many they were. Control frames stay, and those that were compressed so that later ones refer to them.
    pub fn drop_oldest(&mut self, limit: usize) -> usize {
        let mut dropped = 0;
        let mut index = usize::from(self.begun > 0);
        while self.waiting >= limit && index < self.frames.len() {
            let frame = &self.frames[index];
            if frame.opcode.is_control() || frame.form == Form::Chained {
                index += 1;
                continue;
            }
            self.take_out(index);
            dropped += 1;
        }
        dropped
    }

    /// Gives up all data frames that nobody has begun to write.
    pub fn drop_data(&mut self) {
        let begun = usize::from(self.begun > 0);
        let mut index = 0;
        self.frames.retain(|frame| {
            index += 1;
            index <= begun || frame.opcode.is_control()
        });
        self.waiting = self.frames.iter().map(Frame::len).sum::<usize>() - self.begun;
        self.shared = self.frames.iter().map(Frame::shared).sum();
        (self.raw, self.raw_bytes, self.plain) = (0, 0, 0);
    }

    /// Takes a frame out of the row that nobody has begun to write.
    fn take_out(&mut self, index: usize) {
        let Some(frame) = self.frames.remove(index) else { return };
        self.waiting -= frame.len();
        self.shared -= frame.shared();
        if frame.form == Form::Raw {
            self.raw -= 1;
            self.raw_bytes -= frame.len();
        }
        if index < self.plain {
            self.plain -= 1;
        }
    }

    /// Shows what is to be written next, piece by piece, until `take` has had enough and says so with `false`.
    pub fn gather<'a>(&'a self, mut take: impl FnMut(&'a [u8]) -> bool) {
        let mut skip = self.begun;
        for frame in &self.frames {
            if frame.form == Form::Raw {
                return;
            }
            for piece in [frame.head.as_bytes(), &frame.payload[..]] {
                let rest = &piece[skip.min(piece.len())..];
                skip -= piece.len() - rest.len();
                if !rest.is_empty() && !take(rest) {
                    return;
                }
            }
        }
    }

    /// So many bytes were written. Frames that are complete now are counted; how many of them were messages.
    pub fn advance(&mut self, written: usize, sent: &Flow) -> u64 {
        self.waiting -= written;
        let mut done = self.begun + written;
        let mut messages = 0;
        while let Some(first) = self.frames.front() {
            if done < first.len() {
                break;
            }
            done -= first.len();
            self.shared -= first.shared();
            self.plain = self.plain.saturating_sub(1);
            sent.count(Kind::of(first.opcode), 1, first.payload.len());
            messages += u64::from(!first.opcode.is_control());
            self.frames.pop_front();
        }
        self.begun = done;
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(outbox: &mut Outbox) -> Vec<u8> {
        let mut out = Vec::new();
        outbox.gather(|piece| {
            out.extend_from_slice(piece);
            true
        });
        out
    }

    #[test]
    fn what_was_written_in_any_pieces_is_what_was_queued() {
        let mut whole = Outbox::default();
        for (opcode, len) in [(Opcode::Text, 0), (Opcode::Binary, 3), (Opcode::Text, 300), (Opcode::Ping, 5)] {
            whole.push(opcode, Bytes::from(vec![b'x'; len]), None);
        }
        let expected = bytes(&mut whole);
        assert_eq!(whole.waiting(), expected.len());
        for step in 1..20 {
            let mut outbox = Outbox::default();
            for (opcode, len) in [(Opcode::Text, 0), (Opcode::Binary, 3), (Opcode::Text, 300), (Opcode::Ping, 5)] {
                outbox.push(opcode, Bytes::from(vec![b'x'; len]), None);
            }
            let mut written = Vec::new();
            while !outbox.is_empty() {
                let next = bytes(&mut outbox);
                let now = step.min(next.len());
                written.extend_from_slice(&next[..now]);
                outbox.advance(now, &Flow::default());
            }
            assert_eq!(written, expected, "{step} bytes at a time");
            assert_eq!((outbox.waiting(), outbox.begun), (0, 0));
        }
    }

    #[test]
    fn each_ping_is_answered_before_data_and_in_order() {
        let mut outbox = Outbox::default();
        outbox.push(Opcode::Text, Bytes::from_static(b"abc"), None);
        for payload in ["1", "2", "3"] {
            outbox.pong(Bytes::from(payload));
        }
        assert_eq!(bytes(&mut outbox), b"\x8a\x011\x8a\x012\x8a\x013\x81\x03abc");
        assert_eq!(outbox.waiting(), 14);
    }

    #[test]
    fn of_more_pings_than_fit_the_latest_is_answered_and_nothing_grows() {
        let mut outbox = Outbox::default();
        outbox.push(Opcode::Text, Bytes::from_static(b"abc"), None);
        bytes(&mut outbox);
        outbox.advance(2, &Flow::default());
        for n in 0..1_000 {
            outbox.pong(Bytes::from(format!("{n:03}")));
        }
        let written = bytes(&mut outbox);
        assert_eq!(outbox.frames.len(), 1 + PONGS);
        assert_eq!(written.len(), outbox.waiting());
        assert!(written.starts_with(b"abc\x8a\x03000\x8a\x03001"), "those that came first are answered first");
        assert!(written.ends_with(b"\x8a\x03999"), "and the latest is answered");
    }

    #[test]
    fn a_pong_never_stands_within_a_frame() {
        let mut outbox = Outbox::default();
        outbox.push(Opcode::Text, Bytes::from_static(b"abc"), None);
        bytes(&mut outbox);
        outbox.advance(3, &Flow::default());
        outbox.pong(Bytes::from_static(b"p"));
        assert_eq!(bytes(&mut outbox), b"bc\x8a\x01p");
    }

    #[test]
    fn dropping_spares_control_frames_and_what_is_on_its_way() {
        let mut outbox = Outbox::default();
        outbox.push(Opcode::Text, Bytes::from_static(b"first"), None);
        outbox.push(Opcode::Text, Bytes::from_static(b"second"), None);
        outbox.push(Opcode::Ping, Bytes::from_static(b"ping"), None);
        outbox.push(Opcode::Text, Bytes::from_static(b"third"), None);
        bytes(&mut outbox);
        outbox.advance(1, &Flow::default());
        assert_eq!(outbox.drop_oldest(1), 2);
        assert_eq!(bytes(&mut outbox), b"\x05first\x89\x04ping");
        assert_eq!(outbox.waiting(), bytes(&mut outbox).len());
        outbox.drop_data();
        assert_eq!(bytes(&mut outbox), b"\x05first\x89\x04ping");
        assert_eq!(outbox.waiting(), bytes(&mut outbox).len());
    }
}
