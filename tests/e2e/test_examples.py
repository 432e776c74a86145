"""The examples do what their READMEs say: echo, chat, lobby. The documents have their own file."""

import json

import pytest

from harness.lease import Lease
from harness.server import EXAMPLES, Server
from harness.wire import fetch, handshake_headers


class Talk:
    """A client whose frames are JSON objects with a `type`."""

    def __init__(self, lease, path):
        self.client = lease.ws(path)
        self.seen = []

    def say(self, **content):
        self.client.send(json.dumps(content))

    def hear(self, kind, **match):
        """Reads on until an object of this type comes in which these fields are so."""
        while True:
            content = self.client.recv_json()
            self.seen.append(content)
            if content["type"] == kind and all(content.get(key) == value for key, value in match.items()):
                return content


# echo


@pytest.fixture
def echo(server):
    return server(str(EXAMPLES / "echo"), shards=2)


@pytest.mark.parametrize(
    "data", ["", "text", "grüße ☃", b"", b"\x00\xff\xfe", "x" * 100_000, b"\xff" * 100_000]
)
def test_echo_every_frame_comes_back_as_it_came(echo, data):
    client = echo.ws("/ws")
    client.send(data)
    assert client.recv() == data


def test_echo_a_thousand_frames_in_order(echo):
    raw = echo.raw("/ws")
    for start in range(0, 1000, 50):
        raw.send(b"".join(raw.frame(0x1, str(number)) for number in range(start, start + 50)))
        assert [raw.receive_message().text for _ in range(50)] == [str(n) for n in range(start, start + 50)]


def test_echo_fifty_clients_leave_nothing_behind(echo):
    clients = [echo.ws("/ws") for _ in range(50)]
    for number, client in enumerate(clients):
        client.send(str(number))
    assert [client.recv() for client in clients] == [str(number) for number in range(50)]


def test_echo_refuses_a_page_from_another_origin(echo):
    echo.raw("/ws", handshake_headers(Origin="https://evil.test"), expect=403)


# chat


@pytest.fixture(scope="module")
def chat_server():
    """A room stays for at least ten seconds after somebody was sent to it, so the
    counters are compared once, at the end of all."""
    server = Server(str(EXAMPLES / "chat"), shards=2, env={"CHAT_LINGER": "100ms"}).wait_ready()
    first = Lease(server)
    yield server
    try:
        first.settle(deadline=40)
        server.stop()
    finally:
        server.kill()


@pytest.fixture
def chat(chat_server):
    lease = Lease(chat_server)
    yield lease
    lease.close()


def enter(lease, room, name, **query):
    fields = "".join(f"&{key}={value}" for key, value in query.items())
    return Talk(lease, f"/ws/{room}?name={name}{fields}")


def chat_hello(server):
    """Two people say hello to each other, and one sees the other leave."""
    lease = Lease(server)
    ann = enter(lease, "tea", "Ann")
    assert ann.hear("welcome")["people"] == ["Ann"]
    bob = enter(lease, "tea", "Bob")
    assert bob.hear("welcome")["people"] == ["Ann", "Bob"]
    ann.hear("joined", name="Bob")
    ann.say(type="say", text="hello")
    assert bob.hear("message")["text"] == "hello"
    bob.say(type="say", text="hello yourself")
    ann.hear("message", text="hello yourself", name="Bob")
    bob.client.close()
    ann.hear("left", name="Bob")
    lease.close()


def test_chat_two_people_talk_and_one_sees_the_other_leave(chat_server):
    chat_hello(chat_server)


def test_chat_a_killed_client_is_seen_to_leave(chat):
    ann = enter(chat, "killed", "Ann")
    raw = chat.raw("/ws/killed?name=Bob")
    ann.hear("joined", name="Bob")
    raw.reset()
    ann.hear("left", name="Bob")


def test_chat_rooms_are_apart(chat):
    ann, bob = enter(chat, "one", "Ann"), enter(chat, "two", "Bob")
    bob.hear("joined", name="Bob")
    ann.say(type="say", text="only here")
    ann.hear("message", text="only here")
    bob.say(type="say", text="mine")
    bob.hear("message", text="mine")
    assert [c for c in bob.seen if c["type"] == "message"] == [bob.seen[-1]]


def test_chat_a_newcomer_gets_the_history(chat):
    ann = enter(chat, "history", "Ann")
    for number in range(3):
        ann.say(type="say", text=f"line {number}")
        ann.hear("message", text=f"line {number}")
    welcome = enter(chat, "history", "Bob").hear("welcome")
    assert [message["text"] for message in welcome["history"]] == ["line 0", "line 1", "line 2"]


def test_chat_a_taken_name_is_closed_with_4009(chat):
    enter(chat, "taken", "Ann").hear("welcome")
    assert enter(chat, "taken", "ann").client.closed_with() == 4009


def test_chat_the_same_page_on_a_new_connection_takes_over(chat):
    old = enter(chat, "again", "Ann", session="abcdefgh12345678")
    old.hear("welcome")
    new = enter(chat, "again", "Ann", session="abcdefgh12345678")
    assert new.hear("welcome")["people"] == ["Ann"]
    assert old.client.closed_with() == 4001


def test_chat_lists_its_rooms(chat):
    ann = enter(chat, "listed", "Ann")
    ann.hear("joined", name="Ann")
    rooms = chat.http("GET", "/api/rooms").json()["rooms"]
    assert {"room": "listed", "people": 1} in rooms


@pytest.mark.parametrize("path", ["/ws/Bad%20Room?name=Ann", "/ws/tea?name=", "/ws/tea"])
def test_chat_bad_names_are_400_with_a_reason(chat, path):
    raw = chat.raw(path, expect=400)
    assert json.loads(raw.opened.body)["error"]


def test_chat_serves_its_page(chat):
    page = chat.http("GET", "/")
    assert page.status == 200
    for file, kind in (("chat.js", "javascript"), ("chat.css", "css"), ("icon.svg", "svg")):
        answer = chat.http("GET", f"/{file}")
        assert answer.status == 200
        assert kind in answer.header("content-type")


# lobby


@pytest.fixture
def lobby(server):
    return server(str(EXAMPLES / "lobby"), shards=2)


def seated(lobby):
    """Two players, handed from the lobby to a game."""
    ann, bob = Talk(lobby, "/ws?name=Ann"), Talk(lobby, "/ws?name=Bob")
    for player in (ann, bob):
        player.hear("lobby")
    ann.say(type="play")
    ann.hear("waiting")
    bob.say(type="play")
    first, second = ann.hear("game"), bob.hear("game")
    assert (first["you"], second["you"]) == ("X", "O")
    assert (first["against"], second["against"]) == ("Bob", "Ann")
    return ann, bob


def test_lobby_hands_two_connections_to_a_game_and_back(lobby):
    ann, bob = seated(lobby)
    for player, cell in ((ann, 1), (bob, 4), (ann, 2), (bob, 5)):
        player.say(type="put", cell=cell)
        ann.hear("game")
        bob.hear("game")
    ann.say(type="put", cell=3)
    assert ann.hear("game", over=True)["line"] == [1, 2, 3]
    assert ann.hear("lobby")["result"] == "won"
    assert bob.hear("lobby")["result"] == "lost"
    ann.say(type="play")
    ann.hear("waiting")


def test_lobby_a_player_who_leaves_sends_the_other_one_back(lobby):
    ann, bob = seated(lobby)
    bob.client.close()
    assert ann.hear("lobby")["result"] == "gone"


def test_lobby_a_player_who_is_lost_sends_the_other_one_back(lobby):
    raw = lobby.raw("/ws?name=Bob")
    raw.send_text('{"type":"play"}')
    ann = Talk(lobby, "/ws?name=Ann")
    ann.hear("lobby")
    ann.say(type="play")
    ann.hear("game")
    raw.reset()
    assert ann.hear("lobby")["result"] == "gone"


def test_lobby_two_games_at_once_do_not_mix(lobby):
    first, second = seated(lobby), seated(lobby)
    first[0].say(type="put", cell=9)
    assert first[1].hear("game", turn="O")["cells"][8] == "X"
    second[0].say(type="put", cell=1)
    cells = second[1].hear("game", turn="O")["cells"]
    assert (cells[0], cells[8]) == ("X", "")
    for ann, bob in (first, second):
        ann.say(type="resign")
        bob.hear("lobby", result="won")


def test_lobby_serves_its_page(lobby):
    assert fetch(lobby.address(), "GET", "/").status == 200
