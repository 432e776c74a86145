"""The relay contract, "Origins": who may open a WebSocket from a page."""

import pytest

from harness.lease import relay_steps


@pytest.fixture
def knock(relay, driver):
    """The status of a handshake with this origin."""

    def knock(router, origin, **options):
        steps = [["tell", driver.pid, "the handler ran"], *relay_steps(driver.pid)]
        return relay.shake(router, *steps, Origin=origin, **options).status

    return knock


def own_origin(relay, service="app:gateway"):
    return "http://%s:%d" % relay.address(service)


def test_same_origin_is_always_allowed(relay, knock):
    for router in ("ws", "listed", "wild", "any"):
        assert knock(router, own_origin(relay)) == 101


def test_same_origin_compares_the_scheme(relay, knock):
    assert knock("ws", own_origin(relay).replace("http:", "https:")) == 403


def test_same_origin_compares_the_port(relay, knock):
    host, port = relay.address()
    assert knock("ws", f"http://{host}:{port + 1}") == 403
    assert knock("ws", f"http://{host}") == 403


def test_same_origin_compares_the_host_as_the_client_used_it(knock):
    assert knock("ws", "http://app.test:8080", host="app.test:8080") == 101
    assert knock("ws", "http://app.test:8080", host="other.test:8080") == 403


def test_same_origin_is_case_insensitive_in_the_host(knock):
    assert knock("ws", "http://app.test:8080", host="APP.Test:8080") == 101


def test_same_origin_normalises_the_default_port(knock):
    assert knock("ws", "http://app.test", host="app.test:80") == 101
    assert knock("ws", "http://app.test:80", host="app.test") == 101


@pytest.mark.parametrize(
    "origin, status",
    [
        ("https://app.example.com", 101),
        ("https://APP.Example.COM", 101),
        ("https://app.example.com:443", 101),
        ("http://other.example.com:8080", 101),
        ("http://app.example.com", 403),
        ("https://app.example.com:8443", 403),
        ("https://example.com", 403),
        ("https://sub.app.example.com", 403),
        ("https://app.example.com.evil.test", 403),
        ("https://evil.test/https://app.example.com", 403),
        ("http://other.example.com", 403),
        ("", 403),
        ("rubbish", 403),
    ],
)
def test_listed_origins_match_exactly_in_scheme_host_and_port(knock, origin, status):
    assert knock("listed", origin) == status


@pytest.mark.parametrize(
    "origin, status",
    [
        ("https://a.example.com", 101),
        ("https://a.b.example.com", 101),
        ("https://A.EXAMPLE.com:443", 101),
        ("https://example.com", 403),
        ("http://a.example.com", 403),
        ("https://a.example.com:8443", 403),
        ("https://evilexample.com", 403),
        ("https://a.example.com.evil.test", 403),
    ],
)
def test_a_star_label_matches_one_or_more_labels_left_of_it(knock, origin, status):
    assert knock("wild", origin) == status


@pytest.mark.parametrize("origin", ["https://evil.test", "http://localhost:3000", "null"])
def test_a_lone_star_allows_every_origin(knock, origin):
    assert knock("any", origin) == 101


def test_a_lone_star_is_a_warning_at_start_up(relay):
    relay.server.wait_log(
        lambda record: record["level"].startswith("warn") and record.says("app:any"),
        what="a warning that names app:any",
    )


def test_no_origin_header_is_allowed(knock):
    """Not a browser."""
    for router in ("ws", "listed", "wild", "any"):
        assert knock(router, None) == 101


def test_origin_null_matches_only_a_lone_star(knock):
    assert [knock(router, "null") for router in ("ws", "listed", "wild", "any")] == [403, 403, 403, 101]


def test_a_foreign_origin_reaches_no_handler_and_is_logged(relay, driver, knock):
    assert knock("ws", "https://evil.test") == 403
    driver.ping()
    assert driver.received() == []
    relay.wait_log(lambda record: record.says("https://evil.test"))


def test_a_foreign_origin_does_not_concern_ordinary_requests(relay):
    assert relay.ask("ws", ["write", "a page"], headers={"Origin": "https://evil.test"}).status == 200


# Behind a proxy


FORWARDED = {
    "x_forwarded": {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "app.example.com"},
    "forwarded": {"Forwarded": "for=10.0.0.1;proto=https;host=app.example.com"},
}


@pytest.mark.parametrize("headers", FORWARDED)
def test_behind_a_trusted_proxy_same_origin_is_what_the_proxy_reports(knock, headers):
    assert knock("ws", "https://app.example.com", service="app:proxied", **FORWARDED[headers]) == 101
    assert knock("ws", "https://evil.test", service="app:proxied", **FORWARDED[headers]) == 403


@pytest.mark.parametrize("headers", FORWARDED)
def test_without_trust_the_proxys_headers_mean_nothing(knock, headers):
    assert knock("ws", "https://app.example.com", **FORWARDED[headers]) == 403


def test_behind_a_trusted_proxy_without_its_headers_the_host_counts(relay, knock):
    assert knock("ws", own_origin(relay, "app:proxied"), service="app:proxied") == 101
