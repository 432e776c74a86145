//! What a Luau program can rely on of supervisors.

#[path = "programs/world.rs"]
mod world;
use world::World;

/// Waits; fails or returns when it is told.
const WORKER: &str = "local function main(input)
    if type(input) == 'table' and input.tell then process.send(input.tell, 'runs', process.pid()) end
    if input == 'broken' then error('on purpose') end
    if input == 'brief' then return end
    local inbox, events = process.inbox(), process.events()
    while true do
        local got = channel.select({ inbox:case_receive(), events:case_receive() })
        if got.channel == events then return end
        if got.value:topic() == 'fail' then error('as told') end
        if got.value:topic() == 'return' then return end
    end
end";

const BEFORE: &str = "local supervisor = require('supervisor')
local function spec(id, more)
    local spec = { id = id, process = 'worker', host = 'processes' }
    for key, value in more or {} do spec[key] = value end
    return spec
end
local function refused(kind, value, err)
    assert(value == nil, 'it was not refused')
    assert(errors.is(err, kind), `{err:kind()}: {err:message()}`)
end
local function raises(text, call, ...)
    local ok, err = pcall(call, ...)
    assert(not ok and string.find(err, text, 1, true), err)
end
";

/// Runs a body beside the supervisor `app:rooms`; it must not fail.
fn passes(body: &str) {
    let main = format!("{BEFORE}local function main()\n{body}\nreturn true end\nreturn main");
    let mut world = World::new(&[("app:main", &main), ("app:worker", WORKER)], |_| {});
    world.supervise("app:rooms");
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!(exit.error, None, "{body}");
}

#[test]
fn a_child_is_added_by_the_supervisors_id_or_pid_and_gets_its_input_at_each_start() {
    passes(
        "local me = process.pid()
        local one = assert(supervisor.start_child('rooms', spec('one', { input = { tell = me } })))
        assert(process.inbox():receive():payload():data() == one)
        local sup = process.registry.lookup('app:rooms')
        local two = assert(supervisor.start_child(sup, spec('two')))
        process.send(one, 'fail')
        local again = process.inbox():receive():payload():data()
        assert(again ~= one, 'a new PID')
        local list = supervisor.children('app:rooms')
        assert(#list == 2 and list[1].id == 'one' and list[2].id == 'two' and list[2].pid == two)
        assert(list[1].restart == 'permanent' and list[1].entry == 'app:worker' and list[1].kind == 'process')",
    );
}

#[test]
fn a_child_that_fails_at_once_is_not_added_and_its_error_is_the_answer() {
    passes(
        "local pid, err = supervisor.start_child('rooms', spec('x', { input = 'broken' }))
        assert(pid == nil and string.find(err:message(), 'on purpose'), tostring(err))
        assert(#supervisor.children('rooms') == 0)",
    );
}

#[test]
fn a_temporary_child_is_forgotten_and_a_transient_one_that_returned_can_be_started_again() {
    passes(
        "local function gone(id)
            for _, child in supervisor.children('rooms') do
                if child.id == id then return child.pid == nil end
            end
            return true
        end
        local brief = assert(supervisor.start_child('rooms', spec('t', { restart = 'transient' })))
        local temp = assert(supervisor.start_child('rooms', spec('m', { restart = 'temporary' })))
        process.monitor(brief)
        process.monitor(temp)
        process.send(brief, 'return')
        process.send(temp, 'fail')
        process.events():receive()
        process.events():receive()
        assert(gone('t') and gone('m'))
        refused(errors.NOT_FOUND, supervisor.restart_child('rooms', 'm'))
        assert(supervisor.restart_child('rooms', 't') ~= brief)
        refused(errors.CONFLICT, supervisor.restart_child('rooms', 't'))
        refused(errors.CONFLICT, supervisor.delete_child('rooms', 't'))
        assert(supervisor.terminate_child('rooms', 't') and supervisor.terminate_child('rooms', 't'))
        assert(supervisor.delete_child('rooms', 't'))
        assert(#supervisor.children('rooms') == 0)",
    );
}

#[test]
fn every_refusal_is_a_value_of_the_right_kind() {
    passes(
        "assert(supervisor.start_child('rooms', spec('x')))
        refused(errors.ALREADY_EXISTS, supervisor.start_child('rooms', spec('x')))
        refused(errors.NOT_FOUND, supervisor.start_child('rooms', spec('y', { process = 'wroker' })))
        refused(errors.NOT_FOUND, supervisor.start_child('rooms', spec('y', { host = 'nowhere' })))
        refused(errors.NOT_FOUND, supervisor.start_child('cellar', spec('y')))
        refused(errors.NOT_FOUND, supervisor.terminate_child('rooms', 'y'))
        refused(errors.INVALID, supervisor.children(process.pid()))",
    );
}

#[test]
fn a_wrong_call_raises_and_begins_as_it_was_written() {
    passes(
        "raises('supervisor.children(sup): sup: expected the id or PID of a supervisor, got nothing', supervisor.children)
        raises('supervisor.delete_child(sup, id): id: expected a text, got nothing', supervisor.delete_child, 'rooms')
        local what = 'supervisor.start_child(sup, child): '
        raises(what .. 'child: expected a table, got string', supervisor.start_child, 'rooms', 'x')
        raises(what .. 'child: unknown field \"proces\" (did you mean \"process\"?)',
            supervisor.start_child, 'rooms', { id = 'x', proces = 'worker' })
        raises(what .. 'child.id: expected a text, got nil', supervisor.start_child, 'rooms', {})
        raises(what .. 'child.restart: expected \"permanent\", \"transient\" or \"temporary\", got \"often\"',
            supervisor.start_child, 'rooms', spec('x', { restart = 'often' }))
        raises(what .. 'child.stop_timeout: ', supervisor.start_child, 'rooms', spec('x', { stop_timeout = 'soon' }))
        raises(what .. 'child: ', supervisor.start_child, 'rooms', spec('x', { input = print }))",
    );
}

#[test]
fn a_supervisor_that_ends_answers_those_who_wait_and_only_the_calling_coroutine_waits() {
    passes(
        "local sup = process.registry.lookup('app:rooms')
        assert(supervisor.start_child('rooms', spec('x')))
        local done = channel.new(1)
        coroutine.spawn(function()
            local pid, err = supervisor.start_child('rooms', spec('y'))
            done:send(pid and 'started' or err:kind())
        end)
        process.terminate(sup)
        assert(done:receive() == errors.NOT_FOUND)
        refused(errors.NOT_FOUND, supervisor.children(sup))
        refused(errors.NOT_FOUND, supervisor.children('rooms'))",
    );
}

#[test]
fn a_child_hears_of_new_code_as_every_process_does() {
    let main = format!(
        "{BEFORE}local function main()
            assert(supervisor.start_child('rooms', spec('one', {{ input = process.pid() }})))
            return process.inbox():receive():payload():data()
        end"
    );
    let worker = |version: u32| {
        format!(
            "local function main(tell)
                local event = process.events():receive()
                process.send(tell, 'heard', `{{event.kind}} {{table.concat(event.sources, ' ')}} in {version}`)
            end"
        )
    };
    let (one, two) = (worker(1), worker(2));
    let mut world = World::new(&[("app:main", &main), ("app:worker", &one)], |_| {});
    world.supervise("app:rooms");
    let pid = world.spawn("app:main", Vec::new());
    world.run_until(|world| world.shard.node().hosts[pid.host()].living() == 2);
    world.reload(&[("app:main", &main), ("app:worker", &two)]);
    let exit = world.exit();
    assert_eq!(format!("{:?}", exit.value), "Some(\"pid.outdated app:worker in 1\")", "{:?}", exit.error);
}
