"""WebSockets over HTTP/2 (RFC 8441): the contract's steps and ends, on streams."""

import json

import pytest

from harness import tls
from harness.http2 import Http2, Reset, node_talks
from harness.lease import relay_steps, script
from harness.puppet import Driver
from harness.waiting import until
from harness.wire import BINARY, PING, PONG, TEXT


@pytest.fixture
def connect(relay):
    def connect(service="app:gateway", **options):
        client = Http2(relay.address(service), **options)
        relay.opened.callback(client.close)
        return client

    return connect


def path_to(target, router="ws", **fields):
    return script(router, relay_steps(target if isinstance(target, str) else target.pid, **fields))


def join(client, target, router="ws", headers=None, **fields):
    return client.websocket(path_to(target, router, **fields), headers)


class OverHttp2:
    """A WebSocket as the driver uses one."""

    def __init__(self, socket):
        self.socket = socket

    def send(self, text):
        self.socket.send_text(text)

    def recv(self, timeout=10):
        try:
            return self.socket.receive_message().text
        except (EOFError, Reset) as ended:
            raise TimeoutError from ended


def test_a_websocket_opens_with_200_and_none_of_the_headers_of_http_1(connect, driver):
    socket = join(connect(), driver)
    answer = socket.opened
    assert answer.status == 200
    for name in ("connection", "upgrade", "sec-websocket-accept", "x-ws-relay", "content-length", "content-type"):
        assert answer.header(name) is None, name
    driver.joined()


def test_messages_go_both_ways(connect, driver):
    socket = join(connect(), driver)
    client = driver.joined()
    socket.send_text("hello")
    assert driver.message("ws.message")["data"]["data"] == "hello"
    driver.ws_send(client, "there")
    assert socket.receive_message().text == "there"
    driver.ws_send(client, b"\0\xff", "binary")
    frame = socket.receive_message()
    assert (frame.opcode, frame.data) == (BINARY, b"\0\xff")


def test_a_driver_works_over_http2_as_over_http_1(relay, connect):
    driver = Driver(OverHttp2(connect().websocket("/control/driver")))
    child = driver.spawn()
    assert child.ping() == 0
    assert len(driver.pid) > 10


@pytest.mark.parametrize("size", [16383, 16384, 65536, 200_000, 1 << 20])
def test_large_messages_arrive_whole(connect, driver, size):
    socket = join(connect(), driver)
    client = driver.joined()
    socket.send_frame(BINARY, bytes(size))
    assert driver.message("ws.message")["data"]["data"] == {"$len": size}
    driver.call("process.send", client, "ws.send", {"type": "text", "data": "x" * min(size, 60000)})
    assert socket.receive_message().data == b"x" * min(size, 60000)


def test_a_ping_is_answered_and_a_close_is_a_close(connect, driver):
    socket = join(connect(), driver)
    driver.joined()
    socket.send_frame(PING, b"are you there")
    frame = socket.receive()
    assert (frame.opcode, frame.data) == (PONG, b"are you there")
    socket.send_close(1000, "done")
    left = driver.message("ws.leave")["data"]
    assert (left["cause"], left["code"], left["reason"]) == ("client", 1000, "done")
    _, close = socket.receive_close()
    assert close.code == 1000
    with pytest.raises(EOFError):
        socket.receive()
    socket.end()


def test_a_server_close_ends_the_stream_after_the_close_frame(connect, driver):
    connection = connect()
    socket = join(connection, driver)
    client = driver.joined()
    driver.send(client, "ws.close", {"code": 4001, "reason": "enough"})
    _, close = socket.receive_close()
    assert (close.code, close.reason) == (4001, "enough")
    socket.send_close(4001)
    with pytest.raises(EOFError):
        socket.receive()
    socket.end()
    driver.message("ws.leave")
    assert connection.ask("ws", ["write", "still here"]).body == b"still here"


@pytest.mark.parametrize("code", [0, 2, 8])
def test_a_reset_stream_is_a_lost_connection_at_once(connect, driver, code):
    connection = connect()
    socket = join(connection, driver)
    driver.joined()
    socket.reset(code)
    left = driver.message("ws.leave")["data"]
    assert (left["cause"], left["code"]) == ("lost", 1006)
    assert connection.ask("ws", ["write", "still here"]).body == b"still here"


def test_a_reset_is_seen_although_the_target_takes_nothing(connect, driver):
    deaf = driver.spawn()
    socket = join(connect(), deaf)
    deaf.joined()
    deaf.deaf()
    for _ in range(200):
        socket.send_text("x" * 4000)
        if socket.connection.window(socket.number) < 8000:
            break
    socket.reset()
    deaf.wake()
    assert deaf.message("ws.leave")["data"]["cause"] == "lost"


def test_an_end_of_the_stream_without_a_close_frame_is_a_lost_connection(connect, driver):
    socket = join(connect(), driver)
    driver.joined()
    socket.send_text("last")
    socket.end()
    assert driver.message("ws.message")["data"]["data"] == "last"
    assert driver.message("ws.leave")["data"]["cause"] == "lost"
    with pytest.raises((EOFError, Reset)):
        socket.receive_message()


def test_a_connection_that_ends_ends_all_its_sessions(connect, driver):
    connection = connect()
    for _ in range(20):
        join(connection, driver)
        driver.joined()
    connection.close()
    for _ in range(20):
        assert driver.message("ws.leave")["data"]["cause"] == "lost"


def test_terminate_cuts_the_stream_and_what_was_said_before_arrives(connect, driver):
    connection = connect()
    socket = join(connection, driver)
    client = driver.joined()
    driver.ws_send(client, "last words")
    assert socket.receive_message().text == "last words"
    driver.call("process.terminate", client)
    with pytest.raises((EOFError, Reset)):
        socket.receive_message()
    assert connection.ask("ws", ["write", "still here"]).body == b"still here"


def test_a_target_that_fails_closes_with_1011_and_what_it_sent_before(connect, driver):
    child = driver.spawn()
    socket = join(connect(), child)
    client = child.joined()
    for index in range(50):
        child.ws_send(client, f"{index} " + "x" * 3000)
    child.fail()
    before, close = socket.receive_close()
    assert close.code == 1011 and len(before) == 50


# The handshake


REFUSED = {
    "version_12": (426, {"sec-websocket-version": "12"}),
    "no_version": (426, {"sec-websocket-version": None}),
    "foreign_origin": (403, {"origin": "https://evil.example"}),
    "null_origin": (403, {"origin": "null"}),
    "other_scheme": (403, {"origin": "ftp://$authority"}),
    "other_port": (403, {"origin": "http://127.0.0.1:1"}),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_refused_handshake_never_reaches_the_handler(connect, driver, fault):
    status, headers = REFUSED[fault]
    connection = connect()
    headers = {name: value and value.replace("$authority", connection.authority) for name, value in headers.items()}
    steps = [["tell", driver.pid, "the handler ran"], *relay_steps(driver.pid)]
    answer = connection.websocket(script("ws", steps), headers, expect=status)
    assert answer.header("sec-websocket-version") == ("13" if status == 426 else None)
    driver.ping()
    assert driver.received() == []


def test_the_same_origin_is_scheme_and_authority(connect, driver):
    connection = connect()
    join(connection, driver, headers={"origin": f"{connection.scheme}://{connection.authority}"})
    driver.joined()
    path = path_to(driver)
    connection.websocket(path, {"origin": "https://a.example"}, scheme="https", authority="a.example")
    driver.joined()
    connection.websocket(path, {"origin": "http://a.example"}, scheme="https", authority="a.example", expect=403)


def test_the_first_of_our_subprotocols_that_the_client_offers_is_selected(connect, driver):
    socket = join(connect(), driver, "protocols", {"sec-websocket-protocol": "chat.v1, chat.v2"})
    assert socket.opened.header("sec-websocket-protocol") == "chat.v2"
    driver.joined()


@pytest.mark.parametrize("status", [302, 401, 503])
def test_a_status_of_the_handler_goes_out_as_it_is(connect, driver, status):
    steps = [*relay_steps(driver.pid), ["status", status], ["header", "X-Extra", "1"], ["write", "no"]]
    answer = connect().websocket(script("ws", steps), expect=status)
    assert (answer.header("x-ws-relay"), answer.header("x-extra"), answer.body) == (None, "1", b"no")


@pytest.mark.parametrize("path", ["/ws/answer", "/no-relay/answer"])
def test_an_answer_that_is_no_websocket_does_not_look_like_one(connect, path):
    # Success would open the tunnel (RFC 8441 section 5), and nobody would be at its other end.
    answer = connect().websocket(path, expect=400)
    assert b"no WebSocket" in answer.body


def test_what_is_not_found_is_404_and_a_post_route_is_405(connect):
    connection = connect()
    assert connection.websocket("/nowhere", expect=404).status == 404
    number = connection.start("POST", script("ws", [["write", "posted"]]))
    assert connection.response(number).body == b"posted"


def test_a_wrong_header_is_500_and_a_dead_target_503(connect, driver):
    connection = connect()
    assert connection.websocket(path_to("nobody.there"), expect=503).header("retry-after")
    connection.websocket(script("ws", [["header", "X-WS-Relay", "{"]]), expect=500)
    child = driver.spawn()
    child.exit()
    driver.wait_dead(child.pid)
    connection.websocket(path_to(child), expect=503)


def test_the_header_of_a_client_has_no_effect(connect, driver):
    header = {"x-ws-relay": json.dumps({"target_pid": driver.pid})}
    assert connect().websocket(script("ws", [["write", "a page"]]), header, expect=400)
    driver.ping()
    assert driver.received() == []


def test_a_handler_that_asks_for_the_relay_without_a_handshake_is_426(connect, driver):
    answer = connect().request("GET", path_to(driver))
    assert (answer.status, answer.header("upgrade")) == (426, None)


def test_a_handshake_that_is_given_up_ends_the_target_of_its_handler(connect, driver):
    connection = connect()
    steps = [["spawn", {"report": driver.client_pid}], ["tell", driver.pid, "spawned"], ["sleep", "300ms"]]
    number = connection.start(
        "CONNECT",
        script("ws", [*steps, *relay_steps("$pid")]),
        {"sec-websocket-version": "13"},
        ends=False,
        protocol="websocket",
    )
    spawned = driver.message("told")["data"]["pid"]
    connection.reset_stream(number)
    driver.wait_dead(spawned)


# Limits


def test_the_limit_of_connections_counts_streams(connect, driver):
    connection = connect()
    first, _second = join(connection, driver, "two"), join(connection, driver, "two")
    assert connection.websocket(path_to(driver, "two"), expect=503).header("retry-after")
    first.reset()
    until(lambda: opens(connection, path_to(driver, "two")), "a place is free again")


def test_the_limit_of_one_address_counts_streams(connect, driver):
    connection = connect()
    join(connection, driver, "each-ip")
    connection.websocket(path_to(driver, "each-ip"), expect=503)
    connect().websocket(path_to(driver, "each-ip"), expect=503)


def opens(connection, path):
    number = connection.start("CONNECT", path, {"sec-websocket-version": "13"}, ends=False, protocol="websocket")
    return connection.head(number) == 200


# Pressure


def test_one_stalled_websocket_holds_up_no_other_stream(connect, driver):
    deaf = driver.spawn()
    connection = connect()
    stalled = [join(connection, deaf) for _ in range(30)]
    for _ in stalled:
        deaf.joined()
    deaf.deaf()
    zeros = stalled[0].frame(BINARY, bytes(60_000)) * 2
    at = dict.fromkeys(stalled, 0)

    def full():
        """Sends all that the windows take: sessions are paused, and windows are not opened again."""
        for socket in stalled:
            room = connection.window(socket.number)
            connection.send(socket.number, (zeros[at[socket] :] + zeros)[:room])
            at[socket] = (at[socket] + room) % len(zeros)
        connection.ping()
        return all(connection.window(socket.number) == 0 for socket in stalled)

    until(full, "all windows are used up")
    live = join(connection, driver)
    client = driver.joined()
    for index in range(20):
        live.send_text(f"{index} " + "x" * 20_000)
        assert driver.message("ws.message")["data"]["client_pid"] == client
        driver.ws_send(client, "answer")
        assert live.receive_message().text == "answer"
    assert connection.ask("ws", ["write", "still here"]).body == b"still here"
    deaf.wake()
    connection.close()
    for _ in stalled:
        deaf.message("ws.leave")


def test_a_paused_session_does_not_open_the_window_and_goes_on_where_it_was(connect, driver):
    deaf = driver.spawn()
    connection = connect()
    socket = join(connection, deaf)
    deaf.joined()
    deaf.deaf()
    sent = 0
    message = socket.frame(TEXT, "y" * 3000)
    # More than credit, sockets and the window hold together would be ten times as much.
    while connection.window(socket.number) >= len(message):
        socket.send(message)
        sent += 1
        connection.ping()
        assert sent < 700, "the window closes"
    deaf.wake()
    for _ in range(sent):
        deaf.message("ws.message")
    socket.send_text("more")
    assert deaf.message("ws.message")["data"]["data"] == "more"


@pytest.mark.parametrize("router", ["closes", "oldest", "newest"])
def test_a_client_that_opens_no_window_is_slow(connect, driver, router):
    connection = connect(acknowledges=False)
    socket = join(connection, driver, router)
    client = driver.joined()
    driver.burst(client, "ws.send", 400, raw={"type": "text", "data": "z" * 2000})
    if router == "closes":
        left = driver.message("ws.leave")["data"]
        assert (left["cause"], left["code"]) == ("slow", 1013)
    connection.acknowledges = True
    connection.acknowledge(socket.number)
    if router == "closes":
        _, close = socket.receive_close()
        assert close.code == 1013
    else:
        texts = [socket.receive_message().text for _ in range(10)]
        while texts[-1] != "the last":
            # Dropped as the newest while the queue is still full.
            driver.ws_send(client, "the last")
            texts.append(socket.receive_message().text)
        assert 10 < len(texts) < 400


def test_a_client_that_opens_no_window_at_all_is_lost_after_the_write_timeout(connect, driver):
    connection = connect(acknowledges=False)
    join(connection, driver, "stall")
    client = driver.joined()
    driver.burst(client, "ws.send", 400, raw={"type": "text", "data": "z" * 2000})
    assert driver.message("ws.leave")["data"]["cause"] == "lost"
    assert connection.ask("ws", ["status", 204]).status == 204


def test_heartbeats_and_pings_of_the_server_go_over_the_stream(connect, driver):
    socket = join(connect(), driver, "pings", heartbeat_interval="50ms")
    driver.message("ws.heartbeat")
    assert socket.receive().opcode == PING


# The way down


def test_a_stop_closes_websockets_with_1012_and_the_connection_after_them(own_relay):
    lease = own_relay()
    connection = Http2(lease.address())
    lease.opened.callback(connection.close)
    sockets = [connection.websocket("/control/driver") for _ in range(5)]
    lease.server.terminate()
    for socket in sockets:
        _, close = socket.receive_close()
        assert close.code == 1012
        socket.send_close(1012)
        socket.end()
    assert connection.until_over() == 0
    assert lease.server.wait() == 0


# Others' clients


def test_websockets_over_http2_are_counted(relay, connect, driver):
    def counted():
        lines = relay.server.metrics().splitlines()
        return next(int(float(line.split()[-1])) for line in lines if 'http2_websockets_total{service="app:gateway"' in line)

    before = counted()
    join(connect(), driver)
    driver.joined()
    assert counted() == before + 1


def test_nodes_client_opens_a_websocket_over_http2(relay, driver):
    url = "%s://%s:%d" % ("https" if tls.EVERYWHERE else "http", *relay.address())
    node_talks(relay, driver, url, path_to(driver))
