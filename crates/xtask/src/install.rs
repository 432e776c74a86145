//! What the tests need from outside: a Python environment and a browser.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::shell::Shell;

/// What the Python environment holds, in pip's words.
const REQUIREMENTS: &str = "tests/e2e/requirements.txt";

/// Names by which a Chromium may be installed.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

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
    // Without root, as on a developer's machine, apt-get needs sudo.
    let sudo: &[&str] = if shell.has("sudo", &[]) { &["sudo"] } else { &[] };
    let apt = |arguments: &[&str]| {
        let words = [sudo, &["apt-get"], arguments].concat();
        shell.run(words[0], &words[1..])
    };
    apt(&["update", "--quiet"])?;
    apt(&["install", "--yes", "--quiet", "--no-install-recommends", "chromium"])
}
