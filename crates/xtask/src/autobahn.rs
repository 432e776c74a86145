//! `cargo xtask autobahn`: the Autobahn test suite against the server as users run it.
//!
//! The suite is the `kosoku` package, which drives the cases of the original. It counts what it calls "non-strict" as
//! passed; here every case has to be OK, or INFORMATIONAL where there is nothing to pass. What is driven is the app in
//! `tests/autobahn`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::install;
use crate::shell::Shell;

const APP: &str = "tests/autobahn";
/// What runs the suite, with Python.
const SUITE: &str = "tests/autobahn/suite.py";
/// Where reports are written: a folder for each value of `wsrelay.compression`.
const REPORTS: &str = "target/autobahn";
/// Cases at once: they mostly wait.
const AT_ONCE: &str = "2";
/// Without compression these would only say that nothing was negotiated.
const COMPRESSED: [&str; 2] = ["12.*", "13.*"];

/// What CI runs, for each value of `wsrelay.compression`: all of sections 1 to 7 and 10, and every fourth or so of those
/// that take minutes. With takeover it is others of them. Messages of 128 KiB are left to the whole suite: the suite
/// gives a case 30 s, on any machine.
const SAMPLES: [(&str, &[&str], &[u32]); 2] =
    [("on", &["1", "2", "3", "4", "5", "6", "7", "10"], &[3, 6, 9, 12]), ("takeover", &[], &[4, 5, 7, 11])];
/// The sections that take minutes, and the last case of each of their parts that CI may run.
const LONG: [(u32, u32); 3] = [(9, 6), (12, 18), (13, 18)];

/// What is run.
pub(crate) struct Suite<'a> {
    /// Cases as the suite numbers them, with `*`; none: all that the compression lets pass.
    pub(crate) cases: &'a [String],
    /// `off`, `on` or `takeover`.
    pub(crate) compression: &'a str,
    /// Whether the server is built for speed.
    pub(crate) release: bool,
}

/// How one case ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    case: String,
    behavior: String,
    close: String,
    report: String,
}

impl Outcome {
    fn is_strict(&self) -> bool {
        let fine = |verdict: &str| matches!(verdict, "OK" | "INFORMATIONAL");
        fine(&self.behavior) && fine(&self.close)
    }

    fn section(&self) -> &str {
        self.case.split('.').next().unwrap_or_default()
    }
}

/// Builds the server, runs the suite and prints what became of it. Whether every case was passed.
pub(crate) fn run(shell: &Shell, suite: &Suite<'_>) -> Result<bool> {
    install::python(shell)?;
    let profile = if suite.release { "release" } else { "debug" };
    let build = ["build", "-p", "moonwire", "--release"];
    shell.cargo(if suite.release { &build } else { &build[..3] })?;
    drive(shell, suite, &shell.root().join("target").join(profile).join("moonwire"))
}

/// The sample of CI, with the server as it is built for tests.
pub(crate) fn sample(shell: &Shell) -> Result<bool> {
    let mut passed = true;
    for (compression, sections, thirds) in SAMPLES {
        let whole = sections.iter().map(|section| format!("{section}.*"));
        // The suite refuses a pattern that fits no case.
        let some = LONG.iter().flat_map(|(section, last)| {
            thirds.iter().filter(move |case| *case <= last).map(move |case| format!("{section}.*.{case}"))
        });
        let cases: Vec<String> = whole.chain(some).collect();
        passed &= run(shell, &Suite { cases: &cases, compression, release: false })?;
    }
    Ok(passed)
}

fn drive(shell: &Shell, suite: &Suite<'_>, server: &Path) -> Result<bool> {
    let folder = format!("{REPORTS}/{}", suite.compression);
    let index = shell.root().join(&folder).join("index.json");
    if index.exists() {
        fs::remove_file(&index)?;
    }
    let server = Server::start(shell, server, suite.compression)?;
    let program = install::venv_python(shell).to_string_lossy().into_owned();
    let mut arguments = vec![SUITE, "-m", "fuzzingclient", "-p", AT_ONCE, "-o", &folder];
    arguments.extend(suite.cases.iter().flat_map(|case| ["-i", case.as_str()]));
    if suite.compression == "off" && suite.cases.is_empty() {
        arguments.extend(COMPRESSED.iter().flat_map(|case| ["-x", *case]));
    }
    arguments.push(&server.address);
    // It fails for what is no failure here too; what counts is its report.
    let began = Instant::now();
    let ran = shell.run(&program, &arguments);
    let took = began.elapsed();
    server.stop()?;
    let text = match fs::read_to_string(&index) {
        Ok(text) => text,
        Err(_) => return ran.and_then(|()| bail!("the suite wrote no report to {folder}")),
    };
    let outcomes = outcomes(&serde_json::from_str(&text).with_context(|| format!("{folder}/index.json"))?)?;
    ensure!(!outcomes.is_empty(), "no case is called {}", suite.cases.join(" or "));
    print!("{}", table(&outcomes));
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.is_strict()).collect();
    for Outcome { case, behavior, close, report } in &failed {
        println!("case {case}: {behavior}, close {close}: {folder}/{report}");
    }
    // As pytest does, so that the cases are counted.
    let (passed, failed) = (outcomes.len() - failed.len(), failed.len());
    shell.say(&format!("{passed} passed, {failed} failed in {:.2}s", took.as_secs_f64()));
    Ok(failed == 0)
}

/// The cases of a report, in the order of their numbers.
fn outcomes(index: &Value) -> Result<Vec<Outcome>> {
    let agents = index.as_object().context("the report is no table of servers")?;
    let mut outcomes = Vec::new();
    for (case, entry) in agents.values().filter_map(Value::as_object).flatten() {
        let text = |field: &str| {
            let value = entry.get(field).and_then(Value::as_str);
            value.map(str::to_owned).with_context(|| format!("the report of case {case} has no {field}"))
        };
        let (behavior, close, report) = (text("behavior")?, text("behaviorClose")?, text("reportfile")?);
        outcomes.push(Outcome { case: case.clone(), behavior, close, report });
    }
    let number = |case: &str| case.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
    outcomes.sort_by_key(|outcome| number(&outcome.case));
    Ok(outcomes)
}

/// A line for each section: how many cases, and how they ended.
fn table(outcomes: &[Outcome]) -> String {
    let mut sections: BTreeMap<u32, BTreeMap<&str, u32>> = BTreeMap::new();
    for outcome in outcomes {
        let verdict = if outcome.is_strict() { "OK" } else { &outcome.behavior };
        let section = outcome.section().parse().unwrap_or(0);
        *sections.entry(section).or_default().entry(verdict).or_default() += 1;
    }
    let mut text = String::from("section  cases  verdicts\n");
    for (section, verdicts) in sections {
        let cases: u32 = verdicts.values().sum();
        let verdicts: Vec<String> = verdicts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
        text.push_str(&format!("{section:7}  {cases:5}  {}\n", verdicts.join(", ")));
    }
    text
}

/// A server on a free port, ended with this value.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(shell: &Shell, program: &Path, compression: &str) -> Result<Server> {
        let mut child = Command::new(program)
            .args(["run", APP, "--log-level", "warn"])
            .env("COMPRESSION", compression)
            .current_dir(shell.root())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut server = Server { child, address: String::new() };
        let mut lines = BufReader::new(stdout).lines();
        for line in &mut lines {
            let line = line?;
            if let Some((_, address)) = line.split_once(" listening on http://") {
                server.address = format!("ws://{address}/ws");
            }
            if line == "ready" && !server.address.is_empty() {
                // Whoever prints to a pipe that nobody reads is ended by it.
                std::thread::spawn(move || lines.count());
                return Ok(server);
            }
        }
        bail!("the server did not become ready");
    }

    /// Asks it to stop, and expects that it does so in order.
    fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server ended while it was tested ({status})");
        }
        let asked = Command::new("kill").arg(self.child.id().to_string()).status()?;
        ensure!(asked.success(), "the server cannot be stopped");
        let status = self.child.wait()?;
        ensure!(status.success(), "the server did not stop in order ({status})");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended, or something else has failed already.
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Vec<Outcome> {
        let case = |behavior: &str, close: &str| json!({ "behavior": behavior, "behaviorClose": close, "reportfile": "x.json", "duration": 1 });
        let index = json!({ "127.0.0.1:1": {
            "10.1.1": case("OK", "OK"),
            "2.10": case("NON-STRICT", "OK"),
            "2.9": case("OK", "INFORMATIONAL"),
            "2.11": case("OK", "UNCLEAN"),
        }});
        outcomes(&index).unwrap()
    }

    #[test]
    fn a_case_is_passed_only_when_it_is_ok_or_informational_in_both_respects() {
        let verdicts: Vec<(String, bool)> =
            sample().iter().map(|outcome| (outcome.case.clone(), outcome.is_strict())).collect();
        let expected = [("2.9", true), ("2.10", false), ("2.11", false), ("10.1.1", true)];
        assert_eq!(verdicts, expected.map(|(case, strict)| (case.to_owned(), strict)));
    }

    #[test]
    fn the_table_has_a_line_for_each_section_in_the_order_of_numbers() {
        let text = table(&sample());
        assert_eq!(text, "section  cases  verdicts\n      2      3  1 NON-STRICT, 2 OK\n     10      1  1 OK\n");
    }

    #[test]
    fn a_report_that_is_none_is_an_error() {
        assert!(outcomes(&json!([])).is_err());
        assert!(outcomes(&json!({ "a": { "1.1.1": {} } })).unwrap_err().to_string().contains("1.1.1"));
    }
}
