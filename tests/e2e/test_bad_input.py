"""Issue "The documents' WebSocket relay runs end to end", "Bad input": each gives the
contract's answer and a clear log line, and the counters are where they were (that is
asserted at the end of every test, by its lease).

Bad YAML and a port in use are in test_config.py.
"""

import pytest

from harness.lease import relay_steps
from harness.puppet import Raised
from harness.wire import CLOSE

SPAWNED = [["spawn", {}], ["header", "X-WS-Relay", '{"target_pid": "$pid"}']]


@pytest.fixture
def dead(driver):
    """The PID of a process that is no more."""
    room = driver.spawn()
    driver.call("process.terminate", room.pid)
    driver.wait_dead(room.pid)
    return room.pid


def test_malformed_x_ws_relay_is_500_and_logged(relay):
    answer = relay.shake("ws", ["header", "X-WS-Relay", "{not json"])
    assert (answer.status, answer.header("x-ws-relay")) == (500, None)
    relay.wait_fault("app:ws", "x-ws-relay")


def test_a_dead_target_is_503_and_logged(relay, dead):
    answer = relay.shake("ws", *relay_steps(dead))
    assert (answer.status, answer.header("x-ws-relay")) == (503, None)
    relay.wait_fault("app:ws", dead)


def test_a_foreign_origin_is_403_and_logged(relay):
    answer = relay.shake("ws", *SPAWNED, Origin="https://evil.test")
    assert (answer.status, answer.header("x-ws-relay")) == (403, None)
    relay.wait_log(lambda record: record.says("app:ws", "https://evil.test"), what="the origin")


def test_a_non_handshake_is_426_and_logged(relay, driver):
    answer = relay.ask("ws", *relay_steps(driver.pid))
    assert (answer.status, answer.header("x-ws-relay")) == (426, None)
    relay.wait_log(lambda record: record.says("app:ws", "426") or record.says("app:ws", "handshake"))


def test_an_oversized_message_is_1009_and_logged(relay, driver):
    raw = relay.raw_to(driver, "small")
    pid = driver.joined()
    raw.send_frame(0x2, b"x" * 5000)
    assert raw.receive_close()[1].code == 1009
    relay.wait_log(lambda record: record.says("app:small", pid, "too_big"), what="who was too big")


def test_invalid_utf8_is_1007_and_logged(relay, driver):
    raw = relay.raw_to(driver)
    pid = driver.joined()
    raw.send_frame(0x1, b"\xc3\x28")
    assert raw.receive_close()[1].code == 1007
    relay.wait_log(lambda record: record.says("app:ws", pid, "protocol"), what="who broke the protocol")


def test_a_handler_that_errors_is_500_and_logged(relay):
    answer = relay.shake("ws", *SPAWNED, ["error", "on purpose"])
    assert answer.status == 500
    assert answer.header("x-request-id")
    assert b"on purpose" not in answer.body
    relay.wait_fault("on purpose", "app:ws_answer", answer.header("x-request-id"))


def test_a_handler_that_never_returns_is_504_and_logged(relay):
    answer = relay.ask("ws", ["wait"], service="app:hasty")
    assert answer.status == 504
    relay.wait_fault("app:short")


REFUSED_AFTER_SPAWN = {
    426: (False, SPAWNED),
    500: (
        True,
        [["spawn", {}], ["header", "X-WS-Relay", '{"target_pid": "$pid", "heartbeat_interval": 30}']],
    ),
    503: (True, [*SPAWNED, ["terminate", "$pid"]]),
}


@pytest.mark.parametrize("status", REFUSED_AFTER_SPAWN)
def test_a_request_that_is_refused_after_its_handler_spawned_a_target_leaves_nothing(relay, driver, status):
    """The puppets spawned here have no controller: only the relay can end them."""
    handshake, steps = REFUSED_AFTER_SPAWN[status]
    steps = [steps[0], ["tell", driver.pid, "spawned"], *steps[1:]]
    answer = relay.shake("ws", *steps) if handshake else relay.ask("ws", *steps)
    assert (answer.status, answer.header("x-ws-relay")) == (status, None)
    driver.wait_dead(driver.message("told")["data"]["pid"])
    relay.wait_log(lambda record: record.says("app:ws"), what="the entry")


def test_many_bad_requests_at_once_leave_nothing(relay, driver):
    for _ in range(30):
        assert relay.ask("ws", *SPAWNED).status == 426
        assert relay.shake("ws", ["header", "X-WS-Relay", "[]"]).status == 500
        assert relay.shake("ws", *SPAWNED, Sec_WebSocket_Version="12").status == 426


def test_a_connection_that_breaks_in_the_middle_of_a_frame_leaves_nothing(relay, driver):
    raw = relay.raw_to(driver)
    driver.joined()
    raw.send(raw.frame(0x2, b"x" * 1000)[:500])
    raw.reset()
    assert driver.message("ws.leave")["data"]["cause"] == "lost"


def test_a_connection_that_breaks_in_the_middle_of_a_fragmented_message_leaves_nothing(relay, driver):
    raw = relay.raw_to(driver)
    driver.joined()
    raw.send_frame(0x1, "half", fin=False)
    raw.close()
    assert driver.message("ws.leave")["data"]["cause"] == "lost"
    assert driver.received(topic="ws.message") == []


def test_frames_byte_by_byte_are_frames(relay, driver):
    raw = relay.raw_to(driver)
    driver.joined()
    for byte in raw.frame(0x1, "slowly") + raw.frame(CLOSE, b"\x03\xe8"):
        raw.send(bytes([byte]))
    assert driver.message("ws.message")["data"]["data"] == "slowly"
    assert raw.receive_close()[1].code == 1000


def test_a_payload_that_cannot_be_sent_raises_in_the_sender_only(relay, driver):
    client = relay.join(driver)
    pid = driver.joined()
    for bad in ({"$function": True}, {"$thread": True}, {"$cycle": True}):
        with pytest.raises(Raised, match="process.send"):
            driver.send(pid, "ws.send", bad)
    driver.ws_send(pid, "still here")
    assert client.recv() == "still here"
