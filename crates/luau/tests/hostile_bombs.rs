//! Bombs: what takes more memory or time than anybody should have at once. Each ends or slows only its process, and
//! is named. The time of a step is what its thread computed, so a busy machine changes little.

#[path = "programs/world.rs"]
mod world;
use std::time::Duration;
use world::World;

/// The longest that one step may compute. The promise is about 10 ms; the rest is room for a slow machine, for a build
/// without optimisation and for caches that others use. What was found out here took 50 to 1,700 ms.
const STEP: Duration = Duration::from_millis(60);

/// A program, and what its end must say; nothing for one that must end well.
type Bomb = (&'static str, Option<&'static str>);

fn go_off(bombs: &[Bomb]) {
    for (body, why) in bombs {
        let text = format!(
            "local json, time, logger = require('json'), require('time'), require('logger')
            local mb8 = 8000000
            local function main() {body} return true end"
        );
        let mut world = World::of(&text);
        world.spawn("app:main", Vec::new());
        let (exit, worst) = world.exit_and_worst_step();
        match (why, exit.error) {
            (None, None) => {}
            (Some(why), Some(error)) => {
                assert!(error.message.contains(why), "{body}: {error}");
                assert!(error.message.len() < 8192, "{body}: a message of {} bytes", error.message.len());
            }
            (Some(_), None) => panic!("it ended well: {body}"),
            (None, Some(error)) => panic!("{body}: {error}"),
        }
        assert!(worst < STEP, "a step took {worst:?}: {body}");
    }
}

const ENDED: Option<&str> = Some("10 ms");
const LARGE_VALUE: Option<&str> = Some("one string, buffer or table may take 8MiB where memory_limit is 64MiB");
const HEAP: Option<&str> = Some("memory");

#[test]
fn one_value_has_a_limit_and_its_error_says_which() {
    go_off(&[
        ("string.rep('x', 6e7)", LARGE_VALUE),
        ("string.rep(string.rep('x', 1000), 2^31 - 1)", LARGE_VALUE),
        ("table.create(3e6, 1)", LARGE_VALUE),
        ("table.create(1e9)", LARGE_VALUE),
        ("buffer.create(6e7)", LARGE_VALUE),
        ("local s = 'x' while true do s = s .. s end", LARGE_VALUE),
        ("local t = {} for n = 1, 1e7 do t[n] = n end", LARGE_VALUE),
        ("local s = string.rep('x', 1e6) table.concat(table.create(1e5, s))", LARGE_VALUE),
        (
            "local s = string.rep('x', 1e6) string.format(string.rep('%s', 100), unpack(table.create(100, s)))",
            LARGE_VALUE,
        ),
        ("local s = string.rep('x', 1e6) string.gsub(s, 'x', string.rep('y', 1000))", Some("")),
        ("for i = 1, 20 do local s, b, t = string.rep('x', mb8), buffer.create(mb8), table.create(5e5, 1) end", None),
        (
            "local ok, err = pcall(string.rep, 'x', 6e7) assert(not ok and err:kind() == errors.UNAVAILABLE and string.find(tostring(err), '8MiB'))",
            None,
        ),
        ("string.rep('', 2^31 - 1) string.rep('x', -1) string.rep('x', 0/0) table.create(0)", None),
    ]);
}

#[test]
fn heaps_that_grow_end_alone_and_are_named() {
    go_off(&[
        ("local t = {} for n = 1, 1e8 do t[n % 4e5] = {n, n, n, n, n, n, n, n} end", HEAP),
        ("local t = {} while true do t = {t} end", HEAP),
        ("local t = {} while true do t[#t + 1] = coroutine.create(function() end) end", HEAP),
        ("while true do coroutine.spawn(function() channel.new():receive() end) end", HEAP),
        ("local c = channel.new(1e9) while true do c:send({}) end", HEAP),
        ("local t = {} while true do t[#t + 1] = channel.new() end", HEAP),
        ("local t = {} while true do t[#t + 1] = buffer.create(1e6) end", HEAP),
        ("local t = {} while true do t[#t + 1] = errors.new({message = 'x', details = {#t}}) end", HEAP),
        ("while true do time.ticker('1h') end", Some("10000 timers")),
        (
            "while true do coroutine.spawn(function() time.after('1h'):receive() end) time.sleep('0s') end",
            Some("10000 timers"),
        ),
        ("for n = 1, 1e5 do time.after('1h') end", None),
        ("while true do process.listen('t' .. math.random()) end", Some("1000 topics")),
        ("for n = 1, 1e4 do process.unlisten(process.listen('t' .. n)) end", None),
    ]);
}

#[test]
fn functions_in_c_that_call_others_in_c_can_be_interrupted() {
    go_off(&[
        ("local t = {} for n = 1, 1000 do t[n] = string.rep('x', 30000) .. n end table.sort(t, string.find)", Some("")),
        (
            "local s = string.rep('a', 1e6) local t = {} for n = 1, 8 do t[n] = s .. n end
          for i = 1, 50 do pcall(table.sort, t, string.find) end",
            ENDED,
        ),
        (
            "local s = string.rep('a', 6e4) local t = {} for n = 1, 8 do t[n] = s .. n end
          for i = 1, 1e4 do pcall(table.sort, t, string.match) end",
            Some(""),
        ),
        ("local t = table.create(5e5, 1) for i = 1, 5 do table.foreach(t, type) table.foreachi(t, type) end", None),
        (
            "local sum, keys = 0, {} table.foreach({a = 1, b = 2}, function(k, v) keys[k] = true sum += v end)
          assert(sum == 3 and keys.a and table.foreachi({5, 6}, function(i, v) if v == 6 then return i end end) == 2)",
            None,
        ),
    ]);
}

#[test]
fn what_is_written_byte_by_byte_has_a_limit() {
    go_off(&[
        ("string.pack('c50000000', '')", Some("more than 1 MiB")),
        ("string.pack(string.rep('c1000', 5000), '')", Some("more than 1 MiB")),
        ("string.find(string.rep('a', 4e6), string.rep('a', 2e6), 1, true)", Some("longer than 1 MiB")),
        ("string.match(string.rep('a', 4e6), string.rep('a', 1e5))", Some("pattern is longer than 64 KiB")),
        ("string.find(string.rep('a', 4e6), '^' .. string.rep('a', 1e5))", Some("pattern is longer than 64 KiB")),
        ("string.gsub(string.rep('a', 4e6), string.rep('a', 1e5), '')", Some("pattern is longer than 64 KiB")),
        ("string.format('%q', string.rep('x', 4e6))", Some("%q")),
        ("string.gsub('a', 'a', string.rep('x', 4e6))", Some("replacement")),
        ("os.date(string.rep('%c', 1e6))", Some("longer than 64 KiB")),
        ("require(string.rep('x', mb8))", Some("at most 255 bytes")),
        ("process.spawn(string.rep('x', mb8), 'app:processes')", Some("8000000 bytes")),
        ("time.sleep(string.rep('1', mb8))", Some("8000000 bytes")),
        ("assert(string.pack('<i4 c8 s2', 7, 'abc', 'xyz') and string.format('%q', 'a') == '\"a\"')", None),
    ]);
}

#[test]
fn json_has_a_deadline_or_a_limit_in_both_directions() {
    go_off(&[
        ("local t = {} for n = 1, 15e4 do t['k' .. n] = n end while true do json.encode(t) end", ENDED),
        ("local t = table.create(5e5, 1) while true do json.encode(t) end", ENDED),
        ("local s = string.rep('\"', mb8) while true do json.encode(s) end", ENDED),
        (
            "local p = {} for n = 1, 15e4 do p[n] = '\"k' .. n .. '\":1' end
          local s = '{' .. table.concat(p, ',') .. '}' while true do json.decode(s) end",
            ENDED,
        ),
        (
            "local s = '\"' .. string.rep('\\\\n', 1e6) .. '\"' local v, err = json.decode(s)
          assert(v == nil and err:kind() == errors.INVALID and string.find(err:message(), 'escapes'))",
            None,
        ),
        (
            "local v, err = json.decode(string.rep(' ', 5e6)) assert(v == nil and string.find(err:message(), '4MiB'))",
            None,
        ),
        ("local long = string.rep('aé\"', 20000) assert(json.decode(json.encode({long, long}))[2] == long)", None),
    ]);
}

#[test]
fn a_payload_has_no_more_values_than_its_receiver_can_make_in_time() {
    go_off(&[
        ("process.send(process.pid(), 'x', table.create(7e4, true))", Some("more than 65536 values")),
        (
            "process.spawn('app:main', 'app:processes', table.create(4e4, 1), table.create(4e4, 1))",
            Some("argument 2: more than"),
        ),
        (
            "local s = string.rep('x', 7e6) process.spawn('app:main', 'app:processes', s, s)",
            Some("argument 2: larger than 8MiB"),
        ),
        ("local s = string.rep('x', 7e6) process.send(process.pid(), 'x', s, s)", Some("larger than 8MiB")),
        (
            "local t = {} for n = 1, 8000 do t['k' .. n] = {} end
          for i = 1, 5 do assert(process.send(process.pid(), 'x', t)) process.inbox():receive() end",
            None,
        ),
    ]);
}

#[test]
fn errors_that_cross_to_others_are_cut() {
    go_off(&[
        ("error(string.rep('x', mb8))", Some("xxx")),
        ("error(errors.new(string.rep('x', mb8)))", Some("xxx")),
        ("return nil, errors.new(string.rep('x', mb8)) end local function unused()", Some("xxx")),
        ("local e = errors.new('x') e._message = {} e._kind = 7 e._stack = print error(e)", Some("")),
        (
            "local e = errors.new('x') e._details = setmetatable({}, {__index = error, __iter = error}) error(e)",
            Some("x"),
        ),
        (
            "error(setmetatable({}, {__tostring = error, __metatable = error, __index = error}))",
            Some("a table was raised"),
        ),
        ("error(setmetatable({}, {__tostring = function() while true do end end}))", Some("a table was raised")),
        ("error(coroutine.create(main))", Some("a thread was raised")),
        ("error(nil)", Some("a nil was raised")),
        ("local function f(n) error(f) end xpcall(f, f) error(buffer.create(1))", Some("a buffer was raised")),
        ("logger.error('x', setmetatable({}, {__tostring = error, __index = error, __iter = error}))", None),
    ]);
}

#[test]
fn recursion_ends_where_it_is_too_deep() {
    go_off(&[
        ("local function f(n) return 1 + f(n) end f(1)", Some("stack overflow")),
        ("local function f() return string.gsub('a', 'a', f) end f()", Some("stack overflow")),
        ("local function f() table.sort({2, 1}, f) return true end f()", Some("stack overflow")),
        ("local function f() return coroutine.wrap(f)() end f()", Some("stack overflow")),
        (
            "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end local x = t.x",
            Some("stack overflow"),
        ),
        ("local function f(...) return f(1, ...) end f()", Some("")),
        ("local function f(n) return pcall(f, n) end f(1)", None),
        ("local function f(n) xpcall(f, f, n) end f(1)", None),
        (
            "local t = {} for i = 1, 1e5 do t = {t} end local ok, err = pcall(process.send, process.pid(), 'x', t)
          assert(not ok and string.find(err, 'nested deeper than 100')) assert(not json.encode(t))",
            None,
        ),
        ("assert(json.decode(string.rep('[', 1e6)) == nil)", None),
    ]);
}

#[test]
fn patterns_that_explode_are_ended() {
    go_off(&[
        ("string.find(string.rep('a', 30), string.rep('a?', 30) .. string.rep('a', 30))", ENDED),
        ("while true do pcall(string.find, string.rep('a', 1e6), string.rep('a*', 20) .. 'b') end", ENDED),
        ("string.find(string.rep('(', 1e6), '%b()')", ENDED),
        ("for _ in string.gmatch(string.rep('a', 1e5), '.-.-.-b') do end", ENDED),
        ("string.gsub(string.rep('a', 1e5), '.-.-.-b', 'x')", ENDED),
    ]);
}

#[test]
fn loops_without_end_do_not_delay_others() {
    // They never end, so each gets a hundred steps.
    for body in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(error, function() while true do end end) end",
        "coroutine.wrap(function() while true do end end)()",
        "for _ in function() return 1 end do end",
        "for _ in setmetatable({}, {__iter = function() return function() return 1 end end}) do end",
        "local function f() return f() end f()",
        "while true do local t = {} for n = 1, 100 do t[n] = {} end end",
        "while true do process.send(process.pid(), 'x', 1) end",
        "while true do process.spawn('app:idle', 'app:processes') end",
        "local a, b = channel.new(), channel.new() coroutine.spawn(function() while true do b:send(a:receive()) end end)
         while true do a:send(1) b:receive() end",
        "while true do channel.select({default = true}) end",
        "while true do pcall(time.sleep, 0) end",
    ] {
        let text = format!("local time = require('time') local function main() {body} end");
        let mut world = World::new(&[("app:main", &text), ("app:idle", "local function main() end")], |_| {});
        world.spawn("app:main", Vec::new());
        let worst = world.worst_of(100);
        assert!(worst < STEP, "a step took {worst:?}: {body}");
    }
}

#[test]
fn what_others_send_ends_nobody() {
    let mut world = World::new(
        &[
            (
                "app:main",
                "local function main()
                    local victim = process.spawn_monitored('app:victim', 'app:processes')
                    local text = string.rep('x', 2500000)
                    for n = 1, 30 do
                        while not process.send(victim, 'x', text .. n) do
                            process.inbox():receive()
                        end
                    end
                    process.send(victim, 'stop')
                    return process.events():receive().result.error == nil
                end",
            ),
            (
                "app:victim",
                "local function main()
                    local inbox = process.inbox()
                    local sender
                    while true do
                        local msg = inbox:receive()
                        process.send(msg:from(), 'taken')
                        if msg:topic() == 'stop' then return end
                    end
                end",
            ),
        ],
        |host| host.memory_limit = 8 << 20,
    );
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!((exit.error, exit.value.map(|value| format!("{value:?}"))), (None, Some("true".to_owned())));
}

#[test]
fn ends_during_ends_are_clean() {
    let mut world = World::new(
        &[
            (
                "app:main",
                "local function main()
                    local pids = {}
                    for n = 1, 200 do pids[n] = process.spawn_monitored('app:linked', 'app:processes') end
                    -- Each is linked to the next and the last to the first: the end of one is that of all.
                    for n, pid in pids do process.send(pid, 'link', pids[n % 200 + 1]) end
                    for n = 1, 200 do process.inbox():receive() end
                    for _, pid in pids do process.terminate(pid) process.cancel(pid) process.terminate(pid) end
                    local events = process.events()
                    for n = 1, 200 do assert(events:receive().kind == process.event.EXIT) end
                    process.send(process.pid(), 'after')
                    process.inbox():receive()
                    return channel.select({ events:case_receive(), default = true }).ok == false
                end",
            ),
            (
                "app:linked",
                "local function main()
                    local msg = process.inbox():receive()
                    process.link(msg:payload():data())
                    process.send(msg:from(), 'linked')
                    while true do process.inbox():receive() end
                end",
            ),
        ],
        |_| {},
    );
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!((exit.error, exit.value.map(|value| format!("{value:?}"))), (None, Some("true".to_owned())));
}
