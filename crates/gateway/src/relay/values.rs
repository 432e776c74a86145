//! Between JSON and the terms of the kernel.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::Term;
use kernel::term::{View, Writer};
use serde_json::{Map, Number, Value};

/// Metadata as the term that travels with each message.
pub fn term_of(fields: &Map<String, Value>) -> Term {
    let mut writer = Writer::default();
    write_object(&mut writer, fields);
    writer.finish()
}

/// A value inside a term as a term of its own.
pub fn term_of_view(view: View<'_>) -> Term {
    let mut writer = Writer::default();
    write_view(&mut writer, view);
    writer.finish()
}

/// A value as JSON. Strings that are not UTF-8 become base64; a table with a key 1 and no other keys than its
/// array's is an array; what JSON has no word for is null.
pub fn json_of(view: View<'_>) -> Value {
    match view {
        View::Nil | View::Vector(_) => Value::Null,
        View::Bool(value) => Value::Bool(value),
        View::Integer(value) => Value::from(value),
        View::Number(value) => json_number(value),
        View::String(bytes) | View::Buffer(bytes) => Value::String(text_of(bytes)),
        View::Table(table) if table.hash == 0 && !(table.object && table.array == 0) => {
            Value::Array(table.entries().map(|(_, value)| json_of(value)).collect())
        }
        View::Table(table) => {
            let fields = table.entries().map(|(key, value)| (key_of(key), json_of(value)));
            Value::Object(fields.collect())
        }
    }
}

/// A number as programs see it: whole ones without a fraction.
fn json_number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn key_of(key: View<'_>) -> String {
    match key {
        View::String(bytes) => text_of(bytes),
        other => json_of(other).to_string(),
    }
}

fn text_of(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| STANDARD.encode(bytes), str::to_owned)
}

fn write_object(writer: &mut Writer, fields: &Map<String, Value>) {
    let Some(table) = writer.table(true) else { return writer.nil() };
    for (key, value) in fields {
        writer.string(key.as_bytes());
        write_json(writer, value);
    }
    writer.end(table, 0, count(fields.len()));
}

fn write_json(writer: &mut Writer, value: &Value) {
    match value {
        Value::Null => writer.nil(),
        Value::Bool(value) => writer.bool(*value),
        Value::Number(number) => writer.number(number.as_f64().unwrap_or(0.0)),
        Value::String(text) => writer.string(text.as_bytes()),
        Value::Array(list) => {
            let Some(table) = writer.table(false) else { return writer.nil() };
            for value in list {
                write_json(writer, value);
            }
            writer.end(table, count(list.len()), 0);
        }
        Value::Object(fields) => write_object(writer, fields),
    }
}

fn write_view(writer: &mut Writer, view: View<'_>) {
    match view {
        View::Nil => writer.nil(),
        View::Bool(value) => writer.bool(value),
        View::Number(value) => writer.number(value),
        View::Integer(value) => writer.integer(value),
        View::String(bytes) => writer.string(bytes),
        View::Buffer(bytes) => writer.buffer(bytes),
        View::Vector(value) => writer.vector(value),
        View::Table(view) => {
            let Some(table) = writer.table(view.object) else { return writer.nil() };
            for (index, (key, value)) in view.entries().enumerate() {
                if index >= view.array as usize {
                    write_view(writer, key);
                }
                write_view(writer, value);
            }
            writer.end(table, view.array, view.hash);
        }
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_comes_back_as_it_was() {
        let fields =
            json!({ "user": "ann", "level": 7, "rate": 1.5, "tags": ["a", true, { "deep": null }], "none": {} });
        let Value::Object(map) = &fields else { panic!("an object") };
        let term = term_of(map);
        assert_eq!(json_of(term.view()), fields);
        assert_eq!(term_of_view(term.view()), term);
    }

    #[test]
    fn a_string_that_is_not_utf8_becomes_base64() {
        assert_eq!(json_of(Term::string(b"\xff\x00\xfe").view()), json!("/wD+"));
    }

    #[test]
    fn numbers_have_no_needless_fraction() {
        for (number, text) in [(42.0, "42"), (1.5, "1.5"), (-0.25, "-0.25"), (1e300, "1e+300"), (f64::NAN, "null")] {
            assert_eq!(json_of(View::Number(number)).to_string(), text);
        }
    }
}
