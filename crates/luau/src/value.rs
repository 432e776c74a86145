//! Luau values as terms and back.
//!
//! A payload is copied twice: out of the sender's heap into a flat term, and from there into the receiver's.

use crate::state::State;
use crate::vm::Pod;
use kernel::Term;
use kernel::limits::TERM_DEPTH;
use kernel::term::{Reader, View, Writer};
use mlua_sys as ffi;

/// Values of one payload, tables and keys among them: what its receiver can make in some milliseconds, for it cannot be
/// suspended meanwhile.
const VALUES: u32 = 65_536;

/// Writes the values from `first` to `last` into a term each, all together within the bounds of one payload. An error
/// says what cannot be copied, and which of them it is, from 1.
pub(crate) fn to_terms(
    state: State,
    pod: &Pod,
    first: i32,
    last: i32,
    most: u64,
) -> Result<Vec<Term>, (usize, String)> {
    let mut terms = Vec::new();
    let mut encoder = Encoder::new(state, pod, most);
    for index in first..=last {
        encoder.value(index).map_err(|text| (terms.len() + 1, text))?;
        let term = std::mem::take(&mut encoder.writer).finish();
        encoder.before += term.size();
        terms.push(term);
    }
    Ok(terms)
}

/// Writes the value at `index` into a term. The error says what cannot be copied and where it stands.
pub(crate) fn to_term(state: State, pod: &Pod, index: i32, most: u64) -> Result<Term, String> {
    let mut encoder = Encoder::new(state, pod, most);
    encoder.value(state.absolute(index))?;
    Ok(encoder.writer.finish())
}

/// Writes `count` values from `first` as one payload: none, the value itself, or an array of them.
pub(crate) fn arguments(state: State, pod: &Pod, first: i32, count: i32, most: u64) -> Result<Option<Term>, String> {
    match count {
        0 => Ok(None),
        1 => to_term(state, pod, first, most).map(Some),
        _ => {
            let mut encoder = Encoder::new(state, pod, most);
            let Some(table) = encoder.writer.table(false) else { return Ok(None) };
            for index in first..first + count {
                encoder.value(index)?;
            }
            encoder.writer.end(table, count as u32, 0);
            Ok(Some(encoder.writer.finish()))
        }
    }
}

struct Encoder<'a> {
    state: State,
    pod: &'a Pod,
    /// Bytes that the term may take.
    most: u64,
    /// Bytes of the terms before this one, and values of all of them.
    before: usize,
    values: u32,
    writer: Writer,
    /// The tables that the value at hand is in.
    seen: Vec<*const std::ffi::c_void>,
}

impl<'a> Encoder<'a> {
    fn new(state: State, pod: &'a Pod, most: u64) -> Encoder<'a> {
        Encoder { state, pod, most, before: 0, values: 0, writer: Writer::default(), seen: Vec::new() }
    }

    fn value(&mut self, index: i32) -> Result<(), String> {
        let state = self.state;
        self.values += 1;
        if self.values > VALUES {
            return Err(format!("more than {VALUES} values; send them in parts, or as one text or buffer"));
        }
        if self.values.is_multiple_of(256) && self.pod.is_overdue() {
            return Err("it takes too long".to_owned());
        }
        match state.kind(index) {
            ffi::LUA_TNIL => self.writer.nil(),
            ffi::LUA_TBOOLEAN => self.writer.bool(state.boolean(index)),
            ffi::LUA_TNUMBER => self.writer.number(state.number(index)),
            ffi::LUA_TINTEGER => self.writer.integer(state.integer(index)),
            ffi::LUA_TVECTOR => self.writer.vector(state.vector(index)),
            ffi::LUA_TSTRING => {
                let text = state.string(index);
                self.room(text.len())?;
                self.writer.string(text);
            }
            ffi::LUA_TBUFFER => {
                let data = state.buffer(index);
                self.room(data.len())?;
                self.writer.buffer(data);
            }
            ffi::LUA_TTABLE => return self.table(index),
            _ => return Err(format!("a {} cannot be sent", state.type_name(index))),
        }
        self.room(0)
    }

    fn table(&mut self, index: i32) -> Result<(), String> {
        let state = self.state;
        let pointer = state.pointer(index);
        if self.seen.contains(&pointer) {
            return Err("a table that contains itself cannot be sent".to_owned());
        }
        if !state.reserve(4) {
            return Err("too deep to be sent".to_owned());
        }
        let object = self.pod.is_object(state, index);
        self.room(0)?;
        let Some(open) = self.writer.table(object) else {
            return Err(format!("nested deeper than {TERM_DEPTH} tables"));
        };
        self.seen.push(pointer);
        let length = state.length(index);
        for position in 1..=length {
            state.raw_get_index(index, position);
            self.keyed(|| position.to_string(), |encoder| encoder.value(state.top()))?;
            state.pop(1);
        }
        let mut others = 0;
        let mut place = 0;
        loop {
            place = state.raw_iterate(index, place);
            if place < 0 {
                break;
            }
            let (key, value) = (state.top() - 1, state.top());
            if !is_position(state, key, length) {
                others += 1;
                self.value(key)?;
                self.keyed(|| state.describe(key), |encoder| encoder.value(value))?;
            }
            state.pop(2);
        }
        self.seen.pop();
        self.writer.end(open, length as u32, others);
        Ok(())
    }

    fn keyed(
        &mut self,
        key: impl Fn() -> String,
        act: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        // The path is made only when something is wrong: the innermost writes the message, the others their keys.
        act(self).map_err(|message| match message.split_once('\u{1}') {
            Some((text, path)) => format!("{text}\u{1}{}.{path}", key()),
            None => format!("{message}\u{1}{}", key()),
        })
    }

    fn room(&self, more: usize) -> Result<(), String> {
        if (self.before + self.writer.len() + more) as u64 > self.most {
            return Err(format!("larger than {}", units::size::format(self.most)));
        }
        Ok(())
    }
}

/// The message of a refused value, with the place of what was refused.
pub(crate) fn explain(message: &str) -> String {
    match message.split_once('\u{1}') {
        Some((text, path)) => format!("{text} (at .{path})"),
        None => message.to_owned(),
    }
}

/// Whether a key is one of the positions 1 to `length`.
fn is_position(state: State, key: i32, length: i32) -> bool {
    state.kind(key) == ffi::LUA_TNUMBER && {
        let number = state.number(key);
        number >= 1.0 && number <= f64::from(length) && number.fract() == 0.0
    }
}

/// Pushes the value of a term. False when the stack cannot take it.
pub(crate) fn push_term(state: State, pod: &Pod, term: &Term) -> bool {
    // What others sent is no reason to fail for who gets it; it counts as soon as it is there.
    let _lifted = pod.memory.lift();
    let top = state.top();
    let pushed = push_next(state, pod, &mut term.reader());
    if !pushed {
        state.set_top(top);
    }
    pushed
}

fn push_next(state: State, pod: &Pod, reader: &mut Reader<'_>) -> bool {
    if !state.reserve(4) {
        return false;
    }
    match reader.next() {
        None | Some(View::Nil) => state.push_nil(),
        Some(View::Bool(value)) => state.push_bool(value),
        Some(View::Number(value)) => state.push_number(value),
        Some(View::Integer(value)) => state.push_integer(value),
        Some(View::String(text)) => state.push_string(text),
        Some(View::Buffer(data)) => state.push_buffer(data),
        Some(View::Vector(value)) => state.push_vector(value),
        Some(View::Table(table)) => {
            state.push_table(table.array as i32, table.hash as i32);
            for position in 1..=table.array {
                if !push_next(state, pod, reader) {
                    return false;
                }
                state.raw_set_index(-2, position as i32);
            }
            for _ in 0..table.hash {
                if !push_next(state, pod, reader) || !push_next(state, pod, reader) {
                    return false;
                }
                state.raw_set(-3);
            }
            if table.object {
                pod.mark_object(state);
            }
        }
    }
    true
}
