//! TLS as bytes in and bytes out, and the certificates that it needs. Nothing here reads a socket.
//!
//! [`identity`] makes of an `http.service`'s `tls` what handshakes are answered with, and takes new certificates while
//! the server runs; [`certificate`] reads the few facts of a certificate that people ask for; `engine` is one
//! connection. `server/tls.rs` shakes hands and lets hyper talk through an engine; a WebSocket takes the same engine
//! along to its own socket (`websocket/socket/wire.rs`).

pub mod certificate;
pub(crate) mod engine;
pub mod identity;
