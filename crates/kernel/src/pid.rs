//! Process identifiers: node-wide unique, never used twice, an index and not a hash.

use crate::host::{HostId, Hosts};
use smallvec::SmallVec;
use std::fmt;
use std::num::NonZeroU64;

/// The identity of a process: host, boot number, shard, slot and generation.
///
/// The boot number is random for each start of a node, and a slot's generation grows with each process that
/// lives in it, so no PID is used twice: not after an exit and not after a restart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid {
    /// Shard (8 bits), slot (24 bits), generation (32 bits, from 1).
    raw: NonZeroU64,
    boot: u32,
    host: HostId,
}

impl Pid {
    /// Composes a PID; `generation` starts at 1.
    pub(crate) fn new(boot: u32, host: HostId, shard: usize, slot: u32, generation: u32) -> Pid {
        debug_assert!(generation > 0 && shard < crate::limits::SHARDS && slot < crate::limits::SLOTS);
        let raw = (shard as u64) << 56 | u64::from(slot) << 32 | u64::from(generation);
        Pid { raw: NonZeroU64::new(raw).unwrap_or(NonZeroU64::MIN), boot, host }
    }

    /// The shard that the process lives on.
    pub fn shard(self) -> usize {
        (self.raw.get() >> 56) as usize
    }

    pub(crate) fn slot(self) -> u32 {
        (self.raw.get() >> 32) as u32 & (crate::limits::SLOTS - 1)
    }

    pub(crate) fn generation(self) -> u32 {
        self.raw.get() as u32
    }

    pub(crate) fn boot(self) -> u32 {
        self.boot
    }

    /// The host that the process was spawned on.
    pub fn host(self) -> HostId {
        self.host
    }

    /// The PID as programs and logs see it: `{host|boot.shard.slot.generation}`, numbers in hexadecimal.
    pub fn text(self, hosts: &Hosts) -> PidText<'_> {
        PidText { pid: self, hosts }
    }

    /// The same as bytes: the hot path of programs that are told who sent something.
    pub fn bytes(self, hosts: &Hosts) -> SmallVec<[u8; 64]> {
        let mut text = SmallVec::new();
        text.push(b'{');
        text.extend_from_slice(hosts.get(self.host).map_or("?", |host| &host.name).as_bytes());
        for (before, number) in
            [(b'|', self.boot), (b'.', self.shard() as u32), (b'.', self.slot()), (b'.', self.generation())]
        {
            text.push(before);
            let digits: [u8; 8] =
                std::array::from_fn(|place| b"0123456789abcdef"[(number >> (28 - 4 * place) & 15) as usize]);
            text.extend_from_slice(&digits[(number | 1).leading_zeros() as usize / 4..]);
        }
        text.push(b'}');
        text
    }

    /// Reads what [`Pid::text`] wrote. `None` for anything else, so a text and its PID are one to one.
    pub fn parse(text: &[u8], hosts: &Hosts) -> Option<Pid> {
        let inner = text.strip_prefix(b"{")?.strip_suffix(b"}")?;
        // From behind: a host's name may hold anything.
        let (inner, generation) = hex_behind(inner, b'.', 8)?;
        let (inner, slot) = hex_behind(inner, b'.', 6)?;
        let (inner, shard) = hex_behind(inner, b'.', 2)?;
        let (name, boot) = hex_behind(inner, b'|', 8)?;
        let host = hosts.find_bytes(name)?;
        (generation != 0).then(|| Pid::new(boot, host, shard as usize, slot, generation))
    }
}

/// Lower-case hexadecimal without leading zeros, of at most `digits`, at the end of a text and behind a separator; and
/// what stands before that.
fn hex_behind(text: &[u8], separator: u8, digits: usize) -> Option<(&[u8], u32)> {
    let (mut number, mut place) = (0u32, text.len());
    loop {
        place = place.checked_sub(1)?;
        let digit = match text[place] {
            b @ b'0'..=b'9' => b - b'0',
            b @ b'a'..=b'f' => b - b'a' + 10,
            b if b == separator => break,
            _ => return None,
        };
        let behind = text.len() - 1 - place;
        if behind >= digits {
            return None;
        }
        number |= u32::from(digit) << (4 * behind);
    }
    let first = *text.get(place + 1)?;
    (first != b'0' || text.len() == place + 2).then_some((&text[..place], number))
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{#{}|{:x}.{:x}.{:x}.{:x}}}",
            self.host.index(),
            self.boot,
            self.shard(),
            self.slot(),
            self.generation()
        )
    }
}

/// Displays a PID with its host's name; see [`Pid::text`].
pub struct PidText<'a> {
    pid: Pid,
    hosts: &'a Hosts,
}

impl fmt::Display for PidText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.pid.bytes(self.hosts);
        // A host's name is text, and the rest are digits.
        f.write_str(std::str::from_utf8(&bytes).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn a_pid_reads_back_as_it_was_written() {
        let hosts = Hosts::new(vec![Host::new("app:processes"), Host::new("app:gateway")]);
        for (shard, slot, generation) in [(0, 0, 1), (1, 0x1a, 3), (255, 0xff_ffff, u32::MAX)] {
            for host in ["app:processes", "app:gateway"] {
                let pid = Pid::new(0x3fa9_c01d, hosts.find(host).unwrap(), shard, slot, generation);
                assert_eq!(Pid::parse(pid.text(&hosts).to_string().as_bytes(), &hosts), Some(pid));
            }
        }
    }

    #[test]
    fn a_text_that_no_pid_writes_is_refused() {
        let hosts = Hosts::new(vec![Host::new("app:processes")]);
        for text in [
            "",
            "nil",
            "{}",
            "{|}",
            "{app:processes|}",
            "{app:processes|1.0.0.0}",
            "{app:processes|01.0.0.1}",
            "{app:processes|1.0.0.1",
            "app:processes|1.0.0.1}",
            "{app:other|1.0.0.1}",
            "{app:processes|1.0.0.1.2}",
            "{app:processes|1.100.0.1}",
            "{app:processes|1.0.1000000.1}",
            "{app:processes|A.0.0.1}",
            "{app:processes|1.0.0.-1}",
            "{app:processes|1.0..1}",
            "{app:processes|1.0.0.1.}",
            "{app:processes|123456789.0.0.1}",
            "{app:processes|1.0.0.00}",
            "{app:processes|1.0.00.1}",
            "{1.0.0.1}",
        ] {
            assert_eq!(Pid::parse(text.as_bytes(), &hosts), None, "{text}");
        }
    }
}
