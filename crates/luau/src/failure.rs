//! What a program failed with, as an error of the kernel: without calling into the program again.

use crate::state::State;
use crate::value;
use crate::vm::Pod;
use kernel::{Error, Kind};

/// Bytes of an error's message and of its stack that leave the process; the rest is cut. Whoever monitors it gets them.
const MESSAGE: usize = 4 << 10;
const STACK: usize = 16 << 10;

/// The start of a text.
fn start(text: &[u8], most: usize) -> String {
    let mut start = String::from_utf8_lossy(&text[..text.len().min(most)]).into_owned();
    if text.len() > most {
        start.push('…');
    }
    start
}

/// An error with the calls of a thread.
pub(crate) fn new(message: &str, thread: State) -> Error {
    Error::new(Kind::Internal, message).with_stack(thread.trace())
}

/// The error that is on top of a thread's stack: an error object, a string, or whatever else was raised.
pub(crate) fn of_stack(thread: State, pod: &Pod, trace: String) -> Error {
    let index = thread.top();
    let mut error = object(thread, pod, index).unwrap_or_else(|| {
        let text = match thread.type_name(index) {
            "string" => start(thread.string(index), MESSAGE),
            "number" | "boolean" => thread.describe(index),
            other => format!("a {other} was raised"),
        };
        Error::new(Kind::Internal, if text.is_empty() { "an empty text was raised".to_owned() } else { text })
    });
    if !trace.is_empty() {
        error.stack = Some(trace.into());
    }
    error
}

/// The value at `index` if it is an error object.
pub(crate) fn object(state: State, pod: &Pod, index: i32) -> Option<Error> {
    if state.type_name(index) != "table" || state.metatable_pointer(index) != pod.error || !state.reserve(6) {
        return None;
    }
    let index = state.absolute(index);
    let top = state.top();
    state.get_field(index, c"_kind");
    state.get_field(index, c"_message");
    state.get_field(index, c"_retryable");
    state.get_field(index, c"_details");
    state.get_field(index, c"_stack");
    let mut error = Error::new(
        Kind::from_name(state.string(top + 1)).unwrap_or(Kind::Internal),
        start(state.string(top + 2), MESSAGE),
    );
    error.retryable = state.boolean(top + 3);
    if state.type_name(top + 4) == "table" {
        error.details = value::to_term(state, pod, top + 4, 64 << 10).ok();
    }
    if state.is_string(top + 5) {
        error.stack = Some(start(state.string(top + 5), STACK).into());
    }
    state.set_top(top);
    Some(error)
}
