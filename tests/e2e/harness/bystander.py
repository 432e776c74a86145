"""Who must not notice: well-behaved clients beside a hostile one, and what the server's process takes meanwhile."""

import time
from pathlib import Path

from .wire import TEXT

KIB, MIB = 1 << 10, 1 << 20


class Bystander:
    """Two clients of an echo, so that each shard of two has one."""

    def __init__(self, lease, path="/ws/echo"):
        self.clients = [lease.raw(path) for _ in range(2)]
        self.rounds = 0

    def served(self, within=0.5, tries=6):
        """Both get an answer at once. On a noisy machine the best of several tries counts."""
        for client in self.clients:
            took = [self._trip(client)]
            while took[-1] > within and len(took) < tries:
                took.append(self._trip(client))
            assert took[-1] <= within, f"not served for {[round(one, 2) for one in took]} s"

    def _trip(self, client):
        self.rounds += 1
        text = f"still here {self.rounds}"
        began = time.monotonic()
        client.send_frame(TEXT, text)
        assert client.receive_message().text == text
        return time.monotonic() - began


def resident(server):
    """Bytes of memory that the server's process holds now."""
    for line in Path(f"/proc/{server.child.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * KIB
    raise AssertionError("no VmRSS")


def processor_seconds(server):
    """Seconds of a processor that the server's threads have used so far, to the nanosecond."""
    tasks = Path(f"/proc/{server.child.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
