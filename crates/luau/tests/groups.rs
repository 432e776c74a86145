//! What a Luau program can rely on of process groups.

#[path = "programs/world.rs"]
mod world;
use world::{World, passes};

#[test]
fn a_group_has_each_member_once_and_forgets_those_who_left() {
    passes_with_members(
        "local pg = require('pg')
        local function main()
            local me, other = process.pid(), process.spawn('app:member', 'app:processes')
            assert(#pg.members('players') == 0)
            assert(pg.join('players') and pg.join('players') and pg.join('players', other))
            assert(#pg.members('players') == 2)
            assert(pg.leave('players', other))
            local left, err = pg.leave('players', other)
            assert(left == nil and errors.is(err, errors.NOT_FOUND), tostring(err))
            assert(#pg.members('players') == 1 and pg.members('players')[1] == me)
            local ok, dead = pg.join('players', 'nobody')
            assert(ok == nil and errors.is(dead, errors.NOT_FOUND), tostring(dead))
            local ok, bad = pg.join('')
            assert(ok == nil and errors.is(bad, errors.INVALID), tostring(bad))
            return true
        end
        return main",
    );
}

#[test]
fn a_wrong_call_raises_and_begins_as_it_was_written() {
    passes(
        "local pg = require('pg')
        local function main()
            local function fails(text, call, ...)
                local ok, err = pcall(call, ...)
                assert(not ok and string.find(err, text, 1, true), err)
            end
            fails('pg.join(group, dest?): group: expected a text, got nil', pg.join, nil)
            fails('pg.leave(group, dest?): dest: expected a PID or a registered name, got number', pg.leave, 'g', 5)
            fails('pg.members(group): group: expected a text, got table', pg.members, {})
            fails('pg.broadcast(group, topic, ...): topic: expected a text, got nothing', pg.broadcast, 'g')
            fails('pg.broadcast(group, topic, ...): topic: \"@x\" belongs to the system', pg.broadcast, 'g', '@x')
            fails('pg.broadcast(group, topic, ...): payload: a function cannot be sent (at .a)', pg.broadcast, 'g', 't', {a = print})
            fails('pg.monitor(group): group: expected a text', pg.monitor)
            return true
        end
        return main",
    );
}

#[test]
fn a_broadcast_is_read_like_any_message_in_its_place_among_the_others() {
    passes(
        "local pg = require('pg')
        local function main()
            local me = process.pid()
            pg.join('players')
            process.send(me, 'a')
            assert(pg.broadcast('players', 'b', { by = 'Ada' }, 2) == 1)
            assert(pg.broadcast('players', 'ws.send', { type = 'binary', data = 'x' }) == 1)
            process.send(me, 'c')
            assert(pg.broadcast('nobody here', 'b') == 0)
            local inbox = process.inbox()
            assert(inbox:receive():topic() == 'a')
            local msg = inbox:receive()
            local data = msg:payload():data()
            assert(msg:topic() == 'b' and msg:from() == me and data[1].by == 'Ada' and data[2] == 2)
            local frame = inbox:receive():payload():data()
            assert(frame.type == 'binary' and frame.data == 'x')
            assert(inbox:receive():topic() == 'c')
            return true
        end
        return main",
    );
}

const MEMBER: &str = "local function main() process.inbox():receive() end";

fn passes_with_members(main: &str) {
    let mut world = World::new(&[("app:main", main), ("app:member", MEMBER)], |_| {});
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!(exit.error, None, "{main}");
}

#[test]
fn joins_and_leaves_are_events_beside_the_others() {
    passes_with_members(
        "local pg = require('pg')
        local function main()
            local events = process.events()
            local a = process.spawn('app:member', 'app:processes')
            pg.join('players', a)
            local members = pg.monitor('players')
            assert(#members == 1 and members[1] == a)
            local again, err = pg.monitor('players')
            assert(again == nil and errors.is(err, errors.ALREADY_EXISTS))
            local b = process.spawn('app:member', 'app:processes')
            process.monitor(a)
            pg.join('players', b)
            local joined = events:receive()
            assert(joined.kind == pg.event.JOIN and joined.group == 'players' and joined.pid == b)
            process.terminate(a)
            local kinds = {}
            for _ = 1, 2 do
                local event = channel.select({ events:case_receive() }).value
                kinds[event.kind] = event
            end
            assert(kinds[pg.event.LEAVE].pid == a and kinds[process.event.EXIT].from == a)
            assert(errors.is(kinds[process.event.EXIT].result.error, errors.CANCELED))
            assert(pg.unmonitor('players'))
            local gone, why = pg.unmonitor('players')
            assert(gone == nil and errors.is(why, errors.NOT_FOUND))
            return true
        end
        return main",
    );
}

#[test]
fn events_that_nobody_takes_cancel_out() {
    passes_with_members(
        "local pg = require('pg')
        local function main()
            local me = process.pid()
            local member = process.spawn('app:member', 'app:processes')
            pg.monitor('players')
            for n = 1, 10001 do
                pg.join('players', member)
                process.send(me, 'turn')
                process.inbox():receive() -- takes mail, and leaves the events
                if n < 10001 then pg.leave('players', member) end
            end
            local events, count = process.events(), 0
            local last
            while true do
                local got = channel.select({ events:case_receive(), default = true })
                if not got.channel then break end
                count, last = count + 1, got.value
            end
            assert(count < 2048 and count % 2 == 1 and last.kind == pg.event.JOIN, count)
            return true
        end
        return main",
    );
}
