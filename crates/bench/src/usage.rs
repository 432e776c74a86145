//! What a server used, read from the kernel: processor time and resident memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Clock ticks a second in `/proc/PID/stat`; fixed in Linux's interface to user space.
const TICKS: u64 = 100;

/// Processor time, user and kernel, of all threads of `pid`.
///
/// `schedstat` counts nanoseconds; where the kernel does not keep it, the ticks of `stat` must do.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let mut total = 0;
    let threads =
        fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("the server (process {pid}) is gone"))?;
    for thread in threads {
        // A thread may end between the listing and the reading; then it has nothing to add.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        total += nanoseconds_of_schedstat(&text).unwrap_or(0);
    }
    if total > 0 {
        return Ok(Duration::from_nanos(total));
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks_of_stat(&stat).context("an unreadable /proc/PID/stat")?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// How long the calling thread was ready to run while its core ran something else; nothing where the kernel keeps no count.
pub(crate) fn waited() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = text.split_whitespace().nth(1).unwrap_or("0");
    Ok(Duration::from_nanos(waited.parse().context("an unreadable schedstat")?))
}

/// Resident bytes of `pid`, exact: `smaps_rollup` counts pages where `statm` may lag behind.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .with_context(|| format!("the server (process {pid}) is gone"))?;
    kilobytes_of("Rss:", &text).context("an unreadable /proc/PID/smaps_rollup")
}

/// Forgets the most that `pid` had resident, so that [`peak`] is of what comes now.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    // 5 resets VmHWM (proc_pid_clear_refs(5)).
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
        .with_context(|| format!("the peak of process {pid} cannot be reset"))
}

/// The most resident bytes of `pid` since [`forget_peak`].
pub(crate) fn peak(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("the server (process {pid}) is gone"))?;
    kilobytes_of("VmHWM:", &text).context("an unreadable /proc/PID/status")
}

/// How many files, sockets among them, `pid` has open.
pub(crate) fn descriptors(pid: u32) -> Result<usize> {
    let listed = fs::read_dir(format!("/proc/{pid}/fd"));
    Ok(listed.with_context(|| format!("the server (process {pid}) is gone"))?.count())
}

fn nanoseconds_of_schedstat(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// `utime + stime`; the command's name before them may hold spaces and parentheses.
fn ticks_of_stat(text: &str) -> Option<u64> {
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(user + kernel)
}

/// The bytes that the line of that name says in kB.
fn kilobytes_of(name: &str, text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_read_as_the_kernel_writes_them() {
        assert_eq!(nanoseconds_of_schedstat("566488621 192483 16\n"), Some(566_488_621));
        let stat = "42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 56 7 0 0 20 0 1 0 100 0";
        assert_eq!(ticks_of_stat(stat), Some(63));
        let rollup = "55d6-7ffc ---p 00000000 00:00 0 [rollup]\nRss:               13660 kB\nPss: 1 kB\n";
        assert_eq!(kilobytes_of("Rss:", rollup), Some(13_660 * 1024));
        assert_eq!(kilobytes_of("VmHWM:", "VmPeak:\t 9 kB\nVmHWM:\t    2 kB\n"), Some(2048));
    }

    #[test]
    fn a_process_that_is_gone_is_an_error_and_not_a_zero() {
        assert!(cpu(u32::MAX).is_err());
        assert!(resident(u32::MAX).is_err());
    }

    #[test]
    fn a_peak_is_seen_when_it_is_over_and_forgotten_when_it_is_told_to() {
        let (pid, size) = (std::process::id(), 64 << 20);
        forget_peak(pid).unwrap();
        let before = peak(pid).unwrap();
        drop(std::hint::black_box(vec![1_u8; size]));
        assert!(peak(pid).unwrap() > before + size as u64 / 2);
        forget_peak(pid).unwrap();
        assert!(peak(pid).unwrap() < before + size as u64 / 2);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        assert!(resident(std::process::id()).unwrap() > 100 * 1024);
        let before = cpu(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while cpu(std::process::id()).unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
    }
}
