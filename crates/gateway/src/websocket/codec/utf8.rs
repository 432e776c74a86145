//! UTF-8 that arrives in pieces.
//!
//! Each byte is looked at once, however the text is cut, and a wrong byte is noticed when it arrives and not
//! at the end of its message: re-checking the whole text at each fragment makes tiny fragments quadratic.

/// The text has a byte that no valid text has at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// The state between two pieces: the first bytes of a character whose rest has not come yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Validator {
    /// At most three bytes, a valid beginning of one character.
    begun: [u8; 3],
    len: u8,
}

impl Validator {
    /// Before the first piece.
    pub const fn new() -> Self {
        Validator { begun: [0; 3], len: 0 }
    }

    /// Checks the next piece of the text.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<(), Invalid> {
        if self.len > 0 {
            piece = self.complete(piece)?;
        }
        if let Err(error) = simdutf8::compat::from_utf8(piece) {
            if error.error_len().is_some() {
                return Err(Invalid);
            }
            let rest = &piece[error.valid_up_to()..];
            self.begun[..rest.len()].copy_from_slice(rest);
            self.len = rest.len() as u8;
        }
        Ok(())
    }

    /// The text is over: valid unless a character is cut. Ready for the next text afterwards.
    pub fn finish(&mut self) -> Result<(), Invalid> {
        if std::mem::take(&mut self.len) == 0 { Ok(()) } else { Err(Invalid) }
    }

    /// Completes the character that was begun, and gives what follows it.
    fn complete<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], Invalid> {
        let begun = usize::from(self.len);
        let width = match self.begun[0] {
            0xF0.. => 4,
            0xE0.. => 3,
            _ => 2,
        };
        let taken = piece.len().min(width - begun);
        let mut character = [0; 4];
        character[..begun].copy_from_slice(&self.begun[..begun]);
        character[begun..begun + taken].copy_from_slice(&piece[..taken]);
        match std::str::from_utf8(&character[..begun + taken]) {
            Ok(_) => self.len = 0,
            Err(error) if error.error_len().is_some() => return Err(Invalid),
            Err(_) => {
                self.begun[begun..begun + taken].copy_from_slice(&piece[..taken]);
                self.len += taken as u8;
            }
        }
        Ok(&piece[taken..])
    }
}

/// Checks a text that is there as a whole.
#[inline]
pub fn check(text: &[u8]) -> Result<(), Invalid> {
    // Most short messages are ASCII, and the vectors of simdutf8 only pay beyond 64 bytes: 44 to 31 ns for
    // the whole decoding of 32 bytes.
    if text.len() < 64 && text.is_ascii() {
        return Ok(());
    }
    simdutf8::basic::from_utf8(text).map(drop).map_err(|_| Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many bytes pass before the first refusal when they come one at a time.
    fn accepted_one_by_one(text: &[u8]) -> usize {
        let mut validator = Validator::default();
        text.iter().take_while(|byte| validator.feed(&[**byte]).is_ok()).count()
    }

    #[test]
    fn a_wrong_byte_is_refused_when_it_arrives() {
        for (text, accepted) in [
            (&b"abc\xff"[..], 3),
            (b"\xe0\x80\x80", 1),
            (b"\xed\xa0\x80", 1),
            (b"\xf4\x90\x80\x80", 1),
            (b"\xf0\x9f\x98\x41", 3),
            (b"\xc0\xaf", 0),
            (b"\xf5", 0),
            (b"\x80", 0),
            ("κόσμε".as_bytes(), 10),
        ] {
            assert_eq!(accepted_one_by_one(text), accepted, "{text:x?}");
        }
    }

    #[test]
    fn a_text_that_ends_inside_a_character_is_refused_at_its_end() {
        let mut validator = Validator::default();
        assert_eq!(validator.feed(b"abc\xf0\x9f"), Ok(()));
        assert_eq!(validator.finish(), Err(Invalid));
        assert_eq!(validator.feed(b"\x9f"), Err(Invalid), "the next text begins anew");
    }

    /// Bytes that are often nearly UTF-8: random ones seldom get past their second byte.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
            2 => "[a-z]{0,70}".prop_map(String::into_bytes),
            1 => prop::collection::vec(prop_oneof![0x7fu8..0xff, any::<u8>()], 1..4),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_standard_librarys_verdict(text in texts(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut validator = Validator::default();
            let verdict = cuts
                .windows(2)
                .try_for_each(|cut| validator.feed(&text[cut[0]..cut[1]]))
                .and_then(|()| validator.finish());
            prop_assert_eq!(verdict.is_ok(), std::str::from_utf8(&text).is_ok());
            prop_assert_eq!(check(&text).is_ok(), verdict.is_ok());
        }

        #[test]
        fn the_first_wrong_byte_is_where_the_standard_library_sees_it(text in texts()) {
            let accepted = accepted_one_by_one(&text);
            if accepted < text.len() {
                prop_assert!(std::str::from_utf8(&text[..=accepted]).unwrap_err().error_len().is_some());
                let before = std::str::from_utf8(&text[..accepted]);
                prop_assert!(before.is_ok() || before.unwrap_err().error_len().is_none());
            }
        }
    }
}
