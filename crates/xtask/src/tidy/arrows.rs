//! The arrows between the crates: who may know whom.

use toml::{Table, Value};

use super::Fault;
use crate::tree::Tree;

/// Each crate and the crates of this workspace that it may depend on.
const ARROWS: [(&str, &[&str]); 9] = [
    ("units", &[]),
    ("kernel", &["units"]),
    ("luau", &["kernel", "units"]),
    ("manifest", &["units"]),
    ("gateway", &["kernel", "luau", "manifest", "units"]),
    ("moonwire", &["gateway", "kernel", "luau", "manifest", "units"]),
    ("testkit", &["units"]),
    ("bench", &[]),
    ("xtask", &[]),
];

/// What tests may use besides.
const IN_TESTS: [&str; 1] = ["testkit"];

/// Outside crates that would bring a crate what it must not know.
const UNKNOWN_TO: [(&str, &[&str]); 4] = [
    ("units", &["tokio", "hyper", "mlua", "mlua-sys", "saphyr"]),
    ("kernel", &["tokio", "hyper", "socket2", "libc", "mlua", "mlua-sys", "saphyr"]),
    ("luau", &["hyper", "socket2", "saphyr", "saphyr-parser"]),
    ("manifest", &["tokio", "hyper", "socket2", "mlua", "mlua-sys"]),
];

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    let workspace: Vec<&str> = tree.ending("/Cargo.toml").filter_map(|(path, _)| crate_of(path)).collect();
    for (path, text) in tree.ending("/Cargo.toml") {
        let Some(name) = crate_of(path) else { continue };
        let table: Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                faults.push(Fault::of_file(path, format!("unreadable: {error}")));
                continue;
            }
        };
        let Some((_, allowed)) = ARROWS.iter().find(|(one, _)| *one == name) else {
            let text = format!("{name} is a new crate: give it a line in ARROWS (crates/xtask/src/tidy/arrows.rs)");
            faults.push(Fault::of_file(path, text));
            continue;
        };
        let unknown = UNKNOWN_TO.iter().find(|(one, _)| *one == name);
        for (kind, dependency) in dependencies(&table) {
            let inside = workspace.contains(&dependency.as_str());
            let in_tests = kind == "dev-dependencies" && IN_TESTS.contains(&dependency.as_str());
            if inside && !allowed.contains(&dependency.as_str()) && !in_tests {
                let may = if allowed.is_empty() { "no crate of this workspace".to_owned() } else { allowed.join(", ") };
                let text = format!("{name} must not know {dependency} ({kind}); it may know {may}");
                faults.push(Fault::of_file(path, text));
            }
            let unwanted = unknown.is_some_and(|(_, names)| names.contains(&dependency.as_str()));
            if unwanted && kind != "dev-dependencies" {
                let text = format!("{name} must not depend on {dependency}: see what it does not know");
                faults.push(Fault::of_file(path, text));
            }
        }
    }
    faults
}

/// The folder's name, which is the package's.
fn crate_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
    (!name.contains('/')).then_some(name)
}

/// Every dependency with the kind of table that names it, those for single targets included.
fn dependencies(manifest: &Table) -> Vec<(&'static str, String)> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(|all| all.values().filter_map(Value::as_table));
    let mut found = Vec::new();
    for table in std::iter::once(manifest).chain(targets) {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let named = table.get(kind).and_then(Value::as_table);
            for (name, value) in named.into_iter().flatten() {
                // `other = { package = "kernel" }` is a dependency on kernel.
                let package = value.get("package").and_then(Value::as_str);
                found.push((kind, package.unwrap_or(name).to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(manifest: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("crates/kernel/Cargo.toml", manifest),
            ("crates/units/Cargo.toml", ""),
            ("crates/luau/Cargo.toml", ""),
            ("crates/testkit/Cargo.toml", ""),
        ]);
        check(&tree).into_iter().map(|fault| fault.text).collect()
    }

    #[test]
    fn allowed_arrows_and_test_helpers_pass() {
        let manifest = "[dependencies]\nunits.workspace = true\nbytes = '1'\n[dev-dependencies]\ntestkit = { workspace = true }\ntokio = '1'";
        assert_eq!(found(manifest), [""; 0]);
    }

    #[test]
    fn an_arrow_upward_is_found_in_every_kind_of_table() {
        for manifest in [
            "[dependencies]\nluau.workspace = true",
            "[dev-dependencies]\nluau.workspace = true",
            "[build-dependencies]\nluau = { path = '../luau' }",
            "[dependencies]\nother = { package = 'luau', path = '../luau' }",
            "[target.'cfg(unix)'.dependencies]\nluau.workspace = true",
            "[dependencies]\ntestkit.workspace = true",
        ] {
            assert_eq!(found(manifest).len(), 1, "{manifest}");
        }
        assert!(found("[dependencies]\nluau.workspace = true")[0].contains("kernel must not know luau"));
    }

    #[test]
    fn what_a_crate_does_not_know_does_not_come_from_outside_either() {
        assert!(found("[dependencies]\ntokio = '1'")[0].contains("must not depend on tokio"));
    }

    #[test]
    fn a_new_crate_needs_its_line() {
        let tree = Tree::of(&[("crates/surprise/Cargo.toml", "")]);
        assert!(check(&tree)[0].text.contains("surprise is a new crate"));
    }
}
