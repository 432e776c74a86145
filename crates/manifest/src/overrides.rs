//! `--set ns:entry:field.sub=value`: fields that the command line replaces.
//!
//! A dot descends into a map, yet some keys hold dots themselves (`wsrelay.send.buffer`). So at
//! each step the longest key that is written there and fits is taken; below `options` and
//! `post_options` whatever is left is one key; elsewhere a dot descends, and what is not there is
//! made. A name that does not exist is then found like any other unknown field, at the flag.

use std::fmt;

use crate::diagnostics::{Diagnostic, Place, Report};
use crate::entries::RawEntry;
use crate::id::EntryId;
use crate::yaml::{self, Content, Key, Node, Style};

/// A field of an entry and its new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    entry: EntryId,
    field: String,
    value: String,
}

/// A `--set` that is not of the form `ns:entry:field=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadOverride {
    text: String,
}

impl fmt::Display for BadOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" sets nothing, expected ns:entry:field=value such as app:gateway:addr=:8080", self.text)
    }
}

impl std::error::Error for BadOverride {}

impl Override {
    /// Reads `ns:entry:field=value`. Whether the entry and the field exist is seen in
    /// [`load`](crate::load), with all other mistakes.
    pub fn parse(text: &str) -> Result<Self, BadOverride> {
        let bad = || BadOverride { text: text.to_owned() };
        let (path, value) = text.split_once('=').ok_or_else(bad)?;
        let (namespace, path) = path.split_once(':').ok_or_else(bad)?;
        let (name, field) = path.split_once(':').ok_or_else(bad)?;
        let entry = EntryId::new(namespace, name).ok_or_else(bad)?;
        if field.is_empty() || field.split('.').any(str::is_empty) {
            return Err(bad());
        }
        Ok(Self { entry, field: field.to_owned(), value: value.to_owned() })
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}={}", self.entry, self.field, self.value)
    }
}

/// Applies the overrides in their order, so the last one of a field wins.
pub(crate) fn apply(overrides: &[Override], entries: &mut [RawEntry], report: &Report) {
    for one in overrides {
        let place = Place::whole(&format!("--set {one}"));
        let Some(index) = entries.iter().position(|entry| entry.id == one.entry) else {
            let found = format!("no entry \"{}\"", one.entry);
            let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
            let diagnostic = Diagnostic::error(&place, found);
            report.add(diagnostic.among(one.entry.as_str(), ids.iter().copied()));
            continue;
        };
        if matches!(one.field.as_str(), "name" | "kind") {
            let found = format!("{} cannot be set: it says which entry this is", one.field);
            report.add(Diagnostic::error(&place, found).in_entry(&one.entry));
            continue;
        }
        let value = value(&one.value, &place);
        if let Err(found) = set(&mut entries[index].node, &one.field, value, Level::Entry) {
            report.add(Diagnostic::error(&place, found).in_entry(&one.entry));
        }
    }
}

/// A value is a YAML scalar. Quotes, lists and maps are read as YAML when they are YAML;
/// everything else stands for itself, so that `*` and `[::1]:80` need no quoting.
fn value(text: &str, place: &Place) -> Node {
    if text.starts_with(['"', '\'', '[', '{']) {
        let attempt = Report::default();
        let documents = yaml::read(text, &place.file, &attempt);
        if let (Some([node]), Ok(_)) = (documents.as_deref(), attempt.finish()) {
            let mut node = node.clone();
            move_to(&mut node, place);
            return node;
        }
    }
    Node::scalar(place.clone(), text, Style::Plain)
}

/// The flag is the place of everything in it: lines and columns within it mean nothing.
fn move_to(node: &mut Node, place: &Place) {
    node.place = place.clone();
    match &mut node.content {
        Content::Scalar { .. } => {}
        Content::List(items) => items.iter_mut().for_each(|item| move_to(item, place)),
        Content::Map(fields) => {
            for (key, value) in fields {
                key.place = place.clone();
                move_to(value, place);
            }
        }
    }
}

/// What a map is, as far as the dots in a path go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The entry itself.
    Entry,
    /// Its `options` or `post_options`, whose keys hold dots.
    Options,
    /// Anything else.
    Inner,
}

/// Sets `path` below `node`; the error says why it cannot be.
fn set(node: &mut Node, path: &str, value: Node, level: Level) -> Result<(), String> {
    if node.is_null() {
        node.content = Content::Map(Vec::new());
    }
    let described = node.describe();
    let Content::Map(fields) = &mut node.content else {
        return Err(format!("\"{path}\" cannot be set: what it should be in is {described}"));
    };
    let fits = |key: &str| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let written = fields
        .iter()
        .enumerate()
        .filter(|(_, (key, _))| fits(&key.text))
        .max_by_key(|(_, (key, _))| key.text.len())
        .map(|(index, _)| index);
    let index = written.unwrap_or_else(|| {
        let first = match level {
            Level::Options => path,
            Level::Entry | Level::Inner => path.split('.').next().unwrap_or(path),
        };
        let key = Key { text: first.to_owned(), place: value.place.clone() };
        let empty = Node { place: value.place.clone(), content: Content::Map(Vec::new()) };
        fields.push((key, empty));
        fields.len() - 1
    });
    let (key, inner) = &mut fields[index];
    let rest = path[key.text.len()..].strip_prefix('.');
    match rest {
        None => {
            *inner = value;
            Ok(())
        }
        Some(rest) => {
            let level = match (level, key.text.as_str()) {
                (Level::Entry, "options" | "post_options") => Level::Options,
                _ => Level::Inner,
            };
            set(inner, rest, value, level)
        }
    }
}
