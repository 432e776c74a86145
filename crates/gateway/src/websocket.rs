//! WebSocket, as RFC 6455 has it.
//!
//! Everything in this folder that decides is a function of bytes and headers: [`handshake`] says whether a
//! request may become a connection, [`origin`] whether the page that asks for it may, [`codec`] turns bytes
//! into messages and messages into bytes, [`deflate`] makes them smaller, and [`session`] is the connection as a
//! process: mail and bytes in, messages and frames out. None of them reads, writes, waits or asks for the time.
//! [`socket`] does. [`ceiling`] says who has to go when all of them together hold too much.

pub mod ceiling;
pub mod codec;
pub mod deflate;
pub mod handshake;
pub mod origin;
pub mod session;
pub mod socket;
