//! What is needed comes first, and what needs itself is refused.

use crate::folder::Folder;

fn service(name: &str, depends_on: &str) -> String {
    format!(
        "  - {{ name: {name}, kind: process.service, process: room, host: processes, lifecycle: {{ depends_on: [{depends_on}] }} }}\n"
    )
}

fn ids(list: &[manifest::EntryId]) -> Vec<&str> {
    list.iter().map(manifest::EntryId::name).collect()
}

#[test]
fn services_start_after_what_they_depend_on_and_else_as_written() {
    let entries =
        [service("d", "b, app:c"), service("a", ""), service("b", "c"), service("c", ""), service("front", "gateway")];
    let manifest = Folder::with_entries(&entries.concat()).load();
    let services: Vec<&str> = manifest.process_services.iter().map(|one| one.id.name()).collect();
    assert_eq!(services, ["c", "b", "d", "a", "front"]);
    assert_eq!(ids(&manifest.start_order), ["c", "b", "d", "a", "gateway", "front"]);
}

#[test]
fn addresses_open_after_the_processes_that_serve_them() {
    let manifest = Folder::with_entries(&service("rooms", "")).load();
    assert_eq!(ids(&manifest.start_order), ["rooms", "gateway"]);
}

#[test]
fn a_ring_of_dependencies_is_shown() {
    let entries = [service("a", "b"), service("b", "c"), service("c", "a"), service("d", "a")];
    assert_eq!(
        Folder::with_entries(&entries.concat()).mistakes(),
        ["x.yaml:5:5: app:c: a cycle of dependencies: app:a -> app:b -> app:c -> app:a"]
    );
}

#[test]
fn libraries_stand_behind_those_that_they_import() {
    let library = |name: &str, imports: &str| {
        format!("  - {{ name: {name}, kind: library.lua, source: file://tools.luau, imports: {{ {imports} }} }}\n")
    };
    let entries = [library("a", "x: c, y: b"), library("b", "c: c"), library("c", "t: tools")];
    let manifest = Folder::with_entries(&entries.concat()).load();
    let libraries: Vec<&str> = manifest.libraries.iter().map(|one| one.id.name()).collect();
    assert_eq!(libraries, ["tools", "c", "b", "a"]);
    let a = &manifest.libraries[3];
    let imports: Vec<_> = a.imports.iter().map(|(alias, id)| (alias.as_str(), id.as_str())).collect();
    assert_eq!(imports, [("x", "app:c"), ("y", "app:b")]);

    let ring = [library("a", "b: b"), library("b", "a: a")];
    assert_eq!(
        Folder::with_entries(&ring.concat()).mistakes(),
        ["x.yaml:4:5: app:b: a cycle of imports: app:a -> app:b -> app:a"]
    );
}

#[test]
fn depending_on_what_does_not_start_is_a_warning() {
    let entries = service("a", "b")
        + "  - { name: b, kind: process.service, process: room, host: processes, lifecycle: { auto_start: false } }\n";
    assert_eq!(
        Folder::with_entries(&entries).warnings(),
        ["x.yaml:3:5: warning: app:a: depends on app:b, whose auto_start is false"]
    );
}

#[test]
fn a_chain_of_five_thousand_imports_does_not_overflow() {
    let mut entries = String::new();
    for index in 0..5_000 {
        entries += &format!(
            "  - {{ name: l{index}, kind: library.lua, source: file://tools.luau, imports: {{ n: l{} }} }}\n",
            index + 1
        );
    }
    entries += "  - { name: l5000, kind: library.lua, source: file://tools.luau }\n";
    let manifest = Folder::with_entries(&entries).load();
    let first: Vec<&str> = manifest.libraries.iter().map(|one| one.id.name()).take(2).collect();
    assert_eq!(first, ["tools", "l5000"]);
}
