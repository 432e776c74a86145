"""HTTP/2 frame by frame, for what a well-behaved client never sends."""

from dataclasses import dataclass

from .wire import Wire

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20
CODES = {
    "NO_ERROR": 0,
    "PROTOCOL_ERROR": 1,
    "INTERNAL_ERROR": 2,
    "FLOW_CONTROL_ERROR": 3,
    "SETTINGS_TIMEOUT": 4,
    "STREAM_CLOSED": 5,
    "FRAME_SIZE_ERROR": 6,
    "REFUSED_STREAM": 7,
    "CANCEL": 8,
    "COMPRESSION_ERROR": 9,
    "CONNECT_ERROR": 10,
    "ENHANCE_YOUR_CALM": 11,
}


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs))


def integer(value, prefix, first=0):
    """An integer of HPACK (RFC 7541 section 5.1)."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def field(name, value):
    """A literal that is not indexed, with names and values as they are."""
    name = name if isinstance(name, bytes) else name.encode()
    value = value if isinstance(value, bytes) else value.encode()
    return b"\0" + integer(len(name), 7) + name + integer(len(value), 7) + value


def block(fields):
    return b"".join(field(name, value) for name, value in fields)


def request(method="GET", path="/api/describe", *more, without=(), authority="a.example"):
    """The fields of a request."""
    fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", authority)]
    return [pair for pair in fields if pair[0] not in without] + list(more)


def headers(stream, fields=None, ends=True, complete=True, **options):
    flags = (END_STREAM if ends else 0) | (END_HEADERS if complete else 0)
    return frame(HEADERS, flags, stream, block(request(**options) if fields is None else fields))


@dataclass
class Got:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self):
        """Of a GOAWAY or RST_STREAM."""
        return int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload[:4], "big")


class Frames(Wire):
    """A connection that has shaken hands, unless it is told not to."""

    def __init__(self, address, greet=True, first=None, **options):
        super().__init__(address, **options)
        if greet:
            self.send(PREFACE + (settings() if first is None else first))

    def next(self):
        header = self.exactly(9)
        size = int.from_bytes(header[:3], "big")
        return Got(header[3], header[4], int.from_bytes(header[5:], "big") & 0x7FFFFFFF, self.exactly(size))

    def wait(self, wanted):
        """The next frame that `wanted` accepts; EOFError if the server closes before."""
        while True:
            try:
                got = self.next()
            except ConnectionResetError as broken:
                raise EOFError("reset") from broken
            if wanted(got):
                return got

    def settled(self):
        """Waits until the server has read everything so far."""
        self.send(frame(PING, 0, 0, b"settled!"))
        self.wait(lambda got: got.kind == PING and got.flags & ACK and got.payload == b"settled!")
        return self

    def outcome(self, stream=1):
        """What became of a stream: `answer`, ("reset", code) or ("goaway", code), or `closed`."""
        last = None
        try:
            while True:
                got = self.wait(lambda got: got.kind in (HEADERS, RST_STREAM, GOAWAY))
                if got.kind == GOAWAY:
                    last = ("goaway", got.code)
                    if got.code != 0:
                        return last
                elif got.stream == stream and got.kind == RST_STREAM:
                    return ("reset", got.code)
                elif got.stream == stream:
                    return "answer"
        except (EOFError, BrokenPipeError):
            return last or "closed"
