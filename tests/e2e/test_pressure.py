"""The relay contract, "Pressure": nobody waits for a client, and no client fills memory."""

import select
import time

from harness.wire import TEXT

KIB = 1024


def push(raw, frames, limit):
    """Writes until the server has read nothing for a while: how many bytes it took."""
    raw.sock.setblocking(False)
    taken = 0
    try:
        while taken < limit:
            _, writable, _ = select.select([], [raw.sock], [], 1.0)
            if not writable:
                break
            try:
                taken += raw.sock.send(frames[taken % len(frames) :])
            except BlockingIOError:
                continue
    finally:
        raw.sock.settimeout(10)
    return taken


def test_a_sender_never_waits_for_a_client(relay, driver):
    """A target sends 26 MB to a client that reads nothing, and is at once ready for more."""
    raw = relay.raw_to(driver, "oldest", receive_buffer=4096)
    pid = driver.joined()
    began = time.monotonic()
    for _ in range(8):
        driver.burst(pid, "ws.send", 50, raw={"data": {"$repeat": "x", "count": 65536}})
    assert time.monotonic() - began < 10
    driver.ping()
    raw.reset()


def test_one_stalled_client_delays_nobody(relay, driver):
    """A room sends to a stalled client and to a healthy one in turn."""
    room = driver.spawn()
    stalled = relay.raw_to(room, "oldest", receive_buffer=4096)
    slow = room.joined()
    healthy = relay.join(room)
    quick = room.joined()
    padding = "x" * 65536
    for number in range(200):
        room.sends((slow, "ws.send", {"data": padding}), (quick, "ws.send", {"data": str(number)}))
        assert healthy.recv(5) == str(number)
    stalled.reset()


def test_a_fast_client_cannot_fill_memory(relay, driver):
    """Its target reads nothing, so its socket is not read: the kernel's buffers fill, and no more."""
    room = driver.spawn()
    raw = relay.raw_to(room)
    room.joined()
    room.deaf()
    frames = raw.frame(0x1, "x" * 16 * KIB)
    taken = push(raw, frames, 64 * KIB * KIB)
    assert taken < 32 * KIB * KIB
    assert driver.send(room.pid, "noise", 1) is True, "room for others is left in the mailbox"
    raw.reset()
    room.wake()


def test_credit_is_64_messages_and_nothing_is_lost_after_the_pause(relay, driver):
    room = driver.spawn()
    client = relay.raw_to(room)
    room.joined()
    room.deaf()
    client.send(b"".join(client.frame(0x1, str(number)) for number in range(1000)))
    driver.send(room.pid, "noise", 1)
    room.wake()
    texts = [room.message("ws.message")["data"]["data"] for _ in range(1000)]
    assert texts == [str(number) for number in range(1000)]


def test_credit_is_256_kib_and_nothing_is_lost_after_the_pause(relay, driver):
    room = driver.spawn()
    client = relay.raw_to(room)
    room.joined()
    room.deaf()
    frames = b"".join(client.frame(0x2, bytes([number]) + b"x" * 128 * KIB) for number in range(20))
    taken = push(client, frames, len(frames))
    room.wake()
    client.send(frames[taken:])
    for _ in range(20):
        assert room.message("ws.message")["data"]["data"] == {"$len": 128 * KIB + 1}


def test_a_message_larger_than_the_credit_passes(relay, driver):
    """Credit is what is not yet received; one message may exceed it, else it could never pass."""
    client = relay.raw_to(driver)
    driver.joined()
    for _ in range(3):
        client.send_frame(0x2, b"x" * 900 * KIB)
        assert driver.message("ws.message", deadline=30)["data"]["data"] == {"$len": 900 * KIB}


def test_a_fast_client_cannot_crowd_out_the_others_of_its_room(relay, driver):
    """A flood waits; another's message, sent later, is among the first that the room reads."""
    room = driver.spawn()
    flood = relay.raw_to(room)
    flooder = room.joined()
    quiet = relay.join(room)
    other = room.joined()
    room.deaf()
    flood.send(b"".join(flood.frame(0x1, f"{number:06}") for number in range(3000)))
    quiet.send("let me in")
    late = relay.join(room)
    late.send("and me")
    room.wake()
    for _ in range(3002):
        room.message("ws.message", deadline=30)
    order = [message["from"] for message in room.received(topic="ws.message")]
    assert order.count(flooder) == 3000
    assert order.index(other) < 1500
    newcomer = room.joined()
    assert order.index(newcomer) < 1500


def test_paused_sockets_resume_in_the_order_they_were_paused(own_relay):
    """On one shard: three clients send 100 messages each, one after the other, to a
    target that reads nothing. When it does, the 65th of each come in that order."""
    relay = own_relay(shards=1)
    driver = relay.driver()
    room, echo = driver.spawn(), driver.spawn(echo=True)
    beside = relay.join(echo)
    clients = []
    for _ in range(3):
        client = relay.raw_to(room)
        clients.append((client, room.joined()))
    room.deaf()
    for client, _ in clients:
        client.send(b"".join(client.frame(0x1, str(number)) for number in range(100)))
        for _ in range(3):  # a round trip through the same shard: the bytes before it are read
            beside.send("round")
            assert beside.recv() == "round"
    room.wake()
    for _ in range(300):
        room.message("ws.message")
    sixty_fifth = [
        message["from"] for message in room.received(topic="ws.message") if message["data"]["data"] == "64"
    ]
    assert sixty_fifth == [pid for _, pid in clients]


def test_a_paused_client_still_hears_its_target(relay, driver):
    """No credit stops reading, not writing."""
    room = driver.spawn()
    client = relay.raw_to(room)
    pid = room.joined()
    room.deaf()
    push(client, client.frame(0x1, "x" * KIB), 300 * KIB)
    driver.ws_send(pid, "can you hear me")
    frame = client.receive_message()
    assert (frame.opcode, frame.text) == (TEXT, "can you hear me")
    room.wake()
    client.reset()


def test_a_paused_clients_credit_moves_with_it(relay, driver):
    """Paused at a deaf room, transferred to a reading one: what waited arrives there."""
    deaf, reading = driver.spawn(), driver.spawn()
    client = relay.raw_to(deaf)
    pid = deaf.joined()
    deaf.deaf()
    client.send(b"".join(client.frame(0x1, str(number)) for number in range(200)))
    driver.control(pid, target_pid=reading.pid, ack="moved")
    assert driver.message("moved")["data"]["ok"] is True
    deaf.wake()
    deaf.message("ws.leave")
    here = [m["data"]["data"] for m in deaf.received(topic="ws.message")]
    there = [reading.message("ws.message")["data"]["data"] for _ in range(200 - len(here))]
    assert here + there == [str(number) for number in range(200)]


def test_a_full_mailbox_answers_its_other_senders_at_once(relay, driver):
    room = driver.spawn()
    room.deaf()
    refused = driver.burst(room.pid, "noise", 12000, raw={"n": 1})
    assert refused >= 1000, "mailbox_limit is 10000"
    assert driver.send(room.pid, "noise", 1).kind == "Unavailable"
    room.wake()
    assert room.ping() >= 9000


def test_a_mailbox_is_bounded_in_bytes_too(relay, driver):
    room = driver.spawn()
    room.deaf()
    refused = driver.burst(room.pid, "noise", 40, raw={"data": {"$repeat": "x", "count": 512 * KIB}})
    assert 40 > refused >= 20, "mailbox_bytes is 8 MiB"
    room.wake()
    assert room.ping() == 40 - refused
