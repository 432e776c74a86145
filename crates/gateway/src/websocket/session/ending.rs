//! How a connection ends: the contract's table of causes, codes and phrases, and the one way out.

use super::super::codec::{Fault, Opcode, encoder};
use super::{Answer, Phase, Session};
use crate::server::access::Parting;
use bytes::Bytes;
use kernel::message::close_value;
use kernel::term::Field;
use kernel::{Body, Cx, Error, Exit, Kind, Message, Term, Topic};

/// Of a client that has to go because all queues hold too much, so much of a frame that was begun may stay, so that a
/// close frame can follow it. More, and the connection is cut.
const KEPT: usize = 4 << 10;

/// Every way in which a connection can end.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The client closed, with its own code and text.
    Client(Option<u16>, String),
    /// The connection broke, or nothing could be written for too long.
    Lost,
    /// Nothing came for too long.
    Idle,
    /// The client broke the protocol.
    Fault(Fault),
    /// The client does not read what is sent to it.
    Slow,
    /// All queues together hold too much, and this client is the slowest.
    Evicted,
    /// `ws.close`.
    Asked(u16, String),
    /// `process.cancel`.
    Cancelled,
    /// The target returned, or failed.
    Target { failed: bool },
    /// A linked process failed.
    Link,
    /// The server stops.
    Shutdown,
    /// Ended from outside, without a word to the client: `process.terminate`.
    Terminated,
}

impl End {
    /// `cause` of `ws.leave`: never the client's choice.
    fn cause(&self) -> &'static str {
        match self {
            End::Client(..) => "client",
            End::Lost => "lost",
            End::Idle => "idle",
            End::Fault(Fault::TooBig) => "too_big",
            End::Fault(_) => "protocol",
            End::Slow | End::Evicted => "slow",
            End::Shutdown => "shutdown",
            End::Asked(..) | End::Cancelled | End::Target { .. } | End::Link | End::Terminated => "server",
        }
    }

    /// The fixed phrase of a cause, or the client's own words.
    fn reason(&self) -> &str {
        match self {
            End::Client(_, reason) => reason,
            End::Lost => "connection lost",
            End::Idle => "idle timeout",
            End::Fault(Fault::TooBig) => "message too big",
            End::Fault(_) => "protocol error",
            End::Slow | End::Evicted => "slow client",
            End::Shutdown => "server shutting down",
            End::Asked(..) | End::Cancelled | End::Target { .. } | End::Link | End::Terminated => "closed by server",
        }
    }

    /// The code for the target and for monitors: 1005 for a close frame without one, 1006 for no close frame.
    fn code(&self) -> u16 {
        match self {
            End::Client(code, _) => code.unwrap_or(1005),
            End::Fault(fault) => fault.code(),
            End::Slow | End::Evicted => 1013,
            End::Asked(code, _) => *code,
            End::Cancelled => 1001,
            End::Target { failed: false } => 1000,
            End::Target { failed: true } | End::Link => 1011,
            End::Shutdown => 1012,
            End::Lost | End::Idle | End::Terminated => 1006,
        }
    }

    /// The close frame: none if the connection is cut.
    fn frame(&self) -> Option<(Option<u16>, &str)> {
        match self {
            End::Lost | End::Idle | End::Terminated => None,
            // An answer has the client's code and none of its words.
            End::Client(code, _) => Some((*code, "")),
            End::Fault(fault) => Some((Some(fault.code()), fault.phrase())),
            End::Asked(code, reason) => Some((Some(*code), reason)),
            End::Target { failed: false } => Some((Some(1000), "")),
            End::Target { failed: true } | End::Link => Some((Some(1011), "internal error")),
            End::Slow | End::Evicted | End::Cancelled | End::Shutdown => Some((Some(self.code()), self.reason())),
        }
    }

    /// Monitors and links see 1000, 1001, 1005 and what `ws.close` gave as a return, all else as a failure.
    fn exit(&self) -> Exit {
        let code = self.code();
        let reason = match self {
            End::Asked(_, reason) => reason,
            other => other.reason(),
        };
        let value = Some(close_value(code, reason));
        let kind = match self {
            End::Asked(..) => return Exit::normal(value),
            End::Client(None | Some(1000 | 1001), _) => return Exit::normal(value),
            End::Cancelled | End::Target { failed: false } => return Exit::normal(value),
            End::Idle => Kind::Timeout,
            End::Fault(_) => Kind::Invalid,
            End::Link | End::Terminated => Kind::Canceled,
            End::Client(..) | End::Lost | End::Slow | End::Evicted | End::Target { .. } | End::Shutdown => {
                Kind::Unavailable
            }
        };
        let mut error = Error::new(kind, format!("the connection ended with {code}: {reason}"));
        error.retryable = false;
        Exit { value, error: Some(error) }
    }
}

impl Session {
    /// Ends the session: the leave goes out, then the close frame if there is one. The process has to return with
    /// the exit; what is left to do with the socket needs no process.
    pub(super) fn end(&mut self, end: &End, cx: &mut Cx<'_>) -> Exit {
        self.leave(end.cause(), end.code(), end.reason(), cx);
        if self.phase == Phase::Open {
            self.agenda.figures.ended(end.cause(), end.code(), cx.now().0.saturating_sub(self.opened.0));
        }
        let mut unread = self.take_input();
        self.log(end, cx);
        match end.frame() {
            None => self.cut(),
            Some(_) if matches!(end, End::Evicted) && self.make_room() > KEPT => self.cut(),
            Some((code, reason)) => {
                if matches!(end, End::Slow)
                    && let Some(outbox) = &mut self.outbox
                {
                    outbox.drop_data();
                }
                let mut payload = Vec::new();
                if let Some(code) = code {
                    payload.extend_from_slice(&code.to_be_bytes());
                    payload.extend_from_slice(encoder::cut_reason(reason).as_bytes());
                }
                self.push(Opcode::Close, Bytes::from(payload));
                self.phase = Phase::Closing(match end {
                    End::Client(..) => Answer::Given,
                    End::Fault(_) | End::Evicted => Answer::Unsought,
                    _ => Answer::Missing,
                });
                // The client's close frame may be among what was read and not acted on.
                self.look_for_close(&mut unread);
            }
        }
        self.mark();
        end.exit()
    }

    /// Gives up all that can be given up, in both directions. How many bytes of a frame that was begun are left.
    fn make_room(&mut self) -> usize {
        self.decoder.abandon();
        let Some(outbox) = &mut self.outbox else { return 0 };
        outbox.drop_data();
        outbox.waiting()
    }

    /// Ends that someone may look for in the log. With an access log its line says the same, once the socket is closed.
    fn log(&mut self, end: &End, cx: &Cx<'_>) {
        let fault = match end {
            End::Fault(fault) => Some(fault.detail()),
            End::Slow => Some("slow client"),
            End::Idle => Some("idle timeout"),
            _ => None,
        };
        let pid = cx.pid().text(cx.hosts());
        if let Some(visit) = self.visit.as_mut().filter(|_| self.phase == Phase::Open) {
            let target = self.target.text(cx.hosts()).to_string();
            let (cause, code, messages, compressed) = (end.cause(), end.code(), self.messages, self.deflate.is_on());
            let pid = pid.to_string();
            let parting = Parting { pid, target, cause, code, fault, messages, compressed };
            visit.parting = Some(Box::new(parting));
            return;
        }
        let Some(fault) = fault else { return };
        tracing::info!(entry = %self.relay.entry, %pid, cause = end.cause(), fault, "a connection was ended");
    }

    /// The process is gone without having ended itself: terminated, or failed. Nothing if it has.
    pub(super) fn ended(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.phase, Phase::New | Phase::Open) {
            let _exit_is_the_kernels = self.end(&End::Terminated, cx);
        }
    }

    /// Nothing more is read or written.
    pub(super) fn cut(&mut self) {
        self.phase = Phase::Cut;
        self.outbox = None;
    }

    /// Tells the target that the client is gone from it. Its room is reserved, so only a dead target refuses it.
    pub(super) fn leave(&mut self, cause: &str, code: u16, reason: &str, cx: &mut Cx<'_>) {
        if !std::mem::take(&mut self.joined) {
            return;
        }
        const LEAVE: Topic = Topic::fixed("ws.leave");
        let client = cx.pid().text(cx.hosts()).to_string();
        let term = Term::from([
            ("client_pid", Some(Field::Text(&client))),
            ("reason", Some(Field::Text(reason))),
            ("cause", Some(Field::Text(cause))),
            ("code", Some(Field::Number(f64::from(code)))),
            ("metadata", self.metadata.as_deref().map(Field::Term)),
        ]);
        let message = Message { topic: LEAVE, from: cx.pid(), body: Body::Term(term) };
        let _dead_target = cx.send_reserved(self.target, message);
    }
}
