//! The code of all entries, compiled once for the whole node: one version of it, which never changes.

use mlua_sys as ffi;
use rustc_hash::FxHashMap;
use std::fmt;
use std::sync::Arc;
use units::nearest;

/// Bytes of bytecode that are compiled to machine code at most: others wait meanwhile, 3 to 6 ms for so many (measured
/// with a debug build, whose compiler in C++ is optimised).
const NATIVE: usize = 8 << 10;

/// The place of an entry in its [`Registry`], and in every later version of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct EntryIndex(u32);

impl EntryIndex {
    pub(crate) fn new(index: usize) -> EntryIndex {
        EntryIndex(u32::try_from(index).unwrap_or(u32::MAX))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an entry's code is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A short-lived process for each call.
    Function,
    /// A process.
    Process,
    /// Code that others `require`.
    Library,
}

impl Role {
    /// The kind of an entry with this role.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Role::Function => "function.lua",
            Role::Process => "process.lua",
            Role::Library => "library.lua",
        }
    }

    /// What such an entry is begun with, for somebody who tried something else.
    fn hint(self) -> &'static str {
        match self {
            Role::Function => " (funcs.call runs a function)",
            Role::Process => " (process.spawn and process.exec run a process)",
            Role::Library => " (list it under `imports` and require it)",
        }
    }
}

/// The source of one entry.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// `namespace:name`.
    pub id: &'a str,
    /// What it is for.
    pub role: Role,
    /// Shown in tracebacks: the path of the file.
    pub path: &'a str,
    /// The text.
    pub text: &'a str,
    /// The function that runs, or that a library exposes.
    pub method: Option<&'a str>,
    /// Modules that `require` may load.
    pub modules: &'a [String],
    /// Alias and id of each library that `require` may load.
    pub imports: &'a [(String, String)],
}

/// One entry, ready to be loaded into a VM.
pub struct Entry {
    /// `namespace:name`.
    pub id: Box<str>,
    /// What it is for.
    pub role: Role,
    pub(crate) chunk: std::ffi::CString,
    pub(crate) bytecode: Vec<u8>,
    /// Whether it is compiled to machine code.
    pub(crate) native: bool,
    pub(crate) method: Option<Box<str>>,
    pub(crate) modules: Vec<Box<str>>,
    pub(crate) imports: Vec<(Box<str>, EntryIndex)>,
    /// The number of the version in which it was new or had changed.
    pub(crate) since: u64,
}

impl Entry {
    /// The namespace that names without one belong to.
    pub(crate) fn namespace(&self) -> &str {
        self.id.split_once(':').map_or("", |(namespace, _)| namespace)
    }

    /// What tracebacks call its chunk; no other entry of its version has it.
    pub(crate) fn chunk_name(&self) -> &str {
        self.chunk.to_str().unwrap_or_default().trim_start_matches('=')
    }
}

/// A source that does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    /// The entry.
    pub id: String,
    /// The path of its file.
    pub path: String,
    /// Where, if it is known; from 1.
    pub line: Option<u32>,
    /// What the compiler says.
    pub message: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line.unwrap_or(1), self.id, self.message)
    }
}

impl std::error::Error for CompileError {}

/// All entries of a node, in one version.
#[derive(Default)]
pub struct Registry {
    /// Counts the versions of a node's code, from 1.
    pub(crate) number: u64,
    /// `None` where an entry of an earlier version has no successor.
    pub(crate) entries: Vec<Option<Arc<Entry>>>,
    /// Also of entries that are gone.
    pub(crate) by_id: FxHashMap<Box<str>, EntryIndex>,
    pub(crate) by_chunk: FxHashMap<Box<str>, EntryIndex>,
}

impl Registry {
    /// Compiles all sources; every one that does not compile is reported.
    pub fn compile(sources: &[Source<'_>]) -> Result<Registry, Vec<CompileError>> {
        let mut registry = Registry { number: 1, ..Registry::default() };
        for (index, source) in sources.iter().enumerate() {
            registry.by_id.insert(source.id.into(), EntryIndex::new(index));
        }
        let mut errors = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            match compile(source) {
                Ok(bytecode) => registry.add(index, source, bytecode),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(registry) } else { Err(errors) }
    }

    fn add(&mut self, index: usize, source: &Source<'_>, bytecode: Vec<u8>) {
        // `require` finds the entry of a chunk by its name, so no two chunks have one name.
        let plain = source.path.replace('\0', "");
        let name = if self.by_chunk.contains_key(&*plain) { format!("{plain} ({})", source.id) } else { plain };
        self.by_chunk.insert(name.clone().into(), EntryIndex(index as u32));
        let imports = source.imports.iter();
        let imports = imports
            .filter_map(|(alias, id)| Some((alias.as_str().into(), self.by_id.get(id.as_str()).copied()?)))
            .collect();
        self.entries.push(Some(Arc::new(Entry {
            id: source.id.into(),
            role: source.role,
            chunk: std::ffi::CString::new(format!("={name}")).unwrap_or_default(),
            bytecode,
            native: is_native(source.text),
            method: source.method.map(Into::into),
            modules: source.modules.iter().map(|name| name.as_str().into()).collect(),
            imports,
            since: self.number,
        })));
    }

    /// The entry with that id.
    pub fn find(&self, id: &str) -> Option<EntryIndex> {
        self.by_id.get(id).copied().filter(|&index| self.try_get(index).is_some())
    }

    /// An entry that this version has.
    pub fn get(&self, index: EntryIndex) -> &Entry {
        self.try_get(index).unwrap_or_else(|| panic!("{index:?} is of another version"))
    }

    /// An entry, unless it came later than this version or is gone.
    pub(crate) fn try_get(&self, index: EntryIndex) -> Option<&Arc<Entry>> {
        self.entries.get(index.index())?.as_ref()
    }

    pub(crate) fn of_chunk(&self, name: &str) -> Option<EntryIndex> {
        self.by_chunk.get(name).copied()
    }

    /// The entry of an id that has the wanted role, or a sentence that says what is wrong with it.
    pub(crate) fn find_as(&self, role: Role, id: &str) -> Result<EntryIndex, String> {
        let index = self.find(id).ok_or_else(|| {
            let known = self.entries.iter().flatten().filter(|entry| entry.role == role).map(|entry| &*entry.id);
            format!("no entry \"{id}\"{}", nearest::did_you_mean(id, known))
        })?;
        let found = self.get(index).role;
        if found == role {
            return Ok(index);
        }
        Err(format!("\"{id}\" is a {}; expected a {}{}", found.kind(), role.kind(), found.hint()))
    }
}

fn compile(source: &Source<'_>) -> Result<Vec<u8>, CompileError> {
    let bytecode = compile_exposed(source)?;
    if is_native(source.text) && bytecode.len() > NATIVE {
        let (size, most) = (units::size::format(bytecode.len() as u64), units::size::format(NATIVE as u64));
        let message = format!(
            "--!native: this file has {size} of bytecode, and at most {most} are compiled to machine code, because \
             other processes wait meanwhile; keep what computes much in a library of its own"
        );
        return Err(CompileError { id: source.id.to_owned(), path: source.path.to_owned(), line: None, message });
    }
    Ok(bytecode)
}

/// Whether a file asks for machine code: by the comment `--!native` before its first statement, as Luau's own tools
/// know it (luau.org, native code generation).
fn is_native(text: &str) -> bool {
    let mut comments = text.lines().map(str::trim).take_while(|line| line.is_empty() || line.starts_with("--"));
    comments.any(|line| line == "--!native")
}

fn compile_exposed(source: &Source<'_>) -> Result<Vec<u8>, CompileError> {
    // A chunk that returns nothing exposes the function named by `method`, local or global: a `return` at its end
    // finds both. Where the chunk ends with a `return` of its own, a second one is a syntax error.
    if let Some(method) = source.method.filter(|method| is_identifier(method)) {
        let exposed = format!("{}\nreturn {method}", source.text);
        if let Ok(bytecode) = compile_text(source, &exposed) {
            return Ok(bytecode);
        }
    }
    compile_text(source, source.text)
}

fn compile_text(source: &Source<'_>, text: &str) -> Result<Vec<u8>, CompileError> {
    let mut options = ffi::lua_CompileOptions::default();
    options.optimizationLevel = 1;
    options.debugLevel = 1;
    // SAFETY: the options hold no pointers; the compiler copies the text and reports mistakes in its result.
    let bytecode = unsafe { ffi::luau_compile(text.as_bytes(), options) };
    // A result that begins with 0 is a message (luacode.h): ":line: text".
    match bytecode.first() {
        Some(0) | None => {
            let text = String::from_utf8_lossy(bytecode.get(1..).unwrap_or_default()).into_owned();
            let (line, message) = match text.strip_prefix(':').and_then(|rest| rest.split_once(": ")) {
                Some((line, message)) => (line.parse().ok(), message.to_owned()),
                None => (None, text),
            };
            Err(CompileError { id: source.id.to_owned(), path: source.path.to_owned(), line, message })
        }
        Some(_) => Ok(bytecode),
    }
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source<'a>(text: &'a str, method: Option<&'a str>) -> Source<'a> {
        Source { id: "app:x", role: Role::Process, path: "x.luau", text, method, modules: &[], imports: &[] }
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let Err(errors) = Registry::compile(&[source("local a = 1\nlocal b = = 2\n", Some("handler"))]) else {
            panic!("compiled")
        };
        assert_eq!(errors[0].line, Some(2));
        assert!(errors[0].to_string().starts_with("x.luau:2: app:x: "), "{}", errors[0]);
    }

    #[test]
    fn chunks_with_and_without_a_return_compile() {
        for text in ["return function() end", "local function handler() end", "function handler() end -- end", "return"]
        {
            assert!(Registry::compile(&[source(text, Some("handler"))]).is_ok(), "{text}");
        }
    }
}
