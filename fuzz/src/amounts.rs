//! `amounts`: any text as a duration or as a size.
//!
//! - What is read and written again is the same; so is what is written first.
//! - A value is the one that a sum of fractions gives, to within a nanosecond for each part of a duration.
//! - A mistake is one line and not a long one, whatever the text is.

use std::time::Duration;

/// The target.
pub fn run(data: &[u8]) {
    if let Some(number) = data.first_chunk() {
        let number = u64::from_le_bytes(*number);
        assert_eq!(units::size::parse(&units::size::format(number)), Ok(number));
        let duration = Duration::from_nanos(number & i64::MAX as u64);
        assert_eq!(units::duration::parse(&units::duration::format(duration)), Ok(duration));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    match units::duration::parse(text) {
        Ok(duration) => {
            assert_eq!(units::duration::parse(&units::duration::format(duration)), Ok(duration));
            let (expected, parts) = sum(text, &DURATIONS).expect("only numbers and units are a duration");
            let nanoseconds = duration.as_nanos() as f64;
            assert!((nanoseconds - expected).abs() <= parts + expected * 1e-9, "{text}: {duration:?}");
        }
        Err(fault) => one_line(&fault.to_string()),
    }
    match units::size::parse(text) {
        Ok(size) => {
            assert_eq!(units::size::parse(&units::size::format(size)), Ok(size));
            let (expected, _) = sum(text, &SIZES).expect("only a number and a unit are a size");
            assert!((size as f64 - expected).abs() <= expected * 1e-9, "{text}: {size}");
        }
        Err(fault) => one_line(&fault.to_string()),
    }
}

fn one_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.len() < 4096, "{} bytes", text.len());
}

const DURATIONS: [(&str, f64); 8] =
    [("h", 3.6e12), ("m", 6e10), ("s", 1e9), ("ms", 1e6), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ns", 1.0)];
const SIZES: [(&str, f64); 4] = [("", 1.0), ("KiB", 1024.0), ("MiB", 1048576.0), ("GiB", 1073741824.0)];

/// The sum of numbers with their units, and how many there are.
fn sum(mut text: &str, units: &[(&str, f64)]) -> Option<(f64, f64)> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let (mut sum, mut parts) = (0.0, 0.0);
    while !text.is_empty() {
        let end = text.find(|c| !is_number(c)).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let (unit, rest) = rest.split_at(rest.find(is_number).unwrap_or(rest.len()));
        let size = units.iter().find(|(name, _)| *name == unit)?.1;
        sum += number.parse::<f64>().ok()? * size;
        parts += 1.0;
        text = rest;
    }
    Some((sum, parts))
}
