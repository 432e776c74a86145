"""Handshakes and origins that almost are: a page's disguises, doubled headers, keys that are none."""

import base64

import pytest

from harness.wire import TEXT, RawSocket, handshake, handshake_headers

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def status(lease, path="/ws/echo", host="app.test", extra=(), **changed):
    """The answer to a handshake with these header lines besides."""
    raw = lease.raw()
    raw.send(handshake(path, host, extra, **changed))
    return raw.response()


# Pages that may: they are of the same origin as app.test, in other words.
SAME = ["http://app.test", "http://app.test:80", "http://APP.TEST", "HTTP://app.test", "\thttp://app.test", "http://app.test \t"]

OTHERS = [
    # Port and scheme
    "http://app.test:8080", "http://app.test:65536", "http://app.test:-80", "http://app.test:", "https://app.test",
    "ws://app.test", "//app.test", "app.test", "http:app.test", "http:/app.test", "http:\\\\app.test", "blob:http://app.test",
    # More than an origin
    "http://app.test/", "http://app.test/x", "http://app.test?", "http://app.test#", "http://app.test http://evil.test",
    "http://app.test, http://evil.test", "http://evil.test, http://app.test",
    # Prefix, suffix, dots
    "http://app.test.", "http://.app.test", "http://app..test", "http://app.test.evil.test", "http://evil-app.test",
    "http://xapp.test", "http://app.tes", "http://test", "http://app.test:80.evil.test",
    # A user before the host, and what browsers take for a slash
    "http://user@app.test", "http://app.test@evil.test", "http://app.test:80@evil.test", "http://evil.test\\@app.test",
    "http://app.test\\.evil.test", "http://evil.test#@app.test", "http://evil.test?@app.test",
    # Characters
    "http://app.te\tst", "http://app.te st", "http://app%2etest", "http://app.test%00.evil.test", "http://xn--pp-6kc.test",
    "http://аpp.test".encode(), "http://app。test".encode(), b"http://app.test\xff", b"http://app.test\xc2\xa0",
    # No page at all
    "null", "NULL", "Null", "", "*", "http://*", "http://", "file://", "data:", "about:blank", "http://" + "a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("origin", SAME)
def test_the_same_origin_in_other_words_may_connect(hostile, origin):
    assert status(hostile, extra=["Origin: " + origin]).status == 101


def test_no_disguise_of_an_origin_may_connect(hostile, bystander):
    """One after the other, so that each that gets through is named."""
    through = []
    for origin in OTHERS:
        line = b"Origin: " + (origin if isinstance(origin, bytes) else origin.encode("latin-1"))
        if status(hostile, extra=[line]).status != 403:
            through.append(origin)
    assert through == []


@pytest.mark.parametrize("second", ["http://app.test", "http://evil.test", "null", ""])
def test_two_origin_headers_are_refused_in_either_order(hostile, second):
    for pair in [("http://app.test", second), (second, "http://app.test")]:
        assert status(hostile, extra=[f"Origin: {origin}" for origin in pair]).status == 403


ADDRESSES = {
    # The host as the client used it, a page's origin, and whether they are the same.
    "an_ipv4_address": ("127.0.0.1", "http://127.0.0.1", True),
    "the_same_as_a_number": ("127.0.0.1", "http://2130706433", False),
    "the_same_in_short": ("127.0.0.1", "http://127.1", False),
    "the_same_in_octal": ("127.0.0.1", "http://0177.0.0.1", False),
    "the_same_by_name": ("127.0.0.1", "http://localhost", False),
    "the_same_as_ipv6": ("127.0.0.1", "http://[::ffff:127.0.0.1]", False),
    "an_ipv6_address": ("[::1]:8080", "http://[::1]:8080", True),
    "the_same_in_full": ("[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080", True),
    "the_same_with_a_zone": ("[::1]:8080", "http://[::1%25eth0]:8080", False),
    "the_same_without_brackets": ("[::1]:8080", "http://::1:8080", False),
    "the_same_on_the_default_port": ("[::1]:8080", "http://[::1]", False),
    "another_ipv6_address": ("[::1]:8080", "http://[::2]:8080", False),
}


@pytest.mark.parametrize("how", ADDRESSES)
def test_addresses_are_compared_as_addresses_and_never_with_names(hostile, how):
    host, origin, same = ADDRESSES[how]
    assert status(hostile, host=host, extra=["Origin: " + origin]).status == (101 if same else 403)


# wsrelay.allowed.origins: https://app.example.com, https://*.example.org, http://[2001:db8::1]:8080
LISTED = [
    "https://app.example.com", "https://app.example.com:443", "https://x.example.org", "https://x.y.example.org",
    "https://x.example.org:443", "http://[2001:db8::1]:8080", "http://[2001:DB8:0:0::1]:8080",
]  # fmt: skip
UNLISTED = [
    "https://app.example.com.", "https://app.example.com.evil.test", "https://evilapp.example.com", "https://example.org",
    "https://.example.org", "https://..example.org", "https://x..example.org", "https://xexample.org",
    "https://x.example.org.evil.test", "https://x.example.org:8443", "http://x.example.org", "https://*.example.org",
    "https://evil.test/.example.org", "https://evil.test?.example.org", "https://evil.test#.example.org",
    "https://evil.test\\.example.org", "https://evil@x.example.org", "https://evil.test%2f.example.org",
    "https://evil.test%00.example.org", "https://evil.test:x.example.org", "http://[2001:db8::2]:8080",
    "http://[2001:db8::1]", "http://[2001:db8::1]:8080.example.org",
]  # fmt: skip


def test_patterns_let_in_what_they_name_and_nothing_that_resembles_it(hostile, bystander):
    answers = {origin: status(hostile, "/patterns/echo", extra=["Origin: " + origin]).status for origin in LISTED + UNLISTED}
    assert answers == {**dict.fromkeys(LISTED, 101), **dict.fromkeys(UNLISTED, 403)}


def test_cors_headers_let_no_page_in(hostile):
    """CORS layers do not protect WebSockets: whatever a preflight is told, the handshake decides by itself."""
    asks = ["Origin: http://evil.test", "Access-Control-Request-Method: GET", "Sec-Fetch-Site: same-origin"]
    answer = status(hostile, extra=asks)
    assert (answer.status, answer.header("access-control-allow-origin")) == (403, None)
    wire = hostile.wire()
    answer = wire.request("OPTIONS", "/ws/echo", dict(line.split(": ") for line in asks))
    assert answer.header("access-control-allow-origin") is None


# The other headers

DOUBLED = {
    "key_with_itself": ([f"Sec-WebSocket-Key: {KEY}"], 400),
    "key_in_other_letters": ([f"SEC-WEBSOCKET-KEY: {KEY}"], 400),
    "version": (["Sec-WebSocket-Version: 13"], 400),
    "version_with_another": (["Sec-WebSocket-Version: 8"], 400),
    "host": (["Host: app.test"], 400),
    # These are lists, and two headers are one list (RFC 6455 sections 9.1 and 11.3.4).
    "upgrade": (["Upgrade: websocket"], 101),
    "connection": (["Connection: keep-alive"], 101),
    "extensions": (["Sec-WebSocket-Extensions: x-one", "Sec-WebSocket-Extensions: x-two; a=1"], 101),
    "protocol": (["Sec-WebSocket-Protocol: other", "Sec-WebSocket-Protocol: chat.v1"], 101),
}


@pytest.mark.parametrize("what", DOUBLED)
def test_a_doubled_header_is_refused_unless_it_is_a_list(hostile, what):
    extra, expected = DOUBLED[what]
    answer = status(hostile, extra=extra, Sec_WebSocket_Key=KEY)
    assert answer.status == expected
    if what == "protocol":
        assert answer.header("sec-websocket-protocol") == "chat.v1"
    if what == "extensions":
        assert answer.header("sec-websocket-extensions") is None


BAD_KEYS = {
    "empty": "",
    "15_bytes": base64.b64encode(b"x" * 15).decode(),
    "17_bytes": base64.b64encode(b"x" * 17).decode(),
    "18_bytes": base64.b64encode(b"x" * 18).decode(),
    "without_padding": KEY[:-2],
    "padded_once": KEY[:-1],
    "padded_in_the_middle": "dGhlIHNhbXBs==ZSBub25jZQ",
    "of_another_alphabet": "dGhlIHNhbXBsZSBub25j-_==",
    "two_in_one": f"{KEY}, {KEY}",
    "with_a_space_inside": "dGhlIHNhbXBsZSBub25 ZQ==",
    "of_a_kilobyte": "A" * 1024,
}


@pytest.mark.parametrize("how", BAD_KEYS)
def test_a_key_that_is_not_16_bytes_in_base64_is_400(hostile, how):
    assert status(hostile, Sec_WebSocket_Key=BAD_KEYS[how]).status == 400


@pytest.mark.parametrize("version", ["12", "14", "0", "", "013", "13.0", "+13", "13, 8", "8, 13", "0xd"])
def test_a_version_other_than_13_is_426_with_the_right_one(hostile, version):
    answer = status(hostile, Sec_WebSocket_Version=version)
    assert (answer.status, answer.header("sec-websocket-version")) == (426, "13")


@pytest.mark.parametrize(
    "offered", ["CHAT.V1", "chat.v", "chat.v11", "chat.v1 chat.v2", "chat.v1;q=1", "x" * 4000, ", ,", "chat.v1\x0b"]
)
def test_a_subprotocol_that_is_not_offered_is_not_selected(hostile, offered):
    answer = status(hostile, Sec_WebSocket_Protocol=offered)
    assert answer.header("sec-websocket-protocol") is None


EXTENSIONS = ["x-unknown", "permessage-deflate;", ";;;", "=", '"', "a=" + "b" * 4000, "permessage-deflate; " * 200, ","]


@pytest.mark.parametrize("offer", EXTENSIONS, ids=range(len(EXTENSIONS)))
def test_an_offer_of_extensions_that_makes_no_sense_ends_in_a_connection_without_or_in_400(hostile, offer):
    raw = RawSocket(hostile.address())
    raw.send(handshake("/ws/echo", Sec_WebSocket_Extensions=offer))
    answer = raw.response()
    assert answer.status in (101, 400)
    if answer.status == 101:
        assert answer.header("sec-websocket-extensions") is None
        raw.send_frame(TEXT, "plain")
        assert raw.receive_message().text == "plain"
    raw.close()


def test_a_handshake_may_carry_as_much_as_any_head_and_no_more(hostile):
    raw = hostile.raw("/ws/echo", {**handshake_headers(), "Cookie": "c" * 30_000})
    raw.send_frame(TEXT, "in")
    assert raw.receive_message().text == "in"
    # 64 KiB, and what was read with the last of them.
    answer = status(hostile, extra=["Cookie: " + "c" * 140_000])
    assert answer.status == 431
