//! The machine: which core runs what, how many sockets a process may have, and how it is named.

use std::fs;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The core of the servers and the core of the load, or none where there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
}

/// Binds the calling thread, and the processes it starts from now on, to one core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {core}"))
}

/// Lets the calling thread, and the processes it starts from now on, run on all cores that this program was given.
pub(crate) fn unpin() -> Result<()> {
    sched_setaffinity(None, &given()?).context("cannot run on all cores")
}

/// The cores that this program may use, as they were before anything was bound to one.
fn given() -> Result<CpuSet> {
    static GIVEN: OnceLock<CpuSet> = OnceLock::new();
    let now = sched_getaffinity(None)?;
    Ok(*GIVEN.get_or_init(|| now))
}

/// The first two cores that this process may use.
pub(crate) fn two_cores() -> Result<Option<Cores>> {
    let set = given()?;
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core));
    Ok(match (allowed.next(), allowed.next()) {
        (Some(server), Some(load)) => Some(Cores { server, load }),
        _ => None,
    })
}

/// Lets this process and its children open as many files as the system allows; gives that number.
pub(crate) fn raise_open_files() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Processor, cores and kernel, in one line.
pub(crate) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores, Linux {}", model(&cpuinfo).unwrap_or("unknown processor"), kernel.trim())
}

/// How many programs wanted a core in the last minute, on the average: much more than none before a run spoils it.
pub(crate) fn load_average() -> String {
    let averages = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// Processor time of the whole machine since it started: what programs computed, and what they wanted and the host gave to
/// others meanwhile (`steal`), in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    computed: u64,
    stolen: u64,
}

impl Given {
    pub(crate) fn now() -> Given {
        given_of_stat(&fs::read_to_string("/proc/stat").unwrap_or_default()).unwrap_or(Given { computed: 0, stolen: 0 })
    }

    /// How much of what was wanted since then the host took, in percent: much more than nothing spoils every latency.
    pub(crate) fn stolen_since(self) -> f64 {
        let now = Given::now();
        // A counter of the host's may go back a little.
        let computed = now.computed.saturating_sub(self.computed);
        let stolen = now.stolen.saturating_sub(self.stolen);
        100.0 * stolen as f64 / (computed + stolen).max(1) as f64
    }
}

/// The first line counts user, nice, system, idle, iowait, irq, softirq and steal (proc(5)).
fn given_of_stat(stat: &str) -> Option<Given> {
    let ticks: Vec<u64> = stat.lines().next()?.split_whitespace().skip(1).map_while(|one| one.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, stolen, ..] = ticks[..] else { return None };
    Some(Given { computed: user + nice + system + irq + softirq, stolen })
}

fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_name_is_found_where_linux_puts_it() {
        let text = "processor\t: 0\nmodel name\t: A Fine CPU @ 3GHz\nmodel name\t: again\n";
        assert_eq!(model(text), Some("A Fine CPU @ 3GHz"));
        assert_eq!(model("processor : 0"), None);
    }

    #[test]
    fn what_the_host_took_is_told_from_what_nobody_wanted() {
        let text = "cpu  100 20 30 4000 50 6 7 80 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(given_of_stat(text), Some(Given { computed: 163, stolen: 80 }));
        assert_eq!(given_of_stat("cpu  1 2 3\n"), None);
    }
}
