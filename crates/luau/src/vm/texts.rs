//! Strings that a pod remembers, so that what every message has is neither hashed nor read again.
//!
//! Luau keeps each string once, at a place where it stays: who has seen that a string lives can tell it by that place
//! alone ([`State::pointer`]), without reading it.
//! Whatever is remembered here by its place is kept alive by a registry reference.

use crate::state::State;
use bytes::Bytes;
use kernel::{Hosts, Pid, Topic};
use std::cell::RefCell;
use std::os::raw::{c_int, c_void};

/// PIDs whose text is remembered.
const PIDS: usize = 4096;
/// Topics that are remembered, of those that programs send on and of those that they receive.
const TOPICS: usize = 64;
/// Strings up to this size are compared rather than kept to be known again.
const COMPARED: usize = 512;

/// What one pod remembers; see the module's text. The default is of use to nobody: it stands in while a pod is made.
#[derive(Default)]
pub(crate) struct Texts {
    /// The names and values of a frame's fields.
    pub(crate) kind: Known,
    pub(crate) data: Known,
    pub(crate) text: Known,
    pub(crate) binary: Known,
    pids: RefCell<Pids>,
    /// Topics that programs have sent on lately, each at a place that its string's address chooses.
    sent: RefCell<Vec<Option<KnownTopic>>>,
    /// Topics that programs have received lately, each at a place that its bytes choose.
    received: RefCell<Vec<Option<KnownTopic>>>,
    frame: RefCell<LastFrame>,
}

/// A string that is kept alive.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) place: *const c_void,
    reference: c_int,
}

#[derive(Default)]
struct Pids {
    /// Each at a place that the PID chooses.
    known: Vec<Option<(Pid, Known)>>,
    /// Where in `known` a string may be: at a place that its address chooses.
    by_text: Vec<u16>,
}

struct KnownTopic {
    topic: Topic,
    known: Known,
}

/// The string that was sent as a frame last: when it is sent again at once, its bytes are shared.
#[derive(Default)]
struct LastFrame {
    place: usize,
    len: usize,
    bytes: Option<Bytes>,
    /// Set for long ones.
    reference: Option<c_int>,
}

impl Default for Known {
    fn default() -> Known {
        Known { place: std::ptr::null(), reference: 0 }
    }
}

impl Known {
    fn new(state: State, text: &[u8]) -> Known {
        state.push_string(text);
        let known = Known::at(state, -1);
        state.pop(1);
        known
    }

    fn at(state: State, index: i32) -> Known {
        Known { place: state.pointer(index), reference: state.keep(index) }
    }

    pub(crate) fn push(self, state: State) {
        state.push_ref(self.reference);
    }
}

impl Texts {
    /// For the VM of that state, whose pod is its callbacks' user data already.
    pub(crate) fn new(state: State) -> Texts {
        Texts {
            kind: Known::new(state, b"type"),
            data: Known::new(state, b"data"),
            text: Known::new(state, b"text"),
            binary: Known::new(state, b"binary"),
            pids: RefCell::new(Pids { known: vec![None; PIDS], by_text: vec![0; PIDS] }),
            sent: RefCell::new((0..TOPICS).map(|_| None).collect()),
            received: RefCell::new((0..TOPICS).map(|_| None).collect()),
            frame: RefCell::default(),
        }
    }

    /// Pushes the text of a PID; that of a recent one without making it again.
    pub(crate) fn push_pid(&self, state: State, pid: Pid, hosts: &Hosts) {
        use std::hash::{Hash, Hasher};
        let mut hasher = rustc_hash::FxHasher::default();
        pid.hash(&mut hasher);
        let place = hasher.finish() as usize % PIDS;
        let Pids { known, by_text } = &mut *self.pids.borrow_mut();
        if let Some((_, known)) = known[place].filter(|(of, _)| *of == pid) {
            return known.push(state);
        }
        state.push_string(&pid.bytes(hosts));
        let text = Known::at(state, -1);
        if let Some((_, old)) = known[place].replace((pid, text)) {
            state.release(old.reference);
        }
        by_text[spread(text.place)] = place as u16;
    }

    /// The PID whose text lies at that place, if it was pushed lately.
    pub(crate) fn pid_at(&self, place: *const c_void) -> Option<Pid> {
        let pids = self.pids.borrow();
        let known = pids.known[usize::from(pids.by_text[spread(place)])];
        known.filter(|(_, known)| known.place == place).map(|(pid, _)| pid)
    }

    /// The topic that a string is: one that was sent on lately is not read again. `None` if it is none.
    pub(crate) fn topic(&self, state: State, index: i32) -> Option<Topic> {
        let place = state.pointer(index);
        let slot = spread(place) % TOPICS;
        let mut topics = self.sent.borrow_mut();
        if let Some(known) = topics[slot].as_ref().filter(|known| known.known.place == place) {
            return Some(known.topic.clone());
        }
        let text = state.string(index);
        let topic = Topic::from(std::str::from_utf8(text).ok().filter(|text| Topic::is_for_programs(text))?);
        let known = KnownTopic { topic: topic.clone(), known: Known::at(state, index) };
        if let Some(old) = topics[slot].replace(known) {
            state.release(old.known.reference);
        }
        Some(topic)
    }

    /// Pushes the text of a topic; that of a recent one without hashing it.
    pub(crate) fn push_topic(&self, state: State, topic: &Topic) {
        let text = topic.as_bytes();
        let end = text.last().map_or(0, |&last| usize::from(last));
        let slot = (text.len() + 7 * end) % TOPICS;
        let mut topics = self.received.borrow_mut();
        if let Some(known) = topics[slot].as_ref().filter(|known| known.topic == *topic) {
            return known.known.push(state);
        }
        state.push_string(text);
        let known = KnownTopic { topic: topic.clone(), known: Known::at(state, -1) };
        if let Some(old) = topics[slot].replace(known) {
            state.release(old.known.reference);
        }
    }

    /// The bytes of a string that is sent as a frame. A broadcast, which sends one string many times, shares them; one
    /// that is sent once costs a copy and nothing else.
    pub(crate) fn frame(&self, state: State, index: i32) -> Bytes {
        let data = state.string(index);
        let mut last = self.frame.borrow_mut();
        let again = last.place == data.as_ptr().addr() && last.len == data.len();
        if again
            && let Some(bytes) = &last.bytes
            // Another string may lie where a short one lay that nobody kept.
            && (last.reference.is_some() || **bytes == *data)
        {
            return bytes.clone();
        }
        let bytes = Bytes::copy_from_slice(data);
        let long = data.len() > COMPARED;
        let reference = long.then(|| state.keep(index));
        let kept = (again || long).then(|| bytes.clone());
        let now = LastFrame { place: data.as_ptr().addr(), len: data.len(), bytes: kept, reference };
        if let Some(old) = std::mem::replace(&mut *last, now).reference {
            state.release(old);
        }
        bytes
    }
}

/// A place of a table by the address of a string. Strings lie beside each other at equal distances.
fn spread(place: *const c_void) -> usize {
    const { assert!(PIDS == 1 << 12) };
    ((place.addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - 12)) as usize
}
