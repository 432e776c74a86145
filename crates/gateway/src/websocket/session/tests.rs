//! The contract's tables, row by row, at the level where there is no socket and the clock is moved by hand.

mod client;
mod compressed;
mod ends;
mod flood;
mod pressure;
mod stage;
mod target;
mod transfer;
