//! `process.upgrade`: new code in the same process.

#[path = "programs/world.rs"]
mod world;
use kernel::probe::Counts;
use world::World;

/// Programs that others give way to.
const OTHERS: &[(&str, &str)] = &[
    ("app:gives", "local function main(...) return {...} end"),
    ("app:waits", "local function main() process.inbox():receive() error('told to') end"),
    ("app:raises", "error('burnt')"),
    ("app:nothing", "local function other() end return {other = other}"),
    ("app:lib_one", "loads = (loads or 0) + 1 return {loads = function() return loads end}"),
    // Becomes another program as soon as it is told to.
    (
        "app:becomes",
        "local function main(id, ...)
            process.inbox():receive()
            process.upgrade(id, ...)
        end",
    ),
    // Sends all its unread messages on, then ends.
    (
        "app:forwards",
        "local function main(to)
            while true do
                local msg = process.inbox():receive()
                if msg:topic() == 'end' then return end
                process.send(to, 'was', {topic = msg:topic(), data = msg:payload():data(), from = msg:from()})
            end
        end",
    ),
];

/// Runs a program that returns `true`, or says what went wrong; with others beside it.
fn passes_beside(main: &str, beside: &[(&str, &str)]) {
    let mut sources = vec![("app:main", main)];
    sources.extend_from_slice(beside);
    sources.extend_from_slice(OTHERS);
    let mut world = World::new(&sources, |_| {});
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!(exit.error, None, "{main}");
    assert_eq!(exit.value.as_ref().map(|value| format!("{value:?}")).as_deref(), Some("true"), "{main}");
}

fn passes(main: &str) {
    passes_beside(main, &[]);
}

fn running_timers(world: &World) -> u64 {
    world.shard.node().gauges().map(|gauges| Counts::read(gauges).timers).sum()
}

#[test]
fn new_code_takes_the_arguments_and_nothing_else_of_the_old_runs() {
    passes(
        "local function main()
            local pid = process.spawn_monitored('app:becomes', 'app:processes', 'gives', 1, {deep = {2}}, nil, 'x')
            process.send(pid, 'go')
            local event = process.events():receive()
            assert(event.from == pid and event.result.error == nil)
            local value = event.result.value
            assert(value[1] == 1 and value[2].deep[1] == 2 and value[3] == nil and value[4] == 'x')
            return true
        end",
    );
}

#[test]
fn without_an_entry_it_is_its_own_that_begins_anew() {
    passes(
        "local lib = require('lib_one')
        runs = (runs or 0) + 1
        local function main(state, pid, old)
            -- A fresh environment: no globals, libraries loaded again, channels made again.
            assert(runs == 1 and lib.loads() == 1)
            if not state then
                process.upgrade(nil, 1, process.pid())
            elseif state < 3 then
                assert(process.pid() == pid)
                leftover = true
                process.upgrade(nil, state + 1, pid)
            end
            assert(leftover == nil and state == 3 and process.pid() == pid)
            return true
        end",
    );
}

#[test]
fn what_is_wrong_beforehand_is_told_and_nothing_has_happened() {
    passes(
        "local function main()
            local me, news, ticks = process.pid(), process.listen('news'), 0
            coroutine.spawn(function() news:receive() ticks += 1 end)
            local function fails(kind, text, ...)
                local ok, err = process.upgrade(...)
                assert(ok == nil and err:kind() == kind and string.find(err:message(), text, 1, true), tostring(err))
            end
            fails(errors.NOT_FOUND, 'process.upgrade: no entry \"app:give\" (did you mean \"app:gives\"?)', 'app:give')
            fails(errors.NOT_FOUND, 'process.upgrade: \"app:lib_one\" is a library.lua; expected a process.lua', 'app:lib_one')
            local function raises(text, ...)
                local ok, err = pcall(process.upgrade, ...)
                assert(not ok and string.find(err, text, 1, true), err)
            end
            raises('process.upgrade(id, ...): id: expected an entry such as', 5)
            raises('process.upgrade(id, ...): argument 2: a function cannot be sent (at .f)', 'app:gives', 1, {f = print})
            raises('process.upgrade(id, ...): argument 1: a thread cannot be sent', nil, coroutine.running())
            local loop = {} loop.loop = loop
            raises('argument 1: a table that contains itself', nil, loop)
            for _, act in {
                function() table.sort({2, 1}, function() process.upgrade('app:gives') end) end,
                function() return setmetatable({}, {__index = function() process.upgrade('app:gives') end}).x end,
                function() string.gsub('a', 'a', function() process.upgrade('app:gives') end) end,
            } do
                local ok, err = pcall(act)
                assert(not ok and string.find(err, 'process.upgrade(id, ...): cannot wait inside', 1, true), err)
            end
            process.send(me, 'news')
            process.send(me, 'x')
            process.inbox():receive()
            require('time').sleep('1ms')
            assert(ticks == 1)
            return true
        end",
    );
}

#[test]
fn a_failure_after_the_switch_ends_the_process_as_any_other() {
    passes(
        "local function main()
            process.set_options({trap_links = true})
            for entry, text in {['app:raises'] = 'burnt', ['app:nothing'] = 'has no function \"main\"', ['app:waits'] = 'told to'} do
                local pid = process.spawn_linked_monitored('app:becomes', 'app:processes', entry)
                process.send(pid, 'go')
                process.send(pid, 'go')
                local seen = {}
                for _ = 1, 2 do
                    local event = process.events():receive()
                    seen[event.kind] = event
                end
                for _, kind in {process.event.EXIT, process.event.LINK_DOWN} do
                    local event = seen[kind]
                    assert(event.from == pid and string.find(event.result.error:message(), text, 1, true), tostring(event.result.error))
                end
            end
            return true
        end",
    );
}

#[test]
fn unread_mail_stays_in_the_order_in_which_it_came() {
    let holder = "local function main(to)
        local a, b, c = process.listen('a'), process.listen('b', {message = true}), process.listen('c')
        local go = process.listen('go')
        -- Takes all that has come, so that it lies on the lanes; some wait for more.
        coroutine.spawn(function() process.listen('never'):receive() end)
        assert(b:receive():payload():data() == 1 and c:receive() == 2)
        go:receive()
        assert(process.inbox():receive():payload():data() == 3)
        coroutine.spawn(function() coroutine.wrap(function() pcall(process.upgrade, 'app:forwards', to) end)() end)
        process.events():receive()
    end";
    passes_beside(
        "local function main()
            local me, got = process.pid(), process.listen('was')
            local pid = process.spawn('app:holder', 'app:processes', me)
            for n = 1, 40 do process.send(pid, ({'a', 'b', 'c', 'd'})[n % 4 + 1], n) end
            process.send(pid, 'go')
            for n = 41, 60 do process.send(pid, 'a', n) end
            process.send(pid, 'end')
            -- The first three were received by the old code.
            for n = 4, 60 do
                local was = got:receive()
                assert(was.data == n and was.from == me and was.topic == (if n > 40 then 'a' else ({'a', 'b', 'c', 'd'})[n % 4 + 1]), was.data)
            end
            return true
        end",
        &[("app:holder", holder)],
    );
}

#[test]
fn events_that_were_not_received_stay_too_and_joins_keep_their_shape() {
    passes_beside(
        "local function main()
            local pid = process.spawn_monitored('app:old', 'app:processes', process.pid())
            process.inbox():receive()
            process.cancel(pid, 'soon')
            local pg = require('pg')
            pg.join('players')
            process.send(pid, 'go')
            local result = process.events():receive().result
            assert(result.error == nil, tostring(result.error))
            assert(result.value == 'soon players ' .. process.pid() .. ' pid.exit')
            return true
        end",
        &[
            (
                "app:old",
                "local pg = require('pg')
                local function main(to)
                    pg.monitor('players')
                    process.events()
                    local gone = process.spawn_monitored('app:waits', 'app:processes')
                    process.send(to, 'ready')
                    process.inbox():receive()
                    process.terminate(gone)
                    process.upgrade('app:new', gone)
                end",
            ),
            (
                "app:new",
                "local function main(gone)
                    local events = process.events()
                    local cancel, join, exit = events:receive(), events:receive(), events:receive()
                    assert(cancel.kind == 'pid.cancel' and join.kind == 'pg.join' and exit.from == gone)
                    return cancel.reason .. ' ' .. join.group .. ' ' .. join.pid .. ' ' .. exit.kind
                end",
            ),
        ],
    );
}

#[test]
fn names_groups_relations_options_and_context_stay() {
    passes_beside(
        "local pg = require('pg')
        local function main()
            process.set_options({trap_links = true})
            local me = process.pid()
            local pid = process.with_context({user = 'ann'}):spawn_linked_monitored('app:old', 'app:processes', me)
            process.inbox():receive()
            process.monitor(me)
            assert(process.registry.lookup('tea') == pid and pg.members('players')[1] == pid)
            assert(process.send('tea', 'to the name', 1) and pg.broadcast('players', 'to the group', 2) == 1)
            local other = process.inbox():receive():payload():data()
            -- The monitor and the link of the old code are those of the new.
            process.terminate(other)
            local kinds = process.inbox():receive():payload():data()
            assert(kinds == 'pid.exit pid.link.down', kinds)
            local seen = process.events():receive().kind .. ' ' .. process.events():receive().kind
            assert(seen == 'pid.exit pid.link.down', seen)
            assert(process.registry.lookup('tea') == nil and #pg.members('players') == 0)
            return true
        end",
        &[
            (
                "app:old",
                "local pg = require('pg')
                local function main(to)
                    process.set_options({trap_links = true})
                    process.registry.register('tea')
                    pg.join('players')
                    local other = process.spawn_linked_monitored('app:waits', 'app:processes')
                    process.upgrade('app:new', to, other)
                end",
            ),
            (
                "app:new",
                "local ctx = require('ctx')
                local function main(to, other)
                    assert(process.get_options().trap_links and ctx.get('user') == 'ann')
                    assert(process.registry.lookup('tea') == process.pid())
                    local ok, err = process.monitor(other)
                    assert(ok == nil and err:kind() == errors.ALREADY_EXISTS)
                    process.send(to, 'ready')
                    local inbox, events = process.inbox(), process.events()
                    assert(inbox:receive():payload():data() == 1 and inbox:receive():payload():data() == 2)
                    process.send(to, 'other', other)
                    process.send(to, 'kinds', events:receive().kind .. ' ' .. events:receive().kind)
                    error('enough')
                end",
            ),
        ],
    );
}

#[test]
fn coroutines_timers_and_calls_of_the_old_code_end_with_it() {
    let old = "local time, funcs = require('time'), require('funcs')
        local function main(to)
            local news = process.listen('news')
            local ticker, late = time.ticker('100us'), time.after('1ms')
            for _ = 1, 20 do coroutine.spawn(function() time.after('1h'):receive() end) end
            coroutine.spawn(function() while true do ticker:channel():receive() process.send(to, 'tick') end end)
            coroutine.spawn(function() time.sleep('1ms') process.send(to, 'slept') end)
            coroutine.spawn(function() late:receive() process.send(to, 'late') end)
            coroutine.spawn(function() news:receive() process.send(to, 'news') end)
            coroutine.spawn(function() process.exec('app:waits', 'app:processes') process.send(to, 'result') end)
            coroutine.spawn(function() process.exec('app:gives', 'app:processes') process.send(to, 'result') end)
            coroutine.spawn(function()
                time.sleep('200us')
                -- Time passes with all timers gone off and nothing of it taken.
                for _ = 1, 1e6 do end
                process.send(process.pid(), 'news')
                process.upgrade('app:new', to)
            end)
            channel.new():receive()
        end";
    let new = "local time = require('time')
        local function main(to)
            assert(process.inbox():receive():topic() == 'news')
            process.send(to, 'new')
            time.sleep('5ms')
            local got = channel.select{process.events():case_receive(), process.inbox():case_receive(), default = true}
            process.send(to, 'quiet', got.channel == nil)
            process.inbox():receive()
            return true
        end";
    let main = "local function main()
            local inbox = process.inbox()
            process.spawn_linked('app:old', 'app:processes', process.pid())
            while inbox:receive():topic() ~= 'new' do end
            local msg = inbox:receive()
            assert(msg:topic() == 'quiet' and msg:payload():data() == true, msg:topic())
            process.registry.register('done')
            inbox:receive()
        end";
    let mut sources = vec![("app:main", main), ("app:old", old), ("app:new", new)];
    sources.extend_from_slice(OTHERS);
    let mut world = World::new(&sources, |_| {});
    let pid = world.spawn("app:main", Vec::new());
    world.run_until(|world| {
        world.shard.enter(pid, |cx| (kernel::Next::Wait, cx.lookup("done").is_some())).expect("the program lives")
    });
    world.turn();
    // The child that was waited for is gone, and so are all timers.
    assert_eq!((world.shard.node().hosts[pid.host()].living(), running_timers(&world)), (2, 0));
}

#[test]
fn ten_thousand_upgrades_leave_nothing_behind() {
    let text = "local time, lib = require('time'), require('lib_one')
        local function main(n, pid)
            n = n or 0
            assert(lib.loads() == 1)
            if n == 10000 then
                assert(process.pid() == pid)
                for k = 1, 100 do
                    local msg = process.inbox():receive()
                    assert(msg:payload():data() == k)
                end
                return true
            end
            if n % 100 == 0 then process.send(process.pid(), 'x', n // 100 + 1) end
            local heard = process.listen(if n % 2 == 0 then 'x' else 'y')
            local ticker, late = time.ticker('1s'), time.after('1h')
            local ch, junk = channel.new(10), table.create(100, 'x')
            coroutine.spawn(function() ch:receive() ch:receive() late:receive() end)
            coroutine.spawn(function() time.sleep('1h') end)
            ch:send(1)
            local function go() pcall(process.upgrade, nil, n + 1, process.pid()) error('still here') end
            if n % 3 == 0 then go() elseif n % 3 == 1 then coroutine.wrap(go)() end
            coroutine.spawn(go)
            process.events():receive()
        end";
    let mut sources = vec![("app:main", text)];
    sources.extend_from_slice(OTHERS);
    // What is left behind would not fit.
    let mut world = World::new(&sources, |host| host.memory_limit = 1 << 20);
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!(exit.error, None);
    world.turn();
    assert_eq!(running_timers(&world), 0);
}

#[test]
fn a_program_that_upgrades_for_ever_lets_others_run() {
    let mut world = World::new(
        &[
            (
                "app:main",
                "local function main() for n = 1, 100 do process.send(process.pid(), 't') process.inbox():receive() end return true end",
            ),
            ("app:spin", "process.upgrade()"),
        ],
        |_| {},
    );
    for _ in 0..4 {
        world.spawn("app:spin", Vec::new());
    }
    world.spawn("app:main", Vec::new());
    assert_eq!(world.exit().error, None);
}

#[test]
fn a_function_says_that_it_cannot_be_upgraded() {
    passes_beside(
        "local function main()
            local value, err = require('funcs').call('app:fn_gives')
            assert(value == nil and string.find(err:message(), 'process.upgrade(id, ...): app:fn_gives runs for one call', 1, true), tostring(err))
            return true
        end",
        &[("app:fn_gives", "local function main() process.upgrade('app:gives') end")],
    );
}

// New versions

#[test]
fn an_upgrade_runs_the_newest_version_and_hears_only_of_newer_ones() {
    let text = |version: &str| {
        format!(
            "local lib = require('lib')
            local function main(seen)
                seen = `{{seen or ''}} {version}{{lib}}`
                process.inbox():receive()
                if not string.find(seen, '3') then process.upgrade(nil, seen) end
                local got = channel.select{{process.events():case_receive(), default = true}}
                return `{{seen}} {{got.value == nil}}`
            end"
        )
    };
    let mut world = World::new(&[("app:main", &text("one")), ("app:lib", "return 1")], |_| {});
    let pid = world.spawn("app:main", Vec::new());
    world.turn();
    world.reload(&[("app:main", &text("two")), ("app:lib", "return 2")]);
    world.turn();
    world.reload(&[("app:main", &text("two")), ("app:lib", "return 3")]);
    world.turn();
    // OUTDATED waits, and is news no more when the process runs what is newest.
    world.send(pid);
    world.turn();
    world.send(pid);
    let exit = world.exit();
    assert_eq!(exit.error, None);
    assert_eq!(format!("{:?}", exit.value.expect("a value")), "\" one1 two3 true\"");
}

#[test]
fn an_entry_that_is_gone_cannot_be_upgraded_to() {
    let text = "local function main()
        process.inbox():receive()
        local ok, err = process.upgrade()
        assert(ok == nil and err:kind() == errors.NOT_FOUND, tostring(err))
        ok, err = process.upgrade('app:gone')
        assert(ok == nil and err:kind() == errors.NOT_FOUND, tostring(err))
        process.upgrade('app:new', 5)
    end";
    let mut world = World::new(&[("app:main", text), ("app:gone", "return print")], |_| {});
    let pid = world.spawn("app:main", Vec::new());
    world.turn();
    world.reload(&[("app:new", "return function(n) return n + 1 end")]);
    world.send(pid);
    let exit = world.exit();
    assert_eq!((exit.error, format!("{:?}", exit.value.expect("a value"))), (None, "6".to_owned()));
}

#[test]
fn subscriptions_end_with_the_code_that_made_them() {
    passes_beside(
        "local events = require('events')
        local function main()
            local pid = process.spawn_monitored('app:old', 'app:processes', process.pid())
            process.inbox():receive()
            assert(events.publish('news.late', 2) == 0)
            process.send(pid, 'x', 3)
            local result = process.events():receive().result
            assert(result.error == nil and result.value == 3, tostring(result.error))
            return true
        end",
        &[
            (
                "app:old",
                "local events = require('events')
                local function main(to)
                    local news, rest = events.subscribe('news.*'), events.subscribe('**')
                    coroutine.spawn(function() rest:receive() rest:receive() end)
                    for _ = 1, 3 do assert(events.publish('news.early', 1) == 2) end
                    news:receive()
                    process.upgrade('app:new', to)
                end",
            ),
            (
                "app:new",
                "local function main(to)
                    process.send(to, 'ready')
                    return process.inbox():receive():payload():data()
                end",
            ),
        ],
    );
}
