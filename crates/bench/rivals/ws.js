// The ws package on Node, written as its README writes it: `ws.js echo` or `ws.js publish`.
// Run by the bench crate, which reads the address from stdout.
const { WebSocketServer, WebSocket } = require("ws");

const publish = process.argv[2] === "publish";
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  perMessageDeflate: false,
  clientTracking: publish,
});

server.on("connection", (ws) => {
  ws.on("error", console.error);
  ws.on("message", (data, binary) => {
    if (!publish) return ws.send(data, { binary });
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary });
    }
  });
});

server.on("listening", () => {
  console.log(`ws listening on http://127.0.0.1:${server.address().port}`);
  console.log("ready");
});
