"""`start_timeout` and `stop_timeout`: who takes too long is waited for no longer, and in the end is terminated.
The services of tests/e2e/apps/patience say in the log what they do."""

import pytest

from harness.server import Server


@pytest.fixture(scope="module")
def log():
    """The log of a server that has started and has been stopped."""
    server = Server("patience", shards=2).wait_ready()
    try:
        server.stop()
    finally:
        server.kill()
    return server.log


def index(log, message, **fields):
    """Where the first such line stands."""
    for at, record in enumerate(log):
        if record["message"].startswith(message) and all(record.get(k) == v for k, v in fields.items()):
            return at
    raise AssertionError(f"no line {message} {fields}\n" + "\n".join(record.line for record in log))


def test_a_service_that_never_waits_holds_up_those_behind_it_for_its_start_timeout_and_no_longer(log):
    slow = index(log, "service still starts after its start_timeout of 300ms", entry="app:endless")
    began = index(log, "service runs", name="endless")
    behind = index(log, "service runs", name="behind")
    assert began < slow < behind
    assert log[behind].at - log[index(log, "service started", entry="app:endless")].at >= 0.29


def test_a_service_that_does_not_stop_is_terminated_after_its_stop_timeout(log):
    # Who is cancelled says so when it has its turn, which is later.
    asked = index(log, "shutting down")
    heard = index(log, "service cancelled", name="stubborn")
    ended = index(log, "service ended", entry="app:stubborn")
    assert asked < heard < ended
    assert 0.29 <= log[ended].at - log[asked].at < 5
    index(log, "service ended", entry="app:endless")


def test_what_a_service_depends_on_stops_after_it(log):
    assert index(log, "service ended", entry="app:stubborn") < index(log, "service cancelled", name="needed")
    assert index(log, "service ended", entry="app:behind") < index(log, "service ended", entry="app:endless")


def test_the_stop_timeout_of_a_supervisor_cuts_what_its_children_may_take(log):
    asked = index(log, "shutting down")
    heard = index(log, "service cancelled", name="child")
    ended = index(log, "supervisor ended", entry="app:hurried")
    assert asked < heard < ended
    assert 0.19 <= log[ended].at - log[asked].at < 5
