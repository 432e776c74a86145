//! The head of a frame (RFC 6455 section 5.2).

use super::{Fault, Opcode, Violation};

/// The longest head: two bytes, a 64-bit length, a mask.
pub(super) const LONGEST: usize = 14;

/// The head of a client's frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    /// The last frame of its message.
    pub(super) fin: bool,
    /// The first frame of a message that is compressed.
    pub(super) compressed: bool,
    pub(super) mask: [u8; 4],
    /// The payload's length as the client says; nothing is reserved for it.
    pub(super) len: u64,
}

/// Reads a head from the beginning of `bytes`: the head and its size, or `None` if bytes are missing.
///
/// Each byte is judged as soon as it is there, and in their order: a client that is wrong in the first byte
/// is told so although the second has not come. With `deflate` RSV1 marks a compressed message (RFC 7692 section 6):
/// on its first frame, and nowhere else.
#[inline]
pub(super) fn parse(bytes: &[u8], deflate: bool) -> Result<Option<(Header, usize)>, Fault> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let fin = first & 0x80 != 0;
    let reserved = first & 0x70;
    let compressed = reserved == 0x40 && deflate && matches!(first & 0x0F, 0x1 | 0x2);
    if reserved != 0 && !compressed {
        return Err(Fault::Protocol(Violation::ReservedBits));
    }
    let opcode = match first & 0x0F {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Text,
        0x2 => Opcode::Binary,
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xA => Opcode::Pong,
        _ => return Err(Fault::Protocol(Violation::UnknownOpcode)),
    };
    if opcode.is_control() && !fin {
        return Err(Fault::Protocol(Violation::ControlFragmented));
    }

    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    if second & 0x80 == 0 {
        return Err(Fault::Protocol(Violation::Unmasked));
    }
    let short = second & 0x7F;
    if opcode.is_control() && short > 125 {
        return Err(Fault::Protocol(Violation::ControlTooLong));
    }

    let (len, mask_at) = match short {
        126 => {
            let Some(long) = bytes[2..].first_chunk() else {
                return Ok(None);
            };
            let len = u64::from(u16::from_be_bytes(*long));
            if len < 126 {
                return Err(Fault::Protocol(Violation::LengthNotMinimal));
            }
            (len, 4)
        }
        127 => {
            let Some(long) = bytes[2..].first_chunk() else {
                return Ok(None);
            };
            let len = u64::from_be_bytes(*long);
            if len >> 63 != 0 {
                return Err(Fault::Protocol(Violation::LengthTopBit));
            }
            if len <= u64::from(u16::MAX) {
                return Err(Fault::Protocol(Violation::LengthNotMinimal));
            }
            (len, 10)
        }
        _ => (u64::from(short), 2),
    };
    let Some(&mask) = bytes[mask_at..].first_chunk() else {
        return Ok(None);
    };
    Ok(Some((Header { opcode, fin, compressed, mask, len }, mask_at + 4)))
}
