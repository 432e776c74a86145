//! Values on their way between processes: one flat, immutable, shareable run of bytes.
//!
//! A value is written once by its sender and read once by each receiver; a copy of a term is a reference count.
//! Nothing in it refers to a heap, so two processes never share a mutable value.
//!
//! Layout: a tag byte, then what the tag says. A table is its tag, two 32-bit counts, the values of its array
//! part (keys 1..n) and then key, value, key, value of the rest.

use crate::limits::TERM_DEPTH;
use bytes::Bytes;
use std::fmt;

const NIL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const NUMBER: u8 = 3;
const STRING: u8 = 4;
const TABLE: u8 = 5;
const BUFFER: u8 = 6;
const VECTOR: u8 = 7;
const INTEGER: u8 = 8;
/// A table that is an object even when it is empty (JSON's `{}`).
const OBJECT: u8 = 9;

/// An immutable value: nil, boolean, number, string of bytes, table, buffer or vector.
#[derive(Clone, PartialEq)]
pub struct Term(Bytes);

impl Term {
    /// A term from a string of bytes.
    pub fn string(text: impl AsRef<[u8]>) -> Term {
        let mut writer = Writer::default();
        writer.string(text.as_ref());
        writer.finish()
    }

    /// The value, to look at.
    pub fn view(&self) -> View<'_> {
        // A term is only made by `Writer`, so its first value is whole.
        Reader { bytes: &self.0 }.next().unwrap_or(View::Nil)
    }

    /// A reader over the value's flat form, for those that rebuild it elsewhere.
    pub fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.0 }
    }

    /// Bytes that the term takes, for mailbox limits.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.view(), f)
    }
}

/// One value inside a term.
#[derive(Clone, Copy, PartialEq)]
pub enum View<'a> {
    /// Nothing.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A double.
    Number(f64),
    /// A 64-bit integer, where the language has them.
    Integer(i64),
    /// A string of bytes, UTF-8 or not.
    String(&'a [u8]),
    /// A buffer of bytes.
    Buffer(&'a [u8]),
    /// A vector of three floats.
    Vector([f32; 3]),
    /// A table.
    Table(TableView<'a>),
}

impl<'a> View<'a> {
    /// The bytes of a string.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self {
            View::String(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a string that is UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// What sort of value it is, as programs name it.
    pub fn type_name(self) -> &'static str {
        match self {
            View::Nil => "nil",
            View::Bool(_) => "boolean",
            View::Number(_) | View::Integer(_) => "number",
            View::String(_) => "string",
            View::Buffer(_) => "buffer",
            View::Vector(_) => "vector",
            View::Table(_) => "table",
        }
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            View::Nil => f.write_str("nil"),
            View::Bool(value) => write!(f, "{value}"),
            View::Number(value) => write!(f, "{value}"),
            View::Integer(value) => write!(f, "{value}i"),
            View::String(bytes) | View::Buffer(bytes) => write!(f, "{:?}", String::from_utf8_lossy(bytes)),
            View::Vector(value) => write!(f, "{value:?}"),
            View::Table(table) => f.debug_map().entries(table.entries()).finish(),
        }
    }
}

/// A table inside a term.
#[derive(Clone, Copy, PartialEq)]
pub struct TableView<'a> {
    /// Length of the array part: keys 1 to `array`.
    pub array: u32,
    /// Number of other keys.
    pub hash: u32,
    /// Whether it is an object even when it is empty.
    pub object: bool,
    body: &'a [u8],
}

impl<'a> TableView<'a> {
    /// The value of a string key.
    pub fn get(&self, key: &str) -> Option<View<'a>> {
        let mut reader = Reader { bytes: self.body };
        for _ in 0..self.array {
            reader.skip()?;
        }
        for _ in 0..self.hash {
            let found = reader.skip_keyed(key.as_bytes())?;
            if found {
                return reader.next();
            }
            reader.skip()?;
        }
        None
    }

    /// The value of a string key as a term of its own.
    pub fn get_term(&self, key: &str) -> Option<Term> {
        let mut reader = Reader { bytes: self.body };
        for _ in 0..self.array {
            reader.skip()?;
        }
        for _ in 0..self.hash {
            let found = reader.skip_keyed(key.as_bytes())?;
            let from = reader.bytes;
            reader.skip()?;
            if found {
                return Some(Term(Bytes::copy_from_slice(&from[..from.len() - reader.bytes.len()])));
            }
        }
        None
    }

    /// Every key with its value; the array part first.
    pub fn entries(&self) -> impl Iterator<Item = (View<'a>, View<'a>)> + use<'a> {
        let mut reader = Reader { bytes: self.body };
        let (array, total) = (self.array, u64::from(self.array) + u64::from(self.hash));
        (0..total).map_while(move |index| {
            if index < u64::from(array) {
                Some((View::Number((index + 1) as f64), reader.value()?))
            } else {
                let key = reader.value()?;
                Some((key, reader.value()?))
            }
        })
    }
}

/// Reads a term's flat form from front to back.
#[derive(Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The next value. For a table the reader then stands at its first element: its parts follow as values.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<View<'a>> {
        Some(match self.byte()? {
            NIL => View::Nil,
            FALSE => View::Bool(false),
            TRUE => View::Bool(true),
            NUMBER => View::Number(f64::from_le_bytes(self.array()?)),
            INTEGER => View::Integer(i64::from_le_bytes(self.array()?)),
            STRING => View::String(self.run()?),
            BUFFER => View::Buffer(self.run()?),
            VECTOR => View::Vector([
                f32::from_le_bytes(self.array()?),
                f32::from_le_bytes(self.array()?),
                f32::from_le_bytes(self.array()?),
            ]),
            tag @ (TABLE | OBJECT) => {
                let array = u32::from_le_bytes(self.array()?);
                let hash = u32::from_le_bytes(self.array()?);
                View::Table(TableView { array, hash, object: tag == OBJECT, body: self.bytes })
            }
            _ => return None,
        })
    }

    /// The next value, and the reader moved behind all of it.
    fn value(&mut self) -> Option<View<'a>> {
        let start = self.clone();
        self.skip()?;
        start.clone().next()
    }

    fn skip(&mut self) -> Option<()> {
        let mut left = 1u64;
        while left > 0 {
            left -= 1;
            if let View::Table(table) = self.next()? {
                left += u64::from(table.array) + 2 * u64::from(table.hash);
            }
        }
        Some(())
    }

    /// Passes over a key; whether it was this string.
    fn skip_keyed(&mut self, key: &[u8]) -> Option<bool> {
        let start = self.clone().next()?;
        self.skip()?;
        Some(start == View::String(key))
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*head)
    }

    fn run(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (head, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(head)
    }
}

/// A table that is being written; see [`Writer::table`].
#[derive(Debug)]
pub struct OpenTable {
    at: usize,
}

/// Builds a term.
#[derive(Default, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    depth: usize,
}

impl Writer {
    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes nil.
    pub fn nil(&mut self) {
        self.bytes.push(NIL);
    }

    /// Writes a boolean.
    pub fn bool(&mut self, value: bool) {
        self.bytes.push(if value { TRUE } else { FALSE });
    }

    /// Writes a number.
    pub fn number(&mut self, value: f64) {
        self.bytes.push(NUMBER);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a 64-bit integer.
    pub fn integer(&mut self, value: i64) {
        self.bytes.push(INTEGER);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a string of bytes. One of 4 GiB and more is cut: nothing that long fits a mailbox.
    pub fn string(&mut self, text: &[u8]) {
        self.run(STRING, text);
    }

    /// Writes a buffer.
    pub fn buffer(&mut self, data: &[u8]) {
        self.run(BUFFER, data);
    }

    /// Writes a vector.
    pub fn vector(&mut self, value: [f32; 3]) {
        self.bytes.push(VECTOR);
        for part in value {
            self.bytes.extend_from_slice(&part.to_le_bytes());
        }
    }

    /// Begins a table: write its array values, then its keys and values, then [`Writer::end`] with the counts.
    /// `None` when it is nested deeper than [`TERM_DEPTH`].
    pub fn table(&mut self, object: bool) -> Option<OpenTable> {
        if self.depth >= TERM_DEPTH {
            return None;
        }
        self.depth += 1;
        self.bytes.push(if object { OBJECT } else { TABLE });
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 8]);
        Some(OpenTable { at })
    }

    /// Ends a table that holds `array` values under 1..n and `hash` other keys.
    pub fn end(&mut self, table: OpenTable, array: u32, hash: u32) {
        self.depth -= 1;
        self.bytes[table.at..table.at + 4].copy_from_slice(&array.to_le_bytes());
        self.bytes[table.at + 4..table.at + 8].copy_from_slice(&hash.to_le_bytes());
    }

    /// Writes a whole term as the next value.
    pub fn term(&mut self, term: &Term) {
        self.bytes.extend_from_slice(&term.0);
    }

    /// The term.
    pub fn finish(mut self) -> Term {
        if self.bytes.is_empty() {
            self.nil();
        }
        Term(Bytes::from(self.bytes))
    }

    fn run(&mut self, tag: u8, data: &[u8]) {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.bytes.reserve(data.len() + 5);
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&data[..length as usize]);
    }
}

/// A table with string keys, in the order given: `Term::from([("code", Field::Number(1000.0)), …])`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Field<'a> {
    Bool(bool),
    Number(f64),
    Text(&'a str),
    Term(&'a Term),
}

/// Bytes of a run without its text, of a number, and of a table without its values.
const RUN: usize = 5;
const SCALAR: usize = 9;
const HEAD: usize = 9;

impl Field<'_> {
    /// Bytes that it takes in a term.
    fn size(&self) -> usize {
        match self {
            Field::Bool(_) => 1,
            Field::Number(_) => SCALAR,
            Field::Text(text) => RUN + text.len(),
            Field::Term(term) => term.size(),
        }
    }
}

impl<'a, const N: usize> From<[(&'a str, Option<Field<'a>>); N]> for Term {
    /// Fields that are `None` are left out.
    fn from(fields: [(&'a str, Option<Field<'a>>); N]) -> Term {
        let sizes = fields.iter().filter_map(|(key, field)| Some(RUN + key.len() + field.as_ref()?.size()));
        let bytes = Vec::with_capacity(HEAD + sizes.sum::<usize>());
        let mut writer = Writer { bytes, depth: 0 };
        let mut count = 0;
        if let Some(table) = writer.table(false) {
            for (key, field) in fields {
                let Some(field) = field else { continue };
                count += 1;
                writer.string(key.as_bytes());
                match field {
                    Field::Bool(value) => writer.bool(value),
                    Field::Number(value) => writer.number(value),
                    Field::Text(text) => writer.string(text.as_bytes()),
                    Field::Term(term) => writer.term(term),
                }
            }
            writer.end(table, 0, count);
        }
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_table_of_fields_takes_is_known_before_it_is_written() {
        let inner = Term::from([("x", Some(Field::Number(1.5))), ("gone", None)]);
        let fields = [Field::Bool(true), Field::Number(1.0), Field::Text("a text"), Field::Term(&inner)];
        for field in fields {
            let size = HEAD + RUN + "key".len() + field.size();
            assert_eq!(Term::from([("key", Some(field))]).size(), size);
        }
    }

    #[test]
    fn a_table_gives_back_its_fields() {
        let inner = Term::from([("x", Some(Field::Number(1.5))), ("gone", None)]);
        let inner_size = inner.size();
        let term = Term::from([
            ("code", Some(Field::Number(1000.0))),
            ("inner", Some(Field::Term(&inner))),
            ("reason", Some(Field::Text("bye"))),
            ("ok", Some(Field::Bool(true))),
        ]);
        let View::Table(table) = term.view() else { panic!("not a table") };
        assert_eq!(table.get("reason").and_then(View::as_str), Some("bye"));
        assert_eq!(table.get("ok"), Some(View::Bool(true)));
        assert_eq!(table.get("none"), None);
        let Some(View::Table(inner)) = table.get("inner") else { panic!("no inner") };
        assert_eq!(inner.get("x"), Some(View::Number(1.5)));
        assert_eq!(table.get_term("reason"), Some(Term::string("bye")));
        assert_eq!(table.get_term("inner").as_ref().map(Term::size), Some(inner_size));
        assert_eq!(inner.get("gone"), None);
        assert_eq!(table.entries().count(), 4);
    }

    #[test]
    fn a_key_is_never_taken_from_a_nested_table() {
        let inner = Term::from([("data", Some(Field::Text("inner")))]);
        let term = Term::from([("a", Some(Field::Term(&inner))), ("data", Some(Field::Text("outer")))]);
        let View::Table(table) = term.view() else { panic!("not a table") };
        assert_eq!(table.get("data").and_then(View::as_str), Some("outer"));
    }

    #[test]
    fn nesting_is_bounded() {
        let mut writer = Writer::default();
        let mut open = Vec::new();
        while let Some(table) = writer.table(false) {
            open.push(table);
        }
        assert_eq!(open.len(), TERM_DEPTH);
    }
}
