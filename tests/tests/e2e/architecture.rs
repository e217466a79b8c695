//! The crates depend on each other in one direction: `docs/architecture.md` lists them, and each
//! names only crates above it. The two SQL adapters have the same modules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The names after `reelshift-` of the crates that a manifest depends on.
fn dependencies(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest");
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let names = dependencies.into_iter().flat_map(toml::Table::keys);
    names.filter_map(|name| name.strip_prefix("reelshift-")).map(str::to_owned).collect()
}

/// Modules that only a server needs, and why.
const ONLY_MYSQL: [(&str, &str); 17] = [
    ("application_time", "columns of the application are in a time zone of its own"),
    ("cluster", "several servers that take the application's writes together"),
    ("contact", "a network can be cut off from the database"),
    ("credentials", "a password can change while a process works"),
    ("database_url", "a URL with host, account and TLS"),
    ("deadline", "a server can fall silent"),
    ("gate", "metadata locks stall the application"),
    ("legacy", "types, charsets and collations of the application's columns"),
    ("lock", "two migrations on two hosts"),
    ("metadata_locks", "as the gate"),
    ("presence", "a server notices the end of a connection"),
    ("replica", "replicas lag"),
    ("server", "two products and many versions"),
    ("session", "settings of a session"),
    ("text", "charsets"),
    ("tls", "a network can be listened to"),
    ("triggers", "MariaDB's triggers of the same event have an order"),
];

/// Modules that only an embedded database needs, and why.
const ONLY_SQLITE: [(&str, &str); 1] = [("turns", "one writer at a time, in turns")];

/// The modules in a directory, without those inside of them.
fn modules(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).expect("a directory").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned)).collect()
}

#[test]
fn the_sql_adapters_have_the_same_modules() {
    let crates = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates"));
    let (mysql, sqlite) = ("store-mysql", "store-sqlite");
    let of = |name: &str| modules(&crates.join(name).join("src"));
    let only = |one: &str, other: &str| -> Vec<String> {
        of(one).difference(&of(other)).cloned().collect()
    };
    let mut listed: Vec<_> = ONLY_MYSQL.iter().map(|(name, _)| (*name).to_owned()).collect();
    listed.sort();
    assert_eq!(only(mysql, sqlite), listed, "modules of {mysql} alone");
    let listed: Vec<_> = ONLY_SQLITE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(only(sqlite, mysql), listed, "modules of {sqlite} alone");
    let shared = modules(&crates.join("store/sql"));
    for adapter in [mysql, sqlite] {
        let main = std::fs::read_to_string(crates.join(adapter).join("src/lib.rs")).expect("it");
        for name in &shared {
            let path = format!("#[path = \"../../store/sql/{name}.rs\"]\nmod {name};");
            assert!(main.contains(&path), "{adapter} does not compile crates/store/sql/{name}.rs");
            assert!(!of(adapter).contains(name), "{adapter} has a {name} of its own");
        }
    }
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
