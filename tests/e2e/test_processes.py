"""The process contract, as issue "The documents' WebSocket relay runs end to end" builds it.

The cases are Luau functions (tests/e2e/apps/processes); what needs several processes
that a test watches at once is done with puppets.
"""

import re

import pytest

from harness.lease import ran
from harness.puppet import CANCEL, EXIT, HOST, LINK_DOWN, Raised

PID = re.compile(r"^\{[^{}]*\|[^{}|]+\}$")


@pytest.fixture
def between(server):
    """Runs a case of between.luau and returns its result."""
    return ran(server("processes", shards=2), "between")


# process.pid, constants


def test_pid_is_a_plain_string_in_the_contracts_form(between):
    found = between("pid")
    assert (found["type"], found["same"]) == ("string", True)
    assert PID.match(found["pid"]), found["pid"]


def test_pids_are_not_reused(between):
    assert len({between("pid")["pid"] for _ in range(50)}) == 50


def test_event_constants(between):
    assert between("event_constants") == {
        "exit": "pid.exit",
        "link_down": "pid.link.down",
        "cancel": "pid.cancel",
        "outdated": "pid.outdated",
    }


# process.spawn in four forms


def test_spawn_passes_its_arguments(between):
    assert between("spawn_arguments") == {"n": 4, "list": [1, "two", True, {"three": 3}]}


def test_spawn_takes_ids_of_the_callers_own_namespace_without_it(between):
    found = between("spawn_short_names")
    assert PID.match(found["pid"])


def test_spawn_of_an_unknown_entry_or_host_is_nil_and_not_found(between):
    assert between("spawn_unknown") == {"entry": "NotFound", "host": "NotFound"}


def test_spawn_beyond_a_hosts_max_processes_is_unavailable(between):
    assert between("spawn_beyond_max_processes") == {"kind": "Unavailable", "again": True}


def test_a_chunk_that_returns_nothing_runs_its_local_function_named_by_method(between):
    assert between("spawn_bare") == {"topic": "bare", "data": "from a local function"}


def test_spawn_monitored_gives_the_childs_exit_even_if_it_returns_at_once(between):
    found = between("spawn_monitored")
    assert found["is_child"] is True
    assert found["event"]["kind"] == EXIT
    assert found["event"]["value"] == {"answer": 42}
    assert found["event"]["has_at"] is True


def test_spawn_linked_failure_is_a_link_down_where_links_are_trapped(between):
    found = between("spawn_linked_failure_trapped")
    assert (found["trapped"], found["is_child"]) == (True, True)
    assert found["event"]["kind"] == LINK_DOWN
    assert "raised" in found["event"]["error"]["message"]


def test_spawn_linked_return_fires_no_link(between):
    found = between("spawn_linked_return_is_silent")
    assert found["event"]["kind"] == EXIT
    assert found["silent"] is True


def test_spawn_linked_monitored_failure_gives_both_events(between):
    assert between("spawn_linked_monitored_failure") == {"exit": True, "link_down": True}


@pytest.mark.parametrize("relation", ["_linked", "_linked_monitored"])
def test_spawn_linked_the_childs_failure_kills_its_parent(driver, relation):
    parent = driver.spawn()
    child = parent.spawn(relation)
    child.error()
    driver.wait_dead(parent.pid)


def test_spawn_linked_the_parents_failure_kills_the_child(driver):
    parent = driver.spawn()
    child = parent.spawn("_linked")
    parent.error()
    driver.wait_dead(child.pid)


@pytest.mark.parametrize("relation", ["", "_monitored"])
def test_spawn_without_a_link_the_childs_failure_spares_its_parent(driver, relation):
    parent = driver.spawn()
    child = parent.spawn(relation)
    child.error()
    driver.wait_dead(child.pid)
    parent.ping()


def test_spawn_takes_its_place_beside_the_parent_and_ends_by_itself(driver):
    """A child outlives its parent where no link binds them."""
    parent = driver.spawn()
    child = parent.spawn()
    parent.exit()
    driver.wait_dead(parent.pid)
    child.ping()


# process.send


def test_send_answers_true_or_not_found(between):
    assert between("send_results") == {"dead": "NotFound", "name": "NotFound", "alive": True}


def test_send_to_a_process_of_another_shard_answers_at_once(driver):
    for name in ("puppet_a", "puppet_b"):
        far = driver.service(name).spawn()
        assert driver.send(far.pid, "x", 1) is True
        assert far.message("x")["data"] == 1
        far.exit()
        driver.wait_dead(far.pid)
        assert driver.send(far.pid, "x", 1).kind == "NotFound"


def test_send_to_a_full_mailbox_is_unavailable_and_retryable(driver):
    room = driver.spawn()
    room.deaf()
    driver.burst(room.pid, "noise", 11000, raw={"n": 1})
    answer = driver.send(room.pid, "noise", 1)
    assert (answer.kind, answer.retryable) == ("Unavailable", True)
    room.wake()
    room.ping()


@pytest.mark.parametrize(
    "what",
    [
        "nil_dest",
        "at_topic",
        "a_function",
        "nested_function",
        "thread",
        "cycle",
        "number_topic",
        "spawn_number",
    ],
)
def test_send_raises_for_what_cannot_be_sent_and_names_the_call(between, what):
    text = between("send_raises")[what]
    assert text != "did not raise"
    assert ("process.spawn" if what == "spawn_number" else "process.send") in text


def test_payloads_none_one_and_several(between):
    assert between("payloads") == {
        "none": True,
        "one": {"a": 1},
        "several": [1, "two", True],
        "from_me": True,
        "topic": "one",
    }


def test_payloads_are_copied(between):
    assert between("payloads_are_copies") == {"value": "mine", "nested": "mine", "other": True}


def test_payloads_keep_every_kind_of_value(between):
    assert between("payload_values") == {
        "text": "grüße",
        "bytes": 2,
        "int": 42,
        "float": 1.5,
        "yes": True,
        "list": 3,
        "map": "bc",
    }


@pytest.mark.parametrize("name", ["child", "puppet_a", "puppet_b"])
def test_messages_of_one_sender_arrive_in_order_none_twice(driver, name):
    receiver = driver.spawn() if name == "child" else driver.service(name)
    assert driver.burst(receiver.pid, "row", 2000) == 0
    numbers = [receiver.message("row")["data"]["data"] for _ in range(2000)]
    assert numbers == [str(number) for number in range(1, 2001)]


def test_causes_come_first_across_shards(driver):
    """A tells B, then C; C tells B: B hears A first, wherever they run."""
    a, c = driver.service("puppet_a"), driver.service("puppet_b")
    b = driver.spawn()
    for number in range(50):
        a.sends(
            (b.pid, "cause", number),
            (c.pid, "cmd", {"op": "sends", "id": 0, "list": [[b.pid, "effect", number]]}),
        )
    seen = [(b.message()["topic"]) for _ in range(100)]
    assert seen.count("cause") == seen.count("effect") == 50
    heard = [(message["topic"], message["data"]) for message in b.received()]
    for number in range(50):
        assert heard.index(("cause", number)) < heard.index(("effect", number))


# Monitors


def test_monitor_true_then_already_exists_and_not_found_for_the_dead(between):
    found = between("monitor")
    assert (found["first"], found["again"], found["late"]) == (True, "AlreadyExists", "NotFound")
    assert found["event"]["kind"] == EXIT


def test_unmonitor_takes_the_monitor_back(between):
    assert between("unmonitor") == {"undone": True, "only_the_other": True}


def test_a_monitor_fires_exactly_once_for_each_of_two_hundred(between):
    assert between("spawn_monitored_many") == {"once": 200, "others": 0}


@pytest.mark.parametrize("name", ["puppet_a", "puppet_b"])
def test_a_monitor_fires_exactly_once_across_shards(driver, name):
    far = driver.service(name).spawn()
    watchers = [driver.spawn() for _ in range(5)]
    for watcher in watchers:
        assert watcher.call("process.monitor", far.pid) is True
    far.error("far away")
    for watcher in watchers:
        event = watcher.event(EXIT)
        assert event["from"] == far.pid
        assert "far away" in event["result"]["error"].message
        watcher.ping()
        assert len(watcher.events(EXIT)) == 1


def test_everything_sent_before_an_exit_arrives_before_it(between):
    found = between("exit_after_messages")
    assert (found["event"]["value"], found["count"]) == ("done", 500)


def test_exit_tells_a_return_from_both_kinds_of_failure(between):
    found = between("exit_of_failures")
    assert found["return"]["value"] == "value"
    assert "error" not in found["return"]
    assert found["fail"]["error"] == {"kind": "Conflict", "message": "failed"}
    assert "raised" in found["error"]["error"]["message"]


# Links


def test_link_twice_is_true_and_not_found_for_the_dead(between):
    found = between("link")
    assert (found["first"], found["second"], found["late"]) == (True, True, "NotFound")
    assert found["event"]["kind"] == LINK_DOWN
    assert found["event"]["error"]["kind"] == "Canceled"


def test_unlink_takes_the_link_back(between):
    found = between("unlink")
    assert found["undone"] is True
    assert found["event"]["kind"] == EXIT


@pytest.mark.parametrize("name", ["child", "puppet_a", "puppet_b"])
def test_a_link_kills_on_failure_wherever_the_other_runs(driver, name):
    left = driver.spawn() if name == "child" else driver.service(name).spawn()
    right = driver.spawn()
    assert right.call("process.link", left.pid) is True
    left.error()
    driver.wait_dead(right.pid)


def test_a_link_spares_the_other_on_a_return(driver):
    left, right = driver.spawn(), driver.spawn()
    right.call("process.link", left.pid)
    left.exit()
    driver.wait_dead(left.pid)
    right.ping()


def test_a_link_travels_on_through_a_chain(driver):
    chain = [driver.spawn() for _ in range(5)]
    for left, right in zip(chain, chain[1:]):
        right.call("process.link", left.pid)
    chain[0].error()
    for link in chain[1:]:
        driver.wait_dead(link.pid)


# Cancel and terminate


def test_cancel_is_a_request_with_sender_and_reason(between):
    found = between("cancel")
    assert (found["asked"], found["late"], found["from_me"]) == (True, "NotFound", True)
    assert found["value"]["kind"] == CANCEL
    assert found["value"]["reason"] == "please"


def test_cancel_does_not_end_a_process_that_ignores_it(driver):
    room = driver.spawn()
    driver.call("process.cancel", room.pid, "please")
    assert room.event(CANCEL)["from"] == driver.pid
    room.ping()


@pytest.mark.parametrize("what", ["wait", "spin", "sleep", "cancel"])
def test_terminate_is_an_order_for_a_waiting_a_spinning_and_a_sleeping_process(between, what):
    event = between("terminate")[what]
    assert event["kind"] == EXIT
    assert event["error"]["kind"] == "Canceled"


def test_terminate_of_the_dead_is_not_found(between):
    assert between("terminate_dead") == {"dead": "NotFound"}


@pytest.mark.parametrize("name", ["puppet_a", "puppet_b"])
def test_terminate_works_on_a_spinner_of_any_shard(driver, name):
    far = driver.service(name).spawn()
    driver.call("process.monitor", far.pid)
    far.command("spin")
    assert driver.call("process.terminate", far.pid) is True
    assert driver.event(EXIT)["result"]["error"].kind == "Canceled"


def test_terminate_fires_links(driver):
    left, right = driver.spawn(), driver.spawn(trap_links=True)
    right.call("process.link", left.pid)
    driver.call("process.terminate", left.pid)
    assert right.event(LINK_DOWN)["result"]["error"].kind == "Canceled"


# Inbox, events, listen


def test_inbox_and_events_are_the_same_object_each_time(between):
    assert between("same_objects") == {"inbox": True, "events": True}


def test_listen_takes_a_topic_out_of_the_inbox_and_gives_its_data(between):
    assert between("listen") == {"value": {"n": 1}, "ok": True, "same": True, "inbox": "other"}


def test_listen_with_message_gives_message_objects(between):
    assert between("listen_messages") == {"topic": "news", "from_me": True, "data": {"n": 1}}


def test_unlisten_gives_the_topic_back_to_the_inbox(between):
    assert between("unlisten") == {"topic": "news", "data": 7}


def test_listen_in_a_coroutine_beside_the_inbox(driver):
    room = driver.spawn(listen=["news"])
    driver.sends((room.pid, "news", {"n": 1}), (room.pid, "other", 2))
    assert room.heard("news") == {"n": 1}
    assert room.message("other")["data"] == 2


# Names


def test_names_register_lookup_send_and_unregister(between):
    found = between("registry")
    assert found["registered"] is True
    assert found["again"] == "AlreadyExists"
    assert (found["mine"], found["topic"], found["undone"], found["gone"]) == (True, "by_name", True, True)


def test_names_are_released_when_the_owner_exits(between):
    found = between("registry_released_on_exit")
    assert (found["registered"], found["before"]) == (True, True)
    assert "after" not in found


def test_names_are_the_same_on_every_shard(driver):
    a, b = driver.service("puppet_a"), driver.service("puppet_b")
    assert a.call("process.registry.lookup", "puppet_b") == b.pid
    assert b.call("process.registry.lookup", "puppet_a") == a.pid


def test_names_are_unregistered_by_their_owner_only(driver):
    owner, other = driver.spawn(), driver.spawn()
    assert owner.call("process.registry.register", "only_the_owner") is True
    assert other.call("process.registry.register", "only_the_owner").kind == "AlreadyExists"
    answer = other.call("process.registry.unregister", "only_the_owner")
    assert answer is not True
    assert other.call("process.registry.lookup", "only_the_owner") == owner.pid


@pytest.mark.parametrize("call", ["monitor", "link", "cancel", "terminate"])
def test_names_stand_for_a_dest_everywhere(driver, call):
    owner = driver.spawn()
    owner.call("process.registry.register", f"dest_of_{call}")
    assert driver.spawn().call(f"process.{call}", f"dest_of_{call}") is True


def test_a_call_with_a_wrong_type_raises_with_the_call_as_written(driver):
    for path, args in (
        ("process.monitor", [7]),
        ("process.registry.register", [{}]),
        ("process.send", [None, "x"]),
    ):
        with pytest.raises(Raised, match=path.replace(".", r"\.")):
            driver.call(path, *args)


def test_a_thousand_processes_come_and_go(driver):
    """Nothing is left behind: the counters at this test's end say so."""
    parent = driver.spawn()
    for _ in range(1000):
        parent.start("call", path="process.spawn", args=["app:brief", HOST], n=2)
    parent.ping()
    assert driver.is_alive(parent.pid)
