//! What waits to be written to one client, frame by frame.
//!
//! A frame is its head and its payload, and the payload may be shared with other connections. Nothing is copied
//! here; whoever writes gathers the frames ([`Outbox::gather`]) and says how far it came ([`Outbox::advance`]).

use super::super::codec::Opcode;
use super::super::codec::encoder::{Head, frame_len};
use bytes::Bytes;
use std::collections::VecDeque;

/// The queue of one connection. It exists only while something waits.
#[derive(Default)]
pub struct Outbox {
    frames: VecDeque<Frame>,
    /// Bytes that wait, less those of the first frame that were written.
    waiting: usize,
    /// Bytes of the first frame that were written.
    begun: usize,
}

/// Answers to Pings that wait, at most: of more Pings than that the latest is answered (RFC 6455 section 5.5.3).
const PONGS: usize = 16;

struct Frame {
    head: Head,
    payload: Bytes,
    opcode: Opcode,
}

impl Frame {
    fn new(opcode: Opcode, payload: Bytes) -> Frame {
        Frame { head: Head::new(opcode, payload.len()), payload, opcode }
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

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Puts a frame behind the others.
    pub fn push(&mut self, opcode: Opcode, payload: Bytes) {
        let frame = Frame::new(opcode, payload);
        self.waiting += frame.len();
        self.frames.push_back(frame);
    }

    /// Answers a Ping: before what else waits, behind the answers that wait, and instead of the last of them when
    /// there are [`PONGS`].
    pub fn pong(&mut self, payload: Bytes) {
        let first = usize::from(self.begun > 0);
        let pongs = self.frames.iter().skip(first).take_while(|frame| frame.opcode == Opcode::Pong).count();
        let mut place = first + pongs;
        if pongs >= PONGS {
            place -= 1;
            self.waiting -= self.frames.remove(place).map_or(0, |last| last.len());
        }
        let pong = Frame::new(Opcode::Pong, payload);
        self.waiting += pong.len();
        self.frames.insert(place, pong);
    }

    /// Gives up data frames that nobody has begun to write, oldest first, until less than `limit` waits or none is
    /// left. How many they were. Control frames stay.
    pub fn drop_oldest(&mut self, limit: usize) -> usize {
        let mut dropped = 0;
        let mut index = usize::from(self.begun > 0);
        while self.waiting >= limit && index < self.frames.len() {
            if self.frames[index].opcode.is_control() {
                index += 1;
                continue;
            }
            if let Some(frame) = self.frames.remove(index) {
                self.waiting -= frame.len();
                dropped += 1;
            }
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
    }

    /// Shows what is to be written next, piece by piece, until `take` has had enough and says so with `false`.
    pub fn gather<'a>(&'a self, mut take: impl FnMut(&'a [u8]) -> bool) {
        let mut skip = self.begun;
        for frame in &self.frames {
            for piece in [frame.head.as_bytes(), &frame.payload[..]] {
                let rest = &piece[skip.min(piece.len())..];
                skip -= piece.len() - rest.len();
                if !rest.is_empty() && !take(rest) {
                    return;
                }
            }
        }
    }

    /// So many bytes were written.
    pub fn advance(&mut self, written: usize) {
        self.waiting -= written;
        let mut done = self.begun + written;
        while let Some(first) = self.frames.front() {
            if done < first.len() {
                break;
            }
            done -= first.len();
            self.frames.pop_front();
        }
        self.begun = done;
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
            whole.push(opcode, Bytes::from(vec![b'x'; len]));
        }
        let expected = bytes(&mut whole);
        assert_eq!(whole.waiting(), expected.len());
        for step in 1..20 {
            let mut outbox = Outbox::default();
            for (opcode, len) in [(Opcode::Text, 0), (Opcode::Binary, 3), (Opcode::Text, 300), (Opcode::Ping, 5)] {
                outbox.push(opcode, Bytes::from(vec![b'x'; len]));
            }
            let mut written = Vec::new();
            while !outbox.is_empty() {
                let next = bytes(&mut outbox);
                let now = step.min(next.len());
                written.extend_from_slice(&next[..now]);
                outbox.advance(now);
            }
            assert_eq!(written, expected, "{step} bytes at a time");
            assert_eq!((outbox.waiting(), outbox.begun), (0, 0));
        }
    }

    #[test]
    fn each_ping_is_answered_before_data_and_in_order() {
        let mut outbox = Outbox::default();
        outbox.push(Opcode::Text, Bytes::from_static(b"abc"));
        for payload in ["1", "2", "3"] {
            outbox.pong(Bytes::from(payload));
        }
        assert_eq!(bytes(&mut outbox), b"\x8a\x011\x8a\x012\x8a\x013\x81\x03abc");
        assert_eq!(outbox.waiting(), 14);
    }

    #[test]
    fn of_more_pings_than_fit_the_latest_is_answered_and_nothing_grows() {
        let mut outbox = Outbox::default();
        outbox.push(Opcode::Text, Bytes::from_static(b"abc"));
        bytes(&mut outbox);
        outbox.advance(2);
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
        outbox.push(Opcode::Text, Bytes::from_static(b"abc"));
        bytes(&mut outbox);
        outbox.advance(3);
        outbox.pong(Bytes::from_static(b"p"));
        assert_eq!(bytes(&mut outbox), b"bc\x8a\x01p");
    }

    #[test]
    fn dropping_spares_control_frames_and_what_is_on_its_way() {
        let mut outbox = Outbox::default();
        outbox.push(Opcode::Text, Bytes::from_static(b"first"));
        outbox.push(Opcode::Text, Bytes::from_static(b"second"));
        outbox.push(Opcode::Ping, Bytes::from_static(b"ping"));
        outbox.push(Opcode::Text, Bytes::from_static(b"third"));
        bytes(&mut outbox);
        outbox.advance(1);
        assert_eq!(outbox.drop_oldest(1), 2);
        assert_eq!(bytes(&mut outbox), b"\x05first\x89\x04ping");
        assert_eq!(outbox.waiting(), bytes(&mut outbox).len());
        outbox.drop_data();
        assert_eq!(bytes(&mut outbox), b"\x05first\x89\x04ping");
        assert_eq!(outbox.waiting(), bytes(&mut outbox).len());
    }
}
