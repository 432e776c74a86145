//! `cargo xtask sanitize`: the kernel's tests under Miri, and the end-to-end tests against a server that
//! AddressSanitizer watches, Luau's C++ included.
//!
//! Both need a nightly toolchain, so this is no step of `ci`.

use std::path::Path;

use anyhow::Result;

use crate::shell::Shell;
use crate::{e2e, install};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Frames are found by their pointers; without it a report of C++ code has no stack.
const CXX: &str = "-DNDEBUG -g1 -fsanitize=address -fno-omit-frame-pointer";
/// Whoever ends leaves its memory to the system; leaks are what the soak looks for.
const OPTIONS: &str = "detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=0";

/// Runs both.
pub(crate) fn run(shell: &Shell, pytest: &[String]) -> Result<bool> {
    install::python(shell)?;
    // Miri takes a thousand times as long: of the simulation it sees a seed, and nothing of what measures costs.
    let miri = ["+nightly", "miri", "test", "-p", "kernel", "--lib", "--tests", "--", "--skip", "cost"];
    let isolation = ("MIRIFLAGS", Path::new("-Zmiri-disable-isolation"));
    let seeds = [isolation, ("MOONWIRE_SIM_SEEDS", Path::new("1")), ("MOONWIRE_SUPERVISION_SEEDS", Path::new("20"))];
    shell.run_with("cargo", &miri, &seeds)?;

    let build = ["+nightly", "build", "-p", "moonwire", "--target", TARGET, "--target-dir", "target/sanitize"];
    let rust = ("RUSTFLAGS", Path::new("-Zsanitizer=address --cfg sanitized"));
    shell.run_with("cargo", &build, &[rust, ("LUAU_CXXFLAGS", Path::new(CXX))])?;
    let server = shell.root().join("target/sanitize").join(TARGET).join("debug/moonwire");
    e2e::test_with(shell, pytest, &[("MOONWIRE_BIN", &server), ("ASAN_OPTIONS", Path::new(OPTIONS))])?;
    Ok(true)
}
