//! One request and its answer, as the handler's process holds them.
//!
//! What a handler writes is kept here until its process has ended, however it ended: only then is it known whether
//! it stands ([`Outcome`]). So the order in which a handler sets status, headers and body does not matter.

use crate::tls::certificate::ClientCertificate;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use kernel::{Cx, Error, Exit, Pid};
use std::any::Any;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A request, read to its end.
#[derive(Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The path as it was sent.
    pub path: String,
    /// What stood behind the question mark.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// What the route took from the path, decoded.
    pub params: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// The host as the client named it.
    pub host: String,
    /// The client's address and port.
    pub remote_addr: String,
    /// `http` or `https`, as the client used it.
    pub scheme: String,
    /// The certificate that the client has shown.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// An answer that is being written.
#[derive(Debug)]
pub struct Draft {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the body is JSON, unless a header says what it is.
    pub json: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Draft { status: StatusCode::OK, headers: HeaderMap::new(), body: Vec::new(), json: false }
    }
}

/// What became of a handler.
#[derive(Debug)]
pub struct Outcome {
    /// Its process.
    pub handler: Pid,
    /// What it wrote.
    pub draft: Draft,
    /// Why it failed, if it did: then what it wrote does not stand.
    pub error: Option<Error>,
}

/// The exchange, in the process of its handler.
pub struct Exchange {
    /// The request.
    pub asked: Asked,
    /// The answer so far.
    pub draft: Draft,
    reply: oneshot::Sender<Outcome>,
}

impl Exchange {
    /// An exchange whose outcome goes to `reply`.
    pub fn new(asked: Asked, reply: oneshot::Sender<Outcome>) -> Exchange {
        Exchange { asked, draft: Draft::default(), reply }
    }
}

impl luau::Extension for Exchange {
    fn finished(self: Box<Self>, exit: &Exit, cx: &mut Cx<'_>) {
        let outcome = Outcome { handler: cx.pid(), draft: self.draft, error: exit.error.clone() };
        // Nobody waits only when the server is gone.
        let _server_is_gone = self.reply.send(outcome);
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
