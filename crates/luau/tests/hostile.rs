//! What hostile programs cannot do: crash the server, stall it, reach each other, or outlive their limits.

#[path = "programs/world.rs"]
mod world;
use std::time::Duration;
use world::{World, exit_of, passes};

/// The longest that one step of a process may compute, with room for a slow machine and a build without optimisation.
const STEP: Duration = Duration::from_millis(60);

/// Runs a program that must end without an error, each step in its bound.
fn stays_short(body: &str) {
    let text = format!(
        "local json = require('json') local time = require('time') local function main() {body} return true end"
    );
    let mut world = World::of(&text);
    world.spawn("app:main", Vec::new());
    let (exit, worst) = world.exit_and_worst_step();
    assert_eq!(exit.error, None, "{body}");
    assert!(worst < STEP, "a step took {worst:?}: {body}");
}

/// Runs a program that must be ended or stopped by an error that says `why`, each step in its bound.
fn is_refused(body: &str, why: &str) {
    let text = format!("local json = require('json') local function main() {body} end");
    let mut world = World::of(&text);
    world.spawn("app:main", Vec::new());
    let (exit, worst) = world.exit_and_worst_step();
    let error = exit.error.unwrap_or_else(|| panic!("it ended well: {body}"));
    assert!(error.message.contains(why), "{body}: {error}");
    assert!(worst < STEP, "a step took {worst:?}: {body}");
}

#[test]
fn a_wait_inside_a_comparator_raises_through_coroutines_too() {
    passes(
        "local time = require('time')
        local function main()
            local ok, err = pcall(table.sort, {3, 2, 1}, function(a, b)
                return coroutine.wrap(function() time.sleep('1ms') return a < b end)()
            end)
            assert(not ok and string.find(err, 'cannot wait inside'), err)
            process.send(process.pid(), 'x', 7)
            time.sleep('3ms')
            assert(process.inbox():receive():payload():data() == 7)
            return true
        end",
    );
}

#[test]
fn a_coroutine_inside_a_comparator_may_compute_but_not_for_ever() {
    passes(
        "local function main()
            local t = {}
            for n = 1, 20 do t[n] = n * 7 % 20 end
            table.sort(t, function(a, b)
                return coroutine.wrap(function() local s = 0 for n = 1, 2000 do s += n end return a < b end)()
            end)
            for n = 2, 20 do assert(t[n - 1] <= t[n]) end
            return true
        end",
    );
    is_refused(
        "while true do pcall(table.sort, {2, 1}, function() return coroutine.wrap(function() while true do end end)() end) end",
        "10 ms",
    );
}

#[test]
fn short_callbacks_for_a_long_time_are_no_reason_to_be_ended() {
    stays_short(
        "local s = string.rep('a', 1000) for _ = 1, 300 do string.gsub(s, '.', function(c) return c .. c end) end",
    );
}

#[test]
fn no_task_misses_a_wake_up_because_it_was_preempted() {
    passes(
        "local function main()
            local a, b = channel.new(), channel.new()
            coroutine.spawn(function() for _ = 1, 50000 do b:send(a:receive()) end end)
            for n = 1, 50000 do a:send(n) assert(b:receive() == n) end
            return true
        end",
    );
    passes(
        "local time = require('time')
        local function main()
            local news, other = process.listen('news'), channel.new()
            coroutine.spawn(function()
                for n = 1, 2000 do
                    process.send(process.pid(), 'news', n)
                    if n % 50 == 0 then time.sleep('10us') end
                end
            end)
            for n = 1, 2000 do
                local got = channel.select{other:case_receive(), news:case_receive(), process.inbox():case_receive()}
                assert(got.value == n)
                for _ = 1, n % 7 * 100 do end
            end
            for _ = 1, 100 do
                local tick = time.after('30us')
                assert(channel.select{other:case_receive(), tick:case_receive(), news:case_receive()}.channel == tick)
            end
            return true
        end",
    );
}

#[test]
fn threads_of_tasks_cannot_be_resumed_or_closed_by_others() {
    passes(
        "local time = require('time')
        local main_thread = coroutine.running()
        coroutine.spawn(function()
            for _ = 1, 50 do assert(not coroutine.resume(main_thread, 1, 2, 3)) end
            assert(not pcall(coroutine.close, main_thread))
        end)
        local function main()
            local co = coroutine.create(function() time.sleep('5ms') return 1 end)
            local outer, ended
            coroutine.spawn(function() outer = coroutine.running() assert(coroutine.resume(co)) end)
            coroutine.spawn(function() ended = coroutine.running() return function() error('called') end end)
            time.sleep('1ms')
            for _, thread in {co, outer} do
                assert(coroutine.status(thread) == 'normal' and not coroutine.resume(thread))
                assert(not pcall(coroutine.close, thread))
                debug.traceback(thread)
            end
            assert(coroutine.status(ended) == 'dead' and not coroutine.resume(ended))
            time.sleep('10ms')
            assert(coroutine.status(co) == 'dead')
            return true
        end",
    );
}

#[test]
fn functions_of_the_runtime_found_by_a_debugger_do_no_harm() {
    passes(
        "local time = require('time')
        local function main()
            local stolen = {}
            local co = coroutine.create(function() channel.new():receive() end)
            coroutine.spawn(function() coroutine.resume(co) end)
            time.sleep('1ms')
            for level = 0, 5 do
                local ok, f = pcall(debug.info, co, level, 'f')
                if ok and f then table.insert(stolen, f) end
            end
            local function grab(f, ...)
                xpcall(f, function() for l = 1, 6 do local g = debug.info(l, 'f') if g then table.insert(stolen, g) end end end, ...)
            end
            grab(time.after, 'bad') grab(time.sleep, 'bad') grab(process.listen, '@x') grab(require, 'nothing')
            grab(function() table.sort({2, 1}, function() channel.new():receive() end) end)
            assert(#stolen > 5)
            for _, f in stolen do
                coroutine.spawn(function()
                    for _, argument in {1, 0/0, -1, math.huge, {}, 'x'} do pcall(f, argument, {}, true) end
                end)
            end
            time.sleep('10ms')
            return true
        end",
    );
}

#[test]
fn a_channel_that_was_tampered_with_hurts_only_its_process() {
    let evil = |body: &str| {
        format!(
            "local time = require('time') local function main()
                local ch = time.ticker('1ms'):channel()
                ch.receivers = setmetatable({{}}, {{__index = function() {body} end}})
                time.sleep('30ms') return true end"
        )
    };
    let error = exit_of(&evil("while true do end")).error.unwrap();
    assert!(error.message.contains("10 ms"), "{error}");
    // Within the memory limit, which holds there too.
    passes(&evil("return string.rep('x', 1e9)"));
}

#[test]
fn large_tables_are_worked_on_in_slices() {
    stays_short(
        "local t = {} for n = 1, 2e5 do t[n] = n * 7919 % 200003 end
        table.sort(t) for n = 2, #t do assert(t[n - 1] <= t[n]) end
        table.sort(t, function(a, b) return a > b end) for n = 2, #t do assert(t[n - 1] >= t[n]) end
        pcall(table.sort, t, function() return true end)",
    );
    stays_short(
        "local t = {} for n = 1, 2e5 do t[n] = n end
        assert(table.move(t, 1, 2e5, 3) == t and t[2e5 + 2] == 2e5 and t[3] == 1 and t[2] == 2)
        local u = table.move(t, 3, 2e5 + 2, 1, {}) for n = 1, 2e5 do assert(u[n] == n) end
        table.move(u, 2, 2e5, 1) assert(u[1] == 2 and u[2e5 - 1] == 2e5)
        u = table.move({}, 1, 3e6, 1, {}) assert(next(u) == nil)",
    );
    stays_short(
        "local t = {} for n = 1, 2e5 do t[n] = n end
        table.insert(t, 1, 0) assert(t[1] == 0 and t[2] == 1 and #t == 2e5 + 1)
        assert(table.remove(t, 1) == 0 and t[1] == 1 and #t == 2e5)
        assert(table.find(t, 2e5) == 2e5 and table.find(t, 'x') == nil)
        local text = table.concat(t, ',') assert(#string.split(text, ',') == 2e5)
        local ok, err = pcall(table.concat, {1, {}, 3}) assert(not ok and string.find(err, 'index 2'))",
    );
}

#[test]
fn searches_take_linear_time() {
    stays_short(
        "local s = string.rep('a', 1e6)
        local needle = string.rep('a', 5e5) .. 'b'
        assert(string.find(s, needle, 1, true) == nil and string.find(s, needle) == nil)
        assert(#string.split(s, string.rep('a', 1e5) .. 'b' .. string.rep('a', 1e5)) == 1)
        s = s .. '.b.' .. s
        assert(string.find(s, '.b.', 1, true) == 1e6 + 1 and select(2, string.find(s, '.b.', -1e6 - 3, true)) == 1e6 + 3)
        assert(string.find(s, '.b.', -1e6, true) == nil and string.find(s, 'a', 5e6, true) == nil)
        assert(string.find(s, '', 7, true) == 7)",
    );
}

#[test]
fn texts_too_long_for_patterns_are_refused() {
    for body in [
        "string.match(string.rep('a', 5e6), 'a*')",
        "string.gsub(string.rep('a', 5e6), 'a', 'b')",
        "string.find(string.rep('a', 5e6), 'a+b')",
        "string.lower(string.rep('a', 5e6))",
        "utf8.len(string.rep('a', 5e6))",
        "string.packsize(string.rep('b', 1e6))",
    ] {
        is_refused(body, "longer than");
    }
}

#[test]
fn a_payload_that_multiplies_itself_is_stopped() {
    let many = "local t = {} for n = 1, 60 do t = {t, t} end";
    is_refused(&format!("{many} while true do pcall(process.send, process.pid(), 't', t) end"), "10 ms");
    is_refused(&format!("{many} while true do pcall(json.encode, t) end"), "10 ms");
    is_refused("while true do json.decode('[' .. string.rep('[],', 1e6) .. '1]') end", "10 ms");
}

#[test]
fn memory_is_counted_in_coroutines_of_any_age() {
    let mut world = World::new(
        &[(
            "app:main",
            "local time = require('time')
            local function main()
                local kept = {}
                local co = coroutine.create(function()
                    while true do
                        for _ = 1, 1000 do kept[#kept + 1] = string.rep('x', 1000) .. #kept end
                        coroutine.yield()
                    end
                end)
                coroutine.resume(co)
                for n = 1, 3000 do local junk = string.rep('y', 1000) .. n end
                time.sleep('1ms')
                for _ = 1, 100 do coroutine.resume(co) end
            end",
        )],
        |host| host.memory_limit = 16 << 20,
    );
    world.spawn("app:main", Vec::new());
    let error = world.exit().error.unwrap();
    assert!(error.message.contains("memory"), "{error}");
}

#[test]
fn many_large_processes_at_once_are_told_apart() {
    let mut world = World::new(
        &[
            (
                "app:main",
                "local function main()
                    local kept = {} for n = 1, 40 do kept[n] = string.rep('x', 1000) .. n end
                    process.inbox():receive()
                    for n = 1, 12000 do local junk = string.rep('z', 1000) .. n end
                    return #kept == 40
                end",
            ),
            (
                "app:greedy",
                "local function main() local t = {} while true do t[#t + 1] = string.rep('x', 1000) .. #t end end",
            ),
        ],
        |host| host.memory_limit = 8 << 20,
    );
    let pids: Vec<_> = (0..300).map(|_| world.spawn("app:main", Vec::new())).collect();
    world.turn();
    world.spawn("app:greedy", Vec::new());
    let error = world.exit().error.unwrap();
    assert!(error.message.contains("memory"), "{error}");
    for pid in pids {
        world.send(pid);
    }
    for _ in 0..300 {
        assert_eq!(world.exit().error, None);
    }
}

#[test]
fn nothing_shared_can_be_changed() {
    passes(
        "local json, time = require('json'), require('time')
        local function main()
            for _, t in {string, table, math, coroutine, utf8, bit32, buffer, vector, debug, process, process.event,
                process.registry, errors, channel, json, time, _G, getmetatable('')} do
                assert(not pcall(rawset, t, 'x', 1) and not pcall(function() t.x = 1 end) and not pcall(setmetatable, t, {}))
            end
            for _, object in {channel.new(), process.inbox(), process.events(), errors.new('x'), time.ticker('1s')} do
                assert(type(getmetatable(object)) == 'string' and not pcall(setmetatable, object, {}))
            end
            return true
        end",
    );
    passes(
        "process = {pid = function() return 'mine' end} string = 5 return function() return process.pid() == 'mine' and ('x'):upper() == 'X' end",
    );
}
