//! Channels and coroutines: what a program can rely on among its own coroutines, and how it ends when they cannot go on.

#[path = "programs/world.rs"]
mod world;
use kernel::{Error, Kind};
use world::{World, exit_of, passes};

// Select

#[test]
fn select_serves_each_of_the_ready_cases_equally_often() {
    // Four cases of which three are ready: the gap favours nobody. Two selects a turn: no case is always first.
    passes(
        "local function main()
            local a, b, never, c = channel.new(1), channel.new(1), channel.new(), channel.new(1)
            local counts = {[a] = 0, [b] = 0, [c] = 0}
            local second = {[a] = 0, [b] = 0}
            for _ = 1, 3000 do
                for _, ch in {a, b, c} do channel.select{ch:case_send(true), default = true} end
                local got = channel.select{a:case_receive(), b:case_receive(), never:case_receive(), c:case_receive()}
                counts[got.channel] += 1
                for _, ch in {a, b} do channel.select{ch:case_send(true), default = true} end
                second[channel.select{a:case_receive(), b:case_receive()}.channel] += 1
            end
            -- Six standard deviations; the sequence of a process is the same in every run.
            for _, count in counts do assert(count > 1000 - 155 and count < 1000 + 155, tostring(count)) end
            for _, count in second do assert(count > 1500 - 165 and count < 1500 + 165, tostring(count)) end
            return true
        end",
    );
}

#[test]
fn select_is_fair_between_sends_receives_and_mail() {
    passes(
        "local function main()
            local me, inbox, ch, out = process.pid(), process.inbox(), channel.new(1), channel.new(3000)
            local counts = {[inbox] = 0, [ch] = 0, [out] = 0}
            for _ = 1, 3000 do
                process.send(me, 'x')
                channel.select{ch:case_send(1), default = true}
                local got = channel.select{inbox:case_receive(), ch:case_receive(), out:case_send(2)}
                assert(got.ok)
                counts[got.channel] += 1
                if got.channel ~= inbox then inbox:receive() end
            end
            for _, count in counts do assert(count > 1000 - 155 and count < 1000 + 155, tostring(count)) end
            return true
        end",
    );
}

#[test]
fn select_sends_and_receives_on_one_channel_and_never_to_itself() {
    passes(
        "local time = require('time')
        local function main()
            local ch, order = channel.new(), {}
            coroutine.spawn(function()
                local got = channel.select{ch:case_receive(), ch:case_send('from a'), ch:case_receive()}
                order[#order + 1] = got
            end)
            time.sleep('1ms')
            assert(#order == 0)
            -- Only the other one can take it or give it.
            local got = channel.select{ch:case_receive(), ch:case_send('from b')}
            time.sleep('1ms')
            assert(#order == 1 and got.channel == ch and order[1].channel == ch and got.ok and order[1].ok)
            assert((got.value == 'from a') ~= (order[1].value == 'from b'))
            assert(channel.select{ch:case_receive(), default = true}.ok == false)
            assert(channel.select{ch:case_send(1), default = true}.ok == false)
            return true
        end",
    );
}

#[test]
fn a_select_that_waits_is_served_once_however_many_could() {
    passes(
        "local time = require('time')
        local function main()
            local a, b, got = channel.new(), channel.new(), {}
            coroutine.spawn(function() got[1] = channel.select{a:case_receive(), b:case_receive(), a:case_receive()}.value end)
            time.sleep('1ms')
            assert(channel.select{a:case_send('first'), default = true}.channel == a)
            assert(channel.select{a:case_send('second'), default = true}.channel == nil)
            assert(channel.select{b:case_send('second'), default = true}.channel == nil)
            time.sleep('1ms')
            assert(got[1] == 'first')
            return true
        end",
    );
}

#[test]
fn select_takes_sends_that_wait_and_gives_to_receives_that_wait() {
    passes(
        "local time = require('time')
        local function main()
            local ch, log = channel.new(), {}
            coroutine.spawn(function() ch:send('sent') log.sent = true end)
            time.sleep('1ms')
            assert(not log.sent)
            local got = channel.select{ch:case_receive(), default = true}
            assert(got.channel == ch and got.value == 'sent' and got.ok)
            coroutine.spawn(function() log.value = ch:receive() end)
            time.sleep('1ms')
            assert(log.sent and channel.select{ch:case_send('given'), default = true}.ok)
            time.sleep('1ms')
            assert(log.value == 'given')
            return true
        end",
    );
}

#[test]
fn wrong_cases_are_refused_with_the_call_as_written() {
    passes(
        "local function main()
            local call = 'channel.select{case, ..., default=true}'
            local function raises(text, act, ...)
                local ok, err = pcall(act, ...)
                assert(not ok and string.find(err, text, 1, true), err)
            end
            raises(call .. ': expected a table of cases, got nil', channel.select, nil)
            raises(call .. ': case 1: expected ch:case_receive() or ch:case_send(value), got table', channel.select, {channel.new()})
            raises(call .. ': no case and no default', channel.select, {})
            raises(call .. ': case 1: a channel that the runtime fills cannot be sent to', channel.select, {process.inbox():case_send(1)})
            assert(channel.select{default = true}.ok == false)
            raises('channel:send(value): call it with a colon on a channel, got nil', channel.new().send)
            raises('channel:send(value): this channel is filled by the runtime', process.events().send, process.events(), 1)
            raises('channel:close(): this channel is filled by the runtime', process.inbox().close, process.inbox())
            for _, size in {-1, 1.5, 0/0, math.huge, 'two', {}} do raises('channel.new(size): expected a whole number from 0', channel.new, size) end
            assert(channel.new(1e15):send(1))
            return true
        end",
    );
}

// Close

#[test]
fn close_ends_receives_that_wait_and_lets_what_is_buffered_be_received() {
    passes(
        "local time = require('time')
        local function main()
            local ch, ended = channel.new(2), 0
            for _ = 1, 3 do
                coroutine.spawn(function()
                    local value, ok = ch:receive()
                    assert(value == nil and ok == false)
                    ended += 1
                end)
            end
            coroutine.spawn(function()
                local got = channel.select{ch:case_receive(), process.inbox():case_receive()}
                assert(got.channel == ch and got.value == nil and got.ok == false)
                ended += 1
            end)
            time.sleep('1ms')
            ch:close()
            time.sleep('1ms')
            assert(ended == 4)
            local full = channel.new(2)
            full:send(nil) full:send(false) full:close()
            local value, ok = full:receive()
            assert(value == nil and ok == true)
            value, ok = full:receive()
            assert(value == false and ok == true)
            for _ = 1, 3 do
                value, ok = full:receive()
                assert(value == nil and ok == false)
            end
            return true
        end",
    );
}

#[test]
fn close_raises_in_sends_that_wait_and_in_all_later_ones() {
    passes(
        "local time = require('time')
        local function main()
            local ch, errs = channel.new(1), {}
            ch:send('kept')
            for n = 1, 2 do
                coroutine.spawn(function()
                    local ok, err = pcall(ch.send, ch, 'lost')
                    assert(not ok)
                    errs[#errs + 1] = err
                end)
            end
            coroutine.spawn(function()
                local ok, err = pcall(channel.select, {ch:case_send('lost')})
                assert(not ok)
                errs[#errs + 1] = err
            end)
            time.sleep('1ms')
            ch:close()
            time.sleep('1ms')
            assert(#errs == 3)
            for _, err in errs do assert(string.find(err, 'closed'), err) end
            assert(ch:receive() == 'kept' and select(2, ch:receive()) == false)
            local ok, err = pcall(ch.send, ch, 1)
            assert(not ok and string.find(err, 'channel:send(value): the channel is closed', 1, true), err)
            ok, err = pcall(channel.select, {ch:case_send(1), default = true})
            assert(not ok and string.find(err, 'a case sends to a closed channel', 1, true), err)
            ok, err = pcall(ch.close, ch)
            assert(not ok and string.find(err, 'channel:close(): the channel is closed already', 1, true), err)
            return true
        end",
    );
}

// Order and room

#[test]
fn a_channel_keeps_the_order_of_its_values_and_of_those_who_wait() {
    passes(
        "local time = require('time')
        local function main()
            local ch, got = channel.new(2), {}
            for n = 1, 6 do coroutine.spawn(function() ch:send(n) end) end
            time.sleep('1ms')
            for n = 1, 6 do assert(ch:receive() == n) end
            for n = 1, 4 do coroutine.spawn(function() got[n] = ch:receive() end) end
            time.sleep('1ms')
            for n = 1, 4 do ch:send(n * 10) end
            time.sleep('1ms')
            for n = 1, 4 do assert(got[n] == n * 10) end
            local meet, sent = channel.new(), false
            coroutine.spawn(function() meet:send(nil) sent = true end)
            time.sleep('1ms')
            assert(not sent)
            local value, ok = meet:receive()
            assert(value == nil and ok == true)
            return true
        end",
    );
}

#[test]
fn millions_of_values_leave_nothing_behind() {
    // A channel that is looked at in every turn and never served, one that is never empty, one that meets.
    let text = "local function main()
        local idle, deep, meet, done = channel.new(), channel.new(10), channel.new(), channel.new()
        local me, inbox, news = process.pid(), process.inbox(), process.listen('news')
        for n = 1, 5 do deep:send(n) end
        coroutine.spawn(function() for n = 1, 200000 do meet:send(n) end done:close() end)
        local count = 0
        while true do
            deep:send(1) deep:receive()
            local got = channel.select{idle:case_receive(), news:case_receive(), inbox:case_receive(), meet:case_receive(), done:case_receive()}
            if got.channel == done then break end
            count += 1
        end
        assert(count == 200000)
        for n = 1, 100000 do
            process.send(me, 'x')
            inbox:receive()
            coroutine.spawn(function() meet:send(n) end)
            channel.select{idle:case_receive(), news:case_receive(), meet:case_receive()}
        end
        for n = 1, 20000 do
            process.unlisten(process.listen('topic ' .. n))
        end
        return true
    end";
    let mut world = World::new(&[("app:main", text)], |host| host.memory_limit = 1 << 20);
    world.spawn("app:main", Vec::new());
    assert_eq!(world.exit().error, None);
}

// Waiting inside of other things

#[test]
fn every_wait_works_in_pcall_in_xpcall_in_generators_and_in_nested_ones() {
    let text = "local time = require('time')
        local function main()
            local me, ch = process.pid(), channel.new()
            local waits = {
                receive = function()
                    coroutine.spawn(function() time.sleep('100us') ch:send(7) end)
                    return (ch:receive())
                end,
                send = function()
                    coroutine.spawn(function() time.sleep('100us') assert(ch:receive() == 8) end)
                    ch:send(8)
                    return 7
                end,
                select = function()
                    coroutine.spawn(function() time.sleep('100us') ch:send(7) end)
                    return channel.select{ch:case_receive(), process.inbox():case_receive()}.value
                end,
                sleep = function() time.sleep('100us') return 7 end,
                inbox = function()
                    coroutine.spawn(function() time.sleep('100us') process.send(me, 'x', 7) end)
                    return process.inbox():receive():payload():data()
                end,
                events = function()
                    coroutine.spawn(function() time.sleep('100us') process.cancel(me, '7') end)
                    return tonumber(process.events():receive().reason)
                end,
                listened = function()
                    local heard = process.listen('heard')
                    coroutine.spawn(function() time.sleep('100us') process.send(me, 'heard', 7) end)
                    return (heard:receive())
                end,
                exec = function() return process.exec('app:seven', 'app:processes') end,
            }
            local around = {
                plain = function(f) return f() end,
                pcall = function(f) return select(2, pcall(f)) end,
                xpcall = function(f) return select(2, xpcall(f, print)) end,
                failing = function(f)
                    local ok, err = pcall(function() error({value = f()}) end)
                    return not ok and err.value
                end,
                handled = function(f)
                    return select(2, xpcall(function() error(f(), 0) end, function(err) return err end))
                end,
                wrap = function(f) return coroutine.wrap(f)() end,
                resume = function(f) return select(2, coroutine.resume(coroutine.create(f))) end,
                generator = function(f)
                    local got
                    for value in coroutine.wrap(function() coroutine.yield(f()) end) do got = value end
                    return got
                end,
                nested = function(f)
                    return coroutine.wrap(function()
                        local inner = coroutine.wrap(function() coroutine.yield(select(2, pcall(f))) return 0 end)
                        return inner()
                    end)()
                end,
                spawned = function(f)
                    local result = channel.new(1)
                    coroutine.spawn(function() result:send(coroutine.wrap(f)()) end)
                    return (result:receive())
                end,
            }
            for how, run in around do
                for what, wait in waits do
                    local got = run(wait)
                    assert(got == 7, `{what} in {how}: {got}`)
                end
            end
            return true
        end";
    let mut world = World::new(&[("app:main", text), ("app:seven", "local function main() return 7 end")], |_| {});
    world.spawn("app:main", Vec::new());
    assert_eq!(world.exit().error, None);
}

#[test]
fn a_wait_in_a_metamethod_a_comparator_or_an_error_handler_raises_and_does_no_harm() {
    passes(
        "local time = require('time')
        local function main()
            local ch = channel.new()
            for _, wait in {
                function() ch:receive() end,
                function() ch:send(1) end,
                function() channel.select{ch:case_receive()} end,
                function() time.sleep('1ms') end,
                function() process.inbox():receive() end,
                function() process.exec('app:main', 'app:processes') end,
            } do
                local ok, err = pcall(table.sort, {2, 1}, wait)
                assert(not ok and string.find(err, 'cannot wait inside a metamethod', 1, true), err)
                ok, err = pcall(function() return setmetatable({}, {__add = wait}) + 1 end)
                assert(not ok and string.find(err, 'cannot wait inside', 1, true), err)
            end
            local handled
            xpcall(error, function() handled = pcall(time.sleep, '1ms') end, 'x')
            time.sleep('1ms')
            assert(channel.select{ch:case_receive(), ch:case_send(1), default = true}.ok == false)
            return true
        end",
    );
}

// Failures of coroutines

#[test]
fn an_error_in_a_coroutine_fails_the_process_with_both_tracebacks() {
    let error = exit_of(
        "local function burn()
            error('burnt')
        end
        local function cook()
            coroutine.spawn(function()
                process.inbox()
                burn()
            end)
        end
        local function main()
            cook()
            process.inbox():receive()
        end",
    )
    .error
    .unwrap();
    assert_eq!(&*error.message, "main:2: burnt");
    let stack = error.stack.unwrap().to_string();
    let (raised, spawned) = stack.split_once("in a coroutine spawned at\n").expect(&stack);
    assert!(raised.contains("main:2") && raised.contains("main:7"), "{stack}");
    assert!(spawned.contains("main:5") && spawned.contains("main:11") && !spawned.contains("[C]"), "{stack}");
}

#[test]
fn an_error_object_raised_in_a_coroutine_keeps_its_kind() {
    let error = exit_of(
        "local function main()
            coroutine.spawn(function() error(errors.new({message = 'no tea', kind = errors.CONFLICT})) end)
            process.inbox():receive()
        end",
    )
    .error
    .unwrap();
    assert_eq!((error.kind, &*error.message), (Kind::Conflict, "no tea"));
    assert!(error.stack.unwrap().contains("spawned at\nmain:2"));
}

// Deadlocks

fn deadlock(text: &str) -> Error {
    let error = exit_of(text).error.expect("a deadlock");
    assert!(error.message.starts_with("deadlock: every coroutine waits for what cannot come: main waits"), "{error}");
    error
}

#[test]
fn a_program_that_waits_for_itself_ends_and_says_where() {
    let error = deadlock("local function main()\n  local ch = channel.new()\n  ch:receive()\nend");
    assert!(error.message.ends_with("main waits to receive from a channel at main:3"), "{error}");
    assert!(error.stack.unwrap().contains("main:3"));
    let error = deadlock("local function main()\n  channel.new():send(1)\nend");
    assert!(error.message.ends_with("main waits to send to a channel at main:2"), "{error}");
    let error = deadlock("local function main()\n  channel.select{channel.new():case_receive()}\nend");
    assert!(error.message.ends_with("main waits in channel.select at main:2"), "{error}");
    // Before the function runs, too.
    let error = deadlock("channel.new():receive()");
    assert!(error.message.ends_with("at main:1"), "{error}");
}

#[test]
fn a_deadlock_names_each_coroutine_its_wait_and_its_birth() {
    let error = deadlock(
        "local function main()
            local a, b = channel.new(), channel.new(1)
            coroutine.spawn(function()
                b:send(1)
                b:send(2)
            end)
            coroutine.spawn(function()
                local inner = coroutine.wrap(function() pcall(function()
                    a:receive()
                end) end)
                inner()
            end)
            coroutine.spawn(a.receive, a)
            a:receive()
        end",
    );
    let expected = "main waits to receive from a channel at main:14; \
        coroutine 1 waits to send to a channel at main:5 (spawned at main:3 function main); \
        coroutine 2 waits to receive from a channel at main:9 (spawned at main:7 function main); \
        coroutine 3 waits to receive from a channel (spawned at main:13 function main)";
    assert!(error.message.ends_with(expected), "{error}");
}

#[test]
fn a_deadlock_of_many_names_some() {
    let error = deadlock(
        "local function main()
            local ch = channel.new()
            for _ = 1, 1000 do coroutine.spawn(function() ch:receive() end) end
            ch:receive()
        end",
    );
    assert!(error.message.ends_with("; and 992 more") && error.message.len() < 2000, "{error}");
}

#[test]
fn a_deadlock_is_found_whatever_came_before_it() {
    for before in [
        "time.sleep('1ms')",
        "process.exec('app:main', 'app:nowhere') process.send(process.pid(), 'x') process.inbox():receive()",
        // A timer that is nobody's business any more, and mail that nobody waits for.
        "time.after('1h') process.listen('x') process.send(process.pid(), 'x')",
        "local tick = time.after('1ms') tick:receive()",
        "local ticker = time.ticker('1ms') ticker:channel():receive() ticker:stop()",
        "for _ = 1, 1e7 do end",
        "coroutine.spawn(function() time.sleep('1ms') end)",
        "local ended = channel.new() coroutine.spawn(function() ended:receive() end) ended:send(1)",
    ] {
        deadlock(&format!(
            "local time = require('time') local function main() {before} coroutine.wrap(function() pcall(function() channel.new():receive() end) end)() end"
        ));
    }
    // A timer that has gone off gives nothing to a second one who waits for it.
    deadlock(
        "local time = require('time')
        local function main()
            local late, out = time.after('1ms'), channel.new()
            coroutine.spawn(function() late:receive() end)
            coroutine.spawn(function() late:receive() out:send(1) end)
            coroutine.spawn(function() channel.select{late:case_receive(), out:case_receive()} out:send(1) end)
            out:receive() out:receive()
        end",
    );
}

#[test]
fn who_waits_for_something_from_outside_is_in_no_deadlock() {
    for wait in [
        "process.inbox():receive()",
        "process.events():receive()",
        "process.listen('go'):receive()",
        "channel.select{ch:case_receive(), process.inbox():case_receive()}",
        "channel.select{process.events():case_receive(), ch:case_send(1)}",
        "coroutine.spawn(function() process.inbox():receive() out:send(1) end) out:receive()",
        "coroutine.spawn(function() channel.select{ch:case_send(1), process.listen('go'):case_receive()} out:send(1) end) out:receive()",
    ] {
        // A coroutine is parked for good beside it, which is legal.
        let text = format!(
            "local function main()
                local ch, out = channel.new(), channel.new(1)
                coroutine.spawn(function() channel.new():receive() end)
                {wait}
                return true
            end"
        );
        let mut world = World::of(&text);
        let main = world.spawn("app:main", Vec::new());
        for _ in 0..50 {
            world.turn();
        }
        let living = world.shard.node().hosts[main.host()].living();
        assert_eq!(living, 1, "{wait}");
        if wait.starts_with("process.events") || wait.starts_with("channel.select{process.events") {
            world.shard.enter(main, |cx| (kernel::Next::Wait, cx.cancel(main, None).unwrap()));
        } else {
            world.send(main);
        }
        assert_eq!(world.exit().error, None, "{wait}");
    }
    passes(
        "local time = require('time')
        local function main()
            local out = channel.new()
            coroutine.spawn(function() time.sleep('2ms') out:send(1) end)
            out:receive()
            coroutine.spawn(function() time.after('2ms'):receive() out:send(1) end)
            out:receive()
            local ticker = time.ticker('1ms')
            coroutine.spawn(function() for _ = 1, 3 do ticker:channel():receive() end ticker:stop() out:send(1) end)
            out:receive()
            return true
        end",
    );
}
