//! `cargo xtask instructions`: what a message, a spawn, a delivery and a connection cost, in instructions that callgrind
//! counts, and what they allocate.
//!
//! Unlike times the counts repeat, so a change that makes the hot path longer is seen on any machine, however busy.
//! They depend on the compilers and on the processor's kind: they are compared only where those are the same as on
//! the machine that wrote them down. What is allocated depends on neither, and is compared everywhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};

use crate::benches;
use crate::shell::Shell;

/// Where the expected counts stand.
const EXPECTED: &str = "crates/xtask/src/instructions.txt";
/// What is counted without sockets: its name, the bench's part, and two sizes of it. What both have in common is no
/// part of one message.
const PROCESSES: [(&str, &str, u64, u64); 2] =
    [("send and receive", "count-send", 4_000, 24_000), ("spawn", "count-spawn", 2_000, 6_000)];
/// The function that the whole path's bench does its work in: nothing else is counted there.
const MEASURED: &str = "path::measured";
/// Percent by which a count may grow.
const MARGIN: u64 = 5;

/// Counts, and compares with what is expected; with `update`, writes down what was counted.
pub(crate) fn run(shell: &Shell, update: bool) -> Result<()> {
    let [processes, path] = benches::build(shell, [benches::PROCESSES, benches::PATH])?;
    let with = compilers()?;
    let counted = counts(&processes, &path)?;
    let expected = shell.root().join(EXPECTED);
    if update {
        fs::write(&expected, written(&with, &counted))?;
        println!("{EXPECTED} says now:\n{}", written(&with, &counted));
    } else {
        let text = fs::read_to_string(&expected).with_context(|| format!("{EXPECTED} is missing"))?;
        let verdict = compare(&text, &with, &counted);
        for line in &verdict.lines {
            println!("{line}");
        }
        ensure!(
            verdict.held,
            "more instructions than {EXPECTED} allows; if it has to be: cargo xtask instructions --update"
        );
    }
    shell.run(&path.to_string_lossy(), &["--allocations"])
}

/// Everything that is counted, by its name; callgrind runs one core, so two of it run at a time.
fn counts(processes: &Path, path: &Path) -> Result<BTreeMap<String, u64>> {
    let listed = said(&path.to_string_lossy(), &["--list"])?;
    thread::scope(|scope| {
        let whole = scope.spawn(|| {
            let count = |part: &str| Ok((part.to_owned(), count_path(path, part)?));
            listed.lines().map(count).collect::<Result<BTreeMap<String, u64>>>()
        });
        let mut counted = BTreeMap::new();
        for (name, part, few, many) in PROCESSES {
            let of = |size: u64| count(processes, &[], &["--child", part, "--count", &size.to_string()]);
            let more = of(many)?.0.saturating_sub(of(few)?.0);
            counted.insert(name.to_owned(), more / (many - few));
        }
        counted.extend(whole.join().expect("counting does not panic")?);
        Ok(counted)
    })
}

/// Instructions of one message, delivery or connection of the whole path.
fn count_path(path: &Path, part: &str) -> Result<u64> {
    let (instructions, said) = count(path, &[&format!("--toggle-collect={MEASURED}*")], &[part])?;
    let done = said.lines().find_map(|line| line.strip_prefix("done\t")?.parse::<u64>().ok());
    let done = done.filter(|done| *done > 0).with_context(|| format!("{part:?} does not say how often it was done"))?;
    ensure!(instructions > 0, "callgrind has not seen {MEASURED}");
    Ok(instructions / done)
}

/// Instructions of one run of a program, and what it printed.
fn count(program: &Path, options: &[&str], arguments: &[&str]) -> Result<(u64, String)> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(options)
        .arg(program)
        .args(arguments)
        .output()
        .context("cannot run valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    match collected(&text) {
        Some(count) if output.status.success() => Ok((count, String::from_utf8_lossy(&output.stdout).into_owned())),
        _ => bail!("callgrind has not counted {}:\n{text}", arguments.join(" ")),
    }
}

/// The count in what callgrind says: `==PID== Collected : N`.
fn collected(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.split_once("Collected :"))?;
    line.1.trim().parse().ok()
}

fn target() -> Result<String> {
    let text = said("rustc", &["-vV"])?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say its host")?;
    Ok(host.to_owned())
}

/// The compilers and the kind of machine that the counts depend on.
fn compilers() -> Result<String> {
    let rustc = said("rustc", &["--version"])?;
    let cpp = said("c++", &["--version"])?;
    let first = |text: &str| text.lines().next().unwrap_or_default().trim().to_owned();
    Ok(format!("{}; {}; {}", first(&rustc), first(&cpp), target()?))
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn written(with: &str, counted: &BTreeMap<String, u64>) -> String {
    let mut text = format!("compilers = {with}\n");
    for (name, count) in counted {
        text.push_str(&format!("{name} = {count}\n"));
    }
    text
}

struct Verdict {
    lines: Vec<String>,
    held: bool,
}

/// Compares what was counted with the text of [`EXPECTED`].
fn compare(text: &str, with: &str, counted: &BTreeMap<String, u64>) -> Verdict {
    let expected: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(" = ")).collect();
    let comparable = expected.get("compilers") == Some(&with);
    let mut verdict = Verdict { lines: Vec::new(), held: true };
    if !comparable {
        verdict.lines.push(format!("other compilers than {EXPECTED} was written with: counted, not compared ({with})"));
    }
    for (name, &count) in counted {
        let known: Option<u64> = expected.get(&**name).and_then(|number| number.trim().parse().ok());
        let Some(known) = known else {
            verdict.lines.push(format!("{name}: {count} instructions, and none are expected"));
            verdict.held &= !comparable;
            continue;
        };
        let too_many = count * 100 > known * (100 + MARGIN);
        let fewer =
            if count * 100 < known * (100 - MARGIN) { "; fewer: cargo xtask instructions --update" } else { "" };
        verdict.lines.push(format!("{name}: {count} instructions, {known} expected{fewer}"));
        verdict.held &= !(comparable && too_many);
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(spawn: u64, with: &str) -> bool {
        compare("compilers = a\nspawn = 1000\n", with, &BTreeMap::from([("spawn".to_owned(), spawn)])).held
    }

    #[test]
    fn a_count_may_grow_by_five_percent_where_the_compilers_are_the_same() {
        assert!(verdict(1000, "a") && verdict(1050, "a") && verdict(10, "a"));
        assert!(!verdict(1051, "a"));
        assert!(verdict(2000, "b"), "other compilers count differently");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let counted = BTreeMap::from([("spawn".to_owned(), 7), ("send and receive".to_owned(), 9)]);
        assert!(compare(&written("a", &counted), "a", &counted).held);
        assert!(!compare("compilers = a\n", "a", &counted).held, "nothing is expected");
    }

    #[test]
    fn callgrinds_count_is_found() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 14714082\n"), Some(14_714_082));
        assert_eq!(collected("no count"), None);
    }
}
