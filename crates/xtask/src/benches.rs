//! Bench programs: built by cargo, found by what it says of them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::shell::Shell;

/// A bench: its package and its name.
pub(crate) type Bench = (&'static str, &'static str);

/// What processes cost, without sockets.
pub(crate) const PROCESSES: Bench = ("luau", "process");
/// The whole path of a message, without a network.
pub(crate) const PATH: Bench = ("gateway", "path");

/// Builds benches with one call of cargo, so that what they share is built once; where their programs are.
pub(crate) fn build<const COUNT: usize>(shell: &Shell, benches: [Bench; COUNT]) -> Result<[PathBuf; COUNT]> {
    let mut arguments = vec!["bench", "--no-run", "--message-format=json-render-diagnostics"];
    for (package, bench) in benches {
        arguments.extend(["-p", package, "--bench", bench]);
    }
    eprintln!("$ cargo {}", arguments.join(" "));
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(arguments)
        .current_dir(shell.root())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the benches do not build");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut programs = [const { PathBuf::new() }; COUNT];
    for (program, (_, bench)) in programs.iter_mut().zip(benches) {
        *program = executable(&text, bench).with_context(|| format!("cargo has not built the bench {bench}"))?;
    }
    Ok(programs)
}

/// The program of a bench in cargo's messages, which are a line of JSON each.
fn executable(messages: &str, bench: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let target = &message["target"];
        let is_it = target["name"] == bench && target["kind"][0] == "bench";
        is_it.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchs_program_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"path"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bench"],"name":"path"},"executable":"/a/deps/path-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "path"), Some(PathBuf::from("/a/deps/path-1")));
        assert_eq!(executable(messages, "process"), None);
    }
}
