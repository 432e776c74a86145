//! Moonwire: the command line, the start and the stop of a node, and what can be seen of it from outside.
//!
//! The only crate that knows all others; the details of every protocol are theirs. Read `cli` (what can be asked),
//! `load` (from a folder to an app that may run), `run` (from start to exit), `reload` and `watch` (new code while it
//! runs), `node` (shards, hosts, the factory) and `services` (what is kept running). `logging`, `metrics` and `admin` are
//! what an operator sees; `testing` runs the tests of an app.

mod cli;

mod check;
mod load;
mod method;

mod certificates;
mod factory;
mod node;
mod probes;
mod reload;
mod run;
mod services;
mod supervisors;
mod term;
mod watch;

mod admin;
mod logging;
mod metrics;

mod testing;

mod new;

use std::process::ExitCode;

// One allocator for all shards that keeps a heap for each thread: memory is mostly freed where it was taken.
// A sanitizer (cargo xtask sanitize) only sees what its own allocator gives.
#[cfg(not(sanitized))]
#[global_allocator]
static ALLOCATOR: luau::Allocator = luau::Allocator;

fn main() -> ExitCode {
    match cli::Cli::read().command {
        cli::Command::Run(options) => run::run(&options),
        cli::Command::Check(options) => check::check(&options),
        cli::Command::Test(options) => testing::test(&options),
        cli::Command::New(options) => new::new(&options),
    }
}
