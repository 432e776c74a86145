//! The last bytes that went one way.

/// What the next message may refer to: the end of those before it, as many bytes as were agreed.
#[derive(Clone, Debug)]
pub struct Window {
    bytes: Vec<u8>,
    size: usize,
}

impl Window {
    /// An empty window of 2^`bits` bytes, which it takes only as they come. For 8 bits it is one of 9: zlib, asked for
    /// the former, makes the latter.
    pub fn new(bits: u8) -> Window {
        Window { bytes: Vec::new(), size: 1 << bits.clamp(9, 15) }
    }

    /// The bytes, oldest first.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A message went by.
    pub fn push(&mut self, message: &[u8]) {
        let tail = &message[message.len().saturating_sub(self.size)..];
        let kept = self.bytes.len().min(self.size - tail.len());
        self.bytes.drain(..self.bytes.len() - kept);
        self.bytes.reserve_exact(tail.len());
        self.bytes.extend_from_slice(tail);
    }

    /// Bytes of heap.
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_window_is_the_end_of_all_that_went_by(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..8)) {
            let mut window = Window::new(9);
            for message in &messages {
                window.push(message);
            }
            let all = messages.concat();
            prop_assert_eq!(window.bytes(), &all[all.len().saturating_sub(512)..]);
            prop_assert!(window.held() <= 512);
        }
    }
}
