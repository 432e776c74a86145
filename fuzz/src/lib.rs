//! What the fuzz targets check: each module is one target, and begins with what it promises.
//!
//! A target is a function of bytes that panics when the promise is broken. `fuzz_targets/` hands it to libFuzzer, the
//! tests here feed it its corpus, and `docs/fuzzing.md` says how to run it. What has a second implementation is compared
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

/// A target: its name, which is that of its folder in `corpus/`, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 11] = [
    ("amounts", amounts::run),
    ("codec", codec::run),
    ("deflate", deflate::run),
    ("frames", frames::run),
    ("handshake", handshake::run),
    ("json", json::run),
    ("origins", origins::run),
    ("paths", paths::run),
    ("pid", pid::run),
    ("relay_header", relay_header::run),
    ("yaml", yaml::run),
];
