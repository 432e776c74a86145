//! The server from outside: the built program as a child process, and WebSocket clients that
//! nobody here wrote.
//!
//! A test starts a [`Server`] on a folder, connects [`Client`]s of both [`Peer`]s, and ends with
//! [`Server::stop`]. What it asserts is what a user could see: frames, close codes, answers, log
//! lines, counters, the exit code. Nothing here waits for a fixed time; whatever is awaited has a
//! [`DEADLINE`] and a name, and the test fails with that name.
//!
//! This crate knows no other crate of the workspace: it would agree with their mistakes. The path
//! of the program is passed in.
//!
//! Read [`server`] first, with [`counters`] and [`log`], then [`client`], then [`puppet`]: a
//! process on strings, for tests that must see what reaches a target.

pub mod server;

pub mod counters;
pub mod log;

pub mod client;
pub mod puppet;

mod http;

pub use client::{Client, Closed, Dial, Frame, Peer};
pub use counters::Counters;
pub use http::Answer;
pub use log::Record;
pub use puppet::{Puppet, Report};
pub use server::{Server, Start};

use std::time::Duration;

/// How long anything that should happen at once may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What the future gives, if it does so within the [`DEADLINE`].
///
/// # Panics
/// With `what` when the time is over.
#[track_caller]
pub fn within<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(value) => value,
            Err(_elapsed) => panic!("waited {DEADLINE:?} in vain: {what} ({caller})"),
        }
    }
}
