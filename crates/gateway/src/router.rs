//! From a method and a path to an endpoint.
//!
//! Routes are the manifest's: `/rooms/{id}`, where a parameter is a whole segment and never empty, and
//! `/files/{rest...}`, where the last one takes all that is left, be it nothing. At each segment, what is
//! fixed wins over a parameter, and a parameter over the rest; what leads nowhere is left again for the next
//! best, so a folder of files at `/` takes only what no endpoint answers.
//!
//! - **Methods** have a tree each: `DELETE /rooms/{id}` is found although `GET /rooms/new` is nearer.
//!   HEAD falls back to GET; OPTIONS without an endpoint of its own is answered with the methods there are.
//! - **A slash at the end** means nothing, as in the manifest. Only `{rest...}` keeps it. A folder of files
//!   that wants `/docs` to become `/docs/` looks at the request's path.
//! - **Percent-encoding** is undone before the comparison, but an encoded slash does not divide segments.
//!   What no honest client sends gets a 400 and reaches nobody: broken encoding, bytes that are not UTF-8,
//!   NUL, and segments `.` and `..` in any disguise. Double slashes are left as they are, and match nothing
//!   but `{rest...}`.

use http::Method;
use manifest::Segment;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::collections::HashMap;

/// A table of routes to endpoints, whatever an endpoint is.
#[derive(Clone, Debug)]
pub struct Router<T> {
    methods: Vec<(Method, Node)>,
    routes: Vec<Route<T>>,
}

#[derive(Clone, Debug)]
struct Route<T> {
    endpoint: T,
    pattern: String,
    /// The parameters' names, in their order.
    names: Vec<String>,
}

/// All routes of one method that begin with the same segments. The numbers are places in
/// [`Router::routes`]. There is one way to each node, so a search visits none twice.
#[derive(Clone, Debug, Default)]
struct Node {
    fixed: HashMap<String, Node>,
    param: Option<Box<Node>>,
    rest: Option<usize>,
    here: Option<usize>,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'r, T> {
    /// To this endpoint.
    Found(Match<'r, T>),
    /// 204: OPTIONS on a path with endpoints for these methods (the value of `Allow`).
    Options(String),
    /// 405: the path has endpoints, but for these methods only (the value of `Allow`).
    MethodNotAllowed(String),
    /// 404.
    NotFound,
    /// 400: a path that no honest client sends.
    BadPath,
}

/// An endpoint and what the path told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<'r, T> {
    /// The endpoint.
    pub endpoint: &'r T,
    /// The route as it was written, for logs and metrics: there are only so many of them, unlike paths.
    pub pattern: &'r str,
    /// Names and decoded values, in the order of the route. A value may hold a slash.
    pub params: Vec<(&'r str, String)>,
}

/// A route that could never be reached: this one, as it is written, matches the same requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The route that was there first.
    pub with: String,
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Router { methods: Vec::new(), routes: Vec::new() }
    }
}

impl<T> Router<T> {
    /// A router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route. The manifest has checked its segments: [`Segment::Rest`] is the last one, if any.
    pub fn insert(&mut self, method: Method, route: &[Segment], endpoint: T) -> Result<(), Conflict> {
        let at = self.methods.iter().position(|(known, _)| *known == method).unwrap_or_else(|| {
            self.methods.push((method, Node::default()));
            self.methods.len() - 1
        });
        let (mut node, mut pattern, mut names, mut is_rest) =
            (&mut self.methods[at].1, String::new(), Vec::new(), false);
        for segment in route {
            pattern.push('/');
            match segment {
                Segment::Literal(text) => {
                    pattern.push_str(text);
                    node = node.fixed.entry(text.clone()).or_default();
                }
                Segment::Param(name) => {
                    pattern.extend(["{", name, "}"]);
                    names.push(name.clone());
                    node = node.param.get_or_insert_default();
                }
                Segment::Rest(name) => {
                    pattern.extend(["{", name, "...}"]);
                    names.push(name.clone());
                    is_rest = true;
                }
            }
        }
        if route.is_empty() {
            pattern.push('/');
        }
        let place = if is_rest { &mut node.rest } else { &mut node.here };
        if let Some(taken) = place {
            return Err(Conflict { with: self.routes[*taken].pattern.clone() });
        }
        *place = Some(self.routes.len());
        self.routes.push(Route { endpoint, pattern, names });
        Ok(())
    }

    /// Finds the endpoint for a request's method and path: the path as it came, still encoded, without the
    /// query.
    pub fn lookup(&self, method: &Method, path: &str) -> Lookup<'_, T> {
        if path == "*" && method == Method::OPTIONS {
            return Lookup::Options(allow(self.methods.iter().map(|(method, _)| method)));
        }
        let Some(path) = canonical(path) else { return Lookup::BadPath };
        let segments = &path[1..];

        let head_is_get = (method == Method::HEAD).then_some(Method::GET);
        for method in std::iter::once(method).chain(&head_is_get) {
            let tree = self.methods.iter().find(|(known, _)| known == method);
            let mut values = Vec::new();
            if let Some(found) = tree.and_then(|(_, tree)| tree.find(Some(segments), &mut values)) {
                let Route { endpoint, pattern, names } = &self.routes[found];
                let values = values.into_iter().map(decoded);
                return Lookup::Found(Match {
                    endpoint,
                    pattern,
                    params: names.iter().map(String::as_str).zip(values).collect(),
                });
            }
        }
        let has_path = |(_, tree): &&(Method, Node)| tree.find(Some(segments), &mut Vec::new()).is_some();
        let mut others = self.methods.iter().filter(has_path).map(|(method, _)| method).peekable();
        match others.peek() {
            None => Lookup::NotFound,
            Some(_) if method == Method::OPTIONS => Lookup::Options(allow(others)),
            Some(_) => Lookup::MethodNotAllowed(allow(others)),
        }
    }
}

impl Node {
    /// The route for what is left of a path: nothing, or nothing but the slash at its end, or segments.
    fn find<'p>(&self, left: Option<&'p str>, values: &mut Vec<&'p str>) -> Option<usize> {
        let Some(left) = left.filter(|left| !left.is_empty()) else {
            return self.here.or_else(|| self.rest.inspect(|_| values.push("")));
        };
        let (segment, after) = match left.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (left, None),
        };
        if let Some(found) = self.fixed.get(segment).and_then(|node| node.find(after, values)) {
            return Some(found);
        }
        if let Some(node) = self.param.as_ref().filter(|_| !segment.is_empty()) {
            values.push(segment);
            if let Some(found) = node.find(after, values) {
                return Some(found);
            }
            values.pop();
        }
        self.rest.inspect(|_| values.push(left))
    }
}

/// The value of `Allow` for a path with endpoints for these methods.
fn allow<'m>(methods: impl Iterator<Item = &'m Method>) -> String {
    let mut names: Vec<&str> = methods.map(Method::as_str).chain(["OPTIONS"]).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// A path with its percent-encoding undone, except for `/` and `%` themselves. `None` is a 400.
fn canonical(path: &str) -> Option<Cow<'_, str>> {
    if !path.starts_with('/') {
        return None;
    }
    let mut out: Cow<'_, [u8]> = Cow::Borrowed(path.as_bytes());
    if let Some(first) = path.find('%') {
        let mut bytes = path.as_bytes()[..first].to_vec();
        let mut rest = &path.as_bytes()[first..];
        while let [byte, after @ ..] = rest {
            rest = after;
            if *byte != b'%' {
                bytes.push(*byte);
                continue;
            }
            let [high, low, after @ ..] = rest else { return None };
            let hex = |digit: &u8| char::from(*digit).to_digit(16).map(|digit| digit as u8);
            match hex(high)? << 4 | hex(low)? {
                b'/' => bytes.extend(b"%2F"),
                b'%' => bytes.extend(b"%25"),
                byte => bytes.push(byte),
            }
            rest = after;
        }
        out = Cow::Owned(bytes);
    }
    if out.contains(&0) {
        return None;
    }
    let path = match out {
        Cow::Borrowed(_) => Cow::Borrowed(path),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).ok()?),
    };
    let whole = decoded(&path);
    let climbs = whole.contains('.') && whole.split(['/', '\\']).any(|segment| segment == "." || segment == "..");
    (!climbs).then_some(path)
}

/// A piece of a canonical path, wholly decoded.
fn decoded(piece: &str) -> String {
    // Only `%2F` and `%25` are left, so what comes out is UTF-8 as what goes in.
    percent_decode_str(piece).decode_utf8_lossy().into_owned()
}
