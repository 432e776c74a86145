//! A process on strings: it does what a test says and reports whatever reaches it.
//!
//! Its Luau half is the folder `tests/e2e/apps/relay` (`driver.luau`, `puppet.luau`, `answer.luau`).
//! The test holds one WebSocket to it; every other connection that it joins reports on that one.

use crate::http::escape;
use crate::{Client, Closed, DEADLINE, Dial, Peer, Server};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A message that reached the puppet.
#[derive(Clone, Debug)]
pub struct Report {
    /// The process that it reached: this puppet, or one that it adopted.
    pub by: String,
    /// The message's topic.
    pub topic: String,
    /// Who sent it.
    pub from: String,
    /// Its payload; what JSON cannot hold stands there as an object whose name begins with `$`.
    pub data: Value,
}

/// The test's end of the strings.
#[derive(Debug)]
pub struct Puppet {
    control: Client,
    gateway: SocketAddr,
    pid: String,
    reports: VecDeque<Report>,
    commands: u64,
}

impl Puppet {
    /// A new puppet, on a server that runs `tests/e2e/apps/relay`.
    pub async fn on(server: &Server) -> Puppet {
        let gateway = server.gateway();
        let mut control = Peer::Tungstenite.dial(gateway, "/control/driver").open().await;
        let hello = control.hear_until(json!({ "ev": "hello" })).await;
        let pid = hello["pid"].as_str().expect("a PID").to_owned();
        Puppet { control, gateway, pid, reports: VecDeque::new(), commands: 0 }
    }

    /// The puppet's PID.
    pub fn pid(&self) -> &str {
        &self.pid
    }

    /// A connection whose target is this puppet, on the router with this prefix (`/ws` has every default).
    pub fn dial(&self, peer: Peer, router: &str) -> Dial {
        self.dial_with(peer, router, json!({ "target_pid": self.pid }))
    }

    /// A connection with this `X-WS-Relay`.
    pub fn dial_with(&self, peer: Peer, router: &str, relay: Value) -> Dial {
        let script = json!([["header", "X-WS-Relay", relay.to_string()]]);
        peer.dial(self.gateway, format!("{router}/answer?do={}", escape(&script.to_string())))
    }

    /// Waits for a client's `ws.join` and gives its PID.
    pub async fn joined(&mut self) -> String {
        let report = self.report("ws.join").await;
        report.data["client_pid"].as_str().expect("a PID").to_owned()
    }

    /// The next message on this topic; those before it on other topics are left unread.
    pub async fn report(&mut self, topic: &str) -> Report {
        if let Some(at) = self.reports.iter().position(|report| report.topic == topic) {
            return self.reports.remove(at).expect("just found");
        }
        let reading = async {
            loop {
                let report = self.next_report().await;
                if report.topic == topic {
                    return report;
                }
                self.reports.push_back(report);
            }
        };
        match tokio::time::timeout(DEADLINE, reading).await {
            Ok(report) => report,
            Err(_elapsed) => panic!("no {topic} reached the puppet, only {:?}", self.reports),
        }
    }

    /// All reports in the order in which they came, up to and with the last one.
    pub async fn reports_until(&mut self, mut is_last: impl FnMut(&Report) -> bool) -> Vec<Report> {
        let mut all = Vec::new();
        loop {
            let report = match self.reports.pop_front() {
                Some(report) => report,
                None => self.next_report().await,
            };
            let last = is_last(&report);
            all.push(report);
            if last {
                return all;
            }
        }
    }

    async fn next_report(&mut self) -> Report {
        report_of(&self.control.hear_until(json!({ "ev": "msg" })).await)
    }

    /// Another puppet, one of the folder's services by its name, reports here too: its PID.
    pub async fn adopt(&mut self, name: &str) -> String {
        let answer = self.command(json!({ "op": "adopt", "to": name })).await;
        answer["pid"].as_str().unwrap_or_else(|| panic!("no puppet {name}: {answer}")).to_owned()
    }

    /// The messages that came and that nobody asked for yet.
    pub fn unread(&self) -> &VecDeque<Report> {
        &self.reports
    }

    /// Asserts that a process has ended, and with it everything that it sent before.
    pub async fn is_gone(&mut self, pid: &str) {
        let answer = self.call("process.send", json!([pid, "noise", true])).await;
        let kind = &answer["values"][1]["$error"]["kind"];
        assert_eq!(kind, "NotFound", "{pid} is still there: {answer}");
    }

    /// `process.send(to, topic, payload)`, which must succeed.
    pub async fn send(&mut self, to: &str, topic: &str, payload: Value) {
        let sent = self.call("process.send", json!([to, topic, payload])).await;
        assert_eq!(sent["values"][0], json!(true), "process.send to {to} on {topic}: {sent}");
    }

    /// Calls a Luau function by its path: the answer, its results under `values`.
    pub async fn call(&mut self, path: &str, arguments: Value) -> Value {
        let count = arguments.as_array().map_or(0, Vec::len);
        self.command(json!({ "op": "call", "path": path, "args": arguments, "n": count })).await
    }

    async fn command(&mut self, mut command: Value) -> Value {
        self.commands += 1;
        command["id"] = json!(self.commands);
        self.control.say_json(&command).await;
        loop {
            let value = self.control.hear_json().await;
            match value["ev"].as_str() {
                Some("msg") => self.reports.push_back(report_of(&value)),
                Some("result") if value["id"] == json!(self.commands) => return value,
                _ => {}
            }
        }
    }

    /// Ends the puppet and waits until its connection is closed.
    pub async fn end(self) {
        self.control.close(Closed::with(1000, "")).await;
    }
}

fn report_of(value: &Value) -> Report {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    Report { by: text("pid"), topic: text("topic"), from: text("from"), data: value["data"].clone() }
}
