//! `pid`: any bytes as a PID, and any PID as text.
//!
//! - A text that is a PID is the one text of that PID: written again, it is the same.
//! - A PID made of numbers within their bounds is read; one of numbers beyond them is none.
//!
//! Input: numbers, and a text.

use arbitrary::{Arbitrary, Unstructured};
use kernel::{Host, Hosts, Pid};

/// Names that a host may have, some of which look like parts of a PID.
const NAMES: [&str; 6] = ["app:processes", "app:gateway", "a|1.2.3", "{x|1.0.0.1}", "", "ключ"];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    host: u8,
    boot: u32,
    shard: u16,
    slot: u32,
    generation: u32,
    text: &'a [u8],
}

/// The target.
pub fn run(data: &[u8]) {
    let hosts = Hosts::new(NAMES.map(Host::new).into());
    same(data, &hosts);
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    same(input.text, &hosts);
    let Input { host, boot, shard, slot, generation, .. } = input;
    let name = NAMES[usize::from(host) % NAMES.len()];
    let text = format!("{{{name}|{boot:x}.{shard:x}.{slot:x}.{generation:x}}}");
    let exists = shard < 256 && slot < 1 << 24 && generation != 0;
    match same(text.as_bytes(), &hosts) {
        Some(pid) => {
            assert!(exists, "{text} is a PID");
            assert_eq!(pid.shard(), usize::from(shard));
            assert_eq!(&*hosts[pid.host()].name, name);
            assert_eq!(pid.text(&hosts).to_string(), text);
        }
        None => assert!(!exists, "{text} is no PID"),
    }
}

fn same(text: &[u8], hosts: &Hosts) -> Option<Pid> {
    let pid = Pid::parse(text, hosts)?;
    assert_eq!(&*pid.bytes(hosts), text);
    Some(pid)
}
