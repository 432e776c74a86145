"""What is published on one shard is heard by those who subscribe on all."""

import json

import pytest

from harness.waiting import until

CLIENTS, SAID = 8, 20


@pytest.fixture
def app(server):
    return server("events", shards=2)


def subscribed(app, pattern):
    client = app.ws(f"/ws/{pattern}")
    assert client.recv() == "subscribed"
    return client


def publish(app, topic, text="news"):
    return app.http("POST", f"/publish/{topic}", body=text).json()["heard"]


def test_what_is_published_reaches_the_subscribers_of_all_shards_once_and_in_order(app):
    clients = [subscribed(app, pattern) for pattern in ["chat.**", "chat.*"] * (CLIENTS // 2)]
    stranger = subscribed(app, "news.*")
    for n in range(SAID):
        clients[0].send(json.dumps(["chat.lobby", n]))
    for client in clients:
        assert [client.recv_json() for _ in range(SAID)] == [["chat.lobby", n] for n in range(SAID)]
    assert publish(app, "news.weather", "sun") == 1
    assert stranger.recv_json() == ["news.weather", "sun"]


def test_a_client_that_is_gone_hears_nothing_and_leaves_no_subscription(app):
    clients = [subscribed(app, "**") for _ in range(CLIENTS)]
    assert publish(app, "a.b") == CLIENTS
    for client in clients[1:]:
        client.close()
    until(lambda: publish(app, "a.b") == 1, "the others are gone")


def test_a_subscriber_that_reads_nothing_holds_up_neither_publisher_nor_others(app):
    for _ in range(CLIENTS):
        app.http("POST", "/sleeper/news.*").json()
    reader = subscribed(app, "news.*")
    assert [publish(app, "news.n", str(n)) for n in range(10)] == [CLIENTS + 1] * 5 + [1] * 5
    assert [reader.recv_json()[1] for _ in range(10)] == [str(n) for n in range(10)]
    app.http("POST", "/wake")
