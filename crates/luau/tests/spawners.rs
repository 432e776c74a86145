//! Processes that others begin: `process.exec`, and what a spawner gives its child.

#[path = "programs/world.rs"]
mod world;
use kernel::Kind;
use world::World;

/// The children of these tests.
const CHILDREN: &[(&str, &str)] = &[
    ("app:adder", "local function main(a, b) return a + b end"),
    ("app:list", "local function main() return { 1, { deep = true } } end"),
    ("app:silent", "local function main() end"),
    ("app:refuses", "local function main() return nil, errors.new({message='no tea', kind=errors.CONFLICT}) end"),
    ("app:raises", "local function main() error('burnt') end"),
    ("app:waits", "local function main() process.inbox():receive() return 'went' end"),
    (
        "app:context",
        "local ctx = require('ctx')
        local function main(deeper)
            local all = ctx.all()
            if deeper then return process.exec('app:context', 'app:processes') end
            return {all.user, all.tags and all.tags[1], ctx.get('user'), ctx.get('none')}
        end",
    ),
    (
        "app:named",
        "local function main(stays)
            local found = {process.registry.lookup('tea') == process.pid(), process.inbox():receive():topic()}
            -- Its parent may lose its turn between any two calls.
            if stays then process.inbox():receive() end
            return found
        end",
    ),
    (
        "app:echo",
        "local function main(to)
            process.send(to, 'pid', process.pid())
            while true do
                local msg = process.inbox():receive()
                if msg:topic() == 'end' then return msg:payload():data() end
                process.send(to, 'got', msg:topic(), msg:payload():data())
            end
        end",
    ),
];

fn world(main: &str) -> World {
    let mut sources = vec![("app:main", main)];
    sources.extend_from_slice(CHILDREN);
    World::new(&sources, |host| host.max_processes = 8)
}

/// Runs a program that returns `true`, or says what went wrong.
fn passes(main: &str) {
    let mut world = world(main);
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!(exit.error, None, "{main}");
    assert_eq!(exit.value.as_ref().map(|value| format!("{value:?}")).as_deref(), Some("true"), "{main}");
}

// exec

#[test]
fn exec_gives_what_the_child_returned() {
    passes(
        "local function main()
            assert(process.exec('app:adder', 'app:processes', 2, 3) == 5)
            assert(process.exec('list', 'processes')[2].deep)
            local value, err = process.exec('app:silent', 'app:processes')
            assert(value == nil and err == nil)
            return true
        end",
    );
}

#[test]
fn exec_gives_the_error_that_the_child_failed_with() {
    passes(
        "local function main()
            local value, err = process.exec('app:refuses', 'app:processes')
            assert(value == nil and err:kind() == errors.CONFLICT and err:message() == 'no tea')
            value, err = process.exec('app:raises', 'app:processes')
            assert(value == nil and errors.is(err, errors.INTERNAL) and string.find(err:message(), 'burnt'))
            value, err = process.exec('app:none', 'app:processes')
            assert(value == nil and err:kind() == errors.NOT_FOUND)
            assert(string.find(err:message(), 'process.exec: no entry \"app:none\"', 1, true), err:message())
            return true
        end",
    );
}

#[test]
fn a_wrong_argument_of_exec_raises_with_the_call_as_written() {
    passes(
        "local function main()
            local ok, err = pcall(process.exec, 5, 'app:processes')
            assert(not ok and string.find(err, 'process.exec(id, host, ...): id: expected an entry', 1, true), err)
            ok, err = pcall(process.exec, 'app:adder', 'app:processes', 1, print)
            assert(not ok and string.find(err, 'process.exec(id, host, ...): argument 2: a function cannot be sent', 1, true), err)
            ok, err = pcall(table.sort, {2, 1}, function() return process.exec('app:adder', 'app:processes', 1, 2) end)
            assert(not ok and string.find(err, 'process.exec(id, host, ...): cannot wait inside', 1, true), err)
            return true
        end",
    );
}

#[test]
fn the_end_of_a_child_of_exec_is_no_event() {
    passes(
        "local function main()
            local other = process.spawn_monitored('app:waits', 'app:processes')
            process.exec('app:adder', 'app:processes', 1, 2)
            process.exec('app:raises', 'app:processes')
            process.send(other, 'go')
            local event = process.events():receive()
            assert(event.from == other and event.result.value == 'went')
            local got = channel.select{process.events():case_receive(), default = true}
            assert(got.channel == nil)
            return true
        end",
    );
}

#[test]
fn exec_holds_up_only_its_coroutine_and_works_in_pcall_and_in_generators() {
    passes(
        "local function main()
            local me, done = process.pid(), channel.new(3)
            for n = 1, 3 do
                coroutine.spawn(function() done:send({n, process.exec('app:echo', 'app:processes', me)}) end)
            end
            local pids = process.listen('pid')
            local echoes = {pids:receive(), pids:receive(), pids:receive()}
            -- The last begun ends first.
            for n = 3, 1, -1 do
                assert(process.unmonitor(echoes[n]) == nil)
                process.send(echoes[n], 'end', n * 10)
                local got = done:receive()
                assert(got[1] * 10 == got[2] and got[2] == n * 10)
            end
            local ok, five = pcall(process.exec, 'app:adder', 'app:processes', 2, 3)
            assert(ok and five == 5)
            local sums = coroutine.wrap(function()
                for n = 1, 3 do coroutine.yield(process.exec('app:adder', 'app:processes', n, n)) end
            end)
            assert(sums() == 2 and sums() == 4 and sums() == 6)
            return true
        end",
    );
}

#[test]
fn a_child_of_exec_ends_with_its_caller() {
    let mut world = world(
        "local function main()
            coroutine.spawn(process.exec, 'app:waits', 'app:processes')
            process.exec('app:waits', 'app:processes')
        end",
    );
    let main = world.spawn("app:main", Vec::new());
    world.run_until(|world| world.shard.node().hosts[main.host()].living() == 3);
    world.shard.end(main, kernel::Exit::terminated(None));
    assert_eq!(world.exit().error.map(|error| error.kind), Some(Kind::Canceled));
    world.run_until(|world| world.shard.node().hosts[main.host()].living() == 0);
}

// Spawners

#[test]
fn a_named_child_holds_its_name_and_finds_its_message_when_it_runs() {
    passes(
        "local function main()
            local spawner = process.with_name('tea'):with_message('init', 1)
            local pid = spawner:spawn_monitored('app:named', 'app:processes', true)
            assert(process.registry.lookup('tea') == pid)
            process.send('tea', 'later')
            local result = process.events():receive().result
            assert(result.error == nil and result.value[1] == true and result.value[2] == 'init')
            assert(spawner:exec('app:named', 'app:processes')[2] == 'init')
            return true
        end",
    );
}

#[test]
fn a_spawn_under_a_held_name_addresses_the_holder() {
    passes(
        "local function main()
            local me = process.pid()
            local room = process.with_name('room')
            local pid = room:spawn('app:echo', 'app:processes', me)
            assert(process.inbox():receive():payload():data() == pid)
            assert(room:with_message('hello', {n = 1}):spawn_monitored('app:echo', 'app:processes', me) == pid)
            assert(room:spawn_linked_monitored('app:echo', 'app:processes') == pid)
            local data = process.inbox():receive():payload():data()
            assert(data[1] == 'hello' and data[2].n == 1)
            local value, err = room:exec('app:adder', 'app:processes', 1, 2)
            assert(value == nil and err:kind() == errors.ALREADY_EXISTS)
            process.send('room', 'end', 'bye')
            local event = process.events():receive()
            assert(event.from == pid and event.result.value == 'bye')
            -- Free again: a new one.
            local other = room:spawn('app:echo', 'app:processes', me)
            assert(other ~= pid and process.registry.lookup('room') == other)
            return true
        end",
    );
}

#[test]
fn context_travels_to_children_and_to_theirs_and_is_added_to() {
    passes(
        "local ctx = require('ctx')
        local function main()
            assert(next(ctx.all()) == nil and ctx.get('user') == nil)
            local values = {user = 'ann', tags = {'a'}}
            local ann = process.with_context(values)
            values.user, values.tags[1] = 'changed', 'changed'
            local got = ann:exec('app:context', 'app:processes', true)
            assert(got[1] == 'ann' and got[2] == 'a' and got[3] == 'ann' and got[4] == nil)
            got = ann:with_context({user = 'bob'}):exec('app:context', 'app:processes')
            assert(got[1] == 'bob' and got[2] == 'a')
            assert(ann:exec('app:context', 'app:processes')[1] == 'ann')
            assert(process.exec('app:context', 'app:processes')[1] == nil)
            local all = ctx.all()
            all.user = 'set'
            assert(ctx.get('user') == nil)
            return true
        end",
    );
}

#[test]
fn a_spawner_cannot_be_changed() {
    passes(
        "local function main()
            local spawner = process.with_context({list = {1}}):with_message('init', {2})
            assert(getmetatable(spawner) == 'spawner')
            for _, change in {
                function() spawner._name = 'x' end,
                function() rawset(spawner, '_name', 'x') end,
                function() spawner._context.list[1] = 2 end,
                function() spawner._values[1][1] = 3 end,
            } do
                assert(not pcall(change))
            end
            local named = spawner:with_name('tea')
            assert(named ~= spawner and spawner:spawn('app:named', 'app:processes'))
            assert(process.registry.lookup('tea') == nil)
            return true
        end",
    );
}

#[test]
fn what_a_spawner_cannot_do_is_said_with_the_call_as_written() {
    passes(
        "local function main()
            local function raises(text, act, ...)
                local ok, err = pcall(act, ...)
                assert(not ok and string.find(err, text, 1, true), err)
            end
            raises('process.with_name(name): name: expected a text, got nothing', process.with_name)
            raises('process.with_context(values): values: expected a table, got number', process.with_context, 5)
            raises('process.with_context(values): values: expected texts as keys, got a number', process.with_context, {5})
            raises('process.with_context(values): values: a function cannot be sent (at .f)', process.with_context, {f = print})
            raises('process.with_context(values): values: larger than 64KiB', process.with_context, {x = string.rep('x', 70000)})
            raises('process.with_message(topic, ...): topic: expected a text, got nothing', process.with_message)
            raises('process.with_message(topic, ...): payload: a function cannot be sent', process.with_message, 'x', print)
            local spawner = process.with_name('tea')
            raises('spawner:spawn(id, host, ...): id: expected an entry', spawner.spawn, spawner, 5)
            raises('spawner:spawn(id, host, ...): call it with a colon', spawner.spawn, 'app:waits', 'app:processes')
            raises('spawner:with_name(name): call it with a colon', spawner.with_name, 'x')
            local pid, err = process.with_name('{x}'):spawn('app:waits', 'app:processes')
            assert(pid == nil and err:kind() == errors.INVALID)
            pid, err = spawner:spawn('app:none', 'app:processes')
            assert(pid == nil and string.find(err:message(), 'spawner:spawn: no entry', 1, true))
            assert(process.registry.lookup('tea') == nil)
            return true
        end",
    );
}
