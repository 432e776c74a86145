//! The module `funcs`: functions that are called, and futures of their results.

#[path = "programs/world.rs"]
mod world;
use kernel::{Exit, Kind};
use world::World;

/// The functions and processes of these tests.
const ENTRIES: &[(&str, &str)] = &[
    ("app:fn_add", "local function main(a, b) return a + b end"),
    ("other:fn_where", "local function main() return 'other' end"),
    ("app:fn_where", "local function main() return 'app' end"),
    ("app:fn_silent", "local function main() end"),
    ("app:fn_pid", "count = (count or 0) + 1 local function main() return {process.pid(), count} end"),
    ("app:fn_refuses", "local function main() return nil, errors.new({message='no tea', kind=errors.CONFLICT}) end"),
    ("app:fn_raises", "local function burn() error('burnt') end local function main() burn() end"),
    ("app:fn_waits", "local function main(v) process.inbox():receive() return v end"),
    ("app:fn_spins", "local function main() while true do end end"),
    ("app:fn_bomb", "local function main() local all = {} while true do all[#all + 1] = {#all} end end"),
    (
        "app:fn_asked",
        "local function main(to, v) process.send(to, 'pid', process.pid()) return process.inbox():receive():payload():data() or v end",
    ),
    (
        "app:fn_context",
        "local ctx = require('ctx')
        local funcs = require('funcs')
        local function main(deeper)
            if deeper == 'spawn' then return process.exec('app:context', 'app:processes') end
            if deeper then return funcs.call('fn_context') end
            return ctx.all()
        end",
    ),
    ("app:context", "local funcs = require('funcs') local function main() return funcs.call('app:fn_context') end"),
    ("app:process", "local function main() end"),
    ("app:fn_large", "local function main(n) return string.rep(`{n} `, 70_000) end"),
    ("app:fn_complains", "local function main() error(string.rep('no', 4_000)) end"),
];

fn world(main: &str) -> World {
    let mut sources = vec![("app:main", main)];
    sources.extend_from_slice(ENTRIES);
    World::new(&sources, |host| {
        host.max_processes = 1_200;
        host.memory_limit = 8 << 20;
    })
}

/// Runs a program that returns `true`, or says what went wrong. Nothing is left of what it began.
fn passes(body: &str) {
    let main = format!("local funcs = require('funcs')\nlocal function main()\n{body}\nreturn true\nend");
    let mut world = world(&main);
    let pid = world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!(exit.error, None, "{main}");
    assert_eq!(exit.value.as_ref().map(|value| format!("{value:?}")).as_deref(), Some("true"), "{main}");
    world.run_until(|world| world.shard.node().hosts[pid.host()].living() == 0);
}

// call

#[test]
fn a_call_gives_what_the_function_returned() {
    passes(
        "assert(funcs.call('app:fn_add', 2, 3) == 5)
        assert(select('#', funcs.call('app:fn_add', 2, 3)) == 1)
        local value, err = funcs.call('app:fn_silent')
        assert(value == nil and err == nil)",
    );
}

#[test]
fn each_call_is_a_process_of_its_own_and_nothing_survives_it() {
    passes(
        "local first, second = funcs.call('app:fn_pid'), funcs.call('app:fn_pid')
        assert(first[1] ~= second[1] and first[1] ~= process.pid())
        assert(first[2] == 1 and second[2] == 1)
        assert(process.monitor(first[1]) == nil)",
    );
}

#[test]
fn an_id_without_a_namespace_is_one_of_the_caller() {
    passes("assert(funcs.call('fn_where') == 'app' and funcs.call('other:fn_where') == 'other')");
}

#[test]
fn a_failed_function_gives_its_error_with_kind_and_stack() {
    passes(
        "local value, err = funcs.call('app:fn_refuses')
        assert(value == nil and err:kind() == errors.CONFLICT and err:message() == 'no tea')
        assert(string.find(err:stack(), 'fn_refuses'), err:stack())
        value, err = funcs.call('app:fn_raises')
        assert(value == nil and errors.is(err, errors.INTERNAL) and string.find(err:message(), 'burnt'))
        assert(string.find(err:stack(), 'burn'), err:stack())
        value, err = funcs.call('app:fn_bomb')
        assert(value == nil and string.find(err:message(), 'memory limit exceeded'), err:message())
        value, err = funcs.async('app:fn_refuses'):await()
        assert(value == nil and err:kind() == errors.CONFLICT)",
    );
}

#[test]
fn what_is_no_function_is_not_called() {
    passes(
        "local function refused(id, text)
            for _, call in {funcs.call, funcs.async} do
                local value, err = call(id)
                assert(value == nil and err:kind() == errors.NOT_FOUND and string.find(err:message(), text, 1, true), err:message())
            end
        end
        refused('app:fn_ad', 'no entry \"app:fn_ad\" (did you mean \"app:fn_add\"?)')
        refused('app:process', '\"app:process\" is a process.lua; expected a function.lua')
        local pid, err = process.spawn('app:fn_add', 'app:processes')
        assert(pid == nil and string.find(err:message(), '\"app:fn_add\" is a function.lua; expected a process.lua', 1, true), err:message())",
    );
}

#[test]
fn wrong_arguments_raise_with_the_call_as_written() {
    passes(
        "local function raises(text, act, ...)
            local ok, err = pcall(act, ...)
            assert(not ok and string.find(err, text, 1, true), tostring(err))
        end
        raises('funcs.call(id, ...): id: expected an entry such as \"app:price\", got number', funcs.call, 5)
        raises('funcs.async(id, ...): id: expected an entry such as \"app:price\", got nothing', funcs.async)
        raises('funcs.call(id, ...): argument 2: a function cannot be sent', funcs.call, 'app:fn_add', 1, print)
        raises('funcs.async(id, ...): argument 1: a thread cannot be sent', funcs.async, 'app:fn_add', coroutine.create(print))
        raises('funcs.with_context(values): values: expected a table, got string', funcs.with_context, 'x')
        local caller, future = funcs.with_context({}), funcs.async('app:fn_silent')
        raises('caller:call(id, ...): call it with a colon', caller.call, 'app:fn_add')
        raises('caller:async(id, ...): id: expected an entry', caller.async, caller)
        for _, name in {'await', 'cancel', 'channel', 'is_done', 'case_receive'} do
            raises(`future:{name}(): call it with a colon on a future, got nil`, future[name])
        end
        raises('future:await(): cannot wait inside', table.sort, {2, 1}, function() future:await() end)
        raises('funcs.call(id, ...): cannot wait inside', table.sort, {2, 1}, function() funcs.call('fn_silent') end)
        raises('filled by the runtime', future:channel().send, future:channel(), 1)
        raises('filled by the runtime', future:channel().close, future:channel())",
    );
}

#[test]
fn a_call_holds_up_only_its_coroutine_and_works_in_pcall_and_in_generators() {
    passes(
        "local me, done = process.pid(), channel.new(3)
        for n = 1, 3 do
            coroutine.spawn(function() done:send({n, funcs.call('app:fn_asked', me)}) end)
        end
        local pids = process.listen('pid')
        local asked = {pids:receive(), pids:receive(), pids:receive()}
        for n = 3, 1, -1 do
            -- Its monitor is not the program's own.
            assert(process.unmonitor(asked[n]) == nil)
            process.send(asked[n], 'answer', n * 10)
            local got = done:receive()
            assert(got[1] * 10 == got[2] and got[2] == n * 10)
        end
        local ok, five = pcall(funcs.call, 'app:fn_add', 2, 3)
        assert(ok and five == 5)
        local sums = coroutine.wrap(function()
            for n = 1, 3 do coroutine.yield(funcs.async('app:fn_add', n, n):await()) end
        end)
        assert(sums() == 2 and sums() == 4 and sums() == 6)
        local got = channel.select{process.events():case_receive(), process.inbox():case_receive(), default = true}
        assert(got.channel == nil)",
    );
}

// Futures

#[test]
fn a_future_gives_its_result_as_often_as_it_is_awaited_and_to_all_who_do() {
    passes(
        "local me = process.pid()
        local future = funcs.async('app:fn_asked', me)
        assert(not future:is_done())
        local got = channel.new(3)
        for n = 1, 3 do
            coroutine.spawn(function() got:send(future:await()) end)
        end
        process.send(process.listen('pid'):receive(), 'answer', {n = 1})
        local first = got:receive()
        assert(first.n == 1 and got:receive() == first and got:receive() == first)
        assert(future:await() == first and future:is_done())",
    );
}

#[test]
fn futures_run_beside_each_other() {
    passes(
        "local me = process.pid()
        local first, second = funcs.async('app:fn_asked', me), funcs.async('app:fn_asked', me)
        local pids = process.listen('pid')
        local one, two = pids:receive(), pids:receive()
        process.send(two, 'answer', 2)
        assert(second:await() == 2 and not first:is_done())
        process.send(one, 'answer', 1)
        assert(first:await() == 1)",
    );
}

#[test]
fn the_channel_of_a_future_gets_its_result_once_and_is_closed_then() {
    passes(
        "local before, after = funcs.async('app:fn_add', 1, 2), funcs.async('app:fn_refuses')
        local ch = before:channel()
        assert(ch == before:channel())
        assert(ch:receive().value == 3)
        local again, ok = ch:receive()
        assert(again == nil and ok == false and before:await() == 3)
        after:await()
        assert(after:channel():receive().error:kind() == errors.CONFLICT)
        again, ok = after:channel():receive()
        assert(again == nil and ok == false)",
    );
}

#[test]
fn a_future_stands_in_a_select_beside_channels_and_timers() {
    passes(
        "local time = require('time')
        local slow, quick = funcs.async('app:fn_waits'), funcs.async('app:fn_add', 1, 2)
        local never = channel.new(0)
        local got = channel.select{slow:case_receive(), never:case_receive(), quick:case_receive()}
        assert(got.ok and got.channel == quick:channel() and got.value.value == 3 and got.value.error == nil)
        got = channel.select{slow:case_receive(), time.after('5ms'):case_receive()}
        assert(got.channel ~= slow:channel())
        got = channel.select{slow:case_receive(), default = true}
        assert(got.channel == nil)",
    );
}

#[test]
fn a_canceled_future_ends_its_function_at_once_and_says_so_to_all() {
    passes(
        "for _, name in {'app:fn_waits', 'app:fn_spins'} do
            local future, got = funcs.async(name), channel.new(1)
            local ch = future:channel()
            coroutine.spawn(function() got:send({future:await()}) end)
            require('time').sleep('5ms')
            assert(future:cancel() == true)
            assert(future:is_done() and future:cancel() == false)
            local value, err = future:await()
            assert(value == nil and err:kind() == errors.CANCELED and got:receive()[2] == err)
            assert(ch:receive().error == err)
        end
        local done = funcs.async('app:fn_add', 1, 2)
        assert(done:await() == 3 and done:cancel() == false and done:await() == 3)
        require('time').sleep('5ms')
        assert(channel.select{process.events():case_receive(), default = true}.channel == nil)",
    );
}

#[test]
fn what_awaits_a_future_wakes_also_when_it_was_preempted_just_before() {
    passes(
        "for n = 1, 200 do
            local future = funcs.async('app:fn_add', n, 0)
            for _ = 1, n * 500 do end
            assert(future:await() == n)
        end",
    );
}

#[test]
fn the_calls_that_a_process_waits_for_end_with_it() {
    let mut world = world(
        "local funcs = require('funcs')
        local function main()
            local futures = {funcs.async('app:fn_waits'), funcs.async('app:fn_spins')}
            futures[2]:channel()
            coroutine.spawn(funcs.call, 'app:fn_waits')
            funcs.call('app:fn_waits')
        end",
    );
    let main = world.spawn("app:main", Vec::new());
    world.run_until(|world| world.shard.node().hosts[main.host()].living() == 5);
    world.shard.end(main, Exit::terminated(None));
    assert_eq!(world.exit().error.map(|error| error.kind), Some(Kind::Canceled));
    world.run_until(|world| world.shard.node().hosts[main.host()].living() == 0);
}

#[test]
fn a_process_waits_for_at_most_a_thousand_results_and_is_told_so() {
    passes(
        "local futures = {}
        while true do
            local future, err = funcs.async('app:fn_waits', #futures)
            if not future then
                assert(err:kind() == errors.UNAVAILABLE and err:retryable())
                assert(err:message() == 'funcs.async: a process waits for the results of at most 1000 others', err:message())
                break
            end
            table.insert(futures, future)
        end
        assert(#futures == 1000)
        local value, err = funcs.call('app:fn_silent')
        assert(value == nil and err:kind() == errors.UNAVAILABLE)
        for _, future in futures do assert(future:cancel()) end
        -- There is room again when they have ended.
        repeat
            require('time').sleep('1ms')
            value, err = funcs.call('app:fn_add', 1, 2)
        until value == 3",
    );
}

#[test]
fn a_host_without_room_refuses_a_call_and_names_its_limit() {
    let main = "local funcs = require('funcs')
        local function main()
            local value, err = funcs.call('app:fn_silent')
            assert(value == nil and err:kind() == errors.UNAVAILABLE)
            return err:message()
        end";
    let mut world = World::new(&[("app:main", main), ("app:fn_silent", ENTRIES[3].1)], |host| host.max_processes = 1);
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert!(format!("{:?}", exit.value).contains("max_processes is 1"), "{exit:?}");
}

#[test]
fn large_results_that_come_all_at_once_harm_nobody_and_end_at_most_who_asked_for_too_much() {
    // All come in one slice, which has taken more than its limit when it gets to the error.
    let futures = "for n = 1, 60 do all[n] = funcs.async('fn_large', 100 + n) end
        all[61] = funcs.async('fn_complains')
        for _, future in all do future:await() end";
    let coroutines = "local done = channel.new(61)
        for n = 1, 61 do
            coroutine.spawn(function()
                all[n] = { funcs.call(if n < 61 then 'fn_large' else 'fn_complains', 100 + n) }
                done:send(true)
            end)
        end
        for _ = 1, 61 do done:receive() end";
    for body in [futures, coroutines] {
        let text = format!(
            "local funcs, time = require('funcs'), require('time') local function main() local all = {{}} {body} time.sleep('1ms') return true end"
        );
        let mut world = world(&text);
        world.spawn("app:main", Vec::new());
        if let Some(error) = world.exit().error {
            assert!(error.kind == Kind::Unavailable && error.message.contains("memory_limit"), "{error}");
        }
        world.spawn("app:process", Vec::new());
        assert_eq!(world.exit().error, None);
    }
}

#[test]
fn a_result_that_nobody_awaits_troubles_nobody() {
    passes(
        "for n = 1, 300 do funcs.async('app:fn_add', n, n) end
        require('time').sleep('20ms')
        assert(channel.select{process.events():case_receive(), process.inbox():case_receive(), default = true}.channel == nil)",
    );
}

#[test]
fn a_future_that_its_program_has_bent_harms_only_the_program() {
    passes(
        "local time = require('time')
        for _, bend in {
            function(f) rawset(f, '_end', 5) end,
            function(f) rawset(f, '_channel', {}) end,
            function(f) rawset(f, '_pid', process.pid()) end,
            function(f) rawset(f, '_pid', {}) end,
        } do
            local future = funcs.async('app:fn_add', 1, 1)
            bend(future)
            pcall(future.cancel, future)
        end
        time.sleep('5ms')",
    );
    let mut world = world(
        "local funcs = require('funcs')
        local function main()
            local future = funcs.async('app:fn_silent')
            rawset(future, '_end', setmetatable({}, {__index = function() while true do end end}))
            process.inbox():receive()
        end",
    );
    world.spawn("app:main", Vec::new());
    let error = world.exit().error.expect("an end");
    assert!(error.message.contains("ran for more than 10 ms"), "{error}");
}

// Values that travel

#[test]
fn context_travels_through_calls_and_back_into_processes() {
    passes(
        "local ctx = require('ctx')
        assert(next(funcs.call('app:fn_context')) == nil)
        local ann = funcs.with_context({user = 'ann', n = 1})
        assert(getmetatable(ann) == 'caller' and not pcall(rawset, ann, '_context', {}))
        for _, deeper in {false, true, 'spawn'} do
            local got = ann:call('app:fn_context', deeper)
            assert(got.user == 'ann' and got.n == 1)
            got = ann:with_context({n = 2}):async('fn_context', deeper):await()
            assert(got.user == 'ann' and got.n == 2)
        end
        assert(next(funcs.call('app:fn_context')) == nil and next(ctx.all()) == nil)
        local got = process.with_context({user = 'bob'}):exec('app:context', 'app:processes')
        assert(got.user == 'bob')",
    );
}
