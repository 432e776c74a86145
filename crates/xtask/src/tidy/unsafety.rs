//! Where unsafe code may be, and why there.

use super::Fault;
use super::sources::holds_word;
use crate::tree::Tree;

/// Files that may hold unsafe code, or folders (with `/` at the end), each with its reason.
pub(super) const ALLOWED: [(&str, &str); 11] = [
    ("crates/luau/src/call.rs", "calls into the Luau VM, C++ behind a C interface"),
    ("crates/luau/src/registry.rs", "compiles Luau and holds its bytecode"),
    ("crates/luau/src/state.rs", "wraps the raw lua_State"),
    ("crates/luau/src/modules.rs", "opens Luau's libraries in a new VM"),
    ("crates/luau/src/modules/limits.rs", "puts bounds around Luau's own C functions"),
    ("crates/luau/src/program/slice.rs", "hands the running program and its kernel to native functions"),
    ("crates/luau/src/vm/", "creates VMs, accounts their memory, drives collector and watchdog"),
    ("crates/luau/src/allocator.rs", "the global allocator"),
    ("crates/luau/benches/process/plain.rs", "runs Luau without any of the above, to compare"),
    ("crates/gateway/benches/path/allocations.rs", "an allocator that counts what it is asked for"),
    ("crates/gateway/src/driver.rs", "registers the shard's epoll descriptor with tokio"),
];

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    faults(tree, &ALLOWED)
}

fn faults(tree: &Tree, allowed: &[(&str, &str)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut used = vec![false; allowed.len()];
    for (path, text) in tree.ending(".rs") {
        let Some(line) = first_unsafe(text) else { continue };
        let entry =
            allowed.iter().position(|(place, _)| *place == path || place.ends_with('/') && path.starts_with(place));
        match entry {
            Some(entry) => used[entry] = true,
            None => {
                let text =
                    "unsafe code: do without, or give the file a line in ALLOWED (crates/xtask/src/tidy/unsafety.rs)";
                faults.push(Fault::at(path, line, text));
            }
        }
    }
    for ((place, _), used) in allowed.iter().zip(used) {
        // A crate that is not there yet is no reason to complain, a stale line is.
        if !used && tree.holds(place) {
            let text =
                "holds no unsafe code any more: take its line out of ALLOWED (crates/xtask/src/tidy/unsafety.rs)";
            faults.push(Fault::of_file(place, text));
        }
    }
    faults
}

/// The first line with unsafe code; comments and strings may speak of it.
fn first_unsafe(text: &str) -> Option<usize> {
    let opens = ["{", "fn ", "impl", "extern", "trait ", "("];
    let is_code = |line: &str| {
        let code = without_strings(line);
        let code = code.split("//").next().unwrap_or_default();
        holds_word(code, "unsafe")
            && code.match_indices("unsafe").any(|(start, word)| {
                let behind = code[start + word.len()..].trim_start();
                behind.is_empty() || opens.iter().any(|open| behind.starts_with(open))
            })
    };
    let line = text.lines().position(is_code)?;
    Some(line + 1)
}

/// The line with its string literals emptied; a string over several lines is taken for code.
fn without_strings(line: &str) -> String {
    let mut code = String::with_capacity(line.len());
    let mut inside = false;
    let mut escaped = false;
    for character in line.replace("'\"'", "' '").chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ if inside => {}
            _ => code.push(character),
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: [(&str, &str); 1] = [("crates/a/src/vm/", "a reason")];

    #[test]
    fn unsafe_code_outside_the_list_is_found() {
        for code in ["unsafe { x() }", "pub unsafe fn f() {}", "#[unsafe(no_mangle)]", "unsafe impl Send for X {}"] {
            let tree = Tree::of(&[("crates/b/src/lib.rs", code)]);
            assert_eq!(faults(&tree, &ALLOW).len(), 1, "{code}");
            let tree = Tree::of(&[("crates/a/src/vm/raw.rs", code)]);
            assert_eq!(faults(&tree, &ALLOW), [], "{code}");
        }
    }

    #[test]
    fn words_about_unsafe_code_are_none() {
        for code in ["// unsafe { } is not needed", "#![deny(unsafe_op_in_unsafe_fn)]", "let text = \"unsafe code\";"] {
            let tree = Tree::of(&[("crates/b/src/lib.rs", code)]);
            assert_eq!(faults(&tree, &ALLOW), [], "{code}");
        }
    }

    #[test]
    fn a_line_of_the_list_that_nothing_needs_is_found() {
        let tree = Tree::of(&[("crates/a/src/vm/raw.rs", "fn safe() {}")]);
        assert!(faults(&tree, &ALLOW)[0].text.contains("no unsafe code any more"));
    }
}
