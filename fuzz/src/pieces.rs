//! Bytes as a connection brings them: in pieces of any size.

/// Cuts bytes into pieces whose sizes follow from a seed; the same seed, the same pieces.
pub(crate) fn pieces(mut bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed) | 1 << 16;
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Mostly a few bytes, so that heads are cut, sometimes many, and sometimes none.
        let wanted = match state >> 29 {
            0 => 0,
            1..=4 => (state >> 16) as usize % 8,
            _ => (state >> 16) as usize % 300,
        };
        let (piece, rest) = bytes.split_at(wanted.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
