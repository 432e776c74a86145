//! Random numbers: each process has its own, so that none can foresee or disturb another's.

use crate::call::{Call, Native, Raise};
use std::hash::{BuildHasher, Hasher, RandomState};

pub(super) const FUNCTIONS: &[(&str, Native)] =
    &[("random", Native::of(random)), ("randomseed", Native::of(randomseed))];

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn fraction(state: &mut u64) -> f64 {
    (next(state) >> 11) as f64 / (1u64 << 53) as f64
}

fn whole(call: &Call<'_>, argument: usize, name: &str) -> Result<f64, Raise> {
    let number = call.number(argument).filter(|number| number.is_finite());
    number
        .map(f64::trunc)
        .ok_or_else(|| Raise(format!("math.random(m, n): {name}: expected a number, got {}", call.type_name(argument))))
}

/// `math.random()`, `math.random(n)`, `math.random(m, n)`.
fn random(call: &mut Call<'_>) -> Result<usize, Raise> {
    let (low, high) = match call.count() {
        0 => (0.0, 0.0),
        1 => (1.0, whole(call, 1, "m")?),
        _ => (whole(call, 1, "m")?, whole(call, 2, "n")?),
    };
    let asked = call.count();
    if call.program().more().random == 0 {
        let seed = call.program().next_seed().unwrap_or_else(|| RandomState::new().build_hasher().finish());
        call.program().more().random = seed | 1;
    }
    let state = &mut call.program().more().random;
    let value = fraction(state);
    if asked == 0 {
        call.push_number(value);
        return Ok(1);
    }
    if low > high {
        return Err(Raise(format!("math.random(m, n): nothing lies between {low} and {high}")));
    }
    call.push_number((low + (value * (high - low + 1.0)).floor()).min(high));
    Ok(1)
}

/// `math.randomseed(seed)`: from now on this process's numbers repeat.
fn randomseed(call: &mut Call<'_>) -> Result<usize, Raise> {
    let Some(seed) = call.number(1) else {
        return Err(Raise(format!("math.randomseed(seed): expected a number, got {}", call.type_name(1))));
    };
    call.program().more().random = seed.to_bits() | 1;
    Ok(0)
}
