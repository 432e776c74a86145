//! Every example in `http.d.luau` answers a request, as it stands there.

use std::fmt::Write as _;
use testkit::Start;

const DECLARATIONS: &str = include_str!("../../gateway/src/modules/http.d.luau");

/// What stands in every application of these tests, before the examples' own entries.
const HEAD: &str = r#"version: "1.0"
namespace: app
entries:
  - { name: gateway, kind: http.service, addr: "127.0.0.1:0" }
  - { name: processes, kind: process.host }
  - { name: echo, kind: process.lua, source: file://echo.luau, method: main }
  - { name: router, kind: http.router, meta: { server: gateway }, prefix: /examples, post_middleware: [websocket_relay] }
"#;

/// The fenced examples of a declaration file.
fn examples(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        let Some(comment) = line.trim_start().strip_prefix("---") else { continue };
        let comment = comment.strip_prefix(' ').unwrap_or(comment);
        match (&mut open, comment.trim_end()) {
            (None, "```lua") => open = Some(String::new()),
            (Some(_), "```") => found.extend(open.take()),
            (Some(text), _) => {
                text.push_str(comment);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

#[tokio::test]
async fn every_example_of_the_http_module_answers() {
    let examples = examples(DECLARATIONS);
    assert!(examples.len() >= 8, "only {} examples were found", examples.len());
    let folder = tempfile::tempdir().expect("a folder");
    let mut entries = HEAD.to_owned();
    for (number, example) in examples.iter().enumerate() {
        let source = format!("local function handler()\n{example}\nend\n");
        std::fs::write(folder.path().join(format!("e{number}.luau")), source).expect("written");
        let _infallible = write!(
            entries,
            "  - {{ name: e{number}, kind: function.lua, source: file://e{number}.luau, method: handler, modules: [http, json] }}\n  \
             - {{ name: at{number}, kind: http.endpoint, meta: {{ router: router }}, method: GET, path: \"/{number}/{{room}}\", func: e{number} }}\n"
        );
    }
    std::fs::write(folder.path().join("echo.luau"), "local function main() process.inbox():receive() end\n")
        .expect("written");
    std::fs::write(folder.path().join("_index.yaml"), entries).expect("written");
    let server = Start::new(env!("CARGO_BIN_EXE_moonwire"), folder.path()).run().await;
    for (number, example) in examples.iter().enumerate() {
        let answer = server.get(&format!("/examples/{number}/tea?name=Ann")).await;
        // 426: the example asks for a relay, and this request is no handshake.
        assert!(answer.status < 500, "{}: {}\n{example}", answer.status, answer.body);
    }
    server.stop().await;
}
