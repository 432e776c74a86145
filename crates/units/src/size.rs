//! Sizes in bytes as text: `"1MiB"`, `"512KiB"`, `"2GiB"`, or plain bytes such as `"65536"`.
//!
//! `MB` is refused rather than guessed: to some it is 1,000,000 bytes and to others 1,048,576.

use std::fmt;

use crate::{Cut, decimal};

/// The units, largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Why a text is no size. Its `Display` says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SizeError {
    /// Nothing was written.
    Empty,
    /// Sizes have no sign.
    Negative(String),
    /// A unit that is not known; `instead` is the whole size as it was probably meant.
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The unit as it was written.
        unit: String,
        /// The same number with the unit that was probably meant.
        instead: Option<String>,
    },
    /// No number where one must stand.
    NotASize(String),
    /// A fraction that leaves part of a byte, such as `1.5` or `0.3KiB`.
    PartOfAByte(String),
    /// More than 2^64 - 1 bytes.
    TooBig(String),
}

/// Reads a size in bytes.
///
/// ```
/// assert_eq!(units::size::parse("1.5MiB"), Ok(1_572_864));
/// assert_eq!(units::size::parse("65536"), Ok(65_536));
/// ```
pub fn parse(text: &str) -> Result<u64, SizeError> {
    if text.is_empty() {
        return Err(SizeError::Empty);
    }
    if text.starts_with('-') {
        return Err(SizeError::Negative(text.to_owned()));
    }
    let (number, unit) = decimal::split(text).ok_or_else(|| SizeError::NotASize(text.to_owned()))?;
    let bytes = match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, bytes)) => u128::from(*bytes),
        None if unit.is_empty() => 1,
        None => {
            let digits = &text[..text.len() - unit.len()];
            let instead = meant(unit).map(|unit| format!("{digits}{unit}"));
            return Err(SizeError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned(), instead });
        }
    };
    if !number.is_whole_in(bytes) {
        return Err(SizeError::PartOfAByte(text.to_owned()));
    }
    number.times(bytes).and_then(|size| u64::try_from(size).ok()).ok_or_else(|| SizeError::TooBig(text.to_owned()))
}

/// Writes a size in the largest unit that holds it exactly: `1MiB`, `1536KiB`, `1000`.
///
/// What [`format`] writes, [`parse`] reads back as the same size.
pub fn format(size: u64) -> String {
    match UNITS.iter().find(|(_, bytes)| size != 0 && size.is_multiple_of(*bytes)) {
        Some((unit, bytes)) => format!("{}{unit}", size / bytes),
        None => size.to_string(),
    }
}

/// The unit that someone who wrote `unit` probably meant.
fn meant(unit: &str) -> Option<&'static str> {
    match unit.trim().to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => Some(""),
        "k" | "kb" | "kib" => Some("KiB"),
        "m" | "mb" | "mib" => Some("MiB"),
        "g" | "gb" | "gib" => Some("GiB"),
        _ => None,
    }
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty text is no size: write one such as \"1MiB\""),
            Self::Negative(text) => write!(f, "{:?} is negative: a size is 0 or more", Cut(text)),
            Self::UnknownUnit { text, unit, instead } => {
                write!(f, "{:?} has the unknown unit {:?}: ", Cut(text), Cut(unit.trim()))?;
                match instead {
                    Some(instead) => write!(f, "write {:?}", Cut(instead)),
                    None => f.write_str("the units are KiB, MiB and GiB, or none for bytes"),
                }
            }
            Self::NotASize(text) => {
                write!(f, "{:?} is no size: write one such as \"512KiB\", \"1MiB\" or \"65536\"", Cut(text))
            }
            Self::PartOfAByte(text) => write!(f, "{:?} is not a whole number of bytes", Cut(text)),
            Self::TooBig(text) => write!(f, "{:?} is more than 64 bits can count", Cut(text)),
        }
    }
}

impl std::error::Error for SizeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_digit_is_too_small_to_leave_part_of_a_byte() {
        for text in ["0.0000000000000000001", "1.00000000000000000000000000001GiB"] {
            assert_eq!(parse(text), Err(SizeError::PartOfAByte(text.to_owned())));
        }
        assert_eq!(parse("1.0000000000000000000000000KiB"), Ok(1024));
    }

    #[test]
    fn a_mistake_is_one_line_whatever_the_text_is() {
        for text in ["1\n", "\n", "-1\r\nerror: x", "1\u{1b}[31m", "0.3\0", "1\u{85}", "1\u{2028}KiB"] {
            let message = parse(text).unwrap_err().to_string();
            assert!(!message.contains(|c: char| c.is_control() || c == '\u{2028}'), "{message:?}");
        }
    }

    #[test]
    fn sizes_are_read_in_powers_of_two_or_plain_bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("1KiB", 1024),
            ("512KiB", 524_288),
            ("1MiB", 1_048_576),
            ("1.5MiB", 1_572_864),
            ("2GiB", 2_147_483_648),
            ("0.5KiB", 512),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_mistake_says_what_to_write_instead() {
        for (text, message) in [
            ("", "an empty text is no size: write one such as \"1MiB\""),
            ("1MB", "\"1MB\" has the unknown unit \"MB\": write \"1MiB\""),
            ("1.5 mib", "\"1.5 mib\" has the unknown unit \"mib\": write \"1.5MiB\""),
            ("64B", "\"64B\" has the unknown unit \"B\": write \"64\""),
            ("1TiB", "\"1TiB\" has the unknown unit \"TiB\": the units are KiB, MiB and GiB, or none for bytes"),
            ("-1", "\"-1\" is negative: a size is 0 or more"),
            ("big", "\"big\" is no size: write one such as \"512KiB\", \"1MiB\" or \"65536\""),
            ("1.5", "\"1.5\" is not a whole number of bytes"),
            ("0.3KiB", "\"0.3KiB\" is not a whole number of bytes"),
            ("18446744073709551616", "\"18446744073709551616\" is more than 64 bits can count"),
            ("17179869184GiB", "\"17179869184GiB\" is more than 64 bits can count"),
        ] {
            assert_eq!(parse(text).map_err(|error| error.to_string()), Err(message.to_owned()));
        }
    }

    #[test]
    fn sizes_are_written_in_the_largest_exact_unit() {
        for (bytes, text) in
            [(0, "0"), (1000, "1000"), (1024, "1KiB"), (1_572_864, "1536KiB"), (1 << 20, "1MiB"), (3 << 40, "3072GiB")]
        {
            assert_eq!(format(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes: u64, zeros in 0..40_u32) {
            let bytes = bytes >> zeros << zeros;
            prop_assert_eq!(parse(&format(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_answered_without_a_panic(text in "\\PC*|[0-9.KMGiB-]*") {
            if let Err(error) = parse(&text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
