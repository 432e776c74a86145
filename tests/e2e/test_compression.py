"""permessage-deflate (RFC 7692): `wsrelay.compression: on` and `takeover`, with clients of three makes: the
`websockets` package, Chromium, and raw sockets with zlib."""

import random
import time
import zlib

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from harness.bystander import resident
from harness.http2 import Http2
from harness.server import Server
from harness.wire import BINARY, CLOSE, PING, PONG, TEXT, handshake_headers

MIB = 1024 * 1024
MODES = ("on", "takeover")
TAIL = b"\0\0\xff\xff"
BOTH = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.fixture
def room(server):
    return server("compression", shards=2)


@pytest.fixture
def own_room(own_server):
    return own_server("compression", shards=1)


class Deflated:
    """A raw client with contexts of its own, kept or not as the answer says."""

    def __init__(self, room, mode, offer="permessage-deflate; client_max_window_bits", http2=None, **options):
        if http2:
            self.raw = http2.websocket(f"/{mode}/ws", {"sec-websocket-extensions": offer})
        else:
            self.raw = room.raw(f"/{mode}/ws", handshake_headers(Sec_WebSocket_Extensions=offer), **options)
        self.agreed = self.raw.opened.header("sec-websocket-extensions")
        self.sends_alone = "client_no_context_takeover" in self.agreed
        self.receives_alone = "server_no_context_takeover" in self.agreed
        self.out = self.into = None

    def packed(self, data):
        if self.out is None or self.sends_alone:
            self.out = zlib.compressobj(6, zlib.DEFLATED, -12)
        data = data if isinstance(data, bytes) else data.encode()
        return (self.out.compress(data) + self.out.flush(zlib.Z_SYNC_FLUSH))[:-4] or b"\0"

    def send(self, data, opcode=TEXT):
        self.raw.send_frame(opcode, self.packed(data), rsv=4)

    def unpacked(self, frame):
        if frame.rsv == 0:
            return frame.data
        assert frame.rsv == 4 and frame.opcode in (TEXT, BINARY), frame
        if self.into is None or self.receives_alone:
            self.into = zlib.decompressobj(-15)
        return self.into.decompress(frame.data + TAIL)

    def receive(self):
        return self.unpacked(self.raw.receive_message())


def client(room, mode, **options):
    return room.ws(f"/{mode}/ws", compression="deflate", **options)


def prose(size, seed=0):
    words = random.Random(seed)
    text = ""
    while len(text) < size:
        text += f'{{"id": {words.randrange(10**6)}, "who": "{words.choice(["ann", "bob", "cy"])}"}}, '
    return text[:size]


# The handshake


@pytest.mark.parametrize(
    "mode, offer, answer",
    [
        ("on", "permessage-deflate", BOTH),
        ("on", "permessage-deflate; client_max_window_bits", BOTH),
        ("on", "permessage-deflate; server_max_window_bits=10", BOTH + "; server_max_window_bits=10"),
        ("on", 'permessage-deflate; server_max_window_bits="11"', BOTH + "; server_max_window_bits=11"),
        ("on", "permessage-deflate; server_max_window_bits=8", None),
        ("on", "permessage-deflate; server_max_window_bits=8, permessage-deflate", BOTH),
        ("on", "permessage-deflate; what=ever", None),
        ("on", "permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        ("on", "permessage-bzip2", None),
        ("on", "permessage-deflate; =", None),
        ("takeover", "permessage-deflate", "permessage-deflate; client_no_context_takeover"),
        ("takeover", "permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=12"),
        ("takeover", "permessage-deflate; server_no_context_takeover", BOTH),
        (
            "takeover",
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10",
        ),
        ("plain", "permessage-deflate", None),
    ],
)
def test_parameters_are_negotiated(room, mode, offer, answer):
    raw = room.raw(f"/{mode}/ws", handshake_headers(Sec_WebSocket_Extensions=offer))
    assert raw.opened.header("sec-websocket-extensions") == answer
    raw.send_text("still a WebSocket")
    assert raw.receive_message().text == "still a WebSocket"


def test_without_an_offer_nothing_is_compressed(room):
    raw = room.raw("/on/ws")
    assert raw.opened.header("sec-websocket-extensions") is None
    raw.send_text("x" * 10_000)
    frame = raw.receive_message()
    assert (frame.rsv, len(frame.data)) == (0, 10_000)


# Messages


@pytest.mark.parametrize("mode", MODES)
def test_what_a_client_sends_comes_back(room, mode):
    joined = client(room, mode)
    noise = random.Random(1)
    for size in (0, 1, 125, 126, 511, 512, 513, 4096, 32768, 65536, 300_000, MIB - 16):
        text = prose(size, size)
        joined.send(text)
        assert joined.recv(30) == text
        data = noise.randbytes(size)
        joined.send(data)
        assert joined.recv(30) == data


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bits", range(9, 16))
def test_every_window_that_a_client_may_ask_for_works(room, mode, bits):
    factory = ClientPerMessageDeflateFactory(server_max_window_bits=bits, client_max_window_bits=bits)
    joined = room.ws(f"/{mode}/ws", compression=None, extensions=[factory])
    for seed in range(6):
        text = prose(50_000, seed % 2)
        joined.send(text)
        assert joined.recv(30) == text


def test_a_client_that_keeps_no_context_gets_none(room):
    factory = ClientPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
    joined = room.ws("/takeover/ws", compression=None, extensions=[factory])
    for _ in range(3):
        joined.send(prose(5000))
        assert joined.recv() == prose(5000)


def test_small_messages_and_noise_are_not_compressed(room):
    joined = Deflated(room, "on")
    for data, rsv in ((prose(400), 0), (prose(700), 4), (random.Random(2).randbytes(5000), 0)):
        joined.send(data, TEXT if isinstance(data, str) else BINARY)
        frame = joined.raw.receive_message()
        assert frame.rsv == rsv
        assert joined.unpacked(frame) == (data.encode() if isinstance(data, str) else data)


def test_takeover_makes_messages_that_resemble_each_other_small(room):
    joined = Deflated(room, "takeover")
    sizes = []
    for _ in range(3):
        joined.send(prose(1000, 5))
        frame = joined.raw.receive_message()
        sizes.append(len(frame.data))
        assert joined.unpacked(frame) == prose(1000, 5).encode()
    assert sizes[1] < 40 and sizes[0] > 5 * sizes[1], sizes


@pytest.mark.parametrize("mode", MODES)
def test_a_compressed_message_may_come_in_fragments_with_control_frames_between(room, mode):
    joined = Deflated(room, mode)
    for size in (0, 1, 1000, 200_000):
        packed = joined.packed(prose(size, size))
        cut, end = len(packed) // 3, len(packed) * 2 // 3
        joined.raw.send_frame(TEXT, packed[:cut], fin=False, rsv=4)
        joined.raw.send_frame(PING, "between")
        joined.raw.send_frame(0, packed[cut:end], fin=False)
        joined.raw.send_frame(0, packed[end:])
        assert joined.raw.receive().opcode == PONG
        assert joined.receive() == prose(size, size).encode()


@pytest.mark.parametrize("mode, agreed", [("on", BOTH), ("takeover", "permessage-deflate; client_max_window_bits=12")])
def test_messages_are_compressed_over_http2_too(room, mode, agreed):
    """Two WebSockets of one connection, each with contexts of its own, the second in fragments and with Pings between."""
    connection = Http2(room.address())
    room.opened.callback(connection.close)
    one, other = [Deflated(room, mode, http2=connection) for _ in range(2)]
    assert one.agreed == other.agreed == agreed
    sizes = []
    for size in (0, 1, 600, 3000, 3000, 65536, 300_000):
        text = prose(size, 7)
        one.send(text)
        packed = other.packed(text.swapcase())
        other.raw.send_frame(TEXT, packed[:1], fin=False, rsv=4)
        other.raw.send_frame(PING, "between")
        other.raw.send_frame(0, packed[1:])
        frame = one.raw.receive_message()
        sizes.append(len(frame.data))
        assert frame.rsv == (4 if size >= 600 else 0)
        assert one.unpacked(frame) == text.encode()
        assert other.raw.receive().opcode == PONG
        assert other.receive() == text.swapcase().encode()
    assert sum(sizes) < 130_000, "a third of what it is"
    assert (sizes[4] < sizes[3] / 5) == (mode == "takeover")
    other.raw.send_close(1000)
    assert other.raw.receive_close()[1].code == 1000


def test_one_byte_at_a_time_is_understood(room):
    joined = Deflated(room, "on")
    for byte in joined.raw.frame(TEXT, joined.packed(prose(300)), rsv=4):
        joined.raw.send(bytes([byte]))
    assert joined.receive() == prose(300).encode()


def test_a_message_of_final_blocks_is_understood(room):
    """RFC 7692 section 7.2.3.5."""
    joined = Deflated(room, "on")

    def final(data):
        stream = zlib.compressobj(6, zlib.DEFLATED, -15)
        return stream.compress(data) + stream.flush(zlib.Z_FINISH)

    joined.raw.send_frame(TEXT, final(b"one ") + final(b"two ") + b"\0", rsv=4)
    assert joined.receive() == b"one two "


# Faults


def ends_with(joined, code):
    _, frame = joined.raw.receive_close()
    assert frame.code == code


@pytest.mark.parametrize("mode", MODES)
def test_reserved_bits_in_the_wrong_place_are_1002(room, mode):
    for frames in (
        [(PING, b"", True, 4)],
        [(CLOSE, b"", True, 4)],
        [(0, b"\0", True, 4)],
        [(TEXT, b"\0", False, 4), (0, b"\0", True, 4)],
        [(TEXT, b"\0", True, 6)],
        [(TEXT, b"\0", True, 2)],
    ):
        joined = Deflated(room, mode)
        for opcode, data, fin, rsv in frames:
            joined.raw.send_frame(opcode, data, fin=fin, rsv=rsv)
        ends_with(joined, 1002)


def test_rsv1_without_agreement_is_1002(room):
    raw = room.raw("/on/ws")
    raw.send_frame(TEXT, b"\0", rsv=4)
    assert raw.receive_close()[1].code == 1002


@pytest.mark.parametrize("mode", MODES)
def test_broken_compression_is_1002(room, mode):
    whole = Deflated(room, mode).packed(prose(3000))
    for data in (b"\xff" * 20, b"\x06\0", whole[:-3], whole + b"x", whole[:100]):
        joined = Deflated(room, mode)
        joined.raw.send_frame(TEXT, data, rsv=4)
        ends_with(joined, 1002)


@pytest.mark.parametrize("mode", MODES)
def test_text_is_checked_after_inflation(room, mode):
    for size in (0, 300_000):
        joined = Deflated(room, mode)
        joined.send(b"x" * size + b"\xed\xa0\x80")
        ends_with(joined, 1007)


@pytest.mark.parametrize("mode", MODES)
def test_the_limit_counts_after_inflation(room, mode):
    joined = Deflated(room, f"{mode}_small")
    joined.send(b"x" * 65536)
    assert joined.receive() == b"x" * 65536
    joined.send(b"x" * 65537)
    ends_with(joined, 1009)


@pytest.mark.parametrize("mode", MODES)
def test_a_compressed_size_beyond_any_that_the_limit_allows_is_1009_at_once(room, mode):
    joined = Deflated(room, f"{mode}_small")
    joined.raw.send(b"\xc2\xff" + (1 << 40).to_bytes(8, "big") + b"\0\0\0\0")
    ends_with(joined, 1009)


def test_bombs_are_1009_and_take_no_memory(own_server):
    """Each is 1 MiB on the wire and 1 GiB inflated."""
    # What is given back counts no more, so what is left is what is held.
    room = own_server("compression", shards=1, env={"MIMALLOC_PURGE_DELAY": "0"})
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(16 * MIB)
    bomb = b"".join(squeezed.compress(zeros) for _ in range(64)) + squeezed.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 1.1 * MIB
    peak = 0
    first = Deflated(room, "on")
    first.send(prose(MIB))
    first.receive()
    before = resident(room.server)
    for _ in range(5):
        clients = [Deflated(room, random.choice(MODES)) for _ in range(20)]
        for joined in clients:
            joined.raw.send_frame(BINARY, bomb[:-4], rsv=4)
            peak = max(peak, resident(room.server))
        for joined in clients:
            ends_with(joined, 1009)
            peak = max(peak, resident(room.server))
            joined.raw.close()
    # Twenty compressed messages may wait, four are inflated at a time.
    assert peak - before < 48 * MIB, (peak - before) / MIB


def empty_blocks(size):
    """A deflate stream of blocks that say how to read nothing: each makes the reader build its tables anew."""

    def put(value, width):
        return "".join(str(value >> bit & 1) for bit in range(width))

    lengths = {18: 1, 1: 2, 0: 2}
    order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1]
    block = put(0, 1) + put(2, 2) + put(0, 5) + put(0, 5) + put(14, 4)
    block += "".join(put(lengths.get(symbol, 0), 3) for symbol in order)
    block += "0" + put(127, 7) + "0" + put(107, 7) + "11" + "11" + "0"
    eight = block * 8
    data = bytes(int(eight[at : at + 8][::-1], 2) for at in range(0, len(eight), 8))
    stream = data * (size // len(data))
    assert zlib.decompressobj(-15).decompress(stream) == b""
    return stream


def test_what_is_slow_to_inflate_delays_nobody_by_much(own_room):
    """Blocks without content: a megabyte of them takes as long as a hundred megabytes of text."""
    data = empty_blocks(MIB)
    hostile = [Deflated(own_room, "on") for _ in range(8)]
    calm = client(own_room, "plain")
    for joined in hostile:
        joined.raw.send_frame(BINARY, data + b"\0", rsv=4)
    times = round_trips(calm, 200)
    for joined in hostile:
        joined.raw.sock.settimeout(60)
        assert joined.receive() == b""
    # On a machine of its own a few milliseconds; this one may be shared.
    assert times[len(times) // 2] < 0.05, times[-10:]


def round_trips(calm, count):
    times = []
    for n in range(count):
        began = time.monotonic()
        calm.send(f"{n}")
        assert calm.recv() == f"{n}"
        times.append(time.monotonic() - began)
    return sorted(times)


# Rooms


def test_a_room_of_compressed_and_other_clients_gets_the_same(room):
    narrow = ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9)
    clients = [client(room, mode) for mode in ("on", "takeover", "plain", "on", "takeover")]
    clients.append(room.ws("/plain/ws"))
    clients += [room.ws(f"/{mode}/ws", compression=None, extensions=[narrow]) for mode in MODES]
    for joined in clients:
        joined.send("here")
        assert joined.recv() == "here"
    for n, size in enumerate((10, 200, 600, 5000, 100_000, 700_000, 600, 10)):
        sender = clients[n % len(clients)]
        text = "all " + prose(size, n)
        sender.send(text)
        for joined in clients:
            assert joined.recv(30) == text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy", ["oldest", "newest"])
def test_a_slow_client_that_lost_messages_understands_the_others(room, mode, policy):
    """3000 messages of 10 KB that compress to half of it, for a client that reads nothing meanwhile."""
    joined, watcher = Deflated(room, f"{mode}_{policy}", receive_buffer=4096), client(room, "plain")
    padding = random.Random(3).randbytes(5000).hex()
    for first in range(0, 3000, 100):
        joined.raw.send_text(f"flood {first} 100 {padding}")
        # Two senders have no order: asked until it was done.
        answer = None
        while answer != str(first):
            watcher.send("flooded?")
            answer = watcher.recv(30)
    seen = []
    joined.raw.sock.settimeout(30)
    joined.raw.send_frame(PING, "drained?")
    while True:
        frame = joined.raw.receive()
        if frame.opcode == PONG:
            break
        seen.append(joined.unpacked(frame))
    # The Pong overtakes what waits; a mark comes behind it, once there is room for one.
    joined.raw.sock.settimeout(1)
    for _ in range(30):
        joined.send("mark")
        try:
            while seen[-1] != b"mark":
                seen.append(joined.receive())
            break
        except TimeoutError:
            continue
    assert seen.pop() == b"mark"
    numbers = [int(text.split(b" ", 1)[0]) for text in seen]
    assert all(text == f"{n} {padding}".encode() for n, text in zip(numbers, seen)), "each is whole"
    assert numbers == sorted(set(numbers)), "in order, none twice"
    assert numbers[0] == 0 and len(numbers) < 3000, f"{len(numbers)}: some were dropped"
    assert policy == "newest" or numbers[-1] == 2999, numbers[-3:]


# Large messages


@pytest.mark.parametrize("mode", MODES)
def test_large_messages_of_one_delay_another_by_little(own_room, mode):
    """8 MiB each way on one shard; measured is the round trip of a small message meanwhile."""
    busy, calm = Deflated(own_room, f"{mode}_large"), client(own_room, "plain")
    text = prose(MIB) * 8
    idle = round_trips(calm, 100)
    packed = busy.packed(text)
    busy.raw.send_frame(TEXT, packed, rsv=4)
    times = round_trips(calm, 300)
    busy.raw.sock.settimeout(60)
    assert busy.receive() == text.encode()
    show = {name: [round(found[len(found) * part // 100] * 1000, 2) for part in (50, 99)] for name, found in
            (("idle", idle), ("busy", times))}  # fmt: skip
    print(f"{mode}: median and p99 in ms: {show}")
    assert times[len(times) // 2] < 0.05


# Memory


def grown(room, kind, count):
    """By how much the server grows for so many connections that have said one thing of 2 KB, got it back, and stay."""
    before = resident(room.server)
    for _ in range(count):
        if kind == "plain":
            raw = room.raw("/plain/ws")
            raw.send_text(prose(2000))
            raw.receive_message()
        else:
            joined = Deflated(room, kind)
            joined.send(prose(2000))
            joined.receive()
    return resident(room.server) - before


@pytest.mark.timeout(180)
def test_a_compressed_connection_takes_little_memory(own_server):
    """A server for each kind: in one, the connections of a kind live in what those of another have left. So many of
    them because memory comes in pieces of 2 MiB."""
    kinds, count, figures = ("plain", *MODES), 3_000, {}
    for kind in kinds:
        room = own_server("compression", shards=1)
        # What a shard keeps for all of them is there before anything is counted.
        grown(room, kind, 100)
        figures[kind] = grown(room, kind, count) / count
    print({kind: round(bytes) for kind, bytes in figures.items()})
    # With `on` nothing is kept between messages; with `takeover` the contexts are 4 KiB each way.
    assert figures["on"] < figures["plain"] * 1.25 + 1_000
    assert figures["takeover"] < figures["plain"] + 12_000


# Chromium


@pytest.fixture(scope="module")
def address():
    """A server without a lease: the browser keeps its connections."""
    server = Server("compression", shards=2).wait_ready()
    yield "http://%s:%d/nothing" % server.addresses["app:gateway"]
    server.stop()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", MODES)
def test_chromium_talks_compressed(address, browser, mode):
    page = browser.page(address)
    script = """new Promise((done, failed) => {
        const socket = new WebSocket(`ws://${location.host}/%s/ws`);
        const texts = [10, 600, 5000, 5000, 200000].map(n => '{"grüße": "☃"} '.repeat(n / 10));
        const back = [];
        socket.onopen = () => texts.forEach(text => socket.send(text));
        socket.onerror = () => failed(new Error('the socket failed'));
        socket.onmessage = message => {
            back.push(message.data);
            if (back.length < texts.length) return;
            done([socket.extensions, back.every((text, i) => text === texts[i])]);
            socket.close();
        };
    })""" % mode
    extensions, same = page.run(script)
    expected = {"on": BOTH, "takeover": "permessage-deflate; client_max_window_bits=12"}
    assert (extensions, same) == (expected[mode], True)
    page.close()
