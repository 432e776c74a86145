//! `paths`: any text as the path of a request, and as the value of `Range`.
//!
//! - The route is the one that a search through all routes finds, and its parameters are the decoded segments.
//! - A file that a path means is below the folder: only plain names, none hidden, and the names are those of the path.
//! - A part of a file lies within it.

use gateway::router::{Lookup, Router};
use gateway::static_files::{path, range};
use http::Method;
use manifest::Segment;
use percent_encoding::percent_decode_str;
use std::path::Component;
use std::sync::LazyLock;

/// Routes: `{}` is a parameter, `{...}` the rest.
const ROUTES: [&str; 12] = [
    "",
    "/rooms",
    "/rooms/{}",
    "/rooms/new",
    "/rooms/{}/files/{...}",
    "/rooms/new/files/{}",
    "/{}",
    "/{}/x",
    "/a..b",
    "/größe/{}",
    "/files/{...}",
    "/rooms/{}/{}",
];

static TABLE: LazyLock<(Vec<Vec<Segment>>, Router<usize>)> = LazyLock::new(|| {
    let mut router = Router::new();
    let routes: Vec<Vec<Segment>> = ROUTES.iter().map(|route| segments(route)).collect();
    for (number, route) in routes.iter().enumerate() {
        router.insert(Method::GET, route, number).expect("no two routes alike");
    }
    (routes, router)
});

fn segments(route: &str) -> Vec<Segment> {
    let segment = |(at, text): (usize, &str)| match text {
        "{}" => Segment::Param(format!("p{at}")),
        "{...}" => Segment::Rest(format!("p{at}")),
        text => Segment::Literal(text.to_owned()),
    };
    route.split('/').enumerate().skip(1).map(segment).collect()
}

/// The target.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    route(text);
    file(text);
    for len in [0, 1, 10, u64::MAX] {
        if let range::Part::Bytes(bytes) = range::parse(text, len) {
            assert!(bytes.start() <= bytes.end() && *bytes.end() < len, "{text} of {len}");
        }
    }
}

fn route(path: &str) {
    let (routes, router) = &*TABLE;
    match (router.lookup(&Method::GET, path), search(routes, path)) {
        (Lookup::Found(found), Some(Some((number, values)))) => {
            assert_eq!(*found.endpoint, number, "{path} is {}", found.pattern);
            let params: Vec<String> = found.params.into_iter().map(|(_, value)| value).collect();
            assert_eq!(params, values, "{path}");
        }
        (Lookup::NotFound, Some(None)) | (Lookup::BadPath, None) => {}
        (found, expected) => panic!("{path:?} is {found:?}, expected {expected:?}"),
    }
}

/// The best route and its values; outside `None` for what is no path.
#[expect(clippy::option_option, reason = "three answers: no path, no route, a route")]
fn search(routes: &[Vec<Segment>], path: &str) -> Option<Option<(usize, Vec<String>)>> {
    let inner = path.strip_prefix('/')?;
    let well_formed = |(at, _): (usize, &str)| {
        path.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let whole = percent_decode_str(path).decode_utf8().ok().filter(|_| path.match_indices('%').all(well_formed))?;
    if whole.contains('\0') || whole.split(['/', '\\']).any(|name| name == "." || name == "..") {
        return None;
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut best: Option<(Vec<u8>, usize, Vec<String>)> = None;
    for (number, route) in routes.iter().enumerate() {
        let (mut left, mut rank, mut values) = (Some(inner).filter(|left| !left.is_empty()), Vec::new(), Vec::new());
        let mut fits = true;
        for segment in route {
            if let Segment::Rest(_) = segment {
                rank.push(2);
                values.push(decoded(left.take().unwrap_or_default()));
                break;
            }
            let Some((name, behind)) = left.map(|left| left.split_once('/').unwrap_or((left, ""))) else {
                fits = false;
                break;
            };
            match segment {
                Segment::Literal(text) if *text == decoded(name) => rank.push(0),
                Segment::Param(_) if !name.is_empty() => {
                    rank.push(1);
                    values.push(decoded(name));
                }
                _ => fits = false,
            }
            left = Some(behind).filter(|behind| !behind.is_empty());
        }
        fits &= left.is_none();
        if fits && best.as_ref().is_none_or(|(least, ..)| rank < *least) {
            best = Some((rank, number, values));
        }
    }
    Some(best.map(|(_, number, values)| (number, values)))
}

fn file(encoded: &str) {
    let decoded = percent_decode_str(encoded).decode_utf8().ok();
    let found = path::resolve(encoded);
    for (found, text) in [(&found, decoded.as_deref()), (&path::resolve_decoded(encoded), Some(encoded))] {
        let Some(found) = found else { continue };
        let text = text.expect("what is no text means no file");
        let names: Vec<&str> = found
            .relative()
            .components()
            .map(|part| match part {
                Component::Normal(name) => name.to_str().expect("it came from text"),
                other => panic!("{encoded:?} means {other:?}"),
            })
            .collect();
        assert_eq!(names.join("/"), text.trim_matches('/'), "{encoded:?}");
        for (depth, name) in names.iter().enumerate() {
            assert!(!name.starts_with('.') || depth == 0 && *name == ".well-known", "{encoded:?} means {name:?}");
            assert!(!name.contains(['\\', ':', '\0', '\n']), "{encoded:?} means {name:?}");
        }
        assert_eq!(found.is_folder(), text.is_empty() || text.ends_with('/'));
    }
}
