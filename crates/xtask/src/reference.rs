//! `cargo xtask docs`: the reference of the Luau calls, `docs/lua/*.md`, from the `.d.luau` files.
//!
//! A declaration file opens with comments on the module. Each thing in it has its documentation, lines with `---`,
//! right above it: a type, the module itself (`declare`), and what is in them. Functions get a heading of their own,
//! other fields stand in a list.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::tree::Tree;

/// Where the pages lie.
pub(crate) const FOLDER: &str = "docs/lua/";

/// One declaration file.
struct Module<'a> {
    path: &'a str,
    name: &'a str,
    /// The comments that open the file, without the name in front.
    opening: String,
    items: Vec<Item>,
}

/// A type, the module, or something in them.
struct Item {
    name: String,
    /// Whether programs find it, rather than a type.
    declared: bool,
    /// What stands behind its name; empty for a group of others.
    signature: String,
    text: String,
    members: Vec<Item>,
}

/// All pages by their paths, as they should be.
pub(crate) fn pages(tree: &Tree) -> BTreeMap<String, String> {
    let files = tree.ending(".d.luau").filter(|(path, _)| path.starts_with("crates/"));
    let mut modules: Vec<Module<'_>> = files.map(|(path, text)| read(path, text)).collect();
    modules.sort_by_key(|module| module.name);
    let mut pages: BTreeMap<String, String> =
        modules.iter().map(|module| (format!("{FOLDER}{}.md", module.name), page(module))).collect();
    pages.insert(format!("{FOLDER}README.md"), index(&modules));
    pages
}

// Reading

fn read<'a>(path: &'a str, text: &str) -> Module<'a> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file.trim_end_matches(".d.luau");
    let mut lines = text.lines().peekable();
    let mut opening = String::new();
    while let Some(line) = lines.next_if(|line| line.starts_with("--") && !line.starts_with("---")) {
        opening.push_str(line.trim_start_matches("--").trim());
        opening.push('\n');
    }
    let opening = opening.trim().trim_start_matches(name).trim_start_matches(':').trim_start();
    let opening = capitalised(opening);
    Module { path, name, opening, items: items(&mut lines) }
}

/// What stands up to the `}` that closes it, or the end of the file.
fn items<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<Item> {
    let mut found = Vec::new();
    let mut text = String::new();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix("---") {
            text.push_str(comment.strip_prefix(' ').unwrap_or(comment));
            text.push('\n');
        } else if line.trim_end_matches(',') == "}" {
            break;
        } else if !line.is_empty() {
            found.push(item(line, std::mem::take(&mut text), lines));
        }
    }
    found
}

fn item<'a>(line: &str, text: String, lines: &mut impl Iterator<Item = &'a str>) -> Item {
    let line = line.trim_end_matches(',');
    let (declared, line) = line.strip_prefix("declare ").map_or((false, line), |line| (true, line));
    let (name, signature) = match line.strip_prefix("export type ") {
        Some(defined) => defined.split_once(" = "),
        None => line.split_once(": "),
    }
    .unwrap_or((line, ""));
    // A group of others; or a function that has some: `((...) -> ()) & {`.
    let function = signature.strip_suffix(" & {").and_then(|both| both.strip_prefix('(')?.strip_suffix(')'));
    let opens = signature == "{" || function.is_some();
    let signature = if signature == "{" { "" } else { function.unwrap_or(signature) };
    let members = if opens { items(lines) } else { Vec::new() };
    Item { name: name.to_owned(), declared, signature: signature.to_owned(), text, members }
}

// Writing

fn page(module: &Module<'_>) -> String {
    let mut page = format!(
        "<!-- Written by `cargo xtask docs` from {}. -->\n\n# {}\n\n{}\n",
        module.path, module.name, module.opening
    );
    // What the module gives comes before the types that it speaks of.
    let (declared, types): (Vec<&Item>, Vec<&Item>) = module.items.iter().partition(|item| item.declared);
    for item in declared {
        if item.name == module.name {
            write_members(&mut page, &format!("{}.", item.name), item, "##");
        } else {
            write_call(&mut page, "", item, "##");
        }
    }
    if !types.is_empty() {
        page.push_str("\n## Types\n");
    }
    for item in types {
        let bare = item.name.split('<').next().unwrap_or(&item.name);
        heading(&mut page, "###", bare, &item.text);
        if !item.signature.is_empty() {
            let _infallible = write!(page, "\n```lua\ntype {} = {}\n```\n", item.name, item.signature);
        }
        write_members(&mut page, &format!("{}:", bare.to_lowercase()), item, "####");
    }
    page
}

fn write_members(page: &mut String, before: &str, of: &Item, level: &str) {
    let is_field = |item: &&Item| item.members.is_empty() && !item.signature.starts_with('(');
    let fields: Vec<&Item> = of.members.iter().filter(is_field).collect();
    if !fields.is_empty() {
        page.push('\n');
    }
    for field in fields {
        let text = field.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let before = if before.ends_with('.') { before } else { "" };
        let mark = if text.is_empty() { "" } else { " · " };
        let _infallible = writeln!(page, "- `{before}{}: {}`{mark}{text}", field.name, field.signature);
    }
    for item in of.members.iter().filter(|item| !is_field(item)) {
        write_call(page, before, item, level);
    }
}

/// A function, a group of functions and fields, or both in one.
fn write_call(page: &mut String, before: &str, item: &Item, level: &str) {
    let (name, call) = called(before, item);
    heading(page, level, &name, "");
    if !item.signature.is_empty() {
        let _infallible = write!(page, "\n```lua\n{call}\n```\n");
    }
    if !item.text.is_empty() {
        let _infallible = write!(page, "\n{}\n", item.text.trim_end());
    }
    write_members(page, &format!("{name}."), item, &format!("{level}#"));
}

fn heading(page: &mut String, level: &str, name: &str, text: &str) {
    let _infallible = write!(page, "\n{level} {name}\n");
    if !text.is_empty() {
        let _infallible = write!(page, "\n{}\n", text.trim_end());
    }
}

/// The name of a function and how it is called. A method is called with a colon, whose left side is no argument.
fn called(before: &str, item: &Item) -> (String, String) {
    let is_method = item.signature.starts_with("(self: ");
    let name =
        if is_method { format!("{before}{}", item.name) } else { format!("{}{}", before.replace(':', "."), item.name) };
    let arguments = item.signature.strip_prefix("(self: ").and_then(|rest| {
        let end = rest.find([',', ')'])?;
        Some(format!("({}", rest[end..].trim_start_matches(',').trim_start()))
    });
    let call = format!("{name}{}", arguments.as_deref().unwrap_or(&item.signature));
    (name, call)
}

fn index(modules: &[Module<'_>]) -> String {
    let mut page = "<!-- Written by `cargo xtask docs`. -->\n\n# The calls of Luau programs\n\n\
        `process`, `channel`, `coroutine` and `errors` are globals. The others are loaded with `require`, by entries that \
        name them under `modules`. Beside them a program has Luau's own libraries, without files and operating system.\n\n\
        The pages are written by `cargo xtask docs` from the `.d.luau` files, which editors read too. Every example runs \
        in the tests as it stands.\n\n| | |\n|---|---|\n"
        .to_owned();
    for module in modules {
        let mut calls = Vec::new();
        for item in module.items.iter().filter(|item| item.declared) {
            link(module.name, "", item, &mut calls);
        }
        let _infallible = writeln!(
            page,
            "| **[{name}]({name}.md)** | {}<br>{} |",
            sentence(&module.opening),
            calls.join(", "),
            name = module.name
        );
    }
    page
}

fn link(page: &str, before: &str, item: &Item, found: &mut Vec<String>) {
    let name = format!("{before}{}", item.name);
    if item.signature.starts_with('(') {
        let anchor: String =
            name.to_lowercase().chars().filter(|one| one.is_alphanumeric() || "_-".contains(*one)).collect();
        found.push(format!("[{}]({page}.md#{anchor})", name.trim_start_matches(page).trim_start_matches('.')));
    }
    for member in &item.members {
        link(page, &format!("{name}."), member, found);
    }
}

/// The first sentence that says something; how the module is loaded is known.
fn sentence(opening: &str) -> String {
    let paragraphs = opening.split("\n\n").filter(|paragraph| !paragraph.starts_with('`'));
    let first = paragraphs.into_iter().next().unwrap_or(opening).replace('\n', " ");
    let end = first.find(". ").map_or(first.len(), |end| end + 1);
    first[..end].to_owned()
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_is_a_global_of_its_own_may_have_members() {
        let text = "-- test: tests.\n\n--- Groups.\ndeclare describe: ((name: string) -> ()) & {\n    --- Not run.\n    \
            skip: (name: string) -> (),\n}\n\nexport type Answer = {\n    is: (want: any) -> (),\n}\n";
        let pages = pages(&Tree::of(&[("crates/moonwire/src/testing/test.d.luau", text)]));
        let page = &pages["docs/lua/test.md"];
        for part in [
            "## describe\n\n```lua\ndescribe(name: string) -> ()\n```\n\nGroups.\n",
            "### describe.skip\n\n```lua\ndescribe.skip(name: string) -> ()\n```\n\nNot run.\n",
            "#### answer.is\n\n```lua\nanswer.is(want: any) -> ()\n```\n",
        ] {
            assert!(page.contains(part), "{part}\nis not in\n{page}");
        }
        let index = &pages["docs/lua/README.md"];
        assert!(index.contains("[describe](test.md#describe), [describe.skip](test.md#describeskip)"), "{index}");
    }

    const PG: &str = "-- pg: process groups. `local pg = require(\"pg\")`.\n--\n-- A group is a name.\n\n\
        --- A change.\nexport type Change = {\n    --- What it is.\n    kind: string,\n\n    --- Says it.\n    \
        say: (self: Change, text: string) -> string,\n}\n\nexport type Pid = string\n\ndeclare pg: {\n    \
        --- Puts it in.\n    --- Errors: `NOT_FOUND`.\n    ---\n    --- ```lua\n    --- if pg.join(\"a\") then\n    \
        ---     print(1)\n    --- end\n    --- ```\n    join: (group: string) -> boolean,\n\n    --- The kinds.\n    \
        event: {\n        --- It joined.\n        JOIN: string,\n    },\n}\n";

    #[test]
    fn a_page_has_signature_text_and_example_of_every_call() {
        let pages = pages(&Tree::of(&[("crates/luau/src/modules/pg.d.luau", PG)]));
        let page = &pages["docs/lua/pg.md"];
        for part in [
            "# pg\n\nProcess groups. `local pg = require(\"pg\")`.\n\nA group is a name.\n",
            "## pg.join\n\n```lua\npg.join(group: string) -> boolean\n```\n\nPuts it in.\nErrors: `NOT_FOUND`.\n\n\
             ```lua\nif pg.join(\"a\") then\n    print(1)\nend\n```\n",
            "## pg.event\n\nThe kinds.\n\n- `pg.event.JOIN: string` · It joined.\n",
            "### Change\n\nA change.\n\n- `kind: string` · What it is.\n",
            "#### change:say\n\n```lua\nchange:say(text: string) -> string\n```\n\nSays it.\n",
            "### Pid\n\n```lua\ntype Pid = string\n```\n",
        ] {
            assert!(page.contains(part), "{part}\nis not in\n{page}");
        }
        let index = &pages["docs/lua/README.md"];
        assert!(index.contains("| **[pg](pg.md)** | Process groups.<br>[join](pg.md#pgjoin) |\n"), "{index}");
    }
}
