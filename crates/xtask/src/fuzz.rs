//! `cargo xtask fuzz`: builds the fuzz targets of `fuzz/` and runs them, each with its corpus.
//!
//! They are built without the program cargo-fuzz and by any stable compiler: `fuzz/rustc.sh` gives coverage to our own
//! crates alone, so that everything else is what the other checks have built already.

mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::{fs, io};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use toml::{Table, Value};

use self::report::Report;
use crate::shell::Shell;

/// What to run, and for how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these targets; --list names them
    pub(crate) targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Targets that run at a time
    #[arg(long, default_value_t = 2)]
    pub(crate) jobs: usize,
    /// Name the targets and do nothing
    #[arg(long)]
    pub(crate) list: bool,
}

/// A single input may take so many seconds and so much memory (MiB), as all that the target holds.
const TIMEOUT: &str = "-timeout=10";
const MEMORY: &str = "-rss_limit_mb=2048";
/// Longer inputs are tried only if the corpus has them.
const LONGEST: &str = "-max_len=16384";

/// Prints the targets.
pub(crate) fn list(shell: &Shell) -> Result<()> {
    for target in targets(shell.root())? {
        let path = format!("fuzz/src/{target}.rs");
        let text = fs::read_to_string(shell.root().join(&path)).with_context(|| format!("{path} is missing"))?;
        println!("{target:14} {}", promise(&text));
    }
    Ok(())
}

/// Builds all targets and runs those that are asked for; whether nothing was found.
pub(crate) fn run(shell: &Shell, options: &Options) -> Result<bool> {
    let known = targets(shell.root())?;
    for name in &options.targets {
        ensure!(known.contains(name), "no target is called {name:?}; there are {}", known.join(", "));
    }
    let wanted = |name: &&String| options.targets.is_empty() || options.targets.contains(name);
    let chosen: Vec<&String> = known.iter().filter(wanted).collect();
    let folder = build(shell)?;

    let next = Mutex::new(chosen.iter());
    let reports = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    // The lock is given back before the target runs.
                    let target = next.lock().expect("no thread panics while it takes a target").next();
                    let Some(target) = target else { return };
                    let report = one(shell, &folder, target, options.seconds);
                    if let Ok(report) = &report {
                        shell.say(&report.to_string());
                    }
                    reports.lock().expect("no thread panics while it reports").push(report);
                }
            });
        }
    });
    let mut failed = 0;
    for report in reports.into_inner().expect("no thread panics while it reports") {
        failed += usize::from(!report?.held());
    }
    shell.say(&format!("test result: {} passed; {failed} failed", chosen.len() - failed));
    Ok(failed == 0)
}

/// The targets that the manifest of `fuzz/` lists.
fn targets(root: &Path) -> Result<Vec<String>> {
    let manifest: Table = fs::read_to_string(root.join("fuzz/Cargo.toml"))?.parse()?;
    let bins = manifest.get("bin").and_then(Value::as_array).into_iter().flatten();
    let names = bins.filter_map(|bin| bin.get("name")?.as_str());
    Ok(names.map(str::to_owned).collect())
}

/// The first sentence of a target's page.
fn promise(page: &str) -> &str {
    let first = page.lines().next().unwrap_or_default();
    first.split_once(": ").map_or(first, |(_, promise)| promise)
}

/// Builds all targets; the folder that they are in.
fn build(shell: &Shell) -> Result<PathBuf> {
    let target = shell.root().join("target");
    let wrapper = shell.root().join("fuzz/rustc.sh");
    let environment = [("RUSTC_WRAPPER", &*wrapper), ("CARGO_TARGET_DIR", &*target)];
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    shell.run_with(&cargo, &["build", "--manifest-path", "fuzz/Cargo.toml", "--bins"], &environment)?;
    Ok(target.join("debug"))
}

/// Runs one target. What it finds new goes to a folder that git does not see.
fn one(shell: &Shell, folder: &Path, target: &str, seconds: u64) -> Result<Report> {
    let root = shell.root();
    let found = root.join("target/fuzz").join(target);
    let artifacts = root.join("fuzz/artifacts").join(target);
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder)?;
    }
    let before = files(&artifacts)?;
    let mut command = Command::new(folder.join(target));
    command.args([TIMEOUT, MEMORY, LONGEST, "-print_final_stats=1"]);
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let dictionary = root.join("fuzz/dictionaries").join(format!("{target}.dict"));
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    command.arg(&found).arg(root.join("fuzz/corpus").join(target)).env("RUST_BACKTRACE", "0");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {target}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let new = files(&artifacts)?.into_iter().filter(|path| !before.contains(path));
    let inputs = new.map(|path| Ok((fs::read(&path)?, path))).collect::<io::Result<Vec<_>>>()?;
    Ok(Report::new(root, target, output.status.success(), &log, inputs))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

/// The step of `cargo xtask ci`: half a minute each.
pub(crate) fn short(shell: &Shell) -> Result<()> {
    let options = Options { targets: Vec::new(), seconds: 30, jobs: 2, list: false };
    if !run(shell, &options)? {
        bail!("a target found something; its input is above, and docs/fuzzing.md says how to go on");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_page_its_binary_and_a_corpus() {
        let fuzz = crate::root().join("fuzz");
        let targets = targets(&crate::root()).unwrap();
        assert!(targets.len() >= 8);
        for target in targets {
            let page = fs::read_to_string(fuzz.join(format!("src/{target}.rs"))).unwrap();
            assert!(page.starts_with(&format!("//! `{target}`: ")), "{target}");
            let binary = fs::read_to_string(fuzz.join(format!("fuzz_targets/{target}.rs"))).unwrap();
            assert!(binary.contains(&format!("moonwire_fuzz::{target}::run(data)")), "{target}");
            assert!(!files(&fuzz.join("corpus").join(&target)).unwrap().is_empty(), "{target}");
        }
    }

    #[test]
    fn a_targets_promise_is_the_first_line_of_its_page() {
        assert_eq!(promise("//! `codec`: any bytes from a client.\n//!\n"), "any bytes from a client.");
    }
}
