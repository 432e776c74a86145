//! How values are written as text: durations, sizes, and the nearest right name for a wrong one; and how they are
//! counted ([`figures`]).
//!
//! Everything that a person types or reads in this product (a YAML field, a Luau argument, a
//! command-line flag, an error message) goes through here, so that `"1m30s"` means the same
//! everywhere and a mistake is explained in the same words.
//!
//! This crate knows nothing else: no processes, no YAML, no clock.
//!
//! Read [`duration`] first, [`size`] is its twin, [`nearest`] and [`cut`] stand alone.

pub mod duration;
pub mod size;

pub mod nearest;

pub mod cut;

pub mod figures;

mod decimal;

pub use cut::{Cut, beginning};
pub use duration::DurationError;
pub use nearest::{did_you_mean, nearest};
pub use size::SizeError;
