"""The relay contract, "Transfer": a connection moves from one process to another as one step."""

import itertools
import threading

import pytest


@pytest.fixture(params=["same_shard", "service_a", "service_b"])
def other(request, driver):
    """Where the connection goes: a sibling, or a service on one of both shards."""
    if request.param == "same_shard":
        return driver.spawn()
    return driver.service("puppet_" + request.param[-1])


def moved(driver, client, **fields):
    """Transfers and waits for the acknowledgement."""
    assert driver.control(client, ack="moved", **fields) is True
    return driver.message("moved")["data"]


def test_transfer_sends_leave_to_the_old_join_to_the_new_and_only_then_messages(relay, driver, other):
    client = relay.join(driver, metadata={"stage": "lobby"})
    pid = driver.joined()
    client.send("before")
    driver.message("ws.message")
    moved(driver, pid, target_pid=other.pid, metadata={"stage": "game"}, message_topic="play")
    client.send("after")
    leave = driver.message("ws.leave")["data"]
    assert (leave["cause"], leave["reason"]) == ("transferred", "transferred")
    assert leave["metadata"] == {"stage": "lobby"}
    join = other.message(**{"from": pid})
    assert (join["topic"], join["data"]) == ("ws.join", {"client_pid": pid, "metadata": {"stage": "game"}})
    message = other.message(**{"from": pid})
    assert (message["topic"], message["data"]["data"]) == ("play", "after")
    assert message["data"]["metadata"] == {"stage": "game"}


def test_transfer_to_a_registered_name(relay, driver):
    service = driver.service("puppet_b")
    relay.join(driver)
    pid = driver.joined()
    assert moved(driver, pid, target_pid="puppet_b")["ok"] is True
    assert service.joined() == pid


def test_transfer_to_a_dead_target_changes_nothing(relay, driver):
    dead = driver.spawn()
    driver.call("process.terminate", dead.pid)
    driver.wait_dead(dead.pid)
    client = relay.join(driver, metadata={"stage": "lobby"})
    pid = driver.joined()
    answer = moved(driver, pid, target_pid=dead.pid, metadata={"stage": "game"}, message_topic="play")
    assert answer["client_pid"] == pid
    assert answer["ok"] is False
    assert answer["error"]
    client.send("still here")
    message = driver.message(**{"from": pid})
    assert (message["topic"], message["data"]["data"]) == ("ws.message", "still here")
    assert message["data"]["metadata"] == {"stage": "lobby"}
    assert driver.received(topic="ws.leave") == []


@pytest.mark.parametrize("name", ["nobody_holds_this", "{not a pid", "nil", ""])
def test_transfer_to_what_is_no_process_changes_nothing(relay, driver, name):
    client = relay.join(driver)
    pid = driver.joined()
    assert moved(driver, pid, target_pid=name)["ok"] is False
    client.send("still here")
    assert driver.message("ws.message")["data"]["data"] == "still here"


@pytest.mark.parametrize(
    "field",
    [{"message_topic": ""}, {"message_topic": "@x"}, {"message_topic": "ws.join"},
     {"heartbeat_interval": "soon"}, {"heartbeat_interval": 30}, {"metadata": "text"}],
    ids=["empty_topic", "at_topic", "reserved_topic", "bad_duration", "bare_number", "bad_metadata"],
)  # fmt: skip
def test_transfer_with_a_bad_field_changes_nothing_and_is_logged(relay, driver, field):
    other = driver.spawn()
    client = relay.join(driver)
    pid = driver.joined()
    assert moved(driver, pid, target_pid=other.pid, **field)["ok"] is False
    client.send("still here")
    assert driver.message(**{"from": pid})["topic"] == "ws.message"
    relay.wait_fault(next(iter(field)))


def test_transfer_acknowledges_with_client_pid_and_ok(relay, driver, other):
    relay.join(driver)
    pid = driver.joined()
    answer = moved(driver, pid, target_pid=other.pid)
    assert answer["client_pid"] == pid
    assert answer["ok"] is True
    assert answer.get("error") is None


def test_transfer_acknowledges_to_the_sender_once_the_join_is_on_its_way(relay, driver):
    """What the sender sends to the new target after the ack comes after the join."""
    new = driver.service("puppet_b")
    asker = driver.spawn()
    relay.join(driver)
    pid = driver.joined()
    asker.control(pid, target_pid=new.pid, ack="moved")
    assert asker.message("moved")["data"]["ok"] is True
    new.joined()
    new.ping()
    assert driver.received(topic="moved") == []


def test_transfer_without_ack_answers_nobody(relay, driver):
    new = driver.spawn()
    relay.join(driver)
    driver.control(driver.joined(), target_pid=new.pid)
    new.joined()
    driver.message("ws.leave")
    driver.ping()
    assert [message["topic"] for message in driver.received()] == ["ws.join", "ws.leave"]


def test_transfer_absent_fields_keep_their_value(relay, driver):
    new = driver.spawn()
    client = relay.join(driver, message_topic="chat", metadata={"user": "ann"}, heartbeat_interval="20ms")
    moved(driver, driver.joined(), target_pid=new.pid)
    assert new.message("ws.join")["data"]["metadata"] == {"user": "ann"}
    client.send("x")
    assert new.message("chat")["data"]["metadata"] == {"user": "ann"}
    new.message("ws.heartbeat")


def test_transfer_metadata_replaces_and_does_not_merge(relay, driver):
    new = driver.spawn()
    relay.join(driver, metadata={"user": "ann", "room": 1})
    moved(driver, driver.joined(), target_pid=new.pid, metadata={"room": 2})
    assert new.message("ws.join")["data"]["metadata"] == {"room": 2}


def test_transfer_empty_metadata_clears_it(relay, driver):
    new = driver.spawn()
    client = relay.join(driver, metadata={"user": "ann"})
    moved(driver, driver.joined(), target_pid=new.pid, metadata={})
    assert "metadata" not in new.message("ws.join")["data"]
    client.send("x")
    assert "metadata" not in new.message("ws.message")["data"]


def test_transfer_to_the_same_target_changes_fields_without_leave_and_join(relay, driver):
    room = driver.spawn()
    client = relay.join(room, metadata={"stage": 1})
    pid = room.joined()
    answer = moved(driver, pid, target_pid=room.pid, metadata={"stage": 2}, message_topic="play")
    assert answer["ok"] is True
    client.send("x")
    assert room.message("play")["data"]["metadata"] == {"stage": 2}
    assert room.topics() == ["ws.join", "play"]


def test_control_without_a_target_changes_fields_without_leave_and_join(relay, driver):
    client = relay.join(driver, metadata={"stage": 1})
    pid = driver.joined()
    assert moved(driver, pid, heartbeat_interval="20ms", metadata={"stage": 2})["ok"] is True
    assert driver.message("ws.heartbeat")["data"]["metadata"] == {"stage": 2}
    client.send("x")
    assert driver.message("ws.message")["data"]["metadata"] == {"stage": 2}
    assert driver.received(topic="ws.leave") == []
    assert len(driver.received(topic="ws.join")) == 1


def test_transfer_the_connection_lives_and_dies_with_the_new_target_only(relay, driver):
    old, new = driver.spawn(), driver.spawn()
    client = relay.join(old)
    pid = old.joined()
    moved(driver, pid, target_pid=new.pid)
    old.exit()
    driver.wait_dead(old.pid)
    client.send("the old one is gone")
    assert new.message("ws.message")["data"]["data"] == "the old one is gone"
    new.exit()
    assert client.closed_with() == 1000


def test_transfer_message_count_and_uptime_run_over_the_connections_life(relay, driver):
    new = driver.spawn()
    client = relay.join(driver, heartbeat_interval="50ms")
    pid = driver.joined()
    for _ in range(3):
        client.send("x")
        driver.message("ws.message")
    before = driver.message("ws.heartbeat")["data"]["uptime"]
    moved(driver, pid, target_pid=new.pid)
    beat = new.message("ws.heartbeat")["data"]
    assert beat["message_count"] == 3
    assert beat["uptime"] > before


def test_transfer_loses_and_doubles_no_message_while_the_client_sends(relay, driver, other):
    """A client that never pauses, moved to and fro: each number reaches exactly one
    target, in order, and none outside its join and leave."""
    here = driver.spawn()
    client = relay.join(here)
    pid = here.joined()
    total = 600
    go = threading.Event()

    def chatter():
        for number in range(total):
            client.send(str(number))
            if number == 20:
                go.set()

    talking = threading.Thread(target=chatter)
    talking.start()
    assert go.wait(10)
    for target in itertools.islice(itertools.cycle([other, here]), 9):
        moved(driver, pid, target_pid=target.pid)
    talking.join(20)
    client.close(1000, "all said")
    while other.message("ws.leave", deadline=20, **{"from": pid})["data"]["cause"] != "client":
        continue
    here.ping()
    other.ping()
    seen = []
    for target in (here, other):
        inside = False
        for message in target.received(**{"from": pid}):
            if message["topic"] == "ws.join":
                assert not inside
                inside = True
            elif message["topic"] == "ws.leave":
                assert inside
                inside = False
            else:
                assert inside, f"{message} outside of join and leave"
                seen.append(int(message["data"]["data"]))
        assert not inside
        mine = [int(m["data"]["data"]) for m in target.received(topic="ws.message", **{"from": pid})]
        assert mine == sorted(mine)
    assert sorted(seen) == list(range(total))


def test_transfer_by_the_old_target_itself_within_its_message_loop(relay, driver):
    """A lobby hands over and goes on: what it sends to the client first comes first."""
    game = driver.spawn()
    client = relay.join(driver)
    pid = driver.joined()
    driver.sends(
        (pid, "ws.send", {"data": "to the game"}),
        (pid, "ws.control", {"target_pid": game.pid}),
        (pid, "ws.send", {"data": "handed over"}),
    )
    assert [client.recv(), client.recv()] == ["to the game", "handed over"]
    assert game.joined() == pid


def test_transfer_several_at_once_are_done_in_order(relay, driver):
    rooms = [driver.spawn() for _ in range(4)]
    client = relay.join(driver)
    pid = driver.joined()
    driver.sends(*[(pid, "ws.control", {"target_pid": room.pid}) for room in rooms])
    rooms[-1].joined()
    client.send("x")
    rooms[-1].message("ws.message")
    for room in rooms[:-1]:
        room.message("ws.leave")
        assert room.topics() == ["ws.join", "ws.leave"]


def test_transfer_room_for_join_is_reserved_in_a_full_mailbox(relay, driver):
    """The new target's mailbox is full: the join still comes, and the leave after it."""
    room = driver.spawn()
    room.deaf()
    driver.burst(room.pid, "noise", 12000, raw={"n": 1})
    client = relay.join(driver)
    pid = driver.joined()
    assert moved(driver, pid, target_pid=room.pid)["ok"] is True
    client.close(1000, "gone")
    room.wake()
    assert room.joined() == pid
    assert room.message("ws.leave", deadline=30)["data"]["reason"] == "gone"
