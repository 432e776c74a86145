//! What the checks need from outside: compilers, a Python environment and a browser.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::shell::Shell;

/// What the Python environment holds, in pip's words.
const REQUIREMENTS: &str = "tests/e2e/requirements.txt";

/// Names by which a Chromium may be installed.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Programs that must be there, and the Debian packages that bring them.
const TOOLS: [(&str, &str); 3] = [("c++", "g++"), ("python3", "python3-venv"), ("valgrind", "valgrind")];

/// Makes sure that rustfmt, clippy and [`TOOLS`] are there.
pub(crate) fn tools(shell: &Shell) -> Result<()> {
    for (command, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !shell.has("cargo", &[command]) {
            shell.run("rustup", &["component", "add", component])?;
        }
    }
    let missing = TOOLS.iter().filter(|(program, _)| !shell.has(program, &[]));
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        println!("rustfmt, clippy, c++, python3 and valgrind are installed");
        return Ok(());
    }
    apt_get(shell, &packages)
}

/// The interpreter of the tests' own environment.
pub(crate) fn venv_python(shell: &Shell) -> PathBuf {
    shell.root().join("target/venv/bin/python")
}

/// Makes `target/venv` hold what [`REQUIREMENTS`] asks for; does nothing if it already does.
pub(crate) fn python(shell: &Shell) -> Result<()> {
    let wanted =
        fs::read_to_string(shell.root().join(REQUIREMENTS)).with_context(|| format!("{REQUIREMENTS} is missing"))?;
    let python = venv_python(shell);
    let stamp = shell.root().join("target/venv/installed.txt");
    let installed = fs::read_to_string(&stamp).unwrap_or_default();
    if installed == wanted && python.exists() {
        println!("target/venv is up to date");
        return Ok(());
    }
    shell.run("python3", &["-m", "venv", "target/venv"])?;
    shell.run(
        &python.to_string_lossy(),
        &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS],
    )?;
    fs::write(stamp, wanted)?;
    Ok(())
}

/// Makes sure that a Chromium is there.
pub(crate) fn browser(shell: &Shell) -> Result<()> {
    if let Some(found) = BROWSERS.iter().find(|name| shell.has(name, &[])) {
        println!("{found} is installed");
        return Ok(());
    }
    apt_get(shell, &["chromium"])
}

/// Makes sure that Node and npm are there, which bring and run the rivals of `cargo xtask bench`.
pub(crate) fn node(shell: &Shell) -> Result<()> {
    let missing: Vec<&str> = [("node", "nodejs"), ("npm", "npm")]
        .into_iter()
        .filter(|(name, _)| !shell.has(name, &[]))
        .map(|(_, package)| package)
        .collect();
    if missing.is_empty() {
        println!("node and npm are installed");
        return Ok(());
    }
    apt_get(shell, &missing)
}

fn apt_get(shell: &Shell, packages: &[&str]) -> Result<()> {
    // Without root, as on a developer's machine, apt-get needs sudo.
    let sudo: &[&str] = if shell.has("sudo", &[]) { &["sudo"] } else { &[] };
    let run = |arguments: &[&str]| {
        let quietly = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
        let words = [sudo, &quietly, arguments].concat();
        shell.run(words[0], &words[1..])
    };
    run(&["update", "--quiet"])?;
    run(&[&["install", "--yes", "--quiet", "--no-install-recommends"], packages].concat())
}
