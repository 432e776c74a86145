//! What must come before what.

use std::collections::BTreeMap;

use crate::diagnostics::Place;
use crate::id::EntryId;

/// What an entry needs, and where it says so. Entries without a key need nothing.
pub(crate) type Needs = BTreeMap<EntryId, Vec<(EntryId, Place)>>;

/// Entries that need one another in a ring.
pub(crate) struct Cycle {
    /// Where the last of them asks for the first.
    pub(crate) place: Place,
    /// From the first to the last; the last one needs the first.
    pub(crate) ring: Vec<EntryId>,
}

/// Orders `nodes` so that each comes after what it needs, and otherwise as they were. The walk is
/// deep first with a stack of its own: a chain as long as a folder allows does not overflow ours.
pub(crate) fn order(nodes: &[EntryId], needs: &Needs) -> (Vec<EntryId>, Vec<Cycle>) {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Open,
        Done,
    }
    let mut states: BTreeMap<&EntryId, State> = BTreeMap::new();
    let (mut ordered, mut cycles) = (Vec::new(), Vec::new());
    let of = |id: &EntryId| needs.get(id).map_or(&[][..], Vec::as_slice);
    for start in nodes {
        if states.contains_key(start) {
            continue;
        }
        states.insert(start, State::Open);
        // Each open entry, and what of its needs is still to be looked at.
        let mut path = vec![(start, of(start).iter())];
        while let Some((id, rest)) = path.last_mut() {
            let Some((needed, place)) = rest.next() else {
                states.insert(id, State::Done);
                ordered.push((*id).clone());
                path.pop();
                continue;
            };
            match states.get(needed) {
                Some(State::Done) => {}
                Some(State::Open) => {
                    let from = path.iter().position(|(open, _)| *open == needed).unwrap_or(0);
                    let ring = path[from..].iter().map(|(id, _)| (*id).clone()).collect();
                    cycles.push(Cycle { place: place.clone(), ring });
                }
                None => {
                    states.insert(needed, State::Open);
                    path.push((needed, of(needed).iter()));
                }
            }
        }
    }
    (ordered, cycles)
}

impl Cycle {
    /// `a -> b -> a`.
    pub(crate) fn show(&self) -> String {
        let ring: Vec<&str> = self.ring.iter().chain(self.ring.first()).map(EntryId::as_str).collect();
        ring.join(" -> ")
    }
}
