//! What is wrong with a folder, written for the person who has to set it right.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use crate::id::EntryId;
use crate::model::Code;

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as reached from the folder that was given; or the flag, such as `--set a:b:c=d`.
    pub file: Arc<str>,
    /// The line, from 1; 0 if the whole file or flag is meant.
    pub line: u32,
    /// The column in characters, from 1; 0 if the whole file or flag is meant.
    pub column: u32,
}

impl Place {
    /// A file or flag as a whole.
    pub(crate) fn whole(file: &str) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The folder cannot run.
    Error,
    /// The folder runs, and yet.
    Warning,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is written.
    pub place: Place,
    /// The entry that it is in, if it is in one.
    pub entry: Option<EntryId>,
    /// What was found.
    pub found: String,
    /// What was expected, where `found` does not say it all.
    pub expected: Option<String>,
    /// The nearest right name for a wrong one.
    pub nearest: Option<String>,
}

impl Diagnostic {
    pub(crate) fn error(place: &Place, found: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place: place.clone(),
            entry: None,
            found: found.into(),
            expected: None,
            nearest: None,
        }
    }

    pub(crate) fn warning(place: &Place, found: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, found) }
    }

    pub(crate) fn in_entry(mut self, entry: &EntryId) -> Self {
        self.entry = Some(entry.clone());
        self
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// For a wrong `name` among `candidates`: the nearest of them if one is near, else them all.
    pub(crate) fn among<'a>(mut self, name: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Self {
        match units::nearest(name, candidates.clone()) {
            Some(nearest) => self.nearest = Some(nearest.to_owned()),
            None => self.expected = Some(one_of(candidates)),
        }
        self
    }
}

/// `a`, `a or b`, `one of a, b, c`.
pub(crate) fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [one, other] => format!("{one} or {other}"),
        all => format!("one of {}", all.join(", ")),
    }
}

/// Names and values of the YAML stand in mistakes, and a mistake is one line: what would end it, or move the cursor, is
/// written as an escape.
struct OneLine<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_plain = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}');
        let mut rest = text;
        while let Some(at) = rest.find(|c| !is_plain(c)) {
            let (plain, behind) = rest.split_at(at);
            let special = behind.chars().next().unwrap_or_default();
            write!(self.0, "{plain}{}", special.escape_debug())?;
            rest = &behind[special.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut f = OneLine(f);
        write!(f, "{}: ", self.place)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if let Some(entry) = &self.entry {
            write!(f, "{entry}: ")?;
        }
        f.write_str(&self.found)?;
        if let Some(expected) = &self.expected {
            write!(f, ", expected {expected}")?;
        }
        if let Some(nearest) = &self.nearest {
            write!(f, " (did you mean \"{nearest}\"?)")?;
        }
        Ok(())
    }
}

/// Every mistake of a folder, sorted by file and line. Its `Display` is one line for each.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    codes: Vec<Code>,
}

impl Diagnostics {
    /// All of them, warnings included, sorted by file and line.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// The code of those entries that could be read, so that its mistakes can be told with these.
    pub fn codes(&self) -> impl Iterator<Item = &Code> {
        self.codes.iter()
    }

    pub(crate) fn with_codes(mut self, codes: Vec<Code>) -> Self {
        self.codes = codes;
        self
    }

    /// How many keep the folder from running.
    pub fn errors(&self) -> usize {
        self.iter().filter(|one| one.severity == Severity::Error).count()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Collects while the folder is read. Everybody who reads holds a shared reference to the one
/// report, hence the cell; it is borrowed only within these functions.
#[derive(Debug, Default)]
pub(crate) struct Report {
    list: RefCell<Vec<Diagnostic>>,
}

impl Report {
    pub(crate) fn add(&self, diagnostic: Diagnostic) {
        self.list.borrow_mut().push(diagnostic);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    /// The warnings if there is nothing worse, else everything.
    pub(crate) fn finish(self) -> Result<Vec<Diagnostic>, Diagnostics> {
        let mut list = self.list.into_inner();
        list.sort_by(|a, b| (&a.place, &a.found).cmp(&(&b.place, &b.found)));
        list.dedup();
        match list.iter().any(|one| one.severity == Severity::Error) {
            true => Err(Diagnostics { list, codes: Vec::new() }),
            false => Ok(list),
        }
    }
}
