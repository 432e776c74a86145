//! What a program failed with, as an error of the kernel: without calling into the program again.

use crate::state::State;
use crate::value;
use crate::vm::Pod;
use kernel::{Error, Kind};

/// An error with the calls of a thread.
pub(crate) fn new(message: &str, thread: State) -> Error {
    Error::new(Kind::Internal, message).with_stack(thread.trace())
}

/// The error that is on top of a thread's stack: an error object, a string, or whatever else was raised.
pub(crate) fn of_stack(thread: State, pod: &Pod, trace: String) -> Error {
    let index = thread.top();
    let mut error = object(thread, pod, index).unwrap_or_else(|| {
        let text = match thread.type_name(index) {
            "string" => String::from_utf8_lossy(thread.string(index)).into_owned(),
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
        String::from_utf8_lossy(state.string(top + 2)).into_owned(),
    );
    error.retryable = state.boolean(top + 3);
    if state.type_name(top + 4) == "table" {
        error.details = value::to_term(state, pod, top + 4, 64 << 10).ok();
    }
    if state.is_string(top + 5) {
        error.stack = Some(String::from_utf8_lossy(state.string(top + 5)).into());
    }
    state.set_top(top);
    Some(error)
}
