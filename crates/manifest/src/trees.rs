//! Supervisors that are children of supervisors: each has one parent, and none is its own ancestor.

use std::collections::BTreeMap;

use crate::diagnostics::{Diagnostic, Place, Report};
use crate::graph::{self, Needs};
use crate::id::EntryId;
use crate::model::{Lifecycle, Manifest, Supervised};

/// Gives each supervisor its parent, and reports what is no tree.
pub(crate) fn grow(manifest: &mut Manifest, report: &Report) {
    let mut parents: BTreeMap<EntryId, EntryId> = BTreeMap::new();
    let mut needs = Needs::new();
    for supervisor in &manifest.supervisors {
        for child in &supervisor.children {
            let Supervised::Supervisor(id) = &child.what else { continue };
            needs.entry(supervisor.id.clone()).or_default().push((id.clone(), child.place.clone()));
            if let Some(first) = parents.get(id) {
                let found = format!("children: {id} is a child of {first} already");
                report.add(Diagnostic::error(&child.place, found).in_entry(&supervisor.id));
                continue;
            }
            parents.insert(id.clone(), supervisor.id.clone());
        }
    }
    let ids: Vec<EntryId> = manifest.supervisors.iter().map(|supervisor| supervisor.id.clone()).collect();
    for cycle in graph::order(&ids, &needs).1 {
        let diagnostic = Diagnostic::error(&cycle.place, format!("a cycle of supervisors: {}", cycle.show()));
        report.add(match cycle.ring.last() {
            Some(id) => diagnostic.in_entry(id),
            None => diagnostic,
        });
    }
    check_dependents(manifest, &parents, report);
    for supervisor in &mut manifest.supervisors {
        supervisor.parent = parents.remove(&supervisor.id);
        if let Some(parent) = &supervisor.parent
            && supervisor.lifecycle != Lifecycle::default()
        {
            let found = format!("lifecycle: without effect, {parent} starts and stops it");
            report.add(Diagnostic::warning(&supervisor.place, found).in_entry(&supervisor.id));
        }
    }
}

/// What starts with its parent cannot be waited for alone.
fn check_dependents(manifest: &Manifest, parents: &BTreeMap<EntryId, EntryId>, report: &Report) {
    let services = manifest.services.iter().map(|service| (&service.id, &service.lifecycle, &service.place));
    let kept = manifest.process_services.iter().map(|service| (&service.id, &service.lifecycle, &service.place));
    let supervisors = manifest.supervisors.iter().map(|one| (&one.id, &one.lifecycle, &one.place));
    let all: Vec<(&EntryId, &Lifecycle, &Place)> = services.chain(kept).chain(supervisors).collect();
    for (id, lifecycle, place) in all {
        for needed in &lifecycle.depends_on {
            if let Some(parent) = parents.get(needed) {
                let found = format!("depends on {needed}, which is a child of {parent}");
                let top = std::iter::successors(Some(parent), |id| parents.get(*id)).take(parents.len()).last();
                report.add(Diagnostic::error(place, found).in_entry(id).expected(top.unwrap_or(parent).to_string()));
            }
        }
    }
}
