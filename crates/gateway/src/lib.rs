//! The gateway: HTTP, WebSocket, and the relay that makes a process of a connection.
//!
//! It does not know how a handler is written: a handler is a seed of the `luau` crate that keeps an exchange and ends.
//! It reads no YAML, chooses no ports and starts no threads; whoever boots the node does.
//!
//! Decisions live in functions without I/O, I/O in functions without decisions. Read in this order: [`tls`] (bytes in
//! and out of an encrypted connection, certificates), [`websocket`] (handshake, codec, the session as a process, its
//! socket), [`relay`] (from a handler's header to a session), [`router`] and [`static_files`] (which endpoint, which
//! file), `seldom` (lines of the log), [`server`] (HTTP), [`driver`] (the turns of a shard), [`modules`] (`http`, as
//! programs see it), and [`figures`] (what is counted of all this).

pub mod tls;

pub mod websocket;

pub mod relay;

pub mod router;
pub(crate) mod seldom;
pub mod static_files;

pub mod server;

pub mod driver;

pub mod modules;

pub mod figures;
