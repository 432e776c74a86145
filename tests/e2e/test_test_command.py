"""`moonwire test`: its verdicts, its limits, and what it tells.

Each test writes a small application with its own test file.
"""

import re
import subprocess
import time
import xml.etree.ElementTree as ET

import pytest

from harness.server import ROOT, binary

INDEX = """\
version: "1.0"
namespace: app
entries:
  - { name: gateway, kind: http.service, addr: 127.0.0.1:0 }
  - { name: processes, kind: process.host }
  - { name: worker, kind: process.lua, source: file://worker.luau, method: main }
"""

WORKER = """\
local function main(fault)
    if fault then
        error(fault)
    end
    process.inbox():receive()
end

return main
"""


@pytest.fixture
def app(tmp_path):
    """A function that writes an application with these test files and runs `moonwire test` on it."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "_index.yaml").write_text(INDEX)
    (folder / "worker.luau").write_text(WORKER)

    def run(*arguments, **files):
        for name, text in files.items():
            text = text if isinstance(text, bytes) else text.encode()
            (folder / f"{name}.test.luau").write_bytes(text)
        command = [binary(), "test", str(folder), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, timeout=120)
        done.out = done.stdout.decode()
        done.err = done.stderr.decode()
        return done

    run.folder = folder
    return run


def test_all_passed_is_exit_code_0(app):
    done = app(one='it("holds", function() expect(1).to_be(1) end)')
    assert done.returncode == 0, done.out
    assert "1 passed in" in done.out


def test_a_failure_is_exit_code_1_and_shows_its_line_what_was_expected_and_what_was_got(app):
    done = app(one='-- one\nit("is off", function()\n    expect(1 + 1).to_be(3)\nend)\n')
    assert done.returncode == 1
    assert "one.test.luau:3\n        | expect(1 + 1).to_be(3)" in done.out
    assert "expected: 3\n" in done.out and "got:      2\n" in done.out
    assert "0 passed, 1 failed in" in done.out


def test_a_difference_of_tables_is_shown_where_it_is(app):
    text = """it("differs", function()
        expect({ players = { { name = "Ann" }, { name = "Bob" } } }).to_equal({ players = { { name = "Ann" }, { name = "Cem" } } })
    end)"""
    assert 'at .players[2].name: expected "Cem", got "Bob"' in app(one=text).out


def test_an_error_in_a_test_is_a_failure_with_its_traceback(app):
    done = app(one='local function deep()\n    error("boom")\nend\nit("raises", function()\n    deep()\nend)\n')
    assert done.returncode == 1
    assert "one.test.luau:2" in done.out and "one.test.luau:5" in done.out and "boom" in done.out


def test_an_error_in_a_coroutine_of_a_test_is_its_failure(app):
    done = app(one="""
        it("raises beside", function()
            coroutine.spawn(function() error("beside") end)
            clock.settle()
        end)
        it("goes on", function() end)""")
    assert done.returncode == 1
    assert "beside" in done.out and "1 passed, 1 failed" in done.out


def test_a_process_of_the_app_that_failed_is_shown_with_its_traceback_if_the_test_fails(app):
    text = """
        it("passes", function()
            process.spawn("worker", "processes", "quiet failure")
            clock.settle()
        end)
        it("fails", function()
            process.spawn("worker", "processes", "loud failure")
            clock.settle()
            expect(1).to_be(2)
        end)"""
    done = app(one=text)
    assert "loud failure" in done.out and "worker.luau:3" in done.out
    assert "quiet failure" not in done.out
    assert "quiet failure" in app("--logs").out


def test_an_endless_loop_is_a_failure_that_names_the_test_and_the_others_run(app):
    began = time.monotonic()
    text = 'it("spins", function() while true do end end)\nit("runs", function() end)'
    done = app("--real-limit", "1s", one=text)
    assert done.returncode == 1
    assert re.search(r"✗ spins .*\n +it still runs after 1s", done.out), done.out
    assert "✓ runs" in done.out
    assert time.monotonic() - began < 60


def test_an_endless_loop_in_the_file_itself_is_a_failure_of_the_file(app):
    done = app("--real-limit", "1s", one="while true do end", two='it("runs", function() end)')
    assert done.returncode == 1
    assert "one.test.luau\n  ✗ the file could not be read to its end" in done.out
    assert "✓ runs" in done.out


def test_a_wait_for_what_never_comes_is_a_failure_at_once(app):
    began = time.monotonic()
    done = app(one='it("waits", function() process.inbox():receive() end)')
    assert done.returncode == 1
    assert "it still waits after" in done.out
    assert time.monotonic() - began < 60


def test_a_bomb_of_memory_ends_its_own_test_only(app):
    text = """
        it("explodes", function()
            local all = {}
            while true do table.insert(all, string.rep("x", 1000000) .. #all) end
        end)
        it("runs", function() end)"""
    done = app(one=text)
    assert done.returncode == 1
    assert "✓ runs" in done.out and "✗ explodes" in done.out


def test_no_test_sees_what_another_one_left(app):
    done = app(one="""
        local count = 0
        for n = 1, 3 do
            it("is the first " .. n, function()
                count += 1
                expect(count).to_be(1)
                expect(process.registry.register("mine")).to_succeed()
                expect(clock.now()).to_be_near(0, 0.01)
            end)
        end""")
    assert done.returncode == 0, done.out


def test_hooks_run_from_outside_in_and_back_also_after_a_failure(app):
    done = app("--logs", one="""
        local logger = require("logger")
        before_each(function() logger.info("before outer") end)
        after_each(function() logger.info("after outer") end)
        describe("group", function()
            before_each(function() logger.info("before inner") end)
            after_each(function() logger.info("after inner") end)
            it("fails", function() error("no") end)
        end)""")
    order = re.findall(r"(before|after) (outer|inner)", done.out)
    assert order == [("before", "outer"), ("before", "inner"), ("after", "inner"), ("after", "outer")]
    assert done.returncode == 1


THREE = 'describe("tea", function() it("is hot", function() end) it("is cold", function() error("x") end) end)\nit("last", function() end)'


def test_a_filter_chooses_by_the_names_of_test_group_and_file(app):
    assert "1 passed in" in app("--filter", "tea › is hot", one=THREE).out
    assert "1 passed in" in app("--filter", "tea is hot").out
    assert "1 passed in" in app("--filter", "last").out
    assert "2 passed, 1 failed in" in app("--filter", "one.test").out
    nothing = app("--filter", "coffee")
    assert nothing.returncode == 2 and "coffee" in nothing.err


def test_list_names_the_tests_and_runs_none(app):
    done = app("--list", one=THREE)
    assert done.returncode == 0
    assert done.out.splitlines() == [
        "one.test.luau:1: tea › is hot",
        "one.test.luau:1: tea › is cold",
        "one.test.luau:2: last",
    ]


def test_fail_fast_stops_at_the_first_failure(app):
    done = app("--fail-fast", "--jobs", 1, one=THREE, two='it("never", function() end)')
    assert done.returncode == 1
    assert "1 passed, 1 failed in" in done.out and "never" not in done.out


def test_skipped_tests_are_told_and_not_run(app):
    text = 'it.skip("later", function() error("x") end)\ndescribe.skip("all", function() it("too", function() error("x") end) end)'
    done = app(one=text)
    assert done.returncode == 0
    assert "0 passed, 2 skipped in" in done.out


def test_mistakes_and_a_folder_without_tests_are_exit_code_2(app, tmp_path):
    none = app()
    assert none.returncode == 2 and "*.test.luau" in none.err
    empty = app(one="-- nothing")
    assert empty.returncode == 2 and "it(name, body)" in empty.err
    syntax = app(one="local = 2\n")
    assert syntax.returncode == 2 and "one.test.luau:1:" in syntax.err
    away = subprocess.run([binary(), "test", str(tmp_path / "nowhere")], capture_output=True, timeout=60)
    assert away.returncode == 2
    option = subprocess.run([binary(), "test", "--time-limit", "soon"], capture_output=True, timeout=60)
    assert option.returncode == 2


def test_junit_holds_every_verdict_for_a_parser_of_xml(app, tmp_path):
    path = tmp_path / "results.xml"
    app("--junit", path, one=THREE + '\nit.skip("later", function() end)', two='error("no tests")')
    root = ET.parse(path).getroot()
    assert root.tag == "testsuites"
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5", "failures": "1", "errors": "1", "skipped": "1",
    }
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert cases["tea › is cold"].get("classname") == "one.test.luau"
    assert "x" in cases["tea › is cold"].find("failure").text
    assert cases["later"].find("skipped") is not None
    assert "no tests" in cases["the file is read to its end"].find("error").text


def test_hostile_names_break_neither_the_report_nor_the_xml(app, tmp_path):
    path = tmp_path / "results.xml"
    text = rb"""
        for _, name in { "]]>", "<b>&\"'", "a\0b\1\27[2Jc", "\xff\xfe no text", "two\nlines", "\239\191\190", string.rep("x", 5000) } do
            it(name, function() error(name) end)
        end"""
    done = app("--junit", path, one=text)
    assert done.returncode == 1
    assert "\x1b" not in done.out and "\0" not in done.out
    cases = ET.parse(path).getroot().findall(".//testcase")
    assert len(cases) == 7
    names = [case.get("name") for case in cases]
    assert names[:2] == ["]]>", "<b>&\"'"] and names[4] == "two\nlines"
    assert all(case.find("failure") is not None for case in cases)


def test_only_test_files_may_load_the_module(app):
    (app.folder / "worker.luau").write_text('local test = require("test")\nreturn function() end\n')
    done = app(one="""
        it("is not for others", function()
            local pid = process.spawn_monitored("worker", "processes")
            expect(test.wait_for_exit(pid)).to_fail_with(errors.INTERNAL, "require")
        end)""")
    assert done.returncode == 0, done.out


def test_wrong_calls_say_what_they_expect(app):
    done = app(one="""
        for _, wrong in {
            function() expect(1).to_bee(1) end,
            function() it("inside", function() end) end,
            function() test.connect("/ws", { sub = {} }) end,
            function() test.request("nowhere") end,
            function() test.request("/", { service = "app:gatewy" }) end,
            function() test.request("/", { headers = { x = 1 } }) end,
        } do
            it("raises", wrong)
        end""")
    for text in ["to_bee: no such", "not inside of a test", 'no option "sub"', 'begins with "/"', '"app:gateway"', "headers.x"]:
        assert text in done.out, (text, done.out)


def test_runs_repeat_exactly(app):
    text = """
        it("is the same always", function()
            local pids, numbers = {}, {}
            for n = 1, 20 do
                table.insert(pids, process.spawn("worker", "processes"))
                table.insert(numbers, math.random(1, 1000000))
            end
            for n = 1, 20 do
                coroutine.spawn(function()
                    require("time").sleep(n % 7 .. "ms")
                    table.insert(numbers, n)
                end)
            end
            clock.advance("1s")
            error(table.concat(pids) .. table.concat(numbers, " ") .. clock.now())
        end)"""

    def run(*shards):
        return re.sub(r"\(\d+ ms\)|in [\d.]+s", "", app(*shards, one=text).out)

    assert len({run() for _ in range(5)}) == 1
    assert len({run("--shards", 2) for _ in range(5)}) == 1


def examples():
    """The fenced examples of the declaration file."""
    text = (ROOT / "crates/moonwire/src/testing/test.d.luau").read_text()
    lines, found, open_ = text.splitlines(), [], None
    for line in lines:
        comment = re.match(r"\s*--- ?(.*)", line)
        if not comment:
            continue
        if comment[1] == "```lua":
            open_ = []
        elif comment[1] == "```" and open_ is not None:
            found.append("\n".join(open_))
            open_ = None
        elif open_ is not None:
            open_.append(comment[1])
    return found


def test_every_example_of_the_declarations_passes(app):
    files = {f"example{number}": text for number, text in enumerate(examples())}
    assert len(files) >= 8
    done = app(**files)
    assert done.returncode == 0, done.out
