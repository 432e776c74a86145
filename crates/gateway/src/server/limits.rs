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
/// Answers that hold less than this are counted nowhere: they go out at once.
pub const UNCOUNTED: usize = 4 << 10;
/// A body of a request or an answer that has not moved by a piece ([`STREAM_PIECE`]) for so long may be cut if there is
/// no room for another one.
pub const NO_PROGRESS: Duration = Duration::from_millis(500);
/// What `Retry-After` says, in seconds.
pub const RETRY_AFTER: &str = "5";
/// Bytes that the kernel keeps for one connection beyond what was sent. Without it a client that does not read holds
/// megabytes there, beside the queue that `wsrelay.send.buffer` bounds.
pub const UNSENT: u32 = 128 << 10;

// HTTP/2. What one connection can make the server hold is at most
//
//   STREAMS * (STREAM_WINDOW + SEND_BUFFER + HEAD + the largest request body) + 64 KiB,
//
// and what it can make the server do is bounded by STREAMS handlers at once and by the budget of control frames.

/// Streams of one connection at once, and handlers that run for it, those whose streams were reset included: a client
/// that resets what it asked for (CVE-2023-44487) starts no more of them than one that waits.
pub const STREAMS: u32 = 100;
/// What a client may send on one stream before somebody has taken it.
pub const STREAM_WINDOW: u32 = 64 << 10;
/// The same for a connection: room for all its streams, so that those that nobody reads hold up no other.
pub const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// What waits to be written on one stream.
pub const SEND_BUFFER: usize = 32 << 10;
/// Pieces in which an answer is sent, and copied between a WebSocket's stream and its session.
pub const STREAM_PIECE: usize = 16 << 10;
/// Streams that a client resets before they are even looked at, at once (CVE-2023-44487).
pub const PENDING_RESETS: usize = STREAMS as usize;
/// Streams that are reset because the client did something wrong on them, in a connection's life. A client can have
/// them reset faster than they count as open (CVE-2025-8671); one that means well makes no such mistake.
pub const ERROR_RESETS: usize = STREAMS as usize;
/// Reset streams whose late frames are still recognised, and for how long.
pub const RESET_STREAMS: usize = 50;
/// See [`RESET_STREAMS`].
pub const RESET_MEMORY: Duration = Duration::from_secs(1);
/// Frames that carry nothing (PING, SETTINGS, PRIORITY, RST_STREAM, WINDOW_UPDATE, CONTINUATION, unknown ones) that a
/// client may send at once (CVE-2019-9512 to 9518, CVE-2024-27316) ...
pub const CONTROL_FRAMES: u32 = 4000;
/// ... and for each second ...
pub const CONTROL_FRAMES_A_SECOND: u32 = 400;
/// ... and for each frame with data that it is sent: it may acknowledge that on the stream and on the connection.
pub const CONTROL_FRAMES_A_PIECE: u32 = 4;
/// A SETTINGS frame costs as much as so many others: it may touch every stream.
pub const SETTINGS_COST: u32 = 10;
/// Reads of one connection before others get their turn.
pub const READS: u8 = 8;
/// A connection with streams of which nothing was heard for so long is asked whether it lives.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);
/// For the answer to that.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// An answer of which nothing could be sent for so long is given up, and so is a connection that takes nothing.
pub const STALLED: Duration = Duration::from_secs(30);
/// From the GOAWAY of a connection without streams to its end, and from a session's end to that of its stream.
pub const GOODBYE: Duration = Duration::from_secs(5);
/// For the client to read the last words before the socket is closed.
pub const LINGER: Duration = Duration::from_millis(500);
