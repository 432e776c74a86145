"""Processes on strings: a test commands them and sees whatever reaches them.

The Luau half is `tests/e2e/apps/relay/puppet.luau`.
"""

import json
import time
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed

from .waiting import DEADLINE, until

PUPPET, HOST = "app:puppet", "app:processes"
EXIT, LINK_DOWN, CANCEL = "pid.exit", "pid.link.down", "pid.cancel"


class Raised(Exception):
    """The call raised a Luau error; the text is the error's."""


@dataclass(frozen=True)
class Err:
    """What a call returned beside nil."""

    kind: str
    message: str
    retryable: object
    text: str


def shown(value):
    """A report's value as Python has it: bytes, None and Err restored."""
    if isinstance(value, dict):
        if "$nil" in value:
            return None
        if "$hex" in value:
            return bytes.fromhex(value["$hex"])
        if "$empty" in value:
            return {}
        if "$error" in value:
            return Err(**value["$error"])
        return {key: shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return value


def meant(value):
    """A Python value as the puppet reads it from JSON."""
    if value is None:
        return {"$nil": True}
    if isinstance(value, bytes):
        return {"$hex": value.hex()}
    if isinstance(value, Puppet):
        return value.pid
    if isinstance(value, dict):
        if not value:
            return {"$empty": True}
        return {key: meant(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [meant(item) for item in value]
    return value


class Puppet:
    """One process: commands go in by the driver's socket, reports come back on it."""

    def __init__(self, driver, pid):
        self.driver = driver
        self.pid = pid

    def __repr__(self):
        return f"Puppet({self.pid})"

    # Commands

    def command(self, op, deadline=DEADLINE, **fields):
        answer = self.driver.answer(self.start(op, **fields), deadline)
        if "undelivered" in answer:
            raise AssertionError(f"no such puppet {self.pid}: {shown(answer['undelivered'])}")
        if "raised" in answer:
            raise Raised(answer["raised"])
        return answer

    def start(self, op, **fields):
        """Sends a command whose answer is not waited for; the number asks for it later."""
        return self.driver.order({"op": op, "to": self.pid, **fields})

    def call_all(self, path, *args, deadline=DEADLINE):
        """Every value that a Luau call returned."""
        args = [meant(item) for item in args]
        answer = self.command("call", deadline, path=path, args=args, n=len(args))
        return [shown(item) for item in answer.get("values", [])]

    def call(self, path, *args, deadline=DEADLINE):
        """The call's value, or the Err that came beside nil."""
        values = self.call_all(path, *args, deadline=deadline)
        if len(values) >= 2 and values[0] is None:
            return values[1]
        return values[0] if values else None

    def send(self, dest, topic, *payload):
        """True, or the Err."""
        return self.call("process.send", dest, topic, *payload)

    def ws_send(self, client, data, kind="text"):
        answer = self.send(client, "ws.send", {"type": kind, "data": data})
        assert answer is True, answer

    def control(self, client, **fields):
        return self.send(client, "ws.control", fields)

    def sends(self, *items):
        """Several sends with no other work between them."""
        answer = self.command("sends", list=[[meant(d), topic, meant(p)] for d, topic, p in items])
        return [shown(item) for item in answer["answers"]]

    def burst(self, dest, topic, count, first=1, suffix="", raw=None, deadline=60):
        """Numbered texts, or `raw` every time: how many sends were refused."""
        fields = {"raw": raw} if raw is not None else {"suffix": suffix}
        return self.command(
            "burst", deadline, dest=meant(dest), topic=topic, count=count, first=first, **fields
        )["refused"]

    def spawn(self, relation="", **start):
        """A child puppet; `relation` is `_monitored`, `_linked`, `_linked_monitored` or nothing."""
        start["report"] = self.driver.client_pid
        pid = self.call(f"process.spawn{relation}", PUPPET, HOST, start)
        assert isinstance(pid, str), pid
        child = Puppet(self.driver, pid)
        self.driver.expect(pid, "hello")
        return child

    def ping(self):
        """Returns once everything sent to this puppet by its driver before has been read:
        how many `noise` messages it has counted, which it does not report."""
        return self.command("ping")["noise"]

    def deaf(self):
        """The puppet reads no message until `wake`."""
        self.start("deaf")
        self.driver.expect(self.pid, "deaf")

    def wake(self, by=None):
        """By a CANCEL: a full mailbox would refuse a message."""
        assert (by or self.driver).call("process.cancel", self.pid) is True

    def exit(self, value=True):
        self.start("exit", value=value)

    def fail(self, text="failed on purpose"):
        self.start("fail", value=text)

    def error(self, text="raised on purpose"):
        self.start("error", value=text)

    # Reports

    def message(self, topic=None, deadline=DEADLINE, **match):
        """The next unread message that reached this puppet: {topic, from, data}."""
        if topic is not None:
            match["topic"] = topic
        return self.driver.expect(self.pid, "msg", deadline, **match)

    def event(self, kind, deadline=DEADLINE, **match):
        return self.driver.expect(self.pid, "event", deadline, kind=kind, **match)

    def heard(self, topic, deadline=DEADLINE):
        return self.driver.expect(self.pid, "heard", deadline, topic=topic)["data"]

    def received(self, **match):
        """All messages so far, in the order in which they came."""
        return self.driver.seen(self.pid, "msg", **match)

    def topics(self):
        return [message["topic"] for message in self.received()]

    def events(self, kind=None):
        match = {} if kind is None else {"kind": kind}
        return self.driver.seen(self.pid, "event", **match)

    def joined(self, **match):
        """Waits for a join and returns the client's PID."""
        return self.message("ws.join", **match)["data"]["client_pid"]


class Driver(Puppet):
    """The puppet that a test talks to directly, by a WebSocket of its own."""

    def __init__(self, socket):
        self.socket = socket
        self.sequence = 0
        self.answers = {}
        self.unread = []
        self.history = []
        super().__init__(self, None)
        hello = self.expect(None, "hello")
        self.pid = hello["pid"]
        self.client_pid = hello["client_pid"]

    def order(self, command):
        self.sequence += 1
        command["id"] = self.sequence
        command["report"] = self.client_pid
        self.socket.send(json.dumps(command))
        return self.sequence

    def _pump(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        report = json.loads(self.socket.recv(timeout=left))
        if report["ev"] == "result":
            self.answers[report["id"]] = report
            return
        for key in ("data", "result", "reason", "value"):
            if key in report:
                report[key] = shown(report[key])
        self.unread.append(report)
        self.history.append(report)

    def answer(self, number, deadline=DEADLINE):
        end = time.monotonic() + deadline
        while number not in self.answers:
            try:
                self._pump(end)
            except TimeoutError:
                raise AssertionError(f"no answer within {deadline:g} s; seen: {self.history[-8:]}") from None
        return self.answers.pop(number)

    @staticmethod
    def _fits(report, pid, ev, match):
        return (
            report["ev"] == ev
            and pid in (None, report["pid"])
            and all(report.get(key) == value for key, value in match.items())
        )

    def expect(self, pid, ev, deadline=DEADLINE, **match):
        """Takes the first unread report that fits, waiting for it."""
        end = time.monotonic() + deadline
        while True:
            for index, report in enumerate(self.unread):
                if self._fits(report, pid, ev, match):
                    return self.unread.pop(index)
            try:
                self._pump(end)
            except TimeoutError:
                raise AssertionError(
                    f"no {ev} {match} at {pid} within {deadline:g} s; unread: {self.unread[-8:]}"
                ) from None
            except ConnectionClosed as closed:
                raise AssertionError(f"the driver's own socket ended: {closed}") from None

    def seen(self, pid, ev, **match):
        return [report for report in self.history if self._fits(report, pid, ev, match)]

    def pump_for_nothing(self):
        """Takes in what has arrived by now: a round trip to the driver and back."""
        self.ping()

    # The others

    def is_alive(self, pid):
        """Whether a process lives: a monitor is taken and given back."""
        answer = self.call("process.monitor", pid)
        if answer is True:
            self.call("process.unmonitor", pid)
            return True
        if answer.kind == "AlreadyExists":
            return True
        assert answer.kind == "NotFound", answer
        return False

    def wait_dead(self, pid, deadline=DEADLINE):
        until(lambda: not self.is_alive(pid), f"{pid} ends", deadline)

    def service(self, name):
        """A puppet that runs as a service, perhaps on another shard."""
        pid = until(lambda: _pid(self.call("process.registry.lookup", name)), f"{name} is registered")
        service = Puppet(self, pid)
        service.command("adopt")
        return service


def _pid(value):
    return value if isinstance(value, str) else None
