"""`process.service`: started with the folder, started again after a failure, spread over
the shards, asked to stop at the end. The services of tests/e2e/apps/lifecycle say in the log
when they run; the log's lines carry the server's own time."""

import os
import time
from pathlib import Path

import pytest

from harness.server import Server
from harness.waiting import until
from harness.wire import fetch


@pytest.fixture(scope="module")
def server():
    """One server for the whole file. Services that fail by themselves come and go, so
    no counter stands still here, and none is compared."""
    running = Server("lifecycle", shards=2).wait_ready()
    yield running
    if running.alive:
        running.stop()


def runs(server, name):
    return [r for r in list(server.log) if r["message"] == "service runs" and r.says(name)]


def wait_runs(server, name, count, deadline=20):
    until(lambda: len(runs(server, name)) >= count, f"{name} has started {count} times", deadline)
    return runs(server, name)


def waits(records):
    return [later.at - earlier.at for earlier, later in zip(records, records[1:])]


def get(server, path):
    return fetch(server.addresses["app:gateway"], "GET", path).json()


def tell(server, name, what):
    until(lambda: get(server, f"/api/tell/{name}/{what}").get("ok"), f"{name} is told to {what}")


def alive(server, name):
    return get(server, f"/api/alive/{name}").get("pid")


def test_auto_start_starts_a_service_with_the_folder_and_gives_it_its_input(server):
    wait_runs(server, "told", 1)
    assert until(lambda: alive(server, "told"), "told is registered")


def test_auto_start_false_starts_nothing(server):
    wait_runs(server, "told", 1)
    assert runs(server, "asleep") == []
    assert alive(server, "asleep") is None


def test_restart_waits_grow_by_the_factor(server):
    """100, 200, 400, 800 ms are announced and kept, as far as the log's lines tell: a busy machine delays each."""
    found = waits(wait_runs(server, "failing", 5))[:4]
    announced = [
        r["delay_ms"]
        for r in list(server.log)
        if r["message"].startswith("service failed") and r["entry"] == "app:failing"
    ]
    assert announced[:4] == [100, 200, 400, 800]
    assert sum(found) > 0.75, found
    for index, wait in enumerate(found):
        assert wait < 0.15 * 2**index + 1.0, found


def test_restart_waits_stay_below_max_delay(server):
    """50 ms, then never more than 100 ms."""
    found = waits(wait_runs(server, "capped", 8))
    assert sum(found[2:7]) / 5 < 0.4, found


def test_restart_gives_up_after_max_attempts_and_says_so(server):
    wait_runs(server, "limited", 4)
    server.wait_log(lambda r: r.is_fault and r.says("app:limited"), what="giving up")
    wait_runs(server, "failing", 5)
    assert len(runs(server, "limited")) == 4, "one start and three restarts"


def test_restart_waits_begin_anew_after_a_stable_time(server):
    """Fails twice at once (100, 300 ms), lives longer than 700 ms, fails: 100 ms again."""
    began = len(wait_runs(server, "told", 1))
    for count in range(1, 3):
        tell(server, "told", "fail")
        wait_runs(server, "told", began + count)
    _, second, third = runs(server, "told")[began - 1 :]
    assert third.at - second.at > 0.25, "the second wait is the longer one"
    until(lambda: time.time() - third.at > 1.0, "told has been stable for a second")
    mark = server.mark()
    tell(server, "told", "fail")
    last = wait_runs(server, "told", began + 3)[-1]
    failed = server.wait_log(
        lambda r: r["message"] == "process failed" and r["pid"] == third["pid"], since=mark
    )
    assert last.at - failed.at < 0.8, "the first wait again, not 900 ms"


def test_a_service_that_failed_is_named_in_the_log(server):
    record = server.wait_log(lambda r: r["message"] == "process failed" and r.says("app:runner"))
    assert record["level"] == "error"
    assert record.says("on purpose")


def test_a_service_that_returned_is_not_restarted(server):
    wait_runs(server, "returning", 1)
    wait_runs(server, "failing", 5)
    assert len(runs(server, "returning")) == 1


def test_each_restart_is_a_new_pid(server):
    pids = [record.get("pid") or record.line for record in wait_runs(server, "failing", 4)]
    assert len(set(pids)) == len(pids)


def test_depends_on_is_started_before(server):
    told, dependent = wait_runs(server, "told", 1)[0], wait_runs(server, "dependent", 1)[0]
    assert server.log.index(told) < server.log.index(dependent)


def cpu_of_threads(server):
    """Seconds of CPU that each thread of the server has used."""
    used = {}
    for task in Path(f"/proc/{server.child.pid}/task").iterdir():
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        used[task.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


def test_services_are_started_round_robin_over_the_shards_and_children_beside_their_parent(own_relay):
    """A spinning child of each of two services keeps two threads busy, not one."""
    relay = own_relay()
    driver = relay.driver()
    spinners = [driver.service(name).spawn() for name in ("puppet_a", "puppet_b")]
    before = cpu_of_threads(relay.server)
    for spinner in spinners:
        spinner.command("spin")

    def two_are_busy():
        now = cpu_of_threads(relay.server)
        return sum(used - before.get(thread, 0) > 0.3 for thread, used in now.items()) >= 2

    until(two_are_busy, "two threads are busy")
    for spinner in spinners:
        driver.call("process.terminate", spinner.pid)


def test_services_are_cancelled_at_shutdown():
    running = Server("lifecycle", shards=2).wait_ready()
    wait_runs(running, "told", 1)
    running.stop()
    assert any(r["message"] == "service cancelled" and r.says("told") for r in running.log)
