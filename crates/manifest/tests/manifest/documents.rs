//! The router of the two documents, as printed, loads once the folder has what it refers to.

use manifest::{Origin, OriginPattern, PostMiddleware};

use crate::folder::Folder;

/// Word for word from the documents' section on configuration.
const SNIPPET: &str = r#"- name: ws_router
  kind: http.router
  meta:
    server: gateway
  prefix: /ws
  post_middleware:
    - websocket_relay
  post_options:
    wsrelay.allowed.origins: "https://app.example.com"
"#;

#[test]
fn the_documents_router_loads_as_printed() {
    let manifest = Folder::with_entries(SNIPPET).load();
    let router = manifest.routers.iter().find(|router| router.id.as_str() == "app:ws_router");
    let router = router.expect("the documents' router");
    assert_eq!(router.server.as_str(), "app:gateway");
    assert_eq!(router.prefix.to_string(), "/ws");
    assert_eq!(router.post_middleware, [PostMiddleware::WebsocketRelay]);
    let origin = Origin::parse("https://app.example.com").expect("an origin");
    let options = router.relay.as_ref().expect("options of the relay");
    assert_eq!(options.allowed_origins, [OriginPattern::Exact(origin)]);
    assert!(manifest.warnings.is_empty());
}

#[test]
fn the_documents_handler_has_its_two_namespaces() {
    // The documents spawn "app.ws:handler" on "app:processes".
    let folder = Folder::with_entries(SNIPPET)
        .file(
            "ws/_index.yaml",
            "version: \"1.0\"\nnamespace: app.ws\nentries:\n  - name: handler\n    kind: process.lua\n    \
             source: file://handler.lua\n    method: handler\n    modules: [json]\n",
        )
        .file("ws/handler.lua", "local function handler() end");
    let manifest = folder.load();
    let handler = manifest.codes().find(|code| code.id.as_str() == "app.ws:handler");
    let handler = handler.expect("the documents' handler");
    assert_eq!(handler.chunk_name, "ws/handler.lua");
    assert_eq!(handler.method.as_deref(), Some("handler"));
    assert_eq!(handler.modules, ["json"]);
    assert_eq!(&*handler.text, "local function handler() end");
    assert!(handler.source.is_absolute() && handler.source.ends_with("ws/handler.lua"));
    assert!(manifest.hosts.iter().any(|host| host.id.as_str() == "app:processes"));
}
