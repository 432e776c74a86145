"""Compressed messages as a weapon: what a target has not received is bounded after inflation, too."""

import select
import zlib

import pytest

from harness.bystander import KIB, MIB, resident
from harness.waiting import until
from harness.wire import BINARY, CLOSE, PING, PONG, TEXT, handshake_headers

MODES = ["on", "takeover"]
# Everything in one window of any size that may be agreed on.
SMALLEST = -9


def packed(data, times=1):
    """So many times the same, compressed once: each begins without the context of the one before."""
    squeezed = zlib.compressobj(9, zlib.DEFLATED, SMALLEST)
    return ((squeezed.compress(data) + squeezed.flush(zlib.Z_FULL_FLUSH)) * times)[:-4]


@pytest.fixture(params=MODES)
def attack(request, hostile):
    """`attack()`: a raw client that has agreed on permessage-deflate."""

    def client(**options):
        offer = handshake_headers(Sec_WebSocket_Extensions="permessage-deflate")
        raw = hostile.raw(f"/{request.param}/echo", offer, **options)
        assert "permessage-deflate" in raw.opened.header("sec-websocket-extensions")
        return raw

    return client


def push(raw, data, limit):
    """Writes until the server has read nothing for a while: how many bytes it took."""
    raw.sock.setblocking(False)
    taken = 0
    while taken < limit and select.select([], [raw.sock], [], 0.3)[1]:
        try:
            taken += raw.sock.send(data[taken % len(data) :])
        except BlockingIOError:
            continue
    raw.sock.settimeout(10)
    return taken


def test_messages_that_inflate_a_thousandfold_fill_no_mailbox(hostile, bystander, attack):
    """Ten clients send as much as is read of them, 1 KiB each that inflates to 900; their targets receive nothing."""
    bomb = packed(bytes(900 * KIB))
    assert len(bomb) < 10 * KIB, len(bomb)
    raws = [attack() for _ in range(10)]
    for raw in raws:
        raw.send_frame(TEXT, "deaf")
        raw.receive_message()
    before = resident(hostile.server)
    for raw in raws:
        frame = raw.frame(BINARY, bomb, rsv=4)
        # Less than the credit is with the target, and one message of any size fits.
        push(raw, frame, 300 * len(frame))
        bystander.served(within=1)
    assert resident(hostile.server) - before < 10 * 4 * MIB
    for raw in raws:
        raw.reset()


def test_a_bomb_in_fragments_with_pings_between_them_is_1009(hostile, bystander, attack):
    """Sixteen MiB of nothing, a few bytes at a time. The reserved bit stands on the first fragment only."""
    bomb = packed(bytes(MIB), 16)
    before = resident(hostile.server)
    for _ in range(3):
        raw = attack()
        frames = b""
        for start in range(0, len(bomb), 500):
            first, last = start == 0, start + 500 >= len(bomb)
            piece = bomb[start : start + 500]
            frames += raw.frame(BINARY if first else 0, piece, fin=last, rsv=4 if first else 0) + raw.frame(PING, b"?")
        raw.send(frames)
        earlier, close = raw.receive_close()
        assert close.code == 1009
        assert all(frame.opcode == PONG for frame in earlier)
        raw.close()
    bystander.served()
    assert resident(hostile.server) - before < 8 * MIB


def test_a_bomb_that_is_never_finished_takes_what_came_of_it(hostile, bystander, attack):
    """A hundred clients send all but the last byte of a bomb."""
    bomb = packed(bytes(MIB), 64)[: 60 * KIB]
    raws = [attack() for _ in range(100)]
    before = resident(hostile.server)
    for raw in raws:
        raw.send(raw.frame(BINARY, bomb, rsv=4)[:-1])
    bystander.served()
    assert resident(hostile.server) - before < 100 * 2 * len(bomb) + 4 * MIB
    for raw in raws:
        raw.reset()


def test_control_frames_are_never_compressed(hostile, attack):
    for opcode in (PING, PONG, CLOSE):
        raw = attack()
        raw.send_frame(opcode, packed(b"x"), rsv=4)
        assert raw.receive_close()[1].code == 1002
        raw.close()


def test_a_reset_while_a_bomb_is_inflated_leaves_nothing_behind(hostile, bystander, attack):
    bomb = packed(bytes(MIB), 16)
    for _ in range(20):
        raw = attack()
        raw.send(raw.frame(BINARY, bomb, rsv=4))
        raw.reset()
    bystander.served()
    until(lambda: hostile.server.counters()["sockets"] == hostile.before["sockets"] + 2, "all are gone")
