//! gateway

pub mod relay;
pub mod websocket;
