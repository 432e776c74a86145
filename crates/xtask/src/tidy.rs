//! `cargo xtask tidy`: the rules of the source tree that no compiler checks.
//!
//! Each rule is a pure function from the tree to its faults, has a line in [`RULES`] and a test
//! that shows it fail.

mod arrows;
mod docs;
mod locks;
mod reference;
mod semantics;
mod sources;
mod unsafety;

use std::fmt;

use crate::tree::Tree;

/// A rule: its name, the sentence that it keeps, and its check.
struct Rule {
    name: &'static str,
    what: &'static str,
    check: fn(&Tree) -> Vec<Fault>,
}

const RULES: [Rule; 12] = [
    Rule { name: "arrows", what: "a crate depends only on the crates that design allows it", check: arrows::check },
    Rule { name: "length", what: "no Rust file in crates/ or fuzz/ has more than 600 lines", check: sources::length },
    Rule { name: "unfinished", what: "no placeholder, ignored test or note to fix later", check: sources::unfinished },
    Rule { name: "machine-paths", what: "no absolute path of one machine", check: sources::machine_paths },
    Rule { name: "mod-rs", what: "a module lies in name.rs beside name/, not in mod.rs", check: sources::mod_rs },
    Rule { name: "unsafe", what: "unsafe code only in the files listed with their reason", check: unsafety::check },
    Rule { name: "locks", what: "fuzz/Cargo.lock has no other version of what Cargo.lock has", check: locks::check },
    Rule { name: "excerpts", what: "a code block that names a file is a verbatim part of it", check: docs::excerpts },
    Rule { name: "links", what: "a relative link in a Markdown file points to something", check: docs::links },
    Rule {
        name: "luau-siblings",
        what: "a .d.luau file lies beside the .rs or .luau file that it types",
        check: sources::luau_siblings,
    },
    Rule { name: "reference", what: "docs/lua/ is what cargo xtask docs writes", check: reference::check },
    Rule {
        name: "semantics",
        what: "each sentence of docs/semantics.md and docs/hostile.md names tests that are there",
        check: semantics::check,
    },
];

/// Something that breaks a rule, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    path: String,
    /// Counted from one; none when the fault is the file itself.
    line: Option<usize>,
    text: String,
}

impl Fault {
    fn of_file(path: &str, text: impl Into<String>) -> Fault {
        Fault { path: path.to_owned(), line: None, text: text.into() }
    }

    fn at(path: &str, line: usize, text: impl Into<String>) -> Fault {
        Fault { line: Some(line), ..Fault::of_file(path, text) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.text),
            None => write!(f, "{}: {}", self.path, self.text),
        }
    }
}

/// Prints the rules and the files that may hold unsafe code.
pub(crate) fn list() {
    for rule in &RULES {
        println!("{:14} {}", rule.name, rule.what);
    }
    println!("\nunsafe code is allowed in");
    for (path, reason) in unsafety::ALLOWED {
        println!("  {path}: {reason}");
    }
}

/// Prints what each rule finds; says whether all of them hold.
pub(crate) fn run(tree: &Tree) -> bool {
    let mut found = 0;
    for rule in &RULES {
        let faults = (rule.check)(tree);
        let verdict = if faults.is_empty() { "ok" } else { "BROKEN" };
        println!("{:14} {verdict:7} {}", rule.name, rule.what);
        for fault in &faults {
            println!("    {fault}");
        }
        found += faults.len();
    }
    if found > 0 {
        println!("{found} faults");
    }
    found == 0
}
