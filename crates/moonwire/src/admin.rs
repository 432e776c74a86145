//! The admin address: `/metrics`, `/healthz` and `/readyz`, on a thread of its own, so that it answers however busy the
//! shards are.
//!
//! Who comes last is served: a connection that finds all places taken closes the oldest one, so nobody can keep a probe
//! out, and none lasts longer than [`LIFE`].

use crate::probes::{self, Probes};
use anyhow::{Context, Result};
use gateway::server::listen::listen;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use manifest::BindAddr;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Connections that are served at once.
const CONNECTIONS: usize = 16;
/// For the headers of a request, and between two requests.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a connection from its first moment to its last.
const LIFE: Duration = Duration::from_secs(60);
/// After an accept that failed, as when the process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);
/// From one line of the log about that to the next one, in failures.
const TELL: u32 = 100;

/// What `/metrics` answers.
pub(crate) type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// What is there to be asked for.
#[derive(Clone)]
struct Pages {
    render: Render,
    probes: Arc<Probes>,
}

/// Serves until the process ends. The address is bound when this returns.
pub(crate) fn serve(addr: &BindAddr, render: Render, probes: Arc<Probes>) -> Result<SocketAddr> {
    let (bound, listeners) = listen(addr, 1).with_context(|| format!("admin: cannot listen on {addr}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pages = Pages { render, probes };
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(accept(listeners, pages)) {
            tracing::error!(%error, "admin address failed");
        }
    })?;
    Ok(bound)
}

async fn accept(listeners: Vec<TcpListener>, pages: Pages) -> std::io::Result<()> {
    // There is one: the pages have one thread.
    let Some(listener) = listeners.into_iter().next() else { return Ok(()) };
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let probes = pages.probes.clone();
    tokio::spawn(async move {
        let mut ticks = interval(probes::EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            probes.look();
        }
    });
    let mut served: VecDeque<AbortHandle> = VecDeque::new();
    let mut failures = 0;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if failures % TELL == 0 {
                    tracing::warn!(%error, "admin address cannot accept");
                }
                failures += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        failures = 0;
        served.retain(|connection| !connection.is_finished());
        if served.len() >= CONNECTIONS
            && let Some(oldest) = served.pop_front()
        {
            oldest.abort();
        }
        let pages = pages.clone();
        let connection = tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = pages.answer(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            // A client that goes away, stays too long or sends rubbish is no event.
            let _ended = timeout(LIFE, http.serve_connection(TokioIo::new(stream), service)).await;
        });
        served.push_back(connection.abort_handle());
    }
}

impl Pages {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        const PLAIN: &str = "text/plain; charset=utf-8";
        const PAGES: [&str; 3] = ["/metrics", "/healthz", "/readyz"];
        let path = request.uri().path();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let (status, kind, text) = match path {
            _ if PAGES.contains(&path) && !reads => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET only\n".to_owned()),
            "/metrics" => (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", (self.render)()),
            "/healthz" => verdict(self.probes.health()),
            "/readyz" => verdict(self.probes.readiness()),
            _ => (StatusCode::NOT_FOUND, PLAIN, "only /metrics, /healthz and /readyz are here\n".to_owned()),
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

/// 200 and `ok`, or 503 and why.
fn verdict(of: Result<(), String>) -> (StatusCode, &'static str, String) {
    const PLAIN: &str = "text/plain; charset=utf-8";
    match of {
        Ok(()) => (StatusCode::OK, PLAIN, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::{Hosts, Node};
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn ask(addr: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(addr).expect("a connection");
        write!(stream, "{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn served() -> (SocketAddr, Arc<Probes>) {
        let any: BindAddr = "127.0.0.1:0".parse().expect("an address");
        let probes = Probes::new(Node::new(1, 1, Hosts::new(Vec::new())));
        let addr = serve(&any, Arc::new(|| "moonwire_processes 3\n".to_owned()), probes.clone()).expect("a free port");
        (addr, probes)
    }

    #[test]
    fn metrics_and_probes_are_there_and_only_to_be_read() {
        let (addr, probes) = served();
        assert_ne!(addr.port(), 0);
        let answer = ask(addr, "GET /metrics");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("moonwire_processes 3\n"), "{answer}");
        assert!(ask(addr, "GET /healthz").starts_with("HTTP/1.1 200 OK\r\n"));
        let answer = ask(addr, "GET /readyz");
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("starting\n"), "{answer}");
        probes.open(Vec::new());
        assert!(ask(addr, "GET /readyz").ends_with("ok\n"));
        assert!(ask(addr, "GET /").starts_with("HTTP/1.1 404 "));
        for page in ["metrics", "healthz", "readyz"] {
            assert!(ask(addr, &format!("POST /{page}")).starts_with("HTTP/1.1 405 "));
        }
    }

    #[test]
    fn connections_that_say_nothing_keep_no_probe_out() {
        let (addr, _probes) = served();
        let mut silent: Vec<TcpStream> =
            (0..3 * CONNECTIONS).map(|_| TcpStream::connect(addr).expect("a connection")).collect();
        assert!(ask(addr, "GET /healthz").starts_with("HTTP/1.1 200 OK\r\n"));
        let mut rest = Vec::new();
        assert_eq!(silent[0].read_to_end(&mut rest).unwrap_or(0), 0, "the oldest one had to go");
    }
}
