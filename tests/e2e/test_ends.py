"""The relay contract, "Ends": every cause with its close code, and ends as processes see them."""

import selectors
import struct
import time

import pytest

from harness.puppet import EXIT, LINK_DOWN
from harness.wire import CLOSE, PING, PONG


@pytest.fixture
def room(driver):
    return driver.spawn()


def test_end_target_returned_is_1000(relay, driver, room):
    client = relay.join(room)
    room.joined()
    room.exit()
    assert client.closed_with() == 1000


def test_end_target_returned_nil_and_an_error_is_1011(relay, driver, room):
    client = relay.join(room)
    room.joined()
    room.fail("secret of the target")
    _, code, reason = client.ended()
    assert code == 1011
    assert "secret" not in reason


def test_end_target_raised_is_1011_without_internals_in_the_reason(relay, driver, room):
    client = relay.join(room)
    room.joined()
    room.error("secret of the target")
    _, code, reason = client.ended()
    assert code == 1011
    assert "secret" not in reason
    relay.wait_log(
        lambda record: (
            record["level"] == "error"
            and record["message"] == "process failed"
            and record.says("secret of the target", "app:puppet", room.pid)
        ),
        what="process failed, with pid, entry and error",
    )


def test_end_target_terminated_is_1011(relay, driver, room):
    client = relay.join(room)
    room.joined()
    driver.call("process.terminate", room.pid)
    assert client.closed_with() == 1011


def test_end_target_on_another_shard(relay, driver):
    """The services' own end would disturb others, so they spawn the target."""
    for name in ("puppet_a", "puppet_b"):
        far = driver.service(name).spawn()
        client = relay.join(far)
        far.joined()
        far.exit()
        assert client.closed_with() == 1000


def test_end_ws_close_is_the_given_code(relay, driver):
    client = relay.join(driver)
    driver.send(driver.joined(), "ws.close", {"code": 4321, "reason": "given"})
    assert client.ended()[1:] == (4321, "given")


def test_end_cancel_of_the_client_is_1001(relay, driver):
    client = relay.join(driver)
    assert driver.call("process.cancel", driver.joined()) is True
    assert client.closed_with() == 1001
    assert driver.message("ws.leave")["data"]["code"] == 1001


def test_end_terminate_of_the_client_is_a_cut(relay, driver):
    raw = relay.raw_to(driver)
    assert driver.call("process.terminate", driver.joined()) is True
    assert raw.ended(), "no close frame, no more bytes"
    assert driver.message("ws.leave")["data"]["client_pid"]


def test_end_shutdown_is_1012(own_relay):
    relay = own_relay()
    driver = relay.driver()
    client = relay.join(driver)
    driver.joined()
    relay.server.terminate()
    assert client.closed_with(20) == 1012
    driver.socket.ended(20)
    assert relay.server.wait() == 0


def test_end_shutdown_is_spread_over_the_drain_time(own_relay):
    """Forty clients do not all reconnect within the same moment (`drain` is 2 s there)."""
    relay = own_relay()
    driver = relay.driver()
    clients = [relay.raw_to(driver) for _ in range(40)]
    for _ in clients:
        driver.joined()
    relay.server.terminate()
    began, when = time.monotonic(), []
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.sock, selectors.EVENT_READ, client)
    while selector.get_map():
        for key, _ in selector.select(10):
            frame = key.data.receive_message()
            assert (frame.opcode, frame.code) == (CLOSE, 1012)
            when.append(time.monotonic() - began)
            key.data.send_close(1012)
            selector.unregister(key.fileobj)
    assert len(when) == 40
    assert max(when) - min(when) > 0.5, "spread"
    assert max(when) < 6, "within the drain time, give or take"
    driver.socket.ended(10)
    assert relay.server.wait() == 0


def test_end_bad_utf8_is_1007(relay, driver):
    raw = relay.raw_to(driver)
    raw.send_frame(0x1, b"good \xc3\x28")
    assert raw.receive_close()[1].code == 1007
    driver.message("ws.leave")
    assert driver.received(topic="ws.message") == []


def test_end_bad_utf8_is_found_at_the_first_bad_byte_of_a_fragmented_text(relay, driver):
    raw = relay.raw_to(driver)
    raw.send_frame(0x1, b"\xff", fin=False)
    assert raw.receive_close()[1].code == 1007


def test_end_bad_utf8_in_a_close_reason_is_1007(relay, driver):
    raw = relay.raw_to(driver)
    raw.send_frame(CLOSE, struct.pack("!H", 1000) + b"\xff")
    assert raw.receive_close()[1].code == 1007


PROTOCOL_ERRORS = {
    "unmasked": {"opcode": 0x1, "data": b"x", "masked": False},
    "reserved_opcode": {"opcode": 0x3, "data": b"x"},
    "reserved_control_opcode": {"opcode": 0xB, "data": b""},
    "rsv1_without_extension": {"opcode": 0x1, "data": b"x", "rsv": 4},
    "rsv2": {"opcode": 0x1, "data": b"x", "rsv": 2},
    "continuation_of_nothing": {"opcode": 0x0, "data": b"x"},
    "fragmented_ping": {"opcode": 0x9, "data": b"x", "fin": False},
    "ping_of_126_bytes": {"opcode": 0x9, "data": b"x" * 126},
    "close_of_one_byte": {"opcode": 0x8, "data": b"\x03"},
    "close_code_1005": {"opcode": 0x8, "data": struct.pack("!H", 1005)},
    "close_code_1006": {"opcode": 0x8, "data": struct.pack("!H", 1006)},
    "close_code_1015": {"opcode": 0x8, "data": struct.pack("!H", 1015)},
    "close_code_1004": {"opcode": 0x8, "data": struct.pack("!H", 1004)},
    "close_code_999": {"opcode": 0x8, "data": struct.pack("!H", 999)},
    "close_code_5000": {"opcode": 0x8, "data": struct.pack("!H", 5000)},
}


@pytest.mark.parametrize("fault", PROTOCOL_ERRORS)
def test_end_protocol_error_is_1002(relay, driver, fault):
    raw = relay.raw_to(driver)
    raw.send_frame(**PROTOCOL_ERRORS[fault])
    before, close = raw.receive_close()
    assert (before, close.code) == ([], 1002)
    assert driver.message("ws.leave")["data"]["cause"] == "protocol"


def test_end_a_new_message_within_a_fragmented_one_is_1002(relay, driver):
    raw = relay.raw_to(driver)
    raw.send_frame(0x1, "first", fin=False)
    raw.send_frame(0x1, "second")
    assert raw.receive_close()[1].code == 1002


@pytest.mark.parametrize(
    "head",
    [b"\x81\xff\x80\0\0\0\0\0\0\1", b"\x81\xfe\x00\x05", b"\x81\xff\0\0\0\0\0\0\0\5"],
    ids=["top_bit_of_a_64_bit_length", "16_bit_length_not_minimal", "64_bit_length_not_minimal"],
)
def test_end_a_wrong_length_is_1002(relay, driver, head):
    raw = relay.raw_to(driver)
    raw.send(head + b"\0\0\0\0" + b"12345")
    assert raw.receive_close()[1].code == 1002


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1008, 1011, 1012, 1013, 1014, 3000, 4999])
def test_end_the_clients_close_code_is_answered_with_the_same(relay, driver, code):
    raw = relay.raw_to(driver)
    driver.joined()
    raw.send_close(code, "as the client says")
    _, close = raw.receive_close()
    assert close.code == code
    leave = driver.message("ws.leave")["data"]
    assert (leave["cause"], leave["code"], leave["reason"]) == ("client", code, "as the client says")
    assert raw.ended(), "the server closes the TCP connection first"


def test_end_too_big_is_1009(relay, driver):
    raw = relay.raw_to(driver, "small")
    raw.send_frame(0x1, "x" * 1025)
    assert raw.receive_close()[1].code == 1009


def test_end_slow_is_1013(relay, driver):
    raw = relay.raw_to(driver, "closes", receive_buffer=4096)
    driver.burst(driver.joined(), "ws.send", 400, raw={"data": {"$repeat": "x", "count": 65536}})
    driver.message("ws.leave")
    before, close = raw.receive_close()
    assert close.code == 1013
    assert len(before) < 400


def test_a_ping_is_answered_with_its_own_data(relay, driver):
    raw = relay.raw_to(driver)
    raw.send_frame(PING, "ping data")
    frame = raw.receive()
    assert (frame.opcode, frame.data) == (PONG, b"ping data")


def test_an_unasked_pong_is_nothing(relay, driver):
    raw = relay.raw_to(driver)
    raw.send_frame(PONG, "unasked")
    raw.send_text("still here")
    assert driver.message("ws.message")["data"]["data"] == "still here"


@pytest.mark.parametrize("how", ["exit_after", "error_after"])
def test_what_a_target_sent_before_it_ended_reaches_the_client_before_the_close_frame(relay, room, how):
    client = relay.join(room)
    pid = room.joined()
    items = [[pid, "ws.send", {"data": str(number)}] for number in range(100)]
    room.start(how, list=items, value="the end")
    before, code, _ = client.ended()
    assert before == [str(number) for number in range(100)]
    assert code == (1000 if how == "exit_after" else 1011)


def test_what_a_target_on_another_shard_sent_before_it_ended_reaches_the_client_too(relay, driver):
    for name in ("puppet_a", "puppet_b"):
        far = driver.service(name).spawn()
        client = relay.join(far)
        pid = far.joined()
        far.start("exit_after", list=[[pid, "ws.send", {"data": str(n)}] for n in range(100)], value=1)
        before, code, _ = client.ended()
        assert (before, code) == ([str(n) for n in range(100)], 1000)


def test_after_a_close_for_a_fault_input_is_discarded_so_that_no_reset_swallows_the_frame(relay, driver):
    """A megabyte stands behind the bad frame; the client reads the close frame, not a reset."""
    raw = relay.raw_to(driver)
    raw.send_frame(0x3, "bad")
    raw.send(raw.frame(0x2, b"x" * 500_000) * 2)
    _, close = raw.receive_close()
    assert close.code == 1002


def test_after_a_close_for_a_fault_nothing_more_reaches_the_target(relay, driver):
    raw = relay.raw_to(driver)
    raw.send(raw.frame(0x1, "good") + raw.frame(0x3, "bad") + raw.frame(0x1, "too late"))
    raw.receive_close()
    driver.message("ws.leave")
    assert [message["data"]["data"] for message in driver.received(topic="ws.message")] == ["good"]


# As a process


def test_as_a_process_its_exit_carries_code_and_reason(relay, driver, room):
    client = relay.join(room)
    pid = room.joined()
    assert driver.call("process.monitor", pid) is True
    client.close(4000, "bye")
    event = driver.event(EXIT)
    assert event["from"] == pid
    assert event["result"]["value"] == {"code": 4000, "reason": "bye"}


ENDS = {
    "client_1000": (lambda d, c, pid: c.close(1000), 1000, True),
    "client_1001": (lambda d, c, pid: c.close(1001), 1001, True),
    "given_by_ws_close": (lambda d, c, pid: d.send(pid, "ws.close", {"code": 4005}), 4005, True),
    "given_by_ws_close_1011": (lambda d, c, pid: d.send(pid, "ws.close", {"code": 1011}), 1011, True),
    "client_4000": (lambda d, c, pid: c.close(4000), 4000, False),
    "cancelled": (lambda d, c, pid: d.call("process.cancel", pid), 1001, True),
}


@pytest.mark.parametrize("end", ENDS)
def test_as_a_process_1000_1001_1005_and_codes_of_ws_close_are_normal_every_other_is_a_failure(
    relay, driver, room, end
):
    act, code, normal = ENDS[end]
    client = relay.join(room)
    pid = room.joined()
    driver.call("process.monitor", pid)
    act(driver, client, pid)
    result = driver.event(EXIT)["result"]
    assert result["value"]["code"] == code
    assert (result["error"] is None) == normal
    if end != "client_1000":
        client.ended()


def test_as_a_process_1005_is_normal(relay, driver, room):
    raw = relay.raw_to(room)
    driver.call("process.monitor", room.joined())
    raw.send_close()
    result = driver.event(EXIT)["result"]
    assert (result["value"]["code"], result["error"]) == (1005, None)


def test_as_a_process_a_lost_connection_is_a_failure(relay, driver, room):
    raw = relay.raw_to(room)
    driver.call("process.monitor", room.joined())
    raw.reset()
    result = driver.event(EXIT)["result"]
    assert result["value"] == {"code": 1006, "reason": "connection lost"}
    assert result["error"] is not None


def test_as_a_process_a_terminated_one_is_canceled(relay, driver, room):
    relay.join(room)
    pid = room.joined()
    driver.call("process.monitor", pid)
    driver.call("process.terminate", pid)
    assert driver.event(EXIT)["result"]["error"].kind == "Canceled"


def test_as_a_process_its_failure_kills_a_linked_process(relay, driver, room):
    bound = driver.spawn()
    raw = relay.raw_to(room)
    assert bound.call("process.link", room.joined()) is True
    raw.reset()
    driver.wait_dead(bound.pid)


def test_as_a_process_its_normal_end_leaves_a_linked_process_alone(relay, driver, room):
    bound = driver.spawn()
    client = relay.join(room)
    pid = room.joined()
    bound.call("process.link", pid)
    driver.call("process.monitor", pid)
    client.close(1000)
    driver.event(EXIT)
    bound.ping()


def test_as_a_process_its_failure_is_a_link_down_where_links_are_trapped(relay, driver, room):
    bound = driver.spawn(trap_links=True)
    raw = relay.raw_to(room)
    pid = room.joined()
    bound.call("process.link", pid)
    raw.reset()
    event = bound.event(LINK_DOWN)
    assert event["from"] == pid
    assert event["result"]["error"] is not None


def test_as_a_process_a_linked_processes_failure_ends_the_connection(relay, driver, room):
    bound = driver.spawn()
    client = relay.join(room)
    bound.call("process.link", room.joined())
    bound.error()
    assert client.closed_with() in (1006, 1011)


def test_as_a_process_a_monitor_fires_exactly_once(relay, driver, room):
    client = relay.join(room)
    pid = room.joined()
    driver.call("process.monitor", pid)
    client.close()
    driver.event(EXIT)
    room.message("ws.leave")
    driver.ping()
    assert len(driver.events(EXIT)) == 1


def test_the_relay_never_ends_a_target_that_it_joined(relay, room):
    for _ in range(3):
        client = relay.join(room)
        room.joined()
        client.close()
        room.message("ws.leave")
    raw = relay.raw_to(room)
    room.joined()
    raw.reset()
    room.message("ws.leave")
    room.ping()
