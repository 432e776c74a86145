"""The access log: one line for each WebSocket and each request, whatever clients send."""

import pytest

from harness.wire import handshake_headers


def lines(app, message):
    return lambda record: record.get("target") == "access" and record["message"] == message


@pytest.fixture
def all_lines(own_server):
    return own_server("seen", shards=2, args=("--access-log", "all"))


@pytest.fixture
def default(own_server):
    return own_server("seen", shards=2)


def test_a_websocket_is_told_of_once_with_what_became_of_it(default):
    raw = default.raw("/ws/a?token=secret", handshake_headers(User_Agent="a client"))
    raw.send_text("echo ab")
    assert raw.receive().text == "echo ab"
    raw.send_close(4001, "bye")
    raw.receive_close()
    raw.close()
    line = default.wait_log(lines(default, "websocket"), what="the end of the WebSocket")
    assert (line["service"], line["router"], line["entry"]) == ("app:gateway", "app:router", "app:room")
    assert (line["path"], line["user_agent"], line["protocol"]) == ("/ws/a", "a client", "h1")
    assert (line["scheme"], line["compressed"]) == ("http", False)
    assert (line["cause"], line["code"]) == ("client", 4001)
    assert (line["received_messages"], line["sent_messages"], line["dropped_messages"]) == (1, 1, 0)
    # A text of 7 bytes each way; a close frame of 5 that is answered without its words.
    assert (line["received_bytes"], line["sent_bytes"]) == (6 + 7 + 6 + 5, 2 + 7 + 2 + 2)
    assert line["remote_addr"].startswith("127.0.0.1:")
    assert line["pid"].startswith("{app:gateway|") and line["target_pid"].startswith("{app:processes|")
    assert line["duration_ms"] > 0 and len(line["request_id"]) == 16
    assert "secret" not in line.line and "bye" not in line.line
    assert len([one for one in default.server.log if lines(default, "websocket")(one)]) == 1


def test_a_fault_of_the_client_is_in_its_line(default):
    default.raw("/ws").send(b"\xff\xff\xff\xff")
    line = default.wait_log(lines(default, "websocket"), what="the end of the WebSocket")
    assert (line["cause"], line["code"]) == ("protocol", 1002)
    assert line["fault"]


def test_by_default_requests_are_not_told_of(default):
    assert default.http("GET", "/status/200").status == 200
    default.ws("/ws").close()
    default.wait_log(lines(default, "websocket"), what="the end of the WebSocket")
    assert not any(lines(default, "request")(one) for one in default.server.log)


def test_nothing_is_told_when_it_is_off(own_server):
    app = own_server("seen", shards=1, args=("--access-log", "off"))
    app.ws("/ws").close()
    app.raw("/ws").send(b"\xff\xff\xff\xff")
    app.wait_log(lambda record: record["message"] == "a connection was ended", what="the other line")
    assert not any(one.get("target") == "access" for one in app.server.log)


def test_each_request_is_told_of_with_its_status_and_sizes(all_lines):
    assert all_lines.http("POST", "/take?token=secret", body=b"12345").status == 200
    line = all_lines.wait_log(lines(all_lines, "request"), what="the request")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/take", 200)
    assert (line["received_bytes"], line["sent_bytes"], line["entry"]) == (5, 10, "app:take")
    assert "secret" not in line.line
    assert all_lines.http("GET", "/nowhere").status == 404
    line = all_lines.wait_log(lambda one: one.get("path") == "/nowhere", what="the other request")
    assert line["status"] == 404 and "entry" not in line


def test_a_client_that_went_before_its_answer_is_499(all_lines):
    wire = all_lines.wire()
    wire.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    all_lines.server.wait_counters({**all_lines.before, "processes": 1, "sockets": 1, "timers": 1})
    wire.close()
    line = all_lines.wait_log(lines(all_lines, "request"), what="the request")
    assert (line["status"], line["path"]) == (499, "/wait")


def test_nobody_writes_lines_of_their_own_and_long_texts_are_cut(all_lines):
    agent = "x\t\"forged\": \x85 " + "y" * 4000
    wire = all_lines.wire()
    head = f"GET /{'p' * 3000} HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\n\r\n".encode("latin-1")
    wire.send(head)
    assert wire.response().status == 404
    line = all_lines.wait_log(lines(all_lines, "request"), what="the request")
    assert len(line["path"]) == 256 and len(line["user_agent"].encode()) <= 160
    assert not any(one["level"] == "unstructured" for one in all_lines.server.log)


def test_behind_a_trusted_proxy_the_client_is_told_and_from_others_it_is_not_believed(all_lines):
    for source, told in (("127.0.0.2", "203.0.113.7"), ("127.0.0.1", "127.0.0.1:")):
        wire = all_lines.wire(source=source)
        path = f"/from/{source}"
        wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n")
        wire.response()
        line = all_lines.wait_log(lambda one, path=path: one.get("path") == path, what="the request")
        assert line["remote_addr"].startswith(told)
