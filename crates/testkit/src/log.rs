//! The server's log, line by line.

use serde_json::Value;

/// One JSON line of the log.
#[derive(Clone, Debug)]
pub struct Record {
    line: String,
    fields: Value,
}

impl Record {
    /// A line as it was written. One that is no JSON object has no fields, only its text.
    pub fn parse(line: String) -> Record {
        let fields = serde_json::from_str(&line).unwrap_or(Value::Null);
        Record { line, fields }
    }

    /// The field, `""` when it is not there or no text.
    pub fn text(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    /// Whether this is a warning or an error.
    pub fn is_fault(&self) -> bool {
        matches!(self.text("level").to_ascii_lowercase().as_str(), "warn" | "error")
    }

    /// Whether every word stands somewhere in the line.
    pub fn says(&self, words: &[&str]) -> bool {
        words.iter().all(|word| self.line.contains(word))
    }

    /// The whole line.
    pub fn line(&self) -> &str {
        &self.line
    }
}
