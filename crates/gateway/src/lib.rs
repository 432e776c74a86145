//! gateway

pub mod driver;
pub mod modules;
pub mod relay;
pub mod router;
pub mod server;
pub mod static_files;
pub mod websocket;
