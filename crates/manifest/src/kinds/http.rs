//! `http.service`, `http.router`, `http.endpoint`, `http.static`.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::diagnostics::{Diagnostic, Report};
use crate::fields::Fields;
use crate::kinds::{Kind, code, lifecycle, tls};
use crate::model::{
    BadAddr, BindAddr, BindHost, HttpEndpoint, HttpRouter, HttpService, HttpStatic, HttpTimeouts, Middleware,
    PostMiddleware,
};
use crate::options::{self, RelayOptions};
use crate::routes::{Method, PathPattern};
use crate::yaml::{Content, Node, quoted};

/// The largest request body unless the entry says otherwise.
const MAX_BODY: u64 = 1 << 20;
/// The middleware that runs after the match, by its name.
const POST_MIDDLEWARE: [(&str, PostMiddleware); 1] = [("websocket_relay", PostMiddleware::WebsocketRelay)];

/// `http.service`.
pub(crate) fn service(mut fields: Fields<'_>) -> Option<HttpService> {
    let addr = addr(&mut fields);
    let service = HttpService {
        id: fields.entry.id.clone(),
        addr: addr.clone().unwrap_or(BindAddr { host: BindHost::Any, port: 0 }),
        tls: tls::tls(&mut fields),
        trusted_proxies: trusted_proxies(&mut fields),
        timeouts: timeouts(&mut fields),
        max_body: fields.size("max_body").unwrap_or(MAX_BODY),
        lifecycle: lifecycle::lifecycle(&mut fields),
        place: fields.entry.node.place.clone(),
    };
    fields.finish();
    addr.map(|_| service)
}

fn addr(fields: &mut Fields<'_>) -> Option<BindAddr> {
    let text = fields.required_text("addr", BadAddr::EXPECTED)?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let node = fields.get("addr")?;
        fields.wrong("addr", node, BadAddr::EXPECTED);
    }
    parsed
}

/// Reports services that would listen on the same address. Port 0 is a free one each time.
pub(crate) fn check_addrs(services: &[HttpService], report: &Report) {
    for (index, service) in services.iter().enumerate() {
        let other = services[..index].iter().find(|other| other.addr == service.addr);
        if let Some(other) = other.filter(|_| service.addr.port != 0) {
            let found = format!("addr: {} is taken by {} at {}", service.addr, other.id, other.place);
            report.add(Diagnostic::error(&service.place, found).in_entry(&service.id));
        }
    }
}

fn trusted_proxies(fields: &mut Fields<'_>) -> Vec<IpNet> {
    const EXPECTED: &str = "an address or network such as 10.0.0.0/8";
    let mut networks = Vec::new();
    for item in fields.list("trusted_proxies", "a list of addresses and networks") {
        let Some(text) = fields.text_of("trusted_proxies", item, EXPECTED) else { continue };
        let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        match network {
            Some(network) => networks.push(network.trunc()),
            None => fields.wrong("trusted_proxies", item, EXPECTED),
        }
    }
    networks
}

fn timeouts(service: &mut Fields<'_>) -> HttpTimeouts {
    let default = HttpTimeouts::default();
    let mut fields = service.map("timeouts");
    let timeouts = HttpTimeouts {
        header: fields.duration("header", default.header),
        body: fields.duration("body", default.body),
        idle: fields.duration("idle", default.idle),
        request: fields.duration("request", default.request),
        unready: fields.duration("unready", default.unready),
        drain: fields.duration("drain", default.drain),
    };
    fields.finish();
    timeouts
}

/// `http.router`.
pub(crate) fn router(mut fields: Fields<'_>) -> Option<HttpRouter> {
    let mut meta = fields.meta();
    let server = meta.reference("server", &[Kind::HttpService]);
    meta.finish();
    let prefix = match fields.text("prefix", "a path such as /api") {
        Some(text) => path(&mut fields, "prefix", text),
        None => Some(PathPattern::default()),
    };
    if prefix.as_ref().is_some_and(PathPattern::has_rest) {
        fields.refuse_value("prefix", "nothing could follow what takes all the rest");
    }
    let middleware = middleware(&mut fields);
    let post_middleware = post_middleware(&mut fields);
    let relay = relay_options(&mut fields, &post_middleware);
    let entry = fields.entry;
    fields.finish();
    Some(HttpRouter {
        id: entry.id.clone(),
        server: server?,
        prefix: prefix?,
        middleware,
        post_middleware,
        relay,
        place: entry.node.place.clone(),
    })
}

/// `middleware` and `options`: there is none yet, so whatever is written is a mistake.
fn middleware(fields: &mut Fields<'_>) -> Vec<Middleware> {
    for item in fields.list("middleware", "a list of middleware") {
        let Some(name) = fields.text_of("middleware", item, "the name of a middleware") else {
            continue;
        };
        let found = format!("middleware: unknown middleware {}", quoted(name));
        let diagnostic = Diagnostic::error(&item.place, found);
        let is_post = units::nearest(name, POST_MIDDLEWARE.map(|(name, _)| name));
        fields.report(match is_post {
            Some(post) => diagnostic.expected(format!("{post} under post_middleware")),
            None => diagnostic.expected("none: there is no middleware before the match yet"),
        });
    }
    let options = fields.map("options");
    for (key, _) in options.written() {
        let found = format!("unknown option \"options.{}\"", key.text);
        let diagnostic = Diagnostic::error(&key.place, found);
        fields.report(match key.text.starts_with("wsrelay.") {
            true => diagnostic.expected("it under post_options"),
            false => diagnostic.expected("none: there is no middleware before the match yet"),
        });
    }
    Vec::new()
}

fn post_middleware(fields: &mut Fields<'_>) -> Vec<PostMiddleware> {
    let mut list = Vec::new();
    for item in fields.list("post_middleware", "a list of middleware") {
        let Some(name) = fields.text_of("post_middleware", item, "the name of a middleware") else {
            continue;
        };
        match POST_MIDDLEWARE.iter().find(|(known, _)| *known == name) {
            Some((_, known)) if list.contains(known) => {
                fields.refuse("post_middleware", item, &format!("{} stands twice", quoted(name)));
            }
            Some((_, known)) => list.push(*known),
            None => {
                let found = format!("post_middleware: unknown middleware {}", quoted(name));
                let names = POST_MIDDLEWARE.map(|(name, _)| name);
                fields.report(Diagnostic::error(&item.place, found).among(name, names));
            }
        }
    }
    list
}

fn relay_options(fields: &mut Fields<'_>, listed: &[PostMiddleware]) -> Option<RelayOptions> {
    let written = fields.map("post_options");
    let first = written.written().first().map(|(key, _)| &key.place);
    let options = options::read(written);
    if listed.contains(&PostMiddleware::WebsocketRelay) {
        return Some(options);
    }
    if let Some(place) = first {
        let found = "these options do nothing: post_middleware does not list websocket_relay";
        fields.report(Diagnostic::warning(place, found));
    }
    None
}

/// `http.endpoint`. Its route and server are filled in by [`attach`], once all routers are read.
pub(crate) fn endpoint(mut fields: Fields<'_>) -> Option<HttpEndpoint> {
    let mut meta = fields.meta();
    let router = meta.reference("router", &[Kind::HttpRouter]);
    meta.finish();
    let methods = methods(&mut fields);
    let route =
        fields.required_text("path", "a path such as /rooms/{id}").and_then(|text| path(&mut fields, "path", text));
    let func = fields.reference("func", &[Kind::FunctionLua]);
    let entry = fields.entry;
    fields.finish();
    let router = router?;
    Some(HttpEndpoint {
        id: entry.id.clone(),
        server: router.clone(),
        router,
        methods: Some(methods).filter(|methods| !methods.is_empty())?,
        route: route?,
        func: func?,
        place: entry.node.place.clone(),
    })
}

/// Gives each endpoint the server and the prefix of its router. Those whose router had a mistake
/// of its own are left out; nothing more can be said about them.
pub(crate) fn attach(endpoints: Vec<HttpEndpoint>, routers: &[HttpRouter], report: &Report) -> Vec<HttpEndpoint> {
    let attached = endpoints.into_iter().filter_map(|mut endpoint| {
        let router = routers.iter().find(|router| router.id == endpoint.router)?;
        endpoint.server = router.server.clone();
        endpoint.route = router.prefix.join(&endpoint.route);
        if let Some(name) = endpoint.route.name_twice() {
            let found = format!("path: the name {name:?} stands in the prefix of {} too", router.id);
            report.add(Diagnostic::error(&endpoint.place, found).in_entry(&endpoint.id));
        }
        Some(endpoint)
    });
    attached.collect()
}

fn methods(fields: &mut Fields<'_>) -> Vec<Method> {
    const EXPECTED: &str = "a method such as GET";
    let Some(node) = fields.required("method", EXPECTED) else { return Vec::new() };
    let mut methods = Vec::new();
    let mut add = |item: &Node| {
        if let Some(method) = fields.choice_of("method", item, &Method::NAMES) {
            match methods.contains(&method) {
                true => fields.refuse("method", item, &format!("{method} stands twice")),
                false => methods.push(method),
            }
        }
    };
    match &node.content {
        Content::List(items) => {
            items.iter().for_each(&mut add);
            if items.is_empty() {
                fields.wrong("method", node, EXPECTED);
            }
        }
        _ => add(node),
    }
    methods
}

/// `http.static`.
pub(crate) fn files(mut fields: Fields<'_>) -> Option<HttpStatic> {
    let mut meta = fields.meta();
    let server = meta.reference("server", &[Kind::HttpService]);
    meta.finish();
    let path = fields.required_text("path", "a path such as /").and_then(|text| path(&mut fields, "path", text));
    if path.as_ref().is_some_and(PathPattern::has_params) {
        fields.refuse_value("path", "the path of files has no parameters");
    }
    let dir = dir(&mut fields);
    let index = fields.text("index", "the name of a file such as index.html").unwrap_or("index.html");
    if index.contains(['/', '\\']) || matches!(index, "" | "." | "..") {
        fields.refuse_value("index", "a file in the folder itself is expected, such as index.html");
    }
    let spa = fields.boolean("spa", false);
    let entry = fields.entry;
    fields.finish();
    Some(HttpStatic {
        id: entry.id.clone(),
        server: server?,
        path: path?,
        dir: dir?,
        index: index.to_owned(),
        spa,
        place: entry.node.place.clone(),
    })
}

fn dir(fields: &mut Fields<'_>) -> Option<std::path::PathBuf> {
    const EXPECTED: &str = "a folder such as public";
    let node = fields.required("dir", EXPECTED)?;
    let text = fields.text_of("dir", node, EXPECTED)?;
    let path = code::inside(fields, "dir", node, text.strip_prefix("file://").unwrap_or(text))?;
    if !path.is_dir() {
        fields.refuse("dir", node, &format!("{} is no folder", quoted(text)));
        return None;
    }
    Some(path)
}

fn path(fields: &mut Fields<'_>, name: &'static str, text: &str) -> Option<PathPattern> {
    match PathPattern::parse(text) {
        Ok(path) => Some(path),
        Err(fault) => {
            fields.refuse_value(name, &fault);
            None
        }
    }
}
