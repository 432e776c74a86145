//! Text of somebody else's in a message or a log: not longer than a line should be.

use std::fmt;

/// What is shown of a text at most, in bytes.
const SHOWN: usize = 80;

/// The beginning of a text, at most so many bytes, cut where a character ends.
pub fn beginning(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A text, quoted as `{:?}` writes it and cut off with `…` where it is long.
///
/// ```
/// assert_eq!(format!("{:?}", units::Cut("30\n")), "\"30\\n\"");
/// ```
pub struct Cut<'a>(pub &'a str);

impl fmt::Debug for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = beginning(self.0, SHOWN);
        let more = if shown.len() < self.0.len() { "…" } else { "" };
        write!(f, "{shown:?}{more}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{duration, size};

    #[test]
    fn a_long_text_is_cut_between_two_letters_and_a_short_one_is_whole() {
        assert_eq!(format!("{:?}", Cut(&"x".repeat(80))), format!("{:?}", "x".repeat(80)));
        assert_eq!(format!("{:?}", Cut(&"x".repeat(81))), format!("{:?}…", "x".repeat(80)));
        assert_eq!(format!("{:?}", Cut(&format!("x{}", "ä".repeat(80)))), format!("\"x{}\"…", "ä".repeat(39)));
    }

    #[test]
    fn a_mistake_is_a_line_of_the_log_however_long_the_text_is() {
        let long = |text: &str| text.repeat(11_000);
        let texts =
            [long("9"), format!("-{}", long("5")), long("x"), long("1s,"), format!("1{}", long("k")), long("999h")];
        for text in texts.iter().chain(&[format!("{}mb", long("1")), format!("0.{}", long("1")), long("\u{7f}")]) {
            let messages = [duration::parse(text).unwrap_err().to_string(), size::parse(text).unwrap_err().to_string()];
            for message in messages {
                assert!(message.len() < 2000, "{} bytes: {}", message.len(), &message[..100]);
            }
        }
    }
}
