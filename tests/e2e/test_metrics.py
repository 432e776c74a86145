"""`/metrics`: each figure moves by exactly what the test did, and nothing makes the page grow."""

import signal
import socket
import ssl
import struct
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import tls
from harness.waiting import until
from harness.wire import Wire, handshake_headers

SERVICE = {"service": "app:gateway"}


class Moved:
    """What the figures did since a moment."""

    def __init__(self, server):
        self.server = server
        self.before = self.now()

    def now(self):
        found = {}
        for family in text_string_to_metric_families(self.server.metrics()):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in found, f"{key} is there twice"
                found[key] = sample.value
        return found

    def by(self, name, **labels):
        key = (name, frozenset(labels.items()))
        now = self.now()
        assert key in now, f"no {name} {labels} in {sorted(k for k in now if k[0] == name)}"
        return now[key] - self.before[key]

    def waits(self, expected, name, **labels):
        """The figure moves by exactly so much, and stays there."""
        until(lambda: self.by(name, **labels) >= expected, f"{name} {labels} moves by {expected}")
        assert self.by(name, **labels) == expected, (name, labels)


@pytest.fixture
def app(own_server):
    return own_server("seen", shards=2)


@pytest.fixture
def moved(app):
    return Moved(app.server)


def test_every_family_has_help_and_a_type_that_a_prometheus_parser_knows(app):
    families = list(text_string_to_metric_families(app.server.metrics()))
    assert len(families) > 50
    for family in families:
        assert family.documentation.endswith("."), family.name
        assert family.type in ("gauge", "counter", "histogram"), family.name
        assert family.samples, family.name
        if family.type == "histogram":
            for sample in family.samples:
                assert sample.name.removeprefix(family.name) in ("_bucket", "_sum", "_count")


def test_connections_are_counted_by_what_they_speak(app, moved):
    wire = app.wire()
    moved.waits(1, "moonwire_connections", protocol="http1", **SERVICE)
    client = app.ws("/ws")
    moved.waits(1, "moonwire_connections", protocol="websocket", **SERVICE)
    moved.waits(1, "moonwire_connections", protocol="http1", **SERVICE)
    client.close()
    wire.close()
    moved.waits(0, "moonwire_connections", protocol="websocket", **SERVICE)
    until(lambda: moved.by("moonwire_connections", protocol="http1", **SERVICE) == 0, "the other is gone")


def test_requests_are_counted_by_the_class_of_their_status_and_timed(app, moved):
    for code, times in ((200, 3), (301, 1), (404, 2), (503, 1)):
        for _ in range(times):
            assert app.http("GET", f"/status/{code}").status == code
    moved.waits(7, "moonwire_http_requests_total", **SERVICE)
    for status, times in (("1xx", 0), ("2xx", 3), ("3xx", 1), ("4xx", 2), ("5xx", 1), ("gone", 0)):
        moved.waits(times, "moonwire_http_responses_total", status=status, **SERVICE)
    assert moved.by("moonwire_http_request_duration_seconds_count", **SERVICE) == 7
    assert 0 < moved.by("moonwire_http_request_duration_seconds_sum", **SERVICE) < 60


def test_a_request_whose_client_went_is_counted_as_gone(app, moved):
    wire = app.wire()
    wire.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    moved.waits(1, "moonwire_http_requests_total", **SERVICE)
    wire.close()
    moved.waits(1, "moonwire_http_responses_total", status="gone", **SERVICE)


HANDSHAKES = "moonwire_websocket_handshakes_total"


def shake(app, path):
    """A connection on which a handshake was sent, and nothing was read."""
    wire = app.wire()
    head = "".join(f"{name}: {value}\r\n" for name, value in handshake_headers().items())
    wire.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n")
    return wire


def test_a_handshake_whose_client_goes_while_the_handler_runs_is_counted_as_gone(app, moved):
    wire = shake(app, "/wait")
    moved.waits(1, "moonwire_http_requests_total", **SERVICE)
    moved.waits(0, HANDSHAKES, result="gone", **SERVICE)
    wire.close()
    moved.waits(1, HANDSHAKES, result="gone", **SERVICE)


def test_each_handshake_is_counted_once_whenever_its_client_goes(app, moved):
    """Reset at once: before the handler runs, while it does, before the answer is written, or after it."""
    for _ in range(40):
        wire = shake(app, "/ws")
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.sock.close()
    app.ws("/ws").close()
    until(lambda: moved.by("moonwire_sockets") == 0, "all are gone")
    # What a reset overtakes has never been a request.
    asked = moved.by("moonwire_http_requests_total", **SERVICE)
    counted = [moved.by(HANDSHAKES, result=result, **SERVICE) for result in ("accepted", "gone")]
    assert 1 <= sum(counted) == asked, counted
    print(f"{counted[0]:.0f} accepted, {counted[1]:.0f} gone")


def test_messages_frames_and_bytes_are_counted_each_way_by_kind(app, moved):
    raw = app.raw("/ws")
    raw.send_text("echo a")
    raw.send_frame(0x2, b"echo bc")
    raw.send_frame(0x1, "echo ", fin=False)
    raw.send_frame(0x0, "de", fin=False)
    raw.send_frame(0x0, "f")
    raw.send_frame(0x9, b"ping")
    for _ in range(4):
        raw.receive()
    for kind, messages, frames, size in (("text", 2, 4, 14), ("binary", 1, 1, 7)):
        assert moved.by("moonwire_websocket_received_messages_total", kind=kind) == messages
        assert moved.by("moonwire_websocket_received_frames_total", kind=kind) == frames
        assert moved.by("moonwire_websocket_received_bytes_total", kind=kind) == size
        assert moved.by("moonwire_websocket_sent_frames_total", kind=kind) == messages
        assert moved.by("moonwire_websocket_sent_bytes_total", kind=kind) == size
    for way in ("received", "sent"):
        assert moved.by(f"moonwire_websocket_{way}_frames_total", kind="control") == 1
        assert moved.by(f"moonwire_websocket_{way}_bytes_total", kind="control") == 4


def test_handshakes_are_counted_by_result(app, moved):
    app.ws("/ws")
    app.raw("/ws", handshake_headers(Origin="https://evil.example"), expect=403)
    moved.waits(1, "moonwire_websocket_handshakes_total", result="accepted", **SERVICE)
    moved.waits(1, "moonwire_websocket_handshakes_total", result="refused", **SERVICE)
    moved.waits(0, "moonwire_websocket_handshakes_total", result="faulty", **SERVICE)


@pytest.mark.parametrize(
    "order, code, cause",
    [
        ("close 4321", "4000-4999", "server"),
        ("close 3000", "3000-3999", "server"),
        ("return", "1000", "server"),
        ("fail", "1011", "server"),
    ],
)
def test_ends_are_counted_by_code_and_by_cause(app, moved, order, code, cause):
    client = app.ws("/ws")
    client.send(order)
    client.closed_with()
    assert moved.by("moonwire_websocket_closes_total", code=code) == 1
    assert moved.by("moonwire_websocket_ends_total", cause=cause) == 1
    assert moved.by("moonwire_websocket_duration_seconds_count") == 1


def test_ends_that_the_client_chose_are_its_own(app, moved):
    app.ws("/ws").close(1001)
    app.ws("/ws").close(4999)
    app.raw("/ws").send_close()
    app.raw("/ws").reset()
    app.raw("/ws").send(b"\xff\xff\xff\xff")
    for code in ("1001", "4000-4999", "1005", "1006", "1002"):
        moved.waits(1, "moonwire_websocket_closes_total", code=code)
    for cause, times in (("client", 3), ("lost", 1), ("protocol", 1)):
        moved.waits(times, "moonwire_websocket_ends_total", cause=cause)
    moved.waits(5, "moonwire_websocket_duration_seconds_count")


def test_what_a_slow_client_misses_is_counted_by_policy_and_what_waits_is_seen(app, moved):
    raw = app.raw("/ws", receive_buffer=4096)
    raw.send_text("flood 400")
    moved.waits(1, "moonwire_websocket_blocked_connections")
    until(lambda: moved.by("moonwire_websocket_dropped_messages_total", policy="drop_newest") > 0, "drops")
    assert moved.by("moonwire_websocket_dropped_messages_total", policy="drop_oldest") == 0
    until(lambda: moved.by("moonwire_queued_bytes") > 65536, "bytes wait")
    assert moved.by("moonwire_websocket_queue_peak_bytes") > 65536
    raw.close()
    moved.waits(0, "moonwire_websocket_blocked_connections")
    until(lambda: moved.by("moonwire_queued_bytes") == 0, "nothing waits any more")


def test_transfers_are_counted_done_and_failed(app, moved):
    client = app.ws("/ws")
    client.send("misplace")
    assert client.recv() == "still here"
    client.send("move")
    moved.waits(1, "moonwire_websocket_transfers_total", result="done")
    moved.waits(1, "moonwire_websocket_transfers_total", result="failed")


def test_heartbeats_are_counted(app, moved):
    app.ws("/ws").send("beat")
    until(lambda: moved.by("moonwire_websocket_heartbeats_total") >= 3, "heartbeats")


def test_a_pong_counts_as_a_round_trip_only_if_it_answers_the_ping(app, moved):
    raw = app.raw("/pinging/ws")
    raw.send_frame(0xA, b"")
    raw.send_frame(0xA, b"\0\0\0\0")
    raw.send_frame(0xA, b"abcd")
    ping = raw.receive()
    assert ping.opcode == 0x9
    raw.send_frame(0xA, b"wrong")
    raw.send_frame(0xA, ping.data)
    raw.send_frame(0xA, ping.data)
    raw.send_text("echo all are read")
    while raw.receive().opcode != 0x1:
        pass
    assert moved.by("moonwire_websocket_round_trip_seconds_count") == 1
    assert 0 < moved.by("moonwire_websocket_round_trip_seconds_sum") < 60
    assert moved.by("moonwire_websocket_pings_total") >= 1


@pytest.mark.parametrize(
    "way, reason, kind",
    [
        ("returns", "returned", None),
        ("fails", "failed", "Internal"),
        ("terminated", "terminated", "Canceled"),
        ("memory", "memory", "Unavailable"),
        ("time", "time", "Internal"),
    ],
)
def test_exits_are_counted_by_reason_and_kind(app, moved, way, reason, kind):
    assert app.http("GET", f"/run/{way}").text == "true"
    moved.waits(1 + (reason == "returned"), "moonwire_process_exits_total", reason=reason)
    moved.waits(2, "moonwire_processes_spawned_total")
    if kind:
        assert moved.by("moonwire_process_failures_total", kind=kind) == 1


def test_a_process_that_a_link_took_along_is_counted_as_such(app, moved):
    assert app.http("GET", "/run/link").text == "true"
    moved.waits(1, "moonwire_process_exits_total", reason="link")
    moved.waits(1, "moonwire_process_exits_total", reason="failed")


def test_what_lies_in_mailboxes_is_seen_while_it_lies_there(app, moved):
    client = app.ws("/ws")
    client.send("hold 50")
    assert client.recv() == "50"
    moved.waits(50, "moonwire_mailbox_messages")
    assert 50 * 1000 < moved.by("moonwire_mailbox_bytes") < 50 * 2000
    assert moved.now()[("moonwire_mailbox_peak_messages", frozenset())] >= 50
    client.send("free")
    until(lambda: moved.by("moonwire_mailbox_messages") == 0, "the mailbox is gone")
    assert moved.by("moonwire_mailbox_bytes") == 0
    client.close()


def test_messages_that_mailboxes_take_and_refuse_are_counted(app, moved):
    client = app.ws("/ws")
    client.send("hold 300")
    taken = int(client.recv())
    assert 100 <= taken <= 200, "mailbox_limit"
    moved.waits(300 - taken, "moonwire_messages_refused_total")
    # The rest is the join and the order.
    assert taken < moved.by("moonwire_messages_delivered_total") <= taken + 10
    client.send("free")
    until(lambda: moved.by("moonwire_mailbox_messages") == 0, "the mailbox is gone")
    assert moved.by("moonwire_messages_refused_total") == 300 - taken
    client.close()


def test_slices_that_last_too_long_are_counted_as_preempted(app, moved):
    """50 ms of computing, in slices of one."""
    assert moved.by("moonwire_slices_preempted_total") == 0
    assert app.http("GET", "/run/computes").text == "true"
    until(lambda: moved.by("moonwire_slices_preempted_total") >= 5, "preemptions")


def test_what_the_collector_computes_is_counted(app, moved):
    def both(name):
        return sum(moved.by(name, shard=shard) for shard in "01")

    until(lambda: app.http("GET", "/run/litters").text == "true" and both("moonwire_collector_cycles_total") > 0, "cycles")
    assert 0 < both("moonwire_collector_seconds_total") < 60
    assert moved.now()[("moonwire_collector_step_peak_seconds", frozenset({("shard", "0")}))] >= 0


def peak(moved, name):
    """The most of all shards."""
    return max(value for (found, _), value in moved.now().items() if found == name)


@pytest.mark.timeout(120)
def test_a_stop_shows_as_lag_and_as_a_long_turn_and_peaks_are_forgotten(app, moved):
    """Heartbeats each 10 ms, and a stop of the whole server in between: timers are looked at too late."""
    lag, held = "moonwire_shard_lag_peak_seconds", "moonwire_mailbox_peak_messages"
    client = app.ws("/ws")
    client.send("hold 50")
    assert client.recv() == "50"
    client.send("beat")
    until(lambda: moved.by("moonwire_websocket_heartbeats_total") > 0, "heartbeats")
    assert peak(moved, lag) < 0.4
    child, began = app.server.child, time.monotonic()
    child.send_signal(signal.SIGSTOP)
    until(lambda: time.monotonic() - began > 0.5, "it has been stopped for long enough")
    child.send_signal(signal.SIGCONT)
    until(lambda: peak(moved, lag) > 0.4, "the lag is seen")
    assert peak(moved, held) >= 50
    client.send("free")
    client.close()
    until(lambda: peak(moved, lag) < 0.4 and peak(moved, held) < 50, "peaks are of the last 15 to 30 seconds", 45)


def test_a_connection_that_is_not_read_is_seen_as_paused_until_it_is_read(app, moved):
    """Its target is busy with something else, and its credit is 64 messages."""
    raw = app.raw("/ws")
    raw.send_text("pause")
    for number in range(100):
        raw.send_text(f"echo {number}")
    moved.waits(1, "moonwire_websocket_paused_connections")
    assert [raw.receive().text for _ in range(100)] == [f"echo {number}" for number in range(100)]
    until(lambda: moved.by("moonwire_websocket_paused_connections") == 0, "it is read again")
    raw.send_text("pause")
    for number in range(100):
        raw.send_text(f"echo {number}")
    moved.waits(1, "moonwire_websocket_paused_connections")
    raw.reset()
    until(lambda: moved.by("moonwire_websocket_paused_connections") == 0, "it is gone")


def test_handshakes_of_tls_are_counted_by_what_became_of_them(own_server):
    ours = tls.authority()
    sets = ["app:gateway:timeouts.header=500ms", f"app:gateway:tls.client_ca={ours.path}"]
    sets += ["app:gateway:tls.client_auth=optional", *([] if tls.EVERYWHERE else tls.settings())]
    app = own_server("seen", shards=2, sets=sets)
    moved = Moved(app.server)

    def says(data, then=Wire.until_end):
        wire = Wire(app.address())
        wire.send(data)
        then(wire)
        wire.close()

    def shakes(context):
        with pytest.raises(OSError):
            shaken = Wire(app.address(), tls=context)
            # TLS 1.3 tells a client when it reads.
            if not shaken.sock.recv(1):
                raise ConnectionError("closed")

    old = tls.trusting.__wrapped__()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("AES128-SHA")
    strangers = tls.Authority("somebody else")
    for _ in range(2):
        assert app.http("GET", "/status/200").status == 200
        says(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        says(b"\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff")
        says(b"\x16\x03\x01", Wire.reset)
        says(b"\x16\x03\x01")
        shakes(old)
        shakes(strangers.context())
        shakes(ours.context(strangers.issue("alice")))
    results = ("done", "plain_http", "garbage", "gone", "timed_out", "incompatible", "distrusted", "client_certificate")
    for result in results:
        moved.waits(2, "moonwire_tls_handshakes_total", result=result, **SERVICE)
    moved.waits(0, "moonwire_tls_handshakes_total", result="crowded", **SERVICE)


@pytest.mark.parametrize("mode", ["on", "takeover"])
def test_compressed_messages_are_counted_plain_and_as_they_went(own_server, mode):
    app = own_server("compression", shards=2)
    moved, text = Moved(app.server), "again and " * 300
    client = app.ws(f"/{mode}/ws", compression="deflate")
    for _ in range(4):
        client.send(text)
        assert client.recv() == text
    for direction in ("received", "sent"):
        moved.waits(4 * len(text), "moonwire_websocket_compressed_plain_bytes_total", direction=direction)
        assert 0 < moved.by("moonwire_websocket_compressed_bytes_total", direction=direction) < len(text)
    plain = app.ws("/plain/ws", compression="deflate")
    plain.send(text)
    assert plain.recv() == text
    for direction in ("received", "sent"):
        moved.waits(4 * len(text), "moonwire_websocket_compressed_plain_bytes_total", direction=direction)


def test_the_program_itself_is_seen(app, moved):
    now = moved.now()

    def value(name, **labels):
        return now[(name, frozenset(labels.items()))]

    assert value("process_resident_memory_bytes") > 1 << 20
    assert 3 < value("process_open_fds") < value("process_max_fds")
    assert value("process_cpu_seconds_total") > 0
    assert value("process_start_time_seconds") > 1.6e9
    for shard in "01":
        assert value("moonwire_shard_turn_seconds_count", shard=shard) > 0
        assert 0 < value("moonwire_shard_turn_peak_seconds", shard=shard) < 600
        assert value("moonwire_heap_bytes", shard=shard) >= 0


def test_nothing_that_clients_or_programs_do_makes_the_page_grow(app, moved):
    """Two hundred paths, PIDs, codes, origins, methods and user agents."""
    for n in range(200):
        client = app.ws(f"/ws/{n}", additional_headers={"User-Agent": f"agent-{n}"})
        client.close(3000 + 9 * n, f"reason {n}")
        app.raw(f"/ws/{n}", handshake_headers(Origin=f"https://{n}.example"), expect=403).close()
        app.http(f"METHOD{n}", f"/nothing/{n}", {"Host": f"{n}.example"})
    assert moved.now().keys() == moved.before.keys()
