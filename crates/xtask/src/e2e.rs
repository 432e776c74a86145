//! The end-to-end tests: Python against the server as users run it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::install;
use crate::shell::Shell;

/// Builds the server that the tests drive.
pub(crate) fn build(shell: &Shell) -> Result<()> {
    shell.cargo(&["build", "-p", "moonwire"])
}

/// Runs pytest on `tests/e2e` with the server just built.
pub(crate) fn test(shell: &Shell, arguments: &[String]) -> Result<()> {
    let python = install::venv_python(shell).to_string_lossy().into_owned();
    let mut command = vec!["-m", "pytest", "-c", "tests/e2e/pytest.ini"];
    // Arguments that name files choose the tests; without one it is all of them.
    if !arguments.iter().any(|one| one.starts_with("tests/")) {
        command.push("tests/e2e");
    }
    // Mostly waiting, so two at a time; with `-n 0` they come one after the other, for a debugger.
    if !arguments.iter().any(|one| one.starts_with("-n")) {
        command.extend(["-n", "2"]);
    }
    command.extend(arguments.iter().map(String::as_str));
    shell.run_with(&python, &command, &[("MOONWIRE_BIN", &server(shell))])
}

/// Stirs a server for a while; see `tests/e2e/soak.py`.
pub(crate) fn soak(shell: &Shell, server: &Path, arguments: &[String]) -> Result<()> {
    let python = install::venv_python(shell).to_string_lossy().into_owned();
    let mut command = vec!["tests/e2e/soak.py"];
    command.extend(arguments.iter().map(String::as_str));
    shell.run_with(&python, &command, &[("MOONWIRE_BIN", server)])
}

/// The same for less than half a minute, with the server just built.
pub(crate) fn short_soak(shell: &Shell) -> Result<()> {
    soak(shell, &server(shell), &["--minutes", "0.4", "--every", "8"].map(String::from))
}

fn server(shell: &Shell) -> PathBuf {
    shell.root().join("target/debug/moonwire")
}
