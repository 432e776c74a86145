//! The reference of the Luau calls is what `cargo xtask docs` writes.

use super::Fault;
use crate::reference::{FOLDER, pages};
use crate::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let pages = pages(tree);
    let mut faults = Vec::new();
    for (path, page) in &pages {
        match tree.text(path) {
            None => faults.push(Fault::of_file(path, "is missing: run `cargo xtask docs`")),
            Some(text) if text != page => {
                faults.push(Fault::of_file(path, "is not what its .d.luau file says: run `cargo xtask docs`"));
            }
            Some(_) => {}
        }
    }
    let others = tree.ending(".md").filter(|(path, _)| path.starts_with(FOLDER) && !pages.contains_key(*path));
    faults.extend(others.map(|(path, _)| Fault::of_file(path, "belongs to no .d.luau file")));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: (&str, &str) = ("crates/luau/src/modules/pg.d.luau", "-- pg: groups.\n\ndeclare pg: {\n}\n");

    #[test]
    fn a_page_that_is_missing_changed_or_of_no_module_is_found() {
        let good = pages(&Tree::of(&[SOURCE]));
        let page = |name: &str| good[&format!("{FOLDER}{name}.md")].as_str();
        let (index, pg) = (("docs/lua/README.md", page("README")), ("docs/lua/pg.md", page("pg")));
        assert_eq!(check(&Tree::of(&[SOURCE, index, pg])), []);
        assert_eq!(check(&Tree::of(&[SOURCE, index])).len(), 1);
        assert_eq!(check(&Tree::of(&[SOURCE, index, ("docs/lua/pg.md", "# pg")])).len(), 1);
        assert_eq!(check(&Tree::of(&[SOURCE, index, pg, ("docs/lua/gone.md", "# gone")])).len(), 1);
    }
}
