//! JSON: deterministic out, strict in.
//!
//! Text goes straight into a Luau heap and comes straight out of one; what a connection sends as JSON comes from a
//! term. Keys are sorted by their bytes; numbers without a fraction have none.

use crate::state::State;
use crate::vm::Pod;
use kernel::term::{View, Writer};
use kernel::{Error, Kind, Term};
use mlua_sys as ffi;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Nesting beyond which a value has no JSON, in either direction.
const DEPTH: usize = 100;

/// Bytes of the longest text that is read.
const TEXT: usize = 4 << 20;

/// Bytes beyond which a value has no JSON.
const LONGEST: usize = 64 << 20;

/// What becomes of strings that are not UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binary {
    /// They are an error.
    Refuse,
    /// They are written in base64.
    Base64,
}

fn invalid(text: impl Into<Box<str>>) -> Error {
    Error::new(Kind::Invalid, text)
}

fn string(out: &mut Vec<u8>, text: &[u8], binary: Binary) -> Result<(), String> {
    match (std::str::from_utf8(text), binary) {
        (Ok(text), _) => serde_json::to_writer(out, text).map_err(|error| error.to_string()),
        (Err(_), Binary::Base64) => {
            use base64::Engine;
            out.push(b'"');
            out.extend_from_slice(base64::engine::general_purpose::STANDARD.encode(text).as_bytes());
            out.push(b'"');
            Ok(())
        }
        (Err(_), Binary::Refuse) => Err("text is not UTF-8".to_owned()),
    }
}

/// Values that are looked through between two looks at the time.
const MANY: usize = 4096;
/// Escapes of one text that are read: each costs as much as many plain bytes.
const ESCAPES: usize = 500_000;
/// Bytes of a string that are written between two looks at the time.
const PIECE: usize = 16 << 10;

fn number(out: &mut Vec<u8>, value: f64) -> Result<(), String> {
    if !value.is_finite() {
        return Err(format!("{value} has no JSON"));
    }
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    }
    Ok(())
}

// From a Luau heap

/// The JSON of the value at `index`.
pub(crate) fn encode(state: State, pod: &Pod, index: i32) -> Result<Vec<u8>, Error> {
    let mut encoder = Encoder { state, pod, out: Vec::with_capacity(64), values: 0, seen: Vec::new() };
    let top = state.top();
    let result = encoder.value(state.absolute(index));
    state.set_top(top);
    match result {
        Ok(()) => Ok(encoder.out),
        Err(text) => Err(invalid(crate::value::explain(&text))),
    }
}

struct Encoder<'a> {
    state: State,
    pod: &'a Pod,
    out: Vec<u8>,
    /// Values so far.
    values: u32,
    /// The tables that the value at hand is in.
    seen: Vec<*const std::ffi::c_void>,
}

impl Encoder<'_> {
    fn value(&mut self, index: i32) -> Result<(), String> {
        let state = self.state;
        self.values = self.values.wrapping_add(1);
        let most = LONGEST.min(self.pod.memory.block.get());
        if self.out.len() > most {
            return Err(format!("its JSON is longer than {}", units::size::format(most as u64)));
        }
        if self.values.is_multiple_of(256) && self.pod.is_overdue() {
            return Err("it takes too long".to_owned());
        }
        match state.kind(index) {
            ffi::LUA_TNIL => self.out.extend_from_slice(b"null"),
            ffi::LUA_TBOOLEAN => self.out.extend_from_slice(if state.boolean(index) { b"true" } else { b"false" }),
            ffi::LUA_TNUMBER => number(&mut self.out, state.number(index))?,
            ffi::LUA_TSTRING => self.text(state.string(index))?,
            ffi::LUA_TTABLE => self.table(index)?,
            _ => return Err(format!("a {} has no JSON", state.type_name(index))),
        }
        Ok(())
    }

    /// A string, piece by piece.
    fn text(&mut self, text: &[u8]) -> Result<(), String> {
        if text.len() <= PIECE {
            return string(&mut self.out, text, Binary::Refuse);
        }
        let text = std::str::from_utf8(text).map_err(|_| "text is not UTF-8".to_owned())?;
        let mut rest = text;
        let mut joint = None;
        while !rest.is_empty() {
            self.in_time()?;
            let (piece, behind) = rest.split_at(rest.floor_char_boundary(PIECE));
            string(&mut self.out, piece.as_bytes(), Binary::Refuse)?;
            if let Some(joint) = joint {
                // The quotes between two pieces.
                self.out.drain(joint - 1..=joint);
            }
            joint = Some(self.out.len());
            rest = behind;
        }
        Ok(())
    }

    fn in_time(&self) -> Result<(), String> {
        if self.pod.is_overdue() { Err("it takes too long".to_owned()) } else { Ok(()) }
    }

    fn table(&mut self, index: i32) -> Result<(), String> {
        let state = self.state;
        let pointer = state.pointer(index);
        if self.seen.contains(&pointer) {
            return Err("a table that contains itself has no JSON".to_owned());
        }
        if self.seen.len() >= DEPTH || !state.reserve(4) {
            return Err(format!("nested deeper than {DEPTH} tables"));
        }
        self.seen.push(pointer);
        let length = state.length(index);
        if length > 0 {
            self.array(index, length)?
        } else {
            self.object(index)?
        }
        self.seen.pop();
        Ok(())
    }

    fn array(&mut self, index: i32, length: i32) -> Result<(), String> {
        let state = self.state;
        // Anything beside the positions 1 to n would be lost.
        let (mut place, mut count) = (0, 0);
        loop {
            place = state.raw_iterate(index, place);
            if place < 0 {
                break;
            }
            count += 1;
            if count % MANY as i32 == 0 {
                self.in_time()?;
            }
            let stray = state.kind(-2) != ffi::LUA_TNUMBER;
            let key = if stray { state.describe(-2) } else { String::new() };
            state.pop(2);
            if stray {
                return Err(format!("a table with positions and the key \"{key}\" is neither an array nor an object"));
            }
        }
        if count != length {
            return Err("an array with gaps has no JSON".to_owned());
        }
        for position in 1..=length {
            self.out.push(if position == 1 { b'[' } else { b',' });
            state.raw_get_index(index, position);
            self.value(state.top()).map_err(|error| place_of(&error, &position.to_string()))?;
            state.pop(1);
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, index: i32) -> Result<(), String> {
        let state = self.state;
        let mut keys: Vec<&[u8]> = Vec::new();
        let mut place = 0;
        loop {
            place = state.raw_iterate(index, place);
            if place < 0 {
                break;
            }
            if !state.is_string(-2) {
                let text = format!("the key {} is no text, and the table is no array from 1", state.describe(-2));
                state.pop(2);
                return Err(text);
            }
            // The table holds its keys, and nothing runs that could change it.
            keys.push(state.string(-2));
            state.pop(2);
            if keys.len().is_multiple_of(MANY) {
                self.in_time()?;
                if let Some(part) = keys.len().checked_sub(MANY).and_then(|from| keys.get_mut(from..)) {
                    part.sort_unstable();
                }
            }
        }
        if keys.is_empty() {
            let object = self.pod.is_object(state, index);
            self.out.extend_from_slice(if object { b"{}" } else { b"[]" });
            return Ok(());
        }
        if keys.len() > MANY {
            // Parts that are sorted already are only merged.
            self.in_time()?;
        }
        keys.sort();
        for (position, key) in keys.iter().enumerate() {
            self.out.push(if position == 0 { b'{' } else { b',' });
            string(&mut self.out, key, Binary::Refuse).map_err(|error| format!("a key: {error}"))?;
            self.out.push(b':');
            state.push_string(key);
            state.raw_get_top(index);
            let place = || String::from_utf8_lossy(key).into_owned();
            self.value(state.top()).map_err(|error| place_of(&error, &place()))?;
            state.pop(1);
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// Puts a key in front of the place that an error names.
fn place_of(error: &str, key: &str) -> String {
    match error.split_once('\u{1}') {
        Some((text, path)) => format!("{text}\u{1}{key}.{path}"),
        None => format!("{error}\u{1}{key}"),
    }
}

// Into a Luau heap

/// Pushes the value of a JSON text; nothing if it is none.
pub(crate) fn decode(state: State, pod: &Pod, text: &[u8]) -> Result<(), Error> {
    if text.len() > TEXT {
        return Err(invalid(format!("the text is longer than {}", units::size::format(TEXT as u64))));
    }
    if text.len() > ESCAPES && memchr::memchr_iter(b'\\', text).count() > ESCAPES {
        return Err(invalid(format!("the text has more than {ESCAPES} escapes")));
    }
    let top = state.top();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let target = Heap { state, pod, depth: 0 };
    let result = target.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    result.map_err(|error| {
        state.set_top(top);
        invalid(error.to_string())
    })
}

/// Pushes one value onto a Luau stack.
#[derive(Clone, Copy)]
struct Heap<'a> {
    state: State,
    pod: &'a Pod,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Heap<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Heap<'_> {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH || !self.state.reserve(4) {
            return Err(E::custom(format!("nested deeper than {DEPTH} values")));
        }
        if self.pod.is_overdue() {
            return Err(E::custom("it takes too long"));
        }
        Ok(Heap { depth: self.depth + 1, ..self })
    }
}

impl<'de> Visitor<'de> for Heap<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.state.push_nil();
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.state.push_bool(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.state.push_number(value as f64);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.state.push_number(value as f64);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.state.push_number(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.state.push_string(value.as_bytes());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        self.state.push_table(0, 0);
        let mut position = 0;
        while seq.next_element_seed(inner)?.is_some() {
            position += 1;
            self.state.raw_set_index(-2, position);
            if position % 256 == 0 && self.pod.is_overdue() {
                return Err(serde::de::Error::custom("it takes too long"));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        self.state.push_table(0, 0);
        let mut count = 0_usize;
        while map.next_key_seed(inner)?.is_some() {
            count += 1;
            if count.is_multiple_of(256) && self.pod.is_overdue() {
                return Err(serde::de::Error::custom("it takes too long"));
            }
            map.next_value_seed(inner)?;
            self.state.raw_set(-3);
        }
        // Without fields, or with none but nulls, which a table cannot hold.
        if self.state.raw_iterate(-1, 0) < 0 {
            self.pod.mark_object(self.state);
        } else {
            // The key and the value of the first field.
            self.state.pop(2);
        }
        Ok(())
    }
}

// Terms

/// Writes the JSON of a term.
pub fn from_term(term: &Term, out: &mut Vec<u8>, binary: Binary) -> Result<(), Error> {
    view(term.view(), out, binary).map_err(invalid)
}

fn view(value: View<'_>, out: &mut Vec<u8>, binary: Binary) -> Result<(), String> {
    match value {
        View::Nil => out.extend_from_slice(b"null"),
        View::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        View::Number(value) => number(out, value)?,
        View::Integer(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        View::String(text) => string(out, text, binary)?,
        View::Buffer(data) if binary == Binary::Base64 => string(out, data, binary)?,
        View::Buffer(_) | View::Vector(_) => return Err(format!("a {} has no JSON", value.type_name())),
        View::Table(table) if table.hash == 0 && !(table.object && table.array == 0) => {
            out.push(b'[');
            for (position, (_, value)) in table.entries().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                view(value, out, binary)?;
            }
            out.push(b']');
        }
        View::Table(table) => {
            let mut fields = Vec::with_capacity(table.hash as usize);
            for (key, value) in table.entries() {
                let key = key.as_bytes().ok_or("a table with other keys than texts is no object")?;
                fields.push((key, value));
            }
            fields.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (position, (key, value)) in fields.into_iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                string(out, key, binary)?;
                out.push(b':');
                view(value, out, binary)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// The term of a JSON text.
pub fn to_term(text: &[u8]) -> Result<Term, Error> {
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
    let mut writer = Writer::default();
    write_value(&mut writer, &value).ok_or_else(|| invalid("nested too deep"))?;
    Ok(writer.finish())
}

fn write_value(writer: &mut Writer, value: &serde_json::Value) -> Option<()> {
    use serde_json::Value;
    match value {
        Value::Null => writer.nil(),
        Value::Bool(value) => writer.bool(*value),
        Value::Number(value) => writer.number(value.as_f64().unwrap_or(0.0)),
        Value::String(text) => writer.string(text.as_bytes()),
        Value::Array(items) => {
            let table = writer.table(false)?;
            for item in items {
                write_value(writer, item)?;
            }
            writer.end(table, items.len() as u32, 0);
        }
        Value::Object(fields) => {
            let table = writer.table(fields.values().all(Value::is_null))?;
            for (key, value) in fields {
                writer.string(key.as_bytes());
                write_value(writer, value)?;
            }
            writer.end(table, 0, fields.len() as u32);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> String {
        let mut out = Vec::new();
        from_term(&to_term(text.as_bytes()).unwrap(), &mut out, Binary::Refuse).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keys_come_sorted_and_empty_objects_stay_objects() {
        assert_eq!(
            round(r#"{"b":1,"a":[true,null,1.5,"x"],"c":{},"d":[]}"#),
            r#"{"a":[true,null,1.5,"x"],"b":1,"c":{},"d":[]}"#
        );
    }

    #[test]
    fn numbers_are_written_without_a_fraction_that_they_do_not_have() {
        assert_eq!(round("[1.0,1800000000000,-3,0.1,1e300]"), "[1,1800000000000,-3,0.1,1e+300]");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_or_written_in_base64() {
        let term = Term::string([0xff, 0xfe]);
        let mut out = Vec::new();
        assert!(from_term(&term, &mut out, Binary::Refuse).is_err());
        from_term(&term, &mut out, Binary::Base64).unwrap();
        assert_eq!(out, b"\"//4=\"");
    }
}
