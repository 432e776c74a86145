"""What one test gets of a server: clients that are closed at its end, counters that return."""

import json
from contextlib import ExitStack
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from . import tls
from .puppet import Driver
from .waiting import DEADLINE
from .wire import RawSocket, Wire, fetch, handshake_headers


class Client:
    """A well-behaved client: the `websockets` package."""

    def __init__(self, uri, **options):
        options.setdefault("compression", None)
        options.setdefault("ping_interval", None)
        options.setdefault("max_size", None)
        options.setdefault("open_timeout", DEADLINE)
        self.connection = connect(uri, proxy=None, legacy=True, **options)

    def send(self, data):
        self.connection.send(data)

    def recv(self, timeout=DEADLINE):
        return self.connection.recv(timeout)

    def recv_json(self, timeout=DEADLINE):
        return json.loads(self.recv(timeout))

    def close(self, code=1000, reason=""):
        self.connection.close(code, reason)

    def ended(self, timeout=DEADLINE):
        """Waits for the end: (messages before it, close code, reason); 1006 when cut."""
        before = []
        while True:
            try:
                before.append(self.recv(timeout))
            except ConnectionClosed as closed:
                if closed.rcvd is None:
                    return before, 1006, ""
                return before, closed.rcvd.code, closed.rcvd.reason

    def closed_with(self, timeout=DEADLINE):
        _, code, _ = self.ended(timeout)
        return code


def query(**fields):
    return urlencode(fields)


def script(router, steps):
    """The path of `answer.luau` under a router, with its steps."""
    return f"/{router}/answer?" + query(do=json.dumps(steps))


def relay_steps(target, **fields):
    return [["header", "X-WS-Relay", json.dumps({"target_pid": target, **fields})]]


def ran(lease, group):
    """A function that runs a case of tests/e2e/apps/processes and returns its result."""

    def run(name):
        answer = lease.http("GET", f"/case/{group}/{name}")
        assert answer.status == 200, lease.server.tail()
        return answer.json()

    return run


class Lease:
    def __init__(self, server):
        self.server = server
        self.before = server.counters()
        self.since = server.mark()
        self.opened = ExitStack()

    # Addresses

    def address(self, service="app:gateway"):
        return self.server.addresses[service]

    def tls(self, service="app:gateway"):
        """The context of a client of that service, if it speaks TLS."""
        return tls.trusting() if self.server.schemes[service] == "https" else None

    def url(self, path, service="app:gateway"):
        scheme = "wss" if self.tls(service) else "ws"
        return "%s://%s:%d%s" % (scheme, *self.address(service), path)

    # HTTP

    def http(self, method, path, headers=None, body=None, service="app:gateway", timeout=DEADLINE):
        return fetch(self.address(service), method, path, headers, body, timeout, self.tls(service))

    def ask(self, router, *steps, method="GET", headers=None, **options):
        """An ordinary request to `answer.luau`."""
        return self.http(method, script(router, steps), headers, **options)

    def wire(self, service="app:gateway", **options):
        wire = Wire(self.address(service), tls=self.tls(service), **options)
        self.opened.callback(wire.close)
        return wire

    # WebSockets

    def raw(self, path=None, headers=None, service="app:gateway", host=None, expect=101, **options):
        """A raw client, its handshake done and answered with `expect`."""
        options.setdefault("tls", self.tls(service))
        raw = RawSocket(self.address(service), **options)
        self.opened.callback(raw.close)
        if path is not None:
            answer = raw.open(path, headers, host)
            assert answer.status == expect, (answer.status, answer.body)
        return raw

    def shake(self, router, *steps, service="app:gateway", host=None, **headers):
        """A handshake's answer, whatever it is; headers by keyword, `_` for `-`."""
        raw = RawSocket(self.address(service), tls=self.tls(service))
        self.opened.callback(raw.close)
        return raw.open(script(router, steps), handshake_headers(**headers), host)

    def raw_to(self, target, router="ws", fields=None, **options):
        return self.raw(script(router, relay_steps(_pid(target), **(fields or {}))), **options)

    def ws(self, path, **options):
        url, context = self.url(path), self.tls()
        if context:
            options["sock"] = tls.pumped(self.address(), context)
            url = url.replace("wss:", "ws:", 1)
        client = Client(url, **options)
        self.opened.callback(client.close)
        return client

    def join(self, target, router="ws", options=None, **fields):
        """A client whose target is `target`; the fields are those of X-WS-Relay."""
        return self.ws(script(router, relay_steps(_pid(target), **fields)), **(options or {}))

    def driver(self, path="/control/driver"):
        return Driver(self.ws(path))

    # The log and the end

    def wait_log(self, predicate, deadline=DEADLINE, what="a log line"):
        """The first line since this test began that the predicate accepts."""
        return self.server.wait_log(predicate, deadline, self.since, what)

    def wait_fault(self, *words, deadline=DEADLINE):
        """A warning or an error that holds all these words."""
        return self.wait_log(
            lambda record: record.is_fault and record.says(*words), deadline, f"a fault with {words}"
        )

    def close(self):
        self.opened.close()

    def settle(self, deadline=DEADLINE):
        """Closes this test's clients and asserts that nothing is left behind."""
        self.close()
        if self.server.alive:
            self.server.wait_counters(self.before, deadline)
        else:
            raise AssertionError(f"the server died\n{self.server.tail()}")


def _pid(target):
    return target if isinstance(target, str) else target.pid
