"""The relay contract, "The upgrade": its seven steps and what follows from them."""

import base64
import json

import pytest

from harness.lease import relay_steps, script
from harness.wire import handshake_headers


def target_of(pid="$pid", **fields):
    return relay_steps(pid, **fields)[0]


def test_an_upgrade_list_that_contains_websocket_is_a_handshake(relay, driver):
    answer = relay.shake("ws", target_of(driver.pid), Upgrade="h2c, WebSocket")
    assert answer.status == 101
    driver.joined()


def test_a_get_without_upgrade_is_an_ordinary_request(relay):
    answer = relay.ask("ws", ["write", "a page"])
    assert (answer.status, answer.body) == (200, b"a page")


def test_a_post_with_upgrade_is_an_ordinary_request(relay):
    wire = relay.wire()
    answer = wire.request("POST", script("ws", [["write", "posted"]]), handshake_headers())
    assert (answer.status, answer.body) == (200, b"posted")


# Step 1


REFUSED_HANDSHAKES = {
    "connection_without_upgrade": (400, {"Connection": "keep-alive"}),
    "no_connection_header": (400, {"Connection": None}),
    "version_12": (426, {"Sec_WebSocket_Version": "12"}),
    "no_version": (426, {"Sec_WebSocket_Version": None}),
    "no_key": (400, {"Sec_WebSocket_Key": None}),
    "key_of_15_bytes": (400, {"Sec_WebSocket_Key": base64.b64encode(b"x" * 15).decode()}),
    "key_that_is_no_base64": (400, {"Sec_WebSocket_Key": "!" * 24}),
    "foreign_origin": (403, {"Origin": "https://evil.example"}),
}


@pytest.mark.parametrize("fault", REFUSED_HANDSHAKES)
def test_upgrade_step_1_a_refused_handshake_never_reaches_the_handler(relay, driver, fault):
    status, headers = REFUSED_HANDSHAKES[fault]
    steps = [["tell", driver.pid, "the handler ran"], target_of(driver.pid)]
    answer = relay.shake("ws", *steps, **headers)
    assert answer.status == status
    driver.ping()
    assert driver.received() == []


def test_upgrade_step_1_a_wrong_version_is_told_the_right_one(relay, driver):
    answer = relay.shake("ws", target_of(driver.pid), Sec_WebSocket_Version="8")
    assert (answer.status, answer.header("sec-websocket-version")) == (426, "13")


def test_upgrade_step_1_a_doubled_key_is_refused(relay, driver):
    wire = relay.wire()
    lines = [f"GET {script('ws', [target_of(driver.pid)])} HTTP/1.1", "Host: a"]
    lines += [f"{name}: {value}" for name, value in handshake_headers().items()]
    lines += [f"Sec-WebSocket-Key: {handshake_headers()['Sec-WebSocket-Key']}", "", ""]
    wire.send("\r\n".join(lines))
    assert wire.response().status == 400


def test_upgrade_step_1_concerns_relay_routes_only(relay):
    answer = relay.shake("no-relay", ["write", "ordinary"], Origin="https://evil.example")
    assert (answer.status, answer.body) == (200, b"ordinary")


# Step 2


ORDERS = {
    "header_first": [target_of("$pid"), ["header", "X-Extra", "1"], ["write", "ignored"]],
    "header_last": [["write", "ignored"], ["header", "X-Extra", "1"], target_of("$pid")],
    "status_before": [["status", 200], ["write", "ignored"], target_of("$pid"), ["header", "X-Extra", "1"]],
}


@pytest.mark.parametrize("order", ORDERS)
def test_upgrade_step_2_the_response_is_held_back_so_the_order_does_not_matter(relay, driver, order):
    steps = [["spawn", {"report": driver.client_pid}], *ORDERS[order]]
    answer = relay.shake("ws", *steps)
    assert (answer.status, answer.header("x-extra"), answer.body) == (101, "1", b"")


def test_upgrade_step_2_header_and_set_header_are_the_same_method(relay, driver):
    raw = relay.shake("ws", ["set_header", "X-WS-Relay", json.dumps({"target_pid": driver.pid})])
    assert raw.status == 101
    driver.joined()


def test_upgrade_step_2_an_ordinary_request_may_set_its_status_after_its_body(relay):
    answer = relay.ask("ws", ["write", "made"], ["status", 201], ["header", "X-Extra", "1"])
    assert (answer.status, answer.header("x-extra"), answer.body) == (201, "1", b"made")


# Step 3


def test_upgrade_step_3_a_handshake_without_the_header_gets_the_response_as_it_stands(relay):
    answer = relay.shake("ws", ["status", 200], ["header", "X-Extra", "1"], ["write", "a page"])
    assert (answer.status, answer.header("x-extra"), answer.body) == (200, "1", b"a page")


@pytest.mark.parametrize("status", [302, 401, 404, 503])
def test_upgrade_step_3_a_status_of_300_and_above_goes_out_without_the_header(relay, driver, status):
    answer = relay.shake("ws", target_of(driver.pid), ["status", status], ["write", "no"])
    assert (answer.status, answer.header("x-ws-relay"), answer.body) == (status, None, b"no")
    driver.ping()
    assert driver.received() == []


def test_upgrade_step_3_an_ordinary_request_with_a_status_of_300_and_above_likewise(relay, driver):
    answer = relay.ask("ws", target_of(driver.pid), ["status", 401], ["write", "no"])
    assert (answer.status, answer.header("x-ws-relay"), answer.body) == (401, None, b"no")


def test_upgrade_step_3_a_handler_that_raised_is_a_500_with_its_traceback_in_the_log_only(relay, driver):
    answer = relay.shake("ws", target_of(driver.pid), ["error", "secret of the handler"])
    assert answer.status == 500
    assert b"secret of the handler" not in answer.body
    assert answer.header("x-ws-relay") is None
    relay.wait_log(lambda record: record["level"] == "error" and record.says("secret of the handler"))


# Step 4


def test_upgrade_step_4_header_without_handshake_is_426_and_target_is_terminated(relay, driver):
    steps = [
        ["spawn", {"report": driver.client_pid}],
        ["tell", driver.pid, "spawned"],
        target_of("$pid"),
        ["write", "held back"],
    ]
    answer = relay.ask("ws", *steps)
    assert answer.status == 426
    assert answer.header("sec-websocket-version") == "13"
    assert answer.header("x-ws-relay") is None
    driver.wait_dead(driver.message("told")["data"]["pid"])


def test_upgrade_step_4_concerns_a_post_with_the_header_too(relay, driver):
    answer = relay.ask("ws", target_of(driver.pid), method="POST")
    assert answer.status == 426
    driver.ping()
    assert driver.received() == []


# Step 5


MALFORMED = {
    "no_json": "{not json",
    "a_json_list": "[1, 2]",
    "no_target_pid": '{"message_topic": "a"}',
    "a_pid_that_does_not_parse": '{"target_pid": "{not a pid"}',
    "a_pid_that_is_a_number": '{"target_pid": 7}',
    "an_empty_pid": '{"target_pid": ""}',
    "the_text_nil": '{"target_pid": "nil"}',
    "a_bad_duration": '{"target_pid": "puppet_a", "heartbeat_interval": "soon"}',
    "a_duration_as_a_bare_number": '{"target_pid": "puppet_a", "heartbeat_interval": 30}',
    "a_duration_below_10ms": '{"target_pid": "puppet_a", "heartbeat_interval": "9ms"}',
    "metadata_that_is_a_list": '{"target_pid": "puppet_a", "metadata": [1]}',
    "metadata_that_is_a_text": '{"target_pid": "puppet_a", "metadata": "me"}',
    "an_empty_topic": '{"target_pid": "puppet_a", "message_topic": ""}',
    "a_topic_with_an_at_sign": '{"target_pid": "puppet_a", "message_topic": "@x"}',
    "the_topic_of_joins": '{"target_pid": "puppet_a", "message_topic": "ws.join"}',
    "the_topic_of_sends": '{"target_pid": "puppet_a", "message_topic": "ws.send"}',
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_upgrade_step_5_a_malformed_header_is_500_and_the_log_names_the_entry(relay, driver, fault):
    """The endpoint's or the router's id: either leads to the place."""
    steps = [["spawn", {"report": driver.client_pid}], ["tell", driver.pid, "spawned"]]
    answer = relay.shake("ws", *steps, ["header", "X-WS-Relay", MALFORMED[fault]])
    assert answer.status == 500
    assert answer.header("x-ws-relay") is None
    relay.wait_fault("app:ws")


def test_upgrade_step_5_the_log_asks_whether_the_spawn_failed(relay):
    answer = relay.shake("ws", target_of("nil"))
    assert answer.status == 500
    relay.wait_fault("did the spawn fail?")


def test_upgrade_step_5_a_malformed_header_terminates_the_target_that_its_handler_spawned(relay, driver):
    steps = [
        ["spawn", {"report": driver.client_pid}],
        ["tell", driver.pid, "spawned"],
        target_of("$pid", heartbeat_interval="soon"),
    ]
    assert relay.shake("ws", *steps).status == 500
    driver.wait_dead(driver.message("told")["data"]["pid"])
    relay.wait_fault("heartbeat_interval")


def test_upgrade_step_5_a_handler_that_raised_leaves_no_target_behind(relay, driver):
    steps = [
        ["spawn", {"report": driver.client_pid}],
        ["tell", driver.pid, "spawned"],
        target_of("$pid"),
        ["error", "after the header"],
    ]
    assert relay.shake("ws", *steps).status == 500
    driver.wait_dead(driver.message("told")["data"]["pid"])


def test_upgrade_step_5_a_dead_target_is_503(relay, driver):
    dead = driver.spawn()
    driver.call("process.terminate", dead.pid)
    driver.wait_dead(dead.pid)
    assert relay.shake("ws", target_of(dead.pid)).status == 503


def test_upgrade_step_5_a_target_that_dies_before_the_answer_is_503(relay, driver):
    steps = [
        ["spawn", {"report": driver.client_pid}],
        ["tell", driver.pid, "spawned"],
        target_of("$pid"),
        ["terminate", "$pid"],
    ]
    assert relay.shake("ws", *steps).status == 503
    driver.wait_dead(driver.message("told")["data"]["pid"])


def test_upgrade_step_5_a_target_that_returned_at_once_is_503(relay):
    assert relay.shake("ws", ["spawn_brief"], target_of("$pid"), ["sleep", "100ms"]).status == 503


def test_upgrade_step_5_another_processes_target_survives_the_refusal(relay, driver):
    """Only what the handler itself spawned is terminated."""
    other = driver.spawn()
    assert relay.shake("ws", target_of(other.pid, heartbeat_interval="soon")).status == 500
    assert relay.ask("ws", target_of(other.pid)).status == 426
    other.ping()


# Step 6


def test_upgrade_step_6_the_101_has_the_handlers_other_headers_and_never_the_relay_header(relay, driver):
    answer = relay.shake("ws", target_of(driver.pid), ["header", "Set-Cookie", "session=1; HttpOnly"])
    assert answer.status == 101
    assert answer.header("set-cookie") == "session=1; HttpOnly"
    assert answer.header("x-ws-relay") is None
    driver.joined()


def test_upgrade_step_6_the_header_sent_by_a_client_has_no_effect(relay, driver):
    header = {"X-WS-Relay": json.dumps({"target_pid": driver.pid})}
    assert relay.ask("ws", ["write", "ordinary"], headers=header).body == b"ordinary"
    answer = relay.shake("ws", ["write", "ordinary"], **header)
    assert (answer.status, answer.body) == (200, b"ordinary")
    driver.ping()
    assert driver.received() == []


# Step 7


def test_upgrade_step_7_the_connection_is_a_process_with_the_services_id_as_host(relay, driver):
    relay.join(driver)
    client = driver.joined()
    assert client.startswith("{app:gateway|") or "@app:gateway|" in client
    assert driver.call("process.monitor", client) is True


def test_upgrade_step_7_the_connection_monitors_the_target(relay, driver):
    doomed = driver.spawn()
    client = relay.join(doomed)
    doomed.joined()
    driver.call("process.terminate", doomed.pid)
    assert client.closed_with() == 1011


def test_bytes_that_came_with_the_handshake_are_the_first_message(relay, driver):
    raw = relay.raw()
    lines = [f"GET {script('ws', [target_of(driver.pid)])} HTTP/1.1", "Host: a"]
    lines += [f"{name}: {value}" for name, value in handshake_headers().items()]
    raw.send("\r\n".join([*lines, "", ""]).encode() + raw.frame(1, "at once"))
    assert raw.response().status == 101
    driver.joined()
    assert driver.message("ws.message")["data"]["data"] == "at once"


# A handler that never returns


@pytest.mark.parametrize("how", ["wait", "spin"])
def test_a_handler_that_never_returns_is_504_for_a_handshake_too(relay, driver, how):
    """The service's `timeouts.request` is half a second here."""
    answer = relay.shake("ws", target_of(driver.pid), [how], service="app:hasty")
    assert answer.status == 504
    assert answer.header("x-ws-relay") is None
    relay.wait_fault("app:short")
    driver.ping()
    assert driver.received() == []


def test_a_client_that_leaves_before_the_101_leaves_nothing_behind(relay, driver):
    """Its target may see a join and a leave, or neither; the counters return."""
    steps = [["spawn", {"report": driver.client_pid}], ["sleep", "50ms"], target_of("$pid")]
    for _ in range(5):
        raw = relay.raw()
        lines = [f"GET {script('ws', steps)} HTTP/1.1", "Host: a"]
        lines += [f"{name}: {value}" for name, value in handshake_headers().items()]
        raw.send("\r\n".join([*lines, "", ""]))
        raw.reset()
