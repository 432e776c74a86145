//! A run as JUnit's XML, which is what build servers read.

use super::report::{FileReport, Verdict};
use super::stage::Failure;
use std::fmt::Write as _;
use std::time::Duration;

/// All files of a run.
pub(crate) fn xml(files: &[FileReport]) -> String {
    let mut suites = String::new();
    let mut all = Sums::default();
    for file in files.iter().filter(|file| !file.tests.is_empty() || file.fault.is_some()) {
        let sums = Sums::of(file);
        all.add(&sums);
        suites += &format!("  <testsuite name=\"{}\"{}>\n", attribute(&file.name), sums.attributes());
        if let Some((failure, log)) = &file.fault {
            suites += &open_case(&file.name, "the file is read to its end", Duration::ZERO, None);
            suites += &element("error", failure);
            suites += &output(log);
            suites += "    </testcase>\n";
        }
        for (case, verdict) in &file.tests {
            let took = match verdict {
                Verdict::Passed { took, .. } | Verdict::Failed { took, .. } => *took,
                Verdict::Skipped => Duration::ZERO,
            };
            suites += &open_case(&file.name, &case.title(), took, case.line);
            match verdict {
                Verdict::Passed { .. } => {}
                Verdict::Skipped => suites += "      <skipped/>\n",
                Verdict::Failed { failure, log, .. } => {
                    suites += &element("failure", failure);
                    suites += &output(log);
                }
            }
            suites += "    </testcase>\n";
        }
        suites += "  </testsuite>\n";
    }
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    format!("{head}<testsuites name=\"moonwire test\"{}>\n{suites}</testsuites>\n", all.attributes())
}

#[derive(Default)]
struct Sums {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
    took: Duration,
}

impl Sums {
    fn of(file: &FileReport) -> Sums {
        let mut sums = Sums { errors: usize::from(file.fault.is_some()), ..Sums::default() };
        sums.tests = file.tests.len() + sums.errors;
        for (_, verdict) in &file.tests {
            match verdict {
                Verdict::Passed { took, .. } => sums.took += *took,
                Verdict::Failed { took, .. } => {
                    sums.failures += 1;
                    sums.took += *took;
                }
                Verdict::Skipped => sums.skipped += 1,
            }
        }
        sums
    }

    fn add(&mut self, other: &Sums) {
        self.tests += other.tests;
        self.failures += other.failures;
        self.errors += other.errors;
        self.skipped += other.skipped;
        self.took += other.took;
    }

    fn attributes(&self) -> String {
        let Sums { tests, failures, errors, skipped, took } = self;
        let time = took.as_secs_f64();
        format!(
            " tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{time:.3}\""
        )
    }
}

fn open_case(file: &str, name: &str, took: Duration, line: Option<u32>) -> String {
    let mut text = format!("    <testcase classname=\"{}\" name=\"{}\"", attribute(file), attribute(name));
    let _infallible = write!(text, " file=\"{}\"", attribute(file));
    if let Some(line) = line {
        let _infallible = write!(text, " line=\"{line}\"");
    }
    let _infallible = writeln!(text, " time=\"{:.3}\">", took.as_secs_f64());
    text
}

fn element(name: &str, failure: &Failure) -> String {
    let mut body = String::new();
    for part in [failure.place.as_deref(), Some(&*failure.message), failure.stack.as_deref()].into_iter().flatten() {
        body += part;
        body.push('\n');
    }
    format!("      <{name} message=\"{}\">{}</{name}>\n", attribute(&failure.message), escaped(&body))
}

fn output(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("      <system-out>{}</system-out>\n", escaped(log)) }
}

fn attribute(text: &str) -> String {
    escaped(text).replace('\n', "&#10;").replace('\t', "&#9;")
}

/// Text as XML writes it. XML has no way at all to write most control characters: they are shown in letters.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            '\u{fffe}' | '\u{ffff}' => escaped.extend(character.escape_unicode()),
            character if character.is_control() => escaped.extend(character.escape_default()),
            character => escaped.push(character),
        }
    }
    escaped
}
