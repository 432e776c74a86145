"""Issue "The documents' WebSocket relay runs end to end", item 4: HTTP."""

import json
import subprocess
import time
from urllib.parse import quote, urlencode

import pytest


@pytest.fixture
def web(server):
    return server("http", shards=2, services=("app:gateway", "app:strict"))


def described(web, method="GET", path="/api/describe", headers=None, body=None):
    answer = web.http(method, path, headers, body)
    assert answer.status == 200, answer.body
    return answer.json()


def responded(web, *steps, method="GET"):
    return web.http(method, "/api/respond?" + urlencode({"do": json.dumps(steps)}))


# The request


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_request_method(web, method):
    assert described(web, method)["method"] == method


def test_request_path_is_without_the_query(web):
    assert described(web, path="/api/describe?x=1")["path"] == "/api/describe"


def test_request_query_is_percent_decoded_and_nil_when_missing(web):
    found = described(web, path="/api/describe?" + urlencode({"x": "grüße & mehr"}))
    assert found["query_x"] == "grüße & mehr"
    assert found["query_missing"] is True


def test_request_query_params_is_a_table_of_them_all(web):
    assert described(web, path="/api/describe?x=1&y=two+words")["query_params"] == {
        "x": "1",
        "y": "two words",
    }


def test_request_header_is_case_insensitive_and_nil_when_missing(web):
    found = described(web, headers={"X-Test": "seen"})
    assert (found["header_lower"], found["header_upper"]) == ("seen", "seen")
    assert found["header_missing"] is True


def test_request_headers_is_a_table_of_them_all(web):
    headers = {
        name.lower(): value for name, value in described(web, headers={"X-Test": "seen"})["headers"].items()
    }
    assert headers["x-test"] == "seen"
    assert "host" in headers


def test_request_param_takes_a_path_parameter(web):
    found = described(web, path="/api/items/42")
    assert (found["id"], found["params"]) == ("42", {"id": "42"})
    assert found["param_missing"] is True


def test_request_params_are_percent_decoded(web):
    assert described(web, path="/api/items/" + quote("a b/ü", safe=""))["id"] == "a b/ü"


def test_request_params_has_all_of_several(web):
    assert described(web, path="/api/items/7/parts/9")["params"] == {"id": "7", "part": "9"}


def test_request_param_takes_the_rest_of_a_path(web):
    assert described(web, path="/api/tree/a/b/c.txt")["rest"] == "a/b/c.txt"


def test_a_fixed_path_goes_before_a_parameter(web):
    assert web.http("GET", "/api/items/new").body == b""


def test_request_body_and_has_body(web):
    found = described(web, "POST", body="hello")
    assert (found["has_body"], found["body"], found["body_length"]) == (True, "hello", 5)
    assert described(web, "POST")["has_body"] is False


def test_request_body_is_bytes(web):
    assert described(web, "POST", body=b"\x00\xff\xfe")["body_length"] == 3


def test_request_body_json_decodes(web):
    found = described(web, "POST", "/api/describe?json=1", body='{"a": [1, true, "x"]}')
    assert found["json"] == {"a": [1, True, "x"]}


def test_request_body_json_of_rubbish_is_an_error_and_no_crash(web):
    found = described(web, "POST", "/api/describe?json=1", body="{not json")
    assert found["json_error"]["kind"] == "Invalid"


def test_request_content_type_and_content_length(web):
    found = described(web, "POST", headers={"Content-Type": "text/plain; charset=utf-8"}, body="hello")
    assert found["content_type"] == "text/plain; charset=utf-8"
    assert found["content_length"] == 5


def test_request_host_and_remote_addr(web):
    found = described(web, headers={"Host": "app.test:8080"})
    assert found["host"] == "app.test:8080"
    assert found["remote_addr"].startswith("127.0.0.1")


def test_request_body_may_be_chunked(web):
    wire = web.wire()
    wire.send("POST /api/describe HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire.send("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert wire.response().json()["body"] == "abcde"


# The response


def test_response_set_status_in_any_order(web):
    assert responded(web, ["set_status", 201], ["write", "a"]).status == 201
    assert responded(web, ["write", "a"], ["set_status", 404]).status == 404


def test_response_header_and_set_header_in_any_order(web):
    answer = responded(web, ["write", "a"], ["header", "X-One", "1"], ["set_header", "X-Two", "2"])
    assert (answer.header("x-one"), answer.header("x-two")) == ("1", "2")


def test_response_set_content_type(web):
    assert (
        responded(web, ["write", "a"], ["set_content_type", "text/csv"]).header("content-type") == "text/csv"
    )


def test_response_write_adds_up(web):
    assert responded(web, ["write", "a"], ["write", "b"], ["write", "c"]).body == b"abc"


def test_response_write_takes_bytes(web):
    assert responded(web, ["write_bytes"]).body == b"\x00\x01\xfe\xff"


def test_response_write_json_sets_the_content_type(web):
    answer = responded(web, ["write_json", {"b": 1, "a": [True]}])
    assert answer.body == b'{"a":[true],"b":1}'
    assert answer.header("content-type").startswith("application/json")


def test_response_of_nothing_is_an_empty_200(web):
    answer = responded(web)
    assert (answer.status, answer.body) == (200, b"")


def test_response_is_buffered_and_has_its_length(web):
    answer = responded(web, ["write_much", 300_000])
    assert len(answer.body) == 300_000
    assert answer.header("content-length") == "300000"


def test_response_header_takes_no_line_break(web):
    """No header can be smuggled in by a value."""
    answer = responded(web, ["raise_from", "X-One", "a\r\nX-Two: b"])
    assert answer.header("x-two") is None
    assert b"taken" not in answer.body


def test_response_two_cookies_are_two_headers(web):
    """`header` replaces; only what a browser needs twice is open, so either is right."""
    answer = responded(web, ["header", "Set-Cookie", "a=1"], ["header", "Set-Cookie", "b=2"])
    cookies = [value for name, value in answer.raw_headers if name == "set-cookie"]
    assert cookies[-1] == "b=2"


def test_http_status_and_method_are_constants(web):
    assert web.http("GET", "/api/constants").json() == {
        "ok": 200,
        "created": 201,
        "not_found": 404,
        "internal": 500,
        "get": "GET",
        "post": "POST",
    }


# Handlers are processes


def test_a_handler_is_a_process_with_an_inbox_of_its_own(web):
    first, second = (web.http("GET", "/api/inbox").json() for _ in range(2))
    assert (first["topic"], first["data"]) == ("self", "hello")
    assert first["pid"] != second["pid"]


def test_nothing_survives_a_handler(web):
    for _ in range(4):
        assert "kept_before" not in web.http("GET", "/api/inbox").json()


def test_an_error_in_a_handler_is_a_500_with_a_request_id_and_the_traceback_only_in_the_log(web):
    answer = web.http("GET", "/api/fail")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"never seen" not in answer.body
    assert b"handlers.luau" not in answer.body
    number = answer.header("x-request-id")
    assert number
    record = web.wait_log(lambda record: record["level"] == "error" and record.says("secret of the handler"))
    assert record.says("handlers.luau"), "the traceback"
    web.wait_log(lambda record: record.says(number), what="the request id that the client saw")


# Keep-alive, HEAD, routes


def test_keep_alive_serves_many_requests_on_one_connection(web):
    wire = web.wire()
    for number in range(20):
        assert wire.request("GET", f"/api/items/{number}").json()["id"] == str(number)


def test_keep_alive_survives_an_error(web):
    wire = web.wire()
    assert wire.request("GET", "/api/fail").status == 500
    assert wire.request("GET", "/api/describe").status == 200


def test_keep_alive_serves_pipelined_requests_in_order(web):
    wire = web.wire()
    wire.send("".join(f"GET /api/items/{n} HTTP/1.1\r\nHost: a\r\n\r\n" for n in range(5)))
    assert [wire.response().json()["id"] for _ in range(5)] == ["0", "1", "2", "3", "4"]


def test_connection_close_closes(web):
    wire = web.wire()
    wire.request("GET", "/api/describe", {"Connection": "close"})
    assert wire.ended()


def test_http_1_0_is_answered_and_closed(web):
    wire = web.wire()
    wire.send("GET /api/describe HTTP/1.0\r\nHost: a\r\n\r\n")
    assert wire.response().status == 200
    assert wire.ended()


def test_curl_agrees(web):
    url = "http://%s:%d/api/items/42" % web.address()
    out = subprocess.run(["curl", "-sS", "--max-time", "10", url], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout)["id"] == "42"


def test_head_is_a_get_without_a_body(web):
    wire = web.wire()
    answer = wire.request("HEAD", "/api/respond?" + urlencode({"do": '[["write","12345"]]'}))
    assert (answer.status, answer.header("content-length"), answer.body) == (200, "5", b"")
    assert wire.request("GET", "/api/describe").status == 200, "no body was left on the connection"


def test_an_unknown_path_is_404(web):
    assert web.http("GET", "/nowhere").status == 404
    assert web.http("GET", "/api/nowhere").status == 404


def test_a_known_path_with_another_method_is_405_with_allow(web):
    answer = web.http("POST", "/api/items/42")
    assert answer.status == 405
    assert "GET" in answer.header("allow")


# Static files


def test_static_files_have_their_content_type(web):
    answer = web.http("GET", "/files/assets/style.css")
    assert (answer.status, answer.body) == (200, b"body { color: black }\n")
    assert answer.header("content-type").startswith("text/css")


def test_static_folders_answer_with_their_index(web):
    answer = web.http("GET", "/files/")
    assert b"<title>index</title>" in answer.body
    assert answer.header("content-type").startswith("text/html")


def test_static_missing_files_are_404(web):
    assert web.http("GET", "/files/missing.css").status == 404


def test_static_spa_answers_unknown_paths_with_the_index(web):
    assert b"<title>index</title>" in web.http("GET", "/spa/some/route").body


@pytest.mark.parametrize(
    "path",
    [
        "/files/../_index.yaml",
        "/files/%2e%2e/_index.yaml",
        "/files/..%2f_index.yaml",
        "/files/assets/../../_index.yaml",
    ],
)
def test_static_files_stay_inside_their_folder(web, path):
    answer = web.wire().request("GET", path)
    assert answer.status in (400, 403, 404)
    assert b"namespace" not in answer.body


def test_static_head_has_the_length_and_no_body(web):
    answer = web.wire().request("HEAD", "/files/assets/style.css")
    assert (answer.status, answer.header("content-length"), answer.body) == (200, "22", b"")


# Limits and timeouts


def test_408_for_a_header_that_never_ends(web):
    wire = web.wire(service="app:strict")
    wire.send("GET /api/describe HTTP/1.1\r\nHost: a\r\n")
    began = time.monotonic()
    rest = wire.until_end()
    assert rest == b"" or b" 408 " in rest.split(b"\r\n")[0]
    assert 0.2 < time.monotonic() - began < 5


def test_408_for_a_body_that_never_ends(web):
    wire = web.wire(service="app:strict")
    wire.send("POST /api/describe HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    assert wire.response().status == 408


def test_408_is_not_cheated_by_a_byte_now_and_then(web):
    """The header's time is for the whole of it."""
    wire = web.wire(service="app:strict")
    wire.send("GET /api/describe HTTP/1.1\r\n")
    wire.sock.settimeout(0.1)
    began = time.monotonic()
    while time.monotonic() - began < 8:
        try:
            wire.send("X: y\r\n")
            wire._more()
        except TimeoutError:
            continue
        except (EOFError, OSError):
            break
    assert time.monotonic() - began < 5


def test_an_idle_connection_is_closed(web):
    wire = web.wire(service="app:strict")
    assert wire.request("GET", "/api/describe").status == 200
    began = time.monotonic()
    assert wire.ended()
    assert time.monotonic() - began < 5


def test_413_for_a_body_beyond_the_limit(web):
    assert web.http("POST", "/api/describe", body="x" * 1024, service="app:strict").status == 200
    wire = web.wire(service="app:strict")
    wire.send("POST /api/describe HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n")
    assert wire.response().status == 413


def test_413_for_a_chunked_body_beyond_the_limit(web):
    wire = web.wire(service="app:strict")
    wire.send("POST /api/describe HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire.send("401\r\n" + "x" * 1025 + "\r\n0\r\n\r\n")
    assert wire.response().status == 413


def test_431_for_too_large_a_header(web):
    wire = web.wire()
    try:
        wire.send("GET /api/describe HTTP/1.1\r\nHost: a\r\nX-Big: " + "x" * 1_000_000 + "\r\n\r\n")
    except OSError:
        pass  # the server need not read it all
    assert wire.response().status == 431


def test_431_for_too_many_headers(web):
    wire = web.wire()
    many = "".join(f"X-{number}: y\r\n" for number in range(1000))
    wire.send("GET /api/describe HTTP/1.1\r\nHost: a\r\n" + many + "\r\n")
    assert wire.response().status == 431


def test_400_for_what_is_no_http(web):
    wire = web.wire()
    wire.send("\x00\x01\x02 rubbish\r\n\r\n")
    rest = wire.until_end()
    assert rest == b"" or b" 400 " in rest.split(b"\r\n")[0]


@pytest.mark.parametrize("how", ["hang", "spin"])
def test_504_for_a_handler_that_never_returns_and_its_process_is_ended(web, how):
    answer = web.http("GET", f"/api/{how}", service="app:strict")
    assert answer.status == 504
    web.wait_fault(f"app:strict_{how}")


def test_504_leaves_the_service_able_to_answer(web):
    wire = web.wire(service="app:strict")
    assert wire.request("GET", "/api/hang").status == 504
    assert web.http("GET", "/api/describe", service="app:strict").status == 200


def test_a_client_that_goes_away_ends_its_handler(web):
    """Nobody waits for the answer any more; the counters show it at the test's end."""
    wire = web.wire(service="app:strict")
    wire.send("GET /api/hang HTTP/1.1\r\nHost: a\r\n\r\n")
    wire.reset()
