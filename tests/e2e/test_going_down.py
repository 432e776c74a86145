"""Going down and coming back: SIGTERM tells readiness probes, spreads 1012 over the drain time, lets targets say
their last words and exits in time; `/healthz` and `/readyz` of the admin address."""

import re
import selectors
import signal
import socket
import threading
import time

import pytest

from harness.folders import GOOD, HANDLER
from harness.server import Server
from harness.waiting import until
from harness.wire import CLOSE, RawSocket, Wire, fetch, handshake_headers

HUB = """\
version: "1.0"
namespace: app
entries:
  - name: gateway
    kind: http.service
    addr: 127.0.0.1:0
    timeouts: { drain: 4s }

  - name: processes
    kind: process.host

  - name: room
    kind: process.lua
    source: file://room.luau
    method: main
    modules: [logger, time]

  - name: rooms
    kind: process.service
    process: room
    host: processes
    lifecycle: { auto_start: true, stop_timeout: 2s }

  - name: own
    kind: process.lua
    source: file://room.luau
    method: own
    modules: [logger]

  - name: ws
    kind: http.router
    meta: { server: gateway }
    prefix: /ws
    post_middleware: [websocket_relay]

  - name: join
    kind: http.endpoint
    meta: { router: ws }
    method: GET
    path: /{which}
    func: handler

  - name: handler
    kind: function.lua
    source: file://handler.luau
    method: handler
    modules: [http, json, time]
"""

ROOM = """\
local logger = require("logger")

-- One room for all: it counts, and says so when it is cancelled.
local function main()
    process.registry.register("room")
    local inbox, events = process.inbox(), process.events()
    local joins, leaves, members = 0, 0, {}
    while true do
        local got = channel.select({ inbox:case_receive(), events:case_receive() })
        if got.channel == events then
            logger:info("room cancelled", { joins = joins, leaves = leaves })
            return
        end
        local topic, data = got.value:topic(), got.value:payload():data()
        if topic == "ws.join" then
            joins = joins + 1
            members[data.client_pid] = true
        elseif topic == "ws.message" then
            -- Below wsrelay.send.buffer, and more than the kernel takes for who does not read.
            for i = 1, 12 do
                process.send(data.client_pid, "ws.send", { data = string.rep("x", 65536) })
            end
        elseif topic == "ws.leave" then
            members[data.client_pid] = nil
            if data.cause == "shutdown" and data.code == 1012 then
                leaves = leaves + 1
            end
            local last = next(members)
            if last then
                process.send(last, "ws.send", { data = "somebody left" })
            end
        end
    end
end

-- A process for one client: its last words are a line of the log, and take a while.
local function own()
    local inbox = process.inbox()
    while true do
        local message = inbox:receive()
        if message:topic() == "ws.leave" then
            local sum = 0
            for i = 1, 30000 do
                sum = sum + i % 7
            end
            logger:info("last words", { cause = message:payload():data().cause, sum = sum })
            return
        end
    end
end

return { main = main, own = own }
"""

JOIN = """\
local http = require("http")
local json = require("json")
local time = require("time")

local function handler()
    local res = http.response()
    local which = http.request():param("which")
    if which == "slow" then
        time.sleep("700ms")
        res:write("in the end")
        return
    end
    local target = "room"
    if which == "own" then
        target = process.spawn("app:own", "app:processes")
    end
    res:header("X-WS-Relay", json.encode({ target_pid = target }))
end

return { handler = handler }
"""


@pytest.fixture
def hub(folder):
    """Starts the application above, and ends it whatever happens."""
    started = []

    def start(**settings):
        app = folder(HUB, handler__luau=JOIN, room__luau=ROOM)
        started.append(Server(app, shards=2, **settings).wait_ready())
        return started[-1]

    yield start
    for server in started:
        server.kill()


def connect(server, which, count, **options):
    raws = []
    for _ in range(count):
        raw = RawSocket(server.addresses["app:gateway"], **options)
        assert raw.open(f"/ws/{which}").status == 101
        raws.append(raw)
    return raws


def closes(raws, deadline=20):
    """Reads all of them to their close frames, and answers those: when each came, and its code."""
    selector = selectors.DefaultSelector()
    for raw in raws:
        selector.register(raw.sock, selectors.EVENT_READ, raw)
    when, end = [], time.monotonic() + deadline
    while selector.get_map() and time.monotonic() < end:
        for key, _ in selector.select(1):
            frame = key.data.receive_message()
            if frame.opcode == CLOSE:
                when.append((time.monotonic(), frame.code))
                key.data.send_close(frame.code)
                selector.unregister(key.fileobj)
    assert not selector.get_map(), f"{len(selector.get_map())} of {len(raws)} heard nothing"
    return when


def figure(server, name):
    """The sum of a metric over its labels."""
    found = re.findall(rf"^moonwire_{name}(?:\{{[^}}]*\}})? (\S+)$", server.metrics(), re.MULTILINE)
    assert found, name
    return sum(map(float, found))


def admin(server, path):
    return fetch(server.addresses["admin"], "GET", path)


def test_600_connections_are_closed_with_1012_over_the_drain_time_and_every_target_is_told(hub):
    server = hub()
    raws = connect(server, "room", 600)
    server.terminate()
    began = time.monotonic()
    when = closes(raws)
    assert {code for _, code in when} == {1012} and len(when) == 600
    times = sorted(at - began for at, _ in when)
    assert times[-1] - times[0] > 1.4, "spread over the drain time of 4 s"
    assert times[-1] < 5, "and within it"
    for first in range(0, 600, 60):
        assert times[first + 59] - times[first] > 0.02, "no crowd comes back at once"
    assert server.wait(10) == 0
    assert time.monotonic() - began < 8
    words = server.wait_log(lambda r: r["message"] == "room cancelled")
    assert (words["joins"], words["leaves"]) == (600, 600), "each ws.leave came, with cause shutdown"


def test_each_target_of_its_own_says_its_last_words(hub):
    """Two hundred processes, one for each client, that hear ws.leave when their client is closed."""
    server = hub(sets=("app:gateway:timeouts.drain=1s",))
    raws = connect(server, "own", 200)
    server.terminate()
    assert {code for _, code in closes(raws)} == {1012}
    assert server.wait(10) == 0
    words = [r for r in server.log if r["message"] == "last words"]
    assert len(words) == 200 and {r["cause"] for r in words} == {"shutdown"}


def test_what_a_target_sends_when_others_leave_reaches_those_that_are_still_there(hub):
    server = hub(sets=("app:gateway:timeouts.drain=1s",))
    raws = connect(server, "room", 10)
    server.terminate()
    texts, codes = [], []
    for raw in raws:
        before, close = raw.receive_close()
        raw.send_close(1012)
        texts += [frame.text for frame in before]
        codes.append(close.code)
    assert codes == [1012] * 10
    assert "somebody left" in texts
    assert server.wait(10) == 0


def test_a_stalled_client_does_not_hold_up_the_exit(hub):
    """Each has a window of 4 KiB and a queue at the server that the kernel took no more of."""
    server = hub(sets=("app:gateway:timeouts.drain=1s",))
    raws = connect(server, "room", 20, receive_buffer=4096)
    for raw in raws:
        raw.send_text("fill")
    until(lambda: figure(server, "websocket_blocked_connections") == 20, "all of them are stalled")
    assert figure(server, "queued_bytes") > 20 * 64 * 1024
    assert figure(server, "connections") >= 20, "and nobody was closed for it"
    server.terminate()
    began = time.monotonic()
    assert server.wait(10) == 0, "none of them read, answered or closed"
    assert time.monotonic() - began < 6
    for raw in raws:
        raw.close()


def test_a_request_under_way_is_answered_and_then_its_connection_ends(hub):
    server = hub()
    wire = Wire(server.addresses["app:gateway"])
    wire.send("GET /ws/slow HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: server.counters()["processes"] > 1, "the handler runs")
    server.terminate()
    answer = wire.response()
    assert (answer.status, answer.body) == (200, b"in the end")
    assert wire.ended()
    assert server.wait(10) == 0


def test_a_handshake_that_comes_too_late_is_refused(hub):
    """On a connection that was there: 503 and its end. On a new one: nobody listens."""
    server = hub()
    raws = connect(server, "room", 2)
    late = RawSocket(server.addresses["app:gateway"])
    head = [f"{name}: {value}" for name, value in handshake_headers().items()]
    late.send("GET /ws/room HTTP/1.1\r\nHost: x\r\n")
    until(lambda: server.counters()["sockets"] >= 3, "it is accepted")
    server.terminate()
    until(lambda: not listens(server.addresses["app:gateway"]), "nobody listens")
    late.send("\r\n".join([*head, "", ""]))
    answer = late.response()
    assert answer.status == 503
    assert answer.header("connection") == "close" and answer.header("retry-after")
    assert 'handshakes_total{service="app:gateway",result="draining"} 1' in server.metrics()
    assert {code for _, code in closes(raws)} == {1012}
    assert server.wait(10) == 0


def listens(address):
    try:
        socket.create_connection(address, timeout=5).close()
        return True
    except OSError:
        return False


@pytest.mark.parametrize("name, code", [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_second_signal_cuts_at_once(hub, name, code):
    server = hub(sets=("app:gateway:timeouts.drain=60s",))
    raws = connect(server, "room", 50)
    server.terminate()
    server.wait_log(lambda r: r["message"].startswith("shutting down"))
    began = time.monotonic()
    server.child.send_signal(getattr(signal, name))
    assert server.wait(5) == code
    assert time.monotonic() - began < 3
    for raw in raws:
        raw.close()


def test_the_port_can_be_bound_again_at_once(hub):
    """Connections of the first server are in TIME_WAIT, and a crash leaves others: neither holds the port."""
    first = hub(sets=("app:gateway:timeouts.drain=500ms",))
    address = "%s:%d" % first.addresses["app:gateway"]
    raws = connect(first, "room", 50)
    first.terminate()
    closes(raws)
    assert first.wait(10) == 0
    second = hub(sets=(f"app:gateway:addr={address}",), services=())
    connect(second, "room", 20)
    second.kill()
    third = hub(sets=(f"app:gateway:addr={address}",), services=())
    assert connect(third, "room", 1)
    third.terminate()
    assert third.wait(10) == 0


# Probes


def test_readyz_and_healthz_say_ok_while_all_is_well(hub):
    server = hub()
    for path in ("/healthz", "/readyz"):
        answer = admin(server, path)
        assert (answer.status, answer.text) == (200, "ok\n")


def test_readyz_is_503_at_once_and_connections_are_accepted_for_the_unready_time(hub):
    """Load balancers look first and connect then: they see 503 before anybody is refused."""
    server = hub(sets=("app:gateway:timeouts.unready=1500ms", "app:gateway:timeouts.drain=500ms"))
    raws = connect(server, "room", 3)
    server.terminate()
    began = time.monotonic()
    until(lambda: admin(server, "/readyz").status == 503, "unready")
    answer = admin(server, "/readyz")
    assert (answer.status, answer.text) == (503, "shutting down\n")
    assert admin(server, "/healthz").status == 200, "stopping is no illness"
    late = connect(server, "room", 1)
    assert time.monotonic() - began < 1.5, "the machine is too busy for this test"
    assert {code for _, code in closes(raws + late)} == {1012}
    assert time.monotonic() - began > 1.4
    assert server.wait(10) == 0


def test_readyz_is_503_until_services_are_there(folder):
    slow = HUB.replace("stop_timeout: 2s }", "stop_timeout: 2s, start_timeout: 1500ms }")
    room = ROOM.replace(
        'process.registry.register("room")', 'local t = 0\n    while t < 1e12 do\n        t = t + 1\n    end'
    )
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = found.getsockname()
    server = Server(folder(slow, handler__luau=JOIN, room__luau=room), admin="%s:%d" % address)
    answer = until(lambda: ask_early(address, "/readyz"), "the admin address answers")
    assert (answer.status, answer.text) == (503, "starting\n")
    assert ask_early(address, "/healthz").status == 200
    server.wait_ready()
    assert admin(server, "/readyz").status == 200, "a service that starts slowly is waited for no longer"
    server.terminate()
    assert server.wait(15) == 0


def ask_early(address, path):
    try:
        return fetch(address, "GET", path)
    except OSError:
        return None


def test_readyz_names_a_service_that_was_given_up(folder):
    given_up = HUB.replace(
        "stop_timeout: 2s }", "stop_timeout: 2s, restart: { initial_delay: 10ms, max_attempts: 1 } }"
    )
    room = ROOM.replace('process.registry.register("room")', 'error("on purpose")')
    server = Server(folder(given_up, handler__luau=JOIN, room__luau=room)).wait_ready()
    answer = until(lambda: (found := admin(server, "/readyz")).status == 503 and found, "unready")
    assert answer.text == "app:rooms was given up\n"
    assert admin(server, "/healthz").status == 200
    server.stop()


@pytest.mark.parametrize("written", [":0", "localhost:0"])
def test_the_admin_address_is_written_like_that_of_a_service(folder, written):
    server = Server(folder(), admin=written).wait_ready()
    address = ("127.0.0.1", server.addresses["admin"][1])
    assert fetch(address, "GET", "/healthz").status == 200
    server.stop()


def test_the_admin_address_is_kept_from_nobody_by_connections_that_say_nothing(hub):
    server = hub()
    silent = [Wire(server.addresses["admin"]) for _ in range(100)]
    for wire in silent[50:]:
        wire.send("GET /metrics HT")
    for _ in range(20):
        assert admin(server, "/healthz").status == 200
    assert threading.active_count() < 50
    for wire in silent:
        wire.close()
    server.terminate()
    assert server.wait(10) == 0
