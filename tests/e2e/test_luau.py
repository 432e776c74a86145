"""What a Luau program has to work with by itself: channels, coroutines, `errors`, `json`,
`time`, `logger`, `require`, and the sandbox around it.

The cases are Luau functions in tests/e2e/apps/processes/alone.luau.
"""

import json

import pytest

from harness.lease import ran


@pytest.fixture
def app(server):
    return server("processes", shards=2)


@pytest.fixture
def alone(app):
    """Runs a case and returns its result."""
    return ran(app, "alone")


# Channels, coroutines


def test_channels_are_queues_of_their_size(alone):
    assert alone("channels") == {"first": "a", "ok": True, "second": "b", "third": "c"}


def test_channels_of_size_zero_hand_over(alone):
    assert alone("channel_rendezvous") == {"order": [1, 2, 3]}


def test_select_gives_channel_value_ok_and_a_default(alone):
    assert alone("select") == {
        "default": True,
        "is_b": True,
        "value": "from b",
        "ok": True,
        "sent_is_a": True,
        "arrived": "to a",
    }


def test_select_is_fair_among_ready_cases(alone):
    found = alone("select_is_fair")
    assert min(found["a"], found["b"]) > 40


def test_select_takes_a_timeout_channel(alone):
    assert alone("select_time") == {"timed_out": True}


def test_coroutine_spawn_runs_beside_the_caller(alone):
    assert alone("coroutines") == {"order": [5, 4, 3, 2, 1]}


def test_waits_suspend_inside_pcall_and_user_made_coroutines(alone):
    assert alone("waits_inside_user_coroutines") == {"first": "from inside", "second": True}


def test_waits_raise_where_luau_cannot_suspend(alone):
    found = alone("a_wait_in_a_comparator_raises")
    assert "did not raise" not in (found["sort"], found["gsub"])


# errors, json, time, logger, require, sandbox


def test_errors_have_kind_message_retryable_details_and_stack(alone):
    found = alone("errors")
    assert found["plain"]["message"] == found["plain"]["text"] == "plain"
    assert found["full"] == {
        "kind": "Conflict",
        "message": "full",
        "retryable": True,
        "details": {"a": 1},
        "text": "full",
        "stack": found["full"]["stack"],
    }
    assert found["is_not"] is False


def test_errors_wrap_keeps_the_kind_and_adds_text(alone):
    wrapped = alone("errors")["wrapped"]
    assert (wrapped["kind"], wrapped["is"]) == ("Conflict", True)
    assert "while testing" in wrapped["text"]
    assert "full" in wrapped["text"]


def test_errors_constants(alone):
    assert alone("errors")["constants"] == [
        "NotFound", "AlreadyExists", "Invalid", "PermissionDenied", "Unavailable",
        "Internal", "Canceled", "Conflict", "Timeout", "RateLimited",
    ]  # fmt: skip


def test_json_sorts_its_keys(alone):
    assert alone("json")["sorted"] == '{"a":2,"b":1,"c":{"y":2,"z":1}}'


def test_json_empty_table_is_a_list_unless_it_came_from_an_object(alone):
    found = alone("json")
    assert (found["empty"], found["empty_object"], found["empty_list"]) == ("[]", "{}", "[]")


def test_json_bytes_that_are_no_utf8_are_an_error(alone):
    assert alone("json")["bytes"] == "Invalid"


def test_json_of_rubbish_is_an_error(alone):
    assert alone("json")["bad"] == "Invalid"


def test_json_texts_and_numbers(alone):
    found = alone("json")
    assert json.loads(found["text"]) == 'grüße "quoted"\n'
    assert json.loads(found["numbers"]) == [1, 1.5, -3, 1e21]
    assert (found["integer"], found["bool"], found["round"]) == ("42", "true", "c")
    assert found["unicode"] == "ü😀"


def test_json_too_deep_is_an_error_and_no_crash(alone):
    assert alone("json_deep")["refused"] == "Invalid"


def test_time_sleep_after_ticker_now_and_constants(alone):
    found = alone("time")
    assert (found["after"], found["now"]) == (True, True)
    assert found["millisecond"] == 1_000_000
    assert found["second"] == 1000 * found["millisecond"]
    assert found["minute"] == 60 * found["second"]
    assert "time.sleep" in found["bad"]


def test_logger_writes_lines_with_fields_and_levels(app, alone):
    alone("logger")
    info = app.wait_log(lambda record: record["message"] == "a line of the case")
    assert info["level"] == "info"
    assert info.says("42")
    warning = app.wait_log(lambda record: record["message"] == "a warning of the case")
    assert warning["level"].startswith("warn")
    error = app.wait_log(lambda record: record["message"] == "an error of the case")
    assert error["level"] == "error"


def test_require_loads_libraries_by_alias_and_refuses_the_rest(alone):
    found = alone("require")
    assert (found["double"], found["same"]) == (42, True)
    assert "pg" in found["forbidden"]
    assert "nothing_of_the_kind" in found["missing"]
    assert alone("require")["loaded"] == 1, "a library is instantiated for each process"


def test_the_sandbox_has_no_door(alone):
    assert all(alone("sandbox").values())


def test_globals_belong_to_one_process(alone):
    for _ in range(4):
        assert "before" not in alone("globals_are_ones_own")


def test_lua_and_luau_files_both_run_as_luau(alone):
    assert alone("lua_is_luau") == {"text": "count is 8"}
