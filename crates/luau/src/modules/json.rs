//! `json`: see `crate::json` for the encoder and the decoder.

use crate::call::{Call, Native, Raise};
use kernel::{Error, Kind};

pub(super) const FUNCTIONS: &[(&str, Native)] = &[("encode", Native::of(encode)), ("decode", Native::of(decode))];

/// `json.encode(value) -> text | nil, err`.
fn encode(call: &mut Call<'_>) -> Result<usize, Raise> {
    if call.count() == 0 {
        return Err(Raise("json.encode(value): value is missing".to_owned()));
    }
    match crate::json::encode(call.state, call.pod, 1) {
        Ok(text) => {
            call.push_bytes(&text);
            Ok(1)
        }
        Err(error) => Ok(call.fail(&Error::new(Kind::Invalid, format!("json.encode(value): {}", error.message)))),
    }
}

/// `json.decode(text) -> value | nil, err`.
fn decode(call: &mut Call<'_>) -> Result<usize, Raise> {
    if call.type_name(1) != "string" {
        return Err(Raise(format!("json.decode(text): text: expected a string, got {}", call.type_name(1))));
    }
    // The text stays at its place on the stack while it is read.
    match call.push_json(call.state.string(1)) {
        Ok(()) => Ok(1),
        Err(error) => Ok(call.fail(&Error::new(Kind::Invalid, format!("json.decode(text): {}", error.message)))),
    }
}
