//! From a folder to an app that may run, or to every mistake in its YAML and its Luau at once.

use crate::{method, term};
use gateway::tls::identity::{self, Fault, Field};
use luau::{Registry, Role, Source};
use manifest::{Code, Diagnostic, Diagnostics, LoadOptions, Manifest, Override, Severity, Supervised};
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

/// A folder that may run.
pub(crate) struct App {
    /// Its entries.
    pub(crate) manifest: Manifest,
    /// Their code, compiled.
    pub(crate) registry: Registry,
}

/// Everything that keeps a folder from running, warnings included, sorted by file and line.
#[derive(Debug)]
pub(crate) struct Mistakes {
    list: Vec<Mistake>,
    errors: usize,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Mistake {
    file: String,
    line: u32,
    column: u32,
    /// The whole line to be shown.
    text: String,
}

/// Code that is no entry of the folder and is compiled with it.
pub(crate) struct Extra {
    /// The id that it has.
    pub(crate) id: String,
    /// The path that is shown, relative to the folder.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The name of the function that runs.
    pub(crate) method: String,
    /// A module that it may load beside all that entries may.
    pub(crate) module: &'static str,
    /// Alias and id of the libraries that it may load.
    pub(crate) imports: Vec<(String, String)>,
}

/// Reads a folder and compiles its code. The environment is that of this process.
pub(crate) fn load(dir: &Path, overrides: &[Override]) -> Result<App, Mistakes> {
    load_with(dir, overrides, |_| Vec::new())
}

/// The same with code that is added once the entries are known.
pub(crate) fn load_with(
    dir: &Path,
    overrides: &[Override],
    extras: impl FnOnce(&Manifest) -> Vec<Extra>,
) -> Result<App, Mistakes> {
    let added = gateway::modules::ALL.iter().map(|module| module.name);
    let known_modules: Vec<&str> = luau::modules::BUILT_IN.into_iter().chain(added).collect();
    let options = LoadOptions { overrides, env: &|name| std::env::var(name).ok(), known_modules: &known_modules };
    match manifest::load(dir, &options) {
        Ok(mut manifest) => {
            let unfit_for_tls = check_tls(&mut manifest);
            let codes: Vec<(Role, &Code)> = roles(&manifest).collect();
            let (registry, mut mistakes) = compile(dir, &codes, &extras(&manifest), &known_modules);
            mistakes.extend(unfit(&manifest));
            mistakes.extend(unfit_for_tls);
            match registry {
                Some(registry) if mistakes.is_empty() => Ok(App { manifest, registry }),
                _ => Err(Mistakes::new(mistakes, manifest.warnings.iter())),
            }
        }
        Err(diagnostics) => {
            // Whose kind does not matter here: nothing of it runs.
            let codes: Vec<(Role, &Code)> = diagnostics.codes().map(|code| (Role::Process, code)).collect();
            let (_, mistakes) = compile(dir, &codes, &[], &known_modules);
            Err(Mistakes::with(mistakes, &diagnostics))
        }
    }
}

fn roles(manifest: &Manifest) -> impl Iterator<Item = (Role, &Code)> {
    let libraries = manifest.libraries.iter().map(|code| (Role::Library, code));
    let functions = manifest.functions.iter().map(|code| (Role::Function, code));
    libraries.chain(functions).chain(manifest.processes.iter().map(|code| (Role::Process, code)))
}

/// Compiles all code; what is wrong with it, if anything is.
fn compile(
    dir: &Path,
    codes: &[(Role, &Code)],
    extras: &[Extra],
    known_modules: &[&str],
) -> (Option<Registry>, Vec<Mistake>) {
    let imports: Vec<Vec<(String, String)>> = codes
        .iter()
        .map(|(_, code)| code.imports.iter().map(|(alias, id)| (alias.clone(), id.to_string())).collect())
        .collect();
    let modules_of = |extra: &Extra| known_modules.iter().copied().chain([extra.module]).map(str::to_owned).collect();
    let extra_modules: Vec<Vec<String>> = extras.iter().map(modules_of).collect();
    let added = extras.iter().zip(&extra_modules).map(|(extra, modules)| Source {
        id: &extra.id,
        role: Role::Process,
        path: &extra.path,
        text: &extra.text,
        method: Some(&extra.method),
        modules,
        imports: &extra.imports,
    });
    let sources: Vec<Source<'_>> = codes
        .iter()
        .zip(&imports)
        .map(|((role, code), imports)| Source {
            id: code.id.as_str(),
            role: *role,
            path: &code.chunk_name,
            text: &code.text,
            method: code.method.as_deref(),
            modules: &code.modules,
            imports,
        })
        .chain(added)
        .collect();
    match Registry::compile(&sources) {
        Ok(registry) => {
            let missing = codes.iter().filter_map(|(_, code)| missing_method(code)).collect();
            (Some(registry), missing)
        }
        Err(errors) => {
            let mut mistakes: Vec<Mistake> = Vec::new();
            for error in errors {
                let file = dir.join(&error.path).display().to_string();
                let line = error.line.unwrap_or(1);
                // A file that several entries share is wrong once.
                let same = format!(": {}", error.message);
                if !mistakes.iter().any(|one| one.file == file && one.line == line && one.text.ends_with(&same)) {
                    let text = format!("{file}:{line}: {}: {}", error.id, error.message);
                    mistakes.push(Mistake { file, line, column: 0, text });
                }
            }
            (None, mistakes)
        }
    }
}

fn missing_method(code: &Code) -> Option<Mistake> {
    // What a library gives may hold names that this file does not.
    let method = code.method.as_deref().filter(|_| code.imports.is_empty())?;
    let nearest = method::missing(&code.text, method)?;
    let found = format!("{} has no \"{method}\"{nearest}", code.chunk_name);
    Some(Mistake::at(&code.place, &format!("{}: {found}", code.id)))
}

/// What the model allows and no process can get.
/// Looks into certificates and keys: what is odd becomes a warning, what is wrong is returned.
fn check_tls(manifest: &mut Manifest) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for service in &manifest.services {
        let Some(tls) = &service.tls else { continue };
        let place = |fault: &Fault| match fault.field {
            Field::Cert => tls.cert.place.clone(),
            Field::Key => tls.key.place.clone(),
            Field::ClientCa => tls.client_ca.as_ref().map_or_else(|| service.place.clone(), |pem| pem.place.clone()),
        };
        match identity::check(tls, SystemTime::now()) {
            Ok(odd) => manifest.warnings.extend(odd.iter().map(|fault| Diagnostic {
                severity: Severity::Warning,
                place: place(fault),
                entry: Some(service.id.clone()),
                found: fault.to_string(),
                expected: None,
                nearest: None,
            })),
            Err(wrong) => {
                mistakes
                    .extend(wrong.iter().map(|fault| Mistake::at(&place(fault), &format!("{}: {fault}", service.id))));
            }
        }
    }
    mistakes
}

fn unfit(manifest: &Manifest) -> Vec<Mistake> {
    let services = manifest.process_services.iter().map(|service| (&service.id, &service.place, &service.input));
    let children = manifest.supervisors.iter().flat_map(|supervisor| {
        supervisor.children.iter().filter_map(|child| match &child.what {
            Supervised::Process { input, .. } => Some((&supervisor.id, &child.place, input)),
            Supervised::Supervisor(_) => None,
        })
    });
    let deep = services.chain(children).filter(|(.., input)| term::of_value(input).is_none());
    deep.map(|(id, place, _)| {
        let text = format!("{id}: input is nested deeper than {}", kernel::limits::TERM_DEPTH);
        Mistake::at(place, &text)
    })
    .collect()
}

impl Mistake {
    fn at(place: &manifest::Place, text: &str) -> Mistake {
        Mistake {
            file: place.file.to_string(),
            line: place.line,
            column: place.column,
            text: format!("{place}: {text}"),
        }
    }

    fn of_diagnostic(diagnostic: &manifest::Diagnostic) -> Mistake {
        let text = diagnostic.to_string();
        let place = &diagnostic.place;
        Mistake { file: place.file.to_string(), line: place.line, column: place.column, text }
    }
}

impl Mistakes {
    fn new<'a>(mistakes: Vec<Mistake>, warnings: impl Iterator<Item = &'a manifest::Diagnostic>) -> Mistakes {
        let errors = mistakes.len();
        let mut list = mistakes;
        list.extend(warnings.map(Mistake::of_diagnostic));
        list.sort();
        Mistakes { list, errors }
    }

    fn with(mistakes: Vec<Mistake>, diagnostics: &Diagnostics) -> Mistakes {
        let errors = mistakes.len() + diagnostics.errors();
        Mistakes { errors, ..Mistakes::new(mistakes, diagnostics.iter()) }
    }
}

impl Mistakes {
    /// Each with its place, as one line.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|mistake| &*mistake.text)
    }

    /// How many there are, without the warnings.
    pub(crate) fn count(&self) -> usize {
        self.errors
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.list {
            writeln!(f, "{}", mistake.text)?;
        }
        match self.errors {
            1 => f.write_str("1 mistake: nothing was started"),
            count => write!(f, "{count} mistakes: nothing was started"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    /// A folder of its own for one test, gone when the test ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, files: &[(&str, &str)]) -> Scratch {
            let dir = std::env::temp_dir().join(format!("moonwire-{}-{name}", std::process::id()));
            fs::create_dir_all(&dir).expect("a folder");
            for (name, text) in files {
                fs::write(dir.join(name), text).expect("a file");
            }
            Scratch(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _left_to_the_system = fs::remove_dir_all(&self.0);
        }
    }

    fn refused(folder: &Scratch) -> String {
        load(&folder.0, &[]).err().expect("refused").to_string()
    }

    const PROCESS: &str = "\
namespace: app
entries:
  - name: worker
    kind: process.lua
    source: file://worker.luau
    method: main
";

    #[test]
    fn mistakes_in_yaml_and_in_luau_are_listed_together() {
        let yaml = format!("{PROCESS}  - name: other\n    kind: process.hots\n");
        let folder = Scratch::new("together", &[("_index.yaml", &yaml), ("worker.luau", "local a = 1\nlocal = 2\n")]);
        let text = refused(&folder);
        assert!(text.contains("_index.yaml:8:"), "{text}");
        assert!(text.contains("worker.luau:2: app:worker: "), "{text}");
        assert!(text.ends_with("2 mistakes: nothing was started"), "{text}");
    }

    #[test]
    fn a_file_that_two_entries_share_is_wrong_once() {
        let yaml =
            format!("{PROCESS}{}", PROCESS.replace("worker\n", "second\n").replace("namespace: app\nentries:\n", ""));
        let folder = Scratch::new("shared", &[("_index.yaml", &yaml), ("worker.luau", "local = 2\n")]);
        assert!(refused(&folder).ends_with("1 mistake: nothing was started"));
    }

    #[test]
    fn a_method_that_stands_nowhere_in_its_chunk_is_a_mistake_with_the_nearest_name() {
        let text = "local function mian()\nend\nreturn mian\n";
        let folder = Scratch::new("method", &[("_index.yaml", PROCESS), ("worker.luau", text)]);
        let text = refused(&folder);
        assert!(text.contains("worker.luau has no \"main\" (did you mean \"mian\"?)"), "{text}");
    }
}
