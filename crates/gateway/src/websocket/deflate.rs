//! Compressed messages: permessage-deflate (RFC 7692).
//!
//! Nothing here belongs to a connection but its [`Window`]s, and those only with context takeover: the last bytes that
//! went each way. Compressors and decompressors are a shard's. Each message begins with a fresh one that is shown the
//! window, so a context costs a connection 8 KiB at most where one of zlib's own costs hundreds, and a connection
//! without takeover costs nothing.
//!
//! No message holds up a turn. A large one is compressed in pieces, each with the end of the one before as its window,
//! and inflated in steps; [`limits`] says how much is done at once.
//!
//! Read on: [`offer`] (what is agreed in the handshake), [`press`] (messages to compressed ones, a broadcast once),
//! [`inflate`] (back, with a cap), [`window`].

pub mod inflate;
pub mod limits;
pub mod offer;
pub mod press;
pub mod window;

pub use inflate::{Inflaters, Unpacked, Unpacking};
pub use offer::{Agreement, Side};
pub use press::{Job, Press, Pressed};
pub use window::Window;
