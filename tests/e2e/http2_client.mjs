// A WebSocket over HTTP/2 with Node's own client: node http2_client.mjs ORIGIN PATH
// Says "from node", answers every text with "got: …", closes when it is asked to, and prints what it saw.
import http2 from "node:http2";

const [origin, path] = process.argv.slice(2);
const seen = { connect: false, status: 0, texts: [], close: 0 };
const session = http2.connect(origin, { rejectUnauthorized: false });
session.on("error", (error) => {
  console.error(error);
  process.exit(1);
});

function frame(opcode, data) {
  // A mask of zeros is a legal mask.
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | data.length, 0, 0, 0, 0]), data]);
}

session.on("remoteSettings", (settings) => {
  seen.connect = settings.enableConnectProtocol;
  const stream = session.request(
    { ":method": "CONNECT", ":protocol": "websocket", ":path": path, "sec-websocket-version": "13" },
    { endStream: false },
  );
  let rest = Buffer.alloc(0);
  stream.on("response", (headers) => {
    seen.status = headers[":status"];
    stream.write(frame(1, Buffer.from("from node")));
  });
  stream.on("data", (data) => {
    rest = Buffer.concat([rest, data]);
    while (rest.length >= 2 && rest.length >= 2 + rest[1]) {
      const opcode = rest[0] & 15;
      const payload = rest.subarray(2, 2 + rest[1]);
      rest = rest.subarray(2 + rest[1]);
      if (opcode === 1) {
        seen.texts.push(payload.toString());
        stream.write(frame(1, Buffer.from(`got: ${payload}`)));
      } else if (opcode === 8) {
        seen.close = payload.readUInt16BE(0);
        stream.end(frame(8, payload));
      }
    }
  });
  stream.on("close", () => {
    console.log(JSON.stringify(seen));
    session.close();
  });
});
