//! Messages to frames.
//!
//! A server's frames are unmasked, and ours are never fragmented: a message is one frame. What one client
//! gets is appended to the shard's cork buffer; what many get is built once by [`shared`].

use super::Opcode;
use bytes::Bytes;

/// The most that a control frame may carry.
pub const CONTROL_MAX: usize = 125;
/// The most that the reason in a close frame may be: a control frame less the code.
pub const REASON_MAX: usize = CONTROL_MAX - 2;

/// The head of a server's frame: 2, 4 or 10 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: [u8; 10],
    len: u8,
}

impl Head {
    /// The head of a whole message, or of a control frame, with a payload of `len` bytes.
    #[inline]
    pub const fn new(opcode: Opcode, len: usize) -> Self {
        debug_assert!(!opcode.is_control() || len <= CONTROL_MAX);
        let mut bytes = [0; 10];
        bytes[0] = 0x80 | opcode as u8;
        let size = if len < 126 {
            bytes[1] = len as u8;
            2
        } else if len <= u16::MAX as usize {
            [bytes[2], bytes[3]] = (len as u16).to_be_bytes();
            bytes[1] = 126;
            4
        } else {
            let long = (len as u64).to_be_bytes();
            bytes = [bytes[0], 127, long[0], long[1], long[2], long[3], long[4], long[5], long[6], long[7]];
            10
        };
        Head { bytes, len: size }
    }

    /// The same head for a payload that is a compressed message (RFC 7692 section 6).
    #[inline]
    pub const fn compressed(mut self) -> Self {
        self.bytes[0] |= 0x40;
        self
    }

    /// The bytes to send before the payload.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// How many bytes the frame of a payload of `len` bytes takes.
#[inline]
pub const fn frame_len(len: usize) -> usize {
    len + match len {
        0..126 => 2,
        126..65536 => 4,
        _ => 10,
    }
}

/// Appends a whole frame.
#[inline]
pub fn encode_into(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.reserve(payload.len() + 10);
    out.extend_from_slice(Head::new(opcode, payload.len()).as_bytes());
    out.extend_from_slice(payload);
}

/// A whole frame of its own, to be shared by all who get it.
pub fn shared(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(frame_len(payload.len()));
    encode_into(&mut frame, opcode, payload);
    Bytes::from(frame)
}

/// Appends a close frame. `None` for a code means a frame without a payload, as an answer to one.
/// The reason is cut to what fits.
pub fn close_into(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let Some(code) = code else {
        return encode_into(out, Opcode::Close, &[]);
    };
    let reason = cut_reason(reason);
    out.extend_from_slice(Head::new(Opcode::Close, 2 + reason.len()).as_bytes());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// As much of a reason as a close frame can carry, cut on a character's edge.
pub fn cut_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_MAX)]
}
