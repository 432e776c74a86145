//! From a method and a path to an endpoint.
//!
//! Patterns are those of the configuration: `/rooms/{id}`, where a parameter is a whole segment and never
//! empty, and `/files/{rest...}`, where the last one takes all that is left, be it nothing. A fixed segment
//! wins over a parameter. What is ambiguous is refused when it is inserted, so a request never has to guess.
//!
//! - **Methods** have a tree each: `DELETE /rooms/{id}` is found although `GET /rooms/new` is nearer.
//!   HEAD falls back to GET; OPTIONS without an endpoint of its own is answered with the methods there are.
//! - **A slash at the end** makes no difference unless both forms have a route. [`Match::other_slash`] tells
//!   when the request had the other form: a page with relative links wants a redirect then.
//! - **Percent-encoding** is undone before the comparison, but an encoded slash does not divide segments.
//!   What no honest client sends gets a 400 and reaches nobody: broken encoding, bytes that are not UTF-8,
//!   NUL, and segments `.` and `..` in any disguise. Double slashes are left as they are, and match nothing
//!   but `{rest...}`.

use http::Method;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::fmt;

/// A table of routes to endpoints, whatever an endpoint is.
#[derive(Clone, Debug)]
pub struct Router<T> {
    methods: Vec<(Method, Tree<T>)>,
}

/// The routes of one method.
#[derive(Clone, Debug)]
struct Tree<T> {
    routes: Vec<Route<T>>,
    /// Indices into `routes`.
    paths: matchit::Router<usize>,
    /// `/files/` for each `/files/{rest...}`, asked after `paths`: there the rest is empty.
    ends: matchit::Router<usize>,
}

#[derive(Clone, Debug)]
struct Route<T> {
    /// As it was written.
    pattern: String,
    /// As matchit has it.
    native: String,
    endpoint: T,
    /// The name of `{name...}`.
    rest: Option<String>,
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
    /// The route's pattern as it was written, for logs and metrics: a closed set, unlike paths.
    pub pattern: &'r str,
    /// Names and decoded values, in the order of the pattern. A value may hold a slash.
    pub params: Vec<(String, String)>,
    /// The request had a slash at its end where the route has none, or none where it has one.
    pub other_slash: bool,
}

/// Why a route cannot be inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// Another route of the same method matches the same paths.
    Conflict {
        /// The other route as it was written.
        with: String,
    },
    /// The pattern itself is wrong, and how.
    Pattern(&'static str),
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteError::Conflict { with } => write!(f, "conflicts with the route {with}"),
            RouteError::Pattern(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for RouteError {}

/// A router's prefix and an endpoint's path as one pattern. The slash between them may be on either side, on
/// both or missing, and a path `/` is the prefix itself.
pub fn join(prefix: &str, path: &str) -> String {
    let (prefix, path) = (prefix.trim_matches('/'), path.strip_prefix('/').unwrap_or(path));
    match (prefix, path) {
        ("", path) => format!("/{path}"),
        (prefix, "") => format!("/{prefix}"),
        (prefix, path) => format!("/{prefix}/{path}"),
    }
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Router { methods: Vec::new() }
    }
}

impl<T> Router<T> {
    /// A router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route for a whole pattern ([`join`]ed already).
    pub fn insert(&mut self, method: Method, pattern: &str, endpoint: T) -> Result<(), RouteError> {
        let Native { path, rest } = Native::parse(pattern).map_err(RouteError::Pattern)?;
        let at = match self.methods.iter().position(|(known, _)| *known == method) {
            Some(at) => at,
            None => {
                let empty = Tree { routes: vec![], paths: matchit::Router::new(), ends: matchit::Router::new() };
                self.methods.push((method, empty));
                self.methods.len() - 1
            }
        };
        let tree = &mut self.methods[at].1;
        let index = tree.routes.len();
        tree.paths.insert(&path, index).map_err(|error| tree.conflict(error))?;
        // Before the other tree, so that no index is ever without its route.
        let end = rest.as_ref().map(|name| path[..path.len() - name.len() - "{*}".len()].to_owned());
        tree.routes.push(Route { pattern: pattern.to_owned(), native: path, endpoint, rest });
        if let Some(end) = end {
            tree.ends.insert(end, index).map_err(|error| tree.conflict(error))?;
        }
        Ok(())
    }

    /// Finds the endpoint for a request's method and path: the path as it came, still encoded, without the
    /// query.
    pub fn lookup(&self, method: &Method, path: &str) -> Lookup<'_, T> {
        if path == "*" && method == Method::OPTIONS {
            return Lookup::Options(allow(self.methods.iter().map(|(method, _)| method)));
        }
        let Some(path) = canonical(path) else { return Lookup::BadPath };
        let toggled = match path.strip_suffix('/') {
            Some("") => None,
            Some(shorter) => Some(Cow::Borrowed(shorter)),
            None => Some(Cow::Owned(format!("{path}/"))),
        };
        let forms = [Some((&path, false)), toggled.as_ref().map(|toggled| (toggled, true))];
        let forms = || forms.into_iter().flatten();

        let head_is_get = (method == Method::HEAD).then_some(Method::GET);
        for (path, other_slash) in forms() {
            for method in std::iter::once(method).chain(&head_is_get) {
                if let Some(found) = self.tree(method).and_then(|tree| tree.at(path, other_slash)) {
                    return Lookup::Found(found);
                }
            }
        }
        let has_path = |tree: &Tree<T>| forms().any(|(path, _)| tree.at(path, false).is_some());
        let mut others = self.methods.iter().filter(|(_, tree)| has_path(tree)).map(|(method, _)| method).peekable();
        match others.peek() {
            None => Lookup::NotFound,
            Some(_) if method == Method::OPTIONS => Lookup::Options(allow(others)),
            Some(_) => Lookup::MethodNotAllowed(allow(others)),
        }
    }

    fn tree(&self, method: &Method) -> Option<&Tree<T>> {
        self.methods.iter().find(|(known, _)| known == method).map(|(_, tree)| tree)
    }
}

impl<T> Tree<T> {
    fn at(&self, path: &str, other_slash: bool) -> Option<Match<'_, T>> {
        let (found, at_end) = match self.paths.at(path) {
            Ok(found) => (found, false),
            Err(_) => (self.ends.at(path).ok()?, true),
        };
        let route = &self.routes[*found.value];
        let mut params: Vec<(String, String)> =
            found.params.iter().map(|(name, value)| (name.to_owned(), decoded(value))).collect();
        if let (true, Some(rest)) = (at_end, &route.rest) {
            params.push((rest.clone(), String::new()));
        }
        Some(Match { endpoint: &route.endpoint, pattern: &route.pattern, params, other_slash })
    }

    fn conflict(&self, error: matchit::InsertError) -> RouteError {
        let matchit::InsertError::Conflict { with } = error else {
            return RouteError::Pattern("the path is no valid pattern");
        };
        let known = self.routes.iter().find(|route| route.native == with);
        RouteError::Conflict { with: known.map_or(with, |route| route.pattern.clone()) }
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

/// A pattern in matchit's syntax.
struct Native {
    path: String,
    rest: Option<String>,
}

impl Native {
    fn parse(pattern: &str) -> Result<Self, &'static str> {
        let Some(relative) = pattern.strip_prefix('/') else { return Err("a path begins with a slash") };
        let mut names: Vec<&str> = Vec::new();
        let mut path = String::new();
        let mut rest = None;
        for segment in relative.split('/') {
            if rest.is_some() {
                return Err("{name...} takes all that is left, so it must be the last segment");
            }
            path.push('/');
            match segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
                Some(inner) => {
                    let name = inner.strip_suffix("...").unwrap_or(inner);
                    check_name(name)?;
                    if names.contains(&name) {
                        return Err("two parameters have the same name");
                    }
                    names.push(name);
                    if name.len() < inner.len() {
                        rest = Some(name.to_owned());
                        path.extend(["{*", name, "}"]);
                    } else {
                        path.extend(["{", name, "}"]);
                    }
                }
                None if segment.contains(['{', '}']) => {
                    return Err("a parameter is a whole segment: {name}, or {name...} at the end");
                }
                None => path.push_str(&literal(segment)?),
            }
        }
        Ok(Native { path, rest })
    }
}

/// A fixed segment in the form that request paths are brought to.
fn literal(segment: &str) -> Result<String, &'static str> {
    if segment.contains(['?', '#']) {
        return Err("a path has no query and no fragment");
    }
    let path = format!("/{segment}");
    let path = canonical(&path).ok_or("a path that no request can have: check its percent-encoding, . and ..")?;
    Ok(path[1..].replace('{', "{{").replace('}', "}}"))
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || !name.bytes().all(valid) {
        return Err("a parameter's name consists of letters, digits, _ and -");
    }
    Ok(())
}
