//! The one number syntax that durations and sizes share: digits, perhaps a point and more digits.

/// The longest run of fraction digits that is looked at; the rest is below every unit's grain.
const FRACTION_DIGITS: usize = 18;

/// An unsigned decimal: `whole + fraction / scale`, and whether that is all of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    whole: u128,
    fraction: u128,
    scale: u128,
    /// Whether no digit was left out but zeros.
    exact: bool,
}

/// Splits the number from the front of `text`; `None` if `text` starts with no digit at all.
/// Digits beyond what any unit can hold saturate, so that the caller's overflow check sees them.
pub(crate) fn split(text: &str) -> Option<(Decimal, &str)> {
    let (digits, rest) = leading_digits(text);
    let (fraction_digits, rest) = match rest.strip_prefix('.') {
        Some(after) => leading_digits(after),
        None => ("", rest),
    };
    if digits.is_empty() && fraction_digits.is_empty() {
        return None;
    }
    let (fraction_digits, below) = fraction_digits.split_at(fraction_digits.len().min(FRACTION_DIGITS));
    let decimal = Decimal {
        whole: value_of(digits),
        fraction: value_of(fraction_digits),
        scale: 10_u128.pow(fraction_digits.len() as u32),
        exact: below.bytes().all(|digit| digit == b'0'),
    };
    Some((decimal, rest))
}

impl Decimal {
    /// The number times `unit`, rounded down; `None` beyond `u128`.
    pub(crate) fn times(self, unit: u128) -> Option<u128> {
        let whole = self.whole.checked_mul(unit)?;
        whole.checked_add(self.fraction * unit / self.scale)
    }

    /// Whether the number times `unit` is whole.
    pub(crate) fn is_whole_in(self, unit: u128) -> bool {
        self.exact && (self.fraction * unit).is_multiple_of(self.scale)
    }
}

fn leading_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn value_of(digits: &str) -> u128 {
    digits.bytes().fold(0_u128, |sum, digit| sum.saturating_mul(10).saturating_add(u128::from(digit - b'0')))
}
