//! `function.lua`, `process.lua`, `library.lua`: Luau code, and the files that it is in.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::diagnostics::Diagnostic;
use crate::discover::read_bounded;
use crate::entries::RawEntry;
use crate::fields::Fields;
use crate::id::EntryId;
use crate::kinds::Kind;
use crate::model::Code;
use crate::yaml::{Node, quoted};

/// The largest source file.
const MAX_SOURCE: u64 = 4 << 20;

/// The Luau code of an entry.
pub(crate) fn code(mut fields: Fields<'_>) -> Option<Code> {
    let file = source(&mut fields);
    let method = fields.text("method", "the name of a function");
    let modules = modules(&mut fields);
    let imports = imports(&mut fields, &modules);
    let entry = fields.entry;
    fields.finish();
    let (source, chunk_name, text) = file?;
    Some(Code {
        id: entry.id.clone(),
        source,
        chunk_name,
        text,
        method: method.map(str::to_owned),
        modules,
        imports,
        place: entry.node.place.clone(),
    })
}

fn source(fields: &mut Fields<'_>) -> Option<(PathBuf, String, Arc<str>)> {
    const EXPECTED: &str = "file:// and a .lua or .luau file, such as file://room.luau";
    let node = fields.required("source", EXPECTED)?;
    let text = fields.text_of("source", node, EXPECTED)?;
    let Some(relative) = text.strip_prefix("file://") else {
        fields.wrong("source", node, EXPECTED);
        return None;
    };
    if !matches!(Path::new(relative).extension().and_then(|e| e.to_str()), Some("lua" | "luau")) {
        fields.wrong("source", node, "a name that ends in .lua or .luau");
        return None;
    }
    let path = inside(fields, "source", node, relative)?;
    let refuse = |reason: &str| {
        fields.refuse("source", node, &format!("{} {reason}", quoted(relative)));
        None
    };
    if !path.is_file() {
        return refuse("is no file");
    }
    match read_bounded(&path, MAX_SOURCE) {
        Err(error) => refuse(&format!("cannot be read: {error}")),
        Ok((_, false)) => refuse(&format!("is larger than {}", units::size::format(MAX_SOURCE))),
        Ok((bytes, true)) => match String::from_utf8(bytes) {
            Err(_) => refuse("is not UTF-8 text"),
            Ok(text) => {
                let below = path.strip_prefix(fields.folder.root).unwrap_or(&path);
                let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
                Some((path.clone(), parts.join("/"), text.into()))
            }
        },
    }
}

/// The path that a field means: relative to its YAML file, inside the folder once every `..` and
/// link is followed. What is not there or leads outside is reported.
pub(crate) fn inside(fields: &Fields<'_>, name: &str, node: &Node, relative: &str) -> Option<PathBuf> {
    let RawEntry { dir, .. } = fields.entry;
    let shown = quoted(relative);
    if Path::new(relative).is_absolute() {
        let reason = format!("{shown} is absolute, expected a path relative to this file");
        fields.refuse(name, node, &reason);
        return None;
    }
    let outside = || fields.refuse(name, node, &format!("{shown} leads outside the folder"));
    // First by its letters, so that what lies outside is not even asked for.
    if climbs_out(dir.strip_prefix(fields.folder.root).unwrap_or(dir), Path::new(relative)) {
        outside();
        return None;
    }
    match dir.join(relative).canonicalize() {
        Ok(path) if path.starts_with(fields.folder.root) => Some(path),
        Ok(_) => {
            outside();
            None
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let found = format!("{name}: {shown} does not exist");
            let mut diagnostic = Diagnostic::error(&node.place, found);
            diagnostic.nearest = nearest_file(dir, relative);
            fields.report(diagnostic);
            None
        }
        Err(error) => {
            fields.refuse(name, node, &format!("{shown} cannot be read: {error}"));
            None
        }
    }
}

/// Whether the `..` of a path lead above the folder that `from` is below.
fn climbs_out(from: &Path, relative: &Path) -> bool {
    let mut depth = from.components().count();
    relative.components().any(|part| match part {
        Component::ParentDir if depth == 0 => true,
        Component::ParentDir => {
            depth -= 1;
            false
        }
        Component::Normal(_) => {
            depth += 1;
            false
        }
        _ => false,
    })
}

/// A file beside the missing one that was probably meant.
pub(crate) fn nearest_file(dir: &Path, relative: &str) -> Option<String> {
    let wanted = Path::new(relative);
    let parent = wanted.parent()?;
    let listing = std::fs::read_dir(dir.join(parent)).ok()?;
    let names: Vec<String> = listing.flatten().filter_map(|item| item.file_name().into_string().ok()).collect();
    let name = wanted.file_name()?.to_str()?;
    let nearest = units::nearest(name, names.iter().map(String::as_str))?;
    Some(parent.join(nearest).to_string_lossy().into_owned())
}

fn modules(fields: &mut Fields<'_>) -> Vec<String> {
    let known = fields.folder.known_modules;
    let mut modules: Vec<String> = Vec::new();
    for item in fields.list("modules", "a list of modules") {
        let Some(name) = fields.text_of("modules", item, "the name of a module") else { continue };
        if !known.contains(&name) {
            let found = format!("modules: unknown module {}", quoted(name));
            fields.report(Diagnostic::error(&item.place, found).among(name, known.iter().copied()));
        } else if modules.iter().any(|listed| listed == name) {
            fields.refuse("modules", item, &format!("{} stands twice", quoted(name)));
        } else {
            modules.push(name.to_owned());
        }
    }
    modules
}

fn imports(fields: &mut Fields<'_>, modules: &[String]) -> Vec<(String, EntryId)> {
    let written = fields.map("imports");
    let mut imports = Vec::new();
    for (alias, node) in written.written() {
        if alias.text.is_empty() {
            fields.report(Diagnostic::error(&alias.place, "imports: an alias has no name"));
        } else if modules.contains(&alias.text) {
            let found = format!("imports: the alias {} is a module's name", quoted(&alias.text));
            fields.report(Diagnostic::error(&alias.place, found).expected("one of its own"));
        }
        if let Some(id) = written.reference_of(&alias.text, node, &[Kind::LibraryLua]) {
            imports.push((alias.text.clone(), id));
        }
    }
    imports
}
