//! `ctx`: the values that a process was handed by whoever began it.

use crate::call::{Call, Native, Raise};

pub(super) const FUNCTIONS: &[(&str, Native)] = &[("get", Native::of(get)), ("all", Native::of(all))];

/// `ctx.get(key) -> value`.
fn get(call: &mut Call<'_>) -> Result<usize, Raise> {
    if call.type_name(1) != "string" {
        return Err(Raise(format!("ctx.get(key): key: expected a text, got {}", call.type_name(1))));
    }
    all(call)?;
    let state = call.state;
    state.copy(1);
    state.raw_get_top(-2);
    Ok(1)
}

/// `ctx.all() -> table`.
fn all(call: &mut Call<'_>) -> Result<usize, Raise> {
    match call.program().context.as_deref().cloned() {
        Some(context) => call.push_term(&context)?,
        None => call.state.push_table(0, 0),
    }
    Ok(1)
}
