//! The client's side of WebSocket frames, written apart from the server's: what one gets wrong the other shows.

/// What a server may send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A whole message.
    Message { binary: bool, data: Vec<u8> },
    /// To be answered with the same.
    Ping(Vec<u8>),
    /// The end, with a code (1005: none).
    Close { code: u16, reason: Vec<u8> },
}

/// Bytes of a server on their way to frames.
#[derive(Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
    /// A message of which the end is missing.
    begun: Option<(bool, Vec<u8>)>,
}

/// Whether it is the last of its message, its kind, its payload.
type Raw = (bool, u8, Vec<u8>);

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Decoder {
    /// Takes what came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame that is there as a whole. An error says what RFC 6455 does not allow a server.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, &'static str> {
        while let Some((finished, opcode, payload)) = self.raw()? {
            match opcode {
                CONTINUATION => {
                    let (binary, mut data) = self.begun.take().ok_or("a continuation of nothing")?;
                    data.extend_from_slice(&payload);
                    if finished {
                        return Ok(Some(Frame::Message { binary, data }));
                    }
                    self.begun = Some((binary, data));
                }
                TEXT | BINARY if self.begun.is_some() => return Err("a message inside of another one"),
                TEXT | BINARY if finished => {
                    return Ok(Some(Frame::Message { binary: opcode == BINARY, data: payload }));
                }
                TEXT | BINARY => self.begun = Some((opcode == BINARY, payload)),
                CLOSE => {
                    let (code, reason) = match payload.as_slice() {
                        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason.to_vec()),
                        _ => (1005, Vec::new()),
                    };
                    return Ok(Some(Frame::Close { code, reason }));
                }
                PING => return Ok(Some(Frame::Ping(payload))),
                PONG => {}
                _ => return Err("an unknown kind of frame"),
            }
        }
        Ok(None)
    }

    fn raw(&mut self) -> Result<Option<Raw>, &'static str> {
        let bytes = &self.bytes;
        let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err("a frame with reserved bits");
        }
        if second & 0x80 != 0 {
            return Err("a masked frame");
        }
        let (length, header) = match second {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let end =
            usize::try_from(length).ok().and_then(|length| length.checked_add(header)).ok_or("a frame too long")?;
        if bytes.len() < end {
            return Ok(None);
        }
        let payload = bytes[header..end].to_vec();
        self.bytes.drain(..end);
        Ok(Some((first & 0x80 != 0, first & 0x0f, payload)))
    }
}

/// A message as a client sends it.
pub(crate) fn message(binary: bool, data: &[u8], into: &mut Vec<u8>) {
    frame(if binary { BINARY } else { TEXT }, data, into);
}

/// The answer to a ping.
pub(crate) fn pong(data: &[u8], into: &mut Vec<u8>) {
    frame(PONG, data, into);
}

/// A close frame; 1005 for one without a code.
pub(crate) fn close(code: u16, reason: &[u8], into: &mut Vec<u8>) {
    let mut payload = Vec::new();
    if code != 1005 {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(reason);
    }
    frame(CLOSE, &payload, into);
}

fn frame(opcode: u8, payload: &[u8], into: &mut Vec<u8>) {
    // A client has to mask; the key is the same always, so that runs repeat.
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    into.push(0x80 | opcode);
    match payload.len() {
        short @ 0..126 => into.push(0x80 | short as u8),
        middle @ 126..65_536 => {
            into.push(0x80 | 126);
            into.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            into.push(0x80 | 127);
            into.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    into.extend_from_slice(&KEY);
    into.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_pieces_byte_by_byte_comes_out_whole() {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for byte in [&[0x01, 2, b'h', b'e'][..], &[0x89, 1, b'p'], &[0x80, 1, b'y'], &[0x88, 2, 0x03, 0xe8]].concat() {
            decoder.push(&[byte]);
            found.extend(decoder.next().expect("allowed"));
        }
        assert_eq!(
            found,
            [
                Frame::Ping(b"p".to_vec()),
                Frame::Message { binary: false, data: b"hey".to_vec() },
                Frame::Close { code: 1000, reason: Vec::new() },
            ]
        );
    }

    #[test]
    fn what_a_server_may_not_send_is_an_error() {
        for bytes in [&[0x81, 0x81, 0, 0, 0, 0, 0][..], &[0x80, 0], &[0xc1, 0], &[0x83, 0]] {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert!(decoder.next().is_err(), "{bytes:x?}");
        }
    }
}
