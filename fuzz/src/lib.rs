//! What the fuzz targets check: each module is one target, and begins with what it promises.
//!
//! A target is a function of bytes that panics when the promise is broken. `fuzz_targets/` hands it to libFuzzer, which
//! begins with its corpus, and `docs/fuzzing.md` says how to run it. What has a second implementation is compared
//! with it, and every difference that is meant is listed where it is let pass.

pub mod codec;
pub mod deflate;
pub mod frames;

pub mod handshake;
pub mod origins;
pub mod paths;
pub mod relay_header;

pub mod amounts;
pub mod json;
pub mod pid;
pub mod yaml;

mod pieces;
mod wire;
