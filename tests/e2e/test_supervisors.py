"""`process.supervisor`: strategies, intensity, trees, children at run time, and the order in which all of it stops.
The workers of tests/e2e/apps/supervisors do as they are told; what became of them is read from the log."""

import json

import pytest

from harness.server import Server
from harness.waiting import until
from harness.wire import fetch


@pytest.fixture
def tree():
    """A server for each test: what fails in one counts in the intensity of no other."""
    servers = []

    def start():
        servers.append(Tree(Server("supervisors", shards=2).wait_ready()))
        return servers[-1]

    tree = start()
    yield tree
    try:
        if tree.server.alive:
            tree.server.stop()
    finally:
        tree.server.kill()


class Tree:
    def __init__(self, server):
        self.server = server
        self.all = {
            "singles": ["one", "two", "once", "twice"],
            "together": ["left", "right"],
            "chain": ["first", "second", "third"],
            "brittle": ["glass", "beside"],
            "outer": ["inner", "after"],
            "inner": ["core"],
            "slow": ["deaf", "obedient"],
            "rooms": [],
        }

    def post(self, path, body=None):
        address = self.server.addresses["app:gateway"]
        return fetch(address, "POST", f"/api{path}", body=json.dumps(body or [])).json()

    def call(self, what, *args):
        """A call of the module `supervisor`: its value, or the kind of its error."""
        answer = self.post(f"/call/{what}", list(args))
        return answer["error"] if answer.get("error") else answer.get("value")

    def tell(self, name, what):
        until(lambda: self.post(f"/tell/{name}/{what}").get("ok"), f"{name} is told to {what}")

    def pids(self, supervisor):
        return {child["id"]: child.get("pid") for child in self.call("children", f"app:{supervisor}") or []}

    def told_and_again(self, supervisor, name, what="fail"):
        """Tells a child something and gives the PIDs of all before, and after it runs again."""
        before = self.pids(supervisor)
        self.tell(name, what)

        def again():
            now = self.pids(supervisor)
            return now if None not in now.values() and now.get(name) not in (None, before[name]) else None

        return before, until(again, f"{name} runs again")

    def lines(self, message, since=0, **fields):
        records = list(self.server.log)[since:]
        found = [r for r in records if r["message"].startswith(message)]
        return [r for r in found if all(r.get(key) == value for key, value in fields.items())]


def changed(before, after):
    return sorted(name for name in before if before[name] != after.get(name))


def test_all_children_of_the_configuration_run_when_the_server_is_ready_and_have_started_in_order(tree):
    for supervisor, names in tree.all.items():
        pids = tree.pids(supervisor)
        assert list(pids) == names and all(pids.values()), (supervisor, pids)
    tree.server.wait_log(lambda r: r["message"] == "service started" and r["entry"] == "app:guest")
    for supervisor in ("singles", "chain"):
        started = [r["child"] for r in tree.lines("child started", entry=f"app:{supervisor}")]
        assert started == tree.all[supervisor]
    order = [r["entry"] for r in tree.lines("all children started")]
    assert order.index("app:singles") < order.index("app:outer"), "depends_on"
    started = [r for r in tree.server.log if r["message"] in ("all children started", "service started")]
    guest = next(i for i, r in enumerate(started) if r["entry"] == "app:guest")
    outer = next(i for i, r in enumerate(started) if r["entry"] == "app:outer")
    assert outer < guest, "a service that depends on a supervisor"


@pytest.mark.parametrize(
    ("supervisor", "name", "new"),
    [
        ("singles", "one", ["one"]),
        ("together", "right", ["left", "right"]),
        ("chain", "first", ["first", "second", "third"]),
        ("chain", "second", ["second", "third"]),
        ("chain", "third", ["third"]),
    ],
)
def test_a_failure_means_for_the_others_what_the_strategy_says(tree, supervisor, name, new):
    before, after = tree.told_and_again(supervisor, name)
    assert changed(before, after) == sorted(new)
    entry = f"app:{supervisor}"
    until(lambda: len(tree.lines("child restarted", entry=entry)) >= len(new), "the log says so")
    assert [r["child"] for r in tree.lines("child restarted", entry=entry)] == new
    failed = tree.lines("child failed, starts again", child=name)
    assert len(failed) == 1 and "as told" in failed[0]["error"]


def test_a_permanent_child_that_returned_is_started_again(tree):
    before, after = tree.told_and_again("singles", "one", "return")
    assert changed(before, after) == ["one"]


def test_a_transient_child_is_started_again_after_a_failure_and_not_after_a_return(tree):
    before, after = tree.told_and_again("singles", "twice")
    assert changed(before, after) == ["twice"]
    tree.tell("twice", "return")
    until(lambda: tree.pids("singles").get("twice", 1) is None, "twice has ended and is known")


def test_a_temporary_child_is_forgotten_when_it_ends(tree):
    tree.tell("once", "fail")
    until(lambda: "once" not in tree.pids("singles"), "once is forgotten")
    is_line = lambda r: r["message"] == "child failed and is not started again" and r["child"] == "once"
    tree.server.wait_log(is_line, what="its last line")


def test_a_supervisor_that_gave_up_fails_and_is_started_again_by_its_lifecycle(tree):
    tree.told_and_again("brittle", "glass")
    sup = tree.lines("supervisor started", entry="app:brittle")[-1]["pid"]
    mark = tree.server.mark()
    tree.tell("glass", "fail")
    gave_up = tree.server.wait_log(lambda r: r["message"].startswith("supervisor gives up"), since=mark)
    assert (gave_up["entry"], gave_up["child"], gave_up["level"]) == ("app:brittle", "glass", "error")
    stopped = tree.server.wait_log(lambda r: r["message"] == "worker is stopped", since=mark)
    assert stopped["name"] == "beside", "its other child is stopped before it fails"
    failed = tree.server.wait_log(lambda r: r["message"].startswith("supervisor failed"), since=mark)
    assert failed["delay_ms"] == 100
    tree.server.wait_log(lambda r: r["message"] == "all children started", since=mark)
    # Another thread says so, perhaps later.
    again = tree.server.wait_log(
        lambda r: r["message"] == "supervisor started" and r["entry"] == "app:brittle", since=mark
    )
    assert again["pid"] != sup
    assert all(tree.pids("brittle").values())


def test_an_inner_supervisor_that_gave_up_is_a_failed_child_of_the_outer_one(tree):
    before = tree.pids("outer")
    tree.told_and_again("inner", "core")
    assert tree.pids("outer") == before, "a failure that the inner one heals is nobody else's"
    tree.tell("core", "fail")

    def again():
        now = tree.pids("outer")
        return now if None not in now.values() and changed(before, now) else None

    assert changed(before, until(again, "the outer one starts all again")) == ["after", "inner"]
    until(lambda: list(tree.pids("inner").values()) != [], "the inner one is found by its name again")


def test_children_are_added_changed_and_removed_at_run_time(tree):
    spec = {"id": "lobby", "process": "worker", "host": "processes", "input": {"name": "lobby"}}
    pid = tree.call("start_child", "rooms", spec)
    assert pid.startswith("{")
    assert tree.call("start_child", "rooms", spec) == "AlreadyExists"
    assert tree.call("start_child", "nobody", spec) == "NotFound"
    assert tree.call("start_child", "guest", spec) == "Invalid", "a registered name, but no supervisor's"
    broken = {**spec, "id": "broken", "input": {"broken": True}}
    answer = tree.post("/call/start_child", ["rooms", broken])
    assert answer.get("value") is None and "broken from the start" in answer["text"]
    _, after = tree.told_and_again("rooms", "lobby")
    assert list(after) == ["lobby"] and after["lobby"] != pid
    assert tree.call("delete_child", "rooms", "lobby") == "Conflict"
    assert tree.call("terminate_child", "rooms", "lobby") is True
    assert tree.pids("rooms") == {"lobby": None}
    assert tree.call("restart_child", "rooms", "lobby").startswith("{")
    assert tree.call("terminate_child", "rooms", "lobby") is True
    assert tree.call("delete_child", "rooms", "lobby") is True
    assert tree.pids("rooms") == {}


def test_nothing_is_left_of_children_that_came_and_went(tree):
    last = {}

    def steady():
        nonlocal last
        now = tree.server.counters()
        same, last = now == last, now
        return same

    until(steady, "the counters stand still")
    for round in range(20):
        name = f"room{round}"
        spec = {"id": name, "process": "worker", "host": "spread", "input": {"name": name}}
        assert tree.call("start_child", "rooms", spec).startswith("{")
        tree.told_and_again("rooms", name)
        assert tree.call("terminate_child", "rooms", name) is True
        assert tree.call("delete_child", "rooms", name) is True
    tree.told_and_again("together", "left")
    tree.server.wait_counters(last)


def test_a_spinning_child_is_terminated_after_its_stop_timeout(tree):
    spec = {"id": "top", "process": "worker", "host": "spread", "input": {"name": "top"}, "stop_timeout": "50ms"}
    assert tree.call("start_child", "rooms", spec).startswith("{")
    tree.tell("top", "spin")
    assert tree.call("terminate_child", "rooms", "top") is True
    until(lambda: tree.lines("child did not stop in time", child="top"), "the log says so")


def test_a_shutdown_stops_children_last_to_first_and_inner_ones_in_their_turn(tree):
    mark = tree.server.mark()
    tree.server.stop()
    stopped = [r["name"] for r in tree.lines("worker is stopped", since=mark)]
    for supervisor in ("chain", "together", "slow"):
        mine = [name for name in stopped if name in tree.all[supervisor]]
        assert mine == tree.all[supervisor][::-1], supervisor
    assert stopped.index("guest") < stopped.index("after") < stopped.index("core")
    assert stopped.index("core") < stopped.index("twice"), "depends_on holds backwards too"
    assert "two" in stopped and "one" in stopped
    assert [r["child"] for r in tree.lines("child did not stop in time")] == ["deaf"]
    ended = {r["entry"] for r in tree.lines("supervisor ended")}
    assert ended == {f"app:{name}" for name in ("singles", "together", "chain", "brittle", "outer", "rooms", "slow")}
