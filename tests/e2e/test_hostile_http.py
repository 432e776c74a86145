"""Requests that two programs could read as two different ones, headers that are none, heads without end.

A row says what the server makes of the bytes: the status of each answer, and the paths that handlers saw. Behind each
of them stands a complete second request, `/api/reflect/smuggled`; where the first one's end is in doubt it is not read.
"""

import json
import re
import time

import pytest

from harness.bystander import KIB, MIB, resident
from harness.wire import TEXT, RawSocket, handshake, handshake_headers

POST = b"POST /api/reflect/a HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /api/reflect/a HTTP/1.1\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SECOND = b"GET /api/reflect/smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
BOTH, NONE = [200, 200], [400]

SMUGGLING = {
    # Lengths
    "a_length_and_chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [200]),
    "chunks_and_a_length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", [200]),
    "two_lengths_that_agree": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", BOTH),
    "two_lengths_that_differ": (POST + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nabcde", NONE),
    "two_lengths_in_one_header": (POST + b"Content-Length: 5, 5\r\n\r\nabcde", NONE),
    "a_length_with_a_plus": (POST + b"Content-Length: +5\r\n\r\nabcde", NONE),
    "a_negative_length": (POST + b"Content-Length: -5\r\n\r\nabcde", NONE),
    "a_hexadecimal_length": (POST + b"Content-Length: 0x5\r\n\r\nabcde", NONE),
    "a_length_with_a_space_inside": (POST + b"Content-Length: 1 0\r\n\r\nabcde", NONE),
    "an_empty_length": (POST + b"Content-Length: \r\n\r\n", NONE),
    "a_length_that_overflows_64_bits": (POST + b"Content-Length: 18446744073709551617\r\n\r\nabcde", NONE),
    "the_largest_length": (POST + b"Content-Length: 18446744073709551615\r\n\r\nabcde", [431]),
    "a_length_of_2_63": (POST + b"Content-Length: 9223372036854775808\r\n\r\nabcde", [413]),
    "a_length_by_another_name": (POST + b"Content_Length: 5\r\nContent-Length: 0\r\n\r\n", BOTH),
    # Codings
    "chunked_in_capitals": (POST + b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", BOTH),
    "chunked_then_identity": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", NONE),
    "identity_then_chunked": (POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [501]),
    "chunked_twice": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", [501]),
    "gzip_and_chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", [501]),
    "chunked_and_gzip": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", NONE),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", NONE),
    "chunked_in_quotes": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', NONE),
    "chunked_behind_a_vertical_tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", NONE),
    "chunked_behind_a_folded_line": (POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", NONE),
    "no_coding_at_all": (POST + b"Transfer-Encoding: \r\n\r\n0\r\n\r\n", NONE),
    "a_space_before_the_codings_colon": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", NONE),
    "chunks_in_http_1_0": (POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NONE),
    # Chunks
    "a_chunks_extension": (CHUNKED + b"3;a=b\r\nabc\r\n0\r\n\r\n", BOTH),
    "a_line_feed_in_a_chunks_extension": (CHUNKED + b"3;a\nabc\r\n0\r\n\r\n", NONE),
    "a_return_in_a_chunks_extension": (CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n", NONE),
    "a_chunks_extension_of_70_kb": (CHUNKED + b"3;" + b"a" * 70_000 + b"\r\nabc\r\n0\r\n\r\n", NONE),
    "a_chunks_size_that_overflows": (CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n", NONE),
    "a_chunk_of_2_64": (CHUNKED + b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n", [408]),
    "a_negative_chunk": (CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n", NONE),
    "a_chunks_size_with_0x": (CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", NONE),
    "a_chunk_without_a_size": (CHUNKED + b"\r\nabc\r\n0\r\n\r\n", NONE),
    "a_bare_line_feed_behind_a_chunks_size": (CHUNKED + b"3\nabc\r\n0\r\n\r\n", NONE),
    "no_line_break_behind_a_chunk": (CHUNKED + b"3\r\nabcXX0\r\n\r\n", NONE),
    "3000_trailers": (CHUNKED + b"0\r\n" + b"X: y\r\n" * 3000 + b"\r\n", NONE),
    # Lines
    "a_folded_header": (POST + b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n", NONE),
    "a_space_before_a_colon": (POST + b"Content-Length : 5\r\n\r\nabcde", NONE),
    "a_space_before_a_name": (POST + b" Content-Length: 5\r\n\r\nabcde", NONE),
    "a_header_without_a_colon": (POST + b"Content-Length\r\n\r\n", NONE),
    "a_header_without_a_name": (POST + b": x\r\nContent-Length: 0\r\n\r\n", NONE),
    "a_bare_return_in_a_header": (POST + b"X-A: b\rContent-Length: 5\r\nContent-Length: 0\r\n\r\n", NONE),
    # A line feed alone ends a line, here as for every front server (RFC 9112 section 2.2).
    "a_bare_line_feed_behind_a_header": (POST + b"X-A: b\nContent-Length: 0\r\n\r\n", BOTH),
    "nul_in_a_value": (POST + b"X-A: a\0b\r\nContent-Length: 0\r\n\r\n", NONE),
    "nul_in_a_name": (POST + b"X\0A: ab\r\nContent-Length: 0\r\n\r\n", NONE),
    "nul_in_the_target": (b"GET /api/reflect/a\0b HTTP/1.1\r\nHost: a\r\n\r\n", NONE),
    # Targets and hosts
    "no_host": (GET + b"\r\n", NONE),
    "two_hosts": (GET + b"Host: a\r\nHost: b\r\n\r\n", NONE),
    "two_hosts_in_one": (GET + b"Host: a, b\r\n\r\n", NONE),
    "a_host_that_is_none": (GET + b"Host: a b\r\n\r\n", NONE),
    "a_host_with_a_user": (GET + b"Host: b@a\r\n\r\n", NONE),
    "an_absolute_target": (b"GET http://a/api/reflect/a HTTP/1.1\r\nHost: a\r\n\r\n", BOTH),
    "an_absolute_target_of_another_host": (b"GET http://b/api/reflect/a HTTP/1.1\r\nHost: a\r\n\r\n", NONE),
    "an_absolute_target_of_another_scheme": (b"GET ftp://a/api/reflect/a HTTP/1.1\r\nHost: a\r\n\r\n", NONE),
    "connect": (b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n", [400, 200]),
    "connect_with_another_host": (b"CONNECT evil.test:443 HTTP/1.1\r\nHost: a\r\n\r\n", NONE),
    "two_spaces_before_the_target": (b"GET  /api/reflect/a HTTP/1.1\r\nHost: a\r\n\r\n", NONE),
    "tabs_for_spaces": (b"GET\t/api/reflect/a\tHTTP/1.1\r\nHost: a\r\n\r\n", NONE),
    # Versions
    "http_0_9": (b"GET /api/reflect/a\r\n", NONE),
    "http_1_0": (b"GET /api/reflect/a HTTP/1.0\r\n\r\n", [200]),
    "http_1_2": (b"GET /api/reflect/a HTTP/1.2\r\nHost: a\r\n\r\n", NONE),
    # Requests whose body nobody reads
    "a_body_of_a_get": (GET + b"Host: a\r\nContent-Length: 5\r\n\r\nabcde", BOTH),
    "a_body_for_404": (b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(SECOND), [404]),
    "chunks_for_404": (b"POST /none HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", [404]),
    "a_body_for_405": (b"PUT /api/large HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(SECOND), [405]),
    "a_body_of_a_handshake": (handshake("/ws/echo", extra=[b"Content-Length: %d" % len(SECOND)]), NONE),
    "chunks_of_a_handshake": (handshake("/ws/echo", extra=[b"Transfer-Encoding: chunked"]), NONE),
}


def answers(lease, sent):
    """All that comes back until the server closes: statuses, and the paths that handlers saw."""
    wire = lease.wire()
    wire.send(sent)
    got = wire.until_end()
    statuses = [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d+)", got)]
    return statuses, [found.decode() for found in re.findall(rb'"path":"/api/reflect/([^"]*)"', got)]


@pytest.mark.parametrize("how", SMUGGLING)
def test_no_request_is_smuggled_behind_another(hostile, how):
    first, expected = SMUGGLING[how]
    statuses, paths = answers(hostile, first + SECOND)
    assert statuses == expected
    assert ("smuggled" in paths) == (expected == BOTH or expected == [400, 200])


def test_after_all_of_them_others_are_served(hostile, bystander):
    for first, _ in SMUGGLING.values():
        wire = hostile.wire()
        wire.send(first + SECOND)
        wire.close()
    bystander.served()


# Heads


def test_a_head_has_at_most_100_headers(hostile):
    def head(count):
        return GET + b"Host: a\r\nConnection: close\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(count - 2)) + b"\r\n"

    assert answers(hostile, head(100))[0] == [200]
    assert answers(hostile, head(101))[0] == [431]


def test_a_target_has_at_most_8_kib(hostile):
    def target(size):
        return b"GET /api/reflect/" + b"a" * (size - 13) + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

    assert answers(hostile, target(8 * KIB))[0] == [200]
    assert answers(hostile, target(8 * KIB + 1))[0] == [414]
    assert answers(hostile, target(60_000))[0] == [414]


def test_heads_without_end_take_bounded_memory(hostile, bystander):
    """A hundred clients that would send a megabyte of headers each: 64 KiB of each is read."""
    before = resident(hostile.server)
    wires = [hostile.wire() for _ in range(100)]
    for number, wire in enumerate(wires):
        wire.sock.setblocking(False)
        head = GET + b"X: " + b"x" * MIB if number % 2 else b"\r\n" * (MIB // 2)
        try:
            wire.sock.send(head)
        except OSError:
            pass
    bystander.served()
    assert resident(hostile.server) - before < 100 * 192 * KIB
    for wire in wires:
        wire.sock.settimeout(10)
        try:
            assert wire.response().status == 431
        except (EOFError, OSError):
            pass  # the answer was lost with what the server did not read


# Header injection

BAD_VALUES = ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\r\n\r\n<html>", "a\0b", "a\x7fb", "\r\n", "a\x01"]
BAD_NAMES = ["X Evil", "X-Evil:", "X-Evil: 1\r\nX", "", "X\nEvil", "X\0", "grüße", ":status", "X/Evil"]


def test_what_a_handler_sets_begins_no_other_header(hostile):
    """A value or a name that cannot be one raises in the handler; nothing of it goes out."""
    pairs = [{"name": "X-Set", "value": value} for value in BAD_VALUES]
    pairs += [{"name": name, "value": "x"} for name in BAD_NAMES]
    pairs.append({"name": "X-Set", "value": "good"})
    answer = hostile.http("POST", "/api/inject", body=json.dumps(pairs))
    assert answer.json() == [False] * (len(pairs) - 1) + [True]
    assert answer.header("x-set") == "good"
    assert "x-evil" not in answer.headers


FRAMING = {
    "Content-Length": "1", "Transfer-Encoding": "chunked", "Connection": "upgrade", "Upgrade": "websocket",
}  # fmt: skip


def test_what_a_handler_sets_does_not_change_where_its_answer_ends(hostile):
    pairs = [{"name": name, "value": value} for name, value in FRAMING.items()]
    wire = hostile.wire()
    body = json.dumps(pairs).encode()
    for _ in range(2):
        answer = wire.request("POST", "/api/inject", body=body)
        assert answer.status == 200 and len(answer.json()) == len(pairs)
        assert answer.header("transfer-encoding") is None and answer.header("upgrade") is None


RELAY = b'{"target_pid": "nobody"}'
SPELLINGS = [b"X-WS-Relay", b"x-ws-relay", b"X-Ws-ReLaY", b"X-WS-RELAY"]


@pytest.mark.parametrize("path", ["/ws/page", "/api/reflect/a"])
def test_a_clients_x_ws_relay_reaches_nobody_however_it_is_written(hostile, path):
    """In any case, several times, and in one request of many: no handler sees it, and it does nothing."""
    lines = [spelling + b": " + RELAY for spelling in SPELLINGS]
    plain = b"GET %s HTTP/1.1\r\nHost: a\r\n" % path.encode() + b"\r\n".join([*lines, b"", b""])
    shake = handshake(path, extra=lines)
    wire = hostile.wire()
    wire.send(plain + plain + shake + plain)
    for _ in range(4):
        answer = wire.response()
        assert (answer.status, answer.header("x-ws-relay")) == (200, None)
        assert "x-ws-relay" not in answer.json()["headers"]


def test_a_clients_x_ws_relay_in_a_trailer_or_by_a_near_name_does_nothing(hostile):
    trailer = b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-WS-Relay: " + RELAY + b"\r\n\r\n"
    for sent in [POST + trailer, POST + b"X_WS_Relay: " + RELAY + b"\r\nContent-Length: 0\r\n\r\n"]:
        wire = hostile.wire()
        wire.send(sent)
        answer = wire.response()
        assert (answer.status, answer.header("x-ws-relay")) == (200, None)
        assert "x-ws-relay" not in answer.json()["headers"]


def test_a_clients_x_ws_relay_does_not_take_the_place_of_the_handlers(hostile, bystander):
    raw = RawSocket(hostile.address())
    raw.send(handshake("/ws/echo", extra=[b"X-WS-Relay: " + RELAY]) + raw.frame(TEXT, "whose target"))
    assert raw.response().status == 101
    assert raw.receive_message().text == "whose target"
    raw.close()


# The upgrade in the middle of a connection


def test_requests_before_an_upgrade_are_answered_in_order_and_frames_after_it_are_frames(hostile):
    """All of it in one write."""
    raw = hostile.raw()
    page = b"GET /api/reflect/%d HTTP/1.1\r\nHost: a\r\n\r\n"
    raw.send(page % 1 + page % 2 + handshake("/ws/late") + raw.frame(TEXT, "first") + raw.frame(TEXT, "second"))
    assert [raw.response().json()["path"] for _ in range(2)] == ["/api/reflect/1", "/api/reflect/2"]
    assert raw.response().status == 101
    assert [raw.receive_message().text for _ in range(2)] == ["first", "second"]


def test_a_request_behind_an_upgrade_is_no_request(hostile):
    """Its first byte is a frame's head with a reserved bit."""
    raw = hostile.raw()
    raw.send(handshake("/ws/echo") + SECOND)
    assert raw.response().status == 101
    assert raw.receive_close()[1].code == 1002
    assert raw.ended()


def test_frames_behind_a_refused_handshake_are_no_frames_and_no_request(hostile):
    raw = hostile.raw()
    raw.send(handshake("/ws/echo", Origin="http://evil.test") + raw.frame(TEXT, "GET / HTTP/1.1\r\n\r\n"))
    assert raw.response().status == 403
    assert raw.response().status == 400
    assert raw.ended()


def test_http_1_0_is_not_upgraded(hostile):
    raw = hostile.raw()
    raw.send(handshake("/ws/echo").replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert raw.response().status == 400


def test_an_upgrade_to_several_protocols_is_one_to_websocket(hostile):
    raw = hostile.raw("/ws/echo", handshake_headers(Upgrade="h2c, websocket, TLS/1.0"))
    assert raw.opened.header("upgrade") == "websocket"


def test_time_for_headers_begins_anew_with_each_request(hostile):
    """Three requests of 350 ms each on one connection, where 500 ms are allowed for one."""
    wire = hostile.wire()
    for _ in range(3):
        began = time.monotonic()
        wire.send(GET)
        while time.monotonic() - began < 0.35:
            wire.send(b"X-A: b\r\n")
            time.sleep(0.05)
        wire.send(b"Host: a\r\n\r\n")
        assert wire.response().status == 200
