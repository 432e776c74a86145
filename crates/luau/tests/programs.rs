//! What a Luau program can rely on, proved by programs.

#[path = "programs/world.rs"]
mod world;
use kernel::Kind;
use world::{World, exit_of, passes};

#[test]
fn a_chunk_may_return_a_function_a_table_or_nothing() {
    passes("return function() return true end");
    passes("return { main = function() return true end }");
    passes("local function main() return true end");
    passes("function main() return true end -- no return, and a comment at the end");
    let exit = exit_of("return 5");
    assert!(exit.error.unwrap().message.contains("must return a function"));
}

#[test]
fn a_return_of_nil_and_an_error_is_a_failure() {
    let error = exit_of("local function main() return nil, errors.new({message='no tea', kind=errors.CONFLICT}) end")
        .error
        .unwrap();
    assert_eq!((error.kind, &*error.message), (Kind::Conflict, "no tea"));
    let error = exit_of("local function main() return nil, 'no tea' end").error.unwrap();
    assert_eq!((error.kind, &*error.message), (Kind::Internal, "no tea"));
    let error = exit_of("local function main()\n  error('burnt')\nend").error.unwrap();
    assert_eq!((error.kind, &*error.message), (Kind::Internal, "main:2: burnt"));
    assert!(error.stack.unwrap().contains("main:2"));
}

#[test]
fn a_message_to_itself_arrives_with_its_payload_copied() {
    passes(
        "local function main()
            local sent = {a = 1, list = {1, 2, 3}, deep = {x = {y = 'z'}}}
            assert(process.send(process.pid(), 'note', sent))
            sent.a = 2
            assert(process.send(process.pid(), 'several', 1, nil, 'three'))
            assert(process.send(process.pid(), 'none'))
            local inbox = process.inbox()
            local msg, ok = inbox:receive()
            assert(ok and msg:topic() == 'note' and msg:from() == process.pid())
            local data = msg:payload():data()
            assert(data.a == 1 and #data.list == 3 and data.deep.x.y == 'z')
            assert(msg:payload():data() == data)
            data = inbox:receive():payload():data()
            assert(data[1] == 1 and data[2] == nil and data[3] == 'three')
            assert(inbox:receive():payload():data() == nil)
            return true
        end",
    );
}

#[test]
fn what_cannot_be_sent_raises_and_says_where_it_stands() {
    passes(
        "local function main()
            local me = process.pid()
            local function fails(text, ...)
                local ok, err = pcall(process.send, ...)
                assert(not ok and string.find(err, text, 1, true), err)
            end
            fails('process.send(dest, topic, ...): payload: a function cannot be sent (at .a.2)', me, 't', {a = {1, print}})
            local loop = {} loop.loop = loop
            fails('contains itself', me, 't', loop)
            fails('dest: expected a PID or a registered name, got nil (did the spawn fail?)', nil, 't')
            fails('belongs to the system', me, '@t')
            fails('topic: expected a text, got table', me, {})
            local ok, err = process.send('{app:processes|7.0.ffff.1}', 't')
            assert(ok == nil and err:kind() == errors.NOT_FOUND, tostring(err))
            ok, err = process.send('nobody', 't')
            assert(ok == nil and errors.is(err, errors.NOT_FOUND) and tostring(err) == 'nobody is no registered name')
            return true
        end",
    );
}

#[test]
fn waiting_works_in_pcall_in_coroutines_and_in_nested_ones() {
    passes(
        "local time = require('time')
        local function main()
            local ok, value = pcall(function() time.sleep('1ms') return 5 end)
            assert(ok and value == 5)
            local gen = coroutine.wrap(function()
                for n = 1, 3 do
                    time.sleep('1ms')
                    local inner = coroutine.wrap(function() time.sleep('1ms') coroutine.yield(n * 10) end)
                    coroutine.yield(inner())
                end
            end)
            assert(gen() == 10 and gen() == 20 and gen() == 30)
            local sum = 0
            for n in coroutine.wrap(function() for n = 1, 3 do time.sleep('1ms') coroutine.yield(n) end end) do
                sum += n
            end
            assert(sum == 6)
            for n in function(_, n) time.sleep('1ms') return if (n or 0) < 3 then (n or 0) + 1 else nil end do sum += n end
            assert(sum == 12)
            local co = coroutine.create(function() time.sleep('1ms') error('inside') end)
            local fine, err = coroutine.resume(co)
            assert(not fine and string.find(err, 'inside'))
            process.send(process.pid(), 'later', 1)
            local got = coroutine.wrap(function() return process.inbox():receive() end)()
            assert(got:topic() == 'later')
            return true
        end",
    );
}

#[test]
fn a_wait_where_luau_cannot_suspend_raises() {
    passes(
        "local time = require('time')
        local function main()
            local ok, err = pcall(table.sort, {3, 2, 1}, function(a, b) time.sleep('1ms') return a < b end)
            assert(not ok and string.find(err, 'cannot wait inside'), err)
            ok, err = pcall(string.gsub, 'abc', 'b', function() process.inbox():receive() end)
            assert(not ok and string.find(err, 'cannot wait inside'), err)
            ok, err = pcall(function() return setmetatable({}, {__index = function() channel.new():receive() end}).x end)
            assert(not ok and string.find(err, 'cannot wait inside'), err)
            return true
        end",
    );
}

#[test]
fn channels_hand_over_buffer_close_and_select() {
    passes(
        "local time = require('time')
        local function main()
            local ch = channel.new()
            coroutine.spawn(function() for n = 1, 3 do ch:send(n) end ch:close() end)
            local sum = 0
            while true do
                local n, ok = ch:receive()
                if not ok then break end
                sum += n
            end
            assert(sum == 6)
            local buffered = channel.new(2)
            buffered:send('a') buffered:send('b')
            local full = channel.select{buffered:case_send('c'), default = true}
            assert(full.channel == nil and full.ok == false)
            assert(buffered:receive() == 'a' and buffered:receive() == 'b')
            local late = time.after('5ms')
            local got = channel.select{buffered:case_receive(), process.inbox():case_receive(), late:case_receive()}
            assert(got.channel == late and got.ok and type(got.value) == 'number')
            process.send(process.pid(), 'x', 42)
            got = channel.select{buffered:case_receive(), process.inbox():case_receive()}
            assert(got.channel == process.inbox() and got.value:payload():data() == 42)
            coroutine.spawn(function() time.sleep('2ms') process.send(process.pid(), 'y', 43) end)
            got = channel.select{buffered:case_receive(), process.inbox():case_receive()}
            assert(got.value:topic() == 'y')
            local ok, err = pcall(ch.send, ch, 1)
            assert(not ok and string.find(err, 'closed'))
            return true
        end",
    );
}

#[test]
fn select_is_fair_among_ready_cases() {
    passes(
        "local function main()
            local a, b = channel.new(1000), channel.new(1000)
            for n = 1, 1000 do a:send(n) b:send(n) end
            local count = 0
            for _ = 1, 1000 do
                if channel.select{a:case_receive(), b:case_receive()}.channel == a then count += 1 end
            end
            assert(count > 300 and count < 700, tostring(count))
            return true
        end",
    );
}

#[test]
fn a_listened_topic_no_longer_reaches_the_inbox() {
    passes(
        "local function main()
            local me = process.pid()
            process.send(me, 'news', 1)
            process.send(me, 'other', 2)
            local news = process.listen('news')
            assert(process.listen('news') == news)
            process.send(me, 'news', 3)
            assert(news:receive() == 1 and news:receive() == 3)
            assert(process.inbox():receive():payload():data() == 2)
            local full = process.listen('full', {message = true})
            process.send(me, 'full', 4)
            assert(full:receive():topic() == 'full')
            process.send(me, 'news', 5)
            assert(process.unlisten(news))
            assert(process.inbox():receive():payload():data() == 5)
            local _, ok = news:receive()
            assert(ok == false)
            return true
        end",
    );
}

#[test]
fn children_report_their_end_once_with_value_or_error() {
    let mut world = World::new(
        &[
            ("app:main",
            "local function main()
                local ok = process.spawn_monitored('child', 'processes', 'value')
                local bad = process.spawn_monitored('app:child', 'app:processes', 'error')
                local seen = {}
                for _ = 1, 2 do
                    local event = process.events():receive()
                    assert(event.kind == process.event.EXIT)
                    seen[event.from] = event.result
                end
                assert(seen[ok].value.got == 'value' and seen[ok].error == nil)
                assert(seen[bad].value == nil and string.find(tostring(seen[bad].error), 'on purpose'))
                local pid, err = process.spawn('app:chlid', 'app:processes')
                assert(pid == nil and string.find(tostring(err), 'did you mean \"app:child\"', 1, true), tostring(err))
                pid, err = process.spawn('app:child', 'app:process')
                assert(pid == nil and string.find(tostring(err), 'did you mean \"app:processes\"', 1, true), tostring(err))
                return true
            end"),
            ("app:child", "return function(what) if what == 'error' then error('on purpose') end return {got = what} end"),
        ],
        |_| {},
    );
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!(exit.error, None);
}

#[test]
fn links_trap_cancel_and_terminate() {
    let mut world = World::new(
        &[
            (
                "app:main",
                "local time = require('time')
            local function main()
                process.set_options({trap_links = true})
                local child = process.spawn_linked('app:child', 'app:processes', 'error')
                local event = process.events():receive()
                assert(event.kind == process.event.LINK_DOWN and event.from == child)
                local waiting = process.spawn_monitored('app:child', 'app:processes', 'cancel')
                assert(process.cancel(waiting, 'enough'))
                event = process.events():receive()
                assert(event.from == waiting and event.result.value == 'enough', tostring(event.result.error))
                local spinner = process.spawn_monitored('app:child', 'app:processes', 'spin')
                time.sleep('5ms')
                assert(process.terminate(spinner, 'stop it'))
                event = process.events():receive()
                assert(event.from == spinner and event.result.error:kind() == errors.CANCELED)
                assert(event.result.error:message() == 'stop it')
                local suicide = process.spawn_monitored('app:child', 'app:processes', 'self')
                event = process.events():receive()
                assert(event.from == suicide and event.result.error:kind() == errors.CANCELED)
                local ok, err = process.monitor(suicide)
                assert(ok == nil and err:kind() == errors.NOT_FOUND)
                return true
            end",
            ),
            (
                "app:child",
                "return function(what)
                if what == 'error' then error('on purpose') end
                if what == 'cancel' then
                    local event = process.events():receive()
                    assert(event.kind == process.event.CANCEL)
                    return event.reason
                end
                if what == 'self' then pcall(process.terminate, process.pid()) error('still alive') end
                while true do end
            end",
            ),
        ],
        |_| {},
    );
    world.spawn("app:main", Vec::new());
    assert_eq!(world.exit().error, None);
}

#[test]
fn names_are_held_looked_up_and_released() {
    passes(
        "local function main()
            local r = process.registry
            assert(r.register('kitchen') and r.lookup('kitchen') == process.pid())
            local ok, err = r.register('kitchen')
            assert(ok == nil and err:kind() == errors.ALREADY_EXISTS)
            assert(process.send('kitchen', 'order', 'tea'))
            assert(process.inbox():receive():payload():data() == 'tea')
            assert(r.unregister('kitchen'))
            local pid, gone = r.lookup('kitchen')
            assert(pid == nil and gone:kind() == errors.NOT_FOUND)
            ok, err = r.register('nil')
            assert(ok == nil and err:kind() == errors.INVALID)
            return true
        end",
    );
}

#[test]
fn json_is_sorted_strict_and_keeps_empty_objects() {
    passes(
        r#"local json = require("json")
        local function main()
            assert(json.encode({b = 1, a = {1, 2}, c = "x\n"}) == '{"a":[1,2],"b":1,"c":"x\\n"}')
            assert(json.encode({}) == "[]" and json.encode(json.decode("{}")) == "{}")
            assert(json.encode(json.decode('{"o":{},"l":[]}')) == '{"l":[],"o":{}}')
            assert(json.encode(json.decode('{"a":null}')) == "{}")
            for _, number in {"9.007199299254741e+18", "1.7976931348623157e+308", "0.30000000000000004", "5e-324"} do
                assert(json.decode(number) == tonumber(number) and json.encode(json.decode(number)) == number, number)
            end
            assert(json.encode(json.decode('{"a":1,"b":{"c":2,"c":null}}')) == '{"a":1,"b":{}}')
            assert(json.encode(1.5) == "1.5" and json.encode(3) == "3" and json.encode(nil) == "null")
            local text, err = json.encode("\xff")
            assert(text == nil and err:kind() == errors.INVALID)
            text, err = json.encode({a = {print}})
            assert(text == nil and string.find(err:message(), "at .a.1", 1, true), err:message())
            local value, bad = json.decode('{"a":\n oops}')
            assert(value == nil and bad:kind() == errors.INVALID and string.find(bad:message(), "line 2"), tostring(bad))
            assert(not pcall(json.decode, nil))
            local deep = string.rep("[", 10000)
            value, bad = json.decode(deep)
            assert(value == nil and bad)
            assert(json.decode('{"a":[1,null,3]}').a[3] == 3)
            process.send(process.pid(), "t", json.decode("{}"))
            assert(json.encode(process.inbox():receive():payload():data()) == "{}")
            return true
        end"#,
    );
}

#[test]
fn libraries_run_once_in_the_environment_of_the_process() {
    let mut world = World::new(
        &[
            (
                "app:main",
                "local function main()
                greeting = 'hello'
                local lib = require('lib_greet')
                assert(lib.greet('you') == 'hello you')
                assert(require('lib_greet') == lib and runs == 1)
                local ok, err = pcall(require, 'lib_gret')
                assert(not ok and string.find(err, 'did you mean \"lib_greet\"', 1, true), err)
                assert(not pcall(function() string.x = 1 end) and not pcall(function() process.send = 1 end))
                return true
            end",
            ),
            (
                "app:lib_greet",
                "runs = (runs or 0) + 1 return { greet = function(who) return greeting .. ' ' .. who end }",
            ),
        ],
        |_| {},
    );
    world.spawn("app:main", Vec::new());
    assert_eq!(world.exit().error, None);
    // Another process sees none of the first one's globals.
    let exit = exit_of("local function main() return greeting == nil and runs == nil end");
    assert_eq!(exit.error, None);
}

#[test]
fn a_loop_that_cannot_be_suspended_is_ended_and_no_pcall_outlives_it() {
    for body in [
        "table.sort({3, 2, 1, 5}, function() while true do end end)",
        "while true do pcall(table.sort, {3, 2, 1, 5}, function() while true do end end) end",
        "string.gsub('abc', 'b', function() while true do end end)",
        "string.find(string.rep('a', 200000), string.rep('a-', 100) .. 'b')",
        "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
    ] {
        let error = exit_of(&format!("local function main() {body} end")).error.unwrap();
        assert!(error.message.contains("10 ms"), "{body}: {error}");
    }
}

#[test]
fn an_endless_loop_lets_others_run() {
    let mut world = World::new(
        &[
            (
                "app:main",
                "local function main() for n = 1, 100 do process.send(process.pid(), 't') process.inbox():receive() end return true end",
            ),
            ("app:spin", "local function main() while true do end end"),
        ],
        |_| {},
    );
    for _ in 0..8 {
        world.spawn("app:spin", Vec::new());
    }
    world.spawn("app:main", Vec::new());
    assert_eq!(world.exit().error, None);
}

#[test]
fn a_process_that_takes_too_much_memory_is_ended_alone() {
    for body in [
        "local t = {} while true do t[#t + 1] = string.rep('x', 1000) .. #t end",
        "local t = {} while true do t = {t} end",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for n = 1, 1e9 do t[n] = n end",
    ] {
        let mut world = World::new(&[("app:main", &format!("local function main() {body} end"))], |host| {
            host.memory_limit = 16 << 20;
        });
        world.spawn("app:main", Vec::new());
        let error = world.exit().error.unwrap();
        assert!(error.message.contains("memory"), "{body}: {error}");
    }
}

#[test]
fn garbage_is_no_memory() {
    let mut world = World::new(
        &[(
            "app:main",
            "local function main() for n = 1, 2000 do local s = string.rep('x', 100000) .. n end return true end",
        )],
        |host| host.memory_limit = 16 << 20,
    );
    world.spawn("app:main", Vec::new());
    assert_eq!(world.exit().error, None);
}

#[test]
fn a_ticker_ticks_until_it_is_stopped() {
    passes(
        "local time = require('time')
        local function main()
            local ticker = time.ticker('2ms')
            local ch = ticker:channel()
            for _ = 1, 3 do assert(type(ch:receive()) == 'number') end
            ticker:stop()
            ticker:stop()
            ch:receive()
            local _, ok = ch:receive()
            assert(ok == false)
            assert(not pcall(time.sleep, 'soon'))
            assert(time.SECOND == 1e9)
            time.sleep(1 * time.MILLISECOND)
            return true
        end",
    );
}

#[test]
fn random_numbers_lie_where_they_should() {
    passes(
        "local function main()
            for _ = 1, 1000 do
                local n = math.random(3, 5)
                assert(n >= 3 and n <= 5 and n % 1 == 0)
                local f = math.random()
                assert(f >= 0 and f < 1)
            end
            math.randomseed(7)
            local first = math.random(1000000)
            math.randomseed(7)
            assert(math.random(1000000) == first)
            return true
        end",
    );
}
