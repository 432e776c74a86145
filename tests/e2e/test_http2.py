"""HTTP/2 as a well-behaved client uses it: what HTTP/1 promises is promised here as well.

What no such client does is in test_http2_rules.py and test_http2_abuse.py, WebSockets in test_http2_websocket.py.
"""

import json
import subprocess

import pytest

from harness import tls
from harness.http2 import CONNECT_PROTOCOL, Http2, Reset
from harness.lease import script

pytestmark = pytest.mark.skipif(tls.EVERYWHERE, reason="prior knowledge is for cleartext")
APP = {"services": ("app:gateway", "app:strict")}


@pytest.fixture
def http(server):
    return server("http", **APP)


def connect(lease, service="app:gateway", **options):
    client = Http2(lease.address(service), **options)
    lease.opened.callback(client.close)
    return client


def steps(*list_of_steps):
    from urllib.parse import urlencode

    return "/api/respond?" + urlencode({"do": json.dumps(list_of_steps)})


def test_a_request_is_answered_over_cleartext_with_prior_knowledge(http):
    client = connect(http)
    answer = client.request("GET", "/api/describe?x=1", {"X-Test": "yes"})
    seen = answer.json()
    assert (answer.status, seen["method"], seen["path"], seen["query_x"]) == (200, "GET", "/api/describe", "1")
    assert (seen["header_lower"], seen["header_upper"]) == ("yes", "yes")
    assert seen["host"] == client.authority == seen["headers"]["host"]
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("date")


def test_the_server_announces_websockets_over_http2(http):
    client = connect(http)
    assert client.h2.remote_settings[CONNECT_PROTOCOL] == 1


def test_a_preface_that_comes_byte_by_byte_is_one(http):
    wire = http.wire()
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":
        wire.send(bytes([byte]))
    wire.send(b"\0\0\0\4\0\0\0\0\0")
    assert wire.exactly(9)[3] == 4, "SETTINGS"


@pytest.mark.parametrize("start", ["P", "PR", "PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"])
def test_what_only_begins_like_the_preface_is_http_1(http, start):
    wire = http.wire()
    wire.send(start)
    wire.send("OPFIND / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert wire.until_end()[:9] in (b"HTTP/1.1 ", b"")


def test_http_1_requests_that_begin_with_p_are_answered(http):
    wire = http.wire()
    for method in ("POST", "PUT", "PATCH"):
        assert wire.request(method, "/api/describe", body=b"some").json()["body"] == "some"


def test_http_1_that_comes_byte_by_byte_is_answered(http):
    wire = http.wire()
    for byte in b"GET /api/describe HTTP/1.1\r\nHost: a\r\n\r\n":
        wire.send(bytes([byte]))
    assert wire.response().status == 200


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 65535, 65536])
def test_bodies_arrive_whole(http, size):
    body = bytes(index % 251 for index in range(size))
    seen = connect(http).request("POST", "/api/describe", body=body).json()
    assert seen["body_length"] == size


def test_a_body_without_a_length_arrives_whole(http):
    client = connect(http)
    number = client.start("POST", "/api/describe", ends=False)
    for piece in (b"one ", b"two ", b"three"):
        client.send(number, piece)
    client.send(number, b"", ends=True)
    seen = client.response(number).json()
    assert (seen["body"], seen["has_body"]) == ("one two three", True)


def test_a_body_of_many_small_frames_arrives_whole(http):
    client = connect(http)
    number = client.start("POST", "/api/describe", ends=False)
    for _ in range(5000):
        client.send(number, b"x")
    client.send(number, b"", ends=True)
    assert client.response(number).json()["body_length"] == 5000


def test_trailers_end_a_body(http):
    client = connect(http)
    number = client.start("POST", "/api/describe", {"trailer": "x-sum"}, ends=False)
    client.send(number, b"some")
    client.h2.send_headers(number, [("x-sum", "1")], end_stream=True)
    client.flush()
    assert client.response(number).json()["body"] == "some"


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_413_and_the_connection_serves_on(http, announced):
    client = connect(http)
    body = b"x" * (65536 + 1)
    number = client.start("POST", "/api/describe", {"content-length": str(len(body))} if announced else (), ends=False)
    try:
        client.send(number, body, ends=True)
    except (Reset, ValueError, h2_errors()):
        pass
    answer = client.streams[number]
    while answer.status is None:
        client.pump()
    assert answer.status == 413
    assert client.request("GET", "/api/describe").status == 200


def h2_errors():
    import h2.exceptions

    return h2.exceptions.ProtocolError


def test_expect_continue_is_answered_with_100(http):
    client = connect(http)
    number = client.start("POST", "/api/describe", {"expect": "100-continue"}, ends=False)
    while not client.streams[number].informational:
        client.pump()
    client.send(number, b"now", ends=True)
    assert client.response(number).json()["body"] == "now"
    assert client.streams[number].informational == ["100"]


def test_a_large_answer_comes_whole_and_others_in_between(http):
    client = connect(http, acknowledges=False)
    client.h2.increment_flow_control_window(1 << 20)
    large = client.start("GET", steps(["write_much", 3_000_000]))
    assert client.head(large) == 200
    # Its window is used up by now or soon: others have theirs.
    assert client.request("GET", "/api/describe").status == 200
    client.acknowledges = True
    client.acknowledge(large)
    assert client.response(large).body == b"x" * 3_000_000


def test_files_are_sent_and_head_has_no_body(http):
    client = connect(http)
    page = client.request("GET", "/files/")
    assert b"<title>index" in page.body
    head = client.request("HEAD", "/files/")
    assert (head.body, head.header("content-length")) == (b"", str(len(page.body)))
    again = client.request("GET", "/files/", {"if-none-match": page.header("etag")})
    assert (again.status, again.body) == (304, b"")
    part = client.request("GET", "/files/", {"range": "bytes=0-3"})
    assert (part.status, part.body) == (206, page.body[:4])


def test_a_head_request_of_a_handler_has_the_length_and_no_body(http):
    head = connect(http).request("HEAD", "/api/describe")
    assert head.status == 200 and head.body == b"" and int(head.header("content-length")) > 0


def test_answers_have_no_headers_of_connections(http):
    client = connect(http)
    answer = client.request(
        "GET",
        steps(
            ["header", "Connection", "close, X-Hop"],
            ["header", "X-Hop", "1"],
            ["header", "Keep-Alive", "timeout=5"],
            ["header", "Transfer-Encoding", "chunked"],
            ["header", "Upgrade", "h2c"],
            ["header", "Proxy-Connection", "close"],
            ["header", "X-End", "1"],
            ["write", "yes"],
        ),
    )
    names = {name for name, _ in answer.raw_headers}
    assert answer.body == b"yes" and "x-end" in names
    assert not names & {"connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"}


def test_cookies_in_several_headers_are_one(http):
    seen = connect(http).request("GET", "/api/describe", [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]).json()
    assert seen["headers"]["cookie"] == "a=1; b=2; c=3"


def test_statuses_are_those_of_http_1(http):
    client = connect(http)
    assert client.request("GET", "/nowhere").status == 404
    answer = client.request("DELETE", "/api/respond")
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD, OPTIONS, POST")
    assert client.request("OPTIONS", "/api/respond").status == 204
    assert client.request("GET", "/api/%zz").status == 400
    assert client.request("GET", "/api/describe?" + "x" * 9000).status == 414
    assert client.request("GET", "/api/fail").status == 500


def test_an_authority_or_a_host_header_is_asked_for_and_both_must_agree(http):
    client = connect(http)
    assert client.request("GET", "/api/describe", {"host": client.authority}).status == 200
    assert client.request("GET", "/api/describe", authority="user@example.com").status == 400
    assert client.request("GET", "/api/describe", scheme="ftp").status == 400


def test_a_request_with_too_many_headers_is_431(http):
    client = connect(http)
    assert client.request("GET", "/api/describe", [(f"x-{index}", "1") for index in range(200)]).status == 431
    big = [(f"x-{index}", "v" * 1000) for index in range(70)]
    assert client.request("GET", "/api/describe", big).status == 431
    assert client.request("GET", "/api/describe").status == 200


def test_plain_connect_and_unknown_protocols_are_501(http):
    client = connect(http)
    number = client.h2.get_next_available_stream_id()
    client.streams[number] = type(client.streams[None])()
    client.h2.send_headers(number, [(":method", "CONNECT"), (":authority", "example.com:443")])
    client.flush()
    assert client.response(number).status == 501
    assert client.websocket("/api/describe", expect=501, protocol="connect-udp").status == 501


def test_many_streams_at_once_are_all_answered(http):
    client = connect(http)
    numbers = [client.start("GET", f"/api/items/{index}") for index in range(100)]
    assert [client.response(number).json()["id"] for number in numbers] == [str(index) for index in range(100)]
    for index in range(500):
        assert client.request("GET", f"/api/items/{index}").json()["id"] == str(index)


def test_a_slow_handler_holds_up_no_other_stream(http):
    client = connect(http, service="app:strict")
    slow = client.start("GET", "/api/hang")
    assert client.request("GET", "/api/describe").status == 200
    assert client.streams[slow].status is None
    assert client.response(slow).status == 504


def test_a_body_that_does_not_come_is_408(http):
    client = connect(http, service="app:strict")
    number = client.start("POST", "/api/describe", ends=False)
    client.send(number, b"half")
    assert client.response(number).status == 408


def test_an_idle_connection_is_told_goodbye_and_closed(http):
    client = connect(http, service="app:strict")
    assert client.request("GET", "/api/describe").status == 200
    assert client.until_over() == 0


def test_a_connection_that_never_asks_is_closed_as_idle(http):
    assert connect(http, service="app:strict").until_over() == 0


@pytest.mark.parametrize("sent", [b"P", b"PRI * HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
def test_a_preface_that_is_not_gone_on_with_is_closed(http, sent):
    wire = http.wire(service="app:strict")
    wire.send(sent)
    wire.until_end()


def test_a_client_that_is_not_interested_any_more_costs_nothing(http):
    client = connect(http, service="app:strict")
    for count in range(300):
        client.reset_stream(client.start("GET", "/api/hang"))
        if count % 50 == 0:
            client.ping()
    assert client.request("GET", "/api/describe").status == 200


def test_a_stop_lets_requests_end_and_takes_no_more(own_server):
    lease = own_server("relay", shards=1, services=("app:gateway", "app:proxied", "app:hasty"))
    client, idle = connect(lease), connect(lease)
    number = client.start("GET", script("ws", [["sleep", "500ms"], ["write", "done"]]))
    client.ping()
    lease.server.terminate()
    assert client.response(number).body == b"done"
    assert client.until_over() == 0
    assert idle.until_over() == 0
    assert lease.server.wait() == 0


def test_http2_connections_are_counted(http):
    def counted():
        line = next(line for line in http.server.metrics().splitlines() if "http2_connections_total{" in line)
        return int(float(line.split()[-1]))

    before = counted()
    connect(http).request("GET", "/api/describe")
    http.http("GET", "/api/describe")
    assert counted() == before + 1


def test_curl_speaks_http2_with_it(http):
    url = "http://%s:%d/api/describe" % http.address()
    done = subprocess.run(
        ["curl", "-s", "-m", "20", "--http2-prior-knowledge", "-w", "%{http_version}", "-d", "x" * 60000, url],
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith("2") and '"body_length":60000' in done.stdout, done
