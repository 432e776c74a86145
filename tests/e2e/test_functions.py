"""Functions of the app that handlers and processes call."""

import pytest


@pytest.fixture
def app(server):
    return server("functions", shards=2)


def get(app, path):
    return app.http("GET", path).json()


def test_a_handler_answers_with_what_functions_gave(app):
    assert get(app, "/sum/2/3") == {"sum": 5}
    assert get(app, "/many/200") == {"sum": 200 * 201 // 2}


def test_a_function_that_fails_gives_its_caller_the_error(app):
    refused = get(app, "/fails/refuses")
    assert (refused["kind"], refused["message"]) == ("Conflict", "no tea")
    raised = get(app, "/fails/raises")
    assert raised["kind"] == "Internal" and raised["message"].endswith("burnt")
    assert "functions.luau" in raised["stack"]


def test_the_values_of_a_request_travel_through_processes_and_functions_on_all_shards(app):
    for user in ("ann", "bob"):
        assert get(app, f"/travels/{user}") == [user] * 8


def test_what_a_handler_still_waits_for_ends_with_it(app):
    # Its functions wait for ever; that none is left is looked at after each test.
    assert get(app, "/left") == {"begun": 20}
