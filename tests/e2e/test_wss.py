"""Sessions of the relay over TLS: what encryption could break. With `MOONWIRE_E2E_TLS=1` every other
suite runs over TLS as well."""

import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

from harness import tls
from harness.lease import relay_steps, script
from harness.wire import BINARY, PING, PONG, TEXT, Wire, handshake_headers

from conftest import RELAY

KIB = 1024
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def relay(server):
    """The application of the relay's tests, over TLS."""
    return server("relay", shards=2, services=RELAY, sets=tls.settings())


@pytest.fixture
def driver(relay):
    return relay.driver()


@pytest.fixture
def room(driver):
    return driver.spawn()


class Bare:
    """A TLS client over memory: what goes over the wire, and when, is the test's."""

    def __init__(self, relay, path, version=ssl.TLSVersion.TLSv1_3):
        self.received, self.sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = tls.authority().context(minimum_version=version, maximum_version=version)
        self.tls = context.wrap_bio(self.received, self.sent, server_hostname="localhost")
        self.wire = Wire(relay.address())
        self.step(self.tls.do_handshake)
        lines = [f"{name}: {value}" for name, value in handshake_headers().items()]
        self.tls.write("\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode())

    def step(self, act):
        while True:
            try:
                done = act()
                self.flush()
                return done
            except ssl.SSLWantReadError:
                self.flush()
                data = self.wire.sock.recv(65536)
                self.received.write(data) if data else self.received.write_eof()

    def flush(self):
        self.wire.send(self.sent.read())

    def write(self, data):
        self.tls.write(data)

    def read(self):
        return self.step(lambda: self.tls.read(65536))


def text_frame(text):
    data = text.encode()
    return bytes([0x81, 0x80 | len(data)]) + b"\0\0\0\0" + data


@pytest.mark.parametrize("version", VERSIONS)
def test_a_message_of_one_mebibyte_goes_both_ways(relay, driver, version):
    context = tls.authority().context(minimum_version=version, maximum_version=version)
    client = relay.raw_to(driver, tls=context)
    pid = driver.joined()
    for _ in range(3):
        client.send_frame(BINARY, b"x" * KIB * KIB)
        assert driver.message("ws.message", deadline=30)["data"]["data"] == {"$len": KIB * KIB}
        driver.burst(pid, "ws.send", 1, raw={"data": {"$repeat": "y", "count": KIB * KIB}})
        frame = client.receive_message()
        assert (frame.opcode, frame.data) == (TEXT, b"y" * KIB * KIB)


@pytest.mark.parametrize("records", ["one", "each"])
def test_a_thousand_messages_at_once_come_in_order(relay, room, records):
    """In as few records as may be, and in one for each."""
    client = relay.raw_to(room)
    room.joined()
    frames = [client.frame(TEXT, str(number)) for number in range(1000)]
    for data in [b"".join(frames)] if records == "one" else frames:
        client.send(data)
    texts = [room.message("ws.message", deadline=30)["data"]["data"] for _ in range(1000)]
    assert texts == [str(number) for number in range(1000)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_byte_by_byte_is_a_session(relay, room, version):
    bare = Bare(relay, script("ws", relay_steps(room.pid)), version)
    bare.write(text_frame("slowly"))
    for byte in bare.sent.read():
        bare.wire.send(bytes([byte]))
    room.joined()
    assert room.message("ws.message")["data"]["data"] == "slowly"
    assert b"101 Switching" in bare.read()
    bare.wire.close()


def test_frames_in_the_packet_of_the_request_are_not_lost(relay, room):
    """Request and messages leave in one piece, behind the last part of the handshake."""
    bare = Bare(relay, script("ws", relay_steps(room.pid)))
    for number in range(100):
        bare.write(text_frame(f"early {number}"))
    bare.flush()
    room.joined()
    texts = [room.message("ws.message")["data"]["data"] for _ in range(100)]
    assert texts == [f"early {number}" for number in range(100)]
    bare.wire.close()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_record_cut_anywhere_waits_for_its_rest(relay, room, cut):
    bare = Bare(relay, script("ws", relay_steps(room.pid)))
    bare.flush()
    room.joined()
    bare.write(text_frame("first"))
    bare.write(text_frame("second"))
    data = bare.sent.read()
    bare.wire.send(data[:cut])
    # A round trip of another client: what came before has been read.
    beside = relay.join(room)
    room.joined()
    beside.send("beside")
    bare.wire.send(data[cut:])
    texts = {room.message("ws.message")["data"]["data"] for _ in range(3)}
    assert texts == {"beside", "first", "second"}
    bare.wire.close()


@pytest.mark.parametrize("router", ["oldest", "newest", "ws"])
def test_a_stalled_client_meets_its_policy_although_it_is_encrypted(relay, driver, room, router):
    """20 MiB for a client that reads nothing, while another one is served; what then comes is whole and in order."""
    stalled = relay.raw_to(room, router, receive_buffer=4096)
    slow = room.joined()
    healthy = relay.join(room)
    quick = room.joined()
    for number in range(320):
        room.sends((slow, "ws.send", {"data": f"{number:06}" + "x" * 65536}), (quick, "ws.send", {"data": str(number)}))
        assert healthy.recv(5) == str(number)
    if router == "ws":
        before, close = stalled.receive_close()
        assert close.code == 1013
    else:
        # No policy drops the answer to a Ping.
        stalled.send_frame(PING, "drained?")
        before = []
        while (frame := stalled.receive()).opcode != PONG:
            before.append(frame)
    numbers = [int(frame.text[:6]) for frame in before if frame.opcode == TEXT]
    assert numbers == sorted(set(numbers))
    assert 0 < len(numbers) < 320
    assert {len(frame.data) for frame in before if frame.opcode == TEXT} == {65542}
    stalled.reset()


def test_reading_pauses_without_credit_and_goes_on_with_nothing_lost(relay, driver, room):
    """More than any buffer holds waits in records; with credit every message comes, in order."""
    client = relay.raw_to(room)
    room.joined()
    room.deaf()
    frames = b"".join(client.frame(BINARY, struct.pack("!I", number) + b"x" * 40 * KIB) for number in range(200))
    sender = threading.Thread(target=client.send, args=(frames,), daemon=True)
    sender.start()
    driver.send(room.pid, "noise", 1)
    room.wake()
    sender.join(60)
    for _ in range(200):
        assert room.message("ws.message", deadline=30)["data"]["data"] == {"$len": 40 * KIB + 4}


def test_a_broadcast_reaches_a_hundred_clients_whole(relay, driver, room):
    clients = [relay.raw_to(room) for _ in range(100)]
    pids = [room.joined() for _ in clients]
    data = {"$repeat": "broadcast ", "count": 6000}
    room.sends(*((pid, "ws.send", {"data": data}) for pid in pids))
    for client in clients:
        assert client.receive_message().text == "broadcast " * 6000


# Ends


def test_a_close_is_answered_and_said_in_tls_too(relay, room):
    client = relay.raw_to(room)
    room.joined()
    client.send_close(1000, "bye")
    _, close = client.receive_close()
    assert close.code == 1000
    # Not a torn connection: `until_end` would raise if the server had not said that it ends.
    client.sock.suppress_ragged_eofs = False
    assert client.until_end() == b""
    assert room.message("ws.leave")["data"]["cause"] == "client"


@pytest.mark.parametrize("how", ["fin", "close_notify", "close_notify_and_fin", "reset"])
def test_an_end_without_a_close_frame_is_a_connection_lost(relay, room, how):
    bare = Bare(relay, script("ws", relay_steps(room.pid)))
    bare.flush()
    room.joined()
    bare.read()
    if how.startswith("close_notify"):
        with pytest.raises(ssl.SSLWantReadError):
            bare.tls.unwrap()
        bare.flush()
    if how.endswith("fin"):
        bare.wire.sock.shutdown(socket.SHUT_WR)
    if how == "reset":
        bare.wire.reset()
    left = room.message("ws.leave")["data"]
    assert (left["cause"], left["code"]) == ("lost", 1006)
    bare.wire.close()


def test_a_record_that_was_tampered_with_ends_the_connection(relay, room):
    bare = Bare(relay, script("ws", relay_steps(room.pid)))
    bare.flush()
    room.joined()
    bare.write(text_frame("genuine"))
    bare.flush()
    assert room.message("ws.message")["data"]["data"] == "genuine"
    bare.write(text_frame("forged"))
    data = bytearray(bare.sent.read())
    data[-1] ^= 1
    bare.wire.send(bytes(data))
    assert room.message("ws.leave")["data"]["cause"] == "lost"
    bare.wire.close()


def test_the_same_origin_is_that_of_https(relay, driver):
    host = "%s:%d" % relay.address()
    assert relay.shake("ws", *relay_steps(driver.pid), Origin=f"https://{host}").status == 101
    assert relay.shake("ws", *relay_steps(driver.pid), Origin=f"http://{host}").status == 403


# Keys


@pytest.mark.parametrize("command", [b"K\n", b"k\n"], ids=["asks-for-ours-too", "its-own"])
def test_a_client_may_change_its_keys_in_the_middle_of_a_session(relay, room, command):
    """`openssl s_client` sends KeyUpdate at a line with a K; what follows is read with the new keys."""
    host, port = relay.address()
    lines = [f"{name}: {value}" for name, value in handshake_headers().items()]
    path = script("ws", relay_steps(room.pid))
    request = "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}:{port}", *lines, "", ""]).encode()
    client = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_3", "-CAfile", str(tls.authority().path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:

        def say(data):
            client.stdin.write(data)
            client.stdin.flush()

        say(request)
        pid = room.joined()
        for number in range(3):
            # A command is a line of its own at the start of what is read at once.
            say(command)
            seen = b""
            while b"KEYUPDATE" not in seen:
                byte = client.stdout.read(1)
                assert byte, seen
                seen += byte
            say(text_frame(f"after {number}"))
            assert room.message("ws.message")["data"]["data"] == f"after {number}"
            room.ws_send(pid, f"heard {number}")
            while f"heard {number}".encode() not in seen:
                byte = client.stdout.read(1)
                assert byte, seen
                seen += byte
    finally:
        client.kill()
        client.wait()
        client.stdin.close()
        client.stdout.close()


def test_a_new_certificate_disturbs_no_session(own_server, tmp_path):
    """A session echoes all the time while the certificate changes five times."""
    certificate = tls.authority().issue(folder=tmp_path, stem="server")
    lease = own_server("relay", shards=2, services=RELAY, sets=tls.settings(certificate=certificate))
    driver = lease.driver()
    echo = driver.spawn(echo=True)
    client = lease.join(echo)
    for number in range(5):
        mark = lease.server.mark()
        tls.authority().issue(folder=tmp_path, stem="server")
        lease.server.child.send_signal(1)
        began = time.monotonic()
        while not any("new certificate" in record["message"] for record in lease.server.log[mark:]):
            assert time.monotonic() - began < 30
            client.send(str(number))
            assert client.recv() == str(number)
