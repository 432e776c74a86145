//! Memory comes back. Alone in its file: it looks at the memory of the whole test program.

#[path = "programs/world.rs"]
mod world;

use world::World;

#[test]
fn ends_leave_nothing_behind() {
    let mut world = World::new(
        &[
            (
                "app:main",
                "return function(count)
                    local events = process.events()
                    for n = 1, tonumber(count) do
                        local pid = process.spawn_monitored('app:child', 'app:processes', {n = n})
                        process.send(pid, 'go', {text = 'hello', list = {1, 2, 3}})
                        events:receive()
                    end
                    return true
                end",
            ),
            (
                "app:child",
                "local time = require('time')
                return function(what)
                    local ch, tick = process.listen('go'), time.after('1h')
                    coroutine.spawn(function() channel.new():receive() end)
                    coroutine.wrap(function() coroutine.yield() end)()
                    require('lib')
                    require('events').subscribe('room.' .. what.n .. '.*')
                    require('funcs').async('app:fn_waits'):channel()
                    require('funcs').async('app:fn_waits'):cancel()
                    ch:receive()
                    if what.n % 3 == 0 then error('on purpose') end
                    return what
                end",
            ),
            ("app:lib", "return {}"),
            ("app:fn_waits", "return function() process.inbox():receive() end"),
        ],
        |_| {},
    );
    let mut run = |count: &str| {
        world.spawn("app:main", vec![kernel::Term::string(count)]);
        assert_eq!(world.exit().error, None);
        resident()
    };
    run("3000");
    let before = run("3000");
    let after = run("6000");
    assert!(after < before + (4 << 20), "{before} bytes before, {after} after");
    assert_eq!(world.shard.node().subscriptions(), 0);
}

/// Bytes of memory that the process of the tests has.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
