//! `moonwire run` as a child process: its addresses, log, counters and exit code.

use crate::{Answer, Counters, DEADLINE, Record, http, within};
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Between two looks at the counters: they are told only when asked.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// What to start, before it is started.
#[derive(Clone, Debug)]
pub struct Start {
    program: PathBuf,
    folder: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Start {
    /// The program at this path, on this folder.
    pub fn new(program: impl AsRef<Path>, folder: impl AsRef<Path>) -> Start {
        Start {
            program: program.as_ref().to_owned(),
            folder: folder.as_ref().to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// With so many shards instead of one for each core.
    pub fn shards(self, count: usize) -> Start {
        self.argument("--shards").argument(&count.to_string())
    }

    /// With another value for a field: `app:gateway:addr=…`.
    pub fn set(self, setting: &str) -> Start {
        self.argument("--set").argument(setting)
    }

    /// With an environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Start {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn argument(mut self, argument: &str) -> Start {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts the program and waits until it says `ready`.
    ///
    /// # Panics
    /// With all that it printed, when it does not get so far.
    pub async fn run(self) -> Server {
        let mut child = Command::new(&self.program)
            .arg("run")
            .arg(&self.folder)
            .args(["--set", "app:gateway:addr=127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json"])
            .args(&self.arguments)
            .envs(self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        let out = follow(child.stdout.take().expect("piped"));
        let log = follow(child.stderr.take().expect("piped"));
        let mut server = Server { child, out, log };
        server.wait_ready().await;
        server
    }
}

/// A running server. Dropped without [`Server::stop`], it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Lines so far; the sender is gone once the stream has ended.
    out: watch::Receiver<Vec<String>>,
    log: watch::Receiver<Vec<String>>,
}

impl Server {
    async fn wait_ready(&mut self) {
        let mut out = self.out.clone();
        let ready = out.wait_for(|lines| lines.iter().any(|line| line == "ready"));
        let said = matches!(tokio::time::timeout(DEADLINE, ready).await, Ok(Ok(_)));
        assert!(said, "the server did not say `ready`\n{}", self.everything());
    }

    /// Where an `http.service`, or `admin`, listens.
    pub fn address(&self, service: &str) -> SocketAddr {
        let prefix = format!("{service} listening on http://");
        let found = self.out.borrow().iter().find_map(|line| line.strip_prefix(&prefix)?.parse().ok());
        found.unwrap_or_else(|| panic!("{service} listens nowhere\n{}", self.everything()))
    }

    /// The address that clients connect to.
    pub fn gateway(&self) -> SocketAddr {
        self.address("app:gateway")
    }

    /// `GET path` from the gateway.
    pub async fn get(&self, path: &str) -> Answer {
        http::get(self.gateway(), path).await
    }

    /// What is alive now.
    pub async fn counters(&self) -> Counters {
        let answer = http::get(self.address("admin"), "/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Counters::parse(&answer.body)
    }

    /// The counters, as soon as they are as wanted.
    pub async fn wait_counters(&self, what: &str, wanted: impl Fn(&Counters) -> bool) -> Counters {
        let mut last = Counters::default();
        let look = async {
            let mut pace = tokio::time::interval(BETWEEN_LOOKS);
            loop {
                pace.tick().await;
                last = self.counters().await;
                if wanted(&last) {
                    return;
                }
            }
        };
        let seen = tokio::time::timeout(DEADLINE, look).await;
        assert!(seen.is_ok(), "waited {DEADLINE:?} in vain: {what}; last seen: {last:?}\n{}", self.everything());
        last
    }

    /// Nothing is left behind: the counters become what they were.
    pub async fn settles_at(&self, before: Counters) {
        self.wait_counters(&format!("counters return to {before:?}"), |now| *now == before).await;
    }

    /// The first line of the log, past or to come, that is as wanted.
    pub async fn wait_log(&self, what: &str, wanted: impl Fn(&Record) -> bool) -> Record {
        let mut log = self.log.clone();
        let mut seen = 0;
        let mut found = None;
        let line = log.wait_for(|lines| {
            found = lines[seen..].iter().map(|line| Record::parse(line.clone())).find(&wanted);
            seen = lines.len();
            found.is_some()
        });
        let in_time = matches!(tokio::time::timeout(DEADLINE, line).await, Ok(Ok(_)));
        assert!(in_time, "no such line in the log: {what}\n{}", self.everything());
        found.expect("wait_for returned because of it")
    }

    /// The log so far.
    pub fn records(&self) -> Vec<Record> {
        self.log.borrow().iter().cloned().map(Record::parse).collect()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("the server runs");
        kill_process(id, Signal::TERM).expect("a signal to a child of ours");
    }

    /// Sends SIGTERM; the server drains and exits with 0.
    pub async fn stop(self) {
        self.terminate();
        self.exited().await;
    }

    /// Waits for the end of a server that was told to stop: its exit code is 0.
    pub async fn exited(mut self) {
        let status = within("the server exits", self.child.wait()).await.expect("a child of ours");
        assert_eq!(status.code(), Some(0), "{status} after SIGTERM\n{}", self.everything());
    }

    /// All that it has printed, for the message of a failed test.
    fn everything(&self) -> String {
        let lines = |of: &watch::Receiver<Vec<String>>| of.borrow().join("\n");
        format!("--- stdout\n{}\n--- stderr\n{}", lines(&self.out), lines(&self.log))
    }
}

/// Collects the lines of a stream until it ends.
fn follow(stream: impl AsyncRead + Unpin + Send + 'static) -> watch::Receiver<Vec<String>> {
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            sender.send_modify(|all| all.push(line));
        }
    });
    receiver
}
