//! Frames to messages and back.
//!
//! The server's half of RFC 6455 without I/O. A [`Decoder`] is a few dozen bytes while its connection is
//! idle: it works in place on the read buffer that all connections of a shard share, and owns heap memory
//! only for a message of which a part is still missing. The [`encoder`] writes frames into the shard's cork
//! buffer, or builds one frame once for all who get it.
//!
//! Read on in this order: [`Event`] and [`Fault`] below, [`decoder`], [`encoder`], then `header`, `mask`
//! and `utf8`.

pub mod decoder;
pub mod encoder;
mod header;
pub mod mask;
pub mod utf8;

pub use decoder::{Decoder, take_fragments};

/// What a frame carries (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next part of the message that an earlier frame began.
    Continuation = 0x0,
    /// UTF-8 text.
    Text = 0x1,
    /// Bytes.
    Binary = 0x2,
    /// The beginning or the end of the close handshake.
    Close = 0x8,
    /// A question that a Pong with the same payload answers.
    Ping = 0x9,
    /// The answer to a Ping, or a sign of life that nobody asked for.
    Pong = 0xA,
}

impl Opcode {
    /// Close, Ping and Pong: at most 125 bytes, never fragmented, allowed between the fragments of a message.
    #[inline]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// What a client's bytes amount to.
///
/// The slices point into the read buffer, or into the decoder for what arrived in several reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message. Unless `binary`, the data is valid UTF-8 and need not be checked again.
    Message {
        /// A binary message, not a text.
        binary: bool,
        /// The message, unmasked and in one piece.
        data: &'a [u8],
    },
    /// A whole message as it was compressed (RFC 7692), its text not checked: [`super::deflate::inflate`] does.
    Deflated {
        /// A binary message, not a text.
        binary: bool,
        /// The message, unmasked, in one piece and compressed.
        data: &'a [u8],
    },
    /// The client wants a Pong with this payload.
    Ping(&'a [u8]),
    /// The client's sign of life.
    Pong(&'a [u8]),
    /// The client closes, or answers our close frame. Whatever follows it is discarded.
    Close {
        /// The code, already known to be one that may stand in a close frame.
        code: Option<u16>,
        /// The client's own words, often none.
        reason: &'a str,
    },
    /// The client broke the protocol. Whatever follows is discarded.
    Fault(Fault),
}

/// Why a connection must fail (RFC 6455 section 7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 1002: the frames themselves are wrong.
    Protocol(Violation),
    /// 1007: a text message or a close reason that is not UTF-8.
    InvalidUtf8,
    /// 1009: a message beyond the limit, noticed before its payload is taken in.
    TooBig,
}

impl Fault {
    /// The code for the close frame.
    pub const fn code(self) -> u16 {
        match self {
            Fault::Protocol(_) => 1002,
            Fault::InvalidUtf8 => 1007,
            Fault::TooBig => 1009,
        }
    }

    /// The phrase for the close frame: fixed, so that it tells a stranger nothing else.
    pub const fn phrase(self) -> &'static str {
        match self {
            Fault::Protocol(_) => "protocol error",
            Fault::InvalidUtf8 => "invalid UTF-8",
            Fault::TooBig => "message too big",
        }
    }

    /// What exactly was wrong, for the log.
    pub const fn detail(self) -> &'static str {
        match self {
            Fault::Protocol(violation) => violation.detail(),
            Fault::InvalidUtf8 => "text that is not valid UTF-8",
            Fault::TooBig => "a message beyond wsrelay.max.message",
        }
    }
}

/// The rule of RFC 6455 that a frame broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Section 5.2: a reserved bit is set and no extension gives it a meaning.
    ReservedBits,
    /// RFC 7692 section 7.2.2: a compressed message that is none.
    BrokenDeflate,
    /// Section 5.2: an opcode that has no meaning.
    UnknownOpcode,
    /// Section 5.1: a client's frame without a mask.
    Unmasked,
    /// Section 5.2: a length that a shorter form could have said.
    LengthNotMinimal,
    /// Section 5.2: a 64-bit length with its highest bit set.
    LengthTopBit,
    /// Section 5.5: a control frame in fragments.
    ControlFragmented,
    /// Section 5.5: a control frame of more than 125 bytes.
    ControlTooLong,
    /// Section 5.4: a continuation of nothing.
    ContinuationOfNothing,
    /// Section 5.4: a new message before the end of the last one.
    MessageInsideMessage,
    /// Section 5.5.1: a close frame with half a code.
    CloseCodeCut,
    /// Section 7.4: a close code that may not be sent.
    CloseCodeForbidden,
}

impl Violation {
    /// The violation in words, for the log.
    pub const fn detail(self) -> &'static str {
        match self {
            Violation::ReservedBits => "a reserved bit is set",
            Violation::BrokenDeflate => "a compressed message that cannot be inflated",
            Violation::UnknownOpcode => "an unknown opcode",
            Violation::Unmasked => "a frame without a mask",
            Violation::LengthNotMinimal => "a length in a longer form than it needs",
            Violation::LengthTopBit => "a 64-bit length with its highest bit set",
            Violation::ControlFragmented => "a control frame in fragments",
            Violation::ControlTooLong => "a control frame of more than 125 bytes",
            Violation::ContinuationOfNothing => "a continuation without a message",
            Violation::MessageInsideMessage => "a new message before the last one ended",
            Violation::CloseCodeCut => "a close frame with half a code",
            Violation::CloseCodeForbidden => "a close code that may not be sent",
        }
    }
}

/// Whether a close frame may carry this code, from either side.
///
/// RFC 6455 section 7.4 and the IANA registry: 1004, 1005, 1006 and 1015 are never on the wire, 1012 to 1014
/// were registered later, 3000 to 4999 belong to libraries and applications, the rest to nobody yet.
pub const fn close_code_may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
