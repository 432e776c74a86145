"""Configuration: every mistake at once with its place, `check`, `--set`, `${env:}`."""

import re

import pytest

from harness.folders import GOOD
from harness.server import EXAMPLES, Server, moonwire
from harness.wire import fetch


def line_of(folder, text, name="_index.yaml"):
    """The number of the line that holds this text."""
    for number, line in enumerate((folder / name).read_text().splitlines(), 1):
        if text in line:
            return number
    raise AssertionError(f"no line has {text!r}")


def refused(folder, command="check", **options):
    out = moonwire(command, folder, **options)
    assert out.returncode == 2, (out.returncode, out.stdout, out.stderr)
    return out.stdout + out.stderr


# Mistakes


FIVE = """\
version: "1.0"
namespace: app
entries:
  - name: gateway
    kind: http.servise
    addr: 127.0.0.1:0

  - name: second
    kind: http.service
    adr: 127.0.0.1:0

  - name: ws
    kind: http.router
    meta: { server: secnd }
    prefix: /ws
    post_middleware: [websocket_rely]

  - name: hello
    kind: http.endpoint
    meta: { router: ws }
    method: GET
    path: /hello
    func: handlr

  - name: handler
    kind: function.lua
    source: file://handler.luau
    method: handler
    modules: [http]
"""

MISTAKES = {
    "kind": ("http.servise", "http.service"),
    "field": ("adr:", "addr"),
    "server": ("secnd", "second"),
    "middleware": ("websocket_rely", "websocket_relay"),
    "function": ("handlr", "handler"),
}


@pytest.mark.parametrize("command", ["check", "run"])
def test_five_mistakes_are_all_listed_with_file_line_and_nearest_name_and_exit_code_2(folder, command):
    app = folder(FIVE)
    text = refused(app, command)
    for wrong, right in MISTAKES.values():
        line = line_of(app, wrong)
        assert f"_index.yaml:{line}" in text, (wrong, text)
        assert wrong.rstrip(":") in text
        assert right in text


def test_nothing_listens_when_the_folder_has_a_mistake(folder):
    out = moonwire("run", folder(FIVE))
    assert "listening on" not in out.stdout
    assert "ready" not in out.stdout


def relay_option(line):
    return GOOD.replace("wsrelay.max.message: 64KiB", line)


BAD_OPTIONS = {
    "unknown_option": ("wsrelay.max.mesage: 64KiB", ["wsrelay.max.message"]),
    "unknown_option_of_no_family": ("relay.origins: x", ["relay.origins"]),
    "bad_size": ("wsrelay.max.message: 64KB", ["64KB"]),
    "negative_size": ("wsrelay.send.buffer: -1", ["-1"]),
    "bad_policy": ("wsrelay.slow.policy: drop_oldst", ["drop_oldst", "drop_oldest"]),
    "bad_duration": ("wsrelay.ping.interval: soon", ["soon"]),
    "bare_duration": ("wsrelay.ping.timeout: 20", ["20"]),
    "bad_origin": ("wsrelay.allowed.origins: app.example.com", ["app.example.com"]),
    "bad_origin_with_path": ('wsrelay.allowed.origins: "https://app.example.com/chat"', ["/chat"]),
    "bad_count": ("wsrelay.max.connections: many", ["many"]),
    "bad_rate": ("wsrelay.rate.messages: -3", ["-3"]),
    "bad_compression": ("wsrelay.compression: of", ["off"]),
}


@pytest.mark.parametrize("fault", BAD_OPTIONS)
def test_a_bad_relay_option_names_file_line_entry_and_nearest_name(folder, fault):
    option, words = BAD_OPTIONS[fault]
    app = folder(relay_option(option))
    text = refused(app)
    assert f"_index.yaml:{line_of(app, option)}" in text
    assert re.search(r"app:ws\b|\bws\b", text)
    for word in words:
        assert word in text


@pytest.mark.parametrize("value", ["on", "true", '"on"', "takeover", "off", "false", '"off"'])
def test_compression_on_and_off_may_be_yaml_booleans(folder, value):
    assert moonwire("check", folder(relay_option(f"wsrelay.compression: {value}"))).returncode == 0


@pytest.mark.parametrize("size", ["1KiB", "1MiB", "1GiB", "2000", '"2000"'])
def test_sizes_are_kib_mib_gib_or_plain_bytes(folder, size):
    assert moonwire("check", folder(relay_option(f"wsrelay.max.message: {size}"))).returncode == 0


ONE_MISTAKE = {
    "not_yaml": (GOOD + "  - name: [\n", []),
    "duplicate_id": (GOOD + "\n  - name: handler\n    kind: process.host\n", ["handler"]),
    "missing_source": (GOOD.replace("handler.luau", "handlr.luau"), ["handlr.luau"]),
    "source_outside": (GOOD.replace("file://handler.luau", "file://../handler.luau"), ["../handler.luau"]),
    "unknown_module": (GOOD.replace("[http]", "[htp]"), ["htp", "http"]),
    "unknown_method_of_http": (GOOD.replace("method: GET", "method: GTE"), ["GTE", "GET"]),
    "missing_field": (GOOD.replace("    func: handler\n", ""), ["func"]),
    "wrong_kind_referenced": (GOOD.replace("func: handler", "func: ws"), ["ws"]),
    "two_routes_alike": (
        GOOD + "\n  - name: twin\n    kind: http.endpoint\n    meta: { router: ws }\n    method: GET\n"
        "    path: /hello\n    func: handler\n",
        ["/ws/hello"],
    ),
    "bad_timeout": (
        GOOD.replace("addr: 127.0.0.1:0", "addr: 127.0.0.1:0\n    timeouts: { request: soon }"),
        ["soon"],
    ),
    "unknown_timeout": (
        GOOD.replace("addr: 127.0.0.1:0", "addr: 127.0.0.1:0\n    timeouts: { reqest: 1s }"),
        ["reqest", "request"],
    ),
    "bad_address": (GOOD.replace("127.0.0.1:0", "not an address"), ["not an address"]),
}


@pytest.mark.parametrize("fault", ONE_MISTAKE)
def test_a_mistake_is_refused_with_what_was_found(folder, fault):
    index, words = ONE_MISTAKE[fault]
    text = refused(folder(index))
    assert re.search(r"_index\.yaml:\d+", text), text
    for word in words:
        assert word in text


def test_a_syntax_error_in_luau_names_its_file_and_line(folder):
    app = folder(handler__luau="local http = require('http')\nlocal function handler(\nreturn handler\n")
    assert re.search(r"handler\.luau:[234]", refused(app))


def test_a_method_that_the_chunk_does_not_have_is_found(folder):
    text = refused(folder(GOOD.replace("method: handler", "method: handlers")))
    assert "handlers" in text


def test_a_cycle_of_libraries_is_found(folder):
    index = GOOD + (
        "\n  - name: a\n    kind: library.lua\n    source: file://a.luau\n    imports: { b: b }\n"
        "\n  - name: b\n    kind: library.lua\n    source: file://a.luau\n    imports: { a: a }\n"
    )
    text = refused(folder(index, a__luau="return {}\n"))
    assert "cycle" in text.lower()


def test_mistakes_of_several_files_are_listed_together(folder):
    app = folder(FIVE)
    (app / "more").mkdir()
    (app / "more" / "_index.yaml").write_text(
        "namespace: more\nentries:\n  - name: x\n    kind: process.hots\n"
    )
    text = refused(app)
    assert "_index.yaml:5" in text
    assert "more/_index.yaml:4" in text
    assert "process.host" in text


def test_a_folder_that_does_not_exist_is_exit_code_2(tmp_path):
    text = refused(tmp_path / "nothing_here")
    assert "nothing_here" in text


def test_a_folder_without_entries_is_exit_code_2(tmp_path):
    refused(tmp_path)


# check


def test_check_of_a_good_folder_is_exit_code_0_and_runs_nothing(folder):
    out = moonwire("check", folder())
    assert out.returncode == 0
    assert "listening on" not in out.stdout


@pytest.mark.parametrize("example", ["echo", "chat", "lobby", "documents"])
def test_check_accepts_the_examples(example):
    out = moonwire("check", EXAMPLES / example)
    assert out.returncode == 0, out.stdout + out.stderr


# --set and ${env:}


def test_set_changes_a_field(folder):
    server = Server(folder(), sets=["app:hello:path=/other"]).wait_ready()
    assert fetch(server.addresses["app:gateway"], "GET", "/ws/other").body == b"hello"
    assert fetch(server.addresses["app:gateway"], "GET", "/ws/hello").status == 404
    server.stop()


@pytest.mark.parametrize(
    "item, words",
    [
        ("app:gatewy:addr=127.0.0.1:0", ["gatewy", "gateway"]),
        ("app:gateway:adr=127.0.0.1:0", ["adr", "addr"]),
        ("rubbish", ["rubbish"]),
    ],
)
def test_set_of_something_unknown_is_exit_code_2_with_the_nearest_name(folder, item, words):
    out = moonwire("run", folder(), "--set", item)
    assert out.returncode == 2
    for word in words:
        assert word in out.stdout + out.stderr


def test_env_gives_a_value(folder):
    index = GOOD.replace("path: /hello", 'path: "/${env:E2E_PATH|default}"')
    server = Server(folder(index), env={"E2E_PATH": "from-env"}).wait_ready()
    assert fetch(server.addresses["app:gateway"], "GET", "/ws/from-env").status == 200
    server.stop()


def test_env_falls_back_to_its_default(folder):
    index = GOOD.replace("path: /hello", 'path: "/${env:E2E_NOT_SET|default}"')
    server = Server(folder(index)).wait_ready()
    assert fetch(server.addresses["app:gateway"], "GET", "/ws/default").status == 200
    server.stop()


def test_env_without_a_value_or_a_default_is_a_mistake(folder):
    app = folder(GOOD.replace("path: /hello", 'path: "/${env:E2E_NOT_SET}"'))
    text = refused(app)
    assert "E2E_NOT_SET" in text
    assert f"_index.yaml:{line_of(app, 'E2E_NOT_SET')}" in text
