//! The API: what every program finds as a global, and what it can `require`.
//!
//! Each module is up to three siblings: `x.d.luau` (types and documentation), `x.rs` (natives) and `x.luau` (the rest).

mod channel;
mod coroutine;
mod ctx;
mod events;
mod funcs;
mod json;
mod limits;
mod logger;
mod math;
mod pg;
mod process;
mod require;
mod supervisor;
mod time;

use crate::call::{Native, push_native};
use crate::runtime::NativeModule;
use crate::state::State;
use mlua_sys as ffi;
use rustc_hash::FxHashMap;
use std::ffi::{CStr, CString};
use std::os::raw::c_int;

/// The modules that `require` can load, beside those that a gateway adds.
pub const BUILT_IN: [&str; 8] = ["json", "time", "logger", "pg", "events", "ctx", "funcs", "supervisor"];

/// What the modules gave to be used from Rust, as registry references.
pub(crate) struct Prelude {
    pub(crate) make_error: c_int,
    pub(crate) error: c_int,
    pub(crate) object: c_int,
    pub(crate) tick: c_int,
    pub(crate) spawner: c_int,
    pub(crate) caller: c_int,
    pub(crate) make_future: c_int,
    pub(crate) settle: c_int,
    pub(crate) modules: FxHashMap<&'static str, c_int>,
    pub(crate) names: Vec<CString>,
}

/// A part of the prelude: a chunk that gets its natives and the table that all parts share.
struct Part {
    name: &'static CStr,
    functions: &'static [(&'static str, Native)],
    source: &'static str,
}

/// In the order in which they need each other. What a part returns becomes the global or module of its name.
const GLOBALS: [Part; 7] = [
    Part { name: c"errors", functions: &[], source: include_str!("modules/errors.luau") },
    Part { name: c"channel", functions: channel::FUNCTIONS, source: include_str!("modules/channel.luau") },
    Part { name: c"process", functions: process::FUNCTIONS, source: include_str!("modules/process.luau") },
    Part { name: c"coroutine", functions: coroutine::FUNCTIONS, source: include_str!("modules/coroutine.luau") },
    Part { name: c"require", functions: require::FUNCTIONS, source: include_str!("modules/require.luau") },
    Part { name: c"print", functions: logger::FUNCTIONS, source: include_str!("modules/print.luau") },
    Part { name: c"math", functions: math::FUNCTIONS, source: include_str!("modules/math.luau") },
];
const MODULES: [Part; 8] = [
    Part { name: c"json", functions: json::FUNCTIONS, source: include_str!("modules/json.luau") },
    Part { name: c"time", functions: time::FUNCTIONS, source: include_str!("modules/time.luau") },
    Part { name: c"logger", functions: logger::FUNCTIONS, source: include_str!("modules/logger.luau") },
    Part { name: c"pg", functions: pg::FUNCTIONS, source: include_str!("modules/pg.luau") },
    Part { name: c"events", functions: events::FUNCTIONS, source: include_str!("modules/events.luau") },
    Part { name: c"ctx", functions: ctx::FUNCTIONS, source: include_str!("modules/ctx.luau") },
    Part { name: c"funcs", functions: funcs::FUNCTIONS, source: include_str!("modules/funcs.luau") },
    Part { name: c"supervisor", functions: supervisor::FUNCTIONS, source: include_str!("modules/supervisor.luau") },
];

/// Luau's own libraries that a program may use. Absent: `integer`, and everything that touches a file.
const LIBRARIES: [(&CStr, unsafe extern "C-unwind" fn(*mut ffi::lua_State) -> c_int); 11] = [
    (c"", ffi::luaopen_base),
    (c"coroutine", ffi::luaopen_coroutine),
    (c"table", ffi::luaopen_table),
    // Clocks and dates only: Luau's `os` has nothing else.
    (c"os", ffi::luaopen_os),
    (c"string", ffi::luaopen_string),
    (c"math", ffi::luaopen_math),
    (c"utf8", ffi::luaopen_utf8),
    (c"bit32", ffi::luaopen_bit32),
    (c"buffer", ffi::luaopen_buffer),
    (c"vector", ffi::luaopen_vector),
    (c"debug", ffi::luaopen_debug),
];

/// Globals of Luau's that reach what is shared: other functions' environments, the collector, the heap's size.
const REMOVED: [&CStr; 5] = [c"getfenv", c"setfenv", c"collectgarbage", c"gcinfo", c"newproxy"];

/// Fills a new VM with everything that its programs share, and freezes it.
pub(crate) fn install(main: State, extra: &[NativeModule]) -> Result<Prelude, String> {
    for (name, open) in LIBRARIES {
        // SAFETY: `open` is one of Luau's library functions, called as `luaL_openlibs` does.
        unsafe {
            ffi::lua_pushcclosurek(main.raw(), open, std::ptr::null(), 0, None);
            main.push_string(name.to_bytes());
            ffi::lua_call(main.raw(), 1, 0);
        }
    }
    for name in REMOVED {
        main.push_nil();
        set_global(main, name);
    }
    let mut names = Vec::new();
    main.push_table(0, 16);
    let shared = main.top();
    run(main, shared, c"limits", &[], include_str!("modules/limits.luau"), &mut names)?;
    limits::install(main);
    main.pop(1);
    for part in &GLOBALS {
        run(main, shared, part.name, part.functions, part.source, &mut names)?;
        set_global(main, part.name);
    }
    let mut modules = FxHashMap::default();
    for part in &MODULES {
        run(main, shared, part.name, part.functions, part.source, &mut names)?;
        modules.insert(part.name.to_str().unwrap_or_default(), main.keep(-1));
        main.pop(1);
    }
    for module in extra {
        let name = CString::new(module.name).map_err(|_| "a module's name has a NUL")?;
        run(main, shared, &name, module.functions, module.source, &mut names)?;
        modules.insert(module.name, main.keep(-1));
        main.pop(1);
    }
    let give = |name: &CStr| {
        main.get_field(shared, name);
        let reference = main.keep(-1);
        main.pop(1);
        reference
    };
    let prelude = Prelude {
        make_error: give(c"make_error"),
        error: give(c"Error"),
        object: give(c"Object"),
        tick: give(c"tick"),
        spawner: give(c"Spawner"),
        caller: give(c"Caller"),
        make_future: give(c"make_future"),
        settle: give(c"settle"),
        modules,
        names,
    };
    // SAFETY: the VM is new and no program runs in it yet.
    unsafe { ffi::luaL_sandbox(main.raw(), 1) };
    main.set_top(0);
    Ok(prelude)
}

/// Runs one part; leaves on the stack what it returns, frozen with all tables in it.
fn run(
    main: State,
    shared: i32,
    name: &CStr,
    functions: &[(&'static str, Native)],
    source: &str,
    names: &mut Vec<CString>,
) -> Result<(), String> {
    let mut options = ffi::lua_CompileOptions::default();
    options.optimizationLevel = 2;
    // SAFETY: the text is ours; the bytecode is loaded by the Luau that compiled it.
    let status = unsafe {
        let bytecode = ffi::luau_compile(source.as_bytes(), options);
        let chunk = CString::new(format!("=[{}]", name.to_string_lossy())).unwrap_or_default();
        ffi::luau_load(main.raw(), chunk.as_ptr(), bytecode.as_ptr().cast(), bytecode.len(), 0)
    };
    if status != 0 {
        return Err(format!("module {}: {}", name.to_string_lossy(), main.describe(-1)));
    }
    main.push_table(0, functions.len() as i32);
    for (key, function) in functions {
        let key = CString::new(*key).map_err(|_| "a function's name has a NUL")?;
        push_native(main, *function, &key);
        main.set_field(-2, &key);
        names.push(key);
    }
    main.copy(shared);
    if !main.call(2, 1) {
        return Err(format!("module {}: {}", name.to_string_lossy(), main.describe(-1)));
    }
    freeze(main);
    Ok(())
}

/// Makes the table on top read-only, with all tables and metatables that it holds.
fn freeze(main: State) {
    if main.type_name(-1) != "table" {
        return;
    }
    let table = main.top();
    main.set_readonly(table);
    let mut place = 0;
    loop {
        place = main.raw_iterate(table, place);
        if place < 0 {
            break;
        }
        freeze(main);
        main.pop(2);
    }
}

fn set_global(main: State, name: &CStr) {
    // SAFETY: the value is on top of a live stack.
    unsafe { ffi::lua_setfield(main.raw(), ffi::LUA_GLOBALSINDEX, name.as_ptr()) };
}
