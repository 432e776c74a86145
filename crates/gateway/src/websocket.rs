//! WebSocket, as RFC 6455 has it, without a socket.
//!
//! Everything in this folder that decides is a function of bytes and headers: [`handshake`] says whether a
//! request may become a connection, [`origin`] whether the page that asks for it may, and [`codec`] turns
//! bytes into messages and messages into bytes. None of them reads, writes, waits or knows the time.

pub mod codec;
pub mod handshake;
pub mod origin;
pub mod session;
pub mod socket;
