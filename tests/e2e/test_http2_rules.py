"""The rules of RFC 9113 and RFC 7541, one wrong (or just odd) client for each: what h2spec would send.

A case is bytes after the handshake and what must become of them: `answer` (the odd is taken), `reset` with a code (a
stream error) or `goaway` with a code (a connection error). A server may treat a stream error as one of the connection,
so either is accepted (section 5.4.2). The code has to be the one that the RFC names; where there are two, two of its rules
forbid the same bytes, and each names its own. UNSPECIFIC has what the library does not keep to.
"""

import pytest

from harness import tls
from harness.frames import (
    ACK,
    CODES,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frames,
    block,
    field,
    frame,
    headers,
    integer,
    request,
    settings,
)

pytestmark = pytest.mark.skipif(tls.EVERYWHERE, reason="prior knowledge is for cleartext")
POST = {"method": "POST"}
OPEN = headers(1, ends=False, **POST)
DONE = headers(1)
SOME = block(request())


def u32(value):
    return value.to_bytes(4, "big")


def window(stream, value):
    return frame(WINDOW_UPDATE, 0, stream, u32(value))


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, u32(code))


def with_field(name, value, **options):
    return headers(1, request("GET", "/api/describe", (name, value), **options))


# Only the connection may be ended by these.
CONNECTION = {
    # 4: frames
    "4.2 HEADERS larger than SETTINGS_MAX_FRAME_SIZE": (frame(HEADERS, 5, 1, bytes(16385)), "FRAME_SIZE_ERROR"),
    "4.2 SETTINGS larger than SETTINGS_MAX_FRAME_SIZE": (frame(SETTINGS, 0, 0, bytes(16386)), "FRAME_SIZE_ERROR"),
    "4.3 a header block that is no HPACK": (frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff"), "COMPRESSION_ERROR"),
    "4.3 PRIORITY within a header block": (
        headers(1, complete=False) + frame(PRIORITY, 0, 1, bytes(5)) + frame(CONTINUATION, END_HEADERS, 1),
        "PROTOCOL_ERROR",
    ),
    "4.3 HEADERS of another stream within a header block": (headers(1, complete=False) + headers(3), "PROTOCOL_ERROR"),
    "4.3 PING within a header block": (headers(1, complete=False) + frame(PING, 0, 0, bytes(8)), "PROTOCOL_ERROR"),
    "4.3 CONTINUATION of another stream": (
        headers(1, complete=False) + frame(CONTINUATION, END_HEADERS, 3),
        "PROTOCOL_ERROR",
    ),
    "5.5 an unknown frame within a header block": (headers(1, complete=False) + frame(0x16, 0, 0), "PROTOCOL_ERROR"),
    # 5: streams
    "5.1 DATA on an idle stream": (frame(DATA, END_STREAM, 1, b"test"), "PROTOCOL_ERROR"),
    "5.1 RST_STREAM on an idle stream": (reset(1), "PROTOCOL_ERROR"),
    "5.1 WINDOW_UPDATE on an idle stream": (window(1, 100), "PROTOCOL_ERROR"),
    "5.1 CONTINUATION on an idle stream": (frame(CONTINUATION, END_HEADERS, 1, SOME), "PROTOCOL_ERROR"),
    # Sections 5.1 and 6.10.
    "5.1 CONTINUATION on a half-closed stream": (
        DONE + frame(CONTINUATION, END_HEADERS, 1, SOME),
        ("PROTOCOL_ERROR", "STREAM_CLOSED"),
    ),
    "5.1 CONTINUATION on a closed stream": (
        OPEN + reset(1) + frame(CONTINUATION, END_HEADERS, 1, SOME),
        ("PROTOCOL_ERROR", "STREAM_CLOSED"),
    ),
    "5.1.1 an even stream": (headers(2), "PROTOCOL_ERROR"),
    # Section 5.1.1, and 5.1: the number belongs to a stream that is closed. 5.1 again where the client has reset it.
    "5.1.1 a stream with a smaller number than one before": (
        headers(5) + headers(3),
        ("PROTOCOL_ERROR", "STREAM_CLOSED"),
    ),
    # 6: kinds of frames
    "6.1 DATA on stream 0": (frame(DATA, END_STREAM, 0, b"test"), "PROTOCOL_ERROR"),
    "6.1 DATA with more padding than payload": (OPEN + frame(DATA, 9, 1, b"\x06test"), "PROTOCOL_ERROR"),
    # Sections 4.2 and 6.1.
    "6.1 DATA that is padded and empty": (OPEN + frame(DATA, 9, 1), ("FRAME_SIZE_ERROR", "PROTOCOL_ERROR")),
    "6.2 HEADERS on stream 0": (headers(0), "PROTOCOL_ERROR"),
    "6.2 HEADERS with more padding than payload": (
        frame(HEADERS, 5 | PADDED, 1, bytes([len(SOME) + 1]) + SOME),
        "PROTOCOL_ERROR",
    ),
    "6.2 HEADERS too short for its priority": (
        frame(HEADERS, 5 | PRIORITIZED, 1, bytes(3)),
        "FRAME_SIZE_ERROR",
    ),
    "6.3 PRIORITY on stream 0": (frame(PRIORITY, 0, 0, bytes(5)), "PROTOCOL_ERROR"),
    "6.4 RST_STREAM on stream 0": (reset(0), "PROTOCOL_ERROR"),
    "6.4 RST_STREAM of 3 bytes": (OPEN + frame(RST_STREAM, 0, 1, bytes(3)), "FRAME_SIZE_ERROR"),
    "6.4 RST_STREAM of 5 bytes": (OPEN + frame(RST_STREAM, 0, 1, bytes(5)), "FRAME_SIZE_ERROR"),
    "6.5 SETTINGS acknowledged with a payload": (frame(SETTINGS, ACK, 0, bytes(6)), "FRAME_SIZE_ERROR"),
    "6.5 SETTINGS on a stream": (frame(SETTINGS, 0, 1), "PROTOCOL_ERROR"),
    "6.5 SETTINGS of 3 bytes": (frame(SETTINGS, 0, 0, bytes(3)), "FRAME_SIZE_ERROR"),
    "6.5.2 ENABLE_PUSH 2": (settings((2, 2)), "PROTOCOL_ERROR"),
    "6.5.2 INITIAL_WINDOW_SIZE 2^31": (settings((4, 1 << 31)), "FLOW_CONTROL_ERROR"),
    "6.5.2 MAX_FRAME_SIZE 16383": (settings((5, 16383)), "PROTOCOL_ERROR"),
    "6.5.2 MAX_FRAME_SIZE 2^24": (settings((5, 1 << 24)), "PROTOCOL_ERROR"),
    "8441/3 ENABLE_CONNECT_PROTOCOL 2": (settings((8, 2)), "PROTOCOL_ERROR"),
    "6.6 PUSH_PROMISE of a client": (
        OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + SOME),
        "PROTOCOL_ERROR",
    ),
    "6.7 PING on a stream": (frame(PING, 0, 1, bytes(8)), "PROTOCOL_ERROR"),
    "6.7 PING of 6 bytes": (frame(PING, 0, 0, bytes(6)), "FRAME_SIZE_ERROR"),
    "6.7 PING of 9 bytes": (frame(PING, 0, 0, bytes(9)), "FRAME_SIZE_ERROR"),
    "6.8 GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), "PROTOCOL_ERROR"),
    "6.8 GOAWAY of 4 bytes": (frame(GOAWAY, 0, 0, bytes(4)), "FRAME_SIZE_ERROR"),
    "6.9 WINDOW_UPDATE of 0 on the connection": (window(0, 0), "PROTOCOL_ERROR"),
    "6.9 WINDOW_UPDATE of 3 bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), "FRAME_SIZE_ERROR"),
    "6.9 WINDOW_UPDATE of 5 bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(5)), "FRAME_SIZE_ERROR"),
    "6.9.1 a window of the connection above 2^31-1": (window(0, (1 << 31) - 1) * 2, "FLOW_CONTROL_ERROR"),
    "6.10 CONTINUATION on stream 0": (
        headers(1, complete=False) + frame(CONTINUATION, END_HEADERS, 0),
        "PROTOCOL_ERROR",
    ),
    "6.10 CONTINUATION after HEADERS with END_HEADERS": (
        OPEN + frame(CONTINUATION, END_HEADERS, 1, SOME),
        "PROTOCOL_ERROR",
    ),
    "6.10 CONTINUATION after CONTINUATION with END_HEADERS": (
        headers(1, complete=False) + frame(CONTINUATION, END_HEADERS, 1) + frame(CONTINUATION, END_HEADERS, 1),
        "PROTOCOL_ERROR",
    ),
    "6.10 CONTINUATION after DATA": (
        OPEN + frame(DATA, 0, 1, b"test") + frame(CONTINUATION, END_HEADERS, 1, SOME),
        "PROTOCOL_ERROR",
    ),
    # HPACK
    "7541/2.3.3 an index that is not there": (frame(HEADERS, 5, 1, SOME + integer(70, 7, 0x80)), "COMPRESSION_ERROR"),
    "7541/4.2 a table size change at the end of a block": (
        frame(HEADERS, 5, 1, SOME + integer(1, 5, 0x20)),
        "COMPRESSION_ERROR",
    ),
    "7541/5.2 padding longer than 7 bits": (
        frame(HEADERS, 5, 1, SOME + b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
        "COMPRESSION_ERROR",
    ),
    "7541/5.2 padding with zeros": (
        frame(HEADERS, 5, 1, SOME + b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
        "COMPRESSION_ERROR",
    ),
    "7541/5.2 the EOS symbol": (
        frame(HEADERS, 5, 1, SOME + b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"),
        "COMPRESSION_ERROR",
    ),
    "7541/6.1 index 0": (frame(HEADERS, 5, 1, SOME + b"\x80"), "COMPRESSION_ERROR"),
    "7541/6.3 a table larger than announced": (
        frame(HEADERS, 5, 1, integer(4097, 5, 0x20) + SOME),
        "COMPRESSION_ERROR",
    ),
    "7541/5.1 an integer without end": (frame(HEADERS, 5, 1, b"\x7f" + b"\xff" * 20 + b"\x01"), "COMPRESSION_ERROR"),
    "7541/5.2 a string longer than its block": (frame(HEADERS, 5, 1, b"\x00\x7f\x00abc"), "COMPRESSION_ERROR"),
}

# A stream, or the connection.
STREAM = {
    "4.2 DATA larger than SETTINGS_MAX_FRAME_SIZE": (OPEN + frame(DATA, 1, 1, bytes(16385)), "FRAME_SIZE_ERROR"),
    "5.1 DATA on a half-closed stream": (DONE + frame(DATA, 1, 1, b"test"), "STREAM_CLOSED"),
    "5.1 HEADERS on a half-closed stream": (DONE + headers(1), "STREAM_CLOSED"),
    "5.1 DATA on a stream that the client has reset": (OPEN + reset(1) + frame(DATA, 1, 1, b"test"), "STREAM_CLOSED"),
    "5.1 HEADERS on a stream that the client has reset": (
        OPEN + reset(1) + headers(1),
        ("STREAM_CLOSED", "PROTOCOL_ERROR"),
    ),
    "6.3 PRIORITY of 4 bytes": (frame(PRIORITY, 0, 1, bytes(4)), "FRAME_SIZE_ERROR"),
    "6.9 WINDOW_UPDATE of 0 on a stream": (OPEN + window(1, 0), "PROTOCOL_ERROR"),
    "6.9.1 a window of a stream above 2^31-1": (OPEN + window(1, (1 << 31) - 1) * 2, "FLOW_CONTROL_ERROR"),
    "6.9.2 a window of a stream above 2^31-1 by SETTINGS": (
        OPEN + window(1, (1 << 31) - 1 - 65535) + settings((4, 65536)),
        "FLOW_CONTROL_ERROR",
    ),
    "8.1 a second HEADERS without END_STREAM": (
        OPEN + frame(DATA, 0, 1, b"test") + headers(1, [("x-sum", "1")], ends=False),
        "PROTOCOL_ERROR",
    ),
    "8.2.1 a name in upper case": (with_field("X-Test", "1"), "PROTOCOL_ERROR"),
    "8.2.1 a name with a space": (with_field("x test", "1"), "PROTOCOL_ERROR"),
    "8.2.1 a name with a colon": (with_field("x:test", "1"), "PROTOCOL_ERROR"),
    "8.2.1 a name with a line break": (with_field("x\r\ntest", "1"), "PROTOCOL_ERROR"),
    "8.2.1 a name beyond ASCII": (with_field(b"x-\xff", "1"), "PROTOCOL_ERROR"),
    "8.2.1 an empty name": (with_field("", "1"), "PROTOCOL_ERROR"),
    "8.2.1 a value with a line break": (with_field("x-test", "a\r\nx-ws-relay: {}"), "PROTOCOL_ERROR"),
    "8.2.1 a value with a zero byte": (with_field("x-test", "a\0b"), "PROTOCOL_ERROR"),
    "8.2.2 connection": (with_field("connection", "keep-alive"), "PROTOCOL_ERROR"),
    "8.2.2 keep-alive": (with_field("keep-alive", "1"), "PROTOCOL_ERROR"),
    "8.2.2 proxy-connection": (with_field("proxy-connection", "close"), "PROTOCOL_ERROR"),
    "8.2.2 transfer-encoding": (with_field("transfer-encoding", "chunked"), "PROTOCOL_ERROR"),
    "8.2.2 upgrade": (with_field("upgrade", "websocket"), "PROTOCOL_ERROR"),
    "8.2.2 te other than trailers": (with_field("te", "trailers, deflate"), "PROTOCOL_ERROR"),
    "8.3 an unknown pseudo-header": (with_field(":test", "1"), "PROTOCOL_ERROR"),
    "8.3 a pseudo-header of answers": (with_field(":status", "200"), "PROTOCOL_ERROR"),
    "8.3 a pseudo-header after a header": (
        headers(1, [(":method", "GET"), (":scheme", "http"), ("x-test", "1"), (":path", "/"), (":authority", "a")]),
        "PROTOCOL_ERROR",
    ),
    "8.3.1 no :method": (headers(1, without=(":method",)), "PROTOCOL_ERROR"),
    "8.3.1 no :scheme": (headers(1, without=(":scheme",)), "PROTOCOL_ERROR"),
    "8.3.1 no :path": (headers(1, without=(":path",)), "PROTOCOL_ERROR"),
    "8.3.1 an empty :path": (headers(1, path=""), "PROTOCOL_ERROR"),
    "8.3.1 an empty :authority": (headers(1, authority=""), "PROTOCOL_ERROR"),
    "8.3.1 an :authority that is none": (headers(1, authority="a b"), "PROTOCOL_ERROR"),
    "8.3.1 :method twice": (headers(1, [(":method", "GET"), *request()]), "PROTOCOL_ERROR"),
    "8.3.1 :scheme twice": (headers(1, [(":scheme", "http"), *request()]), "PROTOCOL_ERROR"),
    "8.3.1 :path twice": (headers(1, [(":path", "/"), *request()]), "PROTOCOL_ERROR"),
    "8.3.1 :authority twice": (headers(1, [(":authority", "a"), *request()]), "PROTOCOL_ERROR"),
    "8.1.1 content-length other than the one DATA": (
        headers(1, request("POST", "/api/describe", ("content-length", "1")), ends=False) + frame(DATA, 1, 1, b"test"),
        "PROTOCOL_ERROR",
    ),
    "8.1.1 content-length other than all DATA": (
        headers(1, request("POST", "/api/describe", ("content-length", "5")), ends=False)
        + frame(DATA, 0, 1, b"test")
        + frame(DATA, 1, 1, b"test"),
        "PROTOCOL_ERROR",
    ),
    "8.1.1 content-length and no DATA": (
        headers(1, request("POST", "/api/describe", ("content-length", "5"))),
        "PROTOCOL_ERROR",
    ),
    "8.1.1 two content-lengths": (
        headers(1, request("POST", "/api/describe", ("content-length", "4"), ("content-length", "5")), ends=False)
        + frame(DATA, 1, 1, b"test"),
        "PROTOCOL_ERROR",
    ),
    "8.5 CONNECT with a :path": (headers(1, request("CONNECT"), without=()), "PROTOCOL_ERROR"),
    "8441/4 extended CONNECT without a :path": (
        headers(1, [(":protocol", "websocket"), *request("CONNECT", without=(":path",))], ends=False),
        "PROTOCOL_ERROR",
    ),
    "8441/4 extended CONNECT without a :scheme": (
        headers(1, [(":protocol", "websocket"), *request("CONNECT", without=(":scheme",))], ends=False),
        "PROTOCOL_ERROR",
    ),
    "8441/4 :protocol of a GET": (headers(1, [(":protocol", "websocket"), *request()]), "PROTOCOL_ERROR"),
}

# Odd, but right.
ANSWERED = {
    "3.4 nothing odd": DONE,
    "4.1 an unknown frame": frame(0x16, 0xFF, 0, b"anything") + DONE,
    "4.1 unknown flags": frame(PING, 0xFE, 0, bytes(8)) + DONE,
    "4.1 the reserved bit": frame(PING, 0, 1 << 31, bytes(8)) + DONE,
    "4.2 DATA of 16384 bytes": OPEN + frame(DATA, 1, 1, bytes(16384)),
    "5.1 RST_STREAM, WINDOW_UPDATE and PRIORITY on a closed stream": headers(1)
    + reset(1)
    + reset(1)
    + window(1, 1)
    + frame(PRIORITY, 0, 1, u32(0) + b"\x10")
    + headers(3),
    "5.1.1 streams that were left out": headers(7) + DONE.replace(u32(1), u32(9), 1),
    "5.3 PRIORITY on an idle stream": frame(PRIORITY, 0, 1, u32(0) + b"\x10") + DONE,
    "5.3 HEADERS with a priority": frame(HEADERS, 5 | PRIORITIZED, 1, u32(0) + b"\x10" + SOME),
    "6.1 DATA with padding": OPEN + frame(DATA, 1 | PADDED, 1, b"\x04test" + bytes(4)),
    "6.2 HEADERS with padding": frame(HEADERS, 5 | PADDED, 1, b"\x04" + SOME + bytes(4)),
    "6.4 RST_STREAM with an unknown code": headers(1) + reset(1, 999) + headers(3),
    "6.5 SETTINGS acknowledged": frame(SETTINGS, ACK) + DONE,
    "6.5.2 an unknown setting": settings((0xFF, 1)) + DONE,
    "6.5.3 the same setting twice": settings((4, 100), (4, 200)) + DONE,
    "6.7 PING acknowledged unasked": frame(PING, ACK, 0, b"unasked!") + DONE,
    "6.9 WINDOW_UPDATE on the connection and a stream": OPEN + window(0, 1) + window(1, 1) + frame(DATA, 1, 1),
    "6.10 a header block in many CONTINUATIONs": frame(HEADERS, END_STREAM, 1)
    + b"".join(frame(CONTINUATION, 0, 1, SOME[index : index + 20]) for index in range(0, len(SOME), 20))
    + frame(CONTINUATION, END_HEADERS, 1),
    # The library drops the pseudo-header, and this server the rest of the trailers.
    "8.1 trailers with a pseudo-header": OPEN + headers(1, [(":method", "PUT"), ("x-sum", "1")]),
    "8.2.2 te: trailers": with_field("te", "trailers"),
    "8.3.1 no :authority, but Host": headers(1, request("GET", "/api/describe", ("host", "a"), without=(":authority",))),
    "7541/6.3 a smaller table": frame(HEADERS, 5, 1, integer(0, 5, 0x20) + SOME),
    "7541/6.2 fields for the table": frame(HEADERS, 5, 1, SOME + b"\x40" + field("x-a", "b")[1:] + b"\xbe"),
}
LAST = {"5.1 RST": 3, "5.1.1 s": 9, "6.4 RST_STREAM with": 3}

# Said by the server itself.
TOLD = {
    "8.3.1 neither :authority nor Host": headers(1, without=(":authority",)),
    "8.3.1 a user in :authority": headers(1, authority="user@a.example"),
    "8.3.1 Host other than :authority": with_field("host", "b.example"),
    "8.3.1 two Host headers": headers(1, request("GET", "/", ("host", "a"), ("host", "a"), without=(":authority",))),
}


@pytest.fixture
def open_frames(server):
    lease = server("http", services=("app:gateway", "app:strict"))

    def open_frames(service="app:gateway", **options):
        frames = Frames(lease.address(service), **options)
        lease.opened.callback(frames.close)
        return frames

    yield open_frames
    # Whatever a client did, the next one is served.
    fresh = open_frames()
    fresh.send(DONE)
    assert fresh.outcome() == "answer"


# Where the library says PROTOCOL_ERROR although the RFC names the code. What ends is the same.
UNSPECIFIC = {
    "4.3 a header block that is no HPACK",
    "6.2 HEADERS too short for its priority",
    "6.4 RST_STREAM of 3 bytes",
    "6.4 RST_STREAM of 5 bytes",
    "6.5 SETTINGS acknowledged with a payload",
    "6.5 SETTINGS of 3 bytes",
    "6.5.2 INITIAL_WINDOW_SIZE 2^31",
    "6.7 PING of 6 bytes",
    "6.7 PING of 9 bytes",
    "6.8 GOAWAY of 4 bytes",
    "6.9 WINDOW_UPDATE of 3 bytes",
    "6.9 WINDOW_UPDATE of 5 bytes",
    "7541/2.3.3 an index that is not there",
    "7541/4.2 a table size change at the end of a block",
    "7541/5.2 padding longer than 7 bits",
    "7541/5.2 padding with zeros",
    "7541/5.2 the EOS symbol",
    "7541/6.1 index 0",
    "7541/6.3 a table larger than announced",
    "7541/5.1 an integer without end",
    "7541/5.2 a string longer than its block",
    "5.1 DATA on a half-closed stream",
    "5.1 HEADERS on a half-closed stream",
    "6.3 PRIORITY of 4 bytes",
}


def codes(case, names):
    if case in UNSPECIFIC:
        names = "PROTOCOL_ERROR"
    return [CODES[name] for name in ([names] if isinstance(names, str) else names)]


def verdict(frames):
    """What becomes of the connection or its stream; streams of the same bytes may be answered before."""
    outcome = "answer"
    while outcome == "answer":
        outcome = frames.outcome()
    return outcome


@pytest.mark.parametrize("case", CONNECTION)
def test_a_connection_error_ends_the_connection(open_frames, case):
    sent, names = CONNECTION[case]
    frames = open_frames()
    frames.send(sent)
    assert verdict(frames) in [("goaway", code) for code in codes(case, names)]
    frames.until_end()


@pytest.mark.parametrize("case", STREAM)
def test_a_stream_error_ends_the_stream_or_the_connection(open_frames, case):
    sent, names = STREAM[case]
    frames = open_frames()
    frames.send(sent)
    outcome = verdict(frames)
    assert outcome in [(how, code) for how in ("reset", "goaway") for code in codes(case, names)]
    if outcome[0] == "reset":
        frames.send(headers(99))
        assert frames.outcome(99) == "answer", "other streams go on"


@pytest.mark.parametrize("case", ANSWERED)
def test_what_is_only_odd_is_answered(open_frames, case):
    frames = open_frames()
    frames.send(ANSWERED[case])
    stream = next((number for start, number in LAST.items() if case.startswith(start)), 1)
    assert frames.outcome(stream) == "answer"


@pytest.mark.parametrize("case", TOLD)
def test_what_http_forbids_is_400(open_frames, case):
    frames = open_frames()
    frames.send(TOLD[case])
    got = frames.wait(lambda got: got.kind == HEADERS)
    # :status 400 has a place in HPACK's table.
    assert got.payload[0] == 0x80 | 12


def test_section_3_4_the_server_begins_with_its_settings(open_frames):
    got = open_frames().next()
    assert (got.kind, got.stream) == (SETTINGS, 0)


@pytest.mark.parametrize("first", [b"INVALID CONNECTION PREFACE\r\n\r\n", PREFACE[:-1] + b"x" + settings()])
def test_section_3_4_a_wrong_preface_is_closed(open_frames, first):
    frames = open_frames(greet=False)
    frames.send(first)
    frames.until_end()


FIRST = {
    "HEADERS": DONE,
    "PING": frame(PING, 0, 0, bytes(8)),
    "WINDOW_UPDATE": window(0, 100),
    "PRIORITY": frame(PRIORITY, 0, 1, bytes(5)),
    "an acknowledgement": frame(SETTINGS, ACK),
    "an unknown frame": frame(0x16),
}


@pytest.mark.parametrize("first", FIRST)
def test_section_3_4_a_connection_whose_first_frame_is_not_settings_is_closed(open_frames, first):
    frames = open_frames(greet=False)
    frames.send(PREFACE + FIRST[first] + settings() + headers(3))
    assert frames.outcome(3) in (("goaway", CODES["PROTOCOL_ERROR"]), "closed")
    frames.until_end()


def test_section_6_5_3_settings_are_acknowledged(open_frames):
    frames = open_frames(first=settings((4, 100)))
    assert frames.wait(lambda got: got.kind == SETTINGS and got.flags & ACK).payload == b""


def test_section_6_7_a_ping_is_answered_with_its_payload(open_frames):
    frames = open_frames()
    frames.send(frame(PING, 0, 0, b"\1\2\3\4\5\6\7\10"))
    got = frames.wait(lambda got: got.kind == PING)
    assert (got.flags, got.stream, got.payload) == (ACK, 0, b"\1\2\3\4\5\6\7\10")


def test_section_6_9_1_no_more_is_sent_than_the_window_takes(open_frames):
    frames = open_frames(first=settings((4, 1)))
    frames.send(headers(1, path="/files/"))
    assert frames.wait(lambda got: got.kind == DATA).payload == b"<"
    frames.settled()
    frames.send(window(1, 3))
    assert frames.wait(lambda got: got.kind == DATA).payload == b"!do"


def test_section_6_9_2_a_change_of_the_initial_window_changes_open_streams(open_frames):
    frames = open_frames(first=settings((4, 0)))
    frames.send(headers(1, path="/files/"))
    frames.wait(lambda got: got.kind == HEADERS)
    frames.send(settings((4, 1)))
    assert frames.wait(lambda got: got.kind == DATA).payload == b"<"


def test_section_6_9_2_a_window_may_become_negative(open_frames):
    frames = open_frames(first=settings((4, 3)))
    frames.send(headers(1, path="/files/"))
    assert frames.wait(lambda got: got.kind == DATA).payload == b"<!d"
    # Three bytes were sent of now two: minus one.
    frames.send(settings((4, 2)))
    frames.settled()
    frames.send(window(1, 2))
    assert frames.wait(lambda got: got.kind == DATA).payload == b"o"


def test_section_5_1_2_streams_beyond_the_announced_number_are_refused(open_frames):
    frames = open_frames("app:strict")
    frames.send(b"".join(headers(number, path="/api/hang") for number in range(1, 203, 2)))
    assert frames.outcome(201) == ("reset", CODES["REFUSED_STREAM"])
    assert frames.outcome(1) == "answer"


def test_section_8_5_a_websocket_carries_nothing_but_data(open_frames, server):
    lease = server("relay", shards=2, services=("app:gateway", "app:proxied", "app:hasty"))
    frames = Frames(lease.address())
    lease.opened.callback(frames.close)
    fields = [(":protocol", "websocket"), *request("CONNECT", "/control/driver", ("sec-websocket-version", "13"))]
    frames.send(headers(1, fields, ends=False))
    assert frames.outcome() == "answer"
    frames.send(headers(1, [("x-sum", "1")]))
    assert frames.outcome()[1] == CODES["PROTOCOL_ERROR"]
