"""The relay contract, "Configuration": the options table. Mistakes are in test_config.py,
origins in test_origins.py."""

import json
import time

import pytest

from harness.lease import relay_steps, script
from harness.waiting import until
from harness.wire import CLOSE, PING, PONG, TEXT, handshake_headers

MIB = 1024 * 1024


def test_allowed_origins_default_is_none_same_origin_only(relay, driver):
    own = "%s://%s:%d" % (relay.server.schemes["app:gateway"], *relay.address())
    assert relay.shake("ws", *relay_steps(driver.pid), Origin=own).status == 101
    assert relay.shake("ws", *relay_steps(driver.pid), Origin="https://app.example.com").status == 403


def test_allowed_origins_are_added_to_same_origin(relay, driver):
    own = "%s://%s:%d" % (relay.server.schemes["app:gateway"], *relay.address())
    assert relay.shake("listed", *relay_steps(driver.pid), Origin=own).status == 101
    for origin in ("https://app.example.com", "http://other.example.com:8080"):
        assert relay.shake("listed", *relay_steps(driver.pid), Origin=origin).status == 101


# wsrelay.max.message


def test_max_message_default_is_1_mib(relay, driver):
    raw = relay.raw_to(driver)
    driver.joined()
    raw.send_frame(0x2, b"x" * MIB)
    assert driver.message("ws.message", deadline=30)["data"]["data"] == {"$len": MIB}
    raw.send_frame(0x2, b"x" * (MIB + 1))
    assert raw.receive_close()[1].code == 1009


@pytest.mark.parametrize("router, limit", [("small", 1024), ("plain-bytes", 2000)])
def test_max_message_beyond_it_close_1009(relay, driver, router, limit):
    raw = relay.raw_to(driver, router)
    driver.joined()
    raw.send_text("x" * limit)
    assert len(driver.message("ws.message")["data"]["data"]) == limit
    raw.send_text("x" * (limit + 1))
    assert raw.receive_close()[1].code == 1009


def test_max_message_counts_after_reassembly(relay, driver):
    raw = relay.raw_to(driver, "small")
    raw.send_frame(0x1, "x" * 600, fin=False)
    raw.send_frame(0x0, "x" * 600)
    assert raw.receive_close()[1].code == 1009
    driver.message("ws.leave")
    assert driver.received(topic="ws.message") == []


def test_max_message_a_header_that_announces_too_much_is_enough(relay, driver):
    """The server waits for no byte of it and reserves none."""
    raw = relay.raw_to(driver, "small")
    raw.send(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"\0\0\0\0")
    assert raw.receive_close()[1].code == 1009


# wsrelay.send.buffer


def test_send_buffer_one_message_of_any_size_fits_an_empty_queue(relay, driver):
    """The buffer is 64 KiB, the message 4 MiB."""
    for router in ("closes", "oldest", "newest"):
        client = relay.join(driver, router)
        driver.burst(driver.joined(), "ws.send", 1, raw={"data": {"$repeat": "x", "count": 4 * MIB}})
        assert len(client.recv(30)) == 4 * MIB


def test_send_buffer_default_is_1_mib(relay, driver):
    """A client that reads nothing: 800 KiB wait for it, many megabytes end it."""
    raw = relay.raw_to(driver, receive_buffer=4096)
    pid = driver.joined()
    driver.burst(pid, "ws.send", 200, raw={"data": {"$repeat": "x", "count": 4096}})
    assert driver.is_alive(pid)
    driver.burst(pid, "ws.send", 600, raw={"data": {"$repeat": "x", "count": 65536}})
    assert driver.message("ws.leave")["data"]["cause"] == "slow"
    raw.close()


# wsrelay.slow.policy


def flooded(relay, driver, router):
    """A client that read nothing while 3000 numbered messages of 10 KiB came for it."""
    raw = relay.raw_to(driver, router, receive_buffer=4096)
    pid = driver.joined()
    padding = {"$repeat": ".", "count": 10240}
    for first in range(0, 3000, 100):
        assert driver.burst(pid, "ws.send", 100, first, suffix=padding) == 0
    return raw, pid


def drained(raw, pid, driver):
    """Reads on until a Ping's answer, which no policy drops, has come round, and then
    a marked message: the numbers that stand before it are what was kept."""
    raw.send_frame(PING, "drained?")
    seen = []
    while True:
        frame = raw.receive()
        if frame.opcode == PONG and frame.data == b"drained?":
            break
        if frame.opcode == TEXT:
            seen.append(frame.text)
    # The Pong may have overtaken data, so the mark itself may still find no room.
    raw.sock.settimeout(0.5)
    for _ in range(20):
        driver.ws_send(pid, "mark")
        try:
            while True:
                text = raw.receive_message().text
                if text == "mark":
                    return [int(text.rstrip(".")) for text in seen]
                seen.append(text)
        except TimeoutError:
            continue
    raise AssertionError("the mark never came")


def test_slow_policy_close_is_the_default_and_1013(relay, driver):
    for router in ("ws", "closes"):
        raw = relay.raw_to(driver, router, receive_buffer=4096)
        driver.burst(driver.joined(), "ws.send", 600, raw={"data": {"$repeat": "x", "count": 65536}})
        assert driver.message("ws.leave")["data"]["code"] == 1013
        assert raw.receive_close()[1].code == 1013


def test_slow_policy_drop_oldest_keeps_the_newest(relay, driver):
    raw, pid = flooded(relay, driver, "oldest")
    assert driver.is_alive(pid)
    numbers = drained(raw, pid, driver)
    assert numbers == sorted(set(numbers)), "in order, none twice"
    assert numbers[0] == 0, "what was on its way is not taken back"
    assert 0 < len(numbers) < 3000
    assert numbers[-1] == 2999


def test_slow_policy_drop_newest_keeps_the_oldest(relay, driver):
    raw, pid = flooded(relay, driver, "newest")
    assert driver.is_alive(pid)
    numbers = drained(raw, pid, driver)
    assert numbers == sorted(set(numbers)), "in order, none twice"
    assert numbers[: len(numbers) // 2] == list(range(len(numbers) // 2)), "without a gap at first"
    assert 0 < len(numbers) < 3000


@pytest.mark.parametrize("router", ["oldest", "newest"])
def test_slow_policy_never_drops_control_frames(relay, driver, router):
    raw, pid = flooded(relay, driver, router)
    raw.send_frame(PING, "not dropped")
    raw.send_text("the Ping has been read")
    driver.message("ws.message")
    driver.send(pid, "ws.close", {"code": 4000, "reason": "nor is this"})
    opcodes, close = [], None
    while close is None:
        frame = raw.receive()
        opcodes.append((frame.opcode, frame.data[:11]))
        if frame.opcode == CLOSE:
            close = frame
    assert (PONG, b"not dropped") in opcodes
    assert (close.code, close.reason) == (4000, "nor is this")


# wsrelay.write.timeout


def test_write_timeout_no_progress_writing_for_so_long_is_a_lost_connection(relay, driver):
    raw = relay.raw_to(driver, "stall", receive_buffer=4096)
    pid = driver.joined()
    driver.burst(pid, "ws.send", 100, raw={"data": {"$repeat": "x", "count": 65536}})
    leave = driver.message("ws.leave")["data"]
    assert (leave["cause"], leave["code"]) == ("lost", 1006)
    raw.close()


def test_write_timeout_a_client_that_reads_slowly_is_not_lost(relay, driver):
    """Progress counts, not the time it takes in all: 48 KiB within 300 ms, too little for the socket to say so."""
    raw = relay.raw_to(driver, "stall", receive_buffer=4096)
    pid = driver.joined()
    driver.burst(pid, "ws.send", 100, raw={"data": {"$repeat": "x", "count": 65536}})
    came = b""
    for _ in range(20):
        came += raw.exactly(16384)
        time.sleep(0.1)  # A slow line is slow.
    assert driver.is_alive(pid)
    raw.rest = came + raw.rest
    for _ in range(100):
        assert len(raw.receive_message().data) == 65536
    assert driver.is_alive(pid)


# wsrelay.ping.interval, wsrelay.ping.timeout


def test_ping_interval_the_server_pings(relay, driver):
    raw = relay.raw_to(driver, "pings")
    for _ in range(3):
        frame = raw.receive()
        assert frame.opcode == PING
        raw.send_frame(PONG, frame.data)
    driver.ping()
    assert driver.received(topic="ws.leave") == []


def test_ping_timeout_no_frame_at_all_ends_the_connection(relay, driver):
    """Interval and timeout are 200 ms and 1 s."""
    relay.raw_to(driver, "pings")
    driver.joined()
    began = time.monotonic()
    assert driver.message("ws.leave")["data"]["cause"] == "idle"
    assert 1.0 < time.monotonic() - began < 5


def test_ping_timeout_any_frame_counts_as_life(relay, driver):
    """Pongs are never sent, a message every few milliseconds is."""
    raw = relay.raw_to(driver, "pings")
    driver.joined()
    pings = 0
    raw.sock.settimeout(0.05)
    while pings < 6:
        raw.send_text("alive")
        try:
            pings += raw.receive().opcode == PING
        except TimeoutError:
            continue
    driver.ping()
    assert driver.received(topic="ws.leave") == []


def test_ping_defaults_leave_a_quiet_client_alone_for_half_a_minute(relay, driver):
    """The first Ping of a default router comes after 30 s: none before the first message."""
    raw = relay.raw_to(driver)
    driver.ws_send(driver.joined(), "first")
    assert raw.receive().text == "first"


# wsrelay.compression


def test_compression_default_off_declines_the_offer(relay, driver):
    answer = relay.shake(
        "ws", *relay_steps(driver.pid), Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits"
    )
    assert answer.status == 101
    assert answer.header("sec-websocket-extensions") is None


# wsrelay.max.connections, wsrelay.max.connections.per.ip


def test_max_connections_beyond_it_503_with_retry_after(relay, driver):
    first = relay.join(driver, "two")
    relay.join(driver, "two")
    driver.joined()
    driver.joined()
    answer = relay.shake("two", *relay_steps(driver.pid))
    assert answer.status == 503
    assert int(answer.header("retry-after")) >= 0
    first.close()
    driver.message("ws.leave")
    until(lambda: _fits_again(relay, driver, "two"), "room for a connection again")
    driver.joined()


def _fits_again(relay, driver, router):
    return relay.shake(router, *relay_steps(driver.pid)).status == 101


def test_max_connections_does_not_concern_ordinary_requests(relay, driver):
    for _ in range(2):
        relay.join(driver, "two")
    assert relay.ask("two", ["write", "a page"]).status == 200


def test_max_connections_a_refused_handshake_takes_no_place(relay, driver):
    for _ in range(5):
        assert relay.shake("two", *relay_steps("nobody_holds_this")).status == 503
        assert relay.shake("two", ["status", 401]).status == 401
    for _ in range(2):
        relay.join(driver, "two")


def test_max_connections_per_ip_counts_each_address(relay, driver):
    path = script("each-ip", relay_steps(driver.pid))
    relay.raw(path, source="127.0.0.1")
    relay.raw(path, source="127.0.0.2")
    refused = relay.raw(path, source="127.0.0.2", expect=503)
    assert int(refused.opened.header("retry-after")) >= 0


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ({"X-Forwarded-For": "198.51.100.1"}, {"X-Forwarded-For": "198.51.100.1"}, 503),
        ({"X-Forwarded-For": "198.51.100.2"}, {"X-Forwarded-For": "198.51.100.3"}, 101),
        # What the client wrote stands before what its proxy knows.
        ({"X-Forwarded-For": "198.51.100.4"}, {"X-Forwarded-For": "192.0.2.7, 198.51.100.4"}, 503),
        ({"Forwarded": "for=198.51.100.5"}, {"Forwarded": 'for=192.0.2.7, for="198.51.100.5:80";proto=https'}, 503),
        ({"Forwarded": "for=198.51.100.6"}, {"X-Forwarded-For": "198.51.100.6"}, 503),
        # IPv6: a client has a network.
        ({"X-Forwarded-For": "2001:db8:1:2::1"}, {"X-Forwarded-For": "2001:db8:1:2:3::4"}, 503),
        ({"X-Forwarded-For": "2001:db8:1:4::1"}, {"X-Forwarded-For": "2001:db8:1:5::1"}, 101),
    ],
)
def test_max_connections_per_ip_counts_clients_behind_a_proxy(relay, driver, first, second, status):
    path = script("each-ip", relay_steps(driver.pid))
    relay.raw(path, handshake_headers(**first), service="app:proxied")
    relay.raw(path, handshake_headers(**second), service="app:proxied", expect=status)


FORGED = ["for=192.0.2.{}", "for=_hidden{}", 'for="[2001:db8:{}::1]"', "for=198.51.100.8, for=192.0.2.{}"]


@pytest.mark.parametrize("forged", FORGED)
def test_max_connections_per_ip_a_header_that_a_proxy_hands_on_brings_no_more(relay, driver, forged):
    """The proxy writes one header and lets the other one through: all of those count as one."""
    path = script("each-ip", relay_steps(driver.pid))
    for n, status in ((1, 101), (2, 503), (3, 503)):
        headers = {"X-Forwarded-For": "198.51.100.8", "Forwarded": forged.format(n)}
        relay.raw(path, handshake_headers(**headers), service="app:proxied", expect=status)


# wsrelay.rate.messages, wsrelay.rate.bytes


def test_rate_messages_above_it_the_socket_is_not_read_for_a_while_and_not_closed(relay, driver):
    """50 messages at 20 a second take a second at least, and all of them arrive."""
    client = relay.join(driver, "rate-messages")
    driver.joined()
    began = time.monotonic()
    for number in range(50):
        client.send(str(number))
    seen = [driver.message("ws.message")["data"]["data"] for _ in range(50)]
    assert seen == [str(number) for number in range(50)]
    assert time.monotonic() - began > 1.0


def test_rate_bytes_above_it_the_socket_is_not_read_for_a_while_and_not_closed(relay, driver):
    """60 KiB at 20 KiB a second."""
    client = relay.join(driver, "rate-bytes")
    driver.joined()
    began = time.monotonic()
    for _ in range(60):
        client.send("x" * 1024)
    for _ in range(60):
        driver.message("ws.message")
    assert time.monotonic() - began > 1.5


def test_rates_delay_nobody_else(relay, driver):
    greedy = relay.raw_to(driver, "rate-messages")
    driver.joined()
    greedy.send(b"".join(greedy.frame(TEXT, str(number)) for number in range(400)))
    room = driver.spawn(echo=True)
    other = relay.join(room)
    room.joined()
    other.send("quick")
    assert other.recv() == "quick"
    assert len(driver.received(topic="ws.message")) < 400
    greedy.reset()


# wsrelay.subprotocols


@pytest.mark.parametrize(
    "offered, selected",
    [
        ("chat.v1", "chat.v1"),
        ("chat.v1, chat.v2", "chat.v2"),
        ("other, chat.v1", "chat.v1"),
        ("other", None),
        (None, None),
    ],
)
def test_subprotocols_the_first_of_ours_that_the_client_offers_is_selected(relay, driver, offered, selected):
    answer = relay.shake("protocols", *relay_steps(driver.pid), Sec_WebSocket_Protocol=offered)
    assert answer.status == 101
    assert answer.header("sec-websocket-protocol") == selected


def test_subprotocols_default_none_selects_nothing(relay, driver):
    answer = relay.shake("ws", *relay_steps(driver.pid), Sec_WebSocket_Protocol="chat.v1")
    assert (answer.status, answer.header("sec-websocket-protocol")) == (101, None)


def test_the_accept_key_is_the_rfcs(relay, driver):
    """RFC 6455, section 1.3."""
    headers = handshake_headers(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==")
    path = script("ws", [["header", "X-WS-Relay", json.dumps({"target_pid": driver.pid})]])
    raw = relay.raw(path, headers)
    assert raw.opened.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert raw.opened.header("upgrade").lower() == "websocket"
    assert raw.opened.header("connection").lower() == "upgrade"
