//! `docs/semantics.md` and `docs/hostile.md`: each of their sentences is kept by tests that are there.

use super::Fault;
use crate::tree::Tree;

const PAGES: [&str; 2] = ["docs/semantics.md", "docs/hostile.md"];

/// Each item of a page's lists ends with links to tests: `[name](../path)`, where the file has a test of that name.
pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    PAGES.iter().flat_map(|page| check_page(tree, page)).collect()
}

fn check_page(tree: &Tree, page: &'static str) -> Vec<Fault> {
    let Some(text) = tree.text(page) else { return vec![Fault::of_file(page, "is missing")] };
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with("- ")) {
        let tests = tests(line);
        if tests.is_empty() {
            faults.push(Fault::at(
                page,
                number + 1,
                "a promise without a test: end it with [name](../path/of/its/file)",
            ));
        }
        for (name, path) in tests {
            let path = path.trim_start_matches("../");
            if !tree.text(path).is_some_and(|text| has_test(text, name)) {
                faults.push(Fault::at(page, number + 1, format!("{path} has no test {name}")));
            }
        }
    }
    faults
}

/// Names and files of the tests that a line links to.
fn tests(line: &str) -> Vec<(&str, &str)> {
    let links = line.match_indices("](../").filter_map(|(middle, _)| {
        let name = &line[line[..middle].rfind('[')? + 1..middle];
        let path = &line[middle + 2..];
        Some((name, &path[..path.find(')')?]))
    });
    links.collect()
}

/// Whether a file in Rust or Python has a test of this name.
fn has_test(text: &str, name: &str) -> bool {
    let begins = |line: &str, before: &str| {
        line.trim_start()
            .strip_prefix(before)
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('))
    };
    let mut previous = "";
    text.lines().any(|line| {
        let above = std::mem::replace(&mut previous, line).trim_start();
        let is_rust =
            ["fn ", "async fn ", "pub fn "].iter().any(|before| begins(line, before)) && above.starts_with("#[");
        is_rust || begins(line, "def ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_without_a_test_or_with_one_that_is_not_there_is_found() {
        let source = ("a/t.rs", "#[test]\nfn it_holds() {}\n\nfn helper() {}\n");
        let python = ("b/t.py", "def test_it(app):\n");
        let faults = |page: &str| check_page(&Tree::of(&[source, python, (PAGES[0], page)]), PAGES[0]).len();
        assert_eq!(faults("# Page\n\n- It holds. [it_holds](../a/t.rs) [test_it](../b/t.py)\n"), 0);
        assert_eq!(check(&Tree::of(&[source])).len(), PAGES.len(), "no page");
        assert_eq!(faults("- It holds.\n"), 1);
        assert_eq!(faults("- It holds. [helper](../a/t.rs)\n"), 1);
        assert_eq!(faults("- It holds. [it_holds](../a/t.rs) [it](../b/t.py) [it_holds](../gone.rs)\n"), 2);
    }
}
