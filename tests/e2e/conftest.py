"""Fixtures: servers that are shared where they can be, and leases on them.

Nothing is built here: `MOONWIRE_BIN` names the program, by default the debug
build of this tree.
"""

import os
from pathlib import Path

import pytest

from harness.browser import Browser
from harness.bystander import Bystander
from harness.folders import GOOD, HANDLER
from harness.lease import Lease
from harness.server import ROOT, Server, binary
from harness.waiting import until


def pytest_configure(config):
    if not Path(binary()).exists() and not config.option.collectonly:
        pytest.exit(f"no program to test at {binary()} (set MOONWIRE_BIN)", returncode=2)


class Pool:
    """One server for each application and settings, started when first asked for."""

    def __init__(self):
        self.servers = {}

    def get(self, app, **settings):
        key = (str(app), repr(sorted(settings.items())))
        found = self.servers.get(key)
        if found is None or not found.alive:
            found = Server(app, **settings).wait_ready()
            stand_still(found)
            self.servers[key] = found
        return found

    def stop(self):
        faults = []
        for server in self.servers.values():
            try:
                server.stop()
            except AssertionError as fault:
                faults.append(str(fault))
        assert not faults, "\n".join(faults)


def stand_still(server):
    """Waits until the services have started: the same counters twice in a row."""
    last = {}

    def steady():
        nonlocal last
        now = server.counters()
        same, last = now == last, now
        return same

    until(steady, "the counters of a fresh server stand still")


@pytest.fixture(scope="session")
def pool():
    pool = Pool()
    yield pool
    pool.stop()


@pytest.fixture
def server(pool):
    """`server(app, sets=…, shards=…)`: a lease on a shared server of that application.

    At the test's end the counters of processes, sockets, monitors, links, timers
    and names must be what they were before.
    """
    leases = []

    def lease(app, **settings):
        leases.append(Lease(pool.get(app, **settings)))
        return leases[-1]

    yield lease
    for one in leases:
        one.settle()


@pytest.fixture
def own_server():
    """`own_server(app, …)`: a lease on a server of this test alone, stopped at its end."""
    leases = []

    def start(app, **settings):
        running = Server(app, **settings).wait_ready()
        stand_still(running)
        leases.append(Lease(running))
        return leases[-1]

    yield start
    for lease in leases:
        try:
            if lease.server.alive:
                lease.settle()
                lease.server.stop()
        finally:
            lease.close()
            lease.server.kill()


RELAY = ("app:gateway", "app:proxied", "app:hasty")


@pytest.fixture
def relay(server):
    """The application that nearly all relay tests use, on two shards."""
    return server("relay", shards=2, services=RELAY)


@pytest.fixture
def own_relay(own_server):
    """The same for one test alone: to be stopped, or on another number of shards."""

    def start(shards=2):
        return own_server("relay", shards=shards, services=RELAY)

    return start


@pytest.fixture
def hostile(server):
    """The application that test_hostile_*.py attack: an echo, and every time limit below a second."""
    return server("hostile", shards=2)


@pytest.fixture
def bystander(hostile):
    """Clients beside the attack: `served()` asks whether they notice it. They are asked at the test's end, too."""
    bystander = Bystander(hostile)
    bystander.served()
    yield bystander
    bystander.served()


@pytest.fixture
def driver(relay):
    return relay.driver()


@pytest.fixture(params=["child", "puppet_a", "puppet_b"])
def target(request, driver):
    """A target on the driver's own shard, and two services, one on each shard."""
    if request.param == "child":
        return driver.spawn()
    return driver.service(request.param)


@pytest.fixture(scope="module")
def browser():
    """Chromium, for all tests of a file."""
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def folder(tmp_path):
    """Writes an application and returns its folder."""

    def write(index=GOOD, **files):
        (tmp_path / "_index.yaml").write_text(index)
        (tmp_path / "handler.luau").write_text(HANDLER)
        for name, text in files.items():
            (tmp_path / name.replace("__", ".")).write_text(text)
        return tmp_path

    return write


@pytest.fixture(scope="session")
def results():
    """Where screenshots and other things to look at are left."""
    folder = Path(os.environ.get("TEST_RESULTS", ROOT / "test-results"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
