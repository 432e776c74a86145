//! The servers under load: how each is started and stopped, from one table.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::floor::Answer;
use crate::load::Target;

/// A server that can be measured. All print `… listening on http://ADDRESS` and then `ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Moonwire, the full path through a Luau process, written as the documents write it.
    Moonwire,
    /// Moonwire whose room sends to a group of its clients; only under broadcasts.
    Group,
    /// Moonwire with two shards; only where they are compared with one.
    TwoShards,
    /// Bun's own server, uWebSockets inside.
    Bun,
    /// The ws package on Node.
    Ws,
    /// A bare epoll loop: the floor of this machine.
    Floor,
}

/// Where things lie in the repository.
pub(crate) struct Places {
    /// The repository.
    pub(crate) root: PathBuf,
    /// Packages and logs.
    pub(crate) work: PathBuf,
    /// Our own server: what was built with this program, unless another one is named.
    pub(crate) moonwire: PathBuf,
}

/// What npm installs for the rivals, in which version.
const PACKAGES: [(Kind, &str, &str); 2] = [(Kind::Bun, "bun", "1.4.5"), (Kind::Ws, "ws", "8.23.0")];

/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);

/// How long one may take to end when it is asked to, and again after it was asked to be quick.
const END: Duration = Duration::from_secs(2);

/// A running server; dropping it ends it.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Places {
    pub(crate) fn find(moonwire: Option<PathBuf>) -> Result<Places> {
        let here = std::env::current_dir()?;
        let root = here
            .ancestors()
            .find(|folder| folder.join("crates/bench/rivals").is_dir())
            .context("run this inside the repository: crates/bench/rivals is not above this folder")?
            .to_path_buf();
        let work = root.join("target/bench");
        fs::create_dir_all(&work)?;
        let moonwire = moonwire.unwrap_or(std::env::current_exe()?.with_file_name("moonwire"));
        Ok(Places { root, work, moonwire })
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Moonwire => "moonwire",
            Kind::Group => "moonwire, pg.broadcast",
            Kind::TwoShards => "moonwire, two shards",
            Kind::Bun => "bun",
            Kind::Ws => "ws",
            Kind::Floor => "floor",
        }
    }

    /// Whether it is Moonwire, in one shape or another.
    fn is_ours(self) -> bool {
        matches!(self, Kind::Moonwire | Kind::Group | Kind::TwoShards)
    }

    /// The command that starts it.
    fn command(self, answer: Answer, places: &Places, shards: usize) -> Result<Command> {
        let mode = match answer {
            Answer::Echo => "echo",
            Answer::Publish => "publish",
        };
        let rivals = places.root.join("crates/bench/rivals");
        Ok(match self {
            Kind::Moonwire | Kind::Group | Kind::TwoShards => {
                let app = match (answer, self) {
                    (Answer::Echo, _) => "examples/echo",
                    (Answer::Publish, Kind::Group) => "crates/bench/apps/group",
                    (Answer::Publish, _) => "crates/bench/apps/broadcast",
                };
                let shards = if self == Kind::TwoShards { 2 } else { shards };
                let mut command = Command::new(&places.moonwire);
                command
                    .arg("run")
                    .arg(places.root.join(app))
                    .args(["--set", "app:gateway:addr=127.0.0.1:0"])
                    .args(["--shards", &shards.to_string()]);
                command
            }
            Kind::Bun => {
                let mut command = Command::new(places.work.join("node_modules/.bin/bun"));
                command.arg(rivals.join("bun.js")).arg(mode);
                command
            }
            Kind::Ws => {
                let mut command = Command::new("node");
                command.arg(rivals.join("ws.js")).arg(mode).env("NODE_PATH", places.work.join("node_modules"));
                command
            }
            Kind::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["floor", mode]);
                command
            }
        })
    }

    /// What it calls itself, for the report.
    pub(crate) fn version(self, places: &Places) -> String {
        let (mut command, prefix) = match self {
            Kind::Moonwire | Kind::Group | Kind::TwoShards => (Command::new(&places.moonwire), ""),
            Kind::Bun => (Command::new(places.work.join("node_modules/.bin/bun")), "Bun "),
            Kind::Ws => (Command::new("node"), "Node "),
            Kind::Floor => return "floor: crates/bench/src/floor.rs".to_owned(),
        };
        let output = command.arg("--version").output();
        let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let mut text = format!("{prefix}{}", version.unwrap_or_default().trim());
        if self == Kind::Ws {
            let package = places.work.join("node_modules/ws/package.json");
            let package = fs::read_to_string(package).unwrap_or_default();
            text = format!("ws {} on {text}", package_version(&package).unwrap_or("?"));
        }
        if self.is_ours() {
            let binary = places.moonwire.strip_prefix(&places.root).unwrap_or(&places.moonwire);
            text = format!("{text} ({})", binary.display());
        }
        text
    }
}

/// Makes sure that every one of `kinds` can start: installs packages, names what is missing.
pub(crate) fn prepare(kinds: &[Kind], places: &Places) -> Result<()> {
    let missing: Vec<String> = PACKAGES
        .into_iter()
        .filter(|(kind, package, version)| {
            let folder = places.work.join("node_modules").join(package);
            let installed = fs::read_to_string(folder.join("package.json")).unwrap_or_default();
            kinds.contains(kind) && package_version(&installed) != Some(version)
        })
        .map(|(_, package, version)| format!("{package}@{version}"))
        .collect();
    if !missing.is_empty() {
        eprintln!("installing {} into target/bench", missing.join(" and "));
        let status = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--prefix"])
            .arg(&places.work)
            .args(&missing)
            .stdout(Stdio::null())
            .status()
            .context("npm is needed for the rivals")?;
        ensure!(status.success(), "npm install failed");
    }
    let ours = kinds.iter().any(|kind| kind.is_ours());
    if ours && !places.moonwire.exists() {
        bail!(
            "{} is not built: `cargo xtask bench` builds it, `--servers bun,ws,floor` leaves it out",
            places.moonwire.display()
        );
    }
    Ok(())
}

impl Server {
    /// Starts one and waits until it accepts. It inherits the core of the calling thread.
    pub(crate) fn start(kind: Kind, answer: Answer, places: &Places, shards: usize) -> Result<Server> {
        let log = places.work.join(format!("{}.log", kind.name()));
        let child = kind
            .command(answer, places, shards)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", kind.name()))?;
        let mut server = Server { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        match server.wait_until_ready() {
            Ok(address) => server.address = address,
            Err(error) => {
                return Err(error.context(format!(
                    "{} did not start; the end of {}:\n{}",
                    kind.name(),
                    log.display(),
                    last_lines(&log)
                )));
            }
        }
        Ok(server)
    }

    pub(crate) fn target(&self) -> Target {
        Target { address: self.address, pid: self.child.id() }
    }

    fn wait_until_ready(&mut self) -> Result<SocketAddr> {
        let stdout = self.child.stdout.take().context("no standard output")?;
        let (lines, received) = mpsc::channel();
        // Reads on until the server ends, so that it never blocks on a full pipe.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
                lines.send(line).unwrap_or_default();
            }
        });
        let mut address = None;
        loop {
            let line = received.recv_timeout(START).context("it ended, or was not ready in 20 seconds")?;
            address = address.or_else(|| listening_address(&line));
            if line == "ready" {
                return address.context("it was ready, but printed no address");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked, because one that counts what it does (`cargo xtask dist`) writes that when it ends. A second signal
        // tells ours not to wait for its processes.
        for _ in 0..2 {
            if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
                kill_process(pid, Signal::TERM).unwrap_or_default();
            }
            let start = Instant::now();
            while start.elapsed() < END {
                match self.child.try_wait() {
                    Ok(None) => thread::sleep(Duration::from_millis(5)),
                    Ok(Some(_)) | Err(_) => return,
                }
            }
        }
        self.child.kill().unwrap_or_default();
        self.child.wait().ok();
    }
}

/// The address in `NAME listening on http://ADDRESS`; the admin page's is not the one to load.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (name, address) = line.split_once(" listening on http://")?;
    if name == "admin" {
        return None;
    }
    address.trim().parse().ok()
}

fn package_version(package: &str) -> Option<&str> {
    let (_, rest) = package.split_once("\"version\": \"")?;
    Some(rest.split_once('"')?.0)
}

pub(crate) fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_services_and_not_the_admin_pages() {
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 41_234)));
        assert_eq!(listening_address("app:gateway listening on http://127.0.0.1:41234"), address);
        assert_eq!(listening_address("admin listening on http://127.0.0.1:9090"), None);
        assert_eq!(listening_address("ready"), None);
    }

    #[test]
    fn a_packages_version_is_read_from_its_package_json() {
        let package = "{\n  \"name\": \"ws\",\n  \"version\": \"8.1.2\",\n}";
        assert_eq!(package_version(package), Some("8.1.2"));
    }
}
