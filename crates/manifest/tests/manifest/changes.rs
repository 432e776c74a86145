//! What a second reading of a folder finds changed, besides code.

use crate::folder::Folder;
use manifest::{Manifest, What};

const ENTRIES: &str = "
  - { name: page, kind: http.endpoint, meta: { router: router }, method: GET, path: /page, func: answer }
  - { name: lobby, kind: process.service, process: room, host: processes, input: { size: 3 } }
  - { name: crew, kind: process.supervisor, children: [{ process: room, host: processes }] }
";

fn changes(new: &Folder) -> Vec<(String, &'static str, What)> {
    let old: Manifest = Folder::with_entries(ENTRIES).load();
    let changes = old.changes(&new.load());
    changes.into_iter().map(|change| (change.id.to_string(), change.kind.name(), change.what)).collect()
}

#[test]
fn code_and_places_in_files_are_no_change() {
    let moved = format!("  # A remark.\n\n{}", ENTRIES.trim_start_matches('\n'));
    let folder = Folder::with_entries(&moved).file("room.lua", "return function() return 1 end");
    assert_eq!(changes(&folder), []);
}

#[test]
fn every_other_entry_is_named_with_what_became_of_it() {
    let other = "
  - { name: page, kind: http.endpoint, meta: { router: router }, method: [GET, PUT], path: /page, func: answer }
  - { name: files, kind: process.host, slice: 2ms }
";
    let found = changes(&Folder::with_entries(other));
    let expected = [
        ("app:page", "http.endpoint", What::Changed),
        ("app:files", "process.host", What::Added),
        ("app:lobby", "process.service", What::Removed),
        ("app:crew", "process.supervisor", What::Removed),
    ];
    assert_eq!(found, expected.map(|(id, kind, what)| (id.to_owned(), kind, what)));
}
