//! The steps from a folder to a model.

use std::collections::BTreeMap;
use std::path::Path;

use crate::diagnostics::{Diagnostic, Diagnostics, Place, Report};
use crate::discover;
use crate::entries::{self, Entries};
use crate::fields::Folder;
use crate::graph::{self, Needs};
use crate::id::EntryId;
use crate::kinds::{self, http};
use crate::model::{Lifecycle, Manifest};
use crate::overrides::{self, Override};
use crate::routes;
use crate::trees;
use crate::variables;

/// What loading a folder depends on besides the folder.
pub struct LoadOptions<'a> {
    /// What the command line sets, in its order.
    pub overrides: &'a [Override],
    /// The environment, for `${env:NAME}`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The modules that an entry may list under `modules`.
    pub known_modules: &'a [&'a str],
}

/// Reads a folder: a model in which everything is right, or everything that is wrong.
///
/// Paths in messages begin with `dir` as it is given, so that they lead to the file from where the
/// user stands.
pub fn load(dir: &Path, options: &LoadOptions<'_>) -> Result<Manifest, Diagnostics> {
    let report = Report::default();
    let mut manifest = Manifest::default();
    match dir.canonicalize() {
        Ok(root) if root.is_dir() => {
            manifest.root = root;
            read(dir, options, &report, &mut manifest);
        }
        Ok(_) => {
            let place = Place::whole(&dir.display().to_string());
            report.add(Diagnostic::error(&place, "is no folder").expected("one with YAML entries"));
        }
        Err(error) => {
            let place = Place::whole(&dir.display().to_string());
            report.add(Diagnostic::error(&place, format!("cannot be read: {error}")));
        }
    }
    match report.finish() {
        Ok(warnings) => Ok(Manifest { warnings, ..manifest }),
        Err(mistakes) => Err(mistakes.with_codes(manifest.codes().cloned().collect())),
    }
}

fn read(dir: &Path, options: &LoadOptions<'_>, report: &Report, manifest: &mut Manifest) {
    let files = discover::yaml_files(dir, &manifest.root, report);
    let Entries { mut list, unread } = entries::collect(files, options.env, report);
    if list.is_empty() && report.is_empty() {
        let place = Place::whole(&dir.display().to_string());
        let found = "no entries found; a folder needs a *.yaml with namespace and entries; \
                     try `moonwire new`";
        report.add(Diagnostic::error(&place, found));
    }
    // Overrides come first: what they replace need not have its variables set.
    overrides::apply(options.overrides, &mut list, report);
    for entry in &mut list {
        variables::substitute(&mut entry.node, Some(&entry.id), options.env, report);
    }
    let root = manifest.root.clone();
    let folder = Folder {
        root: &root,
        report,
        kinds: list.iter().map(|entry| (entry.id.clone(), entry.kind)).collect(),
        unread: &unread,
        known_modules: options.known_modules,
    };
    for entry in &list {
        if let Some(kind) = entry.kind {
            kinds::read(entry, kind, &folder, manifest);
        }
    }
    let endpoints = std::mem::take(&mut manifest.endpoints);
    manifest.endpoints = http::attach(endpoints, &manifest.routers, report);
    http::check_addrs(&manifest.services, report);
    routes::check_alike(manifest, report);
    trees::grow(manifest, report);
    order_imports(manifest, report);
    order_what_runs(manifest, report);
}

/// Puts libraries behind those that they import.
fn order_imports(manifest: &mut Manifest, report: &Report) {
    let mut needs = Needs::new();
    for library in &manifest.libraries {
        let imports = library.imports.iter().map(|(_, id)| (id.clone(), library.place.clone()));
        needs.insert(library.id.clone(), imports.collect());
    }
    let ids: Vec<EntryId> = manifest.libraries.iter().map(|library| library.id.clone()).collect();
    let rank = ranks(&ids, &needs, "a cycle of imports", report);
    manifest.libraries.sort_by_key(|library| rank.get(&library.id).copied());
}

/// Puts everything that runs behind what it depends on.
fn order_what_runs(manifest: &mut Manifest, report: &Report) {
    let mut running: BTreeMap<&EntryId, (&Lifecycle, &Place)> = BTreeMap::new();
    for service in &manifest.services {
        running.insert(&service.id, (&service.lifecycle, &service.place));
    }
    for service in &manifest.process_services {
        running.insert(&service.id, (&service.lifecycle, &service.place));
    }
    for supervisor in &manifest.supervisors {
        running.insert(&supervisor.id, (&supervisor.lifecycle, &supervisor.place));
    }
    let mut needs = Needs::new();
    for (id, (lifecycle, place)) in &running {
        for needed in &lifecycle.depends_on {
            let starts = running.get(needed).is_none_or(|(needed, _)| needed.auto_start);
            if lifecycle.auto_start && !starts {
                let found = format!("depends on {needed}, whose auto_start is false");
                report.add(Diagnostic::warning(place, found).in_entry(id));
            }
        }
        let list = lifecycle.depends_on.iter().map(|id| (id.clone(), (*place).clone()));
        needs.insert((*id).clone(), list.collect());
    }
    let mut ids: Vec<EntryId> = running.keys().map(|id| (*id).clone()).collect();
    // Processes before the addresses that let the world in, else as they are written.
    let is_server = |id: &EntryId| manifest.services.iter().any(|service| service.id == *id);
    ids.sort_by(|a, b| {
        let place = |id| running.get(id).map(|(_, place)| *place);
        (is_server(a), place(a)).cmp(&(is_server(b), place(b)))
    });
    let rank = ranks(&ids, &needs, "a cycle of dependencies", report);
    manifest.services.sort_by_key(|service| rank.get(&service.id).copied());
    manifest.process_services.sort_by_key(|service| rank.get(&service.id).copied());
    manifest.supervisors.sort_by_key(|supervisor| rank.get(&supervisor.id).copied());
    manifest.start_order = ids;
    manifest.start_order.sort_by_key(|id| rank.get(id).copied());
}

/// The position of each id once what it needs comes before it; a ring is reported as `fault`.
fn ranks(ids: &[EntryId], needs: &Needs, fault: &str, report: &Report) -> BTreeMap<EntryId, usize> {
    let (ordered, cycles) = graph::order(ids, needs);
    for cycle in cycles {
        let diagnostic = Diagnostic::error(&cycle.place, format!("{fault}: {}", cycle.show()));
        report.add(match cycle.ring.last() {
            Some(id) => diagnostic.in_entry(id),
            None => diagnostic,
        });
    }
    ordered.into_iter().enumerate().map(|(rank, id)| (id, rank)).collect()
}
