//! Luau as it is without processes: no limits, no interrupts, the interpreter's own allocator and collector.

use mlua_sys as ffi;
use std::ffi::CString;
use std::time::Duration;

const WORKLOADS: &str = include_str!("programs/workloads.luau");

/// What one of the workloads takes, compiled as programs are.
pub(crate) fn run(workload: &str, times: usize) -> Duration {
    let name = CString::new(workload).expect("a name");
    let mut options = ffi::lua_CompileOptions::default();
    (options.optimizationLevel, options.debugLevel) = (1, 1);
    // SAFETY: the state is made, used and closed here. Both calls are protected, so that no error passes through Rust,
    // and the stack, which has room for twenty values, never holds more than three.
    unsafe {
        let l = ffi::luaL_newstate();
        ffi::luaL_openlibs(l);
        ffi::luaL_sandbox(l, 1);
        ffi::luaL_sandboxthread(l);
        let code = ffi::luau_compile(WORKLOADS.as_bytes(), options);
        let loaded = ffi::luau_load(l, c"workloads".as_ptr(), code.as_ptr().cast(), code.len(), 0);
        assert_eq!(loaded, 0, "the workloads compile");
        assert_eq!(ffi::lua_pcall(l, 0, 1, 0), 0, "they are a library");
        ffi::lua_getfield(l, -1, name.as_ptr());
        ffi::lua_pushnumber(l, times as f64);
        let began = luau::computed();
        let ended = ffi::lua_pcall(l, 1, 0, 0);
        let took = luau::computed() - began;
        assert_eq!(ended, 0, "{workload} ran to its end");
        ffi::lua_close(l);
        Duration::from_nanos(took)
    }
}
