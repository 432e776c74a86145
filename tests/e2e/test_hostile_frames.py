"""Frames that no client sends: lengths, floods, fragments, controls and texts, each bounded in memory and in time."""

import select
import struct
import time

import pytest

from harness.bystander import KIB, MIB, processor_seconds, resident
from harness.wire import BINARY, CLOSE, PING, PONG, TEXT

MASK = bytes(4)


def length_of(size):
    """A text frame's head that announces so much in 64 bits."""
    return b"\x81\xff" + size.to_bytes(8) + MASK


LENGTHS = {
    "2_63": (length_of(1 << 63), 1002),
    "2_64_less_1": (length_of((1 << 64) - 1), 1002),
    "2_63_less_1": (length_of((1 << 63) - 1), 1009),
    "2_32": (length_of(1 << 32), 1009),
    "a_byte_more_than_allowed": (length_of(MIB + 1), 1009),
    # Added to the two bytes before it, this would be 1 in 64 bits.
    "an_overflow_over_two_fragments": (b"\x01\x82" + MASK + b"ab\x80\xff" + ((1 << 63) - 1).to_bytes(8) + MASK, 1009),
    "a_byte_too_much_over_two_fragments": (b"\x01\x82" + MASK + b"ab\x80\xff" + (MIB - 1).to_bytes(8) + MASK, 1009),
    "16_bits_for_125": (b"\x82\xfe\0\x7d" + MASK, 1002),
    "64_bits_for_65535": (b"\x82\xff" + (65535).to_bytes(8) + MASK, 1002),
    "64_bits_for_0": (b"\x82\xff" + bytes(8) + MASK, 1002),
    "16_bits_of_a_ping": (b"\x89\xfe\0\x7e" + MASK, 1002),
    "64_bits_of_a_close": (b"\x88\xff" + (1 << 62).to_bytes(8) + MASK, 1002),
}

RESERVED = {
    "rsv1_on_a_continuation": b"\x01\x81" + MASK + b"a\xc0\x81" + MASK + b"b",
    "rsv2_on_a_continuation": b"\x01\x81" + MASK + b"a\xa0\x81" + MASK + b"b",
    "rsv1_on_a_ping": b"\xc9\x80" + MASK,
    "rsv1_on_a_pong": b"\xca\x80" + MASK,
    "rsv1_on_a_close": b"\xc8\x80" + MASK,
    "rsv3_on_a_ping": b"\x99\x80" + MASK,
    "a_fragmented_close": b"\x08\x80" + MASK,
    "a_fragmented_pong": b"\x0a\x80" + MASK,
    "opcodes_3": b"\x83\x80" + MASK,
    "opcodes_7": b"\x87\x80" + MASK,
    "opcodes_15": b"\x8f\x80" + MASK,
    "an_unmasked_ping": b"\x89\x00",
    "an_unmasked_continuation": b"\x01\x81" + MASK + b"a\x80\x01b",
    "an_unmasked_close": b"\x88\x02\x03\xe8",
    "an_unmasked_huge_frame": b"\x82\x7f" + (1 << 62).to_bytes(8),
}


@pytest.mark.parametrize("how", LENGTHS)
def test_a_length_that_no_message_may_have_is_refused_from_its_head_alone(hostile, how):
    head, code = LENGTHS[how]
    raw = hostile.raw("/ws/echo")
    raw.send(head)
    before, close = raw.receive_close()
    assert (before, close.code) == ([], code)
    assert raw.ended()


@pytest.mark.parametrize("how", RESERVED)
def test_what_rfc_6455_reserves_is_1002(hostile, how):
    raw = hostile.raw("/ws/echo")
    raw.send(RESERVED[how])
    before, close = raw.receive_close()
    assert (before, close.code) == ([], 1002)


CODES = {code: code in {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)} for code in [
    0, 1, 999, *range(1000, 1020), 1099, 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535,
]}  # fmt: skip


@pytest.mark.parametrize("code", CODES)
def test_close_codes_that_may_be_sent_come_back_and_others_are_1002(hostile, code):
    raw = hostile.raw("/ws/echo")
    raw.send_frame(CLOSE, code.to_bytes(2))
    assert raw.receive_close()[1].code == (code if CODES[code] else 1002)


def test_a_thousand_fragments_with_pings_between_them_are_one_message_and_a_thousand_pongs(hostile, bystander):
    raw = hostile.raw("/ws/echo")
    text = "".join(chr(0x100 + number % 50) for number in range(1000))
    pongs = []
    for number, character in enumerate(text):
        raw.send_frame(TEXT if number == 0 else 0, character, fin=number == 999)
        raw.send_frame(PING, number.to_bytes(2))
        raw.send_frame(PONG, b"nobody asked")
        if number % 8 == 7:
            while len(pongs) <= number:
                frame = raw.receive()
                if frame.opcode == PONG:
                    pongs.append(int.from_bytes(frame.data))
                else:
                    assert (frame.opcode, frame.text) == (TEXT, text)
                    text = ""
    assert pongs == list(range(1000))
    assert text == "" or raw.receive_message().text == text


def test_a_close_between_fragments_ends_the_message_and_nothing_behind_it_counts(hostile, bystander):
    raw = hostile.raw("/ws/echo")
    close = raw.frame(CLOSE, struct.pack("!H", 1000))
    # In one piece: after the close frame the server may hang up at any moment.
    raw.send(
        raw.frame(TEXT, "first half", fin=False) + close + raw.frame(0, "second half") + raw.frame(TEXT, "after the end")
    )
    before, close = raw.receive_close()
    assert (before, close.code) == ([], 1000)
    assert raw.ended()


# Floods: what is sent over and over, to a server whose answers nobody reads

PING_125 = b"\x89\xfd" + MASK + b"p" * 125
FLOODS = {
    "pings": PING_125,
    "empty_pings": b"\x89\x80" + MASK,
    "pongs": b"\x8a\xfd" + MASK + b"p" * 125,
    "fragments_without_a_byte": b"\x00\x80" + MASK,
    "fragments_without_a_byte_and_pings": b"\x00\x80" + MASK + PING_125,
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_takes_bounded_memory_and_nobody_else_waits(hostile, bystander, what):
    """Ten clients send 2 MiB each and read nothing: of the answers sixteen wait for each."""
    raws = [hostile.raw("/ws/echo", receive_buffer=4096) for _ in range(10)]
    for raw in raws:
        raw.send_frame(TEXT, "begun", fin=False)
    bystander.served()
    before = resident(hostile.server)
    block = FLOODS[what] * (64 * KIB // len(FLOODS[what]))
    for _ in range(2 * MIB // len(block)):
        for raw in raws:
            raw.send(block)
    bystander.served()
    assert resident(hostile.server) - before < 4 * MIB
    for raw in raws:
        # It is all read and acted on: the message goes on where it stopped.
        raw.send_frame(0, " and ended")
        while (frame := raw.receive()).opcode == PONG:
            pass
        assert frame.text == "begun and ended"


def test_of_a_flood_of_pings_the_latest_is_answered(hostile):
    raw = hostile.raw("/ws/echo")
    raw.send(b"".join(raw.frame(PING, number.to_bytes(4)) for number in range(20_000)))
    raw.send_frame(TEXT, "done")
    pongs = []
    while not pongs or pongs[-1] != 19_999:
        frame = raw.receive()
        if frame.opcode == PONG:
            pongs.append(int.from_bytes(frame.data))
    assert pongs == sorted(set(pongs)), "in order, and none twice"


def test_what_a_frame_announces_is_not_reserved(hostile, bystander):
    """Two hundred clients announce a megabyte each and send ten bytes of it."""
    raws = [hostile.raw("/ws/echo") for _ in range(200)]
    before = resident(hostile.server)
    for raw in raws:
        raw.send(length_of(MIB) + b"0123456789")
    bystander.served()
    assert resident(hostile.server) - before < 4 * MIB


def test_unfinished_messages_take_what_came_and_no_more_than_twice_of_it(hostile, bystander):
    """Twenty clients leave a message of a megabyte unfinished, in fragments of 1 KiB; then they are gone, and so is it."""
    raws = [hostile.raw("/ws/echo") for _ in range(20)]
    before = resident(hostile.server)
    first, more = raws[0].frame(BINARY, b"x" * KIB, fin=False), raws[0].frame(0, b"x" * KIB, fin=False)
    for raw in raws:
        raw.send(first + more * 1022)
    bystander.served()
    held = resident(hostile.server) - before
    assert held < 20 * 2 * MIB + 4 * MIB
    for raw in raws:
        raw.send_close(1000)
        raw.receive_close()


# Text

INVALID = {
    "a_lone_continuation": b"\x80",
    "overlong_of_2": b"\xc0\xaf",
    "overlong_of_3": b"\xe0\x80\xaf",
    "overlong_of_4": b"\xf0\x80\x80\xaf",
    "a_surrogate": b"\xed\xa0\x80",
    "beyond_unicode": b"\xf4\x90\x80\x80",
    "five_bytes": b"\xf8\x88\x80\x80\x80",
    "ff": b"\xff",
    "a_cut_character": b"\xe2\x82",
}


@pytest.mark.parametrize("how", INVALID)
def test_invalid_utf_8_is_1007_wherever_the_text_is_split(hostile, how):
    """In two fragments, in two writes of one frame, and in a close frame's reason."""
    text = "aé".encode() + INVALID[how] + (b"" if how == "a_cut_character" else b"z")
    for at in range(len(text) + 1):
        raw = hostile.raw("/ws/echo")
        raw.send_frame(TEXT, text[:at], fin=False)
        raw.send_frame(PING, b"between")
        try:
            raw.send_frame(0, text[at:])
        except OSError:
            pass  # it was refused already
        before, close = raw.receive_close()
        assert close.code == 1007
        assert all(frame.opcode == PONG for frame in before)
        raw.close()
    for at in range(1, len(text)):
        raw = hostile.raw("/ws/echo")
        frame = raw.frame(TEXT, text)
        raw.send(frame[: 6 + at])
        try:
            raw.send(frame[6 + at :])
        except OSError:
            pass
        assert raw.receive_close()[1].code == 1007
        raw.close()
    raw = hostile.raw("/ws/echo")
    raw.send_frame(CLOSE, b"\x03\xe8" + text)
    assert raw.receive_close()[1].code == 1007


def test_valid_utf_8_is_valid_wherever_the_text_is_split(hostile, bystander):
    raw = hostile.raw("/ws/echo")
    text = "aé€😀\U0010ffff\0"
    data = text.encode()
    for one in range(len(data) + 1):
        for two in range(one, len(data) + 1):
            parts = data[:one], data[one:two], data[two:]
            raw.send(b"".join(raw.frame(TEXT if n == 0 else 0, part, fin=n == 2) for n, part in enumerate(parts)))
            assert raw.receive_message().text == text


def fragmented(raw, text, count):
    """A text in so many fragments, as bytes, cut anywhere."""
    cuts = [len(text) * number // count for number in range(count + 1)]
    parts = zip(cuts, cuts[1:])
    return b"".join(
        raw.frame(TEXT if number == 0 else 0, text[start:end], fin=number == count - 1)
        for number, (start, end) in enumerate(parts)
    )


def test_a_text_in_100_000_fragments_takes_time_by_its_length_and_not_by_its_square(hostile, bystander):
    """Twice the fragments, twice the processor time. Where all of a text is checked again with each, it is 30 seconds."""
    text = ("€" * MIB).encode()[: MIB - 1]

    def cost(count):
        raw = hostile.raw("/ws/echo")
        data = fragmented(raw, text, count)
        began = processor_seconds(hostile.server)
        raw.send(data)
        assert raw.receive_message().text == str(len(text))
        raw.close()
        return processor_seconds(hostile.server) - began

    costs = {count: min(cost(count) for _ in range(2)) for count in (50_000, 100_000)}
    assert costs[100_000] < 3 * costs[50_000] + 0.01, costs
    assert costs[100_000] < 1, costs


def test_a_text_that_never_ends_is_refused_at_the_limit_however_small_its_fragments(hostile, bystander):
    raw = hostile.raw("/ws/echo")
    raw.send_frame(TEXT, "x" * (MIB - 1000), fin=False)
    raw.send(raw.frame(0, "x", fin=False) * 1001)
    assert raw.receive_close()[1].code == 1009


def test_frames_of_many_clients_in_small_pieces_hold_nobody_up(hostile, bystander):
    """Fifty clients send their frames in pieces that end within a head, in turn."""
    raws = [hostile.raw("/ws/echo") for _ in range(50)]
    frames = [raw.frame(TEXT, f"{number}" * 100) * 5 for number, raw in enumerate(raws)]
    for start in range(0, max(map(len, frames)), 7):
        for raw, frame in zip(raws, frames):
            raw.send(frame[start : start + 7])
    bystander.served()
    for number, raw in enumerate(raws):
        assert [raw.receive_message().text for _ in range(5)] == [f"{number}" * 100] * 5


def test_what_is_written_while_a_frame_comes_in_spoils_neither(relay, driver):
    """A frame arrives in pieces, and between them the target sends, Pings are answered and heartbeats go."""
    raw = relay.raw_to(driver, fields={"heartbeat_interval": "10ms"})
    client = driver.joined()
    frame = raw.frame(TEXT, "in many pieces" * 100)
    for number, start in enumerate(range(0, len(frame), 100)):
        raw.send(frame[start : start + 100])
        driver.ws_send(client, f"{number}" * 300)
        got = raw.receive_message()
        assert got.text == f"{number}" * 300
    assert driver.message("ws.message")["data"]["data"] == "in many pieces" * 100


def test_a_connection_that_rests_keeps_no_buffer(hostile, bystander):
    """Four hundred clients have had a message of 60 KiB echoed each, and rest: each takes a few KiB, process and all."""

    def talk():
        raw = hostile.raw("/ws/echo")
        raw.send_frame(BINARY, b"x" * 60 * KIB)
        assert len(raw.receive_message().data) == 60 * KIB
        return raw

    # The first ones pay for what all of them share.
    for raw in [talk() for _ in range(100)]:
        raw.close()
    before = resident(hostile.server)
    raws = [talk() for _ in range(400)]
    bystander.served()
    each = (resident(hostile.server) - before) / len(raws)
    assert each < 16 * KIB, f"{each / KIB:.1f} KiB"


def test_a_client_whose_target_does_not_receive_keeps_no_core_busy(hostile, bystander):
    """A target that does not receive: its client's socket is left alone, and the server rests."""
    raw = hostile.raw("/ws/echo")
    raw.send_frame(TEXT, "deaf")
    assert raw.receive_message().text == "I am"
    raw.sock.setblocking(False)
    try:
        while True:
            raw.sock.send(raw.frame(TEXT, "x" * 1000) * 50)
    except BlockingIOError:
        pass
    began, used = time.monotonic(), processor_seconds(hostile.server)
    while time.monotonic() - began < 0.5:
        select.select([], [], [], 0.5)
    assert processor_seconds(hostile.server) - used < 0.25
    raw.reset()
