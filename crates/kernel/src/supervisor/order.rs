//! What others ask of a supervisor, and the courier that brings it and waits for the answer.
//!
//! A courier is a process of the one who asks, on the asker's shard. It sends the request and waits; the supervisor
//! answers by ending it with the answer as its exit. So whoever asked waits for a process as after `process.exec`, and
//! learns of a supervisor that ended as of any other failure.

use super::Spec;
use super::machine::{Key, Run};
use crate::error::{Error, Kind};
use crate::host::HostId;
use crate::message::{Body, Event, Exit, Mail, Message};
use crate::pid::Pid;
use crate::process::{Body as SpawnBody, Cx, Next, Process, Refused, Spawn};
use crate::term::{Field, Term};
use crate::topic::Topic;
use std::sync::Arc;

/// The number of a request, for its answer.
pub type Request = u64;

/// What somebody wants of a supervisor.
#[derive(Debug, PartialEq)]
pub enum Order {
    /// A new child.
    Add(Key, Spec),
    /// Something of the child with this id.
    Change(Arc<str>, Change),
}

/// What a child is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// To be stopped. It stays known, unless it is temporary.
    Terminate,
    /// To be started after it was stopped or has ended.
    Restart,
    /// To be forgotten after it was stopped or has ended.
    Delete,
}

impl Change {
    /// Each change with the word for it in a request.
    pub(super) const ALL: [(&'static str, Change); 3] =
        [("terminate", Change::Terminate), ("restart", Change::Restart), ("delete", Change::Delete)];
}

/// What a request brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A child runs.
    Started(Run),
    /// It is done.
    Done,
}

/// The topic of requests.
pub(crate) const ASK: Topic = Topic::fixed("@supervisor.ask");

/// A request for a change, as a courier brings it.
pub fn change(change: Change, id: &str) -> Term {
    let word = Change::ALL.iter().find(|(_, known)| *known == change).map_or("", |(word, _)| word);
    Term::from([("op", Some(Field::Text(word))), ("id", Some(Field::Text(id)))])
}

/// A request for the list of children.
pub fn list() -> Term {
    Term::from([("op", Some(Field::Text("children")))])
}

/// A courier for `supervisor`, monitored by the one who spawns it. `None` if that process cannot be a supervisor.
pub fn courier(supervisor: Pid, request: Term) -> Option<Spawn> {
    // What is not on this host belongs to programs and connections, which are not to see requests.
    let possible = supervisor.host() == HostId::SYSTEM;
    let body = SpawnBody::Here(Box::new(Courier { supervisor, request: Some(request) }));
    possible.then_some(Spawn { host: HostId::SYSTEM, body, monitored: true, linked: false })
}

struct Courier {
    supervisor: Pid,
    request: Option<Term>,
}

impl Courier {
    fn ask(&mut self, request: Term, cx: &mut Cx<'_>) -> Result<(), Error> {
        cx.monitor(self.supervisor)?;
        let message = Message { topic: ASK, from: cx.pid(), body: Body::Term(request) };
        cx.send(self.supervisor, message).map_err(|refused| match refused {
            Refused::NotFound => ended(),
            Refused::Full => Error::new(Kind::Unavailable, "the supervisor's mailbox is full"),
        })
    }
}

impl Process for Courier {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        if let Some(request) = self.request.take()
            && let Err(error) = self.ask(request, cx)
        {
            return Next::End(Exit::failed(error));
        }
        while let Some((mail, claim)) = cx.next_mail() {
            match mail {
                Mail::Event(Event::Exit { .. }) => return Next::End(Exit::failed(ended())),
                Mail::Event(Event::Cancel { .. }) => return Next::End(Exit::terminated(None)),
                Mail::Message(message) => {
                    cx.received(message.from, claim);
                    no_supervisor(&message, cx);
                }
                _ => {}
            }
        }
        Next::Wait
    }
}

fn ended() -> Error {
    Error::new(Kind::NotFound, "the supervisor has ended")
}

/// Answers a request that came to a process of the node's own which is no supervisor.
pub(crate) fn no_supervisor(message: &Message, cx: &mut Cx<'_>) {
    if message.topic == ASK {
        let error = Error::new(Kind::Invalid, format!("{} is no supervisor", cx.pid().text(cx.hosts())));
        let _courier_gone = cx.end_other(message.from, Exit::failed(error));
    }
}
