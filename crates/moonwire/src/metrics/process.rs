//! What the system says of this program, under the names that every Prometheus client uses, and what program it is.

use super::{Kind, Metric, gauge, label};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When the figures were first set up, which is at the start.
static STARTED: LazyLock<Duration> = LazyLock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());

/// Notes the time of the start.
pub(crate) fn started() {
    LazyLock::force(&STARTED);
}

pub(super) fn of() -> Vec<Metric> {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let computed = clock_gettime(ClockId::ProcessCPUTime);
    let computed = Duration::new(computed.tv_sec.unsigned_abs(), u32::try_from(computed.tv_nsec).unwrap_or_default());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // One of them is that of this look.
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, |all| all.count().saturating_sub(1));
    let most = getrlimit(Resource::Nofile).current.unwrap_or_default();
    let cpu = (Vec::new(), nanoseconds(computed));
    let start = (Vec::new(), nanoseconds(*STARTED));
    vec![
        Metric::many("process_cpu_seconds", Kind::Counter, "Time computed, by the program and for it.", [cpu])
            .in_seconds(),
        gauge("process_resident_memory_bytes", kibibytes(&status, "VmRSS:"), "Resident memory."),
        gauge("process_virtual_memory_bytes", kibibytes(&status, "VmSize:"), "Address space."),
        gauge("process_open_fds", descriptors as u64, "Open file descriptors."),
        gauge("process_max_fds", most, "File descriptors that may be open; 0: any number."),
        Metric::many("process_start_time_seconds", Kind::Gauge, "When it started, since 1970.", [start]).in_seconds(),
        Metric::many(
            "moonwire_build_info",
            Kind::Gauge,
            "Always 1; the label says which version runs.",
            [(label("version", env!("CARGO_PKG_VERSION")), 1)],
        ),
    ]
}

/// A line of `/proc/self/status`, in bytes; 0 where there is none.
fn kibibytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_the_program_uses() {
        let status = "Name:\tmoonwire\nVmSize:\t  2048 kB\nVmRSS:\t     4 kB\n";
        assert_eq!(
            (kibibytes(status, "VmRSS:"), kibibytes(status, "VmSize:"), kibibytes("", "VmRSS:")),
            (4096, 2 << 20, 0)
        );
        let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
        assert!(kibibytes(&text, "VmRSS:") > 0);
    }
}
