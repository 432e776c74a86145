//! `moonwire test`: the tests of an app, each on a node of its own.
//!
//! Read `suite` (which files, which tests), `stage` (the node of one test and its clock), `test` with its Luau half (what
//! a test file sees), `clients` and `frames` (requests and WebSockets without a network), `capture` (the log), then
//! `report` and `junit` (what is told of it).

mod capture;
mod clients;
mod frames;
mod junit;
mod report;
mod stage;
mod suite;
mod test;

use self::report::{FileReport, Report, Verdict};
use self::stage::{Failure, Limits, Part};
use self::suite::{Case, Refused, Suite, TestFile};
use crate::cli::{FAILURE, MISTAKE, TestOptions};
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// The stack of a test's thread: that of a shard.
const STACK: usize = 8 << 20;

/// Runs the tests of a folder.
pub(crate) fn test(options: &TestOptions) -> ExitCode {
    let began = Instant::now();
    let suite = match suite::load(&options.folder.dir, &options.folder.set) {
        Ok(suite) => suite,
        Err(Refused::Mistakes(mistakes)) => {
            eprintln!("{mistakes}");
            return ExitCode::from(MISTAKE);
        }
        Err(Refused::Unreadable(text)) => {
            eprintln!("moonwire: {text}");
            return ExitCode::from(MISTAKE);
        }
    };
    capture::start(options.log_level.clone());
    let run = Run { suite: &suite, options, limits: limits(options), failed: AtomicBool::new(false) };
    let mut report = Report::new(options);
    let files = run.all(|file| report.file(file));
    if files.iter().all(|file| file.tests.is_empty() && file.fault.is_none()) {
        eprintln!("{}", nothing_found(options, &suite));
        return ExitCode::from(MISTAKE);
    }
    if options.list {
        return exit_code(&files);
    }
    report.end(&files, began.elapsed());
    if let Some(path) = &options.junit
        && let Err(error) = std::fs::write(path, junit::xml(&files))
    {
        eprintln!("moonwire: {}: {error}", path.display());
        return ExitCode::from(MISTAKE);
    }
    exit_code(&files)
}

fn exit_code(files: &[FileReport]) -> ExitCode {
    if files.iter().any(FileReport::failed) { ExitCode::from(FAILURE) } else { ExitCode::SUCCESS }
}

fn limits(options: &TestOptions) -> Limits {
    Limits { shards: usize::from(options.shards), virtual_time: options.time_limit, real_time: options.real_limit }
}

fn nothing_found(options: &TestOptions, suite: &Suite) -> String {
    let dir = options.folder.dir.display();
    match (&options.filter, suite.files.len()) {
        (Some(filter), 1..) => format!("moonwire: no test in {dir} has {filter:?} in its name or its file's"),
        (_, 0) => format!("moonwire: no tests: no file below {dir} is called *.test.luau"),
        (None, _) => format!("moonwire: no tests: no file below {dir} calls it(name, body)"),
    }
}

/// A run over all files.
struct Run<'a> {
    suite: &'a Suite,
    options: &'a TestOptions,
    limits: Limits,
    /// Whether any test has failed. Written by all threads, read with `--fail-fast`.
    failed: AtomicBool,
}

impl Run<'_> {
    /// Runs the files side by side; tells of each in their order, as soon as those before it are done.
    fn all(&self, mut tell: impl FnMut(&FileReport)) -> Vec<FileReport> {
        let files = &self.suite.files;
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let jobs = self.options.jobs.map_or(cores, usize::from).min(files.len()).max(1);
        let next = AtomicUsize::new(0);
        let (done, results) = mpsc::channel();
        let mut reports: Vec<Option<FileReport>> = files.iter().map(|_| None).collect();
        thread::scope(|scope| {
            for _ in 0..jobs {
                let (done, next) = (done.clone(), &next);
                let work = move || {
                    while let Some((index, file)) = {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        files.get(index).map(|file| (index, file))
                    } {
                        // The receiver waits for all.
                        let _received = done.send((index, self.file(file)));
                    }
                };
                let thread = thread::Builder::new().name("test".to_owned()).stack_size(STACK);
                if let Err(error) = thread.spawn_scoped(scope, work) {
                    eprintln!("moonwire: a thread for tests cannot be started: {error}");
                }
            }
            drop(done);
            let mut told = 0;
            for (index, report) in results {
                reports[index] = Some(report);
                while let Some(Some(report)) = reports.get(told) {
                    tell(report);
                    told += 1;
                }
            }
        });
        reports.into_iter().flatten().collect()
    }

    fn file(&self, file: &TestFile) -> FileReport {
        let mut report = FileReport { name: file.name.clone(), text: file.text.clone(), ..FileReport::default() };
        if self.is_over() {
            return report;
        }
        let cases = match suite::cases(self.suite, file, self.limits) {
            Ok(cases) => cases,
            Err((failure, log)) => {
                self.failed.store(true, Ordering::Relaxed);
                report.fault = Some((failure, log));
                return report;
            }
        };
        for case in cases.into_iter().filter(|case| self.is_wanted(file, case)) {
            if self.is_over() {
                break;
            }
            let verdict = if self.options.list || case.skip { Verdict::Skipped } else { self.case(file, &case) };
            report.tests.push((case, verdict));
        }
        report
    }

    fn case(&self, file: &TestFile, case: &Case) -> Verdict {
        let played = stage::play(self.suite, file, Part::Test(case.number), self.limits);
        let failure = match played.result {
            Ok(value) => Failure::of_test(&value),
            Err(failure) => Some(failure),
        };
        match failure {
            None => Verdict::Passed { took: played.took, log: played.log },
            Some(failure) => {
                self.failed.store(true, Ordering::Relaxed);
                Verdict::Failed { failure, took: played.took, log: played.log }
            }
        }
    }

    fn is_wanted(&self, file: &TestFile, case: &Case) -> bool {
        let Some(filter) = &self.options.filter else { return true };
        file.name.contains(filter) || case.title().contains(filter) || case.path.join(" ").contains(filter)
    }

    fn is_over(&self) -> bool {
        self.options.fail_fast && self.failed.load(Ordering::Relaxed)
    }
}
