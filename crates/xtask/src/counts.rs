//! How many tests passed and failed, read from the last lines of the test runners.

/// Tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

/// The counts in a summary of cargo test, nextest or pytest; `None` for every other line.
pub(crate) fn of_line(line: &str) -> Option<Counts> {
    let line = without_colours(line);
    let line = line.trim();
    let is_cargo = line.starts_with("test result: ");
    let is_nextest = line.starts_with("Summary [");
    // pytest ends with `=== 5 passed in 0.1s ===`, or the same without the frame when quiet.
    let is_pytest = line.trim_matches(['=', ' ']).ends_with('s') && line.contains(" in ")
        || line.contains("s (0:") && line.contains(" in ");
    if !(is_cargo || is_nextest || is_pytest) {
        return None;
    }
    let words: Vec<&str> = line.split([' ', ',', ';', '=']).filter(|word| !word.is_empty()).collect();
    let before = |label: &[&str]| {
        let found = words.windows(2).find(|pair| label.contains(&pair[1]));
        found.and_then(|pair| pair[0].parse::<u64>().ok())
    };
    let passed = before(&["passed"]);
    let failed = before(&["failed"]);
    // pytest counts a broken fixture apart from a failed test; both are failures.
    let errors = if is_pytest { before(&["error", "errors"]) } else { None };
    passed.or(failed).or(errors)?;
    Some(Counts { passed: passed.unwrap_or(0), failed: failed.unwrap_or(0) + errors.unwrap_or(0) })
}

fn without_colours(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut inside = false;
    for character in line.chars() {
        match character {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            _ if inside => {}
            _ => clean.push(character),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summaries_of_the_three_runners_are_understood() {
        for (line, passed, failed) in [
            ("test result: ok. 24 passed; 0 failed; 0 ignored; 0 measured; finished in 0.15s", 24, 0),
            ("test result: FAILED. 2 passed; 3 failed; 0 ignored", 2, 3),
            ("     Summary [   0.150s] 24 tests run: 23 passed (1 slow), 1 failed, 0 skipped", 23, 1),
            ("     Summary [   0.150s] 1 test run: 1 passed, 0 skipped", 1, 0),
            ("========= 5 passed in 0.12s =========", 5, 0),
            ("= 1 failed, 4 passed, 2 skipped, 3 errors in 61.00s (0:01:01) =", 4, 4),
            ("7 passed in 0.12s", 7, 0),
            ("\u{1b}[32m\u{1b}[1m5 passed\u{1b}[0m\u{1b}[32m in 0.02s\u{1b}[0m", 5, 0),
        ] {
            assert_eq!(of_line(line), Some(Counts { passed, failed }), "{line}");
        }
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in
            ["", "test it_passed ... ok", "12 passed exams", "Finished `dev` profile in 3.00s", "no tests ran in 0.01s"]
        {
            assert_eq!(of_line(line), None, "{line}");
        }
    }
}
