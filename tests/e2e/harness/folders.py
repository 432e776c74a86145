"""A small application as text, for tests that change a line of it."""

HANDLER = """\
local http = require("http")

local function handler()
    http.response():write("hello")
end

return handler
"""

GOOD = """\
version: "1.0"
namespace: app
entries:
  - name: gateway
    kind: http.service
    addr: 127.0.0.1:0

  - name: ws
    kind: http.router
    meta: { server: gateway }
    prefix: /ws
    post_middleware: [websocket_relay]
    post_options:
      wsrelay.max.message: 64KiB

  - name: hello
    kind: http.endpoint
    meta: { router: ws }
    method: GET
    path: /hello
    func: handler

  - name: handler
    kind: function.lua
    source: file://handler.luau
    method: handler
    modules: [http]
"""
