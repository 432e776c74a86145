//! A Luau stack: the part of Luau's C API that this crate uses, with types.
//!
//! The functions are safe to call as long as the state lives, which the crate sees to: a [`State`] is only made from
//! the state that Luau hands to a native function, or from a thread that its pod keeps. Functions that allocate may
//! raise a Luau error (out of memory), which unwinds through Rust frames to the protected call around them; outside
//! of one the allocator refuses nothing. Indices are Luau's; a caller that gives one beyond the stack gets nil.

use crate::vm::Pod;
use mlua_sys as ffi;
use std::ffi::CStr;
use std::os::raw::{c_int, c_void};

/// A Luau stack; see the module's text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(*mut ffi::lua_State);

/// How a resumed thread came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resumed {
    Finished,
    Yielded,
    /// It waits, or was preempted.
    Broke,
    Failed,
}

macro_rules! api {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = |$l:ident| $body:expr) => {
        $(#[$doc])*
        pub(crate) fn $name(self, $($arg: $type),*) $(-> $result)? {
            let $l = self.0;
            // SAFETY: the state lives (module text), and the stack has room for what is pushed: Luau guarantees
            // 20 slots to a native function, and deeper pushes go through `reserve`.
            unsafe { $body }
        }
    };
}

impl State {
    /// # Safety
    /// The state must live for as long as the result is used.
    pub(crate) unsafe fn new(l: *mut ffi::lua_State) -> State {
        State(l)
    }

    pub(crate) fn raw(self) -> *mut ffi::lua_State {
        self.0
    }

    // The stack

    api!(top() -> i32 = |l| ffi::lua_gettop(l));
    api!(set_top(index: i32) = |l| ffi::lua_settop(l, index));
    api!(pop(count: i32) = |l| ffi::lua_settop(l, -count - 1));
    api!(absolute(index: i32) -> i32 = |l| ffi::lua_absindex(l, index));
    api!(copy(index: i32) = |l| ffi::lua_pushvalue(l, index));
    api!(remove(index: i32) = |l| ffi::lua_remove(l, index));
    api!(insert(index: i32) = |l| ffi::lua_insert(l, index));
    api!(/// Makes room for so many pushes; false beyond the stack's limit.
        reserve(slots: i32) -> bool = |l| ffi::lua_checkstack(l, slots) != 0);
    api!(/// Moves values from this stack to another one of the same VM.
        move_to(other: State, count: i32) = |l| ffi::lua_xmove(l, other.0, count));

    // Reading

    api!(kind(index: i32) -> c_int = |l| ffi::lua_type(l, index));
    api!(boolean(index: i32) -> bool = |l| ffi::lua_toboolean(l, index) != 0);
    api!(number(index: i32) -> f64 = |l| ffi::lua_tonumberx(l, index, std::ptr::null_mut()));
    api!(integer(index: i32) -> i64 = |l| ffi::lua_tointeger64(l, index, std::ptr::null_mut()));
    api!(pointer(index: i32) -> *const c_void = |l| ffi::lua_topointer(l, index));
    api!(length(index: i32) -> i32 = |l| ffi::lua_objlen(l, index) as i32);
    api!(is_number(index: i32) -> bool = |l| ffi::lua_type(l, index) == ffi::LUA_TNUMBER);
    api!(is_string(index: i32) -> bool = |l| ffi::lua_type(l, index) == ffi::LUA_TSTRING);
    api!(is_table(index: i32) -> bool = |l| ffi::lua_type(l, index) == ffi::LUA_TTABLE);
    api!(is_nil(index: i32) -> bool = |l| ffi::lua_type(l, index) <= ffi::LUA_TNIL);
    api!(metatable_pointer(index: i32) -> *const c_void = |l| ffi::lua_getmetatablepointer(l, index));

    pub(crate) fn vector(self, index: i32) -> [f32; 3] {
        // SAFETY: as in `api!`; the pointer is to three floats or null.
        unsafe {
            let parts = ffi::lua_tovector(self.0, index);
            if parts.is_null() { [0.0; 3] } else { [*parts, *parts.add(1), *parts.add(2)] }
        }
    }

    /// The bytes of a string; empty for anything else. They live as long as the string does: as long as it stays on
    /// the stack.
    pub(crate) fn string<'a>(self, index: i32) -> &'a [u8] {
        let mut length = 0;
        // SAFETY: as in `api!`; a string's bytes do not move. What is no string is null, and stays what it is.
        unsafe {
            let text = ffi::lua_tolstringatom(self.0, index, &mut length, std::ptr::null_mut());
            if text.is_null() { &[] } else { std::slice::from_raw_parts(text.cast(), length) }
        }
    }

    /// The bytes of a buffer, as they are now.
    pub(crate) fn buffer<'a>(self, index: i32) -> &'a [u8] {
        let mut length = 0;
        // SAFETY: as in `api!`; nothing writes to it while the caller copies it out.
        unsafe {
            let data = ffi::lua_tobuffer(self.0, index, &mut length);
            if data.is_null() { &[] } else { std::slice::from_raw_parts(data.cast(), length) }
        }
    }

    /// The name of a value's type, as programs know it.
    pub(crate) fn type_name(self, index: i32) -> &'static str {
        match self.kind(index) {
            ffi::LUA_TNIL => "nil",
            ffi::LUA_TBOOLEAN => "boolean",
            ffi::LUA_TNUMBER | ffi::LUA_TINTEGER => "number",
            ffi::LUA_TVECTOR => "vector",
            ffi::LUA_TSTRING => "string",
            ffi::LUA_TTABLE => "table",
            ffi::LUA_TFUNCTION => "function",
            ffi::LUA_TTHREAD => "thread",
            ffi::LUA_TBUFFER => "buffer",
            ffi::LUA_TUSERDATA | ffi::LUA_TLIGHTUSERDATA => "userdata",
            _ => "nothing",
        }
    }

    /// A value in a few words for a message: never calls into the program.
    pub(crate) fn describe(self, index: i32) -> String {
        match self.kind(index) {
            ffi::LUA_TSTRING => {
                let text = self.string(index);
                let start = String::from_utf8_lossy(&text[..text.len().min(300)]);
                let cut: String = start.chars().take(60).collect();
                if cut.len() < start.len() || text.len() > 300 { format!("{cut}…") } else { cut }
            }
            ffi::LUA_TNUMBER => self.number(index).to_string(),
            ffi::LUA_TBOOLEAN => self.boolean(index).to_string(),
            _ => self.type_name(index).to_owned(),
        }
    }

    // Pushing

    api!(push_nil() = |l| ffi::lua_pushnil(l));
    api!(push_bool(value: bool) = |l| ffi::lua_pushboolean(l, c_int::from(value)));
    api!(push_number(value: f64) = |l| ffi::lua_pushnumber(l, value));
    api!(push_integer(value: i64) = |l| ffi::lua_pushinteger64(l, value));
    api!(push_string(text: &[u8]) = |l| ffi::lua_pushlstring_(l, text.as_ptr().cast(), text.len()));
    api!(push_vector(value: [f32; 3]) = |l| ffi::lua_pushvector(l, value[0], value[1], value[2]));
    api!(push_table(array: i32, hash: i32) = |l| ffi::lua_createtable(l, array, hash));
    api!(/// Pushes a new thread, and gives it.
        push_thread() -> State = |l| State(ffi::lua_newthread(l)));
    api!(push_ref(reference: c_int) = |l| { ffi::lua_rawgeti_(l, ffi::LUA_REGISTRYINDEX, reference); });

    pub(crate) fn push_buffer(self, data: &[u8]) {
        // SAFETY: as in `api!`; the new buffer has the length that is copied.
        unsafe {
            let place = ffi::lua_newbuffer(self.0, data.len());
            std::ptr::copy_nonoverlapping(data.as_ptr(), place.cast(), data.len());
        }
    }

    // Tables

    api!(raw_get_index(table: i32, index: i32) = |l| { ffi::lua_rawgeti_(l, table, index); });
    api!(raw_set_index(table: i32, index: i32) = |l| ffi::lua_rawseti_(l, table, index));
    api!(/// `table[key] = value` with key and value on top of the stack.
        raw_set(table: i32) = |l| ffi::lua_rawset(l, table));
    api!(get_field(table: i32, key: &CStr) -> c_int = |l| ffi::lua_rawgetfield(l, table, key.as_ptr()));
    api!(set_field(table: i32, key: &CStr) = |l| ffi::lua_rawsetfield(l, table, key.as_ptr()));
    api!(/// The place after `place` (0 at first), its key and value pushed; negative at the end, nothing pushed.
        raw_iterate(table: i32, place: i32) -> i32 = |l| ffi::lua_rawiter(l, table, place));
    api!(set_metatable(index: i32) = |l| { ffi::lua_setmetatable(l, index); });
    api!(set_readonly(index: i32) = |l| ffi::lua_setreadonly(l, index, 1));

    /// Replaces the key on top by its value in a table; the name of the value's type.
    pub(crate) fn raw_get_top(self, table: i32) -> &'static str {
        // SAFETY: as in `api!`.
        unsafe { ffi::lua_rawget(self.0, table) };
        self.type_name(-1)
    }

    // References and execution

    /// Keeps the value at `index` alive until [`State::release`]. The table of what is kept is the pod's.
    pub(crate) fn keep(self, index: i32) -> c_int {
        // SAFETY: as in `api!`; the state is of a pod's VM.
        unsafe {
            let _lifted = Pod::of(self).memory.lift();
            ffi::lua_ref(self.0, index)
        }
    }

    api!(release(reference: c_int) = |l| { ffi::lua_unref(l, reference); });
    api!(is_yieldable() -> bool = |l| ffi::lua_isyieldable(l) != 0);
    api!(/// Suspends the running thread outward, through coroutines that the program made.
        break_out() -> c_int = |l| ffi::lua_break(l));
    api!(set_category(category: i32) = |l| ffi::lua_setmemcat(l, category));
    api!(bytes_of(category: i32) -> usize = |l| ffi::lua_totalbytes(l, category));

    /// Calls the function under `arguments` values, protected; the error stays on the stack if it is false.
    pub(crate) fn call(self, arguments: i32, results: i32) -> bool {
        // SAFETY: as in `api!`.
        unsafe { ffi::lua_pcall(self.0, arguments, results, 0) == ffi::LUA_OK }
    }

    /// Starts the function under `arguments` values on this thread, or lets it go on with them as results.
    pub(crate) fn resume(self, arguments: i32) -> Resumed {
        // SAFETY: as in `api!`; a null `from` is allowed, and all errors are caught inside.
        let status = unsafe { ffi::lua_resume(self.0, std::ptr::null_mut(), arguments, std::ptr::null_mut()) };
        match status {
            ffi::LUA_OK => Resumed::Finished,
            ffi::LUA_YIELD => Resumed::Yielded,
            ffi::LUA_BREAK => Resumed::Broke,
            _ => Resumed::Failed,
        }
    }

    /// The calls that are on the thread's stack, for a log.
    pub(crate) fn trace(self) -> String {
        // SAFETY: as in `api!`; the text is copied out of a buffer that the next call overwrites.
        unsafe {
            let text = ffi::lua_debugtrace(self.0);
            if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().trim_end().to_owned() }
        }
    }

    /// The chunk name and line of the Luau function that called the running native one, `skip` Luau functions out.
    pub(crate) fn caller(self, skip: usize) -> Option<(String, i32)> {
        let mut left = skip;
        for level in 1..32 {
            // SAFETY: as in `api!`; `lua_getinfo` fills the record when it returns 1, with pointers that live as long
            // as the function.
            unsafe {
                let mut info: ffi::lua_Debug = std::mem::zeroed();
                if ffi::lua_getinfo(self.0, level, c"sl".as_ptr(), &mut info) == 0 {
                    return None;
                }
                if info.what.is_null() || CStr::from_ptr(info.what).to_bytes() == b"C" {
                    continue;
                }
                if left == 0 {
                    let source = CStr::from_ptr(info.source).to_string_lossy();
                    return Some((source.trim_start_matches(['=', '@']).to_owned(), info.currentline));
                }
                left -= 1;
            }
        }
        None
    }

    /// `file:line` of the innermost call of the program's own code on a suspended thread. Chunks whose name is in
    /// brackets are the runtime's.
    pub(crate) fn place(self) -> Option<String> {
        for level in 0..64 {
            // SAFETY: as in `caller`.
            unsafe {
                let mut info: ffi::lua_Debug = std::mem::zeroed();
                if ffi::lua_getinfo(self.0, level, c"sl".as_ptr(), &mut info) == 0 {
                    return None;
                }
                let source = CStr::from_ptr(info.source).to_string_lossy();
                let source = source.trim_start_matches(['=', '@']);
                if *info.what != b'C' as std::os::raw::c_char && !source.starts_with('[') {
                    return Some(format!("{source}:{}", info.currentline));
                }
            }
        }
        None
    }
}
