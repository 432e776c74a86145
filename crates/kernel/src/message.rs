//! What can arrive in a mailbox, and how a process ends.

use crate::error::{Error, Kind, Stopped};
use crate::pid::Pid;
use crate::term::{Field, Term};
use crate::timers::Time;
use crate::topic::Topic;
use bytes::Bytes;
use std::sync::Arc;

/// One thing in a mailbox, in the order of arrival.
#[derive(Debug)]
pub enum Mail {
    /// Sent by a process; counted against the mailbox's limits.
    Message(Message),
    /// Sent by the kernel; never refused.
    Event(Event),
    /// A timer of the process went off; the token it was set with.
    Timer(u64),
    /// The mailbox of a process that was full has room again; see [`crate::Cx::await_room`].
    Room(Pid),
    /// Somebody joined or left a group that this process monitors; see [`crate::Cx::next_change`].
    Groups,
    /// The process was found outdated ([`crate::Process::is_outdated`]). At most one waits.
    Outdated,
    /// Messages of this process were received; see [`crate::Cx::take_receipts`].
    Receipts,
}

/// What one process sends to another.
#[derive(Clone, Debug)]
pub struct Message {
    /// The label.
    pub topic: Topic,
    /// The sender.
    pub from: Pid,
    /// The payload.
    pub body: Body,
}

/// A payload. Closed: programs send terms, connections send frames, and either can be read as the other.
#[derive(Clone, Debug)]
pub enum Body {
    /// No payload.
    None,
    /// Any value.
    Term(Term),
    /// A piece of text or bytes with its type: `{type, data}`, the commonest payload there is.
    Frame(Frame),
}

/// The payload `{type, data}` without a table around it, so that its bytes can be shared.
#[derive(Clone, Debug)]
pub struct Frame {
    /// `"binary"` rather than `"text"`.
    pub binary: bool,
    /// The data.
    pub bytes: Bytes,
    /// Set on what a connection relays to its target: the payload then also has `client_pid` (the sender) and
    /// `metadata`.
    pub relayed: Option<Relayed>,
}

/// What a connection adds to each of its client's messages.
#[derive(Clone, Debug)]
pub struct Relayed {
    /// Attached by the handler that accepted the client. Behind a pointer, since all that moves a message moves this.
    pub metadata: Option<Arc<Term>>,
}

impl Message {
    /// Bytes that the message counts in a mailbox: its payload and a fixed part for itself.
    pub fn size(&self) -> u64 {
        let payload = match &self.body {
            Body::None => 0,
            Body::Term(term) => term.size(),
            Body::Frame(frame) => frame.bytes.len(),
        };
        (std::mem::size_of::<Mail>() + self.topic.len() + payload) as u64
    }
}

/// Bytes that are left of an error's text in [`Exit::in_short`].
const SHORT: usize = 200;

/// Told by the kernel about a related process.
#[derive(Clone, Debug)]
pub enum Event {
    /// A monitored process ended.
    Exit {
        /// The process that ended.
        from: Pid,
        /// How.
        exit: Arc<Exit>,
        /// When.
        at: Time,
    },
    /// A linked process failed, and this one traps links.
    LinkDown {
        /// The process that failed.
        from: Pid,
        /// How.
        exit: Arc<Exit>,
        /// When.
        at: Time,
    },
    /// Somebody asks this process to end.
    Cancel {
        /// Who asks.
        from: Pid,
        /// Why, if they said.
        reason: Option<Box<str>>,
        /// When.
        at: Time,
    },
}

/// How a process ended. It failed if there is an error; only then do links fire.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exit {
    /// What it returned.
    pub value: Option<Term>,
    /// Why it failed.
    pub error: Option<Error>,
}

impl Exit {
    /// The end of a process that returned.
    pub fn normal(value: Option<Term>) -> Exit {
        Exit { value, error: None }
    }

    /// The end of a process that failed.
    pub fn failed(error: Error) -> Exit {
        Exit { value: None, error: Some(error) }
    }

    /// The end of a process that another one terminated.
    pub fn terminated(reason: Option<&str>) -> Exit {
        let text = reason.filter(|text| !text.is_empty()).unwrap_or("terminated");
        Exit::failed(Error::new(Kind::Canceled, text).stopped(Stopped::Terminated))
    }

    /// Bytes that it holds, unread.
    pub(crate) fn size(&self) -> u64 {
        let value = self.value.as_ref().map_or(0, Term::size);
        let error = self.error.as_ref().map_or(0, |error| {
            let details = error.details.as_ref().map_or(0, Term::size);
            error.message.len() + error.stack.as_ref().map_or(0, |stack| stack.len()) + details
        });
        (std::mem::size_of::<Exit>() + value + error) as u64
    }

    /// Whether it holds more than a short text.
    pub(crate) fn is_large(&self) -> bool {
        self.size() > (std::mem::size_of::<Exit>() + 2 * SHORT) as u64
    }

    /// What is told of it to a process that lets too many ends lie unread: whether it failed, and no more than a
    /// short text of what it brought.
    pub(crate) fn in_short(&self, limit: u64) -> Exit {
        match &self.error {
            Some(error) => {
                let mut short = Error::new(error.kind, units::beginning(&error.message, SHORT));
                short.retryable = error.retryable;
                Exit::failed(short)
            }
            None => Exit::failed(Error::new(
                Kind::Unavailable,
                format!("it returned, but its value was dropped: unread EXITs held mailbox_bytes ({limit}) already"),
            )),
        }
    }

    /// Whether links fire.
    pub fn is_failure(&self) -> bool {
        self.error.is_some()
    }
}

impl Event {
    /// What happened and to whom, for a log.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Exit { .. } => "pid.exit",
            Event::LinkDown { .. } => "pid.link.down",
            Event::Cancel { .. } => "pid.cancel",
        }
    }
}

impl Frame {
    /// The frame as the table that it stands for. Without UTF-8 checks: a string is bytes.
    pub fn to_term(&self, client_pid: &str) -> Term {
        let mut writer = crate::term::Writer::default();
        if let Some(table) = writer.table(false) {
            let mut fields = 2;
            writer.string(b"type");
            writer.string(if self.binary { b"binary" } else { b"text" });
            writer.string(b"data");
            writer.string(&self.bytes);
            if let Some(relayed) = &self.relayed {
                fields += 1;
                writer.string(b"client_pid");
                writer.string(client_pid.as_bytes());
                if let Some(metadata) = &relayed.metadata {
                    fields += 1;
                    writer.string(b"metadata");
                    writer.term(metadata);
                }
            }
            writer.end(table, 0, fields);
        }
        writer.finish()
    }
}

/// The value of an ended connection: `{code, reason}`.
pub fn close_value(code: u16, reason: &str) -> Term {
    Term::from([("code", Some(Field::Number(f64::from(code)))), ("reason", Some(Field::Text(reason)))])
}
