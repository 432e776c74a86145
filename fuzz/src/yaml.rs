//! `yaml`: any text as the YAML of an app, loaded as `moonwire run` and `moonwire check` load it.
//!
//! - Loading ends: with a model, or with mistakes, each on one line, in a file that is there, at a line that it has.
//! - It ends the same way twice.
//! - Aliases, anchors and depth are bounded: libFuzzer's time-out and memory limit watch.

use manifest::{Diagnostic, LoadOptions, Severity};
use std::fs;
use std::path::{Path, PathBuf};

/// Sources that entries may name.
const SOURCES: [(&str, &str); 2] =
    [("main.lua", "local function main() end\nreturn { main = main, handler = main }\n"), ("lib.luau", "return {}\n")];

thread_local! {
    /// A folder of this process's own, in memory where there is such a place.
    static FOLDER: PathBuf = {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let thread = std::thread::current();
        let folder = base.join(format!("moonwire-fuzz-{}-{:?}", std::process::id(), thread.id()));
        fs::create_dir_all(folder.join("public")).expect("a folder can be made");
        for (name, text) in SOURCES {
            fs::write(folder.join(name), text).expect("a file can be written");
        }
        folder
    };
}

/// The target.
pub fn run(data: &[u8]) {
    FOLDER.with(|folder| {
        fs::write(folder.join("_index.yaml"), data).expect("a file can be written");
        let first = load(folder);
        check(&first, folder, data);
        assert_eq!(load(folder), first, "the second time");
    });
}

/// The mistakes and warnings.
fn load(folder: &Path) -> Vec<Diagnostic> {
    let env = |name: &str| match name {
        "PORT" => Some("8080".to_owned()),
        "HOST" => Some("127.0.0.1".to_owned()),
        _ => None,
    };
    let options = LoadOptions { overrides: &[], env: &env, known_modules: &luau::modules::BUILT_IN };
    match manifest::load(folder, &options) {
        Ok(manifest) => manifest.warnings,
        Err(mistakes) => {
            assert!(mistakes.errors() > 0);
            mistakes.iter().cloned().collect()
        }
    }
}

fn check(found: &[Diagnostic], folder: &Path, data: &[u8]) {
    let ends = |&at: &usize| data[at] == b'\n' || data[at] == b'\r' && data.get(at + 1) != Some(&b'\n');
    let lines = (0..data.len()).filter(ends).count() + 1;
    for one in found {
        let text = one.to_string();
        assert!(!text.contains(char::is_control), "more than one line: {text:?}");
        let file = Path::new(&*one.place.file);
        assert!(file.starts_with(folder), "a place elsewhere: {text}");
        if file.ends_with("_index.yaml") {
            assert!(one.place.line as usize <= lines, "a line that is not there: {text}");
            assert_eq!(one.place.line == 0, one.place.column == 0, "half a place: {text}");
        } else {
            assert!(file.exists() || one.severity == Severity::Error, "a warning about nothing: {text}");
        }
        assert!(text.len() < 64 << 10, "{} bytes of one mistake", text.len());
    }
}
