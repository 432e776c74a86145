"""One `moonwire` process: started on free ports, its lines and logs collected."""

import json
import os
import re
import resource
import signal
import subprocess
import threading
import time
import urllib.request
from datetime import datetime
from pathlib import Path

from . import tls
from .waiting import DEADLINE, until

ROOT = Path(__file__).resolve().parents[3]
APPS = ROOT / "tests" / "e2e" / "apps"
EXAMPLES = ROOT / "examples"
COUNTED = ("processes", "sockets", "monitors", "links", "timers", "names", "groups", "group_members", "subscriptions")
LISTENING = re.compile(r"^(\S+) listening on (https?)://(\S+):(\d+)/?$")
GAUGE = re.compile(r"^moonwire_(\w+)(?:\{[^}]*\})?\s+(\S+)")


def binary():
    """The program under test: `MOONWIRE_BIN`, else the debug build of this tree."""
    return os.environ.get("MOONWIRE_BIN") or str(ROOT / "target" / "debug" / "moonwire")


def moonwire(*args, cwd=None, env=None, timeout=30):
    """Runs the command line to its end: what it printed and its exit code."""
    return subprocess.run(
        [binary(), *map(str, args)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


class Record(dict):
    """One line of the log: the event's fields beside `level` and `message`."""

    @classmethod
    def parse(cls, line):
        try:
            raw = json.loads(line)
        except ValueError:
            raw = {"level": "unstructured", "message": line}
        if not isinstance(raw, dict):
            raw = {"level": "unstructured", "message": line}
        record = cls(raw)
        if isinstance(record.get("fields"), dict):
            record.update(record.pop("fields"))
        record.setdefault("message", record.get("msg", ""))
        record["level"] = str(record.get("level", "")).lower()
        record.line = line
        record.at = (
            datetime.fromisoformat(raw["timestamp"]).timestamp() if "timestamp" in raw else time.time()
        )
        return record

    def says(self, *words):
        """Whether every word stands somewhere in the line, in any case."""
        line = self.line.lower()
        return all(word.lower() in line for word in words)

    @property
    def is_fault(self):
        return self["level"] in ("warn", "warning", "error")


class Server:
    """`moonwire run DIR`, from its first line to its exit code. `limit` is its limit of descriptors, or its soft and
    its hard one."""

    def __init__(self, app, sets=(), shards=None, services=("app:gateway",), args=(), env=None, limit=None, admin="127.0.0.1:0"):
        directory = Path(app) if os.path.isabs(str(app)) else APPS / app
        command = [binary(), "run", str(directory)]
        for service in services:
            command += ["--set", f"{service}:addr=127.0.0.1:0"]
        for item in [*sets, *tls.everywhere(services)]:
            command += ["--set", item]
        if shards is not None:
            command += ["--shards", str(shards)]
        command += ["--admin", admin, "--log-format", "json", *args]
        self.addresses = {}
        self.schemes = {}
        self.out = []
        self.log = []
        self.changed = threading.Condition()
        self.is_ready = False
        self.said_all = False
        limits = (limit, limit) if isinstance(limit, int) else limit
        self.child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            text=True,
            bufsize=1,
            errors="replace",
            preexec_fn=limits and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits)),
        )
        self.readers = [
            threading.Thread(target=self._read_out, daemon=True),
            threading.Thread(target=self._read_log, daemon=True),
        ]
        for reader in self.readers:
            reader.start()

    def _read_out(self):
        for line in self.child.stdout:
            line = line.rstrip("\n")
            with self.changed:
                self.out.append(line)
                found = LISTENING.match(line)
                if found:
                    name, scheme, host, port = found.groups()
                    self.schemes[name] = scheme
                    self.addresses[name] = (host, int(port))
                if line == "ready":
                    self.is_ready = True
                self.changed.notify_all()
        with self.changed:
            self.said_all = True
            self.changed.notify_all()

    def _read_log(self):
        for line in self.child.stderr:
            record = Record.parse(line.rstrip("\n"))
            with self.changed:
                self.log.append(record)
                self.changed.notify_all()

    def wait_ready(self, deadline=20.0):
        with self.changed:
            self.changed.wait_for(lambda: self.is_ready or self.said_all, deadline)
        if not self.is_ready:
            self.kill()
            code = self.child.returncode
            raise AssertionError(f"not ready (exit code {code}):\n{self.tail()}")
        return self

    def tail(self, count=40):
        return "\n".join([*self.out[-count:], *(record.line for record in self.log[-count:])])

    # The log

    def mark(self):
        """Where the log stands now, for `wait_log(..., since=mark)`."""
        with self.changed:
            return len(self.log)

    def wait_log(self, predicate, deadline=DEADLINE, since=0, what="a log line"):
        """The first line from `since` on that the predicate accepts."""
        found = []

        def seen():
            found[:] = [record for record in self.log[since:] if predicate(record)]
            return bool(found)

        with self.changed:
            if not self.changed.wait_for(seen, deadline):
                raise AssertionError(f"no log line within {deadline:g} s: {what}\n{self.tail()}")
        return found[0]

    # The counters

    def metrics(self):
        host, port = self.addresses["admin"]
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def counters(self):
        """What is alive now, summed over the shards."""
        found = dict.fromkeys(COUNTED, 0.0)
        for line in self.metrics().splitlines():
            match = GAUGE.match(line)
            if match and match.group(1) in found:
                found[match.group(1)] += float(match.group(2))
        return found

    def descriptors(self):
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.child.pid}/fd"))

    def wait_counters(self, expected, deadline=DEADLINE):
        """Asserts that nothing is left behind: the counters are what they were."""
        seen = {}

        def returned():
            seen.update(self.counters())
            return seen == expected

        try:
            until(returned, "counters return", deadline)
        except AssertionError:
            left = {
                name: f"{expected[name]:g} -> {seen[name]:g}"
                for name in COUNTED
                if seen.get(name) != expected[name]
            }
            raise AssertionError(f"left behind: {left}") from None

    # The end

    @property
    def alive(self):
        return self.child.poll() is None

    def terminate(self):
        self.child.send_signal(signal.SIGTERM)

    def stop(self, deadline=20.0):
        """SIGTERM, and the promise that it drains and exits with 0."""
        if self.alive:
            self.terminate()
        code = self.wait(deadline)
        assert code == 0, f"exit code {code} after SIGTERM\n{self.tail()}"

    def wait(self, deadline=20.0):
        try:
            code = self.child.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {deadline:g} s\n{self.tail()}") from None
        for reader in self.readers:
            reader.join(5)
        return code

    def kill(self):
        if self.alive:
            self.child.kill()
        self.child.wait()
        for reader in self.readers:
            reader.join(5)
