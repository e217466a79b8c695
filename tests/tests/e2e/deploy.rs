//! What `deploy/` uses is there: options and variables are compared with the binary's own
//! help, OpenTelemetry's with what is documented.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use reelshift_tests::Reelshift;
use sha2::Digest as _;

/// Where our own image is run: with `command`, `test` and `args` in flow style.
const RUN: [&str; 6] = [
    "deploy/compose.yaml",
    "deploy/kubernetes/base/expand.yaml",
    "deploy/kubernetes/base/enqueue-backfill.yaml",
    "deploy/kubernetes/base/enqueue-hash.yaml",
    "deploy/kubernetes/base/worker.yaml",
    "deploy/kubernetes/base/server.yaml",
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
fn the_units_of_systemd_start_what_there_is() {
    for unit in ["worker", "server"] {
        let unit = read(&format!("deploy/systemd/reelshift-{unit}.service"));
        let start =
            unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/reelshift "));
        let words: Vec<String> =
            start.expect("a command").split_whitespace().map(str::to_owned).collect();
        check_options(&words);
    }
}

#[test]
fn commands_and_their_options_exist() {
    let commands = commands(&read_all(&RUN));
    let names: BTreeSet<&str> = commands.iter().map(|words| words[0].as_str()).collect();
    assert_eq!(
        names,
        BTreeSet::from(["apply", "demo", "enqueue", "probe", "serve", "status", "work"])
    );
    commands.iter().for_each(|words| check_options(words));
}

/// Looks for a command's options in its help.
fn check_options(words: &[String]) {
    let nested = ["enqueue", "flags"].contains(&words[0].as_str());
    let command: Vec<&str> =
        words.iter().take(if nested { 2 } else { 1 }).map(String::as_str).collect();
    let help = help(&command);
    for option in words.iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(&format!("{option} ")), "{command:?} has no {option}:\n{help}");
    }
}

/// The alerts, in their order.
fn alerts() -> Vec<String> {
    let rules = read("deploy/prometheus/alerts.yaml");
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

#[test]
fn every_alert_has_an_entry_of_the_runbook_and_every_entry_an_alert() {
    let (alerts, runbook) = (alerts(), read("docs/runbook.md"));
    assert!(alerts.len() >= 11, "{alerts:?}");
    let entries: Vec<_> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(entries, alerts);
    let (rules, dashboard) =
        (read("deploy/prometheus/alerts.yaml"), read("deploy/grafana/dashboards/reelshift.json"));
    for (alert, entry) in alerts.iter().zip(runbook.split("\n## ").skip(1)) {
        for part in ["**Means.**", "**Look at.**", "**Type.**"] {
            assert!(entry.contains(part), "{alert} does not say {part}");
        }
        let anchor = format!("http://localhost:8080/runbook#{}", alert.to_lowercase());
        assert!(rules.contains(&format!("runbook_url: {anchor}\n")), "{alert}");
        assert!(dashboard.contains(&format!("\"{anchor}\"")), "no panel links {anchor}");
    }
}

#[test]
fn what_the_runbook_types_exists() {
    let runbook = read("docs/runbook.md");
    let typed = runbook.lines().filter_map(|line| line.strip_prefix("    reelshift "));
    let typed: Vec<Vec<String>> =
        typed.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    assert!(typed.len() > 20, "{typed:?}");
    typed.iter().for_each(|words| check_options(words));
}

#[test]
fn kubernetes_has_the_same_rules() {
    let groups = |text: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| line.trim() != "groups:");
        lines.map(|line| line.trim_start().to_owned()).collect()
    };
    let rules = groups(&read("deploy/prometheus/alerts.yaml"));
    assert_eq!(groups(&read("deploy/kubernetes/prometheus/rules.yaml")), rules);
}

#[test]
fn the_viewers_token_of_compose_is_the_one_that_serve_knows() {
    let token = read("deploy/compose/viewer-token");
    let (known, welcome) = (read("deploy/compose/tokens"), read("deploy/compose/welcome.txt"));
    let digest = sha2::Sha256::digest(token.trim());
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(known.trim(), format!("everybody:viewer:{hash}"));
    assert!(welcome.contains(token.trim()), "{welcome}");
}

#[test]
fn variables_exist() {
    let files = [read_all(&RUN), read_all(&SETTINGS), read("deploy/README.md")].concat();
    let names = files
        .split(|letter: char| {
            !(letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
        })
        .collect::<BTreeSet<_>>();
    let ours = ["work", "demo", "serve"].map(|command| help(&[command])).concat()
        + &help(&["enqueue", "hash"]);
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

/// Those of `metrics` that a query of Prometheus asks for.
fn named<'a>(query: &str, metrics: &'a [String]) -> Vec<&'a String> {
    let suffixes = [
        "",
        "_total",
        "_seconds",
        "_bytes",
        "_ratio",
        "_seconds_bucket",
        "_bytes_total",
        "_per_second",
        "_bytes_per_second",
    ];
    let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let metric = |word: &str| {
        metrics.iter().find(|metric| suffixes.iter().any(|end| word == format!("{metric}{end}")))
    };
    words.filter_map(metric).collect()
}

#[test]
fn every_alert_asks_for_metrics_that_there_are() {
    let (rules, metrics) = (read("deploy/prometheus/alerts.yaml"), metrics());
    let queries: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert_eq!(queries.len(), alerts().len());
    for query in queries {
        assert!(!named(query, &metrics).is_empty(), "{query}");
    }
}

#[test]
fn every_panel_asks_for_metrics_that_there_are() {
    let dashboard = read("deploy/grafana/dashboards/reelshift.json");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    let metrics = metrics();
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let query = target["expr"].as_str().expect("a query");
            let found = named(query, &metrics);
            assert!(!found.is_empty() || query.contains("target_info"), "{query}");
            shown.extend(found);
        }
    }
    let missing: Vec<_> = metrics.iter().filter(|metric| !shown.contains(metric)).collect();
    assert!(missing.is_empty(), "on no panel: {missing:?}");
}
