//! The two lock files: `fuzz/` is a workspace of its own, and builds in seconds because it takes over what is built.

use std::collections::{BTreeMap, BTreeSet};

use super::Fault;
use crate::tree::Tree;

const OURS: &str = "Cargo.lock";
const FUZZ: &str = "fuzz/Cargo.lock";

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let (Some(ours), Some(fuzz)) = (tree.text(OURS), tree.text(FUZZ)) else { return Vec::new() };
    let ours = versions(ours);
    let mut faults = Vec::new();
    for (name, theirs) in versions(fuzz) {
        for version in &theirs {
            // Another line of versions is another package, which may be needed there alone.
            let rival = |one: &&&str| line(one) == line(version);
            let Some(rival) = ours.get(name).and_then(|all| all.iter().find(rival)) else { continue };
            if rival != version {
                let text = format!(
                    "{name} {version}, {rival} in {OURS}: cargo update --manifest-path fuzz/Cargo.toml {name}@{version} --precise {rival}"
                );
                faults.push(Fault::of_file(FUZZ, text));
            }
        }
    }
    faults
}

/// Each package with its versions.
fn versions(lock: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut versions = BTreeMap::<&str, BTreeSet<&str>>::new();
    let mut name = None;
    for text in lock.lines() {
        let value = |key: &str| text.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"');
        name = value("name").or(name);
        if let (Some(name), Some(version)) = (name, value("version")) {
            versions.entry(name).or_default().insert(version);
        }
    }
    versions
}

/// What cargo takes for compatible: the first number that is not zero, and what stands before it.
fn line(version: &str) -> &str {
    let end =
        version.char_indices().find(|(at, c)| *c == '.' && version[..*at].chars().any(|c| ('1'..='9').contains(&c)));
    end.map_or(version, |(at, _)| &version[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ours: &[(&str, &str)], fuzz: &[(&str, &str)]) -> usize {
        let lock = |packages: &[(&str, &str)]| {
            let text =
                |(name, version): &(&str, &str)| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
            packages.iter().map(text).collect::<String>()
        };
        check(&Tree::of(&[(OURS, &lock(ours)), (FUZZ, &lock(fuzz))])).len()
    }

    #[test]
    fn another_version_of_the_same_package_is_found() {
        assert_eq!(found(&[("a", "1.2.3")], &[("a", "1.2.4")]), 1);
        assert_eq!(found(&[("a", "0.2.3")], &[("a", "0.2.4")]), 1);
        assert_eq!(found(&[("a", "1.2.3"), ("a", "2.0.0")], &[("a", "1.2.3"), ("a", "2.0.1")]), 1);
    }

    #[test]
    fn the_same_version_another_line_and_a_package_of_ones_own_pass() {
        let fuzz = [("a", "1.2.3"), ("b", "0.3.0"), ("c", "2.0.0"), ("own", "1.0.0")];
        assert_eq!(found(&[("a", "1.2.3"), ("b", "0.2.0"), ("c", "1.0.0"), ("d", "1.0.0")], &fuzz), 0);
    }
}
