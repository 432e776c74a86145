//! Which files below a folder are read.
//!
//! A folder is somebody's project: beside our files it holds sources, pages, data, perhaps a
//! pipe named `x.yaml` or a link to `/`. So only regular files are opened, none above a size,
//! links are followed only to files inside the folder, and no directory is entered twice.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Place, Report};

/// The largest YAML file that is read.
const MAX_YAML: u64 = 1 << 20;
/// Directories within one another.
const MAX_DEPTH: usize = 64;
/// Directories that hold other people's YAML, or none: they are not read, like those that begin with a dot.
pub const SKIPPED: [&str; 2] = ["node_modules", "target"];

/// A YAML file that may be ours.
pub(crate) struct YamlFile {
    /// As messages show it.
    pub(crate) shown: Arc<str>,
    /// The directory that it stands in, absolute.
    pub(crate) dir: Arc<Path>,
    pub(crate) text: String,
}

/// All YAML files below `root`, in the order of their paths. `given` is the folder as the user
/// wrote it, so that messages show paths that the user's terminal can open.
pub(crate) fn yaml_files(given: &Path, root: &Path, report: &Report) -> Vec<YamlFile> {
    let mut files = Vec::new();
    let mut open = vec![(root.to_owned(), 0)];
    while let Some((dir, depth)) = open.pop() {
        let listing = match fs::read_dir(&dir).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(listing) => listing,
            Err(error) => {
                let place = Place::whole(&shown(given, root, &dir));
                report.add(Diagnostic::error(&place, format!("cannot be read: {error}")));
                continue;
            }
        };
        for item in listing {
            let (path, name) = (item.path(), item.file_name());
            let name = name.to_string_lossy();
            let Ok(kind) = item.file_type() else { continue };
            if kind.is_dir() {
                let ours = !name.starts_with('.') && !SKIPPED.contains(&&*name);
                if ours && depth < MAX_DEPTH {
                    open.push((path, depth + 1));
                }
            } else if name.ends_with(".yaml") {
                files.extend(yaml_file(&path, given, root, report));
            } else if name == "_index.yml" {
                let place = Place::whole(&shown(given, root, &path));
                report.add(Diagnostic::warning(&place, "is not read: the name must end in .yaml"));
            }
        }
    }
    files.sort_by(|a, b| a.shown.cmp(&b.shown));
    files
}

fn yaml_file(path: &Path, given: &Path, root: &Path, report: &Report) -> Option<YamlFile> {
    let shown = shown(given, root, path);
    let problem = |found: String| {
        report.add(Diagnostic::error(&Place::whole(&shown), found));
        None
    };
    let target = match path.canonicalize() {
        Ok(target) => target,
        Err(error) => return problem(format!("cannot be read: {error}")),
    };
    if !target.is_file() {
        return None;
    }
    if !target.starts_with(root) {
        return problem("is a link to a file outside the folder".to_owned());
    }
    let (bytes, whole) = match read_bounded(&target, MAX_YAML) {
        Ok(read) => read,
        Err(error) => return problem(format!("cannot be read: {error}")),
    };
    let ours = path.file_name().is_some_and(|name| name == "_index.yaml") || looks_ours(&bytes);
    match String::from_utf8(bytes) {
        // Somebody's data, templates or translations may be large or no YAML at all.
        _ if !ours => None,
        _ if !whole => problem(format!("is larger than {}, the most that is read", units::size::format(MAX_YAML))),
        Err(_) => problem("is not UTF-8 text".to_owned()),
        Ok(text) => {
            let dir = path.parent().unwrap_or(root).into();
            Some(YamlFile { shown: shown.as_str().into(), dir, text })
        }
    }
}

/// Whether a file claims to be ours: a line that begins with `namespace` or `entries`, perhaps in
/// quotes or braces. A wrong guess costs nothing, the parsed file is looked at again.
fn looks_ours(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.split(|byte| matches!(byte, b'\n' | b'\r')).any(|line| {
        let start = line.iter().position(|byte| !b"{ \"'".contains(byte)).unwrap_or(line.len());
        let indented = line.starts_with(b" ");
        let key = &line[start..];
        !indented && (key.starts_with(b"namespace") || key.starts_with(b"entries"))
    })
}

/// Reads a file up to a limit; the flag says whether that was all of it.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes, read as u64 <= limit))
}

/// A path below `root` as messages show it: from where the user stands.
fn shown(given: &Path, root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let joined: PathBuf = given.join(below).components().filter(|part| part.as_os_str() != ".").collect();
    match joined.as_os_str().is_empty() {
        true => ".".to_owned(),
        false => joined.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_from_where_the_user_stands() {
        let root = Path::new("/srv/chat");
        for (given, shown_as) in [
            (".", "a/_index.yaml"),
            ("./", "a/_index.yaml"),
            ("", "a/_index.yaml"),
            ("examples/chat/", "examples/chat/a/_index.yaml"),
            ("../chat", "../chat/a/_index.yaml"),
            ("/srv/chat", "/srv/chat/a/_index.yaml"),
        ] {
            assert_eq!(shown(Path::new(given), root, &root.join("a/_index.yaml")), shown_as);
        }
        assert_eq!(shown(Path::new("."), root, root), ".");
    }
}
