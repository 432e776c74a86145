"""Clients in process groups: broadcasts to all shards, and who comes and goes."""

import json

import pytest

from harness.waiting import until

CLIENTS, SAID = 8, 20


@pytest.fixture
def app(server):
    return server("groups", shards=2)


def joined(app, group):
    """A client that is in the group, and its PID."""
    client = app.ws(f"/ws/{group}")
    pid = json.loads(client.recv())["pid"]
    return client, pid


def members(app, group):
    return app.http("GET", f"/members/{group}").json()["members"]


def test_a_broadcast_reaches_the_clients_of_all_shards_once_and_in_order(app):
    clients = [joined(app, "players")[0] for _ in range(CLIENTS)]
    assert members(app, "players") == CLIENTS
    for n in range(SAID):
        clients[0].send(str(n))
    for client in clients:
        assert [client.recv() for _ in range(SAID)] == [str(n) for n in range(SAID)]


def test_what_is_said_in_one_group_is_not_heard_in_another(app):
    (player, _), (guest, _) = joined(app, "players"), joined(app, "guests")
    player.send("for players")
    guest.send("for guests")
    assert (player.recv(), guest.recv()) == ("for players", "for guests")


def test_a_client_that_is_gone_has_left_its_groups(app):
    clients = [joined(app, "players")[0] for _ in range(CLIENTS)]
    for client in clients[1:]:
        client.close()
    until(lambda: members(app, "players") == 1, "the others have left")
    clients[0].send("alone")
    assert clients[0].recv() == "alone"


def test_a_monitor_hears_of_joins_and_leaves_on_all_shards(app):
    watcher, first = joined(app, "watched")
    assert watcher.recv_json() == {"kind": "pg.join", "group": "watched", "pid": first}
    for _ in range(4):
        other, pid = joined(app, "watched")
        assert watcher.recv_json() == {"kind": "pg.join", "group": "watched", "pid": pid}
        other.close()
        assert watcher.recv_json() == {"kind": "pg.leave", "group": "watched", "pid": pid}
