//! RFC 6455 frames as both ends of a benchmark need them: no fragments, no extensions.
//!
//! The load program must cost less than the server that it loads, so nothing here allocates or
//! copies twice: frames are appended to the buffer that is written, and parsed where they were read.

/// What a frame carries; continuation frames never occur between these peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// A frame's header, and where its payload lies behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) opcode: Opcode,
    pub(crate) mask: Option<[u8; 4]>,
    /// Bytes of the header itself, key included.
    pub(crate) size: usize,
    pub(crate) payload: usize,
}

/// Reads the header at the start of `bytes`: `Ok(None)` when more bytes are needed.
pub(crate) fn parse_header(bytes: &[u8]) -> Result<Option<Header>, String> {
    let [first, second, ..] = *bytes else {
        return Ok(None);
    };
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8a => Opcode::Pong,
        other => return Err(format!("unexpected first byte of a frame: {other:#04x}")),
    };
    let (payload, extended) = match second & 0x7f {
        126 => match bytes.get(2..4) {
            Some(length) => (u16::from_be_bytes(length.try_into().unwrap()) as usize, 2),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10) {
            Some(length) => (u64::from_be_bytes(length.try_into().unwrap()) as usize, 8),
            None => return Ok(None),
        },
        short => (short as usize, 0),
    };
    let mask = if second & 0x80 == 0 {
        None
    } else {
        match bytes.get(2 + extended..6 + extended) {
            Some(key) => Some(key.try_into().unwrap()),
            None => return Ok(None),
        }
    };
    let size = 2 + extended + if mask.is_some() { 4 } else { 0 };
    Ok(Some(Header { opcode, mask, size, payload }))
}

/// Appends a client's frame, masked with `key`.
pub(crate) fn push_masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: [u8; 4]) {
    push_header(out, opcode, payload.len(), 0x80);
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], key);
}

/// Appends a server's frame.
pub(crate) fn push_plain(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    push_header(out, opcode, payload.len(), 0);
    out.extend_from_slice(payload);
}

fn push_header(out: &mut Vec<u8>, opcode: Opcode, length: usize, mask_bit: u8) {
    out.push(0x80 | opcode as u8);
    match length {
        0..=125 => out.push(mask_bit | length as u8),
        126..=0xffff => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Masks or unmasks in place, eight bytes at a time.
pub(crate) fn apply_mask(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        let masked = u64::from_ne_bytes((&*word).try_into().unwrap()) ^ wide;
        word.copy_from_slice(&masked.to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_own_masked_hello_is_what_a_client_sends() {
        let mut out = Vec::new();
        push_masked(&mut out, Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn every_length_form_comes_back_as_it_was_written() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
            let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
            for key in [None, Some([1, 2, 3, 250])] {
                let mut out = Vec::new();
                match key {
                    Some(key) => push_masked(&mut out, Opcode::Binary, &payload, key),
                    None => push_plain(&mut out, Opcode::Binary, &payload),
                }
                let header = parse_header(&out).unwrap().unwrap();
                assert_eq!(header.payload, length);
                assert_eq!(header.mask, key);
                assert_eq!(out.len(), header.size + length);
                let body = &mut out[header.size..];
                apply_mask(body, key.unwrap_or_default());
                assert_eq!(body, payload);
            }
        }
    }

    #[test]
    fn a_header_cut_anywhere_asks_for_more() {
        let mut out = Vec::new();
        push_masked(&mut out, Opcode::Text, &[0; 300], [9; 4]);
        for cut in 0..8 {
            assert_eq!(parse_header(&out[..cut]), Ok(None), "{cut} bytes");
        }
    }

    #[test]
    fn fragments_and_reserved_bits_are_refused() {
        for first in [0x01, 0x00, 0x80, 0xc1, 0x83] {
            assert!(parse_header(&[first, 0]).is_err(), "{first:#x}");
        }
    }
}
