//! The end-to-end tests: Python against the server as users run it.

use std::path::PathBuf;

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

fn server(shell: &Shell) -> PathBuf {
    shell.root().join("target/debug/moonwire")
}
