//! `cargo xtask sim`: the kernel's simulation, with as many seeds as asked for, and the proof that it can see.
//!
//! The simulation itself is a test of the kernel (`crates/kernel/tests/simulation`). Here it is built for speed and
//! runs on all cores. With `--inject` it runs over a copy of the kernel that has a bug of a list ([`bugs`]), and must
//! find it.

mod bugs;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{fs, thread};

use anyhow::{Context as _, Result, bail, ensure};

use self::bugs::{BUGS, Bug};
use crate::shell::Shell;

/// Seeds within which each bug must be found.
const SEEDS_FOR_A_BUG: u64 = 10_000;
/// Where the simulation is built, apart from all else: its profile is its own.
const TARGET: &str = "target/sim";
/// The workspace of the kernel with a bug, and where it is built. Not in the same folder: cargo tells crates apart by
/// their place in their workspace, so it would take the one for the other.
const COPY: &str = "target/sim-bugs/copy";
const COPY_TARGET: &str = "target/sim-bugs/build";

/// Runs seeds over the kernel as it is.
pub(crate) fn run(shell: &Shell, first: u64, seeds: u64) -> Result<bool> {
    let program = build(shell.root(), &shell.root().join(TARGET))?;
    let status = command(&program, first, seeds).status().context("cannot run the simulation")?;
    ensure!(status.success(), "the simulation found what must not be; its seed is above");
    shell.say("test result: ok. 1 passed; 0 failed");
    Ok(true)
}

/// Prints the bugs that can be injected.
pub(crate) fn list() {
    for bug in BUGS {
        println!("{:22} {}", bug.name, bug.what);
    }
}

/// Injects one bug after the other and lets the simulation look for it. Whether each was found.
pub(crate) fn inject(shell: &Shell, name: &str) -> Result<bool> {
    let chosen: Vec<&Bug> = BUGS.iter().filter(|bug| name == "all" || bug.name == name).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = BUGS.iter().map(|bug| bug.name).collect();
        bail!("no bug is called {name:?}; there are all, {}", names.join(", "));
    }
    // Before anything is built: a list that has rotted is said at once.
    for bug in BUGS {
        bug.applied(&fs::read_to_string(shell.root().join(bug.file))?)?;
    }
    let mut missed = 0;
    for bug in &chosen {
        let began = Instant::now();
        copy(shell.root(), bug)?;
        let program = build(&shell.root().join(COPY), &shell.root().join(COPY_TARGET))?;
        let output = command(&program, 1, SEEDS_FOR_A_BUG).output().context("cannot run the simulation")?;
        let text = String::from_utf8_lossy(&output.stderr);
        let took = began.elapsed().as_secs_f64();
        match found(&text) {
            Some((seed, how)) if !output.status.success() => {
                println!("{:22} found at seed {seed:<5} ({took:.0} s): {how}", bug.name);
            }
            _ if !output.status.success() => bail!("{}: the simulation broke without a seed:\n{text}", bug.name),
            _ => {
                missed += 1;
                println!("{:22} NOT FOUND in {SEEDS_FOR_A_BUG} seeds ({took:.0} s): {}", bug.name, bug.what);
            }
        }
    }
    shell.say(&format!("test result: {} passed; {missed} failed", chosen.len() - missed));
    Ok(missed == 0)
}

/// Builds the simulation of a workspace into a folder; the program.
fn build(workspace: &Path, target: &Path) -> Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["test", "--quiet", "-p", "kernel", "--profile", "sim", "--test", "simulation", "--no-run"];
    let output = Command::new(cargo)
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace)
        .env("CARGO_TARGET_DIR", target)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the simulation does not build");
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text.lines().filter_map(|line| line.split_once("\"executable\":\"")).next_back();
    let path = path.and_then(|(_, rest)| rest.split('"').next()).context("cargo built no program")?;
    Ok(PathBuf::from(path))
}

fn command(program: &Path, first: u64, seeds: u64) -> Command {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut command = Command::new(program);
    command.arg("--nocapture").stdout(Stdio::null());
    let settings = [("FIRST", first), ("SEEDS", seeds), ("THREADS", threads as u64)];
    command.envs(settings.map(|(name, value)| (format!("MOONWIRE_SIM_{name}"), value.to_string())));
    command.env("RUST_BACKTRACE", "0");
    command
}

/// The seed of a simulation that failed, and what it said.
fn found(text: &str) -> Option<(u64, &str)> {
    let (before, after) = text.split_once("replay it: cargo xtask sim --first ")?;
    let seed = after.split(' ').next()?.parse().ok()?;
    // The line after "thread ... panicked at ...:".
    let mut lines = before.lines().skip_while(|line| !line.contains("panicked at")).skip(1);
    Some((seed, lines.next().unwrap_or_default()))
}

/// A workspace that holds nothing but the kernel and what it needs, with a bug. Files that are as they were are left
/// alone, so that only what changed is built again.
fn copy(root: &Path, bug: &Bug) -> Result<()> {
    let to = root.join(COPY);
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let members = manifest.replace("members = [\"crates/*\"]", "members = [\"crates/kernel\", \"crates/units\"]");
    let members: Vec<&str> = members.lines().filter(|line| !line.starts_with("default-members")).collect();
    write(&to.join("Cargo.toml"), &members.join("\n"))?;
    if !to.join("Cargo.lock").exists() {
        fs::copy(root.join("Cargo.lock"), to.join("Cargo.lock"))?;
    }
    for folder in ["crates/kernel", "crates/units"] {
        for file in files(&root.join(folder))? {
            let path = file.strip_prefix(root)?;
            let text = fs::read_to_string(&file)?;
            let text = if path == Path::new(bug.file) { bug.applied(&text)? } else { text };
            write(&to.join(path), &text)?;
        }
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { all.extend(files(&path)?) } else { all.push(path) }
    }
    Ok(all)
}

fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("a file in a folder")?)?;
    fs::write(path, text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_and_what_was_seen_are_read_from_what_the_simulation_prints() {
        let text = "\nthread '<unnamed>' (7) panicked at crates/kernel/tests/a.rs:1:2:\na monitor fired twice\nseed 42 \
                    fails; replay it: cargo xtask sim --first 42 --seeds 1\n";
        assert_eq!(found(text), Some((42, "a monitor fired twice")));
        assert_eq!(found("none failed"), None);
    }

    #[test]
    fn every_bug_can_be_injected_into_the_kernel_as_it_is_now() {
        let root = crate::root();
        for bug in BUGS {
            let text = fs::read_to_string(root.join(bug.file)).unwrap();
            bug.applied(&text).unwrap();
        }
        assert!(BUGS.len() >= 12);
    }
}
