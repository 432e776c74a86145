//! RFC 6455 section 5, written to be read: the whole stream at once, no care for speed or memory.

use super::Seen;
use gateway::websocket::codec::{Fault, Violation};
use gateway::websocket::deflate::limits::compressed;

/// Reads numbers and bytes from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next bytes, or `None` if they have not come.
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// The events of a client's stream, and whether it ends in the middle of a frame.
pub(super) fn decode(stream: &[u8], limit: usize, deflate: bool) -> (Vec<Seen>, bool) {
    let mut seen = Vec::new();
    let mut inside = false;
    if let Some(Err(fault)) = frames(&mut Reader(stream), limit, deflate, &mut seen, &mut inside) {
        seen.push(Seen::Fault(fault));
    }
    (seen, inside)
}

/// Reads frames until the client closes or is at fault; `None` if the stream ends before.
fn frames(
    reader: &mut Reader<'_>,
    limit: usize,
    deflate: bool,
    seen: &mut Vec<Seen>,
    inside: &mut bool,
) -> Option<Result<(), Fault>> {
    // The message that is not finished: its first opcode, whether it is compressed, and what has come of it.
    let mut message: Option<(u8, bool, Vec<u8>)> = None;
    let wrong = |violation| Some(Err(Fault::Protocol(violation)));
    loop {
        *inside = false;
        let first = reader.take(1)?[0];
        *inside = true;
        let (fin, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
        let control = opcode >= 8;
        // RFC 7692 section 6: RSV1 on the first frame of a message.
        let squeezed = deflate && reserved == 0x40 && matches!(opcode, 1 | 2);
        if reserved != 0 && !squeezed {
            return wrong(Violation::ReservedBits);
        }
        if !matches!(opcode, 0..=2 | 8..=10) {
            return wrong(Violation::UnknownOpcode);
        }
        if control && !fin {
            return wrong(Violation::ControlFragmented);
        }
        let second = reader.take(1)?[0];
        if second & 0x80 == 0 {
            return wrong(Violation::Unmasked);
        }
        let short = second & 0x7f;
        if control && short > 125 {
            return wrong(Violation::ControlTooLong);
        }
        let length = match short {
            126 => {
                let length = reader.number(2)?;
                if length < 126 {
                    return wrong(Violation::LengthNotMinimal);
                }
                length
            }
            127 => {
                let length = reader.number(8)?;
                if length > i64::MAX as u64 {
                    return wrong(Violation::LengthTopBit);
                }
                if length < 65_536 {
                    return wrong(Violation::LengthNotMinimal);
                }
                length
            }
            short => u64::from(short),
        };
        let mask = reader.take(4)?;
        if !control {
            match (opcode, &message) {
                (0, None) => return wrong(Violation::ContinuationOfNothing),
                (1 | 2, Some(_)) => return wrong(Violation::MessageInsideMessage),
                _ => {}
            }
            let (squeezed, before) =
                message.as_ref().map_or((squeezed, 0), |(_, squeezed, data)| (*squeezed, data.len()));
            let limit = if squeezed { compressed(limit) } else { limit };
            if before as u64 + length > limit as u64 {
                return Some(Err(Fault::TooBig));
            }
        }
        let here = reader.0.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let payload = reader.take(here)?.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
        let complete = here as u64 == length;
        if control {
            let payload: Vec<u8> = payload.collect();
            match opcode {
                _ if !complete => return None,
                9 => seen.push(Seen::Ping(payload)),
                10 => seen.push(Seen::Pong(payload)),
                _ => return Some(close(&payload).map(|close| seen.push(close))),
            }
            continue;
        }
        let (kind, squeezed, mut data) = message.take().unwrap_or((opcode, squeezed, Vec::new()));
        data.extend(payload);
        if kind == 1 && !squeezed {
            // Text is refused at the byte that makes it none, and at its end if a character is cut.
            match std::str::from_utf8(&data) {
                Err(error) if error.error_len().is_some() || complete && fin => return Some(Err(Fault::InvalidUtf8)),
                _ => {}
            }
        }
        if !complete {
            return None;
        }
        match (fin, kind) {
            (false, _) => message = Some((kind, squeezed, data)),
            (true, kind) if squeezed => seen.push(Seen::Deflated(kind == 2, data)),
            (true, 1) => seen.push(Seen::Text(String::from_utf8(data).expect("checked above"))),
            (true, _) => seen.push(Seen::Binary(data)),
        }
    }
}

fn close(payload: &[u8]) -> Result<Seen, Fault> {
    if payload.is_empty() {
        return Ok(Seen::Close(None, String::new()));
    }
    let mut reader = Reader(payload);
    let code = reader.number(2).ok_or(Fault::Protocol(Violation::CloseCodeCut))?;
    // Section 7.4 and what IANA has registered since.
    let known = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
    if !known.contains(&code) && !(3000..5000).contains(&code) {
        return Err(Fault::Protocol(Violation::CloseCodeForbidden));
    }
    let reason = String::from_utf8(reader.0.to_vec()).map_err(|_| Fault::InvalidUtf8)?;
    Ok(Seen::Close(Some(code as u16), reason))
}
