"""HTTP and WebSocket byte by byte, for what a well-behaved client never sends."""

import base64
import http.client
import json
import os
import socket
import struct
from dataclasses import dataclass, field

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


@dataclass
class Response:
    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    raw_headers: list = field(default_factory=list)

    def header(self, name):
        return self.headers.get(name.lower())

    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()


class Wire:
    """A TCP connection that reads what the test asks for and nothing else."""

    def __init__(self, address, timeout=10.0, receive_buffer=None, source=None, tls=None):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.sock.bind((source, 0))
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = address
        self.rest = b""
        if tls:
            # `tls` is a client's context. The end of the socket without a farewell is an end like any other here.
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost", suppress_ragged_eofs=True)

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def _more(self):
        chunk = self.sock.recv(65536)
        if not chunk:
            raise EOFError("the server closed the connection")
        self.rest += chunk

    def exactly(self, count):
        while len(self.rest) < count:
            self._more()
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def line(self):
        while b"\r\n" not in self.rest:
            self._more()
        taken, self.rest = self.rest.split(b"\r\n", 1)
        return taken

    def head(self):
        status = int(self.line().split(b" ", 2)[1])
        headers, raw = {}, []
        while True:
            line = self.line().decode("latin-1")
            if not line:
                return Response(status, headers, b"", raw)
            name, value = line.split(":", 1)
            name, value = name.lower(), value.strip()
            raw.append((name, value))
            headers[name] = f"{headers[name]}, {value}" if name in headers else value

    def response(self, method="GET"):
        answer = self.head()
        if method == "HEAD" or answer.status < 200 or answer.status in (204, 304):
            return answer
        if "chunked" in (answer.header("transfer-encoding") or ""):
            while True:
                size = int(self.line().split(b";")[0], 16)
                answer.body += self.exactly(size)
                self.line()
                if size == 0:
                    return answer
        length = answer.header("content-length")
        if length is not None:
            answer.body = self.exactly(int(length))
            return answer
        answer.body = self.until_end()
        return answer

    def request(self, method, path, headers=(), body=b"", host=None):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or '%s:%d' % self.address}"]
        lines += [f"{name}: {value}" for name, value in dict(headers).items()]
        if body and "content-length" not in {name.lower() for name in dict(headers)}:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self.response(method)

    def until_end(self):
        """Everything up to the server's FIN."""
        while True:
            try:
                self._more()
            except EOFError:
                taken, self.rest = self.rest, b""
                return taken

    def ended(self):
        """Whether the server has closed without sending anything more."""
        try:
            return self.until_end() == b""
        except ConnectionResetError:
            return True

    def reset(self):
        """Ends the connection as a crash does: RST, no FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


def handshake_headers(**changed):
    """A correct handshake's headers; None as a value leaves one out."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    for name, value in changed.items():
        headers[name.replace("_", "-")] = value
    return {name: value for name, value in headers.items() if value is not None}


def handshake(path, host="a", extra=(), **changed):
    """A handshake as bytes; `extra` are more header lines, as they stand."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in handshake_headers(**changed).items()]
    head = "\r\n".join(lines).encode("latin-1")
    return b"\r\n".join([head, *(line if isinstance(line, bytes) else line.encode() for line in extra), b"", b""])


@dataclass
class Frame:
    opcode: int
    data: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def code(self):
        return struct.unpack("!H", self.data[:2])[0] if len(self.data) >= 2 else None

    @property
    def reason(self):
        return self.data[2:].decode()

    @property
    def text(self):
        return self.data.decode()


class RawSocket(Wire):
    """A WebSocket client that sends any frame, right or wrong."""

    def open(self, path, headers=None, host=None):
        answer = self.request("GET", path, headers or handshake_headers(), host=host)
        self.opened = answer
        return answer

    def frame(self, opcode, data=b"", fin=True, masked=True, rsv=0):
        data = data if isinstance(data, bytes) else data.encode()
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        bit = 0x80 if masked else 0
        if len(data) < 126:
            head += bytes([bit | len(data)])
        elif len(data) < 65536:
            head += bytes([bit | 126]) + struct.pack("!H", len(data))
        else:
            head += bytes([bit | 127]) + struct.pack("!Q", len(data))
        if not masked:
            return head + data
        # A mask of zeros is a legal mask, and keeps large frames cheap to build.
        return head + b"\0\0\0\0" + data

    def send_frame(self, opcode, data=b"", **kinds):
        self.send(self.frame(opcode, data, **kinds))

    def send_text(self, text):
        self.send_frame(TEXT, text)

    def send_close(self, code=None, reason=""):
        body = b"" if code is None else struct.pack("!H", code) + reason.encode()
        self.send_frame(CLOSE, body)

    def receive(self):
        first, second = self.exactly(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", self.exactly(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self.exactly(8))[0]
        assert not second & 0x80, "a server never masks"
        return Frame(first & 0x0F, self.exactly(size), bool(first & 0x80), first >> 4 & 7)

    def receive_message(self):
        """The next frame that is no Ping; Pings are answered."""
        while True:
            frame = self.receive()
            if frame.opcode != PING:
                return frame
            self.send_frame(PONG, frame.data)

    def receive_close(self):
        """Everything up to the close frame: (what came before, the close frame)."""
        before = []
        while True:
            frame = self.receive_message()
            if frame.opcode == CLOSE:
                return before, frame
            before.append(frame)


def fetch(address, method, path, headers=None, body=None, timeout=10.0, tls=None):
    """One request on a connection of its own."""
    if tls:
        connection = http.client.HTTPSConnection(*address, timeout=timeout, context=tls)
    else:
        connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers={"Connection": "close", **(headers or {})})
        answer = connection.getresponse()
        raw = [(name.lower(), value) for name, value in answer.getheaders()]
        return Response(answer.status, dict(raw), answer.read(), raw)
    finally:
        connection.close()
