"""Random spawns, kills, links and transfers for as long as asked for: resident memory stays flat, nothing is left.

`cargo xtask soak --minutes 40` builds the server for speed and runs this. The application `churn` stirs on both
shards; threads here are its clients: they talk, move between halls, close well, cut the line, and ask over HTTP. Half of
them do so in other ways than plain WebSockets: compressed, over TLS, over HTTP/2, and over HTTP/2 in TLS. Some
misbehave: they stop reading, say FIN and stay, send half a frame or half a handshake, or break the protocol.

Fails if resident memory or open descriptors grow beyond a bound after the warm-up, or memory steadily at all, if the server
says what it must not say, or if counters or descriptors are not back where they were when everybody has gone.
"""

import argparse
import os
import random
import socket
import statistics
import sys
import threading
import time

from harness import http2, tls
from harness.bystander import resident
from harness.deflated import DeflatedSocket
from harness.http2 import Http2
from harness.server import Server
from harness.waiting import until
from harness.wire import CLOSE, TEXT, RawSocket, fetch, handshake_headers

MIB = 1 << 20
# The first part of the run, in which heaps and pools grow to what they need.
WARM_UP = 0.3
# What resident memory may grow by after it. A short run has hardly warmed up.
GROWTH, SHORT_GROWTH = 0.03, 0.10
SLACK, SHORT = 6 * MIB, 300.0
# How fast it may grow for long, in bytes an hour, and how long a run has to be for that to be told from chance. In two
# recorded runs of 45 minutes samples half a minute apart deviated by 1.1 and 1.3 MiB and did not depend on one
# another, which is about 0.9 MiB an hour in the slope: test_soak.py.
SLOPE, LONG = 2.5 * MIB, 30 * 60.0
# How many samples, one a second, are one point of the slope.
WINDOW = 60
# What open descriptors may: as many connections as clients come and go meanwhile, some of them still closing.
DESCRIPTORS = 30
# Each client thread pauses after a connection, so that the run leaves the machine to others as well.
PAUSE = 0.02
HALLS = ("left", "right")
# How clients speak: a plain one as often as all the others together.
KINDS = ("plain",) * 5 + ("deflated", "takeover", "secure", "http2", "secure http2")


class Clients:
    """Threads that behave as clients do, well and badly, until they are told to stop."""

    def __init__(self, server, count, seed):
        self.address = server.addresses["app:gateway"]
        self.secure = server.addresses["app:secure"]
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.counts = {"connections": 0, "messages": 0, "transfers": 0, "cut": 0, "misbehaved": 0, "failures": 0}
        self.kinds = dict.fromkeys(KINDS, 0)
        self.faults = []
        self.threads = [
            threading.Thread(target=self._run, args=(random.Random(seed + number),), daemon=True)
            for number in range(count)
        ]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"

    def _count(self, what, by=1):
        with self.lock:
            self.counts[what] += by

    def _run(self, chance):
        while not self.stopped.is_set():
            try:
                self._visit(chance)
            except (OSError, EOFError, AssertionError, http2.Reset) as fault:
                self._count("failures")
                self.faults.append(repr(fault))
            self.stopped.wait(PAUSE)

    def _visit(self, chance):
        if chance.random() < 0.2:
            answer = fetch(self.address, "GET", "/api/stir/nonsense", timeout=60)
            assert answer.status == 200, answer.status
            return
        if chance.random() < 0.1:
            self._misbehave(chance)
            return
        kind = chance.choice(KINDS)
        if "http2" in kind:
            self._visit_by_http2(kind, chance)
            return
        client = self._client(kind)
        try:
            self._open(client, chance, kind)
            self._talk(client, chance)
            self._leave(client, chance)
        finally:
            client.close()

    def _client(self, kind):
        if kind == "secure":
            return RawSocket(self.secure, timeout=60, tls=tls.trusting())
        return (RawSocket if kind == "plain" else DeflatedSocket)(self.address, timeout=60)

    def _open(self, client, chance, kind="plain"):
        prefix = kind if kind in ("deflated", "takeover") else "ws"
        answer = client.open(f"/{prefix}/room/{chance.choice(HALLS)}", handshake_headers())
        assert answer.status == 101, answer.status
        assert prefix == "ws" or client.agreed, "it is not compressed"
        self._opened(kind)

    def _visit_by_http2(self, kind, chance):
        """One or two WebSockets of one connection, one after the other; then the connection ends, well or not."""
        if kind == "http2":
            connection = Http2(self.address, timeout=60)
        else:
            connection = Http2(self.secure, timeout=60, context=http2.trusting())
        try:
            for _ in range(chance.randrange(1, 3)):
                client = connection.websocket(f"/ws/room/{chance.choice(HALLS)}")
                self._opened(kind)
                self._talk(client, chance)
                self._leave(client, chance)
        finally:
            connection.close()

    def _opened(self, kind):
        self._count("connections")
        with self.lock:
            self.kinds[kind] += 1

    def _talk(self, client, chance):
        for _ in range(chance.randrange(1, 12)):
            self._step(client, chance)

    def _misbehave(self, chance):
        way = chance.choice((stall, half_close, tear, break_protocol, half_a_handshake))
        client = RawSocket(self.address, timeout=60, receive_buffer=4096 if way is stall else None)
        try:
            if way is not half_a_handshake:
                self._open(client, chance)
            way(client)
            self._count("misbehaved")
            if chance.random() < 0.5:
                client.reset()
        finally:
            client.close()

    def _step(self, client, chance):
        if chance.random() < 0.3:
            client.send_text("move")
            expect(client, "moved")
            self._count("transfers")
            return
        if chance.random() < 0.05:
            client.send_text("shout")
        text = "x" * chance.choice((0, 1, 125, 126, 3000, 40_000)) + str(chance.random())
        client.send_text(text)
        expect(client, text)
        self._count("messages")

    def _leave(self, client, chance):
        how = chance.randrange(4)
        if how == 0:
            client.send_text("close")
            client.receive_close()
        elif how == 1:
            client.send_close(1000)
            client.receive_close()
        else:
            self._count("cut")
            if how == 2:
                client.reset()


def stall(client):
    """Asks for more than its queue may hold and reads nothing of it: closed for being slow, or gone before."""
    try:
        for _ in range(40):
            client.send_text("x" * 40_000)
    except ConnectionError:
        pass


def half_close(client):
    """Says FIN and stays: the server ends the connection."""
    client.send_text("the last")
    client.sock.shutdown(socket.SHUT_WR)
    client.until_end()


def tear(client):
    """Half a frame, and no more."""
    client.send(client.frame(TEXT, "x" * 1000)[:500])


def break_protocol(client):
    client.send_frame(0x3, b"reserved")
    while client.receive().opcode != CLOSE:
        pass


def half_a_handshake(client):
    client.send(b"GET /ws/room/left HTTP/1.1\r\nHost: a\r\nUpgra")


def expect(client, text):
    """The next message but what others shouted."""
    while True:
        frame = client.receive_message()
        assert frame.opcode == TEXT, frame
        if frame.data != b"shouted":
            assert frame.data == text.encode(), (frame.data[:80], text[:80])
            return


def descriptors(server):
    return len(os.listdir(f"/proc/{server.child.pid}/fd"))


def spawned(server):
    for line in server.metrics().splitlines():
        if line.startswith("moonwire_processes_spawned_total "):
            return int(float(line.split()[1]))
    return 0


def report(server, clients, began):
    counters, counts = server.counters(), clients.counts
    print(
        f"{(time.monotonic() - began) / 60:6.2f} min  {resident(server) / MIB:7.1f} MiB resident"
        f"  {counters['processes']:4.0f} processes  {descriptors(server):3d} descriptors"
        f"  | {spawned(server):8d} spawned  {counts['connections']:7d} connections"
        f"  {counts['transfers']:7d} transfers  {counts['messages']:8d} messages  {counts['cut']:6d} cut"
        f"  {counts['misbehaved']:5d} misbehaved",
        flush=True,
    )


def run(server, minutes, every, count, seed):
    """Resident memory and open descriptors once a second, after the warm-up."""
    before, open_before = settled(server), descriptors(server)
    answer = fetch(server.addresses["app:gateway"], "GET", "/api/stir/begin")
    assert answer.json() == {"ok": True}, answer.body
    clients = Clients(server, count, seed)
    began = time.monotonic()
    end, shown, samples = began + minutes * 60, 0.0, []
    while time.monotonic() < end:
        assert server.alive, f"the server died\n{server.tail()}"
        now = time.monotonic() - began
        if now >= shown:
            report(server, clients, began)
            shown += every
            forget_log(server)
        if now >= minutes * 60 * WARM_UP:
            samples.append((resident(server), descriptors(server)))
        time.sleep(min(1.0, max(0.05, minutes * 60 / 100)))
    clients.stop()
    assert fetch(server.addresses["app:gateway"], "GET", "/api/stir/finish").json() == {"ok": True}
    server.wait_counters(before, deadline=60)
    report(server, clients, began)
    print("connections: " + ", ".join(f"{count} {kind}" for kind, count in clients.kinds.items()))
    assert all(clients.kinds.values()), "nobody spoke in one of the ways"
    until(lambda: descriptors(server) <= open_before, "the descriptors are closed", 30)
    assert clients.counts["failures"] == 0, (clients.counts, clients.faults[:5])
    return samples


def settled(server):
    last = {}

    def steady():
        nonlocal last
        now = server.counters()
        same, last = now == last, now
        return same and now["names"] >= 6

    until(steady, "the services are there")
    return last


def forget_log(server):
    """Hours of a busy server's log are not kept; what must not be in it is looked for first."""
    with server.changed:
        bad = [record for record in server.log if is_bad(record)]
        del server.log[:-200]
    assert not bad, "\n".join(record.line[:2000] for record in bad[:5])


def is_bad(record):
    """Programs fail on purpose here, with the words "told to" and links that go with them; nothing else may fail."""
    if record["level"] == "unstructured":
        return True
    return record["level"] in ("error", "warn") and not record.says("process failed", "told to")


def judge(samples, minutes):
    """Whether both are flat: the last quarter beside the first one after the warm-up, and memory by its slope."""
    print("after the warm-up, means of the quarters:")
    held = [memory for memory, _ in samples]
    memory = quarters(held)
    print("  resident     " + "  ".join(f"{mean / MIB:7.1f} MiB" for mean in memory))
    opened = quarters([opened for _, opened in samples])
    print("  descriptors  " + "  ".join(f"{mean:7.1f}    " for mean in opened))
    short = minutes * 60 < SHORT
    bound = memory[0] * (SHORT_GROWTH if short else GROWTH) + SLACK
    print(f"resident memory may grow by {bound / MIB:.1f} MiB, descriptors by {DESCRIPTORS}")
    flat = memory[-1] - memory[0] <= bound and opened[-1] - opened[0] <= DESCRIPTORS
    if minutes * 60 < LONG:
        return flat
    grows = slope(held, minutes * 60 * (1 - WARM_UP))
    print(f"the slope of resident memory is {grows / MIB:+.1f} MiB an hour, and may be {SLOPE / MIB:.1f}")
    return flat and grows <= SLOPE


def slope(samples, seconds):
    """Bytes an hour: the median of the slopes between any two windows' medians (Theil and Sen).

    What stalled clients and large messages take for seconds is above the rest and never below it, which draws a mean or
    a line of least squares up, and a window's median not at all; and a window that is wholly off counts as one
    among many. Minima ignore that, too, but jumped more from window to window in the runs that were recorded.
    """
    size = min(WINDOW, max(1, len(samples) // 10))
    medians = [statistics.median(samples[start : start + size]) for start in range(0, len(samples) - size + 1, size)]
    hours = seconds / 3600 * size / len(samples)
    pairs = [(first, second) for first in range(len(medians)) for second in range(first + 1, len(medians))]
    return statistics.median((medians[second] - medians[first]) / ((second - first) * hours) for first, second in pairs)


def quarters(samples):
    size = max(1, len(samples) // 4)
    return [statistics.mean(samples[start : start + size]) for start in range(0, 4 * size, size) if samples[start:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--every", type=float, default=30.0, metavar="SECONDS", help="between two reports")
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    services, sets = ("app:gateway", "app:secure"), tls.settings("app:secure")
    server = Server("churn", shards=options.shards, services=services, sets=sets, args=("--log-level", "warn")).wait_ready()
    try:
        samples = run(server, options.minutes, options.every, options.clients, options.seed)
        forget_log(server)
        server.stop()
    finally:
        server.kill()
    if not judge(samples, options.minutes):
        print("FAILED: resident memory or descriptors grow")
        return 1
    print("flat")
    return 0


if __name__ == "__main__":
    sys.exit(main())
