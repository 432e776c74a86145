//! `json`: any text through `json.decode` and `json.encode` of a program, and any value through `json.encode`.
//!
//! - A text is JSON to a program if it is to serde_json and nests at most [`DEPTH`] deep.
//! - What comes back is the same JSON, but for nulls: keys sorted, no space, and written once more it is the same bytes.
//! - The two encoders, out of a Luau heap and out of a term, write the same bytes, and refuse the same values.
//! - No text and no value ends the process that reads it.
//!
//! Input: what to do, and then the text, or what a value is made of.

mod pod;

use arbitrary::{Arbitrary, Unstructured};
use kernel::Term;
use kernel::term::{View, Writer};
use luau::json::{Binary, from_term, to_term};
use pod::Pod;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Tables within one another that programs may read and write.
const DEPTH: usize = 100;
/// Bytes that are tried: enough for every depth, and read within a slice on a machine that is busy.
const LONGEST: usize = 8 << 10;

thread_local! {
    static POD: RefCell<Pod> = RefCell::new(Pod::new());
}

/// The target.
pub fn run(data: &[u8]) {
    let [what, data @ ..] = data else { return };
    if data.len() > LONGEST {
        return;
    }
    if what & 1 == 0 {
        text(data);
    } else if let Ok(any) = Any::arbitrary_take_rest(Unstructured::new(data)) {
        value(&any);
    }
}

fn ask(topic: &'static str, payload: Term) -> (Option<Term>, Term) {
    POD.with_borrow_mut(|pod| pod.ask(topic, payload))
}

/// A field of an answer as text; `None` if it is not there.
fn field(answer: &Term, name: &str) -> Option<String> {
    let View::Table(table) = answer.view() else { panic!("an answer is a table") };
    table.get(name)?.as_str().map(str::to_owned)
}

fn text(text: &[u8]) {
    let theirs: Result<Value, _> = serde_json::from_slice(text);
    let shown = String::from_utf8_lossy(text);
    let (value, answer) = ask("decode", Term::string(text));
    if let Some(fault) = field(&answer, "fault") {
        let deep = theirs.as_ref().is_ok_and(|value| depth(value) > DEPTH);
        // A machine that is busy with other things may take longer than a slice for it.
        let late = fault.ends_with("it takes too long");
        assert!(theirs.is_err() || deep || late, "{shown}: {fault}");
        return;
    }
    let theirs = theirs.unwrap_or_else(|error| panic!("a program reads {shown}, serde_json says {error}"));
    assert!(depth(&theirs) <= DEPTH, "{shown}");

    let term = to_term(text).expect("a term may be as deep as that");
    let mut once = Vec::new();
    from_term(&term, &mut once, Binary::Refuse).expect("a term of JSON is JSON");
    let back: Value = serde_json::from_slice(&once).expect("JSON");
    assert!(same(&back, &theirs), "{shown} becomes {}", String::from_utf8_lossy(&once));

    // A null in an array is a gap for a program, which has no JSON.
    if !has_null_items(&theirs) {
        let encoded = field(&answer, "text").unwrap_or_else(|| panic!("{shown}: {:?}", field(&answer, "refused")));
        let back: Value = serde_json::from_str(&encoded).expect("JSON");
        assert!(same(&back, &without_nulls(&theirs)), "{shown} becomes {encoded}");
        assert_eq!(field(&answer, "again").as_ref(), Some(&encoded), "written again");
        // A text of null is no payload.
        let value = value.unwrap_or_else(|| Writer::default().finish());
        let mut out = Vec::new();
        from_term(&value, &mut out, Binary::Refuse).expect("a term of the value");
        assert_eq!(encoded, String::from_utf8_lossy(&out), "out of the heap, and out of a term");
    }
}

/// A value that a program may have, and some that have no JSON.
#[derive(Arbitrary, Debug)]
enum Any<'a> {
    Bool(bool),
    Number(f64),
    Small(i16),
    Text(&'a str),
    Bytes(&'a [u8]),
    Buffer(&'a [u8]),
    Vector([f32; 3]),
    List(Vec<Any<'a>>),
    Fields(BTreeMap<&'a [u8], Any<'a>>),
    Mixed(Vec<Any<'a>>, BTreeMap<&'a str, Any<'a>>),
}

fn write(any: &Any<'_>, writer: &mut Writer) -> Option<()> {
    match any {
        Any::Bool(value) => writer.bool(*value),
        Any::Number(value) => writer.number(*value),
        Any::Small(value) => writer.number(f64::from(*value)),
        Any::Text(text) => writer.string(text.as_bytes()),
        Any::Bytes(bytes) => writer.string(bytes),
        Any::Buffer(bytes) => writer.buffer(bytes),
        Any::Vector(value) => writer.vector(*value),
        Any::List(items) => table(writer, items, std::iter::empty())?,
        Any::Fields(fields) => table(writer, &[], fields.iter().map(|(key, value)| (*key, value)))?,
        Any::Mixed(items, fields) => {
            table(writer, items, fields.iter().map(|(key, value)| (key.as_bytes(), value)))?;
        }
    }
    Some(())
}

fn table<'v>(
    writer: &mut Writer,
    items: &[Any<'_>],
    fields: impl ExactSizeIterator<Item = (&'v [u8], &'v Any<'v>)>,
) -> Option<()> {
    let count = fields.len() as u32;
    let table = writer.table(false)?;
    for item in items {
        write(item, writer)?;
    }
    for (key, value) in fields {
        writer.string(key);
        write(value, writer)?;
    }
    writer.end(table, items.len() as u32, count);
    Some(())
}

fn value(any: &Any<'_>) {
    let mut writer = Writer::default();
    if write(any, &mut writer).is_none() {
        return;
    }
    let term = writer.finish();
    let mut out = Vec::new();
    let ours = from_term(&term, &mut out, Binary::Refuse);
    let (_, answer) = ask("encode", term.clone());
    match (ours, field(&answer, "text")) {
        (Ok(()), Some(text)) => {
            assert_eq!(text.as_bytes(), out, "{any:?}");
            serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{any:?}: {text}: {error}"));
        }
        (Err(_), None) => {}
        (ours, text) => panic!("{any:?}: of a term {ours:?}, of a heap {text:?} {:?}", field(&answer, "fault")),
    }
    let mut base64 = Vec::new();
    if from_term(&term, &mut base64, Binary::Base64).is_ok() {
        serde_json::from_slice::<Value>(&base64).expect("with base64 it is JSON, too");
    }
}

/// Whether two values are the same, a number being what a double is.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn has_null_items(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.iter().any(|item| item.is_null() || has_null_items(item)),
        Value::Object(fields) => fields.values().any(has_null_items),
        _ => false,
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Array(list) => Value::Array(list.iter().map(without_nulls).collect()),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        other => other.clone(),
    }
}
