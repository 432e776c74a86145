//! What is sent and what must come back: every payload names its connection and its number.
//!
//! So an answer to the wrong client, one that is lost, doubled, out of order or damaged is seen at
//! once. The text is ASCII, because text frames make the servers check UTF-8 as they do in life.

/// The smallest payload: eight digits for the connection, eight for the number.
pub(crate) const SMALLEST: usize = 16;

/// A payload whose digits are rewritten in place, message after message.
pub(crate) struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    /// A payload of `size` bytes, which is at least [`SMALLEST`].
    pub(crate) fn new(size: usize) -> Payload {
        let filler = b"the quick brown fox jumps over the lazy dog ";
        let bytes = filler.iter().copied().cycle().take(size.max(SMALLEST)).collect();
        Payload { bytes }
    }

    /// The bytes of message `number` of `connection`.
    pub(crate) fn of(&mut self, connection: u32, number: u32) -> &[u8] {
        let digits = (u64::from(connection) << 32) | u64::from(number);
        for (position, byte) in self.bytes[..SMALLEST].iter_mut().enumerate() {
            let nibble = (digits >> (60 - 4 * position)) & 15;
            *byte = b"0123456789abcdef"[nibble as usize];
        }
        &self.bytes
    }

    /// The connection and the number that a payload names.
    pub(crate) fn names(received: &[u8]) -> Option<(u32, u32)> {
        let digits = std::str::from_utf8(received.get(..SMALLEST)?).ok()?;
        let digits = u64::from_str_radix(digits, 16).ok()?;
        Some(((digits >> 32) as u32, digits as u32))
    }

    /// Says what is wrong with `received`, which should be message `number` of `connection`.
    pub(crate) fn check(&mut self, connection: u32, number: u32, received: &[u8]) -> Result<(), String> {
        let expected = self.of(connection, number);
        if expected == received {
            return Ok(());
        }
        Err(format!(
            "wrong message on connection {connection}: expected {:?}, got {:?}",
            String::from_utf8_lossy(expected),
            String::from_utf8_lossy(&received[..received.len().min(200)]),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_its_connection_and_number() {
        let mut payload = Payload::new(32);
        assert_eq!(payload.of(0x12, 0xabcdef), b"0000001200abcdeffox jumps over t");
        assert_eq!(payload.of(1, 2).len(), 32);
        assert_eq!(Payload::names(payload.of(0x12, 0xabcdef)), Some((0x12, 0xabcdef)));
        assert_eq!(Payload::names(b"0000001200abcdezfox"), None);
    }

    #[test]
    fn a_damaged_a_foreign_and_a_repeated_echo_are_all_refused() {
        let mut payload = Payload::new(32);
        let good = payload.of(7, 9).to_vec();
        assert_eq!(payload.check(7, 9, &good), Ok(()));
        assert!(payload.check(7, 10, &good).is_err());
        assert!(payload.check(8, 9, &good).is_err());
        assert!(payload.check(7, 9, &good[..31]).is_err());
        let mut damaged = good;
        damaged[31] ^= 1;
        let fault = payload.check(7, 9, &damaged).unwrap_err();
        assert!(fault.contains("wrong message on connection 7"), "{fault}");
    }
}
