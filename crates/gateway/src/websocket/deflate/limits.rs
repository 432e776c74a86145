//! Every bound of compression, in one place.
//!
//! Work is counted in nanoseconds of a slow, busy core, by these prices and not by a clock: what is done in a turn
//! depends on the messages alone.

/// Without takeover, messages from this size on are compressed. Measured with JSON: 256 bytes become 166, 512 become
/// 247, 1024 become 391, for about 20 µs each.
pub const WORTH: usize = 512;
/// With takeover, from this one on: 128 bytes of JSON become 50, 256 become 91.
pub const WORTH_IN_CONTEXT: usize = 128;
/// zlib's level. On 64 KiB of JSON: 1 leaves 35 % of it in 0.5 the time, 3 leaves 24 %, 6 leaves 22 % in 2.6 the time.
pub const LEVEL: u32 = 3;
/// The window of a connection with takeover, each way: 2^12 = 4096 bytes. 2^15 makes 1 KiB of JSON 2 % smaller.
pub const CONTEXT_BITS: u8 = 12;

/// A large message is compressed in pieces of this size: about 0.4 ms on an idle core. Not less than the largest window.
pub const PIECE: usize = 32 << 10;
/// What a connection with takeover has compressed before it is written, and no more than a quarter of what may wait for
/// it. What waits behind may still be dropped.
pub const CHAINED: usize = 64 << 10;
/// Messages of which a shard remembers the compressed form while they are being sent to many.
pub const REMEMBERED: usize = 1024;

/// Compressing in one turn, beyond what was begun.
pub const PRESS_TURN: u64 = 2_000_000;
/// A message or a piece of one: the compressor is made fresh.
pub const PRESS_START: u64 = 20_000;
/// A byte that is compressed.
pub const PRESS_BYTE: u64 = 25;
/// A byte of the window that the compressor is shown.
pub const PRESS_WINDOW: u64 = 5;

/// Inflating at once, when a message is read: the rest of a larger one waits for the scheduler.
pub const INFLATE_TURN: u64 = 1_000_000;
/// One step of inflating a large message.
pub const INFLATE_STEP: u64 = 400_000;
/// A message, or another deflate stream within it.
pub const INFLATE_START: u64 = 3_000;
/// A byte that goes in. Blocks made to be slow cost eight times as much.
pub const INFLATE_IN: u64 = 20;
/// A byte that comes out.
pub const INFLATE_OUT: u64 = 2;
/// What is inflated when it is read: compressed bytes.
pub const QUICK_IN: usize = 16 << 10;
/// What is inflated when it is read: bytes that come out.
pub const QUICK_OUT: usize = 64 << 10;
/// Large messages of a shard that are inflated at the same time; others wait, compressed.
pub const ENGINES: usize = 4;
/// Deflate streams within one message (blocks with BFINAL, RFC 7692 section 7.2.3.5).
pub const STREAMS: u32 = 4096;

/// How many compressed bytes a message of `max` bytes may have: deflate makes nothing much larger.
pub const fn compressed(max: usize) -> usize {
    max.saturating_add(max / 8).saturating_add(1024)
}
