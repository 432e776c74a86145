//! `--set ns:entry:field=value`.

use std::time::Duration;

use manifest::{BindHost, OriginPattern, Override, Value};

use crate::folder::Folder;

#[test]
fn a_field_is_replaced_and_the_last_one_wins() {
    let folder = Folder::with_base().set("app:gateway:addr=localhost:1").set("app:gateway:addr=127.0.0.1:0");
    assert_eq!(folder.load().services[0].addr.to_string(), "127.0.0.1:0");
}

#[test]
fn a_field_that_is_not_written_is_added_however_deep() {
    let folder = Folder::with_base()
        .set("app:gateway:max_body=2MiB")
        .set("app:gateway:timeouts.header=3s")
        .set("app:gateway:lifecycle.restart.max_delay=10s")
        .set("app:gateway:lifecycle.restart.max_attempts=5");
    let service = &folder.load().services[0];
    assert_eq!(service.max_body, 2 << 20);
    assert_eq!(service.timeouts.header, Duration::from_secs(3));
    assert_eq!(service.lifecycle.restart.max_delay, Duration::from_secs(10));
    assert_eq!(service.lifecycle.restart.max_attempts, 5);
}

#[test]
fn the_dots_of_an_option_belong_to_its_name() {
    let folder = Folder::with_entries(
        "- { name: ws, kind: http.router, meta: { server: gateway }, post_middleware: [websocket_relay], \
         post_options: { wsrelay.max.message: 1KiB } }",
    )
    .set("app:ws:post_options.wsrelay.max.message=2KiB")
    .set("app:ws:post_options.wsrelay.send.buffer=3KiB")
    .set("app:ws:post_options.wsrelay.allowed.origins=*");
    let manifest = folder.load();
    let router = manifest.routers.iter().find(|router| router.id.name() == "ws").expect("ws");
    let options = router.relay.as_ref().expect("options");
    assert_eq!((options.max_message, options.send_buffer), (2 << 10, 3 << 10));
    assert_eq!(options.allowed_origins, [OriginPattern::Any]);
}

#[test]
fn a_key_with_dots_that_is_written_is_found_before_it_is_taken_apart() {
    let service =
        "- { name: x, kind: process.service, process: room, host: processes, input: { a.b: { c: 1 }, a: { b: 2 } } }";
    let folder = Folder::with_entries(service).set("app:x:input.a.b.c=9").set("app:x:input.options.d.e=8");
    let map = |key: &str, value| Value::Map(vec![(key.to_owned(), value)]);
    assert_eq!(
        folder.load().process_services[0].input,
        Value::Map(vec![
            ("a.b".into(), map("c", Value::Number(9.0))),
            ("a".into(), map("b", Value::Number(2.0))),
            ("options".into(), map("d", map("e", Value::Number(8.0)))),
        ])
    );
}

#[test]
fn values_are_yaml_scalars_and_lists() {
    let folder =
        Folder::with_entries("- { name: x, kind: process.service, process: room, host: processes, input: { } }")
            .set("app:x:input.number=5")
            .set("app:x:input.text='5'")
            .set("app:x:input.equals=a=b:c")
            .set("app:x:input.empty=")
            .set("app:x:lifecycle.depends_on=[gateway]")
            .set("app:gateway:addr=[::1]:80");
    let manifest = folder.load();
    assert_eq!(
        manifest.process_services[0].input,
        Value::Map(vec![
            ("number".into(), Value::Number(5.0)),
            ("text".into(), Value::String("5".into())),
            ("equals".into(), Value::String("a=b:c".into())),
            ("empty".into(), Value::Null),
        ])
    );
    assert_eq!(manifest.process_services[0].lifecycle.depends_on[0].as_str(), "app:gateway");
    assert_eq!(manifest.services[0].addr.host, BindHost::Ip("::1".parse().expect("an address")));
}

#[test]
fn what_does_not_exist_is_found_at_the_flag_with_the_nearest_name() {
    for (set, expected) in [
        ("app:gatewya:addr=:1", "no entry \"app:gatewya\" (did you mean \"app:gateway\"?)"),
        ("app:gateway:adr=:1", "app:gateway: unknown field \"adr\" (did you mean \"addr\"?)"),
        (
            "app:gateway:lifecycle.restrat.max_delay=1s",
            "app:gateway: unknown field \"lifecycle.restrat\" (did you mean \"restart\"?)",
        ),
        (
            "app:router:post_options.wsrelay.send.bufer=1",
            "app:router: unknown option \"post_options.wsrelay.send.bufer\" (did you mean \"wsrelay.send.buffer\"?)",
        ),
        ("app:gateway:addr.port=1", "app:gateway: \"port\" cannot be set: what it should be in is \":8080\""),
        ("app:gateway:name=x", "app:gateway: name cannot be set: it says which entry this is"),
        ("app:gateway:max_body=1MB", "app:gateway: max_body: \"1MB\" has the unknown unit \"MB\": write \"1MiB\""),
    ] {
        let mistakes = Folder::with_base().set(set).mistakes();
        let mistakes: Vec<_> = mistakes.iter().filter(|line| !line.contains("warning")).collect();
        assert_eq!(mistakes, [&format!("--set {set}: {expected}")]);
    }
}

#[test]
fn a_flag_of_another_form_is_refused_with_an_example() {
    for text in ["", "app", "app:x", "app:x:f", "app:x=1", ":x:f=1", "app::f=1", "app:x:=1", "app:x:a..b=1"] {
        let error = Override::parse(text).expect_err(text).to_string();
        assert!(error.ends_with("expected ns:entry:field=value such as app:gateway:addr=:8080"), "{error}");
    }
}
