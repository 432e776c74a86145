//! The end-to-end tests: Python against the server as users run it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::install;
use crate::shell::Shell;

/// Builds the server that the tests drive.
pub(crate) fn build(shell: &Shell) -> Result<()> {
    shell.cargo(&["build", "-p", "moonwire"])
}

/// Runs pytest on `tests/e2e` with the server just built.
pub(crate) fn test(shell: &Shell, arguments: &[String]) -> Result<()> {
    test_with(shell, arguments, &[("MOONWIRE_BIN", &server(shell))])
}

/// The same with another environment: it names the server.
pub(crate) fn test_with(shell: &Shell, arguments: &[String], environment: &[(&str, &Path)]) -> Result<()> {
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
    shell.run_with(&python, &command, environment)
}

/// Runs the suites that encryption could break with every server and client speaking TLS.
pub(crate) fn over_tls(shell: &Shell) -> Result<()> {
    let suites = ["ends", "pressure", "options", "transfer"].map(|suite| format!("tests/e2e/test_{suite}.py"));
    test_with(shell, &suites, &[("MOONWIRE_BIN", &server(shell)), ("MOONWIRE_E2E_TLS", Path::new("1"))])
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

/// Lets `moonwire test` run the tests of each folder of `tests/apps` and of each example that has some, on nodes of one
/// shard and of two.
pub(crate) fn luau(shell: &Shell) -> Result<()> {
    let server = server(shell).to_string_lossy().into_owned();
    let mut failed = Vec::new();
    for folder in folders_with_tests(shell)? {
        for shards in ["1", "2"] {
            if shell.run(&server, &["test", &folder, "--shards", shards]).is_err() {
                failed.push(format!("{folder} (--shards {shards})"));
            }
        }
    }
    ensure!(failed.is_empty(), "these have tests that failed: {}", failed.join(", "));
    Ok(())
}

fn folders_with_tests(shell: &Shell) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (parent, each_has_tests) in [("tests/apps", true), ("examples", false)] {
        for item in shell.root().join(parent).read_dir()? {
            let path = item?.path();
            let has_tests = || {
                let names = path.read_dir()?.map(|item| Ok(item?.file_name()));
                let names = names.collect::<std::io::Result<Vec<_>>>()?;
                Ok::<_, std::io::Error>(names.iter().any(|name| name.to_string_lossy().ends_with(".test.luau")))
            };
            if path.is_dir() && (each_has_tests || has_tests()?) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                found.push(format!("{parent}/{name}"));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn server(shell: &Shell) -> PathBuf {
    shell.root().join("target/debug/moonwire")
}
