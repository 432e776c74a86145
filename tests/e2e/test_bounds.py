"""Both directions bounded: what all queues hold together, descriptors, the log's output, rates.
The bounds of one connection are in test_options.py and test_pressure.py."""

import os
import re
import resource
import select
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.folders import GOOD, HANDLER
from harness.lease import Lease, script
from harness.server import Server, binary
from harness.waiting import until
from harness.wire import PING, Wire, fetch

KIB, MIB = 1024, 1024 * 1024  # bytes


def figure(server, name):
    """The sum of a metric over its labels."""
    found = re.findall(rf"^moonwire_{name}(?:\{{[^}}]*\}})? (\S+)$", server.metrics(), re.MULTILINE)
    assert found, name
    return sum(map(float, found))


@pytest.fixture
def small():
    """A server whose queues hold 48 MiB together, on two shards."""
    running = Server(
        "relay", shards=2, services=("app:gateway", "app:proxied", "app:hasty"), args=("--max-queued", "48MiB")
    ).wait_ready()
    lease = Lease(running)
    yield lease
    try:
        lease.close()
        until(lambda: figure(running, "queued_bytes") == 0, "nothing is held when all clients are gone")
        running.stop()
    finally:
        running.kill()


# The cap on all queues


def shard(pid):
    """Where the process of a PID runs: the second of its numbers."""
    return pid.split("|")[1].split(".")[1]


class Stalling:
    """Ten clients that read nothing and get 13 MB each, one after the other; and one that reads on each shard."""

    def __init__(self, small):
        self.small, self.driver = small, small.driver()
        self.raws = [small.raw_to(self.driver, "deep", receive_buffer=4096) for _ in range(10)]
        self.pids = [self.driver.joined() for _ in self.raws]
        self.quick = {}
        while len(self.quick) < 2:
            healthy = small.join(self.driver)
            pid = self.driver.joined()
            self.quick.setdefault(shard(pid), (pid, healthy))

    def fill(self, meanwhile):
        for pid in self.pids:
            for _ in range(5):
                self.driver.burst(pid, "ws.send", 40, raw={"data": {"$repeat": "x", "count": 65536}})
                for quick, healthy in self.quick.values():
                    self.driver.ws_send(quick, "still here")
                    assert healthy.recv() == "still here"
                meanwhile()

    def has_room(self):
        return figure(self.small.server, "queued_bytes") <= 48 * MIB

    def gone(self):
        """The PIDs of those that were closed, in order."""
        until(lambda: self.has_room(), "below the cap")
        self.driver.ping()
        leaves = [leave["data"] for leave in self.driver.received(topic="ws.leave")]
        assert {(leave["cause"], leave["code"]) for leave in leaves} == {("slow", 1013)}
        assert figure(self.small.server, "connections_evicted_total") == len(leaves)
        return [leave["client_pid"] for leave in leaves]


def test_beyond_max_queued_the_slowest_client_of_all_shards_is_closed_and_the_others_are_not(small):
    """Whoever stalled first goes first, whatever its shard: what comes leaves the shards room to wait for one another."""
    stalling = Stalling(small)
    stalling.fill(lambda: until(stalling.has_room, "somebody has to go"))
    gone = stalling.gone()
    assert 7 <= len(gone) <= 8, "as many as have to"
    assert gone == stalling.pids[: len(gone)]
    assert all(stalling.driver.is_alive(pid) for pid in stalling.pids[len(gone) :])
    small.wait_fault("the slowest clients were closed", "max-queued")


def test_far_beyond_max_queued_each_shard_closes_its_own_slowest_clients_in_order(small):
    """More comes than leaves room to wait for another shard. The order holds on each shard, and nobody goes in vain."""
    stalling = Stalling(small)
    stalling.fill(lambda: None)
    until(lambda: figure(small.server, "connections_evicted_total") >= 7, "some have to go")
    gone = stalling.gone()
    for number in {shard(pid) for pid in stalling.pids}:
        mine = [pid for pid in stalling.pids if shard(pid) == number]
        theirs = [pid for pid in gone if shard(pid) == number]
        assert theirs == mine[: len(theirs)]
    assert len(gone) <= 8, "one too many at most, where both shards closed one at once"


def test_beyond_max_queued_a_client_of_small_messages_reads_1013(small):
    driver = small.driver()
    raws = [small.raw_to(driver, "deep", receive_buffer=4096) for _ in range(4)]
    pids = [driver.joined() for _ in raws]
    for pid in pids:
        for _ in range(4):
            driver.burst(pid, "ws.send", 3000, raw={"data": {"$repeat": "x", "count": 1500}})
    first = driver.message("ws.leave")["data"]
    assert (first["cause"], first["code"]) == ("slow", 1013)
    _, close = raws[pids.index(first["client_pid"])].receive_close()
    assert (close.code, close.reason) == (1013, "slow client")


def test_unfinished_messages_of_slow_senders_are_bounded_too(small):
    """Seventy clients of 900 KiB each that never finish: 63 MB do not fit into 48 MiB."""
    driver = small.driver()
    raws = [small.raw_to(driver) for _ in range(70)]
    for _ in raws:
        driver.joined()
    for raw in raws:
        raw.send(raw.frame(0x2, b"x" * 1_000_000)[: 900 * KIB])
    until(
        lambda: driver.ping() is not None and len(driver.received(topic="ws.leave")) >= 8, "some have to go", 30
    )
    assert {m["data"]["cause"] for m in driver.received(topic="ws.leave")} == {"slow"}
    until(lambda: figure(small.server, "queued_bytes") <= 48 * MIB, "below the cap")
    assert len(driver.received(topic="ws.leave")) < 50, "and no more than have to"


def test_unfinished_request_bodies_are_bounded_and_refused_with_503(small):
    wires = []
    for _ in range(40):
        wire = Wire(small.address())
        wires.append(wire)
        head = f"POST {script('ws', [['write', 'x']])} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        wire.send(head.encode() + b"x" * 900_000)
    statuses = []

    def refused():
        statuses.clear()
        for wire in wires:
            wire.sock.setblocking(False)
            try:
                data = wire.sock.recv(20, socket.MSG_PEEK)
                statuses.append(data[9:12])
            except BlockingIOError:
                continue
            except ConnectionResetError:
                statuses.append(b"503")
        return len(statuses) >= 12

    until(refused, "what does not fit into half of the cap is refused")
    assert set(statuses) <= {b"503"}
    assert figure(small.server, "queued_bytes") <= 24 * MIB
    for wire in wires:
        wire.sock.close()


def test_bodies_that_do_not_go_on_make_room_for_those_that_do(small):
    """Half of the cap is full of bodies that nobody finishes: who posts now is not answered 503 for all their time."""
    stuck = []
    for _ in range(30):
        wire = Wire(small.address())
        stuck.append(wire)
        head = f"POST {script('ws', [['write', 'x']])} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        wire.send(head.encode() + b"x" * 900_000)
    until(lambda: figure(small.server, "queued_bytes") >= 20 * MIB, "half of the cap is full")

    def posted():
        answer = fetch(small.address(), "POST", script("ws", [["write", "taken"]]), body=b"x" * 900_000)
        assert (answer.status, answer.body) == (200, b"taken") or answer.status == 503
        return answer.status == 200

    for _ in range(5):
        until(posted, "there is room for who goes on", 5)
    assert 1 <= figure(small.server, "bodies_cut_total") <= 15, "as many as have to"
    for wire in stuck:
        wire.sock.close()


def test_a_broadcast_of_a_big_message_to_clients_that_read_ends_nobody(small):
    """Sixty frames of 1 MiB are far more than the cap, and all are taken."""
    driver = small.driver()
    clients = [small.join(driver, options={"max_size": None}) for _ in range(60)]
    pids = [driver.joined() for _ in clients]
    done = []

    def read(client):
        done.append(len(client.recv(30)))

    readers = [threading.Thread(target=read, args=(client,)) for client in clients]
    for reader in readers:
        reader.start()
    payload = {"data": {"$repeat": "x", "count": 300_000}}
    for pid in pids:
        driver.burst(pid, "ws.send", 1, raw=payload)
    for reader in readers:
        reader.join(40)
    assert done == [300_000] * 60
    assert figure(small.server, "connections_evicted_total") == 0


# A slow client is seen


def test_a_client_that_misses_messages_is_named_in_the_log_once(relay, driver):
    for router in ("oldest", "newest"):
        raw = relay.raw_to(driver, router, receive_buffer=4096)
        pid = driver.joined()
        driver.burst(pid, "ws.send", 600, raw={"data": {"$repeat": "x", "count": 65536}})
        found = relay.wait_log(lambda r: r["message"] == "a slow client misses messages" and r["pid"] == pid)
        assert (found["entry"], found["policy"]) == (f"app:{router}", f"drop_{router}")
        driver.burst(pid, "ws.send", 600, raw={"data": {"$repeat": "x", "count": 65536}})
        driver.ping()
        lines = [r for r in relay.server.log[relay.since :] if r.get("pid") == pid and r["message"].startswith("a slow")]
        assert len(lines) == 1, "not one for each frame"
        raw.reset()


# A client that takes nothing of an answer


FILES = """\
  - name: files
    kind: http.static
    meta: { server: gateway }
    path: /files
    dir: file://public
"""


@pytest.mark.parametrize("path", ["/files/big.bin", "/ws/hello"], ids=["a_file", "a_handlers_answer"])
def test_a_client_that_reads_nothing_of_its_answer_is_closed_after_the_idle_time(folder, path):
    """And one that reads slowly, for longer than that, gets all of it."""
    app = folder(GOOD + "\n" + FILES, handler__luau=HANDLER.replace('"hello"', 'string.rep("x", 8000000)'))
    (app / "public").mkdir()
    (app / "public" / "big.bin").write_bytes(b"x" * 8_000_000)
    server = Server(app, sets=("app:gateway:timeouts.idle=700ms",)).wait_ready()
    address = server.addresses["app:gateway"]
    stuck = Wire(address, receive_buffer=4096)
    stuck.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    slow = Wire(address, receive_buffer=65536)
    slow.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    taken, began = 0, time.monotonic()
    while chunk := slow.sock.recv(65536):
        taken += len(chunk)
        select.select([], [], [], 0.015)
    assert taken > 8_000_000 and time.monotonic() - began > 1.4, "slow, and whole"
    until(lambda: server.counters()["sockets"] == 0, "the one that reads nothing is gone")
    stuck.close()
    server.stop()


# Descriptors


def test_a_soft_limit_of_descriptors_is_raised_to_the_hard_one(folder):
    """As most systems begin a service: 1,024 at first. More clients than the soft limit are served."""
    server = Server(folder(), shards=2, limit=(100, 2000)).wait_ready()
    limits = Path(f"/proc/{server.child.pid}/limits").read_text()
    assert re.search(r"^Max open files +2000 +2000 ", limits, re.MULTILINE), limits
    ready = server.wait_log(lambda r: r["message"] == "ready")
    assert ready["connections"] > 1000
    wires = [Wire(server.addresses["app:gateway"]) for _ in range(200)]
    for wire in wires:
        assert wire.request("GET", "/ws/hello").status == 200
    assert server.descriptors() > 200
    for wire in wires:
        wire.close()
    server.stop()


def test_near_the_limit_of_descriptors_clients_hear_503_and_the_others_go_on(folder):
    """A limit of 200: the start says what fits, a flood of 400 connections gets 503, and room is room again."""
    server = Server(folder(), shards=2, limit=200).wait_ready()
    ready = server.wait_log(lambda r: r["message"] == "ready")
    most = ready["connections"]
    assert 60 <= most <= 120
    address = server.addresses["app:gateway"]
    first = Wire(address)
    assert first.request("GET", "/ws/hello").status == 200
    wires = []
    for _ in range(400):
        wire = Wire(address)
        wire.sock.setblocking(False)
        wires.append(wire)
    heard = set()

    def turned_away():
        for index, wire in enumerate(wires):
            try:
                data = wire.sock.recv(4096)
                heard.add((index, data[:12]))
            except (BlockingIOError, ConnectionResetError):
                continue
        return sum(text == b"HTTP/1.1 503" for _, text in heard) >= 1

    until(turned_away, "somebody is told to come later")
    assert first.request("GET", "/ws/hello").status == 200, "who is there goes on"
    assert server.alive and server.descriptors() < 200
    for wire in wires:
        wire.close()
    until(lambda: _answers(address), "there is room again")
    assert first.request("GET", "/ws/hello").status == 200
    faults = [r for r in server.log if r.is_fault]
    assert 1 <= len(faults) <= 6, "and the log was not flooded"
    first.close()
    server.stop()


def _answers(address):
    try:
        return fetch(address, "GET", "/ws/hello").status == 200
    except OSError:
        return False


def test_when_descriptors_are_used_up_accepting_pauses_and_goes_on(folder):
    """The limit falls below what is open: accept fails until it rises again."""
    server = Server(folder(), shards=2).wait_ready()
    address = server.addresses["app:gateway"]
    first = Wire(address)
    assert first.request("GET", "/ws/hello").status == 200
    pid = server.child.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, before[1]))
    waiting = [Wire(address) for _ in range(50)]
    for wire in waiting:
        wire.send("GET /ws/hello HTTP/1.1\r\nHost: x\r\n\r\n")
    server.wait_log(lambda r: r.is_fault and r.says("no connection can be accepted"))
    for _ in range(20):
        assert first.request("GET", "/ws/hello").status == 200, "who is there goes on"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    for wire in waiting:
        assert wire.response().status == 200, "who waited is served"
        wire.close()
    assert len([r for r in server.log if r.says("no connection can be accepted")]) <= 4
    first.close()
    until(lambda: server.counters()["sockets"] == 0, "all are gone")
    server.stop()


# The log's output


NOISY = HANDLER.replace(
    "    http.response()",
    """    for i = 1, 200 do
        require("logger"):info(string.rep("x", 400))
    end
    http.response()""",
)


def lost_lines(address):
    text = fetch(address, "GET", "/metrics").text
    return int(re.search(r"^moonwire_log_lines_dropped_total (\d+)$", text, re.MULTILINE).group(1))


class Logged:
    """A server whose standard error is of the test's choice."""

    def __init__(self, app, stderr, stdout=None):
        port, admin = free_port(), free_port()
        self.address, self.admin = ("127.0.0.1", port), ("127.0.0.1", admin)
        command = [binary(), "run", str(app), "--set", f"app:gateway:addr=127.0.0.1:{port}"]
        command += ["--admin", f"127.0.0.1:{admin}", "--shards", "1", "--log-format", "json"]
        self.child = subprocess.Popen(command, stdout=stdout or subprocess.DEVNULL, stderr=stderr)
        until(lambda: _answers(self.address), "the server answers")

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(10) == 0


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def noisy(folder):
    return folder(GOOD.replace("[http]", "[http, logger]"), handler__luau=NOISY)


def test_a_full_disk_under_the_log_costs_lines_and_nothing_else(folder):
    with open("/dev/full", "wb") as full:
        server = Logged(noisy(folder), full)
    for _ in range(20):
        assert fetch(server.address, "GET", "/ws/hello").status == 200
    until(lambda: lost_lines(server.admin) >= 4000, "each line is counted")
    server.stop()


def test_a_log_that_nobody_reads_holds_nobody_up_and_is_read_later(folder):
    reading, writing = os.pipe()
    server = Logged(noisy(folder), writing)
    os.close(writing)
    for _ in range(60):
        assert fetch(server.address, "GET", "/ws/hello").status == 200
    until(lambda: lost_lines(server.admin) > 0, "the queue is full")
    text = b""
    while b"log lines were dropped" not in text:
        text += os.read(reading, 65536)
        assert _answers(server.address)
    reader = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reading, 65536), b"")])
    reader.start()
    server.stop()
    reader.join(10)
    os.close(reading)


def test_a_log_that_nobody_reads_holds_up_no_exit(folder):
    reading, writing = os.pipe()
    server = Logged(noisy(folder), writing)
    os.close(writing)
    for _ in range(60):
        assert fetch(server.address, "GET", "/ws/hello").status == 200
    server.stop()
    os.close(reading)


def test_a_broken_pipe_at_either_output_is_no_end(folder):
    reading, writing = os.pipe()
    os.close(reading)
    server = Logged(noisy(folder), writing, stdout=writing)
    os.close(writing)
    for _ in range(5):
        assert fetch(server.address, "GET", "/ws/hello").status == 200
    until(lambda: lost_lines(server.admin) >= 1000, "each line is counted")
    server.stop()


def test_mistakes_that_cannot_be_printed_are_still_exit_code_2(folder):
    app = folder(GOOD.replace("http.service", "http.servise"))
    with open("/dev/full", "wb") as full:
        assert subprocess.run([binary(), "run", str(app)], stderr=full, timeout=30).returncode == 2


# Rates


def test_a_rate_counts_pings_too_and_holds_up_nobody_else(relay, driver):
    """Sixty Pings at 20 a second: the message behind them comes after two seconds, another client's at once."""
    greedy = relay.raw_to(driver, "rate-messages")
    driver.joined()
    began = time.monotonic()
    greedy.send(b"".join(greedy.frame(PING, str(number)) for number in range(60)))
    greedy.send_text("behind")
    room = driver.spawn(echo=True)
    other = relay.join(room)
    room.joined()
    for number in range(50):
        other.send(str(number))
        assert other.recv() == str(number)
    assert time.monotonic() - began < 2 or driver.received(topic="ws.message")
    assert driver.message("ws.message")["data"]["data"] == "behind"
    assert time.monotonic() - began > 1.8
