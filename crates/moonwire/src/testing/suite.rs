//! What is tested: a folder's app, and the test files that lie in it.

use super::stage::{self, Failure, Limits, Part};
use crate::load::{self, App, Extra, Mistakes};
use kernel::Term;
use kernel::term::View;
use luau::Registry;
use manifest::{Manifest, Override};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How the name of a test file ends.
const ENDING: &str = ".test.luau";
/// Folders within one another.
const DEEPEST: usize = 64;
/// The largest test file.
const LARGEST: u64 = 4 << 20;
/// The function that a test file's chunk ends with; what stands before its first line defines it.
const RUN: &str = "_moonwire_run";

/// An app with its tests.
pub(crate) struct Suite {
    pub(crate) manifest: Manifest,
    pub(crate) registry: Arc<Registry>,
    /// In the order of their paths.
    pub(crate) files: Vec<TestFile>,
}

/// A test file.
pub(crate) struct TestFile {
    /// Its id in the registry.
    pub(crate) id: String,
    /// Relative to the folder, with `/`.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A test of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// From 1, in the order in which the file has them.
    pub(crate) number: u32,
    /// The names of its groups and its own.
    pub(crate) path: Vec<String>,
    pub(crate) line: Option<u32>,
    pub(crate) skip: bool,
}

impl Case {
    /// All names, outermost first.
    pub(crate) fn title(&self) -> String {
        self.path.join(" › ")
    }
}

/// Why there is nothing to run.
pub(crate) enum Refused {
    Mistakes(Mistakes),
    Unreadable(String),
}

/// Loads a folder with the test files in it.
pub(crate) fn load(dir: &Path, overrides: &[Override]) -> Result<Suite, Refused> {
    let mut files = Vec::new();
    find(dir, "", 0, &mut files).map_err(|error| Refused::Unreadable(format!("{}: {error}", dir.display())))?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let app = load::load_with(dir, overrides, |manifest| files.iter_mut().map(|file| extra(file, manifest)).collect());
    let App { manifest, registry } = app.map_err(Refused::Mistakes)?;
    Ok(Suite { manifest, registry: Arc::new(registry), files })
}

fn find(dir: &Path, prefix: &str, depth: usize, files: &mut Vec<TestFile>) -> io::Result<()> {
    for item in fs::read_dir(dir)? {
        let item = item?;
        let kind = item.file_type()?;
        let name = item.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if kind.is_dir() && !name.starts_with('.') && !manifest::SKIPPED.contains(&&*name) && depth < DEEPEST {
            find(&item.path(), &path, depth + 1, files)?;
        } else if kind.is_file() && name.ends_with(ENDING) {
            if item.metadata()?.len() > LARGEST {
                return Err(io::Error::other(format!("{path}: larger than {}", units::size::format(LARGEST))));
            }
            let text = fs::read(item.path())?;
            let text = String::from_utf8(text).map_err(|_| io::Error::other(format!("{path}: not UTF-8")))?;
            files.push(TestFile { id: String::new(), name: path, text });
        }
    }
    Ok(())
}

/// A test file as an entry: it may use every module and every library, and names entries as the app's own do.
fn extra(file: &mut TestFile, manifest: &Manifest) -> Extra {
    file.id = format!("{}:{}", namespace(manifest), file.name);
    let local = |id: &manifest::EntryId| id.as_str().split_once(':').map_or("", |(_, name)| name).to_owned();
    let mut imports = Vec::new();
    for library in &manifest.libraries {
        imports.push((local(&library.id), library.id.to_string()));
        imports.push((library.id.to_string(), library.id.to_string()));
    }
    let names = ["describe", "it", "before_each", "after_each", "expect", "clock"];
    // In front of the first line, so that the lines keep their numbers.
    let (all, values) = (names.join(", "), names.map(|name| format!("test.{name}")).join(", "));
    let head = format!("local test = require(\"test\") local {all}, {RUN} = {values}, test._run; ");
    Extra {
        id: file.id.clone(),
        path: file.name.clone(),
        text: head + &file.text,
        method: RUN.to_owned(),
        module: "test",
        imports,
    }
}

/// The namespace of an app that has only one, or one of the tests' own.
fn namespace(manifest: &Manifest) -> String {
    let codes = manifest.processes.iter().chain(&manifest.functions).chain(&manifest.libraries);
    let mut spaces: Vec<&str> = codes.filter_map(|code| Some(code.id.as_str().split_once(':')?.0)).collect();
    spaces.sort_unstable();
    spaces.dedup();
    match spaces.as_slice() {
        [only] => (*only).to_owned(),
        _ => "test".to_owned(),
    }
}

/// The tests of a file. An error says why the file cannot be read to its end.
pub(crate) fn cases(suite: &Suite, file: &TestFile, limits: Limits) -> Result<Vec<Case>, (Failure, String)> {
    let played = stage::play(suite, file, Part::List, limits);
    match played.result.and_then(|list| of_list(&list)) {
        Ok(cases) => Ok(cases),
        Err(failure) => Err((failure, played.log)),
    }
}

fn of_list(list: &Term) -> Result<Vec<Case>, Failure> {
    let View::Table(list) = list.view() else { return Err(Failure::of("the file must not end with a `return`")) };
    let case = |(index, value): (View<'_>, View<'_>)| {
        let (View::Number(number), View::Table(case)) = (index, value) else { return None };
        let Some(View::Table(path)) = case.get("path") else { return None };
        let name = |(_, name): (View<'_>, View<'_>)| Some(String::from_utf8_lossy(name.as_bytes()?).into_owned());
        let line =
            case.get("line").and_then(|line| if let View::Number(line) = line { Some(line as u32) } else { None });
        Some(Case {
            number: number as u32,
            path: path.entries().filter_map(name).collect(),
            line,
            skip: case.get("skip") == Some(View::Bool(true)),
        })
    };
    let cases: Option<Vec<Case>> = list.entries().map(case).collect();
    cases.ok_or_else(|| Failure::of("the file must not end with a `return`"))
}
