//! `ws.control`: another target, topic, heartbeat or metadata, as one step.

use super::Session;
use super::commands::field;
use crate::relay::header::{RelayHeader, Target};
use crate::relay::values::{json_of, term_of_view};
use kernel::term::{Field, TableView, View};
use kernel::{Body, Cx, Exit, Message, Pid, Term, Topic};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Fields of `ws.control` besides `ack`: those of `X-WS-Relay`, with the same rules.
const FIELDS: [&str; 4] = ["target_pid", "message_topic", "heartbeat_interval", "metadata"];

impl Session {
    pub(super) fn control(&mut self, body: &Body, from: Pid, cx: &mut Cx<'_>) -> Option<Exit> {
        let Body::Term(term) = body else { return self.warn("ws.control", "it has no payload", from, cx) };
        let View::Table(table) = term.view() else {
            return self.warn("ws.control", "its payload must be a table", from, cx);
        };
        let changed = self.change(&table, cx);
        if field(&table, "target_pid").is_some() {
            self.agenda.figures.transfers[usize::from(changed.is_err())].add(1);
        }
        if let Err(fault) = &changed {
            self.warn("ws.control", fault, from, cx);
        }
        match field(&table, "ack") {
            None => {}
            Some(topic) => match topic.as_str().filter(|topic| !topic.is_empty() && !topic.starts_with('@')) {
                Some(topic) => Self::acknowledge(topic, from, changed.as_ref().err().map(String::as_str), cx),
                None => {
                    self.warn("ws.control", "ack must be a topic that does not begin with \"@\"", from, cx);
                }
            },
        }
        None
    }

    /// Carries out a change, or leaves everything as it is and says why.
    fn change(&mut self, table: &TableView<'_>, cx: &mut Cx<'_>) -> Result<(), String> {
        let mut fields = Map::new();
        for name in FIELDS {
            if let Some(value) = field(table, name) {
                fields.insert(name.to_owned(), json_of(value));
            }
        }
        let moves = fields.contains_key("target_pid");
        if !moves {
            // The header's rules want one; it is not looked at.
            fields.insert("target_pid".to_owned(), Value::from("kept"));
        }
        let text = Value::Object(fields).to_string();
        let header = RelayHeader::parse(text.as_bytes()).map_err(|fault| {
            let fault = fault.to_string();
            fault.strip_prefix("X-WS-Relay: ").map_or_else(|| fault.clone(), str::to_owned)
        })?;
        let target = if moves { find(&header.target, cx)? } else { self.target };
        if target == cx.pid() {
            return Err("target_pid is the connection itself".to_owned());
        }
        let other = target != self.target;
        if other {
            cx.monitor(target).map_err(|error| format!("target_pid: {error}"))?;
            self.leave("transferred", 1006, "transferred", cx);
            cx.unmonitor(self.target);
            self.target = target;
        }
        if field(table, "message_topic").is_some() {
            self.topic = Topic::from(&*header.message_topic);
        }
        if let Some(metadata) = field(table, "metadata") {
            // As the sender wrote it: JSON has no strings of bytes.
            self.metadata = header.metadata.map(|_| Arc::new(term_of_view(metadata)));
        }
        if other {
            self.join(cx);
            self.reset_credit(cx);
        }
        if field(table, "heartbeat_interval").is_some()
            && let Some(every) = header.heartbeat
        {
            self.change_heartbeat(every, cx);
        }
        if other {
            self.redirect(cx);
        }
        Ok(())
    }

    /// The frames that waited for the old target go to the new one.
    fn redirect(&mut self, cx: &mut Cx<'_>) {
        if let Some(stalled) = self.take_stalled()
            && let Body::Frame(frame) = stalled.body
        {
            self.relay(frame.binary, frame.bytes, cx);
        }
        // The rest waits for mail that may never come from the old target.
        if self.is_paused() {
            let _none_is_full = cx.set_timer(cx.now(), super::clock::RATE);
        }
    }

    fn acknowledge(topic: &str, to: Pid, fault: Option<&str>, cx: &mut Cx<'_>) {
        let client = cx.pid().text(cx.hosts()).to_string();
        let term = Term::from([
            ("client_pid", Some(Field::Text(&client))),
            ("ok", Some(Field::Bool(fault.is_none()))),
            ("error", fault.map(Field::Text)),
        ]);
        let message = Message { topic: Topic::from(topic), from: cx.pid(), body: Body::Term(term) };
        let _nobody_asks_any_more = cx.send(to, message);
    }
}

/// The process that a text means.
fn find(target: &Target, cx: &Cx<'_>) -> Result<Pid, String> {
    match target {
        Target::Pid(text) => {
            Pid::parse(text.as_bytes(), cx.hosts()).ok_or_else(|| format!("target_pid \"{text}\" is not a PID"))
        }
        Target::Name(name) => cx.lookup(name).ok_or_else(|| format!("target_pid: no process has the name \"{name}\"")),
    }
}
