//! What a person reads about a run: a line for each test, and for each that failed where and why.

use super::stage::Failure;
use super::suite::Case;
use crate::cli::TestOptions;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

/// What became of a test.
#[derive(Debug)]
pub(crate) enum Verdict {
    Passed { took: Duration, log: String },
    Failed { failure: Failure, took: Duration, log: String },
    Skipped,
}

/// What became of a file's tests.
#[derive(Debug, Default)]
pub(crate) struct FileReport {
    pub(crate) name: String,
    pub(crate) text: String,
    /// Why the file has no tests, with what was logged.
    pub(crate) fault: Option<(Failure, String)>,
    pub(crate) tests: Vec<(Case, Verdict)>,
}

impl FileReport {
    /// Whether anything failed.
    pub(crate) fn failed(&self) -> bool {
        self.fault.is_some() || self.tests.iter().any(|(_, verdict)| matches!(verdict, Verdict::Failed { .. }))
    }
}

/// Writes to standard output.
pub(crate) struct Report {
    colours: bool,
    list: bool,
    logs: bool,
}

impl Report {
    pub(crate) fn new(options: &TestOptions) -> Report {
        let quiet = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Report { colours: io::stdout().is_terminal() && !quiet, list: options.list, logs: options.logs }
    }

    /// Tells of a file.
    pub(crate) fn file(&mut self, file: &FileReport) {
        let text = if self.list { list(file) } else { self.shown(file) };
        // Whoever closed the output does not want to know.
        let _wanted_or_not = io::stdout().write_all(text.as_bytes());
    }

    /// The sums, in one line that other programs read too.
    pub(crate) fn end(&mut self, files: &[FileReport], took: Duration) {
        let count = |wanted: fn(&Verdict) -> bool| {
            files.iter().flat_map(|file| &file.tests).filter(|(_, verdict)| wanted(verdict)).count()
        };
        let faults = files.iter().filter(|file| file.fault.is_some()).count();
        let failed = count(|verdict| matches!(verdict, Verdict::Failed { .. })) + faults;
        let skipped = count(|verdict| matches!(verdict, Verdict::Skipped));
        let mut text = format!("\n{} passed", count(|verdict| matches!(verdict, Verdict::Passed { .. })));
        let mut add = |count: usize, what: &str| {
            if count > 0 {
                let _infallible = write!(text, ", {count} {what}");
            }
        };
        add(failed, "failed");
        add(skipped, "skipped");
        let _infallible = writeln!(text, " in {:.2}s", took.as_secs_f64());
        let _wanted_or_not = io::stdout().write_all(text.as_bytes());
    }

    fn shown(&self, file: &FileReport) -> String {
        let paint = |code: &str, text: &str| {
            if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let mut text = String::new();
        if file.tests.is_empty() && file.fault.is_none() {
            return text;
        }
        line(&mut text, "", &file.name);
        if let Some((failure, log)) = &file.fault {
            text += &format!("  {} the file could not be read to its end\n", paint("31", "✗"));
            explain(&mut text, file, failure, log);
        }
        for (case, verdict) in &file.tests {
            let title = clean(&case.title());
            match verdict {
                Verdict::Passed { took, log } => {
                    let took = paint("2", &format!("({})", milliseconds(*took)));
                    text += &format!("  {} {title} {took}\n", paint("32", "✓"));
                    if self.logs {
                        set_in(&mut text, log);
                    }
                }
                Verdict::Skipped => text += &format!("  {} {title}\n", paint("33", "- skipped:")),
                Verdict::Failed { failure, took, log } => {
                    let took = paint("2", &format!("({})", milliseconds(*took)));
                    text += &format!("  {} {title} {took}\n", paint("31", "✗"));
                    explain(&mut text, file, failure, log);
                }
            }
        }
        text
    }
}

fn list(file: &FileReport) -> String {
    let mut text = String::new();
    if let Some((failure, log)) = &file.fault {
        line(&mut text, "", &format!("{}: could not be read to its end", file.name));
        explain(&mut text, file, failure, log);
    }
    for (case, _) in &file.tests {
        text += &format!("{}:{}: {}\n", clean(&file.name), case.line.unwrap_or(1), clean(&case.title()));
    }
    text
}

/// Why a test failed, where, and what was logged meanwhile.
fn explain(text: &mut String, file: &FileReport, failure: &Failure, log: &str) {
    if let Some(place) = &failure.place {
        line(text, "      ", place);
        if let Some(source) = source_line(file, place) {
            line(text, "        ", &format!("| {}", source.trim()));
        }
    }
    for part in failure.message.lines() {
        line(text, "      ", part);
    }
    if let Some(stack) = &failure.stack {
        for part in stack.lines() {
            line(text, "        ", part);
        }
    }
    if !log.is_empty() {
        line(text, "      ", "log:");
        set_in(text, log);
    }
}

/// The line of a test file that a place names.
fn source_line<'a>(file: &'a FileReport, place: &str) -> Option<&'a str> {
    let line: usize = place.strip_prefix(&*file.name)?.strip_prefix(':')?.parse().ok()?;
    file.text.lines().nth(line.checked_sub(1)?)
}

fn set_in(text: &mut String, log: &str) {
    for part in log.lines() {
        line(text, "        ", part);
    }
}

fn line(text: &mut String, before: &str, content: &str) {
    *text += before;
    *text += &clean(content);
    text.push('\n');
}

/// Text without what a terminal would act on.
fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => cleaned.push_str("  "),
            character if character.is_control() => cleaned.extend(character.escape_default()),
            character => cleaned.push(character),
        }
    }
    cleaned
}

fn milliseconds(took: Duration) -> String {
    format!("{:.0} ms", took.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_move_the_cursor_is_shown_in_letters() {
        assert_eq!(clean("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
    }

    #[test]
    fn a_failure_shows_its_line_of_the_file() {
        let file = FileReport { name: "a.test.luau".into(), text: "one\n  two\n".into(), ..FileReport::default() };
        let failure = Failure { message: "no".into(), place: Some("a.test.luau:2".into()), stack: None };
        let mut text = String::new();
        explain(&mut text, &file, &failure, "");
        assert_eq!(text, "      a.test.luau:2\n        | two\n      no\n");
    }
}
