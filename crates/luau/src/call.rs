//! A native function's view of its call: arguments, results, and the process that calls.

use crate::program::Program;
use crate::state::State;
use crate::value;
use crate::vm::Pod;
use kernel::{Cx, Error, Kind, Term};
use mlua_sys as ffi;
use std::os::raw::c_int;

/// A function in Rust that Luau can call: pushes its results and says how many there are.
#[derive(Clone, Copy)]
pub struct Native(ffi::lua_CFunction);

impl Native {
    /// A function by its name, or a closure that captures nothing. It is not called by a pointer: what Luau calls is made
    /// for it alone.
    pub const fn of<F>(_: F) -> Native
    where
        F: Fn(&mut Call<'_>) -> Result<usize, Raise> + Copy,
    {
        const { assert!(size_of::<F>() == 0, "it captures nothing") };
        Native(trampoline::<F>)
    }
}

/// A mistake in a call: raised as a Luau error, with the place of the caller in front.
#[derive(Debug, PartialEq, Eq)]
pub struct Raise(pub String);

impl From<String> for Raise {
    fn from(text: String) -> Raise {
        Raise(text)
    }
}

impl From<&str> for Raise {
    fn from(text: &str) -> Raise {
        Raise(text.to_owned())
    }
}

/// Returned instead of a count by a function that waits: its results come when what it waits for does.
pub(crate) const WAIT: usize = usize::MAX;

/// The process whose slice it is, for native functions. Lives on the stack of the slice.
pub(crate) struct Running {
    pub(crate) program: *mut Program,
    pub(crate) cx: *mut Cx<'static>,
}

/// One call of a native function.
pub struct Call<'a> {
    pub(crate) state: State,
    pub(crate) pod: &'a Pod,
    count: usize,
}

impl<'a> Call<'a> {
    pub(crate) fn new(state: State, pod: &'a Pod) -> Call<'a> {
        Call { state, pod, count: usize::try_from(state.top()).unwrap_or(0) }
    }

    /// The number of arguments.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The name of an argument's type; `"nothing"` behind the last one. Arguments count from 1.
    pub fn type_name(&self, argument: usize) -> &'static str {
        if argument > self.count { "nothing" } else { self.state.type_name(argument as i32) }
    }

    /// The bytes of an argument that is a string.
    pub fn bytes(&self, argument: usize) -> Option<&[u8]> {
        (argument <= self.count && self.state.is_string(argument as i32)).then(|| self.state.string(argument as i32))
    }

    /// The text of an argument that is a string of UTF-8.
    pub fn text(&self, argument: usize) -> Option<&str> {
        self.bytes(argument).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// An argument that is a number.
    pub fn number(&self, argument: usize) -> Option<f64> {
        (argument <= self.count && self.state.is_number(argument as i32)).then(|| self.state.number(argument as i32))
    }

    /// An argument that is a boolean.
    pub fn boolean(&self, argument: usize) -> Option<bool> {
        (self.type_name(argument) == "boolean").then(|| self.state.boolean(argument as i32))
    }

    /// A copy of any argument. Raises for what cannot be copied.
    pub fn term(&self, argument: usize) -> Result<Term, Raise> {
        value::to_term(self.state, self.pod, argument as i32, u64::MAX).map_err(|text| Raise(value::explain(&text)))
    }

    /// The JSON of any argument; an error says what has none.
    pub fn json(&self, argument: usize) -> Result<Vec<u8>, Raise> {
        crate::json::encode(self.state, self.pod, argument as i32).map_err(|error| Raise(error.message.into()))
    }

    /// Pushes nil.
    pub fn push_nil(&mut self) {
        self.state.push_nil();
    }

    /// Pushes a boolean.
    pub fn push_bool(&mut self, value: bool) {
        self.state.push_bool(value);
    }

    /// Pushes a number.
    pub fn push_number(&mut self, value: f64) {
        self.state.push_number(value);
    }

    /// Pushes a string.
    pub fn push_bytes(&mut self, value: &[u8]) {
        self.state.push_string(value);
    }

    /// Pushes the value of a term.
    pub fn push_term(&mut self, term: &Term) -> Result<(), Raise> {
        if value::push_term(self.state, self.pod, term) { Ok(()) } else { Err(Raise("stack overflow".to_owned())) }
    }

    /// Pushes the value of a JSON text. Nothing is pushed if it is an error.
    pub fn push_json(&mut self, text: &[u8]) -> Result<(), Error> {
        crate::json::decode(self.state, self.pod, text)
    }

    /// Pushes an error object.
    pub fn push_error(&mut self, error: &Error) {
        push_error(self.state, self.pod, error);
    }

    /// Pushes `nil, err`; the count of both.
    pub fn fail(&mut self, error: &Error) -> usize {
        self.push_nil();
        self.push_error(error);
        2
    }

    /// The kernel, acting as the running process.
    pub fn cx(&mut self) -> &mut Cx<'_> {
        // SAFETY: native functions run only inside a slice, where `running` points to a record on the slice's stack;
        // while one runs, nothing else uses the kernel. The lifetime is cut to that of the borrow.
        unsafe {
            let cx: *mut Cx<'static> = (*self.pod.running.get()).cx;
            &mut *cx.cast::<Cx<'_>>()
        }
    }

    pub(crate) fn program(&mut self) -> &mut Program {
        // SAFETY: as in `cx`; the slice itself reaches its program only through the same pointer.
        unsafe { &mut *(*self.pod.running.get()).program }
    }

    /// The running program and its kernel, at once.
    pub(crate) fn both(&mut self) -> (&'a mut Program, &'a mut Cx<'a>) {
        // SAFETY: as in `cx` and `program`; the two are different objects.
        unsafe {
            let running = self.pod.running.get();
            (&mut *(*running).program, &mut *(*running).cx.cast::<Cx<'a>>())
        }
    }

    /// What the spawner gave the process to keep, if it is a `T`.
    pub fn extension<T: 'static>(&mut self) -> Option<&mut T> {
        self.program().extension.as_mut()?.as_any().downcast_mut()
    }

    /// A single value would take more than the process's limit allows one to.
    pub(crate) fn value_too_large(&mut self) -> Error {
        let most = units::size::format(self.pod.memory.block.get() as u64);
        let host = self.program().pid.host();
        let host = &self.cx().hosts()[host];
        let (name, limit) = (&host.name, units::size::format(host.memory_limit));
        let text = format!(
            "not enough memory: one string, buffer or table may take {most} where memory_limit is {limit} on host \"{name}\""
        );
        Error::new(Kind::Unavailable, text)
    }

    /// The id of the running process's entry.
    pub fn entry(&self) -> &str {
        // SAFETY: as in `program`.
        let program = unsafe { &*(*self.pod.running.get()).program };
        &program.version.get(program.entry).id
    }
}

/// Pushes an error object for `error`.
pub(crate) fn push_error(state: State, pod: &Pod, error: &Error) {
    if !state.reserve(8) {
        // One slot there is always.
        return state.push_nil();
    }
    state.push_ref(pod.refs.make_error);
    state.push_string(error.kind.name().as_bytes());
    state.push_string(error.message.as_bytes());
    state.push_bool(error.retryable);
    match &error.details {
        Some(details) if value::push_term(state, pod, details) => {}
        _ => state.push_nil(),
    }
    match &error.stack {
        Some(stack) => state.push_string(stack.as_bytes()),
        None => state.push_nil(),
    }
    // The constructor only builds a table; what it leaves when that fails is the error's text.
    state.call(5, 1);
}

/// Luau's side of a native function.
unsafe extern "C-unwind" fn trampoline<F>(l: *mut ffi::lua_State) -> c_int
where
    F: Fn(&mut Call<'_>) -> Result<usize, Raise> + Copy,
{
    // SAFETY: Luau calls this with a live state of a pod's VM. An `F` has no bytes and can be copied, and
    // [`Native::of`] was given one.
    let (state, result) = unsafe {
        let function = std::mem::transmute_copy::<(), F>(&());
        let state = State::new(l);
        (state, function(&mut Call::new(state, Pod::of(state))))
    };
    match result {
        Ok(WAIT) => state.break_out(),
        Ok(count) => count as c_int,
        // SAFETY: nothing in this frame is left to drop.
        Err(raise) => unsafe { throw(state, raise) },
    }
}

/// Raises an error in Luau, with the caller's place in front.
///
/// # Safety
/// Frames between the state's protected call and here are unwound: none may have anything to drop.
#[cold]
unsafe fn throw(state: State, Raise(text): Raise) -> ! {
    // SAFETY: the state lives; the text is dropped before the error unwinds this frame.
    unsafe {
        ffi::luaL_where(state.raw(), 1);
        state.push_string(text.as_bytes());
        drop(text);
        ffi::lua_concat(state.raw(), 2);
        ffi::lua_error(state.raw())
    }
}

/// Pushes a native function as a Luau function. `name` must live as long as the VM.
pub(crate) fn push_native(state: State, function: Native, name: &std::ffi::CStr) {
    // SAFETY: the state lives.
    unsafe { ffi::lua_pushcclosurek(state.raw(), function.0, name.as_ptr(), 0, None) };
}
