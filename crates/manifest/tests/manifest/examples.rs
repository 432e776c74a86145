//! The examples of this repository are right.

use std::fs;
use std::path::Path;

use manifest::{LoadOptions, load};

use crate::folder::MODULES;

#[test]
fn every_example_loads_without_a_word() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let listing = fs::read_dir(examples).expect("the examples");
    let folders: Vec<_> = listing.flatten().map(|item| item.path()).filter(|path| path.is_dir()).collect();
    assert!(!folders.is_empty());
    for folder in folders {
        let env = |_: &str| None;
        let options = LoadOptions { overrides: &[], env: &env, known_modules: &MODULES };
        let manifest = load(&folder, &options).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(manifest.warnings, [], "{}", folder.display());
    }
}
