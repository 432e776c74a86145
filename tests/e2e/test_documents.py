"""The two documents' code, as printed, does what the documents say (examples/documents)."""

import json
import subprocess
import sys

import pytest

from harness.server import EXAMPLES
from harness.waiting import until
from harness.wire import BINARY, CLOSE, TEXT, handshake_headers

DOCUMENTS = EXAMPLES / "documents"


@pytest.fixture(params=["ko", "ru"])
def documents(request, server):
    """The same page in two languages: each one's snippets run."""
    return server(str(DOCUMENTS), shards=2, env={"DOCUMENT": request.param})


def asked(client, **content):
    client.send(json.dumps(content))


def test_the_snippets_are_the_documents_byte_for_byte():
    out = subprocess.run([sys.executable, DOCUMENTS / "verify.py"], capture_output=True, text=True)
    assert out.returncode == 0, out.stdout + out.stderr


def test_the_printed_handler_upgrades_and_the_printed_loop_receives(documents):
    client = documents.ws("/ws/handler?user_id=7")
    asked(client, x=1)
    answer = client.recv_json()
    assert (answer["event"], answer["by"], answer["content"]) == ("received", "first", {"x": 1})
    assert answer["client_pid"].startswith("{")


def test_the_printed_handler_upgrades_without_a_user_id_too(documents):
    """`user_id = nil` makes the metadata an empty table."""
    client = documents.ws("/ws/handler")
    asked(client, x=1)
    assert client.recv_json()["content"] == {"x": 1}


def test_the_printed_sends_arrive_as_text_binary_and_close(documents):
    raw = documents.raw("/ws/handler?user_id=7")
    raw.send_text('{"run":"send"}')
    text, binary, close = (raw.receive_message() for _ in range(3))
    assert (text.opcode, json.loads(text.text)) == (TEXT, {"event": "update", "value": 42})
    assert (binary.opcode, binary.data) == (BINARY, b"\0\1\2\xfd\xfe\xff")
    assert (close.opcode, close.code, close.reason) == (CLOSE, 1000, "Session ended")
    raw.send_close(1000)


def test_the_printed_transfer_moves_the_connection(documents):
    """What is on its way meanwhile is still answered by the first; nothing is lost, and the second comes soon."""
    client = documents.ws("/ws/handler?user_id=7")
    asked(client, run="transfer")
    answers = []

    def moved():
        asked(client, x=len(answers))
        answers.append(client.recv_json())
        return answers[-1]["by"] == "second"

    until(moved, "the second answers")
    assert [answer["content"]["x"] for answer in answers] == list(range(len(answers)))
    assert {answer["by"] for answer in answers[:-1]} <= {"first"}


def test_the_printed_monitor_sees_the_other_connections_end(documents):
    watched, watching = documents.ws("/ws/handler"), documents.ws("/ws/handler")
    asked(watched, x=1)
    pid = watched.recv_json()["client_pid"]
    asked(watching, run="monitor", pid=pid)
    assert watched.recv() == "hello"
    watched.close(1000, "bye")
    event = watching.recv_json()
    assert (event["event"], event["from"]) == ("exit", pid)
    assert (event["code"], event["reason"]) == (1000, "bye")


def hears(client, content):
    """Reads on until this was said."""
    while True:
        said = client.recv_json()
        if said["event"] == "said" and said["content"] == content:
            return said


def test_the_printed_broadcast_reaches_everyone_in_the_room(documents):
    clients = [documents.ws("/ws/room") for _ in range(3)]
    for number, client in enumerate(clients):
        client.send(f"{number} is here")
        hears(client, f"{number} is here")
    clients[0].send("to all")
    senders = {hears(client, "to all")["from"] for client in clients}
    assert len(senders) == 1
    clients[0].close()
    for client in clients[1:]:
        left = client.recv_json()
        assert (left["event"], {left["from"]}) == ("left", senders)


def test_the_printed_router_lets_the_printed_origin_in_and_no_other(documents):
    documents.raw("/ws/handler", handshake_headers(Origin="https://app.example.com"))
    documents.raw("/ws/handler", handshake_headers(Origin="https://evil.test"), expect=403)
