//! The relay: from a handler's answer to a connection that is a process.
//!
//! [`header`] reads what a handler asks for in `X-WS-Relay`, [`values`] makes terms of its JSON, and `upgrade` answers
//! the handshake.

pub mod header;
pub(crate) mod upgrade;
pub mod values;
