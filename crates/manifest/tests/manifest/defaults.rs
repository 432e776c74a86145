//! What is not written has the contract's value; what is written is taken.

use std::time::Duration;

use manifest::{BindHost, ChildRestart, Lifecycle, Method, Placement, Restart, Segment, Strategy, Supervised, Value};

use crate::folder::Folder;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_http_service_has_the_contracts_limits() {
    let manifest = Folder::with_base().load();
    let service = &manifest.services[0];
    assert_eq!(service.addr.to_string(), ":8080");
    assert_eq!(service.addr.host, BindHost::Any);
    assert_eq!(service.timeouts.header, 10 * SECOND);
    assert_eq!(service.timeouts.body, 30 * SECOND);
    assert_eq!(service.timeouts.idle, 60 * SECOND);
    assert_eq!(service.timeouts.request, 30 * SECOND);
    assert_eq!(service.timeouts.drain, 10 * SECOND);
    assert_eq!(service.max_body, 1 << 20);
    assert!(service.trusted_proxies.is_empty());
    assert_eq!(service.lifecycle, Lifecycle::default());
}

#[test]
fn an_http_service_takes_what_is_written() {
    let folder = Folder::with_entries(
        "
  - name: x
    kind: http.service
    meta: { comment: 'anything goes', tags: [a] }
    addr: '[::1]:0'
    trusted_proxies: [10.1.2.3/8, 192.168.1.1, '::1']
    timeouts: { header: 1s, body: 2s, idle: 1m30s, request: 4s, drain: 500ms }
    max_body: 2MiB
    tls:
",
    );
    let manifest = folder.load();
    let service = manifest.services.iter().find(|service| service.id.name() == "x").expect("x");
    assert_eq!(service.addr.to_string(), "[::1]:0");
    let proxies: Vec<String> = service.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.168.1.1/32", "::1/128"]);
    assert_eq!(service.timeouts.idle, 90 * SECOND);
    assert_eq!(service.timeouts.drain, SECOND / 2);
    assert_eq!(service.max_body, 2 << 20);
}

#[test]
fn a_host_has_the_contracts_limits() {
    let manifest = Folder::with_base().load();
    let host = &manifest.hosts[0];
    assert_eq!(host.max_processes, None);
    assert_eq!(host.memory_limit, 64 << 20);
    assert_eq!(host.mailbox_limit, 10_000);
    assert_eq!(host.mailbox_bytes, 8 << 20);
    assert_eq!(host.slice, Duration::from_millis(1));
    assert_eq!(host.placement, Placement::Parent);
}

#[test]
fn a_lifecycle_has_the_contracts_values() {
    let lifecycle = Lifecycle::default();
    assert!(lifecycle.auto_start);
    assert_eq!((lifecycle.start_timeout, lifecycle.stop_timeout), (10 * SECOND, 10 * SECOND));
    assert_eq!(
        lifecycle.restart,
        Restart {
            initial_delay: SECOND,
            max_delay: 90 * SECOND,
            backoff_factor: 2.0,
            jitter: 0.1,
            max_attempts: 0,
            stable_after: 60 * SECOND,
        }
    );
}

#[test]
fn a_process_service_takes_any_yaml_as_its_input() {
    let folder = Folder::with_entries(
        "
  - name: x
    kind: process.service
    process: room
    host: app:processes
    input: { z: [1, 2.5, 0x10], a: text, quoted: '1', yes: true, none: ~, inner: { b: on } }
    lifecycle:
      auto_start: false
      stop_timeout: 3s
      restart: { initial_delay: 100ms, max_delay: 5s, backoff_factor: 3, jitter: 0, max_attempts: 4, stable_after: 0s }
",
    );
    let manifest = folder.load();
    let service = &manifest.process_services[0];
    assert_eq!((service.process.as_str(), service.host.as_str()), ("app:room", "app:processes"));
    let text = |text: &str| Value::String(text.to_owned());
    let numbers = [1.0, 2.5, 16.0].map(Value::Number).to_vec();
    assert_eq!(
        service.input,
        Value::Map(vec![
            ("z".into(), Value::List(numbers)),
            ("a".into(), text("text")),
            ("quoted".into(), text("1")),
            ("yes".into(), Value::Bool(true)),
            ("none".into(), Value::Null),
            ("inner".into(), Value::Map(vec![("b".into(), text("on"))])),
        ])
    );
    assert!(!service.lifecycle.auto_start);
    assert_eq!(service.lifecycle.stop_timeout, 3 * SECOND);
    assert_eq!(service.lifecycle.restart.max_attempts, 4);
    assert_eq!(service.lifecycle.restart.stable_after, Duration::ZERO);
}

#[test]
fn one_delay_alone_makes_the_other_follow() {
    let delays = |restart: &str| {
        let entry = format!(
            "- {{ name: x, kind: process.service, process: room, host: processes, lifecycle: {{ restart: {{ {restart} }} }} }}"
        );
        let restart = Folder::with_entries(&entry).load().process_services[0].lifecycle.restart;
        (restart.initial_delay, restart.max_delay)
    };
    assert_eq!(delays("initial_delay: 2m"), (120 * SECOND, 120 * SECOND));
    assert_eq!(delays("max_delay: 500ms"), (SECOND / 2, SECOND / 2));
}

#[test]
fn a_supervisor_is_read_with_its_children() {
    let folder = Folder::with_entries(
        "
  - name: x
    kind: process.supervisor
    strategy: rest_for_one
    children:
      - { process: room, host: processes }
      - { name: second, process: app:room, host: processes, input: 1, restart: transient }
",
    );
    let manifest = folder.load();
    let supervisor = &manifest.supervisors[0];
    assert_eq!(supervisor.strategy, Strategy::RestForOne);
    assert_eq!((supervisor.intensity, supervisor.period), (3, 5 * SECOND));
    let [first, second] = supervisor.children.as_slice() else { panic!("two children") };
    assert_eq!((first.name.as_str(), first.restart), ("room", ChildRestart::Permanent));
    assert_eq!((second.name.as_str(), second.restart), ("second", ChildRestart::Transient));
    let Supervised::Process { input, stop_timeout, .. } = &second.what else { panic!("a process") };
    assert_eq!((input, *stop_timeout), (&Value::Number(1.0), 5 * SECOND));
    assert_eq!((supervisor.stop_timeout, &supervisor.parent), (None, &None));
}

#[test]
fn a_supervisor_may_be_the_child_of_another_one() {
    let folder = Folder::with_entries(
        "
  - name: inner
    kind: process.supervisor
    children: []
  - name: outer
    kind: process.supervisor
    children:
      - { supervisor: inner, restart: transient }
    lifecycle: { stop_timeout: 3s }
",
    );
    let manifest = folder.load();
    let of = |name: &str| manifest.supervisors.iter().find(|one| one.id.name() == name).expect("it is there");
    assert_eq!(of("inner").parent, Some(of("outer").id.clone()));
    assert_eq!((of("outer").stop_timeout, of("outer").children[0].name.as_str()), (Some(3 * SECOND), "inner"));
    assert_eq!(of("outer").children[0].what.entry(), &of("inner").id);
}

#[test]
fn an_endpoint_has_the_prefix_and_the_server_of_its_router() {
    let folder = Folder::with_entries(
        "
  - { name: below, kind: http.router, meta: { server: gateway }, prefix: /api/ }
  - { name: one, kind: http.endpoint, meta: { router: below }, method: [GET, POST], path: '/r/{id}/{rest...}', func: answer }
  - { name: two, kind: http.endpoint, meta: { router: below }, method: GET, path: /, func: app:answer }
",
    );
    let manifest = folder.load();
    let [one, two] = manifest.endpoints.as_slice() else { panic!("two endpoints") };
    assert_eq!(one.server.as_str(), "app:gateway");
    assert_eq!(one.methods, [Method::Get, Method::Post]);
    assert_eq!(one.route.to_string(), "/api/r/{id}/{rest...}");
    assert_eq!(
        one.route.segments(),
        [
            Segment::Literal("api".into()),
            Segment::Literal("r".into()),
            Segment::Param("id".into()),
            Segment::Rest("rest".into()),
        ]
    );
    assert_eq!(two.route.to_string(), "/api");
    assert_eq!(two.func.as_str(), "app:answer");
}

#[test]
fn files_are_served_from_a_folder_beside_the_yaml() {
    let folder = Folder::with_base()
        .file("web/_index.yaml", "namespace: web\nentries:\n  - { name: files, kind: http.static, meta: { server: app:gateway }, path: /, dir: public }\n")
        .file("web/public/index.html", "hello");
    let manifest = folder.load();
    let files = &manifest.statics[0];
    assert_eq!(files.dir, manifest.root.join("web/public"));
    assert_eq!((files.index.as_str(), files.spa), ("index.html", false));
    assert!(files.path.is_root());
}
