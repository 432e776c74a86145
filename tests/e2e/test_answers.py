"""Answers of HTTP that nobody reads: they count in --max-queued, and the slowest go first.
What WebSockets hold is in test_bounds.py."""

import time

import pytest

from harness import tls
from harness.bystander import MIB, resident
from harness.folders import GOOD, HANDLER
from harness.frames import CODES, END_STREAM, DATA, RST_STREAM, WINDOW_UPDATE, Frames, frame, headers, settings
from harness.http2 import Http2, Reset, trusting
from harness.server import Server
from harness.waiting import until
from harness.wire import Wire
from test_bounds import figure

pytestmark = pytest.mark.skipif(tls.EVERYWHERE, reason="the test says which services speak TLS")
CAP, LARGE = 16 * MIB, 7 * MIB

LARGE_ENDPOINT = """\
  - name: large
    kind: http.endpoint
    meta: { router: ws }
    method: GET
    path: /large
    func: large

  - name: large
    kind: function.lua
    source: file://large.luau
    method: handler
    modules: [http]
"""


@pytest.fixture(params=["http", "https"])
def server(folder, request):
    """Two shards, whose queues hold 16 MiB together, and an answer of 7 MiB."""
    app = folder(
        GOOD + "\n" + LARGE_ENDPOINT.replace("name: large\n    kind: http", "name: large_page\n    kind: http"),
        large__luau=HANDLER.replace('"hello"', f'string.rep("x", {LARGE})'),
    )
    sets = tls.settings() if request.param == "https" else ()
    running = Server(app, shards=2, sets=tuple(sets), args=("--max-queued", "16MiB")).wait_ready()
    running.is_secure = request.param == "https"
    yield running
    try:
        until(lambda: running.counters()["sockets"] == 0, "all clients are gone")
        # A handler whose client has gone may still be writing.
        until(lambda: figure(running, "queued_bytes") == 0, "nothing is held")
        running.stop()
    finally:
        running.kill()


def wire(server, **options):
    return Wire(server.addresses["app:gateway"], tls=tls.trusting() if server.is_secure else None, **options)


def http2(server, **options):
    return Http2(server.addresses["app:gateway"], context=trusting() if server.is_secure else None, **options)


def large(server):
    """What a client that reads gets for the large answer: it is 503 as long as others that just came hold all."""
    one = wire(server, timeout=20)
    answer = one.request("GET", "/ws/large")
    one.close()
    assert answer.status == 503 or len(answer.body) == LARGE
    return answer.status


class Watch:
    """What the server's process takes at most, and what the gauge says at most."""

    def __init__(self, server):
        self.server = server
        for _ in range(3):
            assert large(server) == 200
        self.before, self.most, self.held = resident(server), 0, 0

    def look(self):
        self.most = max(self.most, resident(self.server))
        self.held = max(self.held, figure(self.server, "queued_bytes"))

    def judge(self):
        print(f"from {self.before / MIB:.0f} MiB to {self.most / MIB:.0f} MiB, the gauge to {self.held / MIB:.1f} MiB")
        assert self.most < self.before + CAP + 48 * MIB
        assert LARGE <= self.held <= CAP


def test_answers_that_nobody_reads_stay_below_the_cap_and_the_slowest_are_cut(server):
    watch = Watch(server)
    stuck = []
    for _ in range(40):
        one = wire(server, receive_buffer=4096)
        one.send("GET /ws/large HTTP/1.1\r\nHost: x\r\n\r\n")
        stuck.append(one)
        watch.look()
        reader = wire(server)
        assert reader.request("GET", "/ws/hello").status == 200, "small answers go on"
        reader.close()
    until(lambda: watch.look() or large(server) == 200, "those who take nothing make room for who reads")
    assert figure(server, "answers_cut_total") >= 1
    watch.judge()
    for one in stuck:
        one.close()
    until(lambda: figure(server, "queued_bytes") == 0, "nothing is held when all clients are gone")


def test_streams_that_nobody_reads_stay_below_the_cap_and_the_slowest_are_reset(server):
    watch = Watch(server)
    deaf = [http2(server, acknowledges=False) for _ in range(2)]
    for one in deaf:
        numbers = [one.start("GET", "/ws/large") for _ in range(50)]
        heads = [one.head(number) for number in numbers]
        assert set(heads) <= {200, 503}
        watch.look()
    reader = http2(server)

    def served():
        watch.look()
        answer = reader.request("GET", "/ws/large")
        return answer.status == 200 and len(answer.body) == LARGE

    until(served, "those who take nothing make room for who reads")
    assert figure(server, "answers_cut_total") >= 1
    resets = lambda: sum(stream.reset is not None for one in deaf for stream in one.streams.values())
    for one in deaf:
        one.ping()
    assert resets() >= 1 and all(one.gone is None for one in deaf), "streams are reset, and connections stay"
    watch.judge()
    for one in [*deaf, reader]:
        one.close()


def test_a_connection_of_http2_that_takes_nothing_at_all_holds_no_answers_for_long(server):
    """All windows are open, and the socket is not read: what is cut is given back although no reset can be sent."""
    if server.is_secure:
        pytest.skip("frames are sent in the clear")
    watch = Watch(server)
    one = Frames(server.addresses["app:gateway"], receive_buffer=4096, first=settings((4, (1 << 31) - 1)))
    one.send(frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))
    one.send(b"".join(headers(number, path="/ws/large") for number in range(1, 101, 2)))
    until(lambda: watch.look() or figure(server, "queued_bytes") >= LARGE, "an answer waits")
    until(lambda: watch.look() or large(server) == 200, "it makes room for who reads")
    watch.judge()
    one.close()


def test_whoever_reads_slowly_keeps_its_answer_as_long_as_others_are_slower(server):
    slow = wire(server, receive_buffer=65536, timeout=20)
    slow.send("GET /ws/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert slow.head().status == 200
    taken, stuck, end = len(slow.rest), [], time.monotonic() + 20
    while taken < LARGE and time.monotonic() < end:
        chunk = slow.sock.recv(65536)
        assert chunk, f"cut after {taken} bytes"
        taken += len(chunk)
        if len(stuck) < 10:
            one = wire(server, receive_buffer=4096)
            one.send("GET /ws/large HTTP/1.1\r\nHost: x\r\n\r\n")
            stuck.append(one)
    assert taken == LARGE
    for one in [slow, *stuck]:
        one.close()
