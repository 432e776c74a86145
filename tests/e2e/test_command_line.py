"""The command line: what `run` prints and how it ends, `new`, `--version`, `--help`."""

import re
import signal as signals
import socket

import pytest

from harness.folders import GOOD, HANDLER
from harness.server import Server, moonwire
from harness.waiting import until
from harness.wire import Wire, fetch
from test_examples import chat_hello


# run


def test_run_prints_its_addresses_and_ready(folder):
    server = Server(folder()).wait_ready()
    assert re.fullmatch(r"app:gateway listening on http://127\.0\.0\.1:\d+", server.out[0])
    assert server.out[-1] == "ready"
    server.stop()


def test_run_takes_the_working_directory_by_default(folder):
    out = moonwire("check", cwd=folder())
    assert out.returncode == 0, out.stdout + out.stderr


def test_a_port_in_use_is_a_clear_error_with_address_and_entry(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        out = moonwire("run", folder(), "--set", f"app:gateway:addr={address}")
    text = out.stdout + out.stderr
    assert out.returncode in (1, 2)
    assert address in text
    assert "app:gateway" in text
    assert "in use" in text
    assert "ready" not in out.stdout.splitlines()


def test_a_port_that_another_moonwire_holds_is_in_use_too(folder):
    """SO_REUSEPORT must not let two servers share an address."""
    first = Server(folder()).wait_ready()
    address = "%s:%d" % first.addresses["app:gateway"]
    out = moonwire("run", folder(), "--set", f"app:gateway:addr={address}")
    assert out.returncode in (1, 2)
    assert address in out.stdout + out.stderr
    first.stop()


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
def test_a_signal_drains_and_exits_with_0(folder, signal):
    server = Server(folder()).wait_ready()
    wire = Wire(server.addresses["app:gateway"])
    assert wire.request("GET", "/ws/hello").status == 200
    server.child.send_signal(getattr(signals, signal))
    assert server.wait() == 0
    wire.close()


def test_idle_connections_do_not_delay_the_exit(folder):
    """The drain time is 10 s."""
    server = Server(folder()).wait_ready()
    silent, asked = (Wire(server.addresses["app:gateway"]) for _ in range(2))
    assert asked.request("GET", "/ws/hello").status == 200
    server.terminate()
    assert server.wait(5) == 0
    assert silent.ended() and asked.ended()


def test_half_a_request_delays_the_exit_no_longer_than_its_services_drain_time(folder):
    """10 s for a service that has nothing to do, one for the other."""
    entry = "  - name: gateway\n    kind: http.service\n    addr: 127.0.0.1:0\n"
    both = GOOD.replace(entry, entry + "    timeouts: { drain: 1s }\n\n" + entry.replace("gateway", "other"))
    server = Server(folder(both)).wait_ready()
    wire = Wire(server.addresses["app:gateway"])
    wire.send("GET /ws/hello HTTP/1.1\r\nHo")
    server.terminate()
    assert server.wait(5) == 0
    assert wire.ended()


def test_a_request_that_is_under_way_is_answered_before_the_exit(folder):
    handler = HANDLER.replace(
        "    http.response()", '    require("time").sleep("300ms")\n    http.response()'
    )
    server = Server(folder(GOOD.replace("[http]", "[http, time]"), handler__luau=handler)).wait_ready()
    wire = Wire(server.addresses["app:gateway"])
    wire.send("GET /ws/hello HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: server.counters()["processes"] > 0, "the handler runs")
    server.terminate()
    answer = wire.response()
    assert (answer.status, answer.body) == (200, b"hello")
    assert server.wait() == 0


def test_a_second_signal_cuts(folder):
    """A handler that would hold up the drain for long."""
    handler = HANDLER.replace("    http.response()", "    process.inbox():receive()\n    http.response()")
    server = Server(folder(handler__luau=handler)).wait_ready()
    wire = Wire(server.addresses["app:gateway"])
    wire.send("GET /ws/hello HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: server.counters()["processes"] > 0, "the handler runs")
    mark = server.mark()
    server.terminate()
    server.wait_log(lambda _record: True, since=mark, what="a line about the shutdown")
    server.terminate()
    server.wait(5)


def test_the_log_is_json_lines_when_asked(folder):
    server = Server(folder()).wait_ready()
    server.stop()
    assert server.log
    assert all(record["level"] != "unstructured" for record in server.log)


def test_metrics_has_every_counter(folder):
    server = Server(folder()).wait_ready()
    text = server.metrics()
    for name in ("processes", "sockets", "monitors", "links", "timers", "names"):
        assert re.search(rf"^moonwire_{name}(\{{[^}}]*\}})? \d", text, re.MULTILINE), name
    server.stop()


# The rest of the command line


def test_version_and_help():
    version = moonwire("--version")
    assert version.returncode == 0
    assert re.search(r"moonwire \d+\.\d+\.\d+", version.stdout)
    text = moonwire("--help")
    assert text.returncode == 0
    for command in ("run", "new", "check"):
        assert command in text.stdout
    assert "--set" in moonwire("run", "--help").stdout


def test_an_unknown_command_is_refused_with_the_nearest():
    out = moonwire("rnu")
    assert out.returncode == 2
    assert "run" in out.stderr


def test_new_makes_an_app_that_passes_the_check_runs_and_serves_its_page(tmp_path):
    out = moonwire("new", "my-chat", cwd=tmp_path)
    assert out.returncode == 0, out.stdout + out.stderr
    app = tmp_path / "my-chat"
    assert (app / "_index.yaml").exists()
    assert "moonwire run" in (app / "README.md").read_text()
    assert moonwire("check", app).returncode == 0
    server = Server(app).wait_ready()
    page = fetch(server.addresses["app:gateway"], "GET", "/")
    assert page.status == 200
    assert page.header("content-type").startswith("text/html")
    server.stop()


def test_new_makes_an_app_in_which_two_clients_chat(tmp_path):
    """The same protocol as examples/chat."""
    assert moonwire("new", "my-chat", cwd=tmp_path).returncode == 0
    server = Server(tmp_path / "my-chat").wait_ready()
    chat_hello(server)
    server.stop()


def test_new_does_not_overwrite(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    out = moonwire("new", "taken", cwd=tmp_path)
    assert out.returncode != 0
    assert "taken" in out.stdout + out.stderr
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["../outside", "a/b", "", "."])
def test_new_takes_no_name_that_is_a_path(tmp_path, name):
    work = tmp_path / "work"
    work.mkdir()
    assert moonwire("new", name, cwd=work).returncode != 0
    assert list(work.iterdir()) == []
    assert not (tmp_path / "outside").exists()
