//! The size of the code, as docs/architecture.md states it: lines of Rust, comments and blank
//! lines with them. What follows a file's first `#[cfg(test)]` is a test.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Crates that are not shipped: tests and measurements.
const TESTS: [&str; 2] = ["store-conformance", "store-memory"];
const BENCH: &str = "bench";
const ADAPTERS: [&str; 3] = ["store-mysql", "store-sqlite", "store/sql"];

/// Lines of one file.
struct File {
    path: PathBuf,
    product: usize,
    tests: usize,
}

impl File {
    fn read(path: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let lines = text.lines().count();
        let is_test = |part: &OsStr| part == "tests" || part == "tests.rs";
        let in_tests = path.components().any(|part| is_test(part.as_os_str()));
        let product = if in_tests {
            0
        } else {
            text.lines().position(|line| line.starts_with("#[cfg(test)]")).unwrap_or(lines)
        };
        Ok(Self { path, product, tests: lines - product })
    }
}

/// The Rust files below `directory`.
fn files(directory: &Path) -> Result<Vec<File>> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory)
            .with_context(|| format!("{} cannot be read", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("peers") {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(File::read(path)?);
            }
        }
    }
    Ok(found)
}

/// The crate of a file, or the sources that both adapters compile.
fn part(root: &Path, file: &Path) -> String {
    let below = file.strip_prefix(root.join("crates")).unwrap_or(file);
    if below.starts_with("store/sql") {
        return "store/sql".to_owned();
    }
    let first = below.components().next().map(|part| part.as_os_str().to_string_lossy());
    first.unwrap_or_default().into_owned()
}

/// Methods of the traits in `text`.
fn trait_methods(text: &str) -> usize {
    let traits = text.split("\npub trait ").skip(1);
    let bodies = traits.filter_map(|rest| rest.split("\n}").next());
    let is_method = |line: &&str| line.starts_with("    async fn ") || line.starts_with("    fn ");
    bodies.map(|body| body.lines().filter(is_method).count()).sum()
}

/// Prints the table.
pub(crate) fn print(root: &Path) -> Result<()> {
    let crates = files(&root.join("crates"))?;
    let mut by_part: BTreeMap<String, usize> = BTreeMap::new();
    let mut product_files = Vec::new();
    let (mut product, mut tests, mut suite, mut bench) = (0, 0, 0, 0);
    for file in &crates {
        let part = part(root, &file.path);
        if TESTS.contains(&part.as_str()) {
            suite += file.product + file.tests;
        } else if part == BENCH {
            bench += file.product + file.tests;
        } else {
            product += file.product;
            tests += file.tests;
            *by_part.entry(part).or_default() += file.product;
            if file.product > 0 {
                product_files.push((file.product, &file.path));
            }
        }
    }
    let end_to_end: usize =
        files(&root.join("tests"))?.iter().map(|file| file.product + file.tests).sum();
    let mut methods = 0;
    for file in files(&root.join("crates/store/src"))? {
        methods += trait_methods(&std::fs::read_to_string(&file.path)?);
    }
    let adapters: usize = ADAPTERS.iter().filter_map(|name| by_part.get(*name)).sum();
    product_files.sort_unstable();
    let at = |share: usize| product_files[(product_files.len() - 1) * share / 100];
    println!("product, without tests in it      {product}");
    for (name, lines) in &by_part {
        println!("  {name:<32}{lines}");
    }
    println!("adapters, with their shared SQL   {adapters}");
    println!("methods of the storage port       {methods}");
    println!("tests in product crates           {tests}");
    println!("conformance suite and model       {suite}");
    println!("end-to-end tests                  {end_to_end}");
    println!("benchmarks                        {bench}");
    println!("files of the product              {}", product_files.len());
    println!("  median, p90                     {}, {}", at(50).0, at(90).0);
    let (largest, path) = at(100);
    let path = path.strip_prefix(root).unwrap_or(path);
    println!("  largest                         {largest} {}", path.display());
    Ok(())
}
