//! Every bound of the HTTP server that no entry sets, in one place.

use std::time::Duration;

/// The longest request target; longer ones get 414.
pub const TARGET: usize = 8 << 10;
/// Headers of a request; more get 431.
pub const HEADERS: usize = 100;
/// What one connection's head may take; more gets 431.
pub const HEAD: usize = 64 << 10;
/// Descriptors kept free for what comes and goes and is no connection: files that are read, the admin address, and
/// connections that are told to come later.
pub const RESERVED_FDS: usize = 96;
/// Connections that are told so at once; beyond, one is closed without a word.
pub const TURNED_AWAY: usize = 32;
/// The pause after the machine refused a descriptor.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// By how many connections a shard may be ahead of the least busy one before it hands a new one over.
pub const IMBALANCE: usize = 1;
/// From the 101 until hyper gives the stream back.
pub const UPGRADE: Duration = Duration::from_secs(10);
/// Files that are read at once, on all shards.
pub const FILE_READS: usize = 32;
/// A file is sent in pieces of this size.
pub const FILE_PIECE: usize = 64 << 10;
/// What `Retry-After` says, in seconds.
pub const RETRY_AFTER: &str = "5";
/// Bytes that the kernel keeps for one connection beyond what was sent. Without it a client that does not read holds
/// megabytes there, beside the queue that `wsrelay.send.buffer` bounds.
pub const UNSENT: u32 = 128 << 10;
