//! Which endpoint gets a request.

use gateway::router::{Conflict, Lookup, Router};
use http::Method;
use manifest::Segment;

fn route(pattern: &str) -> Vec<Segment> {
    let parts = pattern.split('/').filter(|part| !part.is_empty());
    let segment = |part: &str| match part.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
        None => Segment::Literal(part.to_owned()),
        Some(inner) => match inner.strip_suffix("...") {
            Some(name) => Segment::Rest(name.to_owned()),
            None => Segment::Param(inner.to_owned()),
        },
    };
    parts.map(segment).collect()
}

fn router(routes: &[(&str, &str)]) -> Router<usize> {
    let mut router = Router::new();
    for (index, (method, pattern)) in routes.iter().enumerate() {
        router.insert(method.parse().expect("a method"), &route(pattern), index).expect("a route");
    }
    router
}

/// The endpoint and the parameters as `name=value` pairs, or what else becomes of the request.
fn find(router: &Router<usize>, method: Method, path: &str) -> String {
    match router.lookup(&method, path) {
        Lookup::Found(found) => {
            let params = found.params.iter().map(|(name, value)| format!(" {name}={value}"));
            format!("{}{}", found.endpoint, params.collect::<String>())
        }
        Lookup::Options(allow) => format!("204 {allow}"),
        Lookup::MethodNotAllowed(allow) => format!("405 {allow}"),
        Lookup::NotFound => "404".to_owned(),
        Lookup::BadPath => "400".to_owned(),
    }
}

fn get(router: &Router<usize>, path: &str) -> String {
    find(router, Method::GET, path)
}

#[test]
fn parameters_are_segments_and_the_rest_is_all_that_is_left() {
    let router = router(&[
        ("GET", "/"),
        ("GET", "/rooms/{id}"),
        ("GET", "/rooms/new"),
        ("GET", "/rooms/{room}/users/{user-id}"),
        ("GET", "/files/{rest...}"),
        ("GET", "/by/{who}/{path...}"),
    ]);
    for (path, expected) in [
        ("/", "0"),
        ("/rooms/7", "1 id=7"),
        ("/rooms/new", "2"),
        ("/rooms/newer", "1 id=newer"),
        ("/rooms/7/users/anna", "3 room=7 user-id=anna"),
        ("/files/a.txt", "4 rest=a.txt"),
        ("/files/a/b/c.txt", "4 rest=a/b/c.txt"),
        ("/files/", "4 rest="),
        ("/files", "4 rest="),
        ("/by/anna/x/y", "5 who=anna path=x/y"),
        ("/by/anna/", "5 who=anna path="),
        ("/by/anna", "5 who=anna path="),
        ("/by/", "404"),
        ("/rooms", "404"),
        ("/rooms/", "404"),
        ("/rooms/7/users", "404"),
        ("/Rooms/7", "404"),
        ("/nothing", "404"),
    ] {
        assert_eq!(get(&router, path), expected, "{path}");
    }
}

#[test]
fn a_slash_at_the_end_means_nothing_except_to_the_rest() {
    let router = router(&[("GET", "/a"), ("GET", "/d/{id}"), ("GET", "/files/{rest...}")]);
    for (path, expected) in [
        ("/a", "0"),
        ("/a/", "0"),
        ("/a//", "404"),
        ("//a", "404"),
        ("/", "404"),
        ("//", "404"),
        ("/d/7/", "1 id=7"),
        ("/d//", "404"),
        ("/files/docs/", "2 rest=docs/"),
        ("/files//", "2 rest=/"),
    ] {
        assert_eq!(get(&router, path), expected, "{path}");
    }
}

#[test]
fn what_is_fixed_wins_over_a_parameter_and_a_parameter_over_the_rest() {
    let router = router(&[
        ("GET", "/{rest...}"),
        ("GET", "/{page}"),
        ("GET", "/{user}/{path...}"),
        ("GET", "/a/b/c"),
        ("GET", "/{x}/b/d"),
        ("GET", "/a/{y}/e"),
    ]);
    for (path, expected) in [
        ("/", "0 rest="),
        ("/about", "1 page=about"),
        ("/a/b/c", "3"),
        ("/a/b/d", "4 x=a"),
        ("/a/b/e", "5 y=b"),
        ("/a/b/f", "2 user=a path=b/f"),
        ("/a/b", "2 user=a path=b"),
        ("/a", "1 page=a"),
        ("//a", "0 rest=/a"),
    ] {
        assert_eq!(get(&router, path), expected, "{path}");
    }
}

#[test]
fn a_method_has_its_own_routes_and_a_path_without_it_says_which_it_has() {
    let router = router(&[
        ("GET", "/rooms/new"),
        ("DELETE", "/rooms/{id}"),
        ("POST", "/rooms/{name}"),
        ("HEAD", "/own"),
        ("GET", "/own"),
        ("OPTIONS", "/asks"),
        ("POST", "/post"),
    ]);
    for (method, path, expected) in [
        (Method::GET, "/rooms/new", "0"),
        (Method::HEAD, "/rooms/new", "0"),
        (Method::DELETE, "/rooms/new", "1 id=new"),
        (Method::POST, "/rooms/7", "2 name=7"),
        (Method::GET, "/rooms/7", "405 DELETE, OPTIONS, POST"),
        (Method::PUT, "/rooms/new/", "405 DELETE, GET, HEAD, OPTIONS, POST"),
        (Method::OPTIONS, "/rooms/new", "204 DELETE, GET, HEAD, OPTIONS, POST"),
        (Method::OPTIONS, "/asks", "5"),
        (Method::OPTIONS, "/nothing", "404"),
        (Method::OPTIONS, "*", "204 DELETE, GET, HEAD, OPTIONS, POST"),
        (Method::GET, "*", "400"),
        (Method::HEAD, "/own", "3"),
        (Method::GET, "/own", "4"),
        (Method::HEAD, "/post", "405 OPTIONS, POST"),
    ] {
        assert_eq!(find(&router, method.clone(), path), expected, "{method} {path}");
    }
}

#[test]
fn percent_encoding_is_undone_and_an_encoded_slash_divides_nothing() {
    let router = router(&[("GET", "/rooms/{id}"), ("GET", "/café"), ("GET", "/bär"), ("GET", "/files/{rest...}")]);
    for (path, expected) in [
        ("/rooms/a%20b", "0 id=a b"),
        ("/rooms/a+b", "0 id=a+b"),
        ("/rooms/a%2Fb", "0 id=a/b"),
        ("/rooms/a%2fb", "0 id=a/b"),
        ("/rooms/%252F", "0 id=%2F"),
        ("/rooms/100%25", "0 id=100%"),
        ("/rooms/%F0%9F%98%80", "0 id=😀"),
        ("/rooms/%7Bid%7D", "0 id={id}"),
        ("/r%6foms/1", "0 id=1"),
        ("/caf%C3%A9", "1"),
        ("/café", "1"),
        ("/bär", "2"),
        ("/files/a%2Fb/c", "3 rest=a/b/c"),
        ("/b%c3%a4r", "2"),
        ("/%2F", "404"),
    ] {
        assert_eq!(get(&router, path), expected, "{path}");
    }
}

#[test]
fn a_path_that_no_honest_client_sends_reaches_nobody() {
    let router = router(&[("GET", "/{rest...}")]);
    for path in [
        "",
        "rooms",
        "http://host/rooms",
        "/%",
        "/%2",
        "/%zz",
        "/%+1",
        "/%00",
        "/a%00.txt",
        "/%ff",
        "/%c0%af",
        "/%ed%a0%80",
        "/..",
        "/.",
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/%2e%2e/etc",
        "/%2e%2e%2fetc",
        "/..%2f..%2fetc/passwd",
        "/a/..%5c..%5cb",
        "/a/..\\b",
    ] {
        assert_eq!(get(&router, path), "400", "{path}");
    }
    for (path, rest) in [
        ("//evil.net", "/evil.net"),
        ("/a//b", "a//b"),
        ("/...", "..."),
        ("/a..b/.c", "a..b/.c"),
        ("/%252e%252e/x", "%2e%2e/x"),
    ] {
        assert_eq!(get(&router, path), format!("0 rest={rest}"), "{path}");
    }
}

#[test]
fn a_route_that_could_never_be_reached_is_refused_with_the_name_of_the_other() {
    for (first, second) in [
        ("/", "/"),
        ("/rooms", "/rooms/"),
        ("/rooms/{id}", "/rooms/{name}"),
        ("/rooms/{id}/x", "/rooms/{name}/x"),
        ("/files/{a...}", "/files/{b...}"),
    ] {
        let mut router = router(&[("GET", "/other"), ("GET", first)]);
        let conflict = Err(Conflict { with: first.to_owned() });
        assert_eq!(router.insert(Method::GET, &route(second), 9), conflict, "{first} and {second}");
        assert_eq!(router.insert(Method::PUT, &route(second), 9), Ok(()), "another method does not conflict");
    }
}

#[test]
fn a_match_tells_the_route_as_it_was_written() {
    for pattern in ["/", "/rooms/{id}", "/files/{rest...}"] {
        let router = router(&[("GET", pattern)]);
        let Lookup::Found(found) = router.lookup(&Method::GET, pattern) else { panic!("{pattern} is not found") };
        assert_eq!(found.pattern, pattern);
    }
}
