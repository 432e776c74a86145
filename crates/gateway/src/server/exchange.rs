//! One request and its answer, as the handler's process holds them.
//!
//! What a handler writes is kept here until its process has ended, however it ended: only then is it known whether
//! it stands ([`Outcome`]). So the order in which a handler sets status, headers and body does not matter.

use super::holds::{Counted, Hold, Holds};
use super::limits;
use crate::tls::certificate::ClientCertificate;
use crate::websocket::ceiling::Side;
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
    pub body: Written,
    /// Whether the body is JSON, unless a header says what it is.
    pub json: bool,
}

/// The body of an answer that is being written. Its handler does not wait for room: where there is none the body is
/// given up, and the answer becomes a 503.
#[derive(Debug, Default)]
pub struct Written {
    bytes: Vec<u8>,
    /// Counts it, once it is large.
    hold: Option<Arc<Hold>>,
    is_given_up: bool,
}

/// What became of it.
pub(crate) enum Body {
    /// It goes out at once.
    Small(Vec<u8>),
    /// It is counted until it was sent.
    Large(Counted),
    /// There was no room for it.
    None,
}

impl Written {
    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.is_given_up
    }

    fn append(&mut self, bytes: Vec<u8>, holds: &Arc<Holds>) {
        if self.is_given_up || !self.has_room(bytes.len(), holds) {
            *self = Written { is_given_up: true, ..Written::default() };
        } else if self.bytes.is_empty() {
            self.bytes = bytes;
        } else {
            self.bytes.extend_from_slice(&bytes);
        }
    }

    fn has_room(&mut self, more: usize, holds: &Arc<Holds>) -> bool {
        let all = self.bytes.len() + more;
        match &self.hold {
            Some(hold) => hold.grow(more),
            None if all < limits::UNCOUNTED => true,
            None => self.hold.insert(holds.begin(Side::Answer)).grow(all),
        }
    }

    /// It is complete, and is sent from now on.
    pub(crate) fn finish(mut self) -> Body {
        match self.hold {
            _ if self.is_given_up => Body::None,
            None => Body::Small(self.bytes),
            Some(hold) => {
                self.bytes.shrink_to_fit();
                Body::Large(Counted::new(self.bytes, hold))
            }
        }
    }
}

impl Default for Draft {
    fn default() -> Self {
        Draft { status: StatusCode::OK, headers: HeaderMap::new(), body: Written::default(), json: false }
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
    holds: Arc<Holds>,
}

impl Exchange {
    /// An exchange whose outcome goes to `reply`, on the shard of `holds`.
    pub fn new(asked: Asked, reply: oneshot::Sender<Outcome>, holds: Arc<Holds>) -> Exchange {
        Exchange { asked, draft: Draft::default(), reply, holds }
    }

    /// Adds to the answer's body.
    pub fn write(&mut self, bytes: Vec<u8>) {
        self.draft.body.append(bytes, &self.holds);
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
