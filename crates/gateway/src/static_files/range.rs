//! Which part of a file is asked for (RFC 9110 section 14).

use std::ops::RangeInclusive;

/// What a `Range` header means for a file of a certain length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole file: nothing else was asked for, or something that a server may ignore, which is what we
    /// do with other units, broken syntax and more than one range.
    Whole,
    /// 206: these bytes, both ends included.
    Bytes(RangeInclusive<u64>),
    /// 416: the range begins behind the end.
    Unsatisfiable,
}

/// Reads the value of a `Range` header for a file of `len` bytes.
pub fn parse(value: &str, len: u64) -> Part {
    let Some((unit, range)) = value.split_once('=') else { return Part::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return Part::Whole };
    // Of an empty file there is no part, and no Content-Range could say so.
    if !unit.trim().eq_ignore_ascii_case("bytes") || len == 0 {
        return Part::Whole;
    }
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => Part::Whole,
        (Some(first), _) if first >= len && (last.is_empty() || number(last).is_some()) => Part::Unsatisfiable,
        (Some(first), Some(last)) => Part::Bytes(first..=last.min(len - 1)),
        (Some(first), None) if last.is_empty() => Part::Bytes(first..=len - 1),
        (None, Some(0)) if first.is_empty() => Part::Unsatisfiable,
        (None, Some(suffix)) if first.is_empty() => Part::Bytes(len.saturating_sub(suffix)..=len - 1),
        _ => Part::Whole,
    }
}

/// The value of `Content-Range` for a 206.
pub fn content_range(part: &RangeInclusive<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", part.start(), part.end())
}

/// The value of `Content-Range` for a 416.
pub fn content_range_unsatisfiable(len: u64) -> String {
    format!("bytes */{len}")
}

/// Digits and nothing else; what is beyond 64 bits is simply far behind the end.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_range_is_a_part_and_everything_odd_is_the_whole() {
        use Part::{Bytes, Unsatisfiable, Whole};
        for (value, len, expected) in [
            ("bytes=0-0", 10, Bytes(0..=0)),
            ("bytes=0-9", 10, Bytes(0..=9)),
            ("bytes=2-5", 10, Bytes(2..=5)),
            ("bytes=2-500", 10, Bytes(2..=9)),
            ("bytes=2-", 10, Bytes(2..=9)),
            ("bytes=-3", 10, Bytes(7..=9)),
            ("bytes=-30", 10, Bytes(0..=9)),
            ("Bytes = 2-5", 10, Bytes(2..=5)),
            ("bytes=2-99999999999999999999999", 10, Bytes(2..=9)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-20", 10, Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=5-2", 10, Whole),
            ("bytes=50-20", 10, Whole),
            ("bytes=0-1,4-5", 10, Whole),
            ("bytes=10-x", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=--2", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("0-1", 10, Whole),
            ("", 10, Whole),
            ("bytes=0-", 0, Whole),
            ("bytes=-5", 0, Whole),
        ] {
            assert_eq!(parse(value, len), expected, "{value:?} of {len}");
        }
    }

    #[test]
    fn the_answer_says_which_part_it_is() {
        assert_eq!(content_range(&(2..=5), 10), "bytes 2-5/10");
        assert_eq!(content_range_unsatisfiable(10), "bytes */10");
    }
}
