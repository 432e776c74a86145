//! How one event becomes one line: text for people, JSON for machines.

use serde_json::Value as Any;
use std::fmt::{self, Debug, Write};
use tracing::Level;
use tracing::field::{Field, Visit};

/// Everything that a line shows.
pub(crate) struct Line<'a> {
    /// RFC 3339, in UTC.
    pub(super) time: &'a str,
    pub(super) level: Level,
    /// The part of the server that speaks; `app` for the programs' own lines.
    pub(super) target: &'a str,
    pub(super) message: &'a str,
    pub(super) fields: &'a [(&'static str, Value)],
}

/// The value of a field.
pub(crate) enum Value {
    /// A text.
    Text(String),
    /// A number or a boolean, as JSON writes it.
    Plain(String),
}

/// Writes lines.
pub(crate) trait Format: Send + Sync {
    fn line(&self, line: &Line<'_>, colours: bool, out: &mut dyn Write) -> fmt::Result;
}

/// What an event holds.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Seen {
    fn text(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            name => self.fields.push((name, Value::Text(text))),
        }
    }

    fn plain(&mut self, field: &Field, text: String) {
        self.fields.push((field.name(), Value::Plain(text)));
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.plain(field, Any::from(value).to_string());
    }
}

/// The fields of a program's own line: they come as the text of one JSON object.
fn of_program(line: &Line<'_>, name: &str, text: &str) -> Option<serde_json::Map<String, Any>> {
    match (line.target, name) {
        ("app", "fields") => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// One JSON object a line: `timestamp`, `level`, `message`, `target`, then the fields beside them. What a program gave
/// as fields stays one object, `fields`, so that it cannot pass for the server's own.
pub(super) struct Json;

impl Format for Json {
    fn line(&self, line: &Line<'_>, _: bool, out: &mut dyn Write) -> fmt::Result {
        let text = |text: &str| Any::from(text).to_string();
        write!(out, "{{\"timestamp\":{},\"level\":\"{}\"", text(line.time), line.level)?;
        write!(out, ",\"message\":{},\"target\":{}", text(line.message), text(line.target))?;
        for (name, value) in line.fields {
            write!(out, ",{}:", text(name))?;
            match value {
                Value::Plain(plain) => out.write_str(plain)?,
                Value::Text(value) => match of_program(line, name, value) {
                    Some(fields) => write!(out, "{}", Any::Object(fields))?,
                    None => out.write_str(&text(value))?,
                },
            }
        }
        out.write_str("}\n")
    }
}

/// One line for people: time of day, level, part, message, fields. What has several lines, such as a traceback, follows
/// below, set in.
pub(crate) struct Text;

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

impl Format for Text {
    fn line(&self, line: &Line<'_>, colours: bool, out: &mut dyn Write) -> fmt::Result {
        let (dim, plain, hue) = if colours { (DIM, PLAIN, hue(line.level)) } else { ("", "", "") };
        // 2026-11-21T23:45:01.123456Z: the date and the microseconds are for machines.
        let time = line.time.get(11..23).unwrap_or(line.time);
        // A crate's name says enough of where the server itself speaks.
        let target = line.target.split("::").next().unwrap_or_default();
        write!(out, "{dim}{time}{plain} {hue}{:5}{plain} {dim}{target}:{plain} ", line.level)?;
        inline(line.message, out)?;
        let mut below = Vec::new();
        for (name, value) in line.fields {
            let value = match value {
                Value::Plain(text) => text,
                Value::Text(text) => match of_program(line, name, text) {
                    Some(fields) => {
                        for (key, value) in fields {
                            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                            write!(out, " {dim}")?;
                            inline(&key, out)?;
                            write!(out, "={plain}")?;
                            quoted(&value, out)?;
                        }
                        continue;
                    }
                    None => text,
                },
            };
            if value.contains('\n') {
                below.push(value);
                continue;
            }
            write!(out, " {dim}{name}={plain}")?;
            quoted(value, out)?;
        }
        out.write_char('\n')?;
        for text in below {
            for part in text.trim_end().lines() {
                out.write_str("    ")?;
                inline(part, out)?;
                out.write_char('\n')?;
            }
        }
        Ok(())
    }
}

fn hue(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// A value, in quotes where its end would not be seen.
fn quoted(text: &str, out: &mut dyn Write) -> fmt::Result {
    if !text.is_empty() && !text.contains([' ', '"', '=']) {
        return inline(text, out);
    }
    out.write_char('"')?;
    inline(text, out)?;
    out.write_char('"')
}

/// Text without what a terminal would act on: nobody writes lines of their own into the log.
fn inline(text: &str, out: &mut dyn Write) -> fmt::Result {
    for character in text.chars() {
        match character {
            '\t' => out.write_str("  ")?,
            character if character.is_control() => write!(out, "{}", character.escape_default())?,
            character => out.write_char(character)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: &dyn Format, target: &str, message: &str, fields: &[(&'static str, Value)]) -> String {
        let time = "2026-11-21T23:45:01.123456Z";
        let mut text = String::new();
        let line = Line { time, level: Level::WARN, target, message, fields };
        format.line(&line, false, &mut text).expect("written");
        text
    }

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[test]
    fn a_json_line_has_its_fields_at_the_top() {
        let fields = [("entry", text("app:room")), ("delay_ms", Value::Plain("100".to_owned()))];
        assert_eq!(
            shown(&Json, "moonwire::services", "service \"failed\"", &fields),
            "{\"timestamp\":\"2026-11-21T23:45:01.123456Z\",\"level\":\"WARN\",\"message\":\"service \\\"failed\\\"\",\
             \"target\":\"moonwire::services\",\"entry\":\"app:room\",\"delay_ms\":100}\n"
        );
    }

    #[test]
    fn what_a_program_gave_as_fields_is_one_object() {
        let fields = [("fields", text("{\"level\":\"x\",\"name\":\"told\"}"))];
        assert!(shown(&Json, "app", "hello", &fields).ends_with(",\"fields\":{\"level\":\"x\",\"name\":\"told\"}}\n"));
        // Cut in the middle: shown as it is.
        let fields = [("fields", text("{\"na…"))];
        assert!(shown(&Json, "app", "hello", &fields).ends_with(",\"fields\":\"{\\\"na…\"}\n"));
    }

    #[test]
    fn text_shows_a_line_and_a_traceback_below_it() {
        let fields = [("entry", text("app:room")), ("error", text("boom\nroom.luau:3"))];
        assert_eq!(
            shown(&Text, "luau::program", "process failed", &fields),
            "23:45:01.123 WARN  luau: process failed entry=app:room\n    boom\n    room.luau:3\n"
        );
        let fields = [("fields", text("{\"name\":\"two words\",\"count\":3}"))];
        assert_eq!(
            shown(&Text, "app", "joined", &fields),
            "23:45:01.123 WARN  app: joined count=3 name=\"two words\"\n"
        );
    }

    #[test]
    fn nobody_forges_a_line_or_moves_the_cursor() {
        let forged = "hi\n23:45:01.123 ERROR moonwire: all lost\x1b[2J";
        assert_eq!(shown(&Text, "app", forged, &[]).lines().count(), 1);
        assert!(!shown(&Text, "app", forged, &[("x", text("\x1b[2J"))]).contains('\x1b'));
        assert_eq!(shown(&Json, "app", forged, &[]).lines().count(), 1);
    }
}
