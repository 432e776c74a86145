"""Ten thousand processes are killed under traffic: each monitor and each link hears of it once."""

import json

import pytest

KILLED = 10_000


@pytest.fixture
def app(server):
    return server("churn", shards=2)


def test_each_monitor_and_link_of_ten_thousand_killed_processes_fires_once(app):
    """The targets are born on both shards and watched from both; the lease sees that the counters return."""
    client = app.ws("/ws/kill")
    client.send(str(KILLED))
    # Seconds on a machine with nothing else to do; the deadline only tells a hang.
    answer = client.recv_json(timeout=180)
    assert answer["killed"] == KILLED
    shards = {watcher["shard"] for watcher in answer["watchers"]}
    assert len(shards) == 2, answer
    for watcher in answer["watchers"]:
        assert watcher["watched"] == KILLED
        assert watcher["right"] == KILLED, "one EXIT and one LINK_DOWN of each"
        assert watcher["strangers"] == 0
        assert watcher["pings"] > KILLED, "there was traffic"
