"""The relay contract, the table of `X-WS-Relay`'s fields."""

import pytest

from harness.lease import relay_steps


def test_target_pid_is_the_process_that_gets_the_messages(relay, target):
    client = relay.join(target)
    target.joined()
    client.send("hello")
    assert target.message("ws.message")["data"]["data"] == "hello"


def test_target_pid_may_be_a_registered_name(relay, driver):
    service = driver.service("puppet_a")
    client = relay.join("puppet_a")
    service.joined()
    client.send("by name")
    assert service.message("ws.message")["data"]["data"] == "by name"


def test_target_pid_a_name_that_nobody_holds_is_503(relay):
    answer = relay.shake("ws", *relay_steps("nobody_holds_this"))
    assert answer.status == 503
    relay.wait_fault("nobody_holds_this")


def test_message_topic_defaults_to_ws_message(relay, driver):
    client = relay.join(driver)
    driver.joined()
    client.send("x")
    assert driver.message()["topic"] == "ws.message"


@pytest.mark.parametrize("topic", ["chat", "game.input", "ws.message", "ws.mine"])
def test_message_topic_is_the_topic_of_client_messages(relay, driver, topic):
    client = relay.join(driver, message_topic=topic)
    driver.joined()
    client.send("x")
    assert driver.message()["topic"] == topic


RESERVED = ["", "@mine", "ws.join", "ws.leave", "ws.heartbeat", "ws.send", "ws.close", "ws.control"]


@pytest.mark.parametrize("topic", RESERVED)
def test_message_topic_must_not_be_empty_nor_reserved(relay, driver, topic):
    answer = relay.shake("ws", *relay_steps(driver.pid, message_topic=topic))
    assert answer.status == 500
    relay.wait_fault("message_topic")


def test_heartbeat_interval_is_off_by_default(relay, driver):
    """The silent client's target hears nothing while another's gets five heartbeats."""
    silent, beating = driver.spawn(), driver.spawn()
    relay.join(silent)
    relay.join(beating, heartbeat_interval="20ms")
    silent.joined()
    for _ in range(5):
        beating.message("ws.heartbeat")
    silent.ping()
    assert silent.topics() == ["ws.join"]


@pytest.mark.parametrize("interval", ["10ms", "0.02s", "50ms"])
def test_heartbeat_interval_is_a_duration_string(relay, driver, interval):
    relay.join(driver, heartbeat_interval=interval)
    driver.joined()
    driver.message("ws.heartbeat")


@pytest.mark.parametrize("interval", ["30s", "1m30s"])
def test_heartbeat_interval_takes_the_contracts_examples(relay, driver, interval):
    relay.join(driver, heartbeat_interval=interval)
    driver.joined()


@pytest.mark.parametrize("interval", [30, 0.5, "9ms", "0s", "-1s", "30", "soon", "", True])
def test_heartbeat_interval_of_any_other_shape_is_an_error(relay, driver, interval):
    answer = relay.shake("ws", *relay_steps(driver.pid, heartbeat_interval=interval))
    assert answer.status == 500
    relay.wait_fault("heartbeat_interval")


def test_metadata_is_attached_to_every_message_to_the_target(relay, driver):
    metadata = {"user_id": "7", "tags": ["a", "b"], "nested": {"deep": True}}
    room = driver.spawn()
    client = relay.join(room, metadata=metadata, heartbeat_interval="20ms")
    assert room.message("ws.join")["data"]["metadata"] == metadata
    client.send("x")
    assert room.message("ws.message")["data"]["metadata"] == metadata
    assert room.message("ws.heartbeat")["data"]["metadata"] == metadata
    client.close()
    assert room.message("ws.leave")["data"]["metadata"] == metadata


def test_metadata_defaults_to_none(relay, driver):
    relay.join(driver)
    assert "metadata" not in driver.message("ws.join")["data"]


def test_metadata_of_an_empty_lua_table_is_none(relay, driver):
    """JSON may write it as [], which is otherwise no object."""
    answer = relay.shake("ws", ["table", {"target_pid": driver.pid, "metadata": "$empty"}])
    assert answer.status == 101
    assert "metadata" not in driver.message("ws.join")["data"]


@pytest.mark.parametrize("empty", [[], {}], ids=["list", "object"])
def test_metadata_that_is_empty_json_is_none(relay, driver, empty):
    relay.join(driver, metadata=empty)
    assert "metadata" not in driver.message("ws.join")["data"]


@pytest.mark.parametrize("metadata", [[1], "text", 7, True])
def test_metadata_that_is_no_object_is_an_error(relay, driver, metadata):
    answer = relay.shake("ws", *relay_steps(driver.pid, metadata=metadata))
    assert answer.status == 500
    relay.wait_fault("metadata")


def test_an_unknown_field_is_ignored_or_named_but_never_silently_wrong(relay, driver):
    """The contract leaves unknown fields open: 101, or a 500 whose log names the field."""
    answer = relay.shake("ws", *relay_steps(driver.pid, heartbeat="30s"))
    assert answer.status in (101, 500)
    if answer.status == 500:
        relay.wait_fault("heartbeat")
    else:
        driver.joined()
