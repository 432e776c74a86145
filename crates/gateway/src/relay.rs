//! The relay: from a handler's answer to a connection that is a process.
//!
//! [`header`] reads what a handler asks for in `X-WS-Relay`.

pub mod header;
pub mod values;
pub(crate) mod upgrade;
