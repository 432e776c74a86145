//! Running other programs: shown as they are called, watched for test results, failing by name.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, bail};

use crate::counts::{self, Counts};

/// Runs programs in the repository's folder.
pub(crate) struct Shell {
    root: PathBuf,
    /// What all test runners so far have reported.
    counts: Mutex<Counts>,
}

impl Shell {
    pub(crate) fn new(root: PathBuf) -> Shell {
        Shell { root, counts: Mutex::new(Counts::default()) }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// How many tests have passed and failed in the programs run so far.
    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock().expect("no thread panics while it counts")
    }

    /// Runs cargo, the same one that runs this program.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Result<()> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        self.finish(Command::new(cargo).args(arguments), "cargo", arguments)
    }

    /// Runs a program; its failure is an error that shows the command.
    pub(crate) fn run(&self, program: &str, arguments: &[impl AsRef<str>]) -> Result<()> {
        self.run_with(program, arguments, &[])
    }

    /// The same with additional environment variables.
    pub(crate) fn run_with(
        &self,
        program: &str,
        arguments: &[impl AsRef<str>],
        environment: &[(&str, &Path)],
    ) -> Result<()> {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let mut command = Command::new(program);
        command.args(&arguments);
        for (name, value) in environment {
            command.env(name, value);
        }
        self.finish(&mut command, program, &arguments)
    }

    /// Whether a program is there and answers `--version` with success.
    pub(crate) fn has(&self, program: &str, arguments: &[&str]) -> bool {
        let status =
            Command::new(program).args(arguments).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Prints a line of this program's own; it counts as one of a test runner.
    pub(crate) fn say(&self, line: &str) {
        self.pass_on(format!("{line}\n").as_bytes(), std::io::stdout());
    }

    /// Passes the output on line by line, because the tests' results are read from it.
    fn finish(&self, command: &mut Command, program: &str, arguments: &[&str]) -> Result<()> {
        let shown = shown(program, arguments);
        eprintln!("$ {shown}");
        let mut child = command
            .current_dir(&self.root)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        thread::scope(|scope| {
            scope.spawn(|| self.pass_on(stderr, std::io::stderr()));
            self.pass_on(stdout, std::io::stdout());
        });
        let status = child.wait()?;
        if !status.success() {
            bail!("`{shown}` failed ({status})");
        }
        Ok(())
    }

    fn pass_on(&self, from: impl Read, mut to: impl Write) {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            // When nobody reads our output any more, the program still runs to its end.
            to.write_all(&line).unwrap_or_default();
            if let Some(more) = counts::of_line(&String::from_utf8_lossy(&line)) {
                let mut counts = self.counts.lock().expect("no thread panics while it counts");
                counts.passed += more.passed;
                counts.failed += more.failed;
            }
            line.clear();
        }
        to.flush().unwrap_or_default();
    }
}

/// The command as one would type it, with the repository's own path left out.
fn shown(program: &str, arguments: &[&str]) -> String {
    let name = Path::new(program).file_name().unwrap_or_default();
    let mut shown = name.to_string_lossy().into_owned();
    for argument in arguments {
        shown.push(' ');
        shown.push_str(argument);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_an_error_that_shows_the_command() {
        let shell = Shell::new(".".into());
        let error = shell.run("sh", &["-c", "exit 3"]).unwrap_err().to_string();
        assert!(error.contains("`sh -c exit 3` failed"), "{error}");
        let error = shell.run("no-such-program", &[""; 0]).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }

    #[test]
    fn test_results_are_summed_over_programs_and_passed_on_as_they_are() {
        let shell = Shell::new(".".into());
        let mut seen = Vec::new();
        shell.pass_on(&b"test result: ok. 3 passed; 0 failed\nand more"[..], &mut seen);
        shell.pass_on(&b"== 2 passed, 1 failed in 0.3s ==\n"[..], &mut seen);
        let (passed, failed) = (5, 1);
        assert_eq!(shell.counts(), Counts { passed, failed });
        assert!(seen.starts_with(b"test result: ok. 3 passed; 0 failed\nand more=="));
    }
}
