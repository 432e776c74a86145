//! How one event becomes one line: text for people, JSON for machines.

use serde_json::Value as Any;
use std::fmt::{self, Debug, Display, Write};
use std::ops::Range;
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
    pub(super) fields: &'a [(&'static str, Value<'a>)],
}

/// The value of a field.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// A number or a boolean, as JSON writes it.
    Plain(&'a str),
}

/// Writes lines.
pub(crate) trait Format: Send + Sync {
    fn line(&self, line: &Line<'_>, colours: bool, out: &mut String) -> fmt::Result;
}

/// Room for the fields of most lines.
const TEXTS: usize = 640;
const FIELDS: usize = 24;
/// What a line takes beside the values of its fields: their names, its time, its punctuation.
const FRAME: usize = 512;

/// What an event holds, all of it in one text: a line is written for each connection.
pub(super) struct Seen {
    texts: String,
    message: Range<usize>,
    fields: Vec<(&'static str, bool, Range<usize>)>,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen { texts: String::with_capacity(TEXTS), message: 0..0, fields: Vec::with_capacity(FIELDS) }
    }
}

impl Seen {
    pub(super) fn message(&self) -> &str {
        &self.texts[self.message.clone()]
    }

    pub(super) fn fields(&self) -> Vec<(&'static str, Value<'_>)> {
        let value = |plain, text| if plain { Value::Plain(text) } else { Value::Text(text) };
        self.fields.iter().map(|(name, plain, range)| (*name, value(*plain, &self.texts[range.clone()]))).collect()
    }

    /// About as many bytes as the line will have.
    pub(super) fn size(&self) -> usize {
        self.texts.len() + FRAME
    }

    fn text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        let range = self.write(text);
        match field.name() {
            "message" => self.message = range,
            name => self.fields.push((name, false, range)),
        }
    }

    fn plain(&mut self, field: &Field, value: impl Display) {
        let range = self.write(format_args!("{value}"));
        self.fields.push((field.name(), true, range));
    }

    fn write(&mut self, text: fmt::Arguments<'_>) -> Range<usize> {
        let start = self.texts.len();
        // A value that cannot be shown is shown as far as it can.
        let _infallible = self.texts.write_fmt(text);
        start..self.texts.len()
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.plain(field, Any::from(value));
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
    fn line(&self, line: &Line<'_>, _: bool, out: &mut String) -> fmt::Result {
        out.push_str("{\"timestamp\":");
        json(line.time, out)?;
        write!(out, ",\"level\":\"{}\",\"message\":", line.level)?;
        json(line.message, out)?;
        out.push_str(",\"target\":");
        json(line.target, out)?;
        for &(name, value) in line.fields {
            out.push(',');
            json(name, out)?;
            out.push(':');
            match value {
                Value::Plain(plain) => out.push_str(plain),
                Value::Text(value) => match of_program(line, name, value) {
                    Some(fields) => write!(out, "{}", Any::Object(fields))?,
                    None => json(value, out)?,
                },
            }
        }
        out.push_str("}\n");
        Ok(())
    }
}

/// A text as JSON writes it. Few have what must be escaped.
fn json(text: &str, out: &mut String) -> fmt::Result {
    // Without an early end, so that it looks at many bytes at once.
    let special = |found, byte| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    if text.bytes().fold(false, special) {
        return write!(out, "{}", Any::from(text));
    }
    out.push('"');
    out.push_str(text);
    out.push('"');
    Ok(())
}

/// One line for people: time of day, level, part, message, fields. What has several lines, such as a traceback, follows
/// below, set in.
pub(crate) struct Text;

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

impl Format for Text {
    fn line(&self, line: &Line<'_>, colours: bool, out: &mut String) -> fmt::Result {
        let (dim, plain, hue) = if colours { (DIM, PLAIN, hue(line.level)) } else { ("", "", "") };
        // 2026-11-21T23:45:01.123456Z: the date and the microseconds are for machines.
        let time = line.time.get(11..23).unwrap_or(line.time);
        // A crate's name says enough of where the server itself speaks.
        let target = line.target.split("::").next().unwrap_or_default();
        write!(out, "{dim}{time}{plain} {hue}{:5}{plain} {dim}{target}:{plain} ", line.level)?;
        inline(line.message, out)?;
        let mut below = Vec::new();
        for &(name, value) in line.fields {
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

    fn shown(format: &dyn Format, target: &str, message: &str, fields: &[(&'static str, Value<'_>)]) -> String {
        let time = "2026-11-21T23:45:01.123456Z";
        let mut text = String::new();
        let line = Line { time, level: Level::WARN, target, message, fields };
        format.line(&line, false, &mut text).expect("written");
        text
    }

    #[test]
    fn a_json_line_has_its_fields_at_the_top() {
        let fields = [("entry", Value::Text("app:room")), ("delay_ms", Value::Plain("100"))];
        assert_eq!(
            shown(&Json, "moonwire::services", "service \"failed\"", &fields),
            "{\"timestamp\":\"2026-11-21T23:45:01.123456Z\",\"level\":\"WARN\",\"message\":\"service \\\"failed\\\"\",\
             \"target\":\"moonwire::services\",\"entry\":\"app:room\",\"delay_ms\":100}\n"
        );
    }

    #[test]
    fn what_a_program_gave_as_fields_is_one_object() {
        let fields = [("fields", Value::Text("{\"level\":\"x\",\"name\":\"told\"}"))];
        assert!(shown(&Json, "app", "hello", &fields).ends_with(",\"fields\":{\"level\":\"x\",\"name\":\"told\"}}\n"));
        // Cut in the middle: shown as it is.
        let fields = [("fields", Value::Text("{\"na…"))];
        assert!(shown(&Json, "app", "hello", &fields).ends_with(",\"fields\":\"{\\\"na…\"}\n"));
    }

    #[test]
    fn text_shows_a_line_and_a_traceback_below_it() {
        let fields = [("entry", Value::Text("app:room")), ("error", Value::Text("boom\nroom.luau:3"))];
        assert_eq!(
            shown(&Text, "luau::program", "process failed", &fields),
            "23:45:01.123 WARN  luau: process failed entry=app:room\n    boom\n    room.luau:3\n"
        );
        let fields = [("fields", Value::Text("{\"name\":\"two words\",\"count\":3}"))];
        assert_eq!(
            shown(&Text, "app", "joined", &fields),
            "23:45:01.123 WARN  app: joined count=3 name=\"two words\"\n"
        );
    }

    #[test]
    fn nobody_forges_a_line_or_moves_the_cursor() {
        let forged = "hi\n23:45:01.123 ERROR moonwire: all lost\x1b[2J";
        assert_eq!(shown(&Text, "app", forged, &[]).lines().count(), 1);
        assert!(!shown(&Text, "app", forged, &[("x", Value::Text("\x1b[2J"))]).contains('\x1b'));
        assert_eq!(shown(&Json, "app", forged, &[]).lines().count(), 1);
    }
}
