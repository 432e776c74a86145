//! Durations as text, the way Go writes them: `"200ms"`, `"1.5s"`, `"1m30s"`.
//!
//! A bare number is refused: `30` could mean seconds, milliseconds or nanoseconds, and whoever
//! guesses wrong finds out in production.

use std::fmt;
use std::time::Duration;

use crate::{Cut, decimal};

/// The units, largest first. `µs` is written with either of Unicode's two micro signs.
const UNITS: [(&str, u128); 8] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ns", 1),
];

/// The longest duration: what a signed 64-bit count of nanoseconds holds, about 292 years.
pub const LONGEST: Duration = Duration::from_nanos(i64::MAX as u64);

/// Why a text is no duration. Its `Display` says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// Nothing was written.
    Empty,
    /// A number without a unit, such as `30`.
    NoUnit(String),
    /// A sign: durations do not go backwards.
    Negative(String),
    /// A unit that does not exist, such as `d`.
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The unit as it was written.
        unit: String,
    },
    /// No number where one must stand.
    NotADuration(String),
    /// More than [`LONGEST`].
    TooLong(String),
}

/// Reads a duration: one or more numbers, each with its unit (`h`, `m`, `s`, `ms`, `us`, `ns`).
///
/// ```
/// use std::time::Duration;
/// assert_eq!(units::duration::parse("1m30s"), Ok(Duration::from_secs(90)));
/// assert_eq!(units::duration::parse("1.5ms"), Ok(Duration::from_micros(1500)));
/// ```
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text.starts_with('-') {
        return Err(DurationError::Negative(text.to_owned()));
    }
    let mut total = 0_u128;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = decimal::split(rest).ok_or_else(|| DurationError::NotADuration(text.to_owned()))?;
        // A unit ends where the next number begins.
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        if unit.is_empty() {
            return Err(DurationError::NoUnit(text.to_owned()));
        }
        let Some((_, nanoseconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() });
        };
        total = number
            .times(*nanoseconds)
            .and_then(|part| total.checked_add(part))
            .filter(|sum| *sum <= LONGEST.as_nanos())
            .ok_or_else(|| DurationError::TooLong(text.to_owned()))?;
        rest = next;
    }
    Ok(Duration::from_nanos(total as u64))
}

/// Writes a duration the short way: `1m30s`, `1.5s`, `200ms`, `0s`.
///
/// What [`format`] writes, [`parse`] reads back as the same duration.
pub fn format(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    if nanoseconds < 1_000_000_000 {
        let (unit, size) = match nanoseconds {
            1_000_000.. => ("ms", 1_000_000),
            1_000.. => ("us", 1_000),
            _ => ("ns", 1),
        };
        return decimal_in(nanoseconds, size) + unit;
    }
    let mut text = String::new();
    let hours = nanoseconds / 3_600_000_000_000;
    let minutes = nanoseconds / 60_000_000_000 % 60;
    let seconds = nanoseconds % 60_000_000_000;
    if hours > 0 {
        text += &format!("{hours}h");
    }
    if minutes > 0 {
        text += &format!("{minutes}m");
    }
    if seconds > 0 {
        text += &(decimal_in(seconds, 1_000_000_000) + "s");
    }
    text
}

/// `count / size` as a decimal without trailing zeros.
fn decimal_in(count: u128, size: u128) -> String {
    let (whole, part) = (count / size, count % size);
    if part == 0 {
        return whole.to_string();
    }
    let width = size.ilog10() as usize;
    format!("{whole}.{}", format!("{part:0width$}").trim_end_matches('0'))
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty text is no duration: write one such as \"30s\""),
            Self::NoUnit(text) => {
                let (seconds, milliseconds) = (format!("{text}s"), format!("{text}ms"));
                let (text, seconds, milliseconds) = (Cut(text), Cut(&seconds), Cut(&milliseconds));
                write!(f, "{text:?} has no unit: write {seconds:?} for seconds or {milliseconds:?} for milliseconds")
            }
            Self::Negative(text) => write!(f, "{:?} is negative: a duration is 0s or longer", Cut(text)),
            Self::UnknownUnit { text, unit } => {
                write!(f, "{:?} has the unknown unit {:?}: ", Cut(text), Cut(unit))?;
                match unit.as_str() {
                    "d" | "day" | "days" => f.write_str("a day is \"24h\""),
                    "w" | "week" | "weeks" => f.write_str("a week is \"168h\""),
                    _ => f.write_str("the units are h, m, s, ms, us and ns"),
                }
            }
            Self::NotADuration(text) => {
                write!(f, "{:?} is no duration: write one such as \"200ms\", \"1.5s\" or \"1m30s\"", Cut(text))
            }
            Self::TooLong(text) => {
                write!(f, "{:?} is too long: a duration is at most {}", Cut(text), format(LONGEST))
            }
        }
    }
}

impl std::error::Error for DurationError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, nanoseconds) in [
            ("200ms", 200_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1m30s", 90_000_000_000),
            ("30s1m", 90_000_000_000),
            ("1h", 3_600_000_000_000),
            ("10us", 10_000),
            ("10\u{b5}s", 10_000),
            ("10\u{3bc}s", 10_000),
            ("5ns", 5),
            ("0.9ns", 0),
            ("0s", 0),
            ("0.000000001s", 1),
            ("0.12345678901234567890123s", 123_456_789),
            ("9223372036854775807ns", i64::MAX as u64),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn a_mistake_is_one_line_whatever_the_text_is() {
        for text in ["1\n", "\n", "-1\r\nerror: x", "1\u{1b}[31m", "99999999999999h\0", "1\u{85}", "1\u{2028}s"] {
            let message = parse(text).unwrap_err().to_string();
            assert!(!message.contains(|c: char| c.is_control() || c == '\u{2028}'), "{message:?}");
        }
    }

    #[test]
    fn a_mistake_says_what_to_write_instead() {
        for (text, message) in [
            ("", "an empty text is no duration: write one such as \"30s\""),
            ("30", "\"30\" has no unit: write \"30s\" for seconds or \"30ms\" for milliseconds"),
            ("0", "\"0\" has no unit: write \"0s\" for seconds or \"0ms\" for milliseconds"),
            ("-5s", "\"-5s\" is negative: a duration is 0s or longer"),
            ("2d", "\"2d\" has the unknown unit \"d\": a day is \"24h\""),
            ("2S", "\"2S\" has the unknown unit \"S\": the units are h, m, s, ms, us and ns"),
            ("2 s", "\"2 s\" has the unknown unit \" s\": the units are h, m, s, ms, us and ns"),
        ] {
            assert_eq!(parse(text).map_err(|error| error.to_string()), Err(message.to_owned()));
        }
        for text in ["soon", " 5s", "s", ".s", "+5s", "1s soon", "5s ", "\u{663}s", "NaNs"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["9223372036854775808ns", "9999999h", "1e9s", &("9".repeat(500) + "s")] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(matches!(parse("2562047h60m"), Err(DurationError::TooLong(_))));
    }

    #[test]
    fn durations_are_written_the_short_way() {
        for text in ["0s", "1ns", "1.5us", "200ms", "1.5s", "1m", "1m30s", "1h", "1h0.5s", "24h", "1m0.001s"] {
            let text = text.to_owned();
            assert_eq!(parse(&text).map(format), Ok(text));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanoseconds in 0..=i64::MAX as u64, shift in 0..63_u32) {
            let duration = Duration::from_nanos(nanoseconds >> shift);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_answered_without_a_panic(text in "\\PC*|[0-9.hmsun-]*") {
            if let Err(error) = parse(&text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
