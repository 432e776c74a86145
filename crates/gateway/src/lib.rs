//! gateway

pub mod websocket;
