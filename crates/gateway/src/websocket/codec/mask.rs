//! The client's mask (RFC 6455 section 5.3).
//!
//! No hand-written SIMD: the compiler makes vectors of this loop, and it is faster than memory.

/// Masks or unmasks `bytes` in place.
///
/// `key` is the key as it applies to the first of these bytes: for the rest of a frame that arrives in
/// pieces, [`advance`] it by what was done before.
#[inline]
pub fn apply(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

/// The key as it applies `done` bytes later.
#[inline]
pub fn advance(mut key: [u8; 4], done: usize) -> [u8; 4] {
    key.rotate_left(done % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_masked_hello_unmasks() {
        let mut bytes = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply(&mut bytes, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(&bytes, b"Hello");
    }

    #[test]
    fn every_split_gives_what_the_whole_gives() {
        let key = [0x11, 0x22, 0x44, 0x88];
        let bytes: Vec<u8> = (0..67).collect();
        let expected: Vec<u8> = bytes.iter().enumerate().map(|(i, b)| b ^ key[i % 4]).collect();
        for cut in 0..=bytes.len() {
            let mut split = bytes.clone();
            let (head, tail) = split.split_at_mut(cut);
            apply(head, key);
            apply(tail, advance(key, cut));
            assert_eq!(split, expected, "cut at {cut}");
        }
    }
}
