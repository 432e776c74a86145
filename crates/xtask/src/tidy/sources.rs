//! Rules about single source files.

use super::Fault;
use crate::tree::Tree;

/// The most lines that a Rust file may have.
const LINES: usize = 600;

/// Files with code, where an unfinished place may hide. Prose may speak of these words.
const CODE: [&str; 9] = [".rs", ".luau", ".lua", ".py", ".js", ".html", ".sh", ".yaml", ".toml"];

/// Marks of unfinished work, in two parts so that this file does not hold them itself.
const UNFINISHED: [[&str; 2]; 5] =
    [["todo", "!"], ["unimplemented", "!"], ["#[ign", "ore"], ["FIX", "ME"], ["XX", "X"]];

/// Beginnings of paths that exist on one machine only, in two parts for the same reason.
const MACHINE: [[&str; 2]; 5] = [["/wo", "rk/"], ["/tm", "p/mw"], ["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"]];

pub(super) fn length(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".rs").filter(|(path, _)| path.starts_with("crates/") || path.starts_with("fuzz/"))
    {
        let lines = text.lines().count();
        if lines > LINES {
            let text = format!("{lines} lines, {LINES} are the most: which second concept is in it?");
            faults.push(Fault::of_file(path, text));
        }
    }
    faults
}

pub(super) fn unfinished(tree: &Tree) -> Vec<Fault> {
    let marks = UNFINISHED.map(|parts| parts.concat());
    find(
        tree,
        |path| CODE.iter().any(|end| path.ends_with(end)),
        |line| {
            let mark = marks.iter().find(|mark| holds_word(line, mark))?;
            Some(format!("unfinished: {mark}"))
        },
    )
}

pub(super) fn machine_paths(tree: &Tree) -> Vec<Fault> {
    let beginnings = MACHINE.map(|parts| parts.concat());
    find(
        tree,
        |_| true,
        |line| {
            let found = beginnings.iter().find(|start| begins_path(line, start))?;
            Some(format!("{found}… is a path of one machine"))
        },
    )
}

pub(super) fn mod_rs(tree: &Tree) -> Vec<Fault> {
    let files = tree.ending("/mod.rs");
    files.map(|(path, _)| Fault::of_file(path, "name it after its folder, beside the folder")).collect()
}

pub(super) fn luau_siblings(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, _) in tree.ending(".d.luau") {
        let stem = path.trim_end_matches(".d.luau");
        let siblings = [".rs", ".luau"].map(|end| format!("{stem}{end}"));
        if !siblings.iter().any(|sibling| tree.text(sibling).is_some()) {
            let text = format!("neither {} nor {} is there", siblings[0], siblings[1]);
            faults.push(Fault::of_file(path, text));
        }
    }
    faults
}

/// Applies `fault` to every line of the files that `wanted` picks.
fn find(tree: &Tree, wanted: impl Fn(&str) -> bool, fault: impl Fn(&str) -> Option<String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.ending("").filter(|(path, _)| wanted(path)) {
        for (number, line) in text.lines().enumerate() {
            if let Some(text) = fault(line) {
                faults.push(Fault::at(path, number + 1, text));
            }
        }
    }
    faults
}

/// Whether `word` stands in `line` and is no part of a longer word.
pub(super) fn holds_word(line: &str, word: &str) -> bool {
    let in_word = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let ends_open = word.chars().next_back().is_some_and(in_word);
        !(before.is_some_and(in_word) || ends_open && after.is_some_and(in_word))
    })
}

/// Whether a path starts with `start` somewhere in `line`; a folder of that name inside the tree and URLs do not count.
fn begins_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(position, _)| {
        let before = line[..position].chars().next_back();
        let after = line[position + start.len()..].chars().next();
        let continues = |one: char| one.is_alphanumeric() || "._-/}~*".contains(one);
        !before.is_some_and(continues) && after.is_some_and(|one| one.is_alphanumeric() || one == '.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_601_lines_is_too_long() {
        let text = "x\n".repeat(601);
        let tree = Tree::of(&[("crates/a/src/b.rs", &text), ("examples/a.rs", &text)]);
        assert_eq!(length(&tree).len(), 1);
        let tree = Tree::of(&[("crates/a/src/b.rs", &text[2..])]);
        assert_eq!(length(&tree), []);
    }

    #[test]
    fn every_mark_of_unfinished_work_is_found_in_code() {
        for parts in UNFINISHED {
            let line = format!("fn f() {{}}\n    {} later", parts.concat());
            let faults = unfinished(&Tree::of(&[("a/b.rs", &line)]));
            assert_eq!(faults.len(), 1, "{line}");
            assert_eq!(faults[0].line, Some(2));
        }
    }

    #[test]
    fn prose_and_longer_words_are_not_unfinished_work() {
        let marker = UNFINISHED[4].concat();
        let prose = format!("no {marker} here");
        let longer = format!("const {marker}L: u8 = 0; let mktemp = \"a{marker}{marker}\";");
        let tree = Tree::of(&[("a.md", &prose), ("b.rs", &longer)]);
        assert_eq!(unfinished(&tree), []);
    }

    #[test]
    fn paths_of_one_machine_are_found_and_those_of_urls_are_not() {
        for parts in MACHINE {
            let start = parts.concat();
            let bad = format!("open(\"{start}main\")");
            let bad = bad.replace("mwmain", "mw/main");
            let good = format!("https://example.com{start}main and crates{start}main");
            let tree = Tree::of(&[("a.py", &bad.replace("mw/main", "mwx"))]);
            assert_eq!(machine_paths(&tree).len(), 1, "{bad}");
            assert_eq!(machine_paths(&Tree::of(&[("a.py", &good)])), [], "{good}");
        }
    }

    #[test]
    fn mod_rs_is_refused() {
        let tree = Tree::of(&[("crates/a/src/b/mod.rs", ""), ("crates/a/src/b.rs", "")]);
        assert_eq!(mod_rs(&tree).len(), 1);
    }

    #[test]
    fn a_type_file_without_what_it_types_is_found() {
        let tree = Tree::of(&[
            ("a/json.d.luau", ""),
            ("a/json.rs", ""),
            ("a/time.d.luau", ""),
            ("a/time.luau", ""),
            ("a/lost.d.luau", ""),
        ]);
        let faults = luau_siblings(&tree);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].path, "a/lost.d.luau");
    }
}
