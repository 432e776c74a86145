//! The admin address: `/metrics`, on a thread of its own, so that it answers however busy the shards are.

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Connections that are served at once; others wait to be accepted.
const CONNECTIONS: usize = 16;
/// For the headers of a request, and between two requests.
const PATIENCE: Duration = Duration::from_secs(10);
/// After an accept that failed, as when the process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// What `/metrics` answers.
pub(crate) type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Serves until the process ends. The address is bound when this returns.
pub(crate) fn serve(addr: SocketAddr, render: Render) -> Result<SocketAddr> {
    let listener = TcpListener::bind(addr).with_context(|| format!("admin: cannot listen on {addr}"))?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(accept(listener, render)) {
            tracing::error!(%error, "admin address failed");
        }
    })?;
    Ok(bound)
}

async fn accept(listener: TcpListener, render: Render) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed, so there is always a place at last.
    while let Ok(place) = room.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin address cannot accept");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let render = render.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &render);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            // A client that goes away or sends rubbish is no event.
            let _ended = http.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
    Ok(())
}

fn answer(request: &Request<Incoming>, render: &Render) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, render()),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "only /metrics is here\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let text = match status {
        StatusCode::OK => "text/plain; version=0.0.4; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(text));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn ask(addr: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(addr).expect("a connection");
        write!(stream, "{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[test]
    fn only_metrics_is_there_and_only_to_be_read() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let addr = serve(any, Arc::new(|| "moonwire_processes 3\n".to_owned())).expect("a free port");
        assert_ne!(addr.port(), 0);
        let answer = ask(addr, "GET /metrics");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("moonwire_processes 3\n"), "{answer}");
        assert!(ask(addr, "GET /").starts_with("HTTP/1.1 404 "));
        assert!(ask(addr, "POST /metrics").starts_with("HTTP/1.1 405 "));
    }
}
