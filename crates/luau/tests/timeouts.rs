//! `time.after`: a deadline that costs nothing while nobody waits for it.

#[path = "programs/world.rs"]
mod world;

use kernel::probe::Counts;
use world::{World, exit_of, passes};

fn running_timers(world: &World) -> u64 {
    world.shard.node().gauges().map(|gauges| Counts::read(gauges).timers).sum()
}

#[test]
fn a_receive_loop_with_a_timeout_leaves_nothing_behind() {
    // Half of the turns find a message, half wait for one.
    let main = "local time = require('time')
        local function main()
            local inbox, me = process.inbox(), process.pid()
            local echo = process.spawn('app:echo', 'app:processes')
            for n = 1, 100000 do
                process.send(if n % 2 == 0 then me else echo, 'x', n)
                local got = channel.select{inbox:case_receive(), time.after('30s'):case_receive()}
                assert(got.channel == inbox and got.value:payload():data() == n)
            end
            local began, late = time.now(), time.after('5ms')
            assert(channel.select{inbox:case_receive(), late:case_receive()}.channel == late)
            assert(time.now() - began >= 0.005)
            process.registry.register('looped')
            inbox:receive()
            return true
        end";
    let echo = "local function main()
            while true do
                local message = process.inbox():receive()
                process.send(message:from(), 'x', message:payload():data())
            end
        end";
    // A table for each turn would not fit.
    let mut world = World::new(&[("app:main", main), ("app:echo", echo)], |host| host.memory_limit = 1 << 20);
    let pid = world.spawn("app:main", Vec::new());
    let mut most = 0;
    world.run_until(|world| {
        most = most.max(running_timers(world));
        let looped = world.shard.enter(pid, |cx| (kernel::Next::Wait, cx.lookup("looped").is_some()));
        looped.unwrap_or_else(|| panic!("{:?}", world.exit().error))
    });
    assert!(most <= 1, "{most} timers");
    world.turn();
    assert_eq!(running_timers(&world), 0);
    world.send(pid);
    assert_eq!(world.exit().error, None);
}

#[test]
fn a_deadline_that_has_passed_is_ready_at_once_and_only_once() {
    passes(
        "local time = require('time')
        local function main()
            local began, late = time.now(), time.after('2ms')
            assert(channel.select{late:case_receive(), default = true}.channel == nil)
            time.sleep('20ms')
            local value, ok = late:receive()
            -- The time at which it was due, not that of the look.
            assert(ok and value >= began + 0.0019 and value < time.now() - 0.01, tostring(value - began))
            assert(channel.select{late:case_receive(), default = true}.channel == nil)
            -- Nor does it wait for anything that still comes.
            local ch = channel.new()
            coroutine.spawn(function() time.sleep('1ms') ch:send(1) end)
            assert(channel.select{late:case_receive(), ch:case_receive()}.channel == ch)
            return true
        end",
    );
}

#[test]
fn of_two_who_wait_for_a_deadline_the_first_gets_it_and_the_other_waits_on() {
    passes(
        "local time = require('time')
        local function main()
            local late, other, out = time.after('3ms'), channel.new(), channel.new(2)
            coroutine.spawn(function() assert(type(late:receive()) == 'number') out:send('first') end)
            coroutine.spawn(function()
                local got = channel.select{late:case_receive(), other:case_receive()}
                out:send(if got.channel == other then 'second' else 'both')
            end)
            assert(out:receive() == 'first')
            time.sleep('3ms')
            assert(channel.select{out:case_receive(), default = true}.channel == nil)
            other:send(1)
            assert(out:receive() == 'second')
            return true
        end",
    );
    let error = exit_of(
        "local time = require('time')
        local function main()
            local late = time.after('1ms')
            coroutine.spawn(function() late:receive() late:receive() end)
            channel.select{late:case_receive(), late:case_receive()} late:receive()
        end",
    )
    .error
    .unwrap();
    assert!(error.message.contains("deadlock"), "{error}");
}

#[test]
fn a_select_may_wait_for_several_deadlines_for_one_twice_and_beside_a_ticker() {
    passes(
        "local time = require('time')
        local function main()
            local never = channel.new()
            local slow, quick, ticker = time.after('1h'), time.after('4ms'), time.ticker('1ms')
            local cases = {slow:case_receive(), quick:case_receive(), ticker:channel():case_receive(),
                quick:case_receive(), never:case_receive()}
            local ticks, got = 0, nil
            repeat
                got = channel.select(cases)
                ticks += if got.channel == ticker:channel() then 1 else 0
            until got.channel == quick
            assert(got.ok and type(got.value) == 'number' and ticks > 0)
            ticker:stop()
            -- What is due soonest counts, wherever it stands.
            for _, cases in {{'1h', '1ms', '2h'}, {'1ms', '1h', '2h'}, {'2h', '1h', '1ms'}} do
                local channels, list = {}, {}
                for n, duration in cases do
                    channels[n] = time.after(duration)
                    list[n] = channels[n]:case_receive()
                end
                assert(channel.select(list).channel == channels[table.find(cases, '1ms')])
            end
            return true
        end",
    );
}

#[test]
fn a_deadline_is_waited_for_in_pcall_and_in_coroutines_of_coroutines() {
    passes(
        "local time = require('time')
        local function main()
            local inbox, waits = process.inbox(), {}
            waits[1] = function() return (time.after('1ms'):receive()) end
            waits[2] = function() return channel.select{inbox:case_receive(), time.after('1ms'):case_receive()}.value end
            for _, wait in waits do
                assert(select(2, assert(pcall(wait))))
                local inner = coroutine.wrap(function()
                    while true do coroutine.yield(coroutine.wrap(wait)()) end
                end)
                for _ = 1, 3 do assert(type(inner()) == 'number') end
                local ok, err = pcall(table.sort, {2, 1}, function() wait() end)
                assert(not ok and string.find(tostring(err), 'cannot wait inside'))
            end
            return true
        end",
    );
}

#[test]
fn deadlines_may_be_very_near_and_very_far() {
    let mut world = World::of(
        "local time = require('time')
        local function main()
            -- Even the nearest one is waited for: others have their turn.
            local spinning = true
            coroutine.spawn(function() spinning = false end)
            for _ = 1, 1000 do
                if not spinning then break end
                for _, duration in {0, -1, '0s', 1, '1us'} do
                    assert(type(time.after(duration):receive()) == 'number')
                end
            end
            assert(not spinning)
            local inbox = process.inbox()
            for _, duration in {math.huge, 9e18, 1e300, '100000h'} do
                local far = time.after(duration)
                assert(channel.select{far:case_receive(), inbox:case_receive(), default = true}.channel == nil)
                process.registry.register('waits')
                assert(channel.select{far:case_receive(), inbox:case_receive()}.channel == inbox)
            end
            for _, wrong in {0/0, 'soon', {}, ''} do
                local ok, err = pcall(time.after, wrong)
                assert(not ok and string.find(tostring(err), 'time.after(duration): duration: ', 1, true), tostring(err))
            end
            return true
        end",
    );
    let pid = world.spawn("app:main", Vec::new());
    world.run_until(|world| {
        world.shard.enter(pid, |cx| (kernel::Next::Wait, cx.lookup("waits").is_some())).expect("the program lives")
    });
    for _ in 0..4 {
        world.send(pid);
        world.turn();
    }
    assert_eq!(world.exit().error, None);
}

#[test]
fn a_select_is_fair_between_a_deadline_that_has_passed_and_what_else_is_ready() {
    passes(
        "local time = require('time')
        local function main()
            local deadlines, ch, counts = {}, channel.new(1), {0, 0}
            for n = 1, 2000 do deadlines[n] = time.after('1ms') end
            time.sleep('3ms')
            for _, late in deadlines do
                channel.select{ch:case_send(1), default = true}
                local got = channel.select{ch:case_receive(), late:case_receive()}
                counts[if got.channel == ch then 1 else 2] += 1
            end
            assert(counts[1] > 1000 - 140 and counts[1] < 1000 + 140, tostring(counts[1]))
            return true
        end",
    );
}

#[test]
fn a_wait_that_would_be_one_timer_too_many_raises_and_nothing_stays_of_it() {
    passes(
        "local time = require('time')
        local function main()
            local go, ch = channel.new(), channel.new()
            local tickers = {}
            for n = 1, 10000 do tickers[n] = time.ticker('1h') end
            local late = time.after('1h')
            assert(channel.select{late:case_receive(), default = true}.channel == nil)
            for what, wait in {
                ['channel.select'] = function() channel.select{ch:case_receive(), late:case_receive()} end,
                ['channel:receive()'] = function() late:receive() end,
            } do
                local ok, err = pcall(wait)
                assert(not ok and string.find(tostring(err), what .. ': a process has at most 10000 timers', 1, true), tostring(err))
            end
            -- Nobody waits for the channel any more.
            assert(channel.select{ch:case_send(1), default = true}.channel == nil)
            tickers[1]:stop()
            coroutine.spawn(function() channel.select{ch:case_receive(), late:case_receive()} go:send(1) end)
            ch:send(1)
            assert(go:receive() == 1)
            return true
        end",
    );
}

#[test]
fn who_waits_for_mail_hears_of_it_although_another_coroutine_had_the_same_number_once() {
    passes(
        "local time = require('time')
        local function main()
            local inbox, ch, never, out = process.inbox(), channel.new(), channel.new(), channel.new()
            coroutine.spawn(function() channel.select{inbox:case_receive(), ch:case_receive()} end)
            time.sleep('1ms')
            ch:send(1)
            time.sleep('1ms')
            coroutine.spawn(function() never:receive() end)
            coroutine.spawn(function() out:send(channel.select{inbox:case_receive(), never:case_receive()}.channel) end)
            time.sleep('1ms')
            process.send(process.pid(), 'x')
            local late = time.after('10s')
            assert(channel.select{out:case_receive(), late:case_receive()}.value == inbox)
            return true
        end",
    );
}
