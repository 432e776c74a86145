//! The fields of an entry, read one by one with the type that each must have.
//!
//! Whoever reads a field names it, and so the set of known fields is what was asked for: there is
//! no second list to keep. [`Fields::finish`] then reports what nobody asked for, and what was
//! asked for in vain. A wrong value is reported and its default taken, so that reading goes on
//! and the next mistake is found as well.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use crate::diagnostics::{Diagnostic, Place, Report, one_of};
use crate::entries::RawEntry;
use crate::id::EntryId;
use crate::kinds::Kind;
use crate::yaml::{Content, Key, Node, Plain, Style, quoted};

/// What the fields of every entry are read against.
pub(crate) struct Folder<'a> {
    pub(crate) root: &'a Path,
    pub(crate) report: &'a Report,
    /// Every id of the folder; `None` where the kind is a mistake of its own.
    pub(crate) kinds: BTreeMap<EntryId, Option<Kind>>,
    pub(crate) unread: &'a HashSet<String>,
    pub(crate) known_modules: &'a [&'a str],
}

/// The fields of an entry, or of a map within it.
pub(crate) struct Fields<'a> {
    pub(crate) folder: &'a Folder<'a>,
    pub(crate) entry: &'a RawEntry,
    /// What stands before a field's name in messages: nothing, or such as `lifecycle.restart.`.
    prefix: String,
    place: &'a Place,
    written: &'a [(Key, Node)],
    known: Vec<&'static str>,
    missing: Vec<(&'static str, String)>,
    /// Whether fields that nobody asked for are the user's own, as in `meta`.
    open: bool,
}

impl<'a> Fields<'a> {
    /// The fields of an entry. What every entry has is known from the start.
    pub(crate) fn of(entry: &'a RawEntry, folder: &'a Folder<'a>) -> Self {
        let written: &[(Key, Node)] = match &entry.node.content {
            Content::Map(written) => written,
            _ => &[],
        };
        Self {
            folder,
            entry,
            prefix: String::new(),
            place: &entry.node.place,
            written,
            known: vec!["name", "kind", "meta"],
            missing: Vec::new(),
            open: false,
        }
    }

    /// A field as it is written; one that is null counts as not written.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<&'a Node> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let written = self.written;
        let (_, node) = written.iter().find(|(key, _)| key.text == name)?;
        (!node.is_null()).then_some(node)
    }

    /// A field without which the entry is none.
    pub(crate) fn required(&mut self, name: &'static str, expected: &str) -> Option<&'a Node> {
        let node = self.get(name);
        if node.is_none() {
            self.missing.push((name, expected.to_owned()));
        }
        node
    }

    /// A map within, with fields of its own; an empty one if it is not written.
    pub(crate) fn map(&mut self, name: &'static str) -> Fields<'a> {
        let node = self.get(name);
        self.inner(name, node, false)
    }

    /// `meta`, in which users keep what they like.
    pub(crate) fn meta(&mut self) -> Fields<'a> {
        let node = self.get("meta");
        self.inner("meta", node, true)
    }

    /// The fields of `node`, which is called `name` in messages.
    pub(crate) fn inner(&self, name: &str, node: Option<&'a Node>, open: bool) -> Fields<'a> {
        let written: &[(Key, Node)] = match node {
            None => &[],
            Some(Node { content: Content::Map(written), .. }) => written,
            Some(node) => {
                self.wrong(name, node, "a map");
                &[]
            }
        };
        Fields {
            folder: self.folder,
            entry: self.entry,
            prefix: format!("{}{name}.", self.prefix),
            place: node.map_or(self.place, |node| &node.place),
            written,
            known: Vec::new(),
            missing: Vec::new(),
            open,
        }
    }

    /// Text. A bare number or boolean is not: it was probably meant for another field.
    pub(crate) fn text(&mut self, name: &'static str, expected: &str) -> Option<&'a str> {
        let node = self.get(name)?;
        self.text_of(name, node, expected)
    }

    /// Text that is required.
    pub(crate) fn required_text(&mut self, name: &'static str, expected: &str) -> Option<&'a str> {
        let node = self.required(name, expected)?;
        self.text_of(name, node, expected)
    }

    pub(crate) fn text_of(&self, name: &str, node: &'a Node, expected: &str) -> Option<&'a str> {
        let substituted = matches!(node.content, Content::Scalar { style: Style::Substituted, .. });
        match node.text().filter(|_| substituted || node.plain() == Some(Plain::Text)) {
            Some(text) => Some(text),
            None => {
                self.wrong(name, node, expected);
                None
            }
        }
    }

    /// A duration; longer than nothing, unless `default` itself is nothing.
    pub(crate) fn duration(&mut self, name: &'static str, default: Duration) -> Duration {
        let duration = self.parsed(name, "a duration such as \"30s\"", units::duration::parse);
        match duration {
            Some(Duration::ZERO) => {
                let text = units::duration::format(default);
                self.refuse_value(name, &format!("0s is no time at all, expected one such as {text}"));
                default
            }
            other => other.unwrap_or(default),
        }
    }

    /// A duration within bounds.
    pub(crate) fn duration_within(
        &mut self,
        name: &'static str,
        default: Duration,
        (least, most): (Duration, Duration),
    ) -> Duration {
        let duration = self.delay(name, default);
        if (least..=most).contains(&duration) {
            return duration;
        }
        let [found, least, most] = [duration, least, most].map(units::duration::format);
        self.refuse_value(name, &format!("{found} is out of bounds, expected {least} to {most}"));
        default
    }

    /// A duration that may be nothing, where that means "at once".
    pub(crate) fn delay(&mut self, name: &'static str, default: Duration) -> Duration {
        self.parsed(name, "a duration such as \"30s\"", units::duration::parse).unwrap_or(default)
    }

    /// A size in bytes, at least one.
    pub(crate) fn size(&mut self, name: &'static str) -> Option<u64> {
        match self.parsed(name, "a size such as \"1MiB\"", units::size::parse) {
            Some(0) => {
                self.refuse_value(name, "0 leaves room for nothing, expected a size such as 1MiB");
                None
            }
            other => other,
        }
    }

    /// A whole number within bounds.
    pub(crate) fn count(&mut self, name: &'static str, least: u64) -> Option<u64> {
        let node = self.get(name)?;
        let number = node.text().filter(|_| matches!(node.plain(), Some(Plain::Number(_))));
        match number.and_then(|text| text.parse().ok()).filter(|number| *number >= least) {
            Some(number) => Some(number),
            None => {
                self.wrong(name, node, &format!("a whole number, {least} or more"));
                None
            }
        }
    }

    /// A number within bounds.
    pub(crate) fn number(&mut self, name: &'static str, default: f64, least: f64, most: f64) -> f64 {
        let Some(node) = self.get(name) else { return default };
        match node.plain() {
            Some(Plain::Number(number)) if (least..=most).contains(&number) => number,
            _ => {
                let expected = match most {
                    f64::MAX => format!("a number, {least} or more"),
                    most => format!("a number from {least} to {most}"),
                };
                self.wrong(name, node, &expected);
                default
            }
        }
    }

    pub(crate) fn boolean(&mut self, name: &'static str, default: bool) -> bool {
        let Some(node) = self.get(name) else { return default };
        match node.plain() {
            Some(Plain::Bool(value)) => value,
            _ => {
                self.wrong(name, node, "true or false");
                default
            }
        }
    }

    /// One of a closed set of words.
    pub(crate) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&'static str, T)], default: T) -> T {
        let Some(node) = self.get(name) else { return default };
        self.choice_of(name, node, choices).unwrap_or(default)
    }

    pub(crate) fn choice_of<T: Copy>(&self, name: &str, node: &Node, choices: &[(&'static str, T)]) -> Option<T> {
        let words = choices.iter().map(|(word, _)| *word);
        let text = node.text().unwrap_or_default();
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if chosen.is_none() {
            let found = format!("{}{name}: found {}", self.prefix, node.describe());
            self.report(Diagnostic::error(&node.place, found).among(text, words));
        }
        chosen
    }

    /// The items of a list; none if it is not written.
    pub(crate) fn list(&mut self, name: &'static str, expected: &str) -> &'a [Node] {
        match self.get(name) {
            None => &[],
            Some(Node { content: Content::List(items), .. }) => items,
            Some(node) => {
                self.wrong(name, node, expected);
                &[]
            }
        }
    }

    /// A reference to an entry that exists and is of one of these kinds.
    pub(crate) fn reference(&mut self, name: &'static str, kinds: &[Kind]) -> Option<EntryId> {
        let expected = format!("the id of {}", wanted(kinds));
        let node = self.required(name, &expected)?;
        self.reference_of(name, node, kinds)
    }

    pub(crate) fn reference_of(&self, name: &str, node: &'a Node, kinds: &[Kind]) -> Option<EntryId> {
        let wanted = wanted(kinds);
        let text = self.text_of(name, node, &format!("the id of {wanted}"))?;
        let prefix = &self.prefix;
        let Some(id) = EntryId::resolve(text, self.entry.id.namespace()) else {
            self.wrong(name, node, &format!("the id of {wanted}, as namespace:name or name"));
            return None;
        };
        match self.folder.kinds.get(&id) {
            Some(Some(kind)) if !kinds.contains(kind) => {
                let found = format!("{prefix}{name}: \"{id}\" is {}", with_article(*kind));
                self.report(Diagnostic::error(&node.place, found).expected(wanted));
                None
            }
            Some(_) => Some(id),
            // Its file could not be parsed, which is in the report; it may well be there.
            None if self.folder.unread.contains(id.namespace()) => None,
            None => {
                let found = format!("{prefix}{name}: no entry \"{id}\"");
                let mut diagnostic = Diagnostic::error(&node.place, found);
                diagnostic.nearest = self.nearest_entry(&id, kinds);
                self.report(diagnostic);
                None
            }
        }
    }

    /// The entry that was probably meant: near in its own namespace, alike in another, near at all.
    fn nearest_entry(&self, id: &EntryId, kinds: &[Kind]) -> Option<String> {
        let fitting = || {
            let all = self.folder.kinds.iter();
            all.filter(|(_, kind)| kind.is_none_or(|kind| kinds.contains(&kind))).map(|(id, _)| id)
        };
        let siblings = || fitting().filter(|other| other.namespace() == id.namespace());
        let sibling =
            units::nearest(id.name(), siblings().map(EntryId::name)).map(|name| format!("{}:{name}", id.namespace()));
        sibling
            .or_else(|| fitting().find(|other| other.name() == id.name()).map(EntryId::to_string))
            .or_else(|| units::nearest(id.as_str(), fitting().map(EntryId::as_str)).map(str::to_owned))
    }

    /// A scalar that `parse` understands, however it is quoted.
    pub(crate) fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let node = self.get(name)?;
        let Some(text) = node.text() else {
            self.wrong(name, node, expected);
            return None;
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(name, node, &error.to_string());
                None
            }
        }
    }

    /// Reports a value of the wrong type.
    pub(crate) fn wrong(&self, name: &str, node: &Node, expected: &str) {
        let found = format!("{}{name}: found {}", self.prefix, node.describe());
        self.report(Diagnostic::error(&node.place, found).expected(expected));
    }

    /// Reports a value for a reason of its own.
    pub(crate) fn refuse(&self, name: &str, node: &Node, reason: &str) {
        self.report(Diagnostic::error(&node.place, format!("{}{name}: {reason}", self.prefix)));
    }

    /// The same, for the value of a field that is known to be written.
    pub(crate) fn refuse_value(&self, name: &str, reason: &str) {
        let written = self.written.iter().find(|(key, _)| key.text == name);
        if let Some((_, node)) = written {
            self.refuse(name, node, reason);
        }
    }

    pub(crate) fn report(&self, diagnostic: Diagnostic) {
        self.folder.report.add(diagnostic.in_entry(&self.entry.id));
    }

    /// The keys that are written, with their values: for maps whose keys are the user's.
    pub(crate) fn written(&self) -> &'a [(Key, Node)] {
        self.written
    }

    /// Reports fields that are not known and those that are missing. One that is misspelt is not
    /// missing as well.
    pub(crate) fn finish(mut self) {
        self.finish_as("field");
    }

    /// The same where fields are called something else.
    pub(crate) fn finish_as(&mut self, called: &str) {
        for (key, _) in self.written {
            if self.known.contains(&key.text.as_str()) {
                continue;
            }
            let found = format!("unknown {called} {}", quoted(&format!("{}{}", self.prefix, key.text)));
            let known = self.known.iter().copied();
            let diagnostic = Diagnostic::error(&key.place, found).among(&key.text, known);
            let misspelt = self.missing.iter().position(|(name, _)| diagnostic.nearest.as_deref() == Some(*name));
            if let Some(index) = misspelt {
                self.missing.remove(index);
            }
            if misspelt.is_some() || !self.open {
                self.report(diagnostic);
            }
        }
        for (name, expected) in std::mem::take(&mut self.missing) {
            let found = format!("missing field \"{}{name}\"", self.prefix);
            self.report(Diagnostic::error(self.place, found).expected(expected));
        }
    }
}

/// The kinds that a reference may have, in words.
fn wanted(kinds: &[Kind]) -> String {
    match kinds {
        [one] => with_article(*one),
        several => one_of(several.iter().map(|kind| kind.name())),
    }
}

fn with_article(kind: Kind) -> String {
    let article = if kind.name().starts_with("http") { "an" } else { "a" };
    format!("{article} {}", kind.name())
}
