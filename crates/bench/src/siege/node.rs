//! One Moonwire as the siege needs it: started on an application, signalled, and asked what it holds.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::server::last_lines;
use crate::usage;

/// How long a server may take to start. It takes milliseconds; the machine may be very busy.
const START: Duration = Duration::from_secs(30);

/// How long it may take to have worked off what it was sent, and to have given up what it held.
const REST: Duration = Duration::from_secs(60);

/// Figures that return to where they were when everybody has gone.
const HELD: [&str; 8] =
    ["processes", "sockets", "monitors", "links", "timers", "names", "group_members", "subscriptions"];

/// How one is started.
pub(crate) struct Start<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) app: &'a Path,
    pub(crate) shards: usize,
    /// Zero: any that is free.
    pub(crate) port: u16,
    pub(crate) log: PathBuf,
    pub(crate) folder: &'a Path,
    /// `--max-queued`, in bytes.
    pub(crate) max_queued: Option<usize>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

/// A running server; dropping it kills it.
pub(crate) struct Node {
    child: Child,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    log: PathBuf,
}

impl Node {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(start: &Start<'_>) -> Result<Node> {
        let mut child = Command::new(start.binary)
            .arg("run")
            .arg(start.app)
            .args(["--set", &format!("app:gateway:addr=127.0.0.1:{}", start.port)])
            .args(["--shards", &start.shards.to_string(), "--admin", "127.0.0.1:0"])
            .args(["--log-format", "json", "--log-level", "warn"])
            .args(start.max_queued.map(|bytes| format!("--max-queued={bytes}")))
            .current_dir(start.folder)
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&start.log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", start.binary.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut node = Node { child, address: nowhere, admin: nowhere, log: start.log.clone() };
        let (lines, received) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
                lines.send(line).unwrap_or_default();
            }
        });
        loop {
            let Ok(line) = received.recv_timeout(START) else {
                bail!("the server did not start; the end of its log:\n{}", last_lines(&node.log));
            };
            if line == "ready" {
                return Ok(node);
            }
            if let Some((name, address)) = line.split_once(" listening on http://") {
                let address = address.trim().parse()?;
                if name == "admin" { node.admin = address } else { node.address = address }
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        usage::resident(self.pid())
    }

    /// The most resident bytes since the last time that this was asked to be forgotten.
    pub(crate) fn peak(&self) -> Result<u64> {
        usage::peak(self.pid())
    }

    pub(crate) fn forget_peak(&self) -> Result<()> {
        usage::forget_peak(self.pid())
    }

    /// Open files and sockets.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        usage::descriptors(self.pid())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid().cast_signed()).context("no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for the end of a server that was told to end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// Asks it to stop; it has to within its time.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.wait()?;
        ensure!(status.success(), "the server ended with {status}; {}", last_lines(&self.log));
        Ok(())
    }

    /// GETs a path of the application.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String)> {
        get(self.address, path)
    }

    /// The status of an answer, and the month and year of its date.
    pub(crate) fn date(&self) -> Result<(u16, String)> {
        let (status, head, _) = exchange(self.address, "/api/alive?pid=x")?;
        let date = head.lines().find_map(|line| line.strip_prefix("date: ")).context("an answer without a date")?;
        Ok((status, date.split(' ').skip(2).take(2).collect()))
    }

    /// The same as JSON.
    pub(crate) fn json(&self, path: &str) -> Result<Value> {
        let (status, body) = self.get(path)?;
        ensure!(status == 200, "GET {path}: {status} {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// The figures of its admin page, those with labels summed.
    pub(crate) fn figures(&self) -> Result<BTreeMap<String, f64>> {
        let (status, text) = get(self.admin, "/metrics")?;
        ensure!(status == 200, "the admin page answered {status}");
        Ok(figures_of(&text))
    }

    /// What it holds now.
    pub(crate) fn held(&self) -> Result<Vec<(&'static str, u64)>> {
        let figures = self.figures()?;
        let of = |name: &&'static str| Some((*name, *figures.get(*name)? as u64));
        let held: Vec<_> = HELD.iter().filter_map(of).collect();
        ensure!(held.len() == HELD.len(), "the admin page lacks figures: {held:?}");
        Ok(held)
    }

    /// Whether it holds what it held before, open files too.
    pub(crate) fn is_back(&self, before: &Held) -> Result<bool> {
        let now = Held::of(self)?;
        Ok(now.figures == before.figures && now.descriptors <= before.descriptors)
    }

    /// Waits until that is so.
    pub(crate) fn wait_until_back(&self, before: &Held) -> Result<()> {
        let start = Instant::now();
        while !self.is_back(before)? {
            ensure!(start.elapsed() < REST, "something is left: {:?}, before: {before:?}", Held::of(self)?);
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Waits until it has worked off what it was sent: it computes hardly anything.
    pub(crate) fn wait_until_idle(&self) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(200);
        let start = Instant::now();
        let mut before = usage::cpu(self.pid())?;
        loop {
            thread::sleep(LOOK);
            let now = usage::cpu(self.pid())?;
            if now - before < LOOK / 20 {
                return Ok(());
            }
            ensure!(start.elapsed() < REST, "the server does not come to rest");
            before = now;
        }
    }

    /// Lines of its log that no test causes on purpose; `expected` are words of those that one does.
    pub(crate) fn complaints(&self, expected: &[&str]) -> Result<Vec<String>> {
        let text = fs::read_to_string(&self.log)?;
        let unexpected = |line: &&str| !expected.iter().any(|words| line.contains(words));
        Ok(text.lines().filter(unexpected).take(5).map(str::to_owned).collect())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and wait says so at once.
        self.child.kill().unwrap_or_default();
        self.child.wait().ok();
    }
}

/// What a server holds at one time.
#[derive(Debug)]
pub(crate) struct Held {
    figures: Vec<(&'static str, u64)>,
    descriptors: usize,
}

impl Held {
    /// What it holds now; the connection that asks is not among it.
    pub(crate) fn of(node: &Node) -> Result<Held> {
        Ok(Held { figures: node.held()?, descriptors: node.descriptors()? })
    }

    /// The same once two readings in a row agree, half a second apart: the services have come to rest.
    pub(crate) fn settled(node: &Node) -> Result<Held> {
        let mut last = Held::of(node)?;
        for _ in 0..60 {
            thread::sleep(Duration::from_millis(500));
            let now = Held::of(node)?;
            if now.figures == last.figures && now.descriptors == last.descriptors {
                return Ok(now);
            }
            last = now;
        }
        bail!("the server does not come to rest: {last:?}")
    }
}

fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let (status, _, body) = exchange(address, path)?;
    Ok((status, body))
}

/// Status, head and body.
fn exchange(address: SocketAddr, path: &str) -> Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("half an answer")?;
    let status = head.split_whitespace().nth(1).context("no status")?.parse()?;
    Ok((status, head.to_owned(), body.to_owned()))
}

/// Names without the prefix, and values; what stands in braces is summed.
fn figures_of(text: &str) -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let name = name.split('{').next().unwrap_or_default();
        let name = name.strip_prefix("moonwire_").unwrap_or(name);
        *figures.entry(name.to_owned()).or_insert(0.0) += value.parse::<f64>().unwrap_or(0.0);
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_with_labels_are_summed() {
        let text = "# HELP moonwire_processes Living.\nmoonwire_processes 3\nmoonwire_x_total{a=\"1\"} 2\n\
                    moonwire_x_total{a=\"2\"} 5\n";
        let figures = figures_of(text);
        assert_eq!(figures.get("processes"), Some(&3.0));
        assert_eq!(figures.get("x_total"), Some(&7.0));
    }
}
