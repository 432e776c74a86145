//! Escapes: each row is a known trick and what becomes of it. A row's code must return true.

#[path = "programs/world.rs"]
mod world;
use world::{World, exit_of, passes};

/// A trick, and Luau that is true when it does not work.
const TRICKS: &[(&str, &str)] = &[
    // What is not there.
    ("loading source", "return load == nil and loadstring == nil and loadfile == nil and dofile == nil"),
    ("files and processes", "return io == nil and package == nil and os.execute == nil and os.remove == nil and os.rename == nil and os.tmpname == nil"),
    ("the environment and the end of the server", "return os.getenv == nil and os.exit == nil and os.setlocale == nil"),
    ("environments of functions", "return getfenv == nil and setfenv == nil and debug.getfenv == nil and debug.setfenv == nil"),
    ("the inside of functions and threads", "return debug.getupvalue == nil and debug.setupvalue == nil and debug.getlocal == nil
        and debug.setlocal == nil and debug.sethook == nil and debug.getregistry == nil and debug.upvalueid == nil"),
    ("metatables past their lock", "return debug.getmetatable == nil and debug.setmetatable == nil and newproxy == nil"),
    ("the collector and the size of everybody's heap", "return collectgarbage == nil and gcinfo == nil"),
    ("bytecode of a function", "return string.dump == nil"),
    ("nothing else is global", "
        local known = {}
        for name in string.gmatch('_G _VERSION assert bit32 buffer channel coroutine debug error errors getmetatable '
            .. 'ipairs math next os pairs pcall print process rawequal rawget rawlen rawset require select setmetatable '
            .. 'string table tonumber tostring type typeof unpack utf8 vector xpcall', '%S+') do known[name] = true end
        for name in _G do if not known[name] then return name end end
        return true"),
    ("os has clocks only", "for name in os do if not ({clock = 1, date = 1, difftime = 1, time = 1})[name] then return name end end return true"),
    ("debug looks at its own calls only", "for name in debug do if name ~= 'info' and name ~= 'traceback' then return name end end return true"),

    // Modules.
    ("a module that the entry does not list", "local ok, err = pcall(require, 'http') return not ok"),
    ("a path in place of a module", "
        for _, name in {'../json', './json', '/etc/passwd', 'json.luau', 'json\\0', 'app:main', '@self', '@app/json', 'file://json', '', ' json', 'JSON', '_G', 'process'} do
            if pcall(require, name) then return name end
        end return true"),
    ("something else than a text", "for _, name in {1, {}, print, true, setmetatable({}, {__tostring = function() return 'json' end})} do if pcall(require, name) then return false end end return not pcall(require)"),
    ("module tables are frozen", "for _, name in {'json', 'time', 'logger', 'pg', 'ctx', 'funcs'} do
            local module = require(name)
            if not table.isfrozen(module) or pcall(rawset, module, 'x', 1) or pcall(function() module.x = 1 end) or pcall(table.clear, module) then return name end
        end return true"),

    // Libraries and globals that all processes of a pod share.
    ("writing into the shared globals", "return not pcall(rawset, _G, 'x', 1) and not pcall(function() _G.x = 1 end) and not pcall(table.insert, _G, 1) and x == nil"),
    ("a metatable for the shared globals", "return not pcall(setmetatable, _G, {}) and getmetatable(_G) == nil"),
    ("every shared library and all in it is frozen", "
        local function frozen(value, path, seen)
            if type(value) ~= 'table' or seen[value] then return true end
            seen[value] = true
            if not table.isfrozen(value) then return path end
            for key, inner in value do
                local result = frozen(inner, path .. '.' .. tostring(key), seen)
                if result ~= true then return result end
            end
            local meta = getmetatable(value)
            return if type(meta) == 'table' then frozen(meta, path .. '()', seen) else true
        end
        return frozen(_G, '_G', {})"),
    ("table functions on a frozen library", "
        for _, act in {
            function() table.insert(string, 1) end, function() table.remove(string) end, function() table.clear(string) end,
            function() table.sort(string) end, function() table.move({1}, 1, 1, 1, string) end, function() string[1] = 1 end,
            function() table.foreach(string, function(k) string[k] = nil end) end,
            function() rawset(string, 'upper', print) end, function() setmetatable(string, {}) end,
        } do act = pcall(act) end
        return string.upper('x') == 'X' and string[1] == nil"),
    ("a clone of a frozen table is one's own", "local mine = table.clone(string) mine.upper = 7 return ('x'):upper() == 'X' and string.upper ~= 7"),
    ("thawing", "return not pcall(table.freeze, _G) or table.isfrozen(_G)"),
    ("own globals stay own", "leaked = 'x' return rawget(_G, 'leaked') == nil and _G.leaked == nil and leaked == 'x'"),
    ("a global in the place of a library changes only the own code", "string = {upper = function() return 'mine' end} return ('x'):upper() == 'X'"),

    // Metatables of values that everybody uses.
    ("the metatable of strings", "
        local meta = getmetatable('')
        return not pcall(rawset, meta, '__index', {}) and not pcall(function() meta.__index = {} end)
            and not pcall(function() meta.__add = print end) and not pcall(setmetatable, '', {}) and not pcall(setmetatable, meta, {})
            and not pcall(rawset, meta.__index, 'upper', 1)"),
    ("the metatable of vectors", "
        local meta = getmetatable(vector.create(1, 2, 3))
        return meta == nil or type(meta) == 'string' or table.isfrozen(meta)"),
    ("no metatable for other simple values", "
        for _, value in {1, true, print, coroutine.running(), buffer.create(1)} do
            if getmetatable(value) ~= nil or pcall(setmetatable, value, {}) then return typeof(value) end
        end return getmetatable(nil) == nil"),
    ("metatables of the runtime's objects are locked", "
        local objects = {channel.new(), process.inbox(), process.events(), process.listen('t'), errors.new('x'),
            require('time').ticker('1h'), require('time').after('1h'), channel.new():case_receive(), process.with_context({}),
            select(2, process.send('nobody', 'x')), require('json').decode('{}')}
        process.send(process.pid(), 'm')
        table.insert(objects, (process.inbox():receive()))
        for place, object in objects do
            local meta = getmetatable(object)
            if type(meta) == 'table' and not table.isfrozen(meta) then return place end
            if type(meta) == 'string' and pcall(setmetatable, object, {}) then return place end
        end return true"),
    ("methods of the runtime's objects", "
        local ch = channel.new()
        local before = ch.send
        ch.send = function() return 'mine' end
        return channel.new().send == before"),
    ("the class behind an object", "
        for _, object in {channel.new(), errors.new('x'), process.inbox(), require('time').ticker('1h')} do
            if object.__index ~= nil and not table.isfrozen(object.__index) then return false end
        end return true"),
    ("a table that says it is an error", "
        local fake = setmetatable({_kind = 'NotFound', _message = 'x'}, {__metatable = 'error'})
        return not pcall(function() return fake:kind() end)"),
    ("iterating past a lock", "local seen = 0 for k in errors.new('x') do seen += 1 end for k in channel.new() do seen += 1 end return getmetatable(errors.new('x')) == 'error'"),

    // Functions and threads of others.
    ("functions behind a level or thread", "
        for level = 0, 40 do
            local f = debug.info(level, 'f')
            if f and debug.info(f, 's') ~= '[C]' and string.sub(debug.info(f, 's'), 1, 1) ~= '[' and debug.info(f, 's') ~= 'main' then return debug.info(f, 's') end
        end return true"),
    ("a stolen native cannot be given other upvalues", "
        local f = debug.info(process.send, 'f') or process.send
        return f == process.send and debug.info(f, 'a') ~= nil and not pcall(debug.info, f, 'u')"),
    ("the thread of the pod", "
        local found
        local ch = require('time').after('1ms')
        ch.receivers = setmetatable({}, {__index = function(t, k)
            found = coroutine.running()
            pcall(coroutine.close, found) pcall(coroutine.resume, found, print) pcall(coroutine.yield, found)
            pcall(debug.traceback, found)
            return 0
        end})
        require('time').sleep('20ms')
        if not found then return true end
        for _, act in {coroutine.close, coroutine.resume, coroutine.status, debug.traceback} do pcall(act, found) end
        local f = debug.info(found, 1, 'f')
        return f == nil"),
    ("closing or resuming the own main thread", "
        local main = coroutine.running()
        local ok, err = pcall(coroutine.close, main)
        return not ok and not coroutine.resume(main) and coroutine.status(main) == 'running'"),
    ("an environment that a coroutine or pcall would bring", "
        local function probe() return rawget(_G, 'mine') end
        mine = 1
        return coroutine.wrap(probe)() == nil and select(2, pcall(probe)) == nil and mine == 1"),
    ("no pcall outlives an end", "
        local pid = process.spawn_monitored('app:stubborn', 'app:processes')
        require('time').sleep('3ms')
        process.terminate(pid)
        local event = process.events():receive()
        return event.from == pid and event.result.error:kind() == errors.CANCELED"),

    // What others can be known by.
    ("addresses in texts are no use", "
        local text = tostring({})
        return string.match(text, '^table: 0x%x+$') ~= nil and tonumber(string.match(text, '0x%x+')) ~= nil"),
    ("random numbers are one's own", "
        math.randomseed(7) local a = math.random(1e9)
        process.exec('app:seeds', 'app:processes')
        local b = math.random(1e9)
        math.randomseed(7)
        return math.random(1e9) == a and math.random(1e9) == b"),
    ("a traceback shows the own calls", "return not string.find(debug.traceback(), 'stubborn', 1, true)"),
    ("values are copies", "
        local sent = {list = {1}, b = buffer.fromstring('abc')}
        process.send(process.pid(), 'x', sent)
        local got = process.inbox():receive():payload():data()
        got.list[1] = 2 buffer.writeu8(got.b, 0, 0)
        return sent.list[1] == 1 and buffer.readu8(sent.b, 0) == 97 and got ~= sent"),
    ("metatables do not travel", "
        process.send(process.pid(), 'x', setmetatable({a = 1}, {__index = error, __len = error, __iter = error}))
        return getmetatable(process.inbox():receive():payload():data()) == nil"),
    ("functions, threads and objects do not travel", "
        for _, value in {print, function() end, coroutine.running()} do
            if pcall(process.send, process.pid(), 'x', value) or pcall(process.send, process.pid(), 'x', {value}) then return false end
        end return true"),
    ("system topics cannot be sent", "return not pcall(process.send, process.pid(), '@pid.exit') and not pcall(process.send, process.pid(), '@') and not pcall(process.listen, '@x')"),
    ("names cannot look like PIDs or the system's", "
        for _, name in {'{app:processes|1.0.1.1}', '@x', '', 'nil', string.rep('x', 300)} do
            local fine, ok = pcall(process.registry.register, name)
            if fine and ok then return name end
        end return true"),
    ("PIDs that were made up reach nobody", "
        local me = process.pid()
        for _, pid in {string.gsub(me, '%x}$', 'ff}'), '{}', '{app:processes|}', '{|.....}', '{\\0}', me .. 'x', string.rep('{', 1e5),
            string.gsub(me, 'app:processes', 'app:other'), '{:|ffffffff.ff.ffffff.ffffffffffffffff}'} do
            if process.send(pid, 'x') then return pid end
        end return true"),
    ("the node's own processes cannot be spawned upon", "return process.spawn('app:main', 'system') == nil and process.spawn('app:main', '') == nil and process.spawn('app:main', 'app:nowhere') == nil"),
];

fn run(name: &str, body: &str) {
    let main = format!("local function trick() {body} end local function main() return trick() end");
    let mut world = World::new(
        &[
            ("app:main", &main),
            ("app:stubborn", "local function main() while true do pcall(function() while true do end end) end end"),
            ("app:seeds", "local function main() math.randomseed(1) return math.random() end"),
        ],
        |_| {},
    );
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!(exit.error, None, "{name}");
    assert_eq!(exit.value.map(|value| format!("{value:?}")).as_deref(), Some("true"), "{name}");
}

#[test]
fn no_known_trick_leaves_the_sandbox() {
    for (name, body) in TRICKS {
        run(name, body);
    }
}

/// Two processes of one pod, the second after the first has tried to leave something for it.
#[test]
fn nothing_that_a_process_does_is_seen_by_the_next_one() {
    let mut world = World::new(
        &[
            (
                "app:first",
                "local lib = require('lib')
                local function main()
                    leaked = 'global'
                    lib.leaked = 'library'
                    shared_by_library = 'library global'
                    pcall(function() string.leaked = 1 end)
                    pcall(function() getmetatable('').__index.leaked = 1 end)
                    pcall(function() process.inbox().leaked = 'inbox' end)
                    math.randomseed(1)
                    process.listen('t')
                    return lib.count()
                end",
            ),
            (
                "app:second",
                "local lib = require('lib')
                local function main()
                    return leaked == nil and lib.leaked == nil and shared_by_library == nil and string.leaked == nil
                        and rawget(process.inbox(), 'leaked') == nil and lib.count() == 1
                end",
            ),
            (
                "app:lib",
                "local count = 0
                return { count = function() count += 1 return count end }",
            ),
        ],
        |_| {},
    );
    world.spawn("app:first", Vec::new());
    assert_eq!(world.exit().error, None);
    world.spawn("app:second", Vec::new());
    let exit = world.exit();
    assert_eq!((exit.error, exit.value.map(|value| format!("{value:?}"))), (None, Some("true".to_owned())));
}

#[test]
fn a_library_has_the_modules_that_it_lists_and_no_path_around_that() {
    // The library of this world imports nothing, so even by its caller's names it finds none.
    let mut world = World::new(
        &[
            ("app:main", "local lib = require('lib') local function main() return lib() end"),
            ("app:lib", "return function() return not pcall(require, 'lib') and not pcall(require, 'other_lib') end"),
            ("app:other_lib", "return 1"),
        ],
        |_| {},
    );
    world.spawn("app:main", Vec::new());
    let exit = world.exit();
    assert_eq!((exit.error, exit.value.map(|value| format!("{value:?}"))), (None, Some("true".to_owned())));
}

#[test]
fn what_is_printed_stays_out_of_the_standard_output() {
    // Luau's own would write there, and wait for whoever reads it.
    passes("local function main() print('a', 1, nil, {}) return debug.info(print, 's') ~= '[C]' end");
    let error =
        exit_of("local function main() print(setmetatable({}, {__tostring = function() error('mine') end})) end");
    assert!(error.error.unwrap().message.contains("mine"));
}
