//! The Luau modules that this crate brings.

pub mod http;

use luau::NativeModule;

/// All of them, for the runtime of each shard.
pub const ALL: [NativeModule; 1] = [http::MODULE];
