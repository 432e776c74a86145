//! YAML files → entries with an id and a kind, before their fields are looked at.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Place, Report};
use crate::discover::YamlFile;
use crate::id::{EntryId, is_name};
use crate::kinds::Kind;
use crate::variables::{self, Env};
use crate::yaml::{self, Content, Node, quoted};

/// An entry as it was found.
pub(crate) struct RawEntry {
    pub(crate) id: EntryId,
    /// `None` if the kind is missing or wrong, which is in the report already.
    pub(crate) kind: Option<Kind>,
    pub(crate) node: Node,
    /// The directory of its file, from where `file://` counts.
    pub(crate) dir: Arc<Path>,
}

/// What all files hold together.
#[derive(Default)]
pub(crate) struct Entries {
    /// In the order of the files and of their lines.
    pub(crate) list: Vec<RawEntry>,
    /// Namespaces of files that could not be parsed: who refers into them may well be right.
    pub(crate) unread: HashSet<String>,
}

/// Collects the entries of all files. What is wrong with one file leaves the others alone.
pub(crate) fn collect(files: Vec<YamlFile>, env: Env<'_>, report: &Report) -> Entries {
    let mut entries = Entries::default();
    let mut places: BTreeMap<EntryId, Place> = BTreeMap::new();
    for file in files {
        let Some(documents) = yaml::read(&file.text, &file.shown, report) else {
            let namespaces = file.text.lines().filter_map(|line| line.strip_prefix("namespace:"));
            entries.unread.extend(namespaces.map(|name| name.trim().to_owned()));
            continue;
        };
        for mut document in documents {
            let Some((namespace, list)) = header(&mut document, env, report) else { continue };
            for node in list {
                let Some(entry) = entry(&namespace, node, &file.dir, env, report) else { continue };
                if let Some(first) = places.get(&entry.id) {
                    let found = format!("this id is taken: an entry at {first} has it");
                    let diagnostic = Diagnostic::error(&entry.node.place, found);
                    report.add(diagnostic.in_entry(&entry.id));
                    continue;
                }
                places.insert(entry.id.clone(), entry.node.place.clone());
                entries.list.push(entry);
            }
        }
    }
    entries
}

/// The namespace and the list of entries of a document, if it is one of ours.
fn header(document: &mut Node, env: Env<'_>, report: &Report) -> Option<(String, Vec<Node>)> {
    const KEYS: [&str; 3] = ["version", "namespace", "entries"];
    let place = document.place.clone();
    let Content::Map(fields) = &mut document.content else { return None };
    let has = |name: &str| fields.iter().any(|(key, _)| key.text == name);
    if !has("namespace") && !has("entries") {
        return None;
    }
    let mut missing: Vec<&str> = ["namespace", "entries"].into_iter().filter(|name| !has(name)).collect();
    let (mut namespace, mut entries) = (None, None);
    for (key, mut node) in std::mem::take(fields) {
        match key.text.as_str() {
            "version" => check_version(&node, report),
            "namespace" => {
                variables::substitute(&mut node, None, env, report);
                match node.text().filter(|text| is_name(text)) {
                    Some(text) => namespace = Some(text.to_owned()),
                    None => report.add(
                        Diagnostic::error(&node.place, format!("namespace: found {}", node.describe()))
                            .expected("a name of letters, digits, _, - and ."),
                    ),
                }
            }
            "entries" => match node.content {
                Content::List(list) => entries = Some(list),
                _ if node.is_null() => entries = Some(Vec::new()),
                _ => report.add(
                    Diagnostic::error(&node.place, format!("entries: found {}", node.describe()))
                        .expected("a list of entries"),
                ),
            },
            other => {
                let found = format!("unknown field \"{other}\"");
                let diagnostic = Diagnostic::error(&key.place, found).among(other, KEYS);
                missing.retain(|name| diagnostic.nearest.as_deref() != Some(*name));
                report.add(diagnostic);
            }
        }
    }
    for name in missing {
        report.add(
            Diagnostic::error(&place, format!("missing field \"{name}\""))
                .expected("a file with namespace and entries"),
        );
    }
    Some((namespace?, entries?))
}

fn check_version(node: &Node, report: &Report) {
    if !matches!(node.text(), Some("1.0" | "1")) {
        let found = format!("version: found {}", node.describe());
        report.add(Diagnostic::error(&node.place, found).expected("\"1.0\""));
    }
}

fn entry(namespace: &str, mut node: Node, dir: &Arc<Path>, env: Env<'_>, report: &Report) -> Option<RawEntry> {
    let Content::Map(fields) = &mut node.content else {
        let found = format!("entries: found {}", node.describe());
        report.add(Diagnostic::error(&node.place, found).expected("an entry with name and kind"));
        return None;
    };
    for (key, value) in fields.iter_mut() {
        if matches!(key.text.as_str(), "name" | "kind") {
            variables::substitute(value, None, env, report);
        }
    }
    let id = match node.get("name") {
        None => {
            let found = "missing field \"name\"";
            report.add(Diagnostic::error(&node.place, found).expected("an entry with name and kind"));
            return None;
        }
        Some(name) => match name.text().and_then(|text| EntryId::new(namespace, text)) {
            Some(id) => id,
            None => {
                report.add(
                    Diagnostic::error(&name.place, format!("name: found {}", name.describe()))
                        .expected("a name of letters, digits, _, - and ."),
                );
                return None;
            }
        },
    };
    let kind = kind(&node, &id, report);
    Some(RawEntry { id, kind, node, dir: dir.clone() })
}

fn kind(node: &Node, id: &EntryId, report: &Report) -> Option<Kind> {
    let names = Kind::ALL.map(Kind::name);
    let Some(kind) = node.get("kind") else {
        let diagnostic = Diagnostic::error(&node.place, "missing field \"kind\"").in_entry(id);
        report.add(diagnostic.expected(crate::diagnostics::one_of(names)));
        return None;
    };
    let text = kind.text().unwrap_or_default();
    let known = Kind::ALL.into_iter().find(|known| known.name() == text);
    if known.is_none() {
        let found = match kind.text() {
            Some(text) => format!("unknown kind {}", quoted(text)),
            None => format!("kind: found {}", kind.describe()),
        };
        report.add(Diagnostic::error(&kind.place, found).in_entry(id).among(text, names));
    }
    known
}
