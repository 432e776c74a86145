//! The calls of `process` on relations, options, names and topics, line by line of their contract.

#[path = "programs/world.rs"]
mod world;
use world::{World, passes};

const CHILD: &str = "local function main(what)
    if what == 'fail' then error('on purpose') end
    if what == 'return' then return 'done' end
    process.inbox():receive()
    error('told to')
end";

/// Runs a program that has a child to spawn, and returns `true`, or says what went wrong.
fn passes_with_a_child(main: &str) {
    let mut world = World::new(&[("app:main", main), ("app:child", CHILD)], |_| {});
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!(exit.error, None, "{main}");
    assert_eq!(exit.value.as_ref().map(|value| format!("{value:?}")).as_deref(), Some("true"), "{main}");
}

// Monitors and links

#[test]
fn an_unmonitored_end_is_no_event() {
    passes_with_a_child(
        "local time = require('time')
        local function main()
            local events = process.events()
            local child = process.spawn_monitored('app:child', 'app:processes')
            local ok, err = process.monitor(child)
            assert(ok == nil and err:kind() == errors.ALREADY_EXISTS)
            assert(process.unmonitor(child) == true)
            ok, err = process.unmonitor(child)
            assert(ok == nil and err:kind() == errors.NOT_FOUND, tostring(err))
            process.send(child, 'go')
            time.sleep('2ms')
            assert(channel.select{events:case_receive(), default = true}.channel == nil)
            -- Monitored again, it fires once.
            child = process.spawn('app:child', 'app:processes')
            assert(process.monitor(child) and process.unmonitor(child) and process.monitor(child))
            process.send(child, 'go')
            assert(events:receive().from == child)
            time.sleep('2ms')
            assert(channel.select{events:case_receive(), default = true}.channel == nil)
            for _, gone in {child, 'nobody', '{app:processes|7.0.ffff.1}'} do
                for _, call in {process.monitor, process.unmonitor, process.link, process.unlink} do
                    ok, err = call(gone)
                    assert(ok == nil and err:kind() == errors.NOT_FOUND, tostring(err))
                end
            end
            return true
        end",
    );
}

#[test]
fn names_stand_for_pids_in_relations() {
    passes_with_a_child(
        "local function main()
            local child = process.spawn('app:child', 'app:processes')
            assert(process.registry.register('child', child))
            assert(process.monitor('child') and process.link('child') and process.unlink(child))
            assert(process.unmonitor(child) and process.monitor('child'))
            process.send('child', 'go')
            assert(process.events():receive().from == child)
            return true
        end",
    );
}

#[test]
fn an_unlinked_failure_hurts_nobody_and_a_second_link_is_no_error() {
    passes_with_a_child(
        "local time = require('time')
        local function main()
            local child = process.spawn_linked_monitored('app:child', 'app:processes')
            assert(process.link(child) == true and process.link(child) == true)
            assert(process.unlink(child) == true)
            local ok, err = process.unlink(child)
            assert(ok == nil and err:kind() == errors.NOT_FOUND)
            process.send(child, 'go')
            assert(process.events():receive().kind == process.event.EXIT)
            time.sleep('2ms')
            assert(process.link(process.pid()) == true)
            return true
        end",
    );
}

#[test]
fn a_normal_end_of_a_linked_process_does_nothing_and_a_failure_is_trapped_or_kills() {
    passes_with_a_child(
        "local time = require('time')
        local function main(role)
            local events = process.events()
            if role == 'linked' then
                process.spawn_linked('app:child', 'app:processes', 'fail')
                process.inbox():receive()
            end
            process.spawn_linked('app:child', 'app:processes', 'return')
            time.sleep('2ms')
            assert(channel.select{events:case_receive(), default = true}.channel == nil)
            local victim = process.spawn_monitored('app:main', 'app:processes', 'linked')
            local event = events:receive()
            assert(event.from == victim and string.find(event.result.error:message(), 'on purpose'))
            assert(process.set_options({trap_links = true}) == true)
            local child = process.spawn_linked('app:child', 'app:processes', 'fail')
            event = events:receive()
            assert(event.kind == process.event.LINK_DOWN and event.from == child and event.result.error)
            return true
        end",
    );
}

#[test]
fn options_are_set_one_by_one_and_unknown_ones_are_refused() {
    passes(
        "local function main()
            local call = 'process.set_options{trap_links=true}'
            local function raises(text, ...)
                local ok, err = pcall(process.set_options, ...)
                assert(not ok and string.find(err, text, 1, true), err)
            end
            assert(process.get_options().trap_links == false)
            assert(process.set_options({trap_links = true}) == true and process.get_options().trap_links == true)
            assert(process.set_options({}) == true and process.get_options().trap_links == true)
            assert(process.set_options({trap_links = false}) == true and process.get_options().trap_links == false)
            raises(call .. ': unknown option \"trap_link\"', {trap_link = true})
            raises('did you mean \"trap_links\"', {trap_link = true})
            raises(call .. ': trap_links: expected a boolean, got number', {trap_links = 1})
            raises(call .. ': expected a table, got nothing')
            -- What is read is a copy.
            process.get_options().trap_links = true
            assert(process.get_options().trap_links == false)
            return true
        end",
    );
}

#[test]
fn relations_refuse_what_is_no_address_with_the_call_as_written() {
    passes(
        "local function main()
            for name, call in {monitor = process.monitor, unmonitor = process.unmonitor, link = process.link, unlink = process.unlink} do
                local ok, err = pcall(call, nil)
                local text = `process.{name}(dest): dest: expected a PID or a registered name, got nil`
                assert(not ok and string.find(err, text, 1, true), err)
                assert(not pcall(call, {}) and not pcall(call, 5))
            end
            return true
        end",
    );
}

// Names

#[test]
fn a_name_belongs_to_one_process_and_only_it_gives_it_back() {
    passes_with_a_child(
        "local time = require('time')
        local function main(role)
            local names = process.registry
            if role == 'thief' then
                local ok, err = names.unregister('tea')
                assert(ok == nil and err:kind() == errors.PERMISSION_DENIED, tostring(err))
                ok, err = names.register('tea')
                assert(ok == nil and err:kind() == errors.ALREADY_EXISTS, tostring(err))
                return
            end
            assert(names.register('tea') == true and names.lookup('tea') == process.pid())
            local thief = process.spawn_monitored('app:main', 'app:processes', 'thief')
            local result = process.events():receive().result
            assert(result.error == nil, tostring(result.error))
            assert(names.unregister('tea') == true)
            local ok, err = names.unregister('tea')
            assert(ok == nil and err:kind() == errors.NOT_FOUND)
            -- Several for one, and for another one.
            local child = process.spawn_monitored('app:child', 'app:processes')
            assert(names.register('a', child) and names.register('b', child) and names.register('c', 'b'))
            assert(names.lookup('a') == child and names.lookup('c') == child)
            ok, err = names.register('a', process.pid())
            assert(ok == nil and err:kind() == errors.ALREADY_EXISTS)
            ok, err = names.unregister('a')
            assert(ok == nil and err:kind() == errors.PERMISSION_DENIED)
            process.send('c', 'go')
            process.events():receive()
            -- Released with the end of their holder.
            for _, name in {'a', 'b', 'c'} do
                ok, err = names.lookup(name)
                assert(ok == nil and err:kind() == errors.NOT_FOUND)
                assert(names.register(name))
            end
            ok, err = names.register('dead', child)
            assert(ok == nil and err:kind() == errors.NOT_FOUND)
            for _, bad in {'', 'nil', '{x', '@x', string.rep('x', 256)} do
                ok, err = names.register(bad)
                assert(ok == nil and err:kind() == errors.INVALID, bad)
            end
            for name, call in names do
                local fine, text = pcall(call, 5)
                assert(not fine and string.find(text, `process.registry.{name}(name`, 1, true), text)
            end
            return true
        end",
    );
}

// Topics

#[test]
fn unlisten_puts_what_waited_in_its_place_among_the_rest() {
    passes(
        "local function main()
            local me, inbox = process.pid(), process.inbox()
            local a, b = process.listen('a'), process.listen('b', {message = true})
            for n = 1, 60 do process.send(me, if n % 3 == 0 then 'a' elseif n % 3 == 1 then 'b' else 'c', n) end
            assert(a:receive() == 3 and b:receive():payload():data() == 1)
            assert(inbox:receive():payload():data() == 2)
            assert(process.unlisten(a) == true)
            for n = 61, 70 do process.send(me, 'a', n) end
            assert(process.unlisten(b) == true)
            for n = 4, 70 do
                local got = inbox:receive():payload():data()
                assert(got == n, `{got} in place of {n}`)
            end
            return true
        end",
    );
}

#[test]
fn listen_and_unlisten_again_and_again_keep_the_order() {
    passes(
        "local function main()
            local me, inbox = process.pid(), process.inbox()
            for n = 1, 200 do
                process.send(me, 'a', n)
                process.send(me, 'b', n)
                local a, b = process.listen('a'), process.listen('b')
                if n % 2 == 0 then a, b = b, a end
                assert(process.unlisten(a) and process.unlisten(b))
            end
            local a = process.listen('a')
            for n = 1, 200 do assert(a:receive() == n) end
            for n = 1, 200 do assert(inbox:receive():payload():data() == n) end
            return true
        end",
    );
}

#[test]
fn who_waits_for_the_inbox_gets_what_unlisten_brings_back_at_once() {
    passes(
        "local time = require('time')
        local function main()
            local me, inbox, got = process.pid(), process.inbox(), {}
            local a = process.listen('a')
            coroutine.spawn(function() got[1] = inbox:receive():payload():data() end)
            coroutine.spawn(function() got[2] = channel.select{inbox:case_receive()}.value:payload():data() end)
            coroutine.spawn(function() got[3] = inbox:receive():payload():data() end)
            time.sleep('1ms')
            for n = 1, 3 do process.send(me, 'a', n) end
            time.sleep('1ms')
            assert(#got == 0)
            process.unlisten(a)
            process.send(me, 'a', 4)
            time.sleep('1ms')
            assert(got[1] + got[2] + got[3] == 6, table.concat(got, ' '))
            assert(inbox:receive():payload():data() == 4)
            return true
        end",
    );
}

#[test]
fn who_waits_for_a_topic_sees_it_end_and_nobody_else_is_woken() {
    passes(
        "local time = require('time')
        local function main()
            local a, b, log = process.listen('a'), process.listen('b'), {}
            coroutine.spawn(function()
                local value, ok = a:receive()
                log.received = value == nil and ok == false
            end)
            coroutine.spawn(function()
                local got = channel.select{a:case_receive(), process.events():case_receive()}
                log.selected = got.channel == a and got.ok == false
            end)
            -- Looked at both, was served by one, and sleeps now.
            coroutine.spawn(function()
                channel.select{a:case_receive(), b:case_receive()}
                time.sleep('1h')
                log.slept = true
            end)
            time.sleep('1ms')
            process.send(process.pid(), 'b')
            time.sleep('1ms')
            process.unlisten(a)
            time.sleep('1ms')
            assert(log.received and log.selected and not log.slept)
            return true
        end",
    );
}

#[test]
fn an_ended_topic_can_be_listened_to_again_and_its_old_channel_stays_closed() {
    passes(
        "local function main()
            local me = process.pid()
            local old = process.listen('a')
            assert(process.unlisten(old) == true and process.unlisten(old) == false)
            local new, other = process.listen('a'), process.listen('b')
            process.send(me, 'a', 1)
            process.send(me, 'b', 2)
            assert(new ~= old and select(2, old:receive()) == false)
            -- Ending the old one once more changes nothing.
            assert(process.unlisten(old) == false and process.listen('a') == new)
            assert(new:receive() == 1 and other:receive() == 2)
            for _, ch in {channel.new(), process.inbox(), process.events()} do assert(process.unlisten(ch) == false) end
            for _, wrong in {5, 'a', {}, false} do
                local ok, err = pcall(process.unlisten, wrong)
                assert(not ok and string.find(err, 'process.unlisten(ch): ch: expected a channel of process.listen, got', 1, true), err)
            end
            local ok, err = pcall(old.send, old, 1)
            assert(not ok and string.find(err, 'closed'), err)
            return true
        end",
    );
}

#[test]
fn listen_takes_topics_that_may_be_sent_and_one_shape_each() {
    passes(
        "local function main()
            local function raises(text, ...)
                local ok, err = pcall(process.listen, ...)
                assert(not ok and string.find(err, text, 1, true), err)
            end
            local call = 'process.listen(topic, {message=true}?)'
            raises(call .. ': topic: expected a text, got nil', nil)
            raises(call .. ': topic: expected a text, got an empty one', '')
            raises('belongs to the system', '@x')
            raises(call .. ': options: expected a table, got boolean', 'x', true)
            local data = process.listen('data')
            assert(process.listen('data') == data and process.listen('data', {}) == data)
            raises('\"data\" is listened to already, as data', 'data', {message = true})
            assert(process.inbox() == process.inbox() and process.events() == process.events())
            return true
        end",
    );
}
