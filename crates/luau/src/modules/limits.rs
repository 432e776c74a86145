//! Guards around those of Luau's own functions that could compute for long without a chance to interrupt them.
//!
//! A guard looks at the sizes and calls Luau's function, on the same stack: small arguments cost nothing more. Large
//! tables go to a version in Luau that can be preempted, long strings to a version that takes linear time, and where
//! there is neither they are refused.

use crate::call::{Call, push_error};
use crate::state::State;
use crate::vm::Pod;
use memchr::memmem;
use mlua_sys as ffi;
use std::ffi::CStr;
use std::os::raw::c_int;

/// Bytes of a string that patterns and conversions still take.
const TEXT: usize = 4 << 20;
/// Bytes of a text that says how others are packed or formatted.
const FORMAT: usize = 64 << 10;
/// Bytes that are searched for, that replace a match, that a format quotes, or that a format of `string.pack` asks for in numbers: they are
/// written one by one.
const REPLACED: usize = 1 << 20;
/// Bytes up to which even quadratic time is short.
const SHORT: usize = 4 << 10;
/// Elements that C code may sort, and those that it may touch.
const SORTED: f64 = 2048.0;
const TOUCHED: f64 = 65_536.0;

type Function = unsafe extern "C-unwind" fn(*mut ffi::lua_State) -> c_int;

/// Library, function, its guard.
const GUARDS: [(&CStr, &CStr, Function); 27] = [
    (c"table", c"sort", sort),
    (c"table", c"move", shift),
    (c"table", c"concat", concat),
    (c"table", c"find", scan),
    (c"table", c"insert", insert),
    (c"table", c"remove", remove),
    (c"table", c"foreach", each),
    (c"table", c"foreachi", each),
    (c"table", c"create", create),
    (c"buffer", c"create", create),
    (c"string", c"find", find),
    (c"string", c"split", split),
    (c"string", c"match", pattern),
    (c"string", c"gmatch", pattern),
    (c"string", c"gsub", replace),
    (c"string", c"rep", repeated),
    (c"string", c"lower", text),
    (c"string", c"upper", text),
    (c"string", c"reverse", text),
    (c"string", c"format", format),
    (c"string", c"pack", pack),
    (c"string", c"packsize", format),
    (c"string", c"unpack", format),
    (c"utf8", c"len", text),
    (c"utf8", c"offset", text),
    (c"utf8", c"codepoint", text),
    (c"os", c"date", format),
];

/// Puts the guards in the place of the functions. The table on top has the versions in Luau.
pub(super) fn install(main: State) {
    let versions = main.top();
    for (library, name, guard) in GUARDS {
        // SAFETY: all values are Luau's own libraries, which were just opened; the stack is balanced.
        unsafe {
            let l = main.raw();
            ffi::lua_getfield(l, ffi::LUA_GLOBALSINDEX, library.as_ptr());
            main.get_field(-1, name);
            let Some(original) = ffi::lua_tocfunction(l, -1) else {
                main.pop(2);
                continue;
            };
            ffi::lua_pushlightuserdata(l, original as *mut std::ffi::c_void);
            // With a continuation everything that the guard calls can be suspended: not so what `gsub` calls.
            let continuation = (main.get_field(versions, name) == ffi::LUA_TFUNCTION).then_some(results as _);
            main.copy(-3);
            main.push_string(library.to_bytes());
            ffi::lua_pushcclosurek(l, guard, name.as_ptr(), 4, continuation);
            main.set_field(-3, name);
            main.pop(1);
            main.pop(1);
        }
    }
}

/// Calls Luau's own function in the place of the guard.
unsafe fn original(l: *mut ffi::lua_State) -> c_int {
    // SAFETY: the first upvalue of a guard is the function, put there by `install`; it finds its arguments as if it
    // had been called itself.
    unsafe {
        let function = ffi::lua_tolightuserdata(l, ffi::lua_upvalueindex(1));
        std::mem::transmute::<*mut std::ffi::c_void, Function>(function)(l)
    }
}

/// Calls the version in Luau, which may be preempted.
unsafe fn version(l: *mut ffi::lua_State) -> c_int {
    // SAFETY: the second upvalue of a table's guard is a function; one more slot is free in every C function.
    unsafe {
        ffi::lua_pushvalue(l, ffi::lua_upvalueindex(2));
        ffi::lua_insert(l, 1);
        ffi::lua_callyieldable(l, ffi::lua_gettop(l) - 1, ffi::LUA_MULTRET)
    }
}

/// After the version in Luau: all that it returned.
unsafe extern "C-unwind" fn results(l: *mut ffi::lua_State, _status: c_int) -> c_int {
    // SAFETY: Luau calls this with a live state.
    unsafe { ffi::lua_gettop(l) }
}

fn too_large(state: State) -> c_int {
    // SAFETY: called by a guard of a pod's VM; the names of the limits are dropped before the error unwinds this frame.
    unsafe {
        let pod = Pod::of(state);
        push_error(state, pod, &Call::new(state, pod).value_too_large());
        ffi::lua_error(state.raw())
    }
}

fn refuse(state: State, text: &CStr) -> c_int {
    // SAFETY: called by a guard; no value with a destructor is alive.
    unsafe {
        ffi::luaL_where(state.raw(), 1);
        state.push_string(text.to_bytes());
        ffi::lua_concat(state.raw(), 2);
        ffi::lua_error(state.raw())
    }
}

macro_rules! guard {
    ($(#[$doc:meta])* $name:ident = |$l:ident, $state:ident| $body:expr) => {
        $(#[$doc])*
        unsafe extern "C-unwind" fn $name($l: *mut ffi::lua_State) -> c_int {
            // SAFETY: Luau calls a guard with a live state, and what the guards call is said at the functions.
            unsafe {
                let $state = State::new($l);
                // A guard may be called by C code that asks for no interrupt, such as a sort, again and again.
                if Pod::of($state).is_overdue() {
                    return refuse($state, c"ran for more than 10 ms where it cannot be suspended");
                }
                $body
            }
        }
    };
}

/// The elements of a table that may be changed; 0 for anything else, which Luau's function refuses.
fn elements(state: State, index: i32) -> f64 {
    // SAFETY: the state lives.
    let changes = state.kind(index) == ffi::LUA_TTABLE && unsafe { ffi::lua_getreadonly(state.raw(), index) } == 0;
    if changes { f64::from(state.length(index)) } else { 0.0 }
}

fn number(state: State, index: i32, default: f64) -> f64 {
    match state.kind(index) {
        ffi::LUA_TNUMBER => state.number(index).trunc(),
        ffi::LUA_TNIL | ffi::LUA_TNONE => default,
        _ => f64::NAN,
    }
}

guard!(
    sort = |l, state| {
        let order = matches!(state.kind(2), ffi::LUA_TFUNCTION | ffi::LUA_TNIL | ffi::LUA_TNONE);
        let count = elements(state, 1);
        if !order || count == 0.0 {
            return original(l);
        }
        state.set_top(2);
        // A function in C asks for no interrupt: it is called from one in Luau.
        if count > SORTED || ffi::lua_iscfunction(l, 2) != 0 {
            return version(l);
        }
        // Not in the guard's place: with its continuation the comparator could be suspended in the middle of the sort.
        ffi::lua_pushvalue(l, ffi::lua_upvalueindex(3));
        ffi::lua_insert(l, 1);
        ffi::lua_call(l, 2, 0);
        0
    }
);

guard!(
    shift = |l, state| {
        let count = number(state, 3, f64::NAN) - number(state, 2, f64::NAN) + 1.0;
        let to = number(state, 4, f64::NAN);
        let target = if state.is_nil(5) { 1 } else { 5 };
        let fits = to >= f64::from(i32::MIN) && to + count <= f64::from(i32::MAX);
        let writes = state.kind(target) == ffi::LUA_TTABLE && ffi::lua_getreadonly(l, target) == 0;
        if count > TOUCHED && count < f64::from(i32::MAX) && fits && writes && state.kind(1) == ffi::LUA_TTABLE {
            for index in 2..=4 {
                state.push_number(number(state, index, 0.0));
                ffi::lua_replace(l, index);
            }
            version(l)
        } else {
            original(l)
        }
    }
);

guard!(
    concat = |l, state| {
        let separator = matches!(state.kind(2), ffi::LUA_TSTRING | ffi::LUA_TNIL | ffi::LUA_TNONE);
        let length = if state.kind(1) == ffi::LUA_TTABLE { f64::from(state.length(1)) } else { 0.0 };
        let count = number(state, 4, length) - number(state, 3, 1.0) + 1.0;
        if separator && count > TOUCHED && count < f64::from(i32::MAX) && state.kind(1) == ffi::LUA_TTABLE {
            version(l)
        } else {
            original(l)
        }
    }
);

guard!(/// `table.find`.
scan = |l, state| {
    let first = number(state, 3, 1.0);
    let long = state.kind(1) == ffi::LUA_TTABLE && f64::from(state.length(1)) - first > TOUCHED;
    if long && first >= 1.0 && !state.is_nil(2) { version(l) } else { original(l) }
});

guard!(
    insert = |l, state| {
        let (count, place) = (elements(state, 1), number(state, 2, f64::NAN));
        if state.top() == 3 && place >= 1.0 && count - place > TOUCHED { version(l) } else { original(l) }
    }
);

guard!(
    remove = |l, state| {
        let (count, place) = (elements(state, 1), number(state, 2, f64::INFINITY));
        if place >= 1.0 && count - place > TOUCHED { version(l) } else { original(l) }
    }
);

guard!(/// Functions whose time grows with their first argument.
text = |l, state| {
    if state.string(1).len() > TEXT {
        return refuse(state, c"the text is longer than 4 MiB; take it in parts");
    }
    original(l)
});

guard!(/// Functions that match a pattern. Plain bytes of one are compared without an interrupt.
pattern = |l, state| {
    if state.string(2).len() > FORMAT {
        return refuse(state, c"the pattern is longer than 64 KiB");
    }
    text(l)
});

guard!(
    replace = |l, state| {
        if state.string(2).len() > FORMAT {
            return refuse(state, c"the pattern is longer than 64 KiB");
        }
        if state.string(1).len() > TEXT {
            return refuse(state, c"the text is longer than 4 MiB; take it in parts");
        }
        if state.string(3).len() > REPLACED {
            return refuse(state, c"the replacement is longer than 1 MiB");
        }
        original(l)
    }
);

guard!(
    repeated = |l, state| {
        let size = state.string(1).len() as f64 * number(state, 2, 0.0);
        let most = Pod::of(state).memory.block.get();
        if size > most as f64 { too_large(state) } else { original(l) }
    }
);

guard!(/// `table.create` and `buffer.create`.
create = |l, state| {
    let each = if state.string(ffi::lua_upvalueindex(4)) == b"table" { 16.0 } else { 1.0 };
    let most = Pod::of(state).memory.block.get();
    if number(state, 1, 0.0) * each > most as f64 { too_large(state) } else { original(l) }
});

guard!(/// `table.foreach` and `table.foreachi`: what they call may be in C, which asks for no interrupt.
each = |l, state| {
    let fits = state.kind(1) == ffi::LUA_TTABLE && state.kind(2) == ffi::LUA_TFUNCTION;
    if fits { version(l) } else { original(l) }
});

guard!(
    pack = |l, state| {
        let format = state.string(1);
        let digits = format.split(|byte| !byte.is_ascii_digit());
        let sizes = digits.map(|digits| std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()));
        let size: usize = sizes.fold(0_usize, |sum, size| sum.saturating_add(size.unwrap_or(0)));
        if format.len() > FORMAT || size > REPLACED {
            return refuse(state, c"the format is longer than 64 KiB, or asks for more than 1 MiB");
        }
        original(l)
    }
);

guard!(/// Functions whose time grows with their format.
format = |l, state| {
    if state.string(1).len() > FORMAT {
        return refuse(state, c"the format is longer than 64 KiB");
    }
    if state.string(1).contains(&b'q') {
        let quoted: usize = (2..=state.top()).map(|index| state.string(index).len()).sum();
        if quoted > REPLACED {
            return refuse(state, c"the texts of a format with %q are longer than 1 MiB");
        }
    }
    original(l)
});

guard!(
    find = |l, state| {
        let (text, needle) = (state.string(1), state.string(2));
        if text.len() <= SHORT {
            return original(l);
        }
        let plain = state.boolean(4) || !needle.iter().any(|byte| b"^$*+?.([%-".contains(byte));
        if !plain || !state.is_string(2) {
            return if needle.len() > FORMAT {
                refuse(state, c"the pattern is longer than 64 KiB; search with plain = true")
            } else if text.len() > TEXT {
                refuse(state, c"the text is longer than 4 MiB; take it in parts, or search with plain = true")
            } else {
                original(l)
            };
        }
        if needle.len() > REPLACED {
            return refuse(state, c"what is searched for is longer than 1 MiB");
        }
        let first = number(state, 3, 1.0);
        if first.is_nan() {
            return original(l);
        }
        let first = if first < 0.0 { first + text.len() as f64 + 1.0 } else { first }.max(1.0) as usize - 1;
        match text.get(first..).and_then(|rest| memmem::find(rest, needle)) {
            Some(place) => {
                state.push_number((first + place + 1) as f64);
                state.push_number((first + place + needle.len()) as f64);
                2
            }
            None => {
                state.push_nil();
                1
            }
        }
    }
);

guard!(
    split = |l, state| {
        let (text, separator) = (state.string(1).len(), state.string(2).len());
        let short = text <= SHORT || (separator <= 16 && text <= FORMAT);
        if short || !(state.is_nil(2) || state.is_string(2)) {
            return original(l);
        }
        state.set_top(2);
        version(l)
    }
);
