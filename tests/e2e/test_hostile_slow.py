"""Clients that take their time, leave in the middle, or do not listen: cut at the right time, and nobody else waits."""

import select
import socket
import time

import pytest

from harness.waiting import until
from harness.wire import BINARY, CLOSE, PING, PONG, TEXT, RawSocket, handshake

GET = b"GET /api/reflect/a HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /api/reflect/a HTTP/1.1\r\nHost: a\r\n"

# Where a request stops, and what comes of it from then on, a piece each 100 ms.
LORIS = {
    "in_the_request_line": (b"GET /api/refl", b"a"),
    "in_a_headers_name": (GET + b"X-", b"x"),
    "in_a_headers_value": (GET + b"X-A: ", b"x"),
    "between_headers": (GET, b"X-A: b\r\n"),
    "before_the_last_line_break": (GET + b"\r", b""),
    "in_a_handshake": (handshake("/ws/echo")[:-2], b"X-A: b\r\n"),
    "in_a_body": (POST + b"Content-Length: 1000\r\n\r\n", b"x"),
    "in_a_chunked_body": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "in_a_chunks_size": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "in_a_chunks_extension": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a"),
    "in_the_trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "in_the_second_of_two_pipelined": (GET + b"\r\n" + GET, b"X-A: b\r\n"),
    "before_the_first_byte": (b"", b""),
}

# The same for frames, once the connection is open.
FRAME_LORIS = {
    "in_a_frames_head": (b"\x81", b""),
    "in_a_frames_length": (b"\x82\xff\0\0\0", b"\0"),
    "in_a_frames_mask": (b"\x82\xfe\x01\0\0", b""),
    "in_a_payload": (b"\x82\xfe\x01\0" + bytes(4), b"x"),
    "in_a_large_payload": (b"\x82\xff" + (1 << 19).to_bytes(8) + bytes(4), b"x"),
    "in_a_ping": (b"\x89\xfd" + bytes(4), b"x"),
    "in_a_close_frame": (b"\x88\xfd" + bytes(4) + b"\x03\xe8", b"x"),
}


def drip(clients, pieces, bystander, longest):
    """Sends each client its piece now and then until the server has ended all: how long each one lasted."""
    began = time.monotonic()
    lasted = {}
    while len(lasted) < len(clients):
        assert time.monotonic() - began < longest, f"never cut: {[name for name in clients if name not in lasted]}"
        bystander.served()
        for name, group in clients.items():
            if name not in lasted and all([is_over(client, pieces[name]) for client in group]):
                lasted[name] = time.monotonic() - began
        select.select([], [], [], 0.1)
    return lasted


def is_over(client, piece):
    """Whether the server has ended the connection; otherwise it gets one more piece."""
    try:
        client.sock.settimeout(0.001)
        client._more()
        return False
    except TimeoutError:
        pass
    except (EOFError, OSError):
        return True
    try:
        client.send(piece)
        return False
    except OSError:
        return True


def test_slow_loris_is_cut_by_its_time_limit_wherever_it_stops_and_others_are_served(hostile, bystander):
    """Limits of the app: half a second for headers and for a body, 900 ms for an idle connection."""
    clients, pieces = {}, {}
    for name, (beginning, piece) in LORIS.items():
        clients[name] = [hostile.wire() for _ in range(10)]
        pieces[name] = piece
        for client in clients[name]:
            client.send(beginning)
    lasted = drip(clients, pieces, bystander, 8)
    assert min(lasted.values()) > 0.3, lasted
    for name in LORIS:
        # Two pipelined requests: the first is answered.
        answers = {client.rest.split(b"\r\n")[0] for client in clients[name]}
        assert answers <= {b"", b"HTTP/1.1 408 Request Timeout", b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 200 OK"}, name


def test_slow_loris_in_frames_is_cut_by_the_ping_time_out_and_others_are_served(hostile, bystander):
    """No frame at all within 900 ms; bytes of one that never ends are none."""
    clients = {name: [hostile.raw("/hurried/echo") for _ in range(5)] for name in FRAME_LORIS}
    for name, (beginning, _) in FRAME_LORIS.items():
        for client in clients[name]:
            client.send(beginning)
    lasted = drip(clients, {name: piece for name, (_, piece) in FRAME_LORIS.items()}, bystander, 8)
    assert min(lasted.values()) > 0.6, lasted


def test_a_large_message_on_a_slow_line_is_no_slow_loris(hostile, bystander):
    """It takes three times the ping time-out, and comes through."""
    raw = hostile.raw("/hurried/echo")
    frame = raw.frame(BINARY, b"x" * 600_000)
    began = time.monotonic()
    while frame:
        raw.send(frame[:20_000])
        frame = frame[20_000:]
        select.select([], [], [], max(0, 0.09 - time.monotonic() % 0.09))
    assert time.monotonic() - began > 1.5
    assert len(raw.receive_message().data) == 600_000


def test_a_whole_session_one_byte_at_a_time_is_a_session(hostile, bystander):
    raw = RawSocket(hostile.address())
    text = "grüße, 世界"
    for byte in handshake("/ws/echo"):
        raw.send(bytes([byte]))
    assert raw.response().status == 101
    frames = raw.frame(TEXT, text) + raw.frame(PING, b"?") + raw.frame(TEXT, "ab", fin=False)
    for byte in frames + raw.frame(PING, b"!") + raw.frame(0, "c" * 200):
        raw.send(bytes([byte]))
    got = [raw.receive() for _ in range(4)]
    assert [frame.text for frame in got if frame.opcode == TEXT] == [text, "ab" + "c" * 200]
    assert [frame.data for frame in got if frame.opcode == PONG] == [b"?", b"!"]
    for byte in raw.frame(CLOSE, b"\x03\xe8bye"):
        raw.send(bytes([byte]))
    assert raw.receive_close()[1].code == 1000
    raw.close()


def test_a_client_that_does_not_read_its_answer_is_cut(hostile, bystander):
    """Seven MiB are more than the kernel takes. The time of an idle connection passes, and it is over."""
    clients = [hostile.wire(receive_buffer=4096) for _ in range(4)]
    for client in clients:
        client.send(b"GET /api/large HTTP/1.1\r\nHost: a\r\n\r\n")
    for client in clients:
        # The server's end is told by what can no longer be sent to it.
        until(lambda: is_reset(client), "the server has ended the connection", 8)
        bystander.served()


def is_reset(client):
    try:
        client.send(b"\r\n")
        return False
    except OSError:
        return True


def test_a_client_that_reads_its_answer_slowly_gets_all_of_it(hostile, bystander):
    """For longer than the time of an idle connection, which is for those who take nothing."""
    wire = hostile.wire(receive_buffer=64 << 10)
    wire.send(b"GET /api/large HTTP/1.1\r\nHost: a\r\n\r\n")
    began, got = time.monotonic(), 0
    length = None
    while length is None or got < length:
        wire._more()
        if length is None and b"\r\n\r\n" in wire.rest:
            head, wire.rest = wire.rest.split(b"\r\n\r\n", 1)
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if length is not None:
            got, wire.rest = got + len(wire.rest), b""
        # At most 3.5 MB a second.
        select.select([], [], [], max(0, began + got / 3_500_000 - time.monotonic()))
    assert got == length == 7 << 20
    assert time.monotonic() - began > 1.5


# What was sent before, what is answered, and whether the client may be taken for gone before it is.
HALF_CLOSED = {
    "before_the_request": (b"", b"", False),
    "in_the_head": (b"GET /api/re", b"", False),
    "after_the_request": (GET + b"\r\n", b"HTTP/1.1 200", True),
    "in_the_body": (POST + b"Content-Length: 5\r\n\r\nab", b"HTTP/1.1 400", False),
    "while_the_handler_runs": (handshake("/ws/late"), b"", True),
    "after_the_handshake": (handshake("/ws/echo"), b"HTTP/1.1 101", True),
}


@pytest.mark.parametrize("where", HALF_CLOSED)
def test_a_half_closed_socket_is_answered_or_closed(hostile, bystander, where):
    """Ten clients each. One that has closed its half may be taken for gone while its request is worked on."""
    sent, begins, may_be_gone = HALF_CLOSED[where]
    answers = []
    for _ in range(10):
        wire = hostile.wire()
        wire.send(sent)
        wire.sock.shutdown(socket.SHUT_WR)
        answers.append(wire.until_end())
    answered = [answer for answer in answers if answer]
    assert all(begins and answer.startswith(begins) for answer in answered), answers
    if not may_be_gone:
        assert len(answered) == (10 if begins else 0), answers


HALF_CLOSED_FRAMES = {
    "at_rest": b"",
    "in_a_head": b"\x81",
    "in_a_payload": b"\x81\x85\0\0\0\0he",
    "in_a_message": b"\x01\x82\0\0\0\0he",
}


@pytest.mark.parametrize("where", HALF_CLOSED_FRAMES)
def test_a_websocket_that_is_half_closed_is_lost_and_closed(hostile, bystander, where):
    raw = hostile.raw("/ws/echo")
    raw.send(HALF_CLOSED_FRAMES[where])
    raw.sock.shutdown(socket.SHUT_WR)
    assert raw.until_end() == b""


def test_a_message_before_a_half_close_and_a_close_frame_are_answered(hostile, bystander):
    raw = hostile.raw("/ws/echo")
    raw.send_frame(CLOSE, b"\x03\xe8")
    raw.sock.shutdown(socket.SHUT_WR)
    assert raw.receive_close()[1].code == 1000
    assert raw.ended()


RESETS = {
    "before_the_request": b"",
    "in_the_head": b"GET /api/re",
    "in_the_body": POST + b"Content-Length: 5\r\n\r\nab",
    "with_an_answer_unread": (GET + b"\r\n") * 50,
    "in_a_large_answer": b"GET /api/large HTTP/1.1\r\nHost: a\r\n\r\n",
    "while_the_handler_runs": handshake("/ws/late"),
    "before_the_join": handshake("/ws/echo"),
    "with_frames_at_once": handshake("/ws/echo") + b"\x81\x85\0\0\0\0hello" * 100,
}
RESET_FRAMES = {
    "at_rest": b"",
    "in_a_frame": b"\x81\x85\0\0\0\0he",
    "in_a_message": b"\x01\x82\0\0\0\0he",
    "with_echoes_unread": b"\x81\x85\0\0\0\0hello" * 2000,
    "in_the_close_handshake": b"\x88\x82\0\0\0\0\x03\xe8",
    "after_a_fault": b"\xc1\x80\0\0\0\0",
}


def settled_descriptors(hostile):
    """What the server has open once nobody is left but the one who asks and the bystanders."""
    last = None

    def steady():
        nonlocal last
        now = (hostile.server.counters()["sockets"], hostile.server.descriptors())
        same, last = now == last, now
        return same

    until(steady, "its descriptors stand still")
    return last[1]


@pytest.mark.parametrize("where", RESETS)
def test_a_reset_leaves_nothing_behind(hostile, bystander, where):
    held = settled_descriptors(hostile)
    for _ in range(10):
        wire = hostile.wire()
        wire.send(RESETS[where])
        wire.reset()
    bystander.served()
    until(lambda: hostile.server.descriptors() <= held, "no descriptor is left")


@pytest.mark.parametrize("where", RESET_FRAMES)
def test_a_reset_of_a_websocket_leaves_nothing_behind(hostile, bystander, where):
    held = settled_descriptors(hostile)
    for _ in range(10):
        raw = hostile.raw("/ws/echo")
        raw.send(RESET_FRAMES[where])
        raw.reset()
    bystander.served()
    until(lambda: hostile.server.descriptors() <= held, "no descriptor is left")


def test_a_close_handshake_that_the_client_never_completes_ends_after_five_seconds(hostile, bystander):
    """Silent, or sending on: after 1002, and after its own close frame."""
    clients = [hostile.raw("/ws/echo") for _ in range(3)]
    clients[0].send(b"\xc1\x80\0\0\0\0")
    clients[1].send(b"\xc1\x80\0\0\0\0")
    clients[2].send_close(1000)
    assert [client.receive_close()[1].code for client in clients] == [1002, 1002, 1000]
    before = hostile.before["sockets"] + len(bystander.clients)
    began = time.monotonic()

    def over():
        try:
            clients[1].send_frame(TEXT, "x" * 1000)
        except OSError:
            pass
        return hostile.server.counters()["sockets"] == before

    until(over, "the server gives up", 9)
    assert time.monotonic() - began > 3
    bystander.served()
