"""HTTP/2: a well-behaved client on the `h2` package, and a WebSocket on one of its streams."""

import json
import socket
import subprocess
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.settings

from . import tls
from .lease import script
from .wire import RawSocket, Response

NODE = Path(__file__).resolve().parents[1] / "http2_client.mjs"
GOAWAY = 7
CONNECT_PROTOCOL = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL


def trusting():
    """A client of TLS that speaks HTTP/2."""
    context = tls.authority().context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def node_talks(lease, driver, url, path):
    """Node's own client opens a WebSocket whose target is `driver`, hears a text, answers it and is closed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(["node", str(NODE), url, path], text=True, **pipes)
    lease.opened.callback(process.kill)
    client = driver.joined()
    assert driver.message("ws.message")["data"]["data"] == "from node"
    driver.ws_send(client, "to node")
    assert driver.message("ws.message")["data"]["data"] == "got: to node"
    driver.send(client, "ws.close", {"code": 1000})
    out, errors = process.communicate(timeout=20)
    assert process.returncode == 0, (out, errors)
    assert json.loads(out) == {"connect": True, "status": 200, "texts": ["to node"], "close": 1000}
    assert driver.message("ws.leave")["data"]["cause"] == "server"


class Reset(Exception):
    """The server has reset the stream, or gone away; `code` says why."""

    def __init__(self, code):
        super().__init__(f"reset with {code}")
        self.code = code


class Stream:
    """What came on one stream."""

    def __init__(self):
        self.status = None
        self.raw_headers = []
        self.informational = []
        self.body = b""
        self.waiting = 0
        self.ended = False
        self.reset = None


class Http2:
    """One connection. `acknowledges`: windows are opened again as data comes, else only by `acknowledge`."""

    def __init__(self, address, timeout=10.0, settings=None, acknowledges=True, context=None, receive_buffer=None):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.scheme = "http"
        context = context or (trusting() if tls.EVERYWHERE else None)
        if context:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
            assert self.sock.selected_alpn_protocol() == "h2"
            self.scheme = "https"
        self.address = address
        self.authority = "%s:%d" % address
        self.acknowledges = acknowledges
        self.streams = {}
        self.pongs = []
        self.gone = None
        self.over = False
        self.unread = b""
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        if settings:
            self.h2.local_settings = h2.settings.Settings(
                client=True, initial_values={**dict(self.h2.local_settings), **settings}
            )
        self.h2.initiate_connection()
        self.flush()
        self.settled = False
        while not self.settled:
            self.pump()

    # Both ways

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def pump(self):
        """Takes what the server sends next. EOFError when it has closed."""
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.over = True
            for stream in self.streams.values():
                stream.reset = "the connection has ended" if stream.reset is None else stream.reset
            raise EOFError("the server closed the connection")
        self.unread += data
        while len(self.unread) >= 9:
            size = 9 + int.from_bytes(self.unread[:3], "big")
            if len(self.unread) < size:
                break
            frame, self.unread = self.unread[:size], self.unread[size:]
            if frame[3] == GOAWAY:
                # The package would take no frame after it, but streams that were begun go on.
                self.gone = int.from_bytes(frame[13:17], "big")
                continue
            for event in self.h2.receive_data(frame):
                self.seen(event)
        self.flush()

    def seen(self, event):
        stream = self.streams.setdefault(getattr(event, "stream_id", None), Stream())
        match event:
            case h2.events.RemoteSettingsChanged():
                self.settled = True
            case h2.events.InformationalResponseReceived():
                stream.informational.append(dict(event.headers)[":status"])
            case h2.events.ResponseReceived():
                stream.raw_headers = [(name, value) for name, value in event.headers if name != ":status"]
                stream.status = int(dict(event.headers)[":status"])
            case h2.events.DataReceived():
                stream.body += event.data
                stream.waiting += event.flow_controlled_length
                if self.acknowledges:
                    self.acknowledge(event.stream_id)
            case h2.events.StreamEnded():
                stream.ended = True
            case h2.events.StreamReset():
                stream.reset = event.error_code
            case h2.events.PingAckReceived():
                self.pongs.append(event.ping_data)

    def acknowledge(self, number):
        stream = self.streams[number]
        if stream.waiting and not stream.ended and stream.reset is None:
            self.h2.acknowledge_received_data(stream.waiting, number)
            stream.waiting = 0
            self.flush()

    # Requests

    def start(self, method, path, headers=(), ends=True, scheme=None, authority=None, **pseudo):
        """Sends the headers of a request: its stream's number."""
        number = self.h2.get_next_available_stream_id()
        self.streams[number] = Stream()
        block = [
            (":method", method),
            (":scheme", scheme or self.scheme),
            (":path", path),
            (":authority", authority or self.authority),
        ]
        block += [(f":{name}", value) for name, value in pseudo.items()]
        block += [(name.lower(), value) for name, value in (headers.items() if isinstance(headers, dict) else headers)]
        self.h2.send_headers(number, block, end_stream=ends)
        self.flush()
        return number

    def send(self, number, data, ends=False):
        """Sends data as the server's windows allow."""
        view = memoryview(data)
        while len(view):
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size, len(view))
            if room == 0:
                if self.streams[number].reset is not None:
                    raise Reset(self.streams[number].reset)
                self.pump()
                continue
            self.h2.send_data(number, bytes(view[:room]))
            self.flush()
            view = view[room:]
        if ends:
            self.h2.end_stream(number)
            self.flush()

    def window(self, number):
        return self.h2.local_flow_control_window(number)

    def head(self, number):
        """The answer's status, once it is there."""
        stream = self.streams[number]
        while stream.status is None:
            if stream.reset is not None:
                raise Reset(stream.reset)
            self.pump()
        return stream.status

    def response(self, number):
        """The whole answer."""
        stream = self.streams[number]
        while not stream.ended:
            if stream.reset is not None:
                raise Reset(stream.reset)
            self.pump()
        headers = {}
        for name, value in stream.raw_headers:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return Response(stream.status, headers, stream.body, stream.raw_headers)

    def request(self, method, path, headers=(), body=b"", **pseudo):
        number = self.start(method, path, headers, ends=not body, **pseudo)
        if body:
            self.send(number, body, ends=True)
        return self.response(number)

    def ask(self, router, *steps, **options):
        return self.request("GET", script(router, steps), **options)

    def reset_stream(self, number, code=8):
        self.h2.reset_stream(number, code)
        self.flush()

    def ping(self, data=b"01234567"):
        """A round trip: what was sent before has been read by the server's protocol."""
        count = len(self.pongs)
        self.h2.ping(data)
        self.flush()
        while len(self.pongs) == count:
            self.pump()
        return self.pongs[-1]

    def goaway(self):
        """The code of the server's GOAWAY, which is waited for."""
        while self.gone is None:
            self.pump()
        return self.gone

    def until_over(self):
        """Waits until the server has closed the connection: the code of its GOAWAY."""
        while not self.over:
            try:
                self.pump()
            except EOFError:
                pass
        return self.gone

    def close(self):
        self.sock.close()

    # WebSockets

    def websocket(self, path, headers=None, expect=200, **pseudo):
        """An extended CONNECT, answered with `expect`: a WebSocket on a stream."""
        headers = {"sec-websocket-version": "13", **(headers or {})}
        headers = {name: value for name, value in headers.items() if value is not None}
        pseudo = {"protocol": "websocket", **pseudo}
        number = self.start("CONNECT", path, headers, ends=False, **pseudo)
        if expect == 200:
            assert self.head(number) == 200, self.response(number).body
            return Http2Socket(self, number)
        answer = self.response(number)
        assert answer.status == expect, (answer.status, answer.body)
        return answer


class Http2Socket(RawSocket):
    """A raw WebSocket client whose bytes go over a stream."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.stream = connection.streams[number]
        self.address = connection.address
        self.rest = b""
        headers = {}
        for name, value in self.stream.raw_headers:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self.opened = Response(self.stream.status, headers, b"", self.stream.raw_headers)

    def send(self, data):
        self.connection.send(self.number, data if isinstance(data, bytes) else data.encode())

    def end(self):
        """END_STREAM, which is a FIN."""
        self.connection.h2.end_stream(self.number)
        self.connection.flush()

    def _more(self):
        while not self.stream.body:
            if self.stream.ended:
                raise EOFError("the server ended the stream")
            if self.stream.reset is not None:
                raise Reset(self.stream.reset)
            self.connection.pump()
        self.rest += self.stream.body
        self.stream.body = b""

    def reset(self, code=8):
        self.connection.reset_stream(self.number, code)

    def close(self):
        pass
