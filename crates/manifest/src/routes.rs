//! Methods and paths, and when two routes are one.

use std::collections::HashMap;
use std::fmt;

use crate::diagnostics::{Diagnostic, Report};
use crate::id::EntryId;
use crate::model::Manifest;

/// The methods that an endpoint may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "they say what they are")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    pub(crate) const NAMES: [(&'static str, Self); 7] = [
        ("GET", Self::Get),
        ("HEAD", Self::Head),
        ("POST", Self::Post),
        ("PUT", Self::Put),
        ("PATCH", Self::Patch),
        ("DELETE", Self::Delete),
        ("OPTIONS", Self::Options),
    ];

    /// The method as HTTP writes it.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, method)| *method == self).map_or("", |(name, _)| name)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A path with places for what varies: `/rooms/{id}/files/{name...}`. A slash at the end means
/// nothing, so the root has no segments at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathPattern {
    segments: Vec<Segment>,
}

/// What stands between two slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Just this.
    Literal(String),
    /// `{id}`: one segment, whatever it is.
    Param(String),
    /// `{rest...}`: all that follows; always the last one.
    Rest(String),
}

impl PathPattern {
    /// The segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    /// Reads a path; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!("{text:?} does not begin with /"));
        };
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut pattern = Self::default();
        if path.is_empty() {
            return Ok(pattern);
        }
        for part in path.split('/') {
            if matches!(pattern.segments.last(), Some(Segment::Rest(_))) {
                return Err(format!("in {text:?} something follows what takes all the rest"));
            }
            pattern.segments.push(segment(part).map_err(|fault| format!("in {text:?} {fault}"))?);
        }
        match pattern.name_twice() {
            Some(name) => Err(format!("in {text:?} the name {name:?} stands twice")),
            None => Ok(pattern),
        }
    }

    /// This path with another one below it.
    pub(crate) fn join(&self, below: &Self) -> Self {
        Self { segments: self.segments.iter().chain(&below.segments).cloned().collect() }
    }

    pub(crate) fn has_params(&self) -> bool {
        self.names().next().is_some()
    }

    pub(crate) fn has_rest(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Rest(_)))
    }

    /// A parameter's name that stands twice.
    pub(crate) fn name_twice(&self) -> Option<&str> {
        let mut names: Vec<&str> = self.names().collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }

    /// The names of the parameters, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Param(name) | Segment::Rest(name) => Some(name.as_str()),
        })
    }

    /// The same for all paths that match the same requests: names do not matter.
    fn shape(&self) -> String {
        let mut shape = String::new();
        for segment in &self.segments {
            shape.push('/');
            shape += match segment {
                Segment::Literal(text) => text,
                Segment::Param(_) => "{}",
                Segment::Rest(_) => "{...}",
            };
        }
        shape
    }
}

fn segment(part: &str) -> Result<Segment, String> {
    if part.is_empty() {
        return Err("nothing stands between two slashes".to_owned());
    }
    if matches!(part, "." | "..") {
        return Err(format!("{part:?} would never be asked for"));
    }
    let Some(inner) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return match part.chars().find(|c| "{}?#*%\\".contains(*c) || c.is_whitespace() || c.is_control()) {
            None => Ok(Segment::Literal(part.to_owned())),
            Some('{' | '}') => {
                Err(format!("{part:?} is half a parameter: write {{id}} or {{rest...}} between slashes"))
            }
            Some('*') => Err(format!("{part:?} holds a *: all the rest is written {{rest...}}")),
            Some('%') => Err(format!("{part:?} is percent-encoded: write it as it is meant")),
            Some(other) => Err(format!("{part:?} holds {other:?}")),
        };
    };
    let (name, make): (&str, fn(String) -> Segment) = match inner.strip_suffix("...") {
        Some(name) => (name, Segment::Rest),
        None => (inner, Segment::Param),
    };
    let mut letters = name.chars();
    let proper = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    match proper {
        true => Ok(make(name.to_owned())),
        false => Err(format!("{part:?} has no name of letters, digits and _")),
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str("/");
        }
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Param(name) => write!(f, "/{{{name}}}")?,
                Segment::Rest(name) => write!(f, "/{{{name}...}}")?,
            }
        }
        Ok(())
    }
}

/// Reports routes that are one: the same method on the same path, or two folders of files on it.
pub(crate) fn check_alike(manifest: &Manifest, report: &Report) {
    let mut taken: HashMap<(&EntryId, Option<Method>, String), (&EntryId, String)> = HashMap::new();
    let endpoints = manifest.endpoints.iter().flat_map(|endpoint| {
        let route = (&endpoint.id, &endpoint.server, &endpoint.route, &endpoint.place);
        endpoint.methods.iter().map(move |method| (Some(*method), route))
    });
    let statics = manifest.statics.iter().map(|one| (None, (&one.id, &one.server, &one.path, &one.place)));
    for (method, (id, server, path, place)) in endpoints.chain(statics) {
        let route = match method {
            Some(method) => format!("{method} {path}"),
            None => format!("the files at {path}"),
        };
        match taken.get(&(server, method, path.shape())) {
            Some((other, first)) => {
                let found = format!("two routes alike on {server}: {route} is {first}");
                report.add(Diagnostic::error(place, format!("{found} of {other}")).in_entry(id));
            }
            None => {
                let first = format!("{path} at {place}");
                taken.insert((server, method, path.shape()), (id, first));
            }
        }
    }
}
