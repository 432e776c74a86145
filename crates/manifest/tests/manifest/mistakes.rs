//! Every mistake is answered with file, line, what was found, what was expected, the nearest name.

use manifest::Severity;

use crate::folder::Folder;

/// Entries (the first one in line 3) and the only message that they give.
const ENTRIES: &[(&str, &str)] = &[
    // Entries as such.
    ("- 5", "x.yaml:3:3: entries: found the number 5, expected an entry with name and kind"),
    ("- kind: http.service", "x.yaml:3:3: missing field \"name\", expected an entry with name and kind"),
    (
        "- { name: 'a b', kind: process.host }",
        "x.yaml:3:11: name: found \"a b\", expected a name of letters, digits, _, - and .",
    ),
    (
        "- { name: 'a:b', kind: process.host }",
        "x.yaml:3:11: name: found \"a:b\", expected a name of letters, digits, _, - and .",
    ),
    (
        "- { name: room, kind: process.host }",
        "x.yaml:3:3: app:room: this id is taken: an entry at base.yaml:8:5 has it",
    ),
    (
        "- name: x",
        "x.yaml:3:3: app:x: missing field \"kind\", expected one of http.service, http.router, http.endpoint, \
         http.static, function.lua, process.lua, library.lua, process.host, process.service, process.supervisor",
    ),
    (
        "- { name: x, kind: http.servce }",
        "x.yaml:3:20: app:x: unknown kind \"http.servce\" (did you mean \"http.service\"?)",
    ),
    (
        "- { name: x, kind: process.lua, sorce: file://room.lua }",
        "x.yaml:3:33: app:x: unknown field \"sorce\" (did you mean \"source\"?)",
    ),
    (
        "- { name: x, kind: process.host, colour: red }",
        "x.yaml:3:34: app:x: unknown field \"colour\", expected one of name, kind, meta, max_processes, \
         memory_limit, mailbox_limit, mailbox_bytes, slice, placement",
    ),
    (
        "- { name: x, kind: process.lua }",
        "x.yaml:3:3: app:x: missing field \"source\", expected file:// and a .lua or .luau file, such as file://room.luau",
    ),
    (
        "- { name: x, kind: process.host, placement: parent, placement: spread }",
        "x.yaml:3:53: the key \"placement\" stands twice: first in line 3",
    ),
    // Types.
    (
        "- { name: x, kind: process.host, max_processes: many }",
        "x.yaml:3:49: app:x: max_processes: found \"many\", expected a whole number, 1 or more",
    ),
    (
        "- { name: x, kind: process.host, max_processes: 0 }",
        "x.yaml:3:49: app:x: max_processes: found the number 0, expected a whole number, 1 or more",
    ),
    (
        "- { name: x, kind: process.host, memory_limit: 64MB }",
        "x.yaml:3:48: app:x: memory_limit: \"64MB\" has the unknown unit \"MB\": write \"64MiB\"",
    ),
    (
        "- { name: x, kind: process.host, slice: 50us }",
        "x.yaml:3:41: app:x: slice: 50us is out of bounds, expected 100us to 10ms",
    ),
    (
        "- { name: x, kind: process.host, slice: 1s }",
        "x.yaml:3:41: app:x: slice: 1s is out of bounds, expected 100us to 10ms",
    ),
    (
        "- { name: x, kind: process.host, memory_limit: [1] }",
        "x.yaml:3:48: app:x: memory_limit: found a list, expected a size such as \"1MiB\"",
    ),
    (
        "- { name: x, kind: process.host, mailbox_bytes: 0 }",
        "x.yaml:3:49: app:x: mailbox_bytes: 0 leaves room for nothing, expected a size such as 1MiB",
    ),
    (
        "- { name: x, kind: process.host, placement: sprad }",
        "x.yaml:3:45: app:x: placement: found \"sprad\" (did you mean \"spread\"?)",
    ),
    ("- { name: x, kind: process.host, meta: yes }", "x.yaml:3:40: app:x: meta: found \"yes\", expected a map"),
    // References.
    (
        "- { name: x, kind: process.service, process: rom, host: processes }",
        "x.yaml:3:46: app:x: process: no entry \"app:rom\" (did you mean \"app:room\"?)",
    ),
    (
        "- { name: x, kind: process.service, process: other:room, host: processes }",
        "x.yaml:3:46: app:x: process: no entry \"other:room\" (did you mean \"app:room\"?)",
    ),
    (
        "- { name: x, kind: process.service, process: room, host: 'app:room' }",
        "x.yaml:3:58: app:x: host: \"app:room\" is a process.lua, expected a process.host",
    ),
    (
        "- { name: x, kind: process.service, process: 'a:b:c', host: processes }",
        "x.yaml:3:46: app:x: process: found \"a:b:c\", expected the id of a process.lua, as namespace:name or name",
    ),
    (
        "- { name: x, kind: process.service, process: 5, host: processes }",
        "x.yaml:3:46: app:x: process: found the number 5, expected the id of a process.lua",
    ),
    (
        "- { name: x, kind: process.service, process: room }",
        "x.yaml:3:3: app:x: missing field \"host\", expected the id of a process.host",
    ),
    // Luau code.
    (
        "- { name: x, kind: process.lua, source: room.lua }",
        "x.yaml:3:41: app:x: source: found \"room.lua\", expected file:// and a .lua or .luau file, such as file://room.luau",
    ),
    (
        "- { name: x, kind: process.lua, source: file://romm.lua }",
        "x.yaml:3:41: app:x: source: \"romm.lua\" does not exist (did you mean \"room.lua\"?)",
    ),
    (
        "- { name: x, kind: process.lua, source: file://base.yaml }",
        "x.yaml:3:41: app:x: source: found \"file://base.yaml\", expected a name that ends in .lua or .luau",
    ),
    (
        "- { name: x, kind: process.lua, source: file:///etc/x.lua }",
        "x.yaml:3:41: app:x: source: \"/etc/x.lua\" is absolute, expected a path relative to this file",
    ),
    (
        "- { name: x, kind: process.lua, source: file://room.lua, modules: [jsn] }",
        "x.yaml:3:68: app:x: modules: unknown module \"jsn\" (did you mean \"json\"?)",
    ),
    (
        "- { name: x, kind: process.lua, source: file://room.lua, modules: [json, json] }",
        "x.yaml:3:74: app:x: modules: \"json\" stands twice",
    ),
    (
        "- { name: x, kind: process.lua, source: file://room.lua, modules: json }",
        "x.yaml:3:67: app:x: modules: found \"json\", expected a list of modules",
    ),
    (
        "- { name: x, kind: process.lua, source: file://room.lua, imports: { t: tols } }",
        "x.yaml:3:72: app:x: imports.t: no entry \"app:tols\" (did you mean \"app:tools\"?)",
    ),
    (
        "- { name: x, kind: process.lua, source: file://room.lua, imports: { t: room } }",
        "x.yaml:3:72: app:x: imports.t: \"app:room\" is a process.lua, expected a library.lua",
    ),
    (
        "- { name: x, kind: process.lua, source: file://room.lua, modules: [json], imports: { json: tools } }",
        "x.yaml:3:86: app:x: imports: the alias \"json\" is a module's name, expected one of its own",
    ),
    (
        "- { name: x, kind: library.lua, source: file://tools.luau, imports: { me: x } }",
        "x.yaml:3:3: app:x: a cycle of imports: app:x -> app:x",
    ),
    // http.service
    (
        "- { name: x, kind: http.service, addr: 8080 }",
        "x.yaml:3:40: app:x: addr: found the number 8080, expected host:port such as \":8080\" or \"127.0.0.1:8080\"",
    ),
    (
        "- { name: x, kind: http.service, addr: 'localhost:99999' }",
        "x.yaml:3:40: app:x: addr: found \"localhost:99999\", expected host:port such as \":8080\" or \"127.0.0.1:8080\"",
    ),
    (
        "- { name: x, kind: http.service, addr: '300.1.1.1:80' }",
        "x.yaml:3:40: app:x: addr: found \"300.1.1.1:80\", expected host:port such as \":8080\" or \"127.0.0.1:8080\"",
    ),
    (
        "- { name: x, kind: http.service, addr: '::1:80' }",
        "x.yaml:3:40: app:x: addr: found \"::1:80\", expected host:port such as \":8080\" or \"127.0.0.1:8080\"",
    ),
    (
        "- { name: x, kind: http.service, addr: ':1', tls: { cert: room.lua } }",
        "x.yaml:3:51: app:x: missing field \"tls.key\", expected the path of a file in PEM, relative to this file or \
         absolute, or ${env:NAME} with the PEM itself",
    ),
    (
        "- { name: x, kind: http.service, addr: ':1', tls: true }",
        "x.yaml:3:51: app:x: tls: found true, expected a map with cert and key",
    ),
    (
        "- { name: x, kind: http.service, addr: ':1', tls: { cert: rom.lua, key: room.lua } }",
        "x.yaml:3:59: app:x: tls.cert: \"rom.lua\" does not exist (did you mean \"room.lua\"?)",
    ),
    (
        "- { name: x, kind: http.service, addr: ':1', tls: { cert: /nowhere/at/all.pem, key: room.lua } }",
        "x.yaml:3:59: app:x: tls.cert: \"/nowhere/at/all.pem\" does not exist",
    ),
    (
        "- { name: x, kind: http.service, addr: ':1', tls: { certs: room.lua, key: room.lua } }",
        "x.yaml:3:53: app:x: unknown field \"tls.certs\" (did you mean \"cert\"?)",
    ),
    (
        "- { name: x, kind: http.service, addr: ':1', tls: { cert: room.lua, key: room.lua, client_auth: required } }",
        "x.yaml:3:97: app:x: tls.client_auth: found \"required\" (did you mean \"require\"?)",
    ),
    (
        "- { name: x, kind: http.service, addr: ':1', tls: { cert: room.lua, key: room.lua, client_auth: require } }",
        "x.yaml:3:97: app:x: tls.client_auth: whose certificates are accepted is not said: tls.client_ca is missing",
    ),
    (
        "- { name: x, kind: http.service, addr: ':1', trusted_proxies: [10.0.0.0/33] }",
        "x.yaml:3:64: app:x: trusted_proxies: found \"10.0.0.0/33\", expected an address or network such as 10.0.0.0/8",
    ),
    (
        "- { name: x, kind: http.service, addr: ':1', timeouts: { headers: 1s } }",
        "x.yaml:3:58: app:x: unknown field \"timeouts.headers\" (did you mean \"header\"?)",
    ),
    (
        "- { name: x, kind: http.service, addr: ':1', timeouts: { header: 30 } }",
        "x.yaml:3:66: app:x: timeouts.header: \"30\" has no unit: write \"30s\" for seconds or \"30ms\" for milliseconds",
    ),
    (
        "- { name: x, kind: http.service, addr: ':1', timeouts: { header: 0s } }",
        "x.yaml:3:66: app:x: timeouts.header: 0s is no time at all, expected one such as 10s",
    ),
    (
        "- { name: x, kind: http.service, addr: ':1', timeouts: 30s }",
        "x.yaml:3:56: app:x: timeouts: found \"30s\", expected a map",
    ),
    // http.router
    (
        "- { name: x, kind: http.router }",
        "x.yaml:3:3: app:x: missing field \"meta.server\", expected the id of an http.service",
    ),
    (
        "- { name: x, kind: http.router, meta: { sever: gateway, comment: hi } }",
        "x.yaml:3:41: app:x: unknown field \"meta.sever\" (did you mean \"server\"?)",
    ),
    (
        "- { name: x, kind: http.router, meta: { server: gatewya } }",
        "x.yaml:3:49: app:x: meta.server: no entry \"app:gatewya\" (did you mean \"app:gateway\"?)",
    ),
    (
        "- { name: x, kind: http.router, meta: { server: gateway }, prefix: ws }",
        "x.yaml:3:68: app:x: prefix: \"ws\" does not begin with /",
    ),
    (
        "- { name: x, kind: http.router, meta: { server: gateway }, prefix: '/{all...}' }",
        "x.yaml:3:68: app:x: prefix: nothing could follow what takes all the rest",
    ),
    (
        "- { name: x, kind: http.router, meta: { server: gateway }, post_middleware: [websocket_rely] }",
        "x.yaml:3:78: app:x: post_middleware: unknown middleware \"websocket_rely\" (did you mean \"websocket_relay\"?)",
    ),
    (
        "- { name: x, kind: http.router, meta: { server: gateway }, middleware: [websocket_relay] }",
        "x.yaml:3:73: app:x: middleware: unknown middleware \"websocket_relay\", expected websocket_relay under post_middleware",
    ),
    (
        "- { name: x, kind: http.router, meta: { server: gateway }, middleware: [cors] }",
        "x.yaml:3:73: app:x: middleware: unknown middleware \"cors\", expected none: there is no middleware before the match yet",
    ),
    (
        "- { name: x, kind: http.router, meta: { server: gateway }, options: { wsrelay.max.message: 1 } }",
        "x.yaml:3:71: app:x: unknown option \"options.wsrelay.max.message\", expected it under post_options",
    ),
    // http.endpoint
    (
        "- { name: x, kind: http.endpoint, meta: { router: gateway }, method: GET, path: /, func: answer }",
        "x.yaml:3:51: app:x: meta.router: \"app:gateway\" is an http.service, expected an http.router",
    ),
    (
        "- { name: x, kind: http.endpoint, meta: { router: router }, method: get, path: /, func: answer }",
        "x.yaml:3:69: app:x: method: found \"get\" (did you mean \"GET\"?)",
    ),
    (
        "- { name: x, kind: http.endpoint, meta: { router: router }, method: [], path: /, func: answer }",
        "x.yaml:3:69: app:x: method: found a list, expected a method such as GET",
    ),
    (
        "- { name: x, kind: http.endpoint, meta: { router: router }, method: GET, path: /, func: room }",
        "x.yaml:3:89: app:x: func: \"app:room\" is a process.lua, expected a function.lua",
    ),
    (
        "- { name: x, kind: http.endpoint, meta: { router: router }, method: GET, path: a, func: answer }",
        "x.yaml:3:80: app:x: path: \"a\" does not begin with /",
    ),
    (
        "- { name: x, kind: http.endpoint, meta: { router: router }, method: GET, path: '/a{id}', func: answer }",
        "x.yaml:3:80: app:x: path: in \"/a{id}\" \"a{id}\" is half a parameter: write {id} or {rest...} between slashes",
    ),
    (
        "- { name: x, kind: http.endpoint, meta: { router: router }, method: GET, path: '/{rest...}/a', func: answer }",
        "x.yaml:3:80: app:x: path: in \"/{rest...}/a\" something follows what takes all the rest",
    ),
    (
        "- { name: x, kind: http.endpoint, meta: { router: router }, method: GET, path: '/{id}/{id}', func: answer }",
        "x.yaml:3:80: app:x: path: in \"/{id}/{id}\" the name \"id\" stands twice",
    ),
    (
        "- { name: x, kind: http.endpoint, meta: { router: router }, method: GET, path: '/{}', func: answer }",
        "x.yaml:3:80: app:x: path: in \"/{}\" \"{}\" has no name of letters, digits and _",
    ),
    (
        "- { name: x, kind: http.endpoint, meta: { router: router }, method: GET, path: '/a//b', func: answer }",
        "x.yaml:3:80: app:x: path: in \"/a//b\" nothing stands between two slashes",
    ),
    (
        "- { name: x, kind: http.endpoint, meta: { router: router }, method: GET, path: '/a/*', func: answer }",
        "x.yaml:3:80: app:x: path: in \"/a/*\" \"*\" holds a *: all the rest is written {rest...}",
    ),
    // http.static
    (
        "- { name: x, kind: http.static, meta: { server: gateway }, path: /, dir: public }",
        "x.yaml:3:74: app:x: dir: \"public\" does not exist",
    ),
    (
        "- { name: x, kind: http.static, meta: { server: gateway }, path: /, dir: room.lua }",
        "x.yaml:3:74: app:x: dir: \"room.lua\" is no folder",
    ),
    (
        "- { name: x, kind: http.static, meta: { server: gateway }, path: '/{id}', dir: . }",
        "x.yaml:3:66: app:x: path: the path of files has no parameters",
    ),
    (
        "- { name: x, kind: http.static, meta: { server: gateway }, path: /, dir: ., spa: maybe }",
        "x.yaml:3:82: app:x: spa: found \"maybe\", expected true or false",
    ),
    (
        "- { name: x, kind: http.static, meta: { server: gateway }, path: /, dir: ., index: ../a }",
        "x.yaml:3:84: app:x: index: a file in the folder itself is expected, such as index.html",
    ),
    // Lifecycles and supervisors.
    (
        "- { name: x, kind: process.service, process: room, host: processes, lifecycle: { auto_strat: true } }",
        "x.yaml:3:82: app:x: unknown field \"lifecycle.auto_strat\" (did you mean \"auto_start\"?)",
    ),
    (
        "- { name: x, kind: process.service, process: room, host: processes, lifecycle: { depends_on: [room] } }",
        "x.yaml:3:95: app:x: lifecycle.depends_on: \"app:room\" is a process.lua, expected one of http.service, process.service, process.supervisor",
    ),
    (
        "- { name: x, kind: process.service, process: room, host: processes, lifecycle: { depends_on: [x] } }",
        "x.yaml:3:3: app:x: a cycle of dependencies: app:x -> app:x",
    ),
    (
        "- { name: x, kind: process.service, process: room, host: processes, lifecycle: { restart: { jitter: 2 } } }",
        "x.yaml:3:101: app:x: lifecycle.restart.jitter: found the number 2, expected a number from 0 to 1",
    ),
    (
        "- { name: x, kind: process.service, process: room, host: processes, lifecycle: { restart: { backoff_factor: 0.5 } } }",
        "x.yaml:3:109: app:x: lifecycle.restart.backoff_factor: found the number 0.5, expected a number, 1 or more",
    ),
    (
        "- { name: x, kind: process.service, process: room, host: processes, lifecycle: { restart: { initial_delay: 2s, max_delay: 1s } } }",
        "x.yaml:3:123: app:x: lifecycle.restart.max_delay: it is less than the initial_delay",
    ),
    (
        "- { name: x, kind: process.supervisor }",
        "x.yaml:3:3: app:x: missing field \"children\", expected a list of children, each with process and host, or with supervisor",
    ),
    (
        "- { name: x, kind: process.supervisor, strategy: one_for_on, children: [] }",
        "x.yaml:3:50: app:x: strategy: found \"one_for_on\" (did you mean \"one_for_one\"?)",
    ),
    (
        "- { name: x, kind: process.supervisor, children: [{ process: room }] }",
        "x.yaml:3:51: app:x: missing field \"children.host\", expected the id of a process.host",
    ),
    (
        "- { name: x, kind: process.supervisor, children: [{ process: room, host: processes }, { process: room, host: processes }] }",
        "x.yaml:3:87: app:x: children: the name \"room\" stands twice, expected a name for each",
    ),
    (
        "- { name: x, kind: process.supervisor, children: [{ supervisor: x }] }",
        "x.yaml:3:51: app:x: a cycle of supervisors: app:x -> app:x",
    ),
    (
        "- { name: y, kind: process.supervisor, children: [] }\n- { name: x, kind: process.supervisor, children: [{ supervisor: y }, { supervisor: y, name: z }] }",
        "x.yaml:4:70: app:x: children: app:y is a child of app:x already",
    ),
    (
        "- { name: y, kind: process.supervisor, children: [] }\n- { name: x, kind: process.supervisor, children: [{ supervisor: y }], lifecycle: { depends_on: [y] } }",
        "x.yaml:4:3: app:x: depends on app:y, which is a child of app:x, expected app:x",
    ),
    (
        "- { name: y, kind: process.supervisor, children: [] }\n- { name: x, kind: process.supervisor, children: [{ supervisor: y, host: processes }] }",
        "x.yaml:4:68: app:x: unknown field \"children.host\", expected one of supervisor, name, restart",
    ),
];

#[test]
fn each_mistake_in_an_entry_is_answered() {
    for (entry, expected) in ENTRIES {
        let folder = Folder::with_entries(entry);
        assert_eq!(folder.mistakes(), [*expected], "{entry}");
    }
}

/// Whole files, and the only message that they give beside a right `base.yaml`.
const FILES: &[(&str, &str)] = &[
    ("namespace: app", "x.yaml:1:1: missing field \"entries\", expected a file with namespace and entries"),
    ("entries: []", "x.yaml:1:1: missing field \"namespace\", expected a file with namespace and entries"),
    ("namespace: app\nentires: []", "x.yaml:2:1: unknown field \"entires\" (did you mean \"entries\"?)"),
    ("namespace: app\nentries: 5", "x.yaml:2:10: entries: found the number 5, expected a list of entries"),
    (
        "namespace: 'a:b'\nentries: []",
        "x.yaml:1:12: namespace: found \"a:b\", expected a name of letters, digits, _, - and .",
    ),
    ("version: 2\nnamespace: app\nentries: []", "x.yaml:1:10: version: found the number 2, expected \"1.0\""),
    (
        "namespace: app\nentries:\n  - name: [",
        "x.yaml:3:12: this is no YAML: while parsing a node, did not find expected node content",
    ),
    ("namespace: app\nentries: !mine []", "x.yaml:2:10: the tag \"!mine\" is not known here"),
    ("namespace: app\nnamespace: b\nentries: []", "x.yaml:2:1: the key \"namespace\" stands twice: first in line 1"),
];

#[test]
fn each_mistake_in_a_file_is_answered() {
    for (text, expected) in FILES {
        let folder = Folder::with_base().file("x.yaml", text);
        assert_eq!(folder.mistakes(), [*expected], "{text}");
    }
}

#[test]
fn five_mistakes_are_reported_at_once_with_file_and_line() {
    let folder = Folder::with_entries(
        "
  - name: late
    kind: process.service
    process: rom
    host: processes
    lifecycle:
      start_timeout: 10
  - name: page
    kind: http.static
    meta: { server: gateway }
    path: /
    dri: .
",
    )
    .file("a/_index.yaml", "namespace: a\nentries:\n  - name: x\n    kind: proces.host\n")
    .file("b/_index.yaml", "namespace: b\nentries:\n  - name: x\n  kind: process.host\n");
    let mistakes = folder.mistakes();
    let expected = [
        "a/_index.yaml:4:11: a:x: unknown kind \"proces.host\" (did you mean \"process.host\"?)",
        "b/_index.yaml:4:3: this is no YAML: ",
        "x.yaml:5:14: app:late: process: no entry \"app:rom\" (did you mean \"app:room\"?)",
        "x.yaml:8:22: app:late: lifecycle.start_timeout: \"10\" has no unit: ",
        "x.yaml:13:5: app:page: unknown field \"dri\" (did you mean \"dir\"?)",
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert!(mistake.starts_with(expected), "{mistake}");
    }
}

#[test]
fn a_mistake_can_be_taken_apart_by_programs() {
    let folder = Folder::with_entries("- { name: x, kind: process.lua, sorce: file://room.lua }");
    let mistakes = folder.try_load().expect_err("a mistake");
    let mistake = mistakes.iter().next().expect("one");
    assert_eq!(mistakes.errors(), 1);
    assert_eq!(mistake.severity, Severity::Error);
    assert!(mistake.place.file.ends_with("x.yaml"));
    assert_eq!((mistake.place.line, mistake.place.column), (3, 33));
    assert_eq!(mistake.entry.as_ref().map(|id| id.as_str()), Some("app:x"));
    assert_eq!(mistake.nearest.as_deref(), Some("source"));
}

#[test]
fn two_routes_alike_are_one_mistake_that_names_both_places() {
    let folder = Folder::with_entries(
        "
  - { name: below, kind: http.router, meta: { server: gateway }, prefix: '/rooms/{room}' }
  - { name: one, kind: http.endpoint, meta: { router: below }, method: GET, path: '/{rest...}', func: answer }
  - { name: two, kind: http.endpoint, meta: { router: router }, method: [POST, GET], path: '/rooms/{id}/{all...}/', func: answer }
",
    );
    assert_eq!(
        folder.mistakes(),
        ["x.yaml:5:5: app:two: two routes alike on app:gateway: GET /rooms/{id}/{all...} is \
          /rooms/{room}/{rest...} at x.yaml:4:5 of app:one"]
    );
}

#[test]
fn routes_that_differ_in_method_server_or_words_are_not_alike() {
    let folder = Folder::with_entries(
        "
  - { name: other, kind: http.service, addr: ':1' }
  - { name: far, kind: http.router, meta: { server: other } }
  - { name: a, kind: http.endpoint, meta: { router: router }, method: GET, path: '/{id}', func: answer }
  - { name: b, kind: http.endpoint, meta: { router: router }, method: POST, path: '/{id}', func: answer }
  - { name: c, kind: http.endpoint, meta: { router: far }, method: GET, path: '/{id}', func: answer }
  - { name: d, kind: http.endpoint, meta: { router: router }, method: GET, path: /id, func: answer }
  - { name: e, kind: http.endpoint, meta: { router: router }, method: GET, path: '/{rest...}', func: answer }
  - { name: f, kind: http.static, meta: { server: gateway }, path: /, dir: . }
",
    );
    assert_eq!(folder.load().endpoints.len(), 5);
}

#[test]
fn two_folders_of_files_at_one_path_are_alike() {
    let folder = Folder::with_entries(
        "
  - { name: a, kind: http.static, meta: { server: gateway }, path: /x, dir: . }
  - { name: b, kind: http.static, meta: { server: gateway }, path: /x/, dir: . }
",
    );
    assert_eq!(
        folder.mistakes(),
        ["x.yaml:4:5: app:b: two routes alike on app:gateway: the files at /x is /x at x.yaml:3:5 of app:a"]
    );
}

#[test]
fn two_services_at_one_address_are_a_mistake_unless_the_port_is_free() {
    let folder = Folder::with_entries(
        "
  - { name: a, kind: http.service, addr: ':0' }
  - { name: b, kind: http.service, addr: ':0' }
  - { name: c, kind: http.service, addr: ':8080' }
",
    );
    let expected = "x.yaml:5:5: app:c: addr: :8080 is taken by app:gateway at base.yaml:5:5";
    assert_eq!(folder.mistakes(), [expected]);
}

#[test]
fn a_parameter_of_the_prefix_cannot_stand_again_below_it() {
    let folder = Folder::with_entries(
        "
  - { name: below, kind: http.router, meta: { server: gateway }, prefix: '/{id}' }
  - { name: one, kind: http.endpoint, meta: { router: below }, method: GET, path: '/{id}', func: answer }
",
    );
    assert_eq!(folder.mistakes(), ["x.yaml:4:5: app:one: path: the name \"id\" stands in the prefix of app:below too"]);
}

#[test]
fn references_into_a_file_that_is_no_yaml_are_not_blamed() {
    let folder = Folder::with_entries("- { name: x, kind: process.service, process: 'b:room', host: 'b:host' }")
        .file("b.yaml", "namespace: b\nentries:\n  - name: [\n");
    let mistakes = folder.mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    assert!(mistakes[0].starts_with("b.yaml:4:1: this is no YAML"), "{mistakes:#?}");
}

#[test]
fn an_empty_folder_says_how_to_begin() {
    let expected = [".: no entries found; a folder needs a *.yaml with namespace and entries; try `moonwire new`"];
    assert_eq!(Folder::empty().mistakes(), expected);
    assert_eq!(Folder::empty().file("other.yaml", "a: 1").mistakes(), expected);
    let broken = Folder::empty().file("_index.yaml", "namespace: [").mistakes();
    assert!(broken.len() == 1 && broken[0].contains("this is no YAML"), "{broken:#?}");
}
