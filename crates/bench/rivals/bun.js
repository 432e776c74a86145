// Bun's server, written as its documentation writes it: `bun.js echo` or, with Bun's native
// publish, `bun.js publish`. Run by the bench crate, which reads the address from stdout.
const publish = process.argv[2] === "publish";

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    if (server.upgrade(request)) return;
    return new Response("a WebSocket handshake was expected", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    open(ws) {
      if (publish) ws.subscribe("everyone");
    },
    message(ws, message) {
      if (publish) server.publish("everyone", message);
      else ws.send(message);
    },
  },
});

console.log(`bun listening on http://127.0.0.1:${server.port}`);
console.log("ready");
