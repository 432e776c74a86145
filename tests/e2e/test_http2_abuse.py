"""HTTP/2 as a weapon: each of the known floods meets a bound, and the server answers others meanwhile."""

import socket
import threading

import pytest

from harness import tls
from harness.bystander import resident
from harness.frames import (
    CODES,
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frames,
    block,
    frame,
    headers,
    integer,
    request,
    settings,
)
from harness.http2 import Http2
from harness.lease import relay_steps, script
from harness.waiting import until

pytestmark = pytest.mark.skipif(tls.EVERYWHERE, reason="prior knowledge is for cleartext")
CALM = ("goaway", CODES["ENHANCE_YOUR_CALM"])
MIB = 1 << 20


@pytest.fixture
def http(own_server):
    return own_server("http", shards=1, services=("app:gateway", "app:strict"))


def frames(lease, service="app:gateway", **options):
    one = Frames(lease.address(service), **options)
    lease.opened.callback(one.close)
    return one


def flood(one, pieces):
    """Sends until the server does not want any more, and reads what it says meanwhile: the outcome."""
    broken = threading.Event()

    def send():
        try:
            for piece in pieces:
                one.sock.sendall(piece)
        except OSError:
            pass
        broken.set()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    outcome = "answer"
    while outcome == "answer":
        outcome = one.outcome(stream=0)
    one.sock.close()
    sender.join(20)
    assert broken.is_set()
    return outcome


class Bystander:
    """Somebody else's requests, while a flood goes on: all are answered."""

    def __init__(self, lease):
        self.lease, self.answered, self.over = lease, 0, threading.Event()
        self.thread = threading.Thread(target=self.ask, daemon=True)

    def ask(self):
        client = Http2(self.lease.address())
        while not self.over.is_set():
            if client.request("GET", "/api/describe").status == 200:
                self.answered += 1
        client.close()

    def __enter__(self):
        self.thread.start()
        until(lambda: self.answered > 0, "the first answer")
        return self

    def __exit__(self, *_):
        before = self.answered
        until(lambda: self.answered > before + 5, "others are answered")
        self.over.set()
        self.thread.join(10)


def u32(value):
    return value.to_bytes(4, "big")


FLOODS = {
    "CVE-2019-9512 PING": frame(PING, 0, 0, bytes(8)),
    "CVE-2019-9515 SETTINGS": settings(),
    "SETTINGS that change every window": settings((4, 1000)) + settings((4, 2000)),
    "SETTINGS that change the table": settings((1, 0)) + settings((1, 4096)),
    "PRIORITY": frame(PRIORITY, 0, 1, u32(0) + b"\x10"),
    "WINDOW_UPDATE": frame(WINDOW_UPDATE, 0, 0, u32(1)),
    "unknown frames": frame(0x16, 0, 0),
    "unknown frames of 16 KiB": frame(0x16, 0, 0, bytes(16384)),
    "PING that nobody asked for": frame(PING, 1, 0, bytes(8)),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_frames_that_carry_nothing_are_taken_up_to_a_bound(http, kind):
    before = resident(http.server)
    with Bystander(http):
        one = FLOODS[kind]
        assert flood(frames(http), (one * 100 for _ in range(20_000))) in (CALM, "closed")
    assert resident(http.server) < before + 16 * MIB


def test_cve_2019_9518_empty_data_is_taken_up_to_a_bound(http):
    with Bystander(http):
        pieces = [headers(1, ends=False, method="POST")] + [frame(DATA, 0, 1) * 100] * 20_000
        assert flood(frames(http), pieces) in (CALM, "closed")


def test_cve_2024_27316_continuation_without_end(http):
    before = resident(http.server)
    with Bystander(http):
        more = frame(CONTINUATION, 0, 1, block([("x-more", "x" * 4000)]) * 4)
        outcome = flood(frames(http), [headers(1, complete=False)] + [more] * 20_000)
        assert outcome in (CALM, ("goaway", CODES["PROTOCOL_ERROR"]), "closed")
    assert resident(http.server) < before + 16 * MIB


def test_cve_2019_9516_headers_without_names(http):
    one = frame(CONTINUATION, 0, 1, block([("", "")]) * 1000)
    outcome = flood(frames(http), [headers(1, complete=False)] + [one] * 5000)
    assert outcome != "answer"


def test_a_bomb_of_hpack_is_431_or_the_end(http):
    before = resident(http.server)
    # One field of 3,900 bytes in the table, and 16,000 references to it: 62 MB of headers in 16 KB.
    value = b"x" * 3900
    bomb = block(request()) + b"\x40" + integer(3, 7) + b"x-a" + integer(len(value), 7) + value + b"\xbe" * 12_000
    with Bystander(http):
        for _ in range(20):
            one = frames(http)
            one.send(b"".join(frame(HEADERS, 5, number, bomb[:16384]) for number in range(1, 40, 2)))
            try:
                one.wait(lambda got: got.kind == HEADERS and got.payload[0] != 0x88)
            except EOFError:
                pass
            one.close()
    assert resident(http.server) < before + 16 * MIB


def test_cve_2023_44487_ten_thousand_streams_opened_and_reset(http):
    """Rapid reset: no more handlers run than streams may be open, whatever becomes of the streams."""
    before = resident(http.server)
    most = 0
    with Bystander(http):
        one = frames(http)
        both = (
            headers(number, path="/api/inbox") + frame(RST_STREAM, 0, number, u32(8)) for number in range(1, 20_001, 2)
        )
        sender = threading.Thread(target=flood, args=(one, both), daemon=True)
        sender.start()
        while sender.is_alive():
            most = max(most, http.server.counters()["processes"])
            sender.join(0.01)
    assert most < 250
    assert resident(http.server) < before + 16 * MIB


def test_resets_of_handlers_that_take_long_start_no_more_of_them(http):
    before = http.server.counters()["processes"]
    client = Http2(http.address("app:strict"))
    most = 0
    for count in range(1500):
        client.reset_stream(client.start("GET", "/api/hang"))
        if count % 25 == 0:
            client.ping()
            most = max(most, http.server.counters()["processes"] - before)
    assert 0 < most <= 100
    client.close()
    until(lambda: http.server.counters()["processes"] == before, "the handlers end")


def test_cve_2025_8671_streams_that_the_client_has_the_server_reset(http):
    before = resident(http.server)
    with Bystander(http):
        mistakes = (
            headers(number, ends=False, path="/api/inbox") + frame(WINDOW_UPDATE, 0, number, u32((1 << 31) - 1))
            for number in range(1, 20_001, 2)
        )
        outcome = flood(frames(http), mistakes)
        assert outcome in (CALM, "closed")
    assert resident(http.server) < before + 16 * MIB


# Slow ones


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        frame(HEADERS, 5, 1, block(request()))[:5],
        frame(HEADERS, 5, 1, block(request()))[:-1],
        headers(1, complete=False),
        frame(SETTINGS, 0, 0, bytes(6))[:12],
        frame(PING, 0, 0, bytes(8))[:10],
    ],
)
def test_who_does_not_go_on_is_closed(http, sent):
    one = frames(http, service="app:strict")
    one.send(sent)
    try:
        one.wait(lambda got: False)
    except EOFError:
        pass


def test_headers_that_come_byte_by_byte_are_cut_in_time(http):
    one = frames(http, service="app:strict")
    one.sock.settimeout(0.05)
    over = False
    for byte in headers(1, complete=False) + frame(CONTINUATION, 0, 1, bytes(500)):
        try:
            one.send(bytes([byte]))
            over = not one.sock.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            over = True
        if over:
            break
    assert over


def test_a_body_that_comes_byte_by_byte_is_408_in_time(http):
    client = Http2(http.address("app:strict"))
    http.opened.callback(client.close)
    number = client.start("POST", "/api/describe", ends=False)
    client.sock.settimeout(0.05)
    while client.streams[number].status is None:
        if client.streams[number].reset is None:
            client.send(number, b"x")
        try:
            client.pump()
        except TimeoutError:
            continue
    assert client.streams[number].status == 408


# Those who read nothing


def test_who_opens_no_window_holds_little(http):
    before = resident(http.server)
    with Bystander(http):
        for _ in range(20):
            one = frames(http, first=settings((4, 0)))
            one.send(b"".join(headers(number, path="/files/") for number in range(1, 201, 2)))
            one.settled()
        # Two thousand streams, and a file open for each: about 20 KB for one.
        assert resident(http.server) < before + 80 * MIB


def test_who_reads_nothing_at_all_holds_little(http):
    before = resident(http.server)
    big = "/api/respond?do=" + '[["write_much",1000000]]'.replace('"', "%22")
    with Bystander(http):
        for _ in range(10):
            one = frames(http, receive_buffer=4096, first=settings((4, (1 << 31) - 1)))
            one.send(frame(WINDOW_UPDATE, 0, 0, u32(1 << 30)))
            one.send(b"".join(headers(number, path=big) for number in range(1, 21, 2)))
    # What handlers wrote is held until it is sent: ten answers of a megabyte for each of ten clients.
    assert resident(http.server) < before + 160 * MIB


def test_a_flood_of_pings_whose_answers_are_not_read_stops_the_server_from_reading(http):
    before = resident(http.server)
    one = frames(http, receive_buffer=4096)
    one.sock.settimeout(1)
    with pytest.raises((TimeoutError, ConnectionError)):
        for _ in range(100_000):
            one.send(frame(PING, 0, 0, bytes(8)) * 1000)
    assert resident(http.server) < before + 16 * MIB


def test_small_frames_to_a_paused_websocket_cost_what_they_carry(own_relay):
    lease = own_relay(shards=1)
    driver = lease.driver()
    deaf = driver.spawn()
    before = resident(lease.server)
    client = Http2(lease.address())
    lease.opened.callback(client.close)
    sockets = [client.websocket(script("ws", relay_steps(deaf.pid))) for _ in range(20)]
    for _ in sockets:
        deaf.joined()
    deaf.deaf()
    message = sockets[0].frame(2, bytes(60_000))
    for one in sockets:
        # A message that is begun, in frames of one byte.
        client.send(one.number, message[: 60_000 - 4000])
        for byte in message[60_000 - 4000 : 60_000]:
            client.send(one.number, bytes([byte]))
    client.ping()
    assert resident(lease.server) < before + 48 * MIB
    client.close()
    deaf.wake()
    for _ in sockets:
        deaf.message("ws.leave")


def test_the_preface_of_many_connections_costs_little(http):
    before = resident(http.server)
    opened = []
    for _ in range(500):
        one = socket.create_connection(http.address())
        one.sendall(PREFACE + settings())
        opened.append(one)
    for one in opened:
        one.settimeout(10)
        assert one.recv(9)
    each = (resident(http.server) - before) / len(opened)
    print(f"an idle HTTP/2 connection: {each:.0f} bytes")
    for one in opened:
        one.close()
    assert each < 64 << 10
