//! The module `events`: publishing and subscribing. The kernel's part has tests of its own; these are about channels.

#[path = "programs/world.rs"]
mod world;
use world::World;

/// Says what it heard under the pattern until it is told to end.
const LISTENER: &str = "
local events = require('events')
local function main(to, pattern)
    local ch = assert(events.subscribe(pattern))
    process.send(to, 'ready')
    local inbox = process.inbox()
    while true do
        local got = channel.select{ch:case_receive(), inbox:case_receive()}
        if got.channel == inbox then return end
        process.send(to, 'heard', process.pid(), got.value:topic(), got.value:payload():data())
    end
end";

fn world(main: &str) -> World {
    World::new(&[("app:main", main), ("app:listener", LISTENER)], |host| host.mailbox_messages = 1_500)
}

/// Runs a program that returns `true`, or says what went wrong. No subscription is left of it.
fn passes(body: &str) {
    let main = format!("local events = require('events')\nlocal function main()\n{body}\nreturn true\nend");
    let mut world = world(&main);
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!(exit.error, None, "{main}");
    assert_eq!(exit.value.as_ref().map(|value| format!("{value:?}")).as_deref(), Some("true"), "{main}");
    assert_eq!(world.shard.node().subscriptions(), 0);
}

#[test]
fn what_is_published_comes_as_messages_on_the_channel_of_the_subscription() {
    passes(
        "local all, eu = events.subscribe('order.**'), events.subscribe('order.eu.*')
        assert(events.publish('order.eu.paid', {id = 1}) == 2)
        assert(events.publish('order.us.paid', 1, 'two') == 1)
        assert(events.publish('order') == 1)
        assert(events.publish('orders') == 0)
        local msg = eu:receive()
        assert(msg:topic() == 'order.eu.paid' and msg:from() == process.pid() and msg:payload():data().id == 1)
        assert(all:receive():payload():data().id == 1)
        assert(all:receive():payload():data()[2] == 'two')
        assert(all:receive():payload():data() == nil)
        local got = channel.select{eu:case_receive(), all:case_receive(), process.inbox():case_receive(), default = true}
        assert(got.channel == nil)",
    );
}

#[test]
fn other_processes_hear_it_each_its_own_copy() {
    passes(
        "local me, inbox = process.pid(), process.inbox()
        local pids = {}
        for n = 1, 3 do
            pids[n] = process.spawn_monitored('app:listener', 'app:processes', me, if n == 3 then 'tea.*' else '**')
            inbox:receive()
        end
        assert(events.publish('tea.hot', {1}) == 3 and events.publish('coffee', {2}) == 2)
        local heard = {}
        for _ = 1, 5 do
            local data = inbox:receive():payload():data()
            heard[data[1]] = (heard[data[1]] or '') .. ' ' .. data[2] .. data[3][1]
        end
        assert(heard[pids[1]] == ' tea.hot1 coffee2' and heard[pids[2]] == heard[pids[1]] and heard[pids[3]] == ' tea.hot1')
        for n = 1, 3 do process.send(pids[n], 'end') process.events():receive() end
        assert(events.publish('tea.hot') == 0)",
    );
}

#[test]
fn a_subscription_that_is_waited_for_wakes_the_one_who_waits() {
    passes(
        "local heard, ready = channel.new(10), channel.new(0)
        for n = 1, 3 do
            coroutine.spawn(function()
                local ch = events.subscribe('news.' .. n)
                ready:send(n)
                heard:send(ch:receive():topic())
            end)
        end
        for _ = 1, 3 do ready:receive() end
        for n = 3, 1, -1 do
            assert(events.publish('news.' .. n) == 1)
            assert(heard:receive() == 'news.' .. n)
        end",
    );
}

#[test]
fn an_ended_subscription_has_a_closed_channel_and_what_it_held_fills_no_mailbox() {
    passes(
        "local ch = events.subscribe('a')
        for _ = 1, 1000 do assert(events.publish('a', 'x') == 1) end
        local other = events.subscribe('a')
        assert(events.publish('a', 'last') == 2)
        assert(ch:receive():topic() == 'a')
        assert(events.unsubscribe(ch) == true and events.unsubscribe(ch) == false)
        local msg, ok = ch:receive()
        assert(msg == nil and ok == false)
        -- Room for as much again.
        for _ = 1, 1499 do assert(events.publish('a') == 1) end
        assert(events.publish('a') == 0)
        assert(other:receive():payload():data() == 'last')
        assert(events.publish('a') == 1)",
    );
}

#[test]
fn whoever_waits_for_a_subscription_that_ends_goes_on() {
    passes(
        "local ch, done = events.subscribe('a'), channel.new(2)
        coroutine.spawn(function() local msg, ok = ch:receive() done:send(msg == nil and not ok) end)
        coroutine.spawn(function() local got = channel.select{ch:case_receive()} done:send(got.ok == false) end)
        require('time').sleep('1ms')
        events.unsubscribe(ch)
        assert(done:receive() and done:receive())",
    );
}

#[test]
fn subscriptions_that_come_and_go_leave_nothing_behind() {
    passes(
        "for n = 1, 20000 do
            local ch = events.subscribe('room.' .. n .. '.*')
            if n % 3 == 0 then events.publish('room.' .. n .. '.said', n) end
            assert(events.unsubscribe(ch))
        end
        assert(events.publish('room.1.said') == 0)",
    );
}

#[test]
fn an_old_channel_never_speaks_for_a_new_subscription() {
    passes(
        "local old = events.subscribe('a')
        events.unsubscribe(old)
        local new = events.subscribe('b')
        assert(events.unsubscribe(old) == false)
        events.publish('b')
        local msg, ok = old:receive()
        assert(msg == nil and ok == false and new:receive():topic() == 'b')
        local listened = process.listen('x')
        assert(events.unsubscribe(listened) == false and events.unsubscribe(process.inbox()) == false)
        assert(process.unlisten(new) == false)",
    );
}

#[test]
fn a_topic_that_is_listened_to_and_subscribed_to_keeps_the_two_apart() {
    passes(
        "local listened, subscribed = process.listen('tea'), events.subscribe('tea')
        process.send(process.pid(), 'tea', 'sent')
        events.publish('tea', 'published')
        assert(listened:receive() == 'sent' and subscribed:receive():payload():data() == 'published')
        local got = channel.select{listened:case_receive(), subscribed:case_receive(), default = true}
        assert(got.channel == nil)",
    );
}

#[test]
fn what_is_wrong_is_said_with_the_call_as_written() {
    passes(
        "local function raises(text, act, ...)
            local ok, err = pcall(act, ...)
            assert(not ok and string.find(err, text, 1, true), tostring(err))
        end
        raises('events.publish(topic, ...): topic: expected a text, got nothing', events.publish)
        raises('events.publish(topic, ...): topic: \"@a\" belongs to the system', events.publish, '@a')
        raises('events.publish(topic, ...): topic: \"a.*\" cannot be a topic: wildcards belong', events.publish, 'a.*')
        raises('events.publish(topic, ...): topic: \"a..b\" cannot be a topic: between its dots', events.publish, 'a..b')
        raises('events.publish(topic, ...): payload: a function cannot be sent', events.publish, 'a', print)
        raises('events.subscribe(pattern): pattern: expected a text such as \"order.*.paid\", got number', events.subscribe, 5)
        raises('events.unsubscribe(ch): ch: expected a channel of events.subscribe, got string', events.unsubscribe, 'a')
        raises('filled by the runtime', events.subscribe('a').close, events.subscribe('b'))
        local ch, err = events.subscribe('a.**.b')
        assert(ch == nil and err:kind() == errors.INVALID)
        assert(err:message() == '\"a.**.b\" cannot be a pattern: \"**\" stands only at its end', err:message())
        for n = 3, 1000 do assert(events.subscribe('n.' .. n)) end
        ch, err = events.subscribe('one.more')
        assert(ch == nil and err:kind() == errors.UNAVAILABLE and string.find(err:message(), 'at most 1000 subscriptions'))",
    );
}
