"""The relay contract, "To the client": what processes send to a client's PID."""

import base64
import json
import time

import pytest
from websockets.exceptions import ConnectionClosed

from harness.puppet import Raised
from harness.wire import BINARY, CLOSE, TEXT


@pytest.fixture
def joined(relay, driver):
    client = relay.join(driver)
    return client, driver.joined()


def nothing_but(client, driver, pid, text="the end"):
    """Asserts that nothing came to the client before this."""
    driver.ws_send(pid, text)
    assert client.recv() == text


# ws.send


def test_ws_send_text_is_one_text_frame_as_it_is(relay, target):
    raw = relay.raw_to(target)
    target.ws_send(target.joined(), "grüße")
    frame = raw.receive()
    assert (frame.opcode, frame.fin, frame.text) == (TEXT, True, "grüße")


def test_ws_send_binary_is_one_binary_frame_as_it_is(relay, target):
    raw = relay.raw_to(target)
    target.ws_send(target.joined(), b"\x00\xff", "binary")
    frame = raw.receive()
    assert (frame.opcode, frame.fin, frame.data) == (BINARY, True, b"\x00\xff")


def test_ws_send_type_defaults_to_text(relay, driver, joined):
    client, pid = joined
    assert driver.send(pid, "ws.send", {"data": "no type"}) is True
    assert client.recv() == "no type"


def test_ws_send_an_empty_text_is_an_empty_frame(relay, driver, joined):
    client, pid = joined
    driver.ws_send(pid, "")
    assert client.recv() == ""


def test_ws_send_a_table_as_data_is_sent_as_its_json(relay, driver, joined):
    client, pid = joined
    driver.ws_send(pid, {"b": 1, "a": [True, "x"]})
    assert client.recv() == '{"a":[true,"x"],"b":1}'


@pytest.mark.parametrize("value, text", [(42, "42"), (1.5, "1.5"), (True, "true"), (False, "false")])
def test_ws_send_a_number_or_boolean_is_sent_as_its_text(relay, driver, joined, value, text):
    client, pid = joined
    driver.ws_send(pid, value)
    assert client.recv() == text


@pytest.mark.parametrize(
    "payload",
    [{"type": "text"}, {"type": "picture", "data": "x"}, {"type": 7, "data": "x"}],
    ids=["no_data", "unknown_type", "type_that_is_no_text"],
)
def test_ws_send_without_data_or_with_an_unknown_type_is_a_warning_and_no_frame(
    relay, driver, joined, payload
):
    client, pid = joined
    assert driver.send(pid, "ws.send", payload) is True
    nothing_but(client, driver, pid)
    relay.wait_log(lambda record: record["level"].startswith("warn"), what="a warning")


def test_ws_send_without_a_payload_is_a_warning_and_no_frame(relay, driver, joined):
    client, pid = joined
    assert driver.send(pid, "ws.send") is True
    nothing_but(client, driver, pid)
    relay.wait_log(lambda record: record["level"].startswith("warn"), what="a warning")


def test_ws_send_text_that_is_no_utf8_is_refused_with_a_warning_that_names_the_sender(relay, driver, joined):
    client, pid = joined
    driver.ws_send(pid, b"\xff\xfe", "text")
    nothing_but(client, driver, pid)
    relay.wait_fault(driver.pid)


def test_ws_send_works_from_any_process(relay, driver, joined):
    client, pid = joined
    for number, sender in enumerate([driver.spawn(), driver.service("puppet_a"), driver.service("puppet_b")]):
        sender.ws_send(pid, f"from {number}")
        assert client.recv() == f"from {number}"


def test_ws_sends_keep_their_order(relay, target):
    client = relay.join(target)
    pid = target.joined()
    assert target.burst(pid, "ws.send", 1000) == 0
    assert [client.recv() for _ in range(1000)] == [str(n) for n in range(1, 1001)]


# ws.close


def test_ws_close_sends_code_and_reason(relay, target):
    client = relay.join(target)
    target.send(target.joined(), "ws.close", {"code": 1000, "reason": "Session ended"})
    assert client.ended()[1:] == (1000, "Session ended")


def test_ws_close_lets_everything_sent_before_it_go_out(relay, driver, joined):
    client, pid = joined
    sends = [(pid, "ws.send", {"data": f"{n}" * 1000}) for n in range(200)]
    driver.sends(*sends, (pid, "ws.close", {"code": 4000}))
    before, code, _ = client.ended()
    assert (len(before), code) == (200, 4000)


def test_ws_close_waits_for_a_client_that_reads_slowly(relay, driver):
    """Nothing for three seconds, a few KiB, nothing for three again: more than the five that a close handshake has."""
    raw = relay.raw_to(driver, receive_buffer=4096)
    pid = driver.joined()
    driver.burst(pid, "ws.send", 8, raw={"data": {"$repeat": "x", "count": 65536}})
    driver.send(pid, "ws.close", {"code": 4001})
    time.sleep(3)
    came = raw.exactly(16384)
    time.sleep(3)
    raw.rest = came + raw.rest
    before, close = raw.receive_close()
    assert ([len(frame.data) for frame in before], close.code) == ([65536] * 8, 4001)


def test_ws_close_with_a_string_takes_it_as_the_reason(relay, driver, joined):
    client, pid = joined
    driver.send(pid, "ws.close", "that is all")
    assert client.ended()[1:] == (1000, "that is all")


def test_ws_close_code_defaults_to_1000(relay, driver, joined):
    client, pid = joined
    driver.send(pid, "ws.close", {"reason": "no code"})
    assert client.ended()[1:] == (1000, "no code")


def test_ws_close_without_a_payload_is_1000(relay, driver, joined):
    client, pid = joined
    driver.send(pid, "ws.close")
    assert client.closed_with() == 1000


@pytest.mark.parametrize("code", [1005, 1006, 1015, 0, 999, 5000, 65536, -1])
def test_ws_close_with_a_code_that_may_not_be_sent_becomes_1000_with_a_warning(relay, driver, joined, code):
    client, pid = joined
    driver.send(pid, "ws.close", {"code": code, "reason": "odd"})
    assert client.ended()[1:] == (1000, "odd")
    relay.wait_log(lambda record: record["level"].startswith("warn") and record.says(str(code)))


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 1013, 3000, 4999])
def test_ws_close_with_a_code_that_may_be_sent_is_sent(relay, driver, joined, code):
    client, pid = joined
    driver.send(pid, "ws.close", {"code": code})
    assert client.closed_with() == code


@pytest.mark.parametrize(
    "reason, expected",
    [("x" * 200, "x" * 123), ("ü" * 100, "ü" * 61), ("a" + "☃" * 60, "a" + "☃" * 40)],
    ids=["one_byte", "two_bytes", "three_bytes"],
)
def test_ws_close_cuts_the_reason_to_123_bytes_on_a_characters_edge(relay, driver, joined, reason, expected):
    client, pid = joined
    driver.send(pid, "ws.close", {"code": 4000, "reason": reason})
    assert client.ended()[1:] == (4000, expected)


def test_ws_close_makes_later_sends_not_found(relay, driver, joined):
    client, pid = joined
    closed, later = driver.sends((pid, "ws.close", {}), (pid, "ws.send", {"data": "too late"}))
    assert closed is True
    assert later.kind == "NotFound"
    before, _, _ = client.ended()
    assert before == []


def test_ws_close_ends_within_5_s_for_a_client_that_does_not_answer(relay, driver):
    raw = relay.raw_to(driver)
    driver.send(driver.joined(), "ws.close", {"code": 4000})
    assert raw.receive().opcode == CLOSE
    raw.sock.settimeout(8)
    assert raw.ended()


def test_ws_close_waits_for_the_clients_close_frame(relay, driver):
    """A client's last words within the handshake do not disturb it."""
    raw = relay.raw_to(driver)
    driver.send(driver.joined(), "ws.close", {"code": 4000, "reason": "bye"})
    frame = raw.receive()
    assert (frame.opcode, frame.code, frame.reason) == (CLOSE, 4000, "bye")
    raw.send_close(4000)
    assert raw.ended()


# ws.control: more in test_transfer.py


def test_ws_control_changes_the_topic_of_later_messages(relay, driver, joined):
    client, pid = joined
    assert driver.control(pid, message_topic="chat", ack="done") is True
    driver.message("done")
    client.send("x")
    assert driver.message()["topic"] == "chat"


def test_ws_control_is_not_shown_to_the_client(relay, driver, joined):
    client, pid = joined
    driver.control(pid, message_topic="chat")
    nothing_but(client, driver, pid)


# Any other topic


@pytest.mark.parametrize(
    "payload",
    [{"value": 42}, [1, 2, 3], "text", 7, True, {"nested": {"list": ["a", {"b": 1.5}]}}],
    ids=["table", "list", "text", "number", "boolean", "nested"],
)
def test_any_other_topic_is_one_text_frame_with_topic_and_data(relay, driver, payload):
    raw = relay.raw_to(driver)
    assert driver.send(driver.joined(), "news", payload) is True
    frame = raw.receive()
    assert frame.opcode == TEXT
    assert json.loads(frame.text) == {"topic": "news", "data": payload}


def test_any_other_topic_without_a_payload_still_is_a_frame(relay, driver, joined):
    client, pid = joined
    driver.send(pid, "news")
    frame = client.recv_json()
    assert frame["topic"] == "news"
    assert frame.get("data") is None


def test_any_other_topic_with_several_payloads_is_an_array(relay, driver, joined):
    client, pid = joined
    driver.send(pid, "news", 1, "two", True)
    assert client.recv_json() == {"topic": "news", "data": [1, "two", True]}


def test_any_other_topic_writes_strings_that_are_no_utf8_as_base64(relay, driver, joined):
    client, pid = joined
    driver.send(pid, "news", {"raw": b"\xff\x00\xfe", "good": "grüße"})
    data = client.recv_json()["data"]
    assert data == {"raw": base64.b64encode(b"\xff\x00\xfe").decode(), "good": "grüße"}


def test_a_ws_topic_that_means_nothing_to_a_client_is_wrapped(relay, driver, joined):
    client, pid = joined
    driver.send(pid, "ws.message", "for the client")
    assert client.recv_json() == {"topic": "ws.message", "data": "for the client"}


# Topics starting with @


def test_a_topic_starting_with_an_at_sign_never_reaches_a_client(relay, driver, joined):
    """`process.send` refuses it before it gets there."""
    client, pid = joined
    with pytest.raises(Raised, match="process.send"):
        driver.send(pid, "@internal", "x")
    nothing_but(client, driver, pid)


def test_events_never_reach_a_client(relay, driver, joined):
    """A monitor's EXIT comes to no client: here the target's, which closes it."""
    doomed = driver.spawn()
    client = relay.join(doomed)
    doomed.joined()
    doomed.exit()
    before, code, _ = client.ended()
    assert (before, code) == ([], 1000)


def test_sending_to_a_client_that_has_left_is_not_found(relay, driver, joined):
    client, pid = joined
    client.close()
    driver.message("ws.leave")
    assert driver.send(pid, "ws.send", {"data": "x"}).kind == "NotFound"
    assert driver.send(pid, "news", "x").kind == "NotFound"
    with pytest.raises(ConnectionClosed):
        client.recv()


def test_a_broadcast_to_fifty_clients_reaches_each_once(relay, driver):
    room = driver.spawn()
    clients = [relay.join(room) for _ in range(50)]
    pids = [room.joined() for _ in clients]
    room.sends(*[(pid, "ws.send", {"data": "to all"}) for pid in pids])
    assert [client.recv() for client in clients] == ["to all"] * 50
    room.sends(*[(pid, "ws.send", {"data": "again"}) for pid in pids])
    assert [client.recv() for client in clients] == ["again"] * 50


def test_a_client_can_be_told_by_a_handler_before_it_ends(relay, driver, joined):
    client, pid = joined
    relay.ask("ws", ["tell", pid, "from a handler"])
    told = client.recv_json()
    assert (told["topic"], told["data"]["what"]) == ("told", "from a handler")
