//! `${env:NAME|default}` in the texts of the entries.
//!
//! `$${` stands for `${`. A variable without a value and without a default is a mistake, as is
//! any other `${…}`: a folder that starts with a hole in its configuration fails later and worse.

use crate::diagnostics::{Diagnostic, Report};
use crate::id::EntryId;
use crate::yaml::{Content, Node, Style, quoted};

/// Where the values come from.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Puts the variables into every text of `node`, keys excepted.
pub(crate) fn substitute(node: &mut Node, entry: Option<&EntryId>, env: Env<'_>, report: &Report) {
    match &mut node.content {
        Content::List(items) => {
            for item in items {
                substitute(item, entry, env, report);
            }
        }
        Content::Map(fields) => {
            for (_, value) in fields {
                substitute(value, entry, env, report);
            }
        }
        Content::Scalar { text, style } => {
            if !text.contains("${") {
                return;
            }
            match expand(text, env) {
                Ok(Expanded { text: expanded, variables }) => {
                    *text = expanded;
                    if variables && *style == Style::Quoted {
                        *style = Style::Substituted;
                    }
                }
                Err(Fault { found, expected }) => {
                    let mut diagnostic = Diagnostic::error(&node.place, found).expected(expected);
                    diagnostic.entry = entry.cloned();
                    report.add(diagnostic);
                }
            }
        }
    }
}

struct Expanded {
    text: String,
    /// Whether a variable was put in, rather than only `$${` undone.
    variables: bool,
}

struct Fault {
    found: String,
    expected: String,
}

fn expand(text: &str, env: Env<'_>) -> Result<Expanded, Fault> {
    let mut expanded = Expanded { text: String::new(), variables: false };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            expanded.text += &rest[..at - 1];
            expanded.text += "${";
            rest = &rest[at + 2..];
            continue;
        }
        expanded.text += &rest[..at];
        let Some((inner, after)) = rest[at + 2..].split_once('}') else {
            return Err(Fault {
                found: format!("{} has no closing brace", quoted(&rest[at..])),
                expected: "${env:NAME} or ${env:NAME|default}; a literal ${ is written $${".into(),
            });
        };
        let (name, default) = match inner.split_once('|') {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let Some(name) = name.strip_prefix("env:").map(str::trim).filter(|name| !name.is_empty()) else {
            return Err(Fault {
                found: format!("{} is no variable", quoted(&format!("${{{inner}}}"))),
                expected: "${env:NAME} or ${env:NAME|default}; a literal ${ is written $${".into(),
            });
        };
        let Some(value) = env(name).or_else(|| default.map(str::to_owned)) else {
            return Err(Fault {
                found: format!("the environment variable {} is not set", quoted(name)),
                expected: format!("it set, or a default as in ${{env:{name}|default}}"),
            });
        };
        expanded.text += &value;
        expanded.variables = true;
        rest = after;
    }
    expanded.text += rest;
    Ok(expanded)
}
