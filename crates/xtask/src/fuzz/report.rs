//! What libFuzzer said about one target, in a few lines.

use std::fmt;
use std::path::{Path, PathBuf};

/// How many lines of a failed target's log are shown.
const TAIL: usize = 30;

/// How a target did.
pub(super) struct Report {
    target: String,
    held: bool,
    executions: u64,
    per_second: u64,
    coverage: u64,
    corpus: String,
    /// The end of the log, and the inputs that broke the promise: where they are and what they are.
    failure: Vec<String>,
}

impl Report {
    /// Reads the log of a run.
    pub(super) fn new(root: &Path, target: &str, success: bool, log: &str, inputs: Vec<(Vec<u8>, PathBuf)>) -> Report {
        let mut failure = Vec::new();
        if !success {
            let lines: Vec<&str> = log.lines().collect();
            failure.extend(lines[lines.len().saturating_sub(TAIL)..].iter().map(|line| (*line).to_owned()));
        }
        for (bytes, path) in &inputs {
            let path = path.strip_prefix(root).unwrap_or(path).display();
            failure.push(format!("again: echo {} | base64 -d > {path} && target/debug/{target} {path}", base64(bytes)));
        }
        let word = |name: &str| {
            let mut words = log.lines().rev().filter(|line| line.starts_with('#')).flat_map(str::split_whitespace);
            words.find(|word| *word == name)?;
            words.next().map(str::to_owned)
        };
        let statistic = |name: &str| {
            let line = log.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        Report {
            target: target.to_owned(),
            // A run that executed nothing proves nothing.
            held: success
                && inputs.is_empty()
                && statistic("stat::number_of_executed_units:").is_some_and(|n: u64| n > 0),
            executions: statistic("stat::number_of_executed_units:").unwrap_or(0),
            per_second: statistic("stat::average_exec_per_sec:").unwrap_or(0),
            coverage: word("cov:").and_then(|number| number.parse().ok()).unwrap_or(0),
            corpus: word("corp:").unwrap_or_default(),
            failure,
        }
    }

    /// Whether the promise was kept.
    pub(super) fn held(&self) -> bool {
        self.held
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { target, executions, per_second, coverage, corpus, .. } = self;
        let verdict = if self.held { "ok" } else { "FAILED" };
        write!(
            f,
            "{target:14} {executions:>10} executions, {per_second:>6} a second, {coverage:>5} places seen, corpus {corpus:<11} {verdict}"
        )?;
        for line in &self.failure {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// RFC 4648, so that an input can be taken out of a log.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = group.iter().enumerate().fold(0, |sum, (at, byte)| sum | u32::from(*byte) << (16 - 8 * at));
        for place in 0..4 {
            let digit = (number >> (18 - 6 * place) & 63) as usize;
            text.push(if place <= group.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: Seed: 1\n#2\tINITED cov: 300 ft: 600 corp: 27/249b exec/s: 0\n\
                       #99\tDONE   cov: 313 ft: 744 corp: 86/1235b lim: 42 exec/s: 9\n\
                       stat::number_of_executed_units: 99\nstat::average_exec_per_sec:     9\n";

    #[test]
    fn executions_and_coverage_are_read_from_the_end_of_the_log() {
        let report = Report::new(Path::new("/"), "codec", true, LOG, Vec::new());
        assert!(report.held());
        assert_eq!((report.executions, report.per_second, report.coverage), (99, 9, 313));
        assert_eq!(report.corpus, "86/1235b");
    }

    #[test]
    fn a_failure_shows_the_end_of_the_log_and_the_input_as_a_command() {
        let inputs = vec![(b"\0ab!".to_vec(), "/r/fuzz/artifacts/codec/crash-1".into())];
        let report = Report::new(Path::new("/r"), "codec", false, "one\npanicked\n", inputs);
        assert!(!report.held());
        let text = report.to_string();
        assert!(text.contains("panicked"), "{text}");
        assert!(
            text.contains("echo AGFiIQ== | base64 -d > fuzz/artifacts/codec/crash-1 && target/debug/codec"),
            "{text}"
        );
    }

    #[test]
    fn a_run_that_executed_nothing_is_no_success() {
        assert!(!Report::new(Path::new("/"), "codec", true, "", Vec::new()).held());
    }
}
