//! `logger`: lines of the server's log.

use crate::call::{Call, Native, Raise};

pub(super) const FUNCTIONS: &[(&str, Native)] = &[("log", Native::of(log))];

/// Longest message and longest text of fields, in bytes; the rest is cut.
const LONGEST: usize = 16 << 10;

/// `log(level, message, fields?)`.
fn log(call: &mut Call<'_>) -> Result<usize, Raise> {
    let level = call.text(1).unwrap_or("info").to_owned();
    let Some(message) = call.bytes(2) else {
        return Err(Raise(format!(
            "logger.{level}(message, fields?): message: expected a text, got {}",
            call.type_name(2)
        )));
    };
    let message = cut(String::from_utf8_lossy(&message[..message.len().min(LONGEST + 4)]).into_owned());
    let fields = match call.type_name(3) {
        "nil" | "nothing" => String::new(),
        // Fields that have no JSON are shown as what is wrong with them: a log line is never lost for it.
        "table" => cut(match call.json(3) {
            Ok(json) => String::from_utf8_lossy(&json).into_owned(),
            Err(Raise(text)) => format!("<{text}>"),
        }),
        other => return Err(Raise(format!("logger.{level}(message, fields?): fields: expected a table, got {other}"))),
    };
    let entry = call.entry().to_owned();
    let pid = call.program().pid;
    let pid = pid.text(call.cx().hosts()).to_string();
    macro_rules! emit {
        ($level:ident) => {
            if fields.is_empty() {
                tracing::$level!(target: "app", pid, entry, "{message}")
            } else {
                tracing::$level!(target: "app", pid, entry, fields, "{message}")
            }
        };
    }
    match level.as_str() {
        "debug" => emit!(debug),
        "warn" => emit!(warn),
        "error" => emit!(error),
        _ => emit!(info),
    }
    Ok(0)
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
