//! The crates depend on each other in one direction: `docs/architecture.md` lists them, and each
//! names only crates above it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The names after `reelshift-` of the crates that a manifest depends on.
fn dependencies(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest");
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let names = dependencies.into_iter().flat_map(toml::Table::keys);
    names.filter_map(|name| name.strip_prefix("reelshift-")).map(str::to_owned).collect()
}

#[test]
fn crates_depend_only_on_crates_above_them() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let text = std::fs::read_to_string(root.join("docs/architecture.md")).expect("the document");
    let table = text.split("## Crates").nth(1).expect("the crates");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let mut order: BTreeMap<String, usize> = BTreeMap::new();
    for (place, row) in rows.enumerate() {
        let names = row.split('|').nth(1).unwrap_or_default().split(',');
        order.extend(names.map(|name| (name.trim().trim_matches('`').to_owned(), place)));
    }
    let crates = std::fs::read_dir(root.join("crates")).expect("the crates").flatten();
    for name in crates.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        let place = order.get(&name).unwrap_or_else(|| panic!("{name} is not in the document"));
        let manifest = root.join("crates").join(&name).join("Cargo.toml");
        for other in dependencies(&std::fs::read_to_string(manifest).expect("a manifest")) {
            assert!(order[&other] < *place, "{name} depends on {other}, which is below it");
        }
    }
}
