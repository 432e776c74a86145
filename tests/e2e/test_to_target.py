"""The relay contract, "To the target": four topics and what surrounds them."""

import pytest

from harness.waiting import until


def test_ws_join_comes_first_with_client_pid_and_metadata(relay, target):
    client = relay.join(target, metadata={"user": "ann"})
    client.send("at once")
    join = target.message()
    assert join["topic"] == "ws.join"
    assert join["data"] == {"client_pid": join["from"], "metadata": {"user": "ann"}}
    assert target.message()["topic"] == "ws.message"


def test_ws_join_comes_first_even_if_the_target_had_messages_waiting(relay, driver):
    """First of what this client brings; other senders' messages keep their place."""
    room = driver.spawn()
    room.deaf()
    relay.join(room).send("hello")
    room.wake()
    assert [room.message()["topic"], room.message()["topic"]] == ["ws.join", "ws.message"]


def test_ws_message_text_has_client_pid_type_and_data(relay, target):
    client = relay.join(target)
    pid = target.joined()
    client.send("grüße ☃")
    assert target.message("ws.message")["data"] == {"client_pid": pid, "type": "text", "data": "grüße ☃"}


def test_ws_message_binary_is_a_string_of_bytes(relay, target):
    client = relay.join(target)
    pid = target.joined()
    client.send(b"\x00\xff\xfe")
    data = target.message("ws.message")["data"]
    assert data == {"client_pid": pid, "type": "binary", "data": b"\x00\xff\xfe"}


@pytest.mark.parametrize("empty", ["", b""], ids=["text", "binary"])
def test_ws_message_may_be_empty(relay, driver, empty):
    client = relay.join(driver)
    driver.joined()
    client.send(empty)
    data = driver.message("ws.message")["data"]
    assert (data["type"], data["data"]) == ("text" if empty == "" else "binary", "")


def test_ws_message_is_one_message_however_many_fragments_it_came_in(relay, driver):
    raw = relay.raw_to(driver)
    driver.joined()
    raw.send_frame(0x1, "gr", fin=False)
    raw.send_frame(0x0, "ü".encode()[:1], fin=False)
    raw.send_frame(0x9, "a ping between")
    raw.send_frame(0x0, "ü".encode()[1:] + b"n", fin=True)
    assert driver.message("ws.message")["data"]["data"] == "grün"
    assert raw.receive().text == "a ping between"


def test_ws_messages_arrive_in_order_none_lost_none_twice(relay, target):
    client = relay.join(target)
    target.joined()
    for number in range(500):
        client.send(str(number))
    texts = [target.message("ws.message")["data"]["data"] for _ in range(500)]
    assert texts == [str(number) for number in range(500)]


def test_ws_heartbeat_has_client_pid_uptime_message_count_and_metadata(relay, driver):
    client = relay.join(driver, heartbeat_interval="50ms", metadata={"user": "ann"})
    pid = driver.joined()
    first = driver.message("ws.heartbeat")["data"]
    assert set(first) == {"client_pid", "uptime", "message_count", "metadata"}
    assert (first["client_pid"], first["message_count"]) == (pid, 0)
    assert first["metadata"] == {"user": "ann"}
    for text in ("one", "two", "three"):
        client.send(text)
    for _ in range(3):
        driver.message("ws.message")
    later = until(lambda: _counted(driver, 3), "a heartbeat that counts three messages")
    assert later["uptime"] > first["uptime"] > 0
    assert later["uptime"] < 60, "seconds, not milliseconds"


def _counted(driver, count):
    data = driver.message("ws.heartbeat")["data"]
    return data if data["message_count"] == count else None


def test_ws_heartbeat_comes_every_interval(relay, driver):
    """By the relay's own clock: twenty intervals of 50 ms are about a second."""
    relay.join(driver, heartbeat_interval="50ms")
    driver.joined()
    uptimes = [driver.message("ws.heartbeat")["data"]["uptime"] for _ in range(20)]
    assert uptimes == sorted(uptimes)
    assert 0.8 < uptimes[-1] < 3.0


def test_ws_leave_comes_last_and_exactly_once(relay, target):
    client = relay.join(target, heartbeat_interval="10ms")
    pid = target.joined()
    client.send("last words")
    client.close(1000, "bye")
    leave = target.message("ws.leave")
    assert leave["from"] == pid
    target.ping()
    mine = [message["topic"] for message in target.received(**{"from": pid})]
    assert (mine[0], mine[-1]) == ("ws.join", "ws.leave")
    assert mine.count("ws.join") == mine.count("ws.leave") == 1


def test_ws_leave_has_client_pid_reason_cause_code_and_metadata(relay, target):
    client = relay.join(target, metadata={"user": "ann"})
    pid = target.joined()
    client.close(4001, "going home")
    assert target.message("ws.leave")["data"] == {
        "client_pid": pid,
        "reason": "going home",
        "cause": "client",
        "code": 4001,
        "metadata": {"user": "ann"},
    }


def test_from_is_the_client_pid_for_every_topic(relay, driver):
    client = relay.join(driver, heartbeat_interval="20ms")
    pid = driver.joined()
    driver.message("ws.heartbeat")
    client.send("x")
    driver.message("ws.message")
    client.close()
    driver.message("ws.leave")
    assert {message["from"] for message in driver.received()} == {pid}


# The cause, the reason and the code of each end


def leave_of(target):
    data = target.message("ws.leave")["data"]
    return data["cause"], data["reason"], data["code"]


def test_leave_cause_client_has_the_clients_own_text(relay, driver):
    relay.join(driver).close(1000, "client's own text")
    assert leave_of(driver) == ("client", "client's own text", 1000)


def test_leave_cause_client_without_a_code_is_1005(relay, driver):
    raw = relay.raw_to(driver)
    raw.send_close()
    assert leave_of(driver) == ("client", "", 1005)


def test_leave_cause_is_never_the_clients_choice(relay, driver):
    relay.join(driver).close(4000, "shutdown")
    assert leave_of(driver) == ("client", "shutdown", 4000)


def test_leave_cause_lost_after_a_reset_is_1006(relay, driver):
    raw = relay.raw_to(driver)
    driver.joined()
    raw.reset()
    assert leave_of(driver) == ("lost", "connection lost", 1006)


def test_leave_cause_lost_after_a_fin_without_a_close_frame_is_1006(relay, driver):
    raw = relay.raw_to(driver)
    driver.joined()
    raw.close()
    assert leave_of(driver) == ("lost", "connection lost", 1006)


def test_leave_cause_idle_when_nothing_comes(relay, driver):
    relay.raw_to(driver, "pings")  # never answers a Ping
    driver.joined()
    cause, reason, _code = leave_of(driver)
    assert (cause, reason) == ("idle", "idle timeout")


def test_leave_cause_protocol(relay, driver):
    raw = relay.raw_to(driver)
    raw.send_frame(0x3, "a reserved opcode")
    assert leave_of(driver) == ("protocol", "protocol error", 1002)


def test_leave_cause_protocol_for_bad_utf8(relay, driver):
    raw = relay.raw_to(driver)
    raw.send_frame(0x1, b"\xff\xfe")
    assert leave_of(driver) == ("protocol", "protocol error", 1007)


def test_leave_cause_too_big(relay, driver):
    raw = relay.raw_to(driver, "small")
    raw.send_frame(0x1, "x" * 1025)
    assert leave_of(driver) == ("too_big", "message too big", 1009)


def test_leave_cause_slow(relay, driver):
    raw = relay.raw_to(driver, "closes", receive_buffer=4096)
    client = driver.joined()
    driver.burst(client, "ws.send", 400, raw={"data": {"$repeat": "x", "count": 65536}})
    assert leave_of(driver) == ("slow", "slow client", 1013)
    raw.close()


def test_leave_cause_transferred(relay, driver):
    other = driver.spawn()
    relay.join(driver)
    client = driver.joined()
    driver.control(client, target_pid=other.pid)
    cause, reason, _code = leave_of(driver)
    assert (cause, reason) == ("transferred", "transferred")


def test_leave_cause_server_after_ws_close(relay, driver):
    relay.join(driver)
    driver.send(driver.joined(), "ws.close", {"code": 4002, "reason": "enough"})
    assert leave_of(driver) == ("server", "closed by server", 4002)


# Room is reserved


def test_join_and_leave_are_lost_by_no_full_mailbox(relay, driver):
    room = driver.spawn()
    room.deaf()
    before = relay.join(room)
    driver.burst(room.pid, "noise", 12000, raw={"n": 1})
    assert driver.send(room.pid, "noise", 1).kind == "Unavailable"
    late = relay.join(room)
    late.close(1000, "late")
    before.close(1000, "before")
    room.wake()
    leaves = [room.message("ws.leave", deadline=30)["data"]["reason"] for _ in range(2)]
    assert sorted(leaves) == ["before", "late"]
    assert len(room.received(topic="ws.join")) == 2
