//! `${env:NAME|default}`.

use manifest::Value;

use crate::folder::Folder;

#[test]
fn a_variable_is_put_in_and_else_its_default() {
    let entry =
        "- { name: x, kind: http.service, addr: '${env:HOST|localhost}:${env:PORT|80}', max_body: '${env:BODY|1KiB}' }";
    let service = |folder: Folder| {
        let manifest = folder.load();
        let service = manifest.services.iter().find(|one| one.id.name() == "x").expect("x").clone();
        (service.addr.to_string(), service.max_body)
    };
    assert_eq!(service(Folder::with_entries(entry)), ("localhost:80".into(), 1024));
    let folder = Folder::with_entries(entry).env("PORT", "8080").env("BODY", "7");
    assert_eq!(service(folder), ("localhost:8080".into(), 7));
}

#[test]
fn a_variable_may_be_a_number_in_or_out_of_quotes() {
    for value in ["${env:N|5}", "'${env:N|5}'"] {
        let entry = format!("  - name: x\n    kind: process.host\n    max_processes: {value}\n");
        let folder = Folder::with_entries(&entry);
        let manifest = folder.load();
        let host = manifest.hosts.iter().find(|host| host.id.name() == "x").expect("x");
        assert_eq!(host.max_processes, Some(5));
    }
}

#[test]
fn a_variable_that_looks_like_a_number_may_be_text() {
    let folder = Folder::with_entries("- { name: x, kind: process.lua, source: file://room.lua, method: '${env:M}' }");
    let manifest = folder.env("M", "1").load();
    assert_eq!(manifest.processes[0].method, None);
    assert_eq!(manifest.processes[1].method.as_deref(), Some("1"));
}

#[test]
fn variables_reach_names_and_what_lies_deep() {
    let folder = Folder::with_base().file(
        "x.yaml",
        "namespace: ${env:SPACE|app}\nentries:\n  - name: ${env:NAME|x}\n    kind: process.service\n    \
         process: room\n    host: processes\n    input: { list: ['${env:A|1} $${env:A}', '$$', '$'] }\n",
    );
    let service = folder.load().process_services[0].clone();
    assert_eq!(service.id.as_str(), "app:x");
    let texts = ["1 ${env:A}", "$$", "$"].map(|text| Value::String(text.into())).to_vec();
    assert_eq!(service.input, Value::Map(vec![("list".into(), Value::List(texts))]));
}

#[test]
fn a_hole_in_the_configuration_is_a_mistake() {
    for (value, expected) in [
        (
            "${env:NONE}",
            "the environment variable \"NONE\" is not set, expected it set, or a default as in ${env:NONE|default}",
        ),
        (
            "${NONE}",
            "\"${NONE}\" is no variable, expected ${env:NAME} or ${env:NAME|default}; a literal ${ is written $${",
        ),
        (
            "${env:}",
            "\"${env:}\" is no variable, expected ${env:NAME} or ${env:NAME|default}; a literal ${ is written $${",
        ),
        (
            "a${env:X",
            "\"${env:X\" has no closing brace, expected ${env:NAME} or ${env:NAME|default}; a literal ${ is written $${",
        ),
    ] {
        let entry = format!("- {{ name: x, kind: process.service, process: room, host: processes, input: '{value}' }}");
        assert_eq!(Folder::with_entries(&entry).mistakes(), [format!("x.yaml:3:76: app:x: {expected}")]);
    }
}

#[test]
fn what_the_command_line_replaces_needs_no_variable() {
    let folder = Folder::with_entries("- { name: x, kind: http.service, addr: '${env:NONE}' }")
        .set("app:x:addr=:${env:PORT}")
        .env("PORT", "9");
    assert_eq!(folder.load().services[1].addr.to_string(), ":9");
}
