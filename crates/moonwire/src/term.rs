//! A value of the YAML as a value for a process.

use kernel::Term;
use kernel::term::Writer;
use manifest::Value;

/// The value, or nothing if it is nested too deeply. Fields that are null are left out, as nil is in a table.
pub(crate) fn of_value(value: &Value) -> Option<Term> {
    let mut writer = Writer::default();
    write(&mut writer, value)?;
    Some(writer.finish())
}

/// The arguments that an `input` stands for: one, or none if it is not written.
pub(crate) fn input(value: &Value) -> Option<Vec<Term>> {
    if *value == Value::Null { Some(Vec::new()) } else { of_value(value).map(|term| vec![term]) }
}

fn write(writer: &mut Writer, value: &Value) -> Option<()> {
    match value {
        Value::Null => writer.nil(),
        Value::Bool(value) => writer.bool(*value),
        Value::Number(value) => writer.number(*value),
        Value::String(text) => writer.string(text.as_bytes()),
        Value::List(values) => {
            let table = writer.table(false)?;
            for value in values {
                write(writer, value)?;
            }
            writer.end(table, u32::try_from(values.len()).ok()?, 0);
        }
        Value::Map(fields) => {
            // Only an empty one has to be told from an empty list.
            let table = writer.table(fields.is_empty())?;
            let mut count = 0;
            for (key, value) in fields.iter().filter(|(_, value)| *value != Value::Null) {
                writer.string(key.as_bytes());
                write(writer, value)?;
                count += 1;
            }
            writer.end(table, 0, count);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::term::View;

    #[test]
    fn an_input_arrives_with_its_fields_and_lists() {
        let input = Value::Map(vec![
            ("name".to_owned(), Value::String("told".to_owned())),
            ("gone".to_owned(), Value::Null),
            ("list".to_owned(), Value::List(vec![Value::Number(1.0), Value::Bool(true)])),
        ]);
        let term = of_value(&input).expect("not deep");
        let View::Table(table) = term.view() else { panic!("no table: {term:?}") };
        assert_eq!(table.hash, 2);
        assert_eq!(table.get("name").and_then(View::as_str), Some("told"));
        let Some(View::Table(list)) = table.get("list") else { panic!("no list: {term:?}") };
        let values: Vec<View<'_>> = list.entries().map(|(_, value)| value).collect();
        assert_eq!(values, [View::Number(1.0), View::Bool(true)]);
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused() {
        let deep = (0..200).fold(Value::Null, |inner, _| Value::List(vec![inner]));
        assert!(of_value(&deep).is_none());
    }
}
