//! A folder that means harm, or was copied from somewhere, costs a message and nothing else.

use std::fs;
use std::os::unix::fs::symlink;

use crate::folder::Folder;

fn only_mistake(folder: &Folder) -> String {
    let mut mistakes = folder.mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    mistakes.remove(0)
}

#[test]
fn a_mistake_is_one_line_whatever_stands_in_the_yaml() {
    let yaml = "namespace: app\n\"k\\n\\e[31m\": 1\nentries:\n  - name: \"a\\nb\"\n    kind: \"x\\ry\"\n";
    let mistakes = Folder::with_base().file("x.yaml", yaml).mistakes();
    assert!(mistakes.len() >= 2, "{mistakes:#?}");
    for mistake in mistakes {
        assert!(mistake.starts_with("x.yaml:"), "the second half of a line: {mistake:?}");
        assert!(!mistake.contains(char::is_control), "{mistake:?}");
    }
}

#[test]
fn a_mistake_at_the_end_is_in_a_line_that_the_file_has() {
    for (yaml, place) in
        [("namespace: app\nentries", "x.yaml:2:8: "), ("namespace: app\r\nentries: [", "x.yaml:2:11: ")]
    {
        let mistake = only_mistake(&Folder::with_base().file("x.yaml", yaml));
        assert!(mistake.starts_with(place), "{mistake}");
    }
}

#[test]
fn aliases_that_double_are_counted_in_full() {
    let mut yaml = "namespace: app\nentries: []\nl0: &l0 [x, x]\n".to_owned();
    for level in 1..40 {
        yaml += &format!("l{level}: &l{level} [*l{0}, *l{0}]\n", level - 1);
    }
    let mistake = only_mistake(&Folder::with_base().file("x.yaml", yaml));
    assert!(mistake.contains("more than 100000 values in one file"), "{mistake}");
}

#[test]
fn an_alias_inside_its_own_anchor_is_refused() {
    let mistake = only_mistake(&Folder::with_base().file("x.yaml", "namespace: app\nentries: &e [*e]\n"));
    assert_eq!(mistake, "x.yaml:2:14: this alias stands for what it is in");
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
        let yaml = format!("namespace: app\nentries:\n{}1{}\n", open.repeat(10_000), close.repeat(10_000));
        let mistake = only_mistake(&Folder::with_base().file("x.yaml", yaml));
        assert!(mistake.starts_with("x.yaml:"), "{mistake}");
    }
    let unclosed = format!("namespace: app\nentries: {}", "[".repeat(1_000_000));
    only_mistake(&Folder::with_base().file("x.yaml", unclosed));
}

#[test]
fn a_huge_file_is_refused_if_it_is_ours_and_else_left_alone() {
    let folder = Folder::with_base().file("data.yaml", "a: 1\n").file("ours.yaml", "namespace: app\n");
    for name in ["data.yaml", "ours.yaml"] {
        let file = fs::OpenOptions::new().write(true).open(folder.path().join(name)).expect(name);
        file.set_len(100 << 20).expect("a hundred megabytes of nothing");
    }
    assert_eq!(only_mistake(&folder), "ours.yaml: is larger than 1MiB, the most that is read");
}

#[test]
fn a_huge_source_is_refused() {
    let folder = Folder::with_base();
    let file = fs::OpenOptions::new().write(true).open(folder.path().join("room.lua")).expect("room");
    file.set_len(100 << 20).expect("a hundred megabytes of nothing");
    let expected = "base.yaml:8:46: app:room: source: \"room.lua\" is larger than 4MiB";
    assert_eq!(only_mistake(&folder), expected);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let ours = "namespace: x\nentries:\n  - name: [\n";
    let folder = Folder::with_base()
        .file("other.yaml", "metadata:\n  namespace: x\n")
        .file("template.yaml", "{{ if .Values }}\n  broken: [\n")
        .file("list.yaml", "- 1\n- 2\n")
        .file("binary.yaml", b"\xff\xfe\x00")
        .file("empty.yaml", "")
        .file(".git/_index.yaml", ours)
        .file("node_modules/a/_index.yaml", ours)
        .file("target/_index.yaml", ours)
        .file("folder.yaml/readme", "");
    assert_eq!(folder.load().hosts.len(), 1);
}

#[test]
fn a_file_of_ours_that_is_no_text_is_refused() {
    let folder = Folder::with_base().file("x.yaml", b"namespace: app\nentries: [\xff]\n");
    assert_eq!(only_mistake(&folder), "x.yaml: is not UTF-8 text");
    let folder = Folder::with_base().file("room.lua", b"return '\xff'");
    assert_eq!(only_mistake(&folder), "base.yaml:8:46: app:room: source: \"room.lua\" is not UTF-8 text");
}

#[test]
fn a_source_outside_the_folder_is_refused_however_it_is_reached() {
    let outside = Folder::empty().file("secret.lua", "return 1").file("secret.yaml", "namespace: s\nentries: []\n");
    let relative = format!("../{}/secret.lua", outside.path().file_name().expect("a name").to_string_lossy());
    let entry =
        |source: &str| Folder::with_entries(&format!("- {{ name: x, kind: process.lua, source: 'file://{source}' }}"));
    for source in [relative.as_str(), "../none.lua", "a/../../none.lua"] {
        let mistake = only_mistake(&entry(source));
        assert!(mistake.ends_with("leads outside the folder"), "{mistake}");
    }

    let folder = entry("link.lua");
    symlink(outside.path().join("secret.lua"), folder.path().join("link.lua")).expect("a link");
    assert_eq!(only_mistake(&folder), "x.yaml:3:41: app:x: source: \"link.lua\" leads outside the folder");

    let folder = entry("inner/secret.lua");
    symlink(outside.path(), folder.path().join("inner")).expect("a link");
    let mistake = only_mistake(&folder);
    assert!(mistake.ends_with("leads outside the folder"), "{mistake}");

    let folder = Folder::with_base();
    symlink(outside.path().join("secret.yaml"), folder.path().join("link.yaml")).expect("a link");
    assert_eq!(only_mistake(&folder), "link.yaml: is a link to a file outside the folder");
}

#[test]
fn links_inside_the_folder_and_dots_that_stay_in_it_are_fine() {
    let folder = Folder::with_entries("- { name: x, kind: process.lua, source: file://sub/../link.lua }")
        .file("sub/other.lua", "return 2");
    symlink("sub/other.lua", folder.path().join("link.lua")).expect("a link");
    symlink("..", folder.path().join("sub/up")).expect("a link to where it is in");
    let manifest = folder.load();
    assert_eq!(manifest.processes[1].chunk_name, "sub/other.lua");
}

#[test]
fn pipes_and_folders_are_not_opened_as_sources() {
    let folder = Folder::with_entries("- { name: x, kind: process.lua, source: file://pipe.lua }");
    for name in ["pipe.lua", "pipe.yaml"] {
        let status = std::process::Command::new("mkfifo").arg(folder.path().join(name)).status();
        assert!(status.expect("mkfifo runs").success());
    }
    assert_eq!(only_mistake(&folder), "x.yaml:3:41: app:x: source: \"pipe.lua\" is no file");
}

#[test]
fn a_folder_that_is_none_is_refused() {
    let folder = Folder::empty().file("x", "");
    let env = |_: &str| None;
    let options = manifest::LoadOptions { overrides: &[], env: &env, known_modules: &[] };
    for (path, expected) in [("none", "cannot be read: "), ("x", "is no folder, expected one with YAML entries")] {
        let mistakes = manifest::load(&folder.path().join(path), &options).expect_err(path).to_string();
        assert!(mistakes.contains(expected), "{mistakes}");
    }
}

#[test]
fn no_slip_of_a_finger_makes_it_panic() {
    const YAML: &str = "
version: '1.0'
namespace: app
entries:
  - name: ws
    kind: http.router
    meta: { server: gateway }
    prefix: /ws/{id}
    post_middleware: [websocket_relay]
    post_options: { wsrelay.allowed.origins: 'https://*.a.b:1, *', wsrelay.max.message: 1.5MiB }
  - name: keeper
    kind: process.service
    process: &p app:room
    host: processes
    input: [*p, \"${env:A|1}\", 2]
    lifecycle: { depends_on: [gateway], restart: { max_delay: 1m30s } }
";
    let load = |text: String| drop(Folder::with_base().file("x.yaml", text).try_load());
    for (at, letter) in YAML.char_indices() {
        let (before, after) = (&YAML[..at], &YAML[at + letter.len_utf8()..]);
        load(before.to_owned());
        for other in ["", ":", "{", "\"", "*", "\t", "9", "\u{ff}"] {
            load(format!("{before}{other}{after}"));
        }
    }
}

#[test]
fn a_megabyte_of_anything_is_answered_soon() {
    for piece in
        ["[", "{", "- ", "? ", "a: ", "&a ", "*a ", "!a ", "'", "\"\\n", "|\n", "#", "\n", "a:\n ", "${", "%", ", "]
    {
        let text = format!("namespace: app\nentries:\n  - {}", piece.repeat(1_000_000 / piece.len()));
        drop(Folder::with_base().file("x.yaml", text).try_load());
    }
}
