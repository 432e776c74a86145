"""New code while clients are connected: `SIGHUP` and `--watch` read the folder again, and
what they find is applied whole or not at all."""

import fcntl
import os
import pty
import shutil
import signal
import subprocess
import termios

import pytest

from harness.server import APPS, Server, binary
from harness.waiting import until
from harness.wire import TEXT, RawSocket, fetch

APPLIED = "new code runs from now on"


@pytest.fixture
def folder(tmp_path):
    """A copy of the app that a test may change."""
    return shutil.copytree(APPS / "live", tmp_path / "app")


@pytest.fixture
def start(folder):
    """Starts the app of the folder; stopped at the end, in order."""
    running = []

    def started(*args):
        running.append(Server(folder, shards=2, args=args).wait_ready())
        wait_room(running[-1])
        return running[-1]

    yield started
    for server in running:
        if server.alive:
            server.stop()


def edit(folder, name, old, new):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def version(server):
    return fetch(server.addresses["app:gateway"], "GET", "/api/version").json()


def wait_room(server):
    until(lambda: version(server).get("room"), "the room has its name")


def hang_up(server, message):
    """SIGHUP, and the line of the log that says what came of it."""
    mark = server.mark()
    server.child.send_signal(signal.SIGHUP)
    return server.wait_log(lambda r: message in r["message"], since=mark, what=message)


class Guest(RawSocket):
    def __init__(self, server):
        super().__init__(server.addresses["app:gateway"])
        assert self.open("/ws/room").status == 101

    def hears(self):
        return self.receive_message().text

    def says(self, text):
        self.send_frame(TEXT, text)


@pytest.fixture
def guests():
    """Clients of a server, each once its join has come to the room."""
    opened = []

    def connected(server, count):
        for number in range(count):
            guest = Guest(server)
            opened.append(guest)
            guest.says(f"guest {number}")
            for other in opened:
                assert other.hears().endswith(f"guest {number}")
        return list(opened)

    yield connected
    for guest in opened:
        guest.close()


def test_a_room_takes_its_new_code_while_its_clients_stay_connected(folder, start, guests):
    server = start()
    clients, room = guests(server, 5), version(server)["room"]
    clients[0].says("before")
    assert [client.hears() for client in clients] == ["one hello: before"] * 5

    edit(folder, "room.luau", 'VERSION = "one"', 'VERSION = "two"')
    edit(folder, "words.luau", "hello", "good evening")
    record = hang_up(server, APPLIED)
    assert sorted(record["changed"].split()) == ["app:room", "app:words"]

    assert [client.hears() for client in clients] == ["changed: app:room app:words"] * 5
    clients[0].says("after")
    assert [client.hears() for client in clients] == ["two good evening: after"] * 5
    assert version(server)["room"] == room


def test_twenty_deployments_in_a_row_lose_no_client_and_no_message(folder, start, guests):
    server = start()
    clients = guests(server, 3)
    text = (folder / "room.luau").read_text()
    for number in range(20):
        (folder / "room.luau").write_text(text.replace('"one"', f'"v{number}"'))
        server.child.send_signal(signal.SIGHUP)
        clients[0].says(f"message {number}")
        for client in clients:
            heard = [client.hears(), client.hears()]
            assert "changed: app:room" in heard
            assert any(line.endswith(f"hello: message {number}") for line in heard), heard
    clients[0].says("last")
    assert [client.hears() for client in clients] == ["v19 hello: last"] * 3


def test_requests_that_run_finish_with_their_code_and_new_ones_have_the_new(folder, start):
    server = start()
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(fetch, server.addresses["app:gateway"], "GET", "/api/slow")
        until(lambda: server.counters()["processes"] >= 3 or slow.done(), "the slow request runs", 5)
        for name in ("version.luau", "slow.luau"):
            edit(folder, name, '"one"', '"two"')
        edit(folder, "words.luau", "hello", "good evening")
        hang_up(server, APPLIED)
        assert slow.result(20).json() == {"version": "one", "greeting": "hello"}
    found = version(server)
    assert (found["version"], found["greeting"]) == ("two", "good evening")


def test_a_folder_with_mistakes_changes_nothing_and_each_is_in_the_log(folder, start):
    server = start()
    edit(folder, "version.luau", '"one"', '"two"')
    (folder / "words.luau").write_text("return {\n  greeting = = 1\n}\n")
    edit(folder, "_index.yaml", "modules: [http, time]", "modules: [htpt, time]")
    record = hang_up(server, "has mistakes: nothing was changed")
    assert record["mistakes"] == 2
    assert any(r.says("words.luau:2:") for r in server.log if r["level"] == "error")
    assert any(r.says("_index.yaml", "htpt", "did you mean") for r in server.log if r["level"] == "error")
    assert version(server)["version"] == "one"
    # It is not stuck: the next reading counts.
    edit(folder, "_index.yaml", "htpt", "http")
    (folder / "words.luau").write_text('return { greeting = "hello" }\n')
    hang_up(server, APPLIED)
    assert version(server)["version"] == "two"


def test_what_needs_a_restart_is_said_and_nothing_of_that_reading_is_applied(folder, start):
    server = start()
    edit(folder, "version.luau", '"one"', '"two"')
    edit(folder, "_index.yaml", "path: /version", "path: /edition")
    record = hang_up(server, "needs a restart: nothing was changed")
    assert record["count"] == 1
    assert any(r.get("entry") == "app:api_version" and r.says("restart") for r in server.log)
    assert version(server)["version"] == "one"


def test_new_entries_of_code_are_there_for_the_new_code(folder, start):
    server = start()
    index = (folder / "_index.yaml").read_text()
    entry = "\n  - name: more\n    kind: library.lua\n    source: file://more.luau\n"
    index = index.replace("modules: [http]\n    imports: { words: words }", "modules: [http]\n    imports: { words: more }")
    (folder / "_index.yaml").write_text(index + entry)
    (folder / "more.luau").write_text('return { greeting = "more" }\n')
    record = hang_up(server, APPLIED)
    assert (record["added"], record["changed"]) == ("app:more", "app:version")
    assert version(server)["greeting"] == "more"


def test_the_same_folder_is_no_new_code(start):
    hang_up(start(), "its code is what it was")


def test_a_watched_folder_is_read_again_when_a_file_changes(folder, start):
    server = start("--watch")
    mark = server.mark()
    edit(folder, "version.luau", '"one"', '"two"')
    server.wait_log(lambda r: APPLIED in r["message"], since=mark, what=APPLIED)
    assert version(server)["version"] == "two"
    # As editors do it: another file takes the place.
    mark = server.mark()
    (folder / "new").write_text((folder / "version.luau").read_text().replace('"two"', '"three"'))
    os.replace(folder / "new", folder / "version.luau")
    server.wait_log(lambda r: APPLIED in r["message"], since=mark, what=APPLIED)
    assert version(server)["version"] == "three"


def on_a_terminal(folder, *before):
    """A server with a terminal of its own; its end of it, and the child."""
    master, slave = pty.openpty()

    def take():
        os.setsid()
        # Whoever runs the tests may do so under nohup, and that is inherited.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    command = [*before, binary(), "run", str(folder), "--log-format", "json"]
    child = subprocess.Popen(
        command, preexec_fn=take, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    os.close(slave)
    while child.stdout.readline() != "ready\n":
        assert child.poll() is None
    return master, child


def test_a_server_ends_in_order_when_its_terminal_goes_away(folder):
    master, child = on_a_terminal(folder)
    os.close(master)
    assert child.wait(20) == 0
