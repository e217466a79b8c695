//! What `deploy/` uses is there: options and variables are compared with the binary's own
//! help, OpenTelemetry's with what is documented.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use reelshift_tests::Reelshift;

/// Where our own image is run: with `command`, `test` and `args` in flow style.
const RUN: [&str; 5] = [
    "deploy/compose.yaml",
    "deploy/kubernetes/base/expand.yaml",
    "deploy/kubernetes/base/enqueue-backfill.yaml",
    "deploy/kubernetes/base/enqueue-hash.yaml",
    "deploy/kubernetes/base/worker.yaml",
];
/// Where it is told more by variables.
const SETTINGS: [&str; 2] = [
    "deploy/kubernetes/base/kustomization.yaml",
    "deploy/kubernetes/overlays/example/kustomization.yaml",
];

fn path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn read_all(names: &[&str]) -> String {
    names.iter().map(|name| read(name)).collect()
}

/// The help of a command, without its line breaks: a variable may stand after one.
fn help(words: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let words: Vec<&str> = words.iter().copied().chain(["--help"]).collect();
    let help = Reelshift::new(dir.path(), &words).run().expect(0).stdout;
    help.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The commands of our own image: those in flow style that do not begin with an option.
fn commands(files: &str) -> Vec<Vec<String>> {
    let lists = files.lines().filter_map(|line| {
        let line = line.trim();
        let ours = ["command: ", "args: "].iter().find_map(|key| line.strip_prefix(key));
        let list = ours.or_else(|| {
            Some(line.strip_prefix("test: ")?).filter(|list| list.contains("/reelshift\""))
        })?;
        let words: Vec<String> = serde_json::from_str(list).expect("a list in flow style");
        let ours = words.iter().skip_while(|word| *word == "CMD" || word.ends_with("/reelshift"));
        Some(ours.cloned().collect::<Vec<_>>())
    });
    lists.filter(|words| !words[0].starts_with('-')).collect()
}

#[test]
fn commands_and_their_options_exist() {
    let commands = commands(&read_all(&RUN));
    let names: BTreeSet<&str> = commands.iter().map(|words| words[0].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["apply", "demo", "enqueue", "probe", "status", "work"]));
    for words in &commands {
        let nested = words[0] == "enqueue";
        let command: Vec<&str> =
            words.iter().take(if nested { 2 } else { 1 }).map(String::as_str).collect();
        let help = help(&command);
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(&format!("{option} ")), "{command:?} has no {option}:\n{help}");
        }
    }
}

#[test]
fn variables_exist() {
    let files = [read_all(&RUN), read_all(&SETTINGS), read("deploy/README.md")].concat();
    let names = files
        .split(|letter: char| {
            !(letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
        })
        .collect::<BTreeSet<_>>();
    let ours = [help(&["work"]), help(&["demo"]), help(&["enqueue", "hash"])].concat();
    let docs = read("docs/telemetry.md");
    let documented: String = ["TRACES", "METRICS", "LOGS"]
        .map(|signal| docs.replace("{TRACES,METRICS,LOGS}", signal))
        .concat();
    let mut found = 0;
    for name in names {
        if name.starts_with("REELSHIFT_") || name == "DATABASE_URL" {
            assert!(ours.contains(&format!("[env: {name}")), "{name} is no variable of the binary");
            found += 1;
        } else if name.starts_with("OTEL_") {
            assert!(documented.contains(name), "{name} is not documented");
            found += 1;
        }
    }
    assert!(found >= 10, "{found}");
}

/// What Prometheus calls the metrics that are documented, before their suffixes.
fn metrics() -> Vec<String> {
    let docs = read("docs/telemetry.md");
    let table = docs.split("## Metrics").nth(1).expect("a part on metrics").to_owned();
    let names = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    names.filter(|name| name.contains('.')).map(|name| name.replace('.', "_")).collect()
}

#[test]
fn every_panel_asks_for_metrics_that_there_are() {
    let dashboard = read("deploy/grafana/dashboards/reelshift.json");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    let metrics = metrics();
    let suffixes =
        ["", "_total", "_seconds", "_bytes", "_ratio", "_seconds_bucket", "_bytes_total"];
    let named = |word: &str| {
        metrics.iter().find(|metric| suffixes.iter().any(|end| word == format!("{metric}{end}")))
    };
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let query = target["expr"].as_str().expect("a query");
            let words =
                query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            let found: Vec<_> = words.filter_map(named).collect();
            assert!(!found.is_empty() || query.contains("target_info"), "{query}");
            shown.extend(found);
        }
    }
    let missing: Vec<_> = metrics.iter().filter(|metric| !shown.contains(metric)).collect();
    assert!(missing.is_empty(), "on no panel: {missing:?}");
}
