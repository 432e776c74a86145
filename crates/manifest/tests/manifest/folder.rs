//! A folder on disk that lasts as long as its test.

use std::fs;
use std::path::Path;

use manifest::{Diagnostics, LoadOptions, Manifest, Override, load};
use tempfile::TempDir;

pub(crate) const MODULES: [&str; 5] = ["http", "json", "time", "logger", "pg"];

/// What an entry under test may refer to.
const BASE: &str = "
version: '1.0'
namespace: app
entries:
  - { name: gateway, kind: http.service, addr: ':8080' }
  - { name: router, kind: http.router, meta: { server: gateway } }
  - { name: answer, kind: function.lua, source: file://answer.luau, method: handler }
  - { name: room, kind: process.lua, source: file://room.lua }
  - { name: tools, kind: library.lua, source: file://tools.luau }
  - { name: processes, kind: process.host }
";

pub(crate) struct Folder {
    dir: TempDir,
    overrides: Vec<Override>,
    variables: Vec<(&'static str, &'static str)>,
}

impl Folder {
    /// A folder with nothing in it.
    pub(crate) fn empty() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        Self { dir, overrides: Vec::new(), variables: Vec::new() }
    }

    /// A folder whose `base.yaml` is right and has one entry of most kinds.
    pub(crate) fn with_base() -> Self {
        Self::empty()
            .file("base.yaml", BASE)
            .file("answer.luau", "return function() end")
            .file("room.lua", "return function() end")
            .file("tools.luau", "return {}")
    }

    /// The base, and a file `x.yaml` of the same namespace that begins with these entries: the
    /// first of them stands in line 3.
    pub(crate) fn with_entries(entries: &str) -> Self {
        let entries = entries.trim_start_matches('\n');
        Self::with_base().file("x.yaml", format!("namespace: app\nentries:\n{entries}"))
    }

    pub(crate) fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
        self
    }

    pub(crate) fn set(mut self, text: &str) -> Self {
        self.overrides.push(Override::parse(text).expect(text));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn try_load(&self) -> Result<Manifest, Diagnostics> {
        let env = |name: &str| {
            let found = self.variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let options = LoadOptions { overrides: &self.overrides, env: &env, known_modules: &MODULES };
        load(self.path(), &options)
    }

    pub(crate) fn load(&self) -> Manifest {
        self.try_load().unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }

    /// One line for each mistake, paths relative to the folder.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mistakes = self.try_load().expect_err("a folder with mistakes").to_string();
        self.relative(&mistakes)
    }

    /// The same for the warnings of a folder that loads.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let warnings: Vec<String> = self.load().warnings.iter().map(ToString::to_string).collect();
        self.relative(&warnings.join("\n"))
    }

    fn relative(&self, lines: &str) -> Vec<String> {
        let prefix = self.path().display().to_string();
        lines.replace(&format!("{prefix}/"), "").replace(&prefix, ".").lines().map(str::to_owned).collect()
    }
}
