//! YAML text → nodes that know where they stand. The only file that knows the YAML library.
//!
//! A file comes from anywhere, so reading one is bounded: its size by whoever read it, its depth
//! and its number of nodes here. Aliases count as what they stand for, which disarms those that
//! double ten times over. Events are pulled one by one and nothing here recurses.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::diagnostics::{Diagnostic, Place, Report};

/// Lists and maps within one another. Also what keeps dropping a node from overflowing the stack.
const MAX_DEPTH: usize = 64;
/// Nodes in one file, those behind aliases counted each time.
const MAX_NODES: usize = 100_000;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Scalar { text: String, style: Style },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map; it is always text.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) place: Place,
}

/// How a scalar was written, which decides what it can be read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Bare: text, unless it looks like null, a boolean or a number.
    Plain,
    /// In quotes or as a block: text whatever it looks like.
    Quoted,
    /// Quoted, but with a variable put in: a number if a number is wanted.
    Substituted,
}

/// What a plain scalar means by YAML 1.2's core schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Plain {
    Null,
    Bool(bool),
    Number(f64),
    Text,
}

/// Reads `text`; `None` if it is no YAML or too much of it, which is then in the report.
/// The nodes are the documents of the file, most often one.
pub(crate) fn read(text: &str, file: &Arc<str>, report: &Report) -> Option<Vec<Node>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder {
        file,
        end: end(text),
        report,
        documents: Vec::new(),
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
    };
    while let Some(event) = parser.next_event() {
        let outcome = match event {
            Ok((event, span)) => builder.event(event, span.start),
            Err(error) => {
                Err(Diagnostic::error(&builder.place(*error.marker()), format!("this is no YAML: {}", error.info())))
            }
        };
        if let Err(fatal) = outcome {
            report.add(fatal);
            return None;
        }
    }
    Some(builder.documents)
}

/// The line and the column behind the last character.
fn end(text: &str) -> (u32, u32) {
    let bytes = text.as_bytes();
    let breaks = |&at: &usize| bytes[at] == b'\n' || bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n');
    let start = (0..bytes.len()).rev().find(breaks).map_or(0, |at| at + 1);
    (narrow((0..start).filter(breaks).count() + 1), narrow(text[start..].chars().count() + 1))
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

struct Builder<'a> {
    file: &'a Arc<str>,
    /// Where the text ends.
    end: (u32, u32),
    report: &'a Report,
    documents: Vec<Node>,
    open: Vec<Open>,
    /// The finished nodes that have an anchor, and how many nodes each holds.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

/// A list or map whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    nodes_before: usize,
    /// In a map: the key that waits for its value.
    key: Option<Key>,
    /// In a map: which keys it has, to find one that stands twice.
    keys: HashMap<String, u32>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, at: Marker) -> Result<(), Diagnostic> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let place = self.place(at);
                let plain = style == ScalarStyle::Plain && !self.is_text_tag(tag.as_deref(), &place);
                let style = if plain { Style::Plain } else { Style::Quoted };
                let content = Content::Scalar { text: text.into_owned(), style };
                self.count(1, &place)?;
                self.finished(Node { place, content }, anchor, 1)
            }
            Event::SequenceStart(anchor, tag) => self.start(Content::List(Vec::new()), anchor, tag.as_deref(), at),
            Event::MappingStart(anchor, tag) => self.start(Content::Map(Vec::new()), anchor, tag.as_deref(), at),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => {
                    let size = self.nodes - open.nodes_before;
                    self.finished(open.node, open.anchor, size)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let place = self.place(at);
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err(Diagnostic::error(&place, "this alias stands for what it is in"));
                };
                let (node, size) = (node.clone(), *size);
                self.count(size, &place)?;
                self.finished(node, 0, size)
            }
            Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => {
                Ok(())
            }
        }
    }

    fn start(&mut self, content: Content, anchor: usize, tag: Option<&Tag>, at: Marker) -> Result<(), Diagnostic> {
        let place = self.place(at);
        if self.open.len() == MAX_DEPTH {
            let found = format!("more than {MAX_DEPTH} lists and maps within one another");
            return Err(Diagnostic::error(&place, found));
        }
        self.is_text_tag(tag, &place);
        let nodes_before = self.nodes;
        self.count(1, &place)?;
        let node = Node { place, content };
        self.open.push(Open { node, anchor, nodes_before, key: None, keys: HashMap::new() });
        Ok(())
    }

    /// Puts a finished node where it belongs: as key, value, item or document.
    fn finished(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Diagnostic> {
        if anchor != 0 {
            // What anchors hold counts too: a copy is a copy.
            self.count(size, &node.place)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(parent) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match &mut parent.node.content {
            Content::List(items) => items.push(node),
            Content::Map(fields) => match parent.key.take() {
                None => match node.content {
                    Content::Scalar { text, .. } => {
                        parent.key = Some(Key { text, place: node.place });
                    }
                    _ => return Err(Diagnostic::error(&node.place, "a key must be text")),
                },
                Some(key) => match parent.keys.get(&key.text) {
                    Some(line) => self.report.add(Diagnostic::error(
                        &key.place,
                        format!("the key \"{}\" stands twice: first in line {line}", key.text),
                    )),
                    None => {
                        parent.keys.insert(key.text.clone(), key.place.line);
                        fields.push((key, node));
                    }
                },
            },
            Content::Scalar { .. } => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, place: &Place) -> Result<(), Diagnostic> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            let found = format!("more than {MAX_NODES} values in one file, aliases counted in full");
            return Err(Diagnostic::error(place, found));
        }
        Ok(())
    }

    /// Whether the tag says that a bare scalar is text. Tags of one's own are refused: nothing
    /// here would act on them.
    fn is_text_tag(&self, tag: Option<&Tag>, place: &Place) -> bool {
        let Some(tag) = tag else { return false };
        let known = tag.is_yaml_core_schema() || (tag.handle.is_empty() && tag.suffix == "!");
        if !known {
            self.report.add(Diagnostic::error(place, format!("the tag \"{tag}\" is not known here")));
        }
        tag.suffix == "str" || tag.suffix == "!"
    }

    fn place(&self, at: Marker) -> Place {
        // What is missing at the end of a text without a line's end, the library places in a line behind it.
        let (line, column) = (narrow(at.line()), narrow(at.col()).saturating_add(1)).min(self.end);
        Place { file: self.file.clone(), line, column }
    }
}

impl Node {
    pub(crate) fn scalar(place: Place, text: &str, style: Style) -> Self {
        Self { place, content: Content::Scalar { text: text.to_owned(), style } }
    }

    /// The value of a key, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Map(fields) => fields.iter().find(|(name, _)| name.text == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// What the scalar means; a list or map is `None`.
    pub(crate) fn plain(&self) -> Option<Plain> {
        match &self.content {
            Content::Scalar { style: Style::Quoted, .. } => Some(Plain::Text),
            Content::Scalar { text, .. } => Some(plain(text)),
            _ => None,
        }
    }

    /// The text of the scalar however it was written.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, style: Style::Plain } if plain(text) == Plain::Null)
    }

    /// The value in an error message.
    pub(crate) fn describe(&self) -> String {
        match (&self.content, self.plain()) {
            (Content::List(_), _) => "a list".to_owned(),
            (Content::Map(_), _) => "a map".to_owned(),
            (_, Some(Plain::Null)) => "nothing".to_owned(),
            (Content::Scalar { text, .. }, Some(Plain::Bool(_))) => text.clone(),
            (Content::Scalar { text, .. }, Some(Plain::Number(_))) => format!("the number {text}"),
            (Content::Scalar { text, .. }, _) => quoted(text),
        }
    }
}

/// A text in quotes, shortened where it would fill the screen.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn plain(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Plain::Number(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Plain::Number(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Plain::Number(f64::NAN),
        _ => {}
    }
    let radix = |digits: &str, radix| {
        let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        valid.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
    };
    if let Some(number) = text.strip_prefix("0x").and_then(|digits| radix(digits, 16)) {
        return Plain::Number(number as f64);
    }
    if let Some(number) = text.strip_prefix("0o").and_then(|digits| radix(digits, 8)) {
        return Plain::Number(number as f64);
    }
    // Rust would read "inf" and "nan" as well, which YAML spells otherwise.
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    match text.parse() {
        Ok(number) if numeric => Plain::Number(number),
        _ => Plain::Text,
    }
}
