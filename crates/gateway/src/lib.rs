//! gateway

pub mod relay;
pub mod router;
pub mod static_files;
pub mod websocket;
