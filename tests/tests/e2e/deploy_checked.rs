//! `deploy/` as its own tools see it: compose, hadolint, `kubernetes-validate`, Prometheus,
//! and the database that the autoscaler asks. `cargo xtask test` brings the tools where it
//! can.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use reelshift_tests::chaos::skipped;
use reelshift_tests::http::{encoded, get};
use reelshift_tests::receiver::free_port;
use reelshift_tests::{Legacy, Reelshift, until};
use sqlx::Row as _;
use sqlx::any::AnyRow;

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// The program that `variable` names; `None`, which is said, where there is none.
fn tool(variable: &str) -> Option<Command> {
    let program = std::env::var_os(variable);
    if program.is_none() {
        skipped(&format!("{variable} names no program; `cargo xtask test` brings one"));
    }
    program.map(Command::new)
}

fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the tool runs");
    let said = [String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)].concat();
    assert!(status.success(), "{status}: {said}");
    said
}

#[test]
fn compose_understands_its_file() {
    let Some(mut compose) = tool("REELSHIFT_TEST_COMPOSE") else { return };
    compose.arg("-f").arg(deploy("compose.yaml"));
    let profiles = ["tools", "metrics", "sampling"].map(|profile| ["--profile", profile]);
    let said = output(compose.args(profiles.concat()).args(["config", "--services"]));
    for service in [
        "mariadb",
        "jaeger",
        "worker",
        "serve",
        "welcome",
        "backfill",
        "hash",
        "prometheus",
        "grafana",
    ] {
        assert!(said.lines().any(|line| line == service), "{service}: {said}");
    }
}

#[test]
fn the_alerts_fire_when_they_must() {
    let Some(mut promtool) = tool("REELSHIFT_TEST_PROMTOOL") else { return };
    let said = output(promtool.args(["check", "rules"]).arg(deploy("prometheus/alerts.yaml")));
    assert!(said.contains("SUCCESS: 12 rules found"), "{said}");
    let Some(mut promtool) = tool("REELSHIFT_TEST_PROMTOOL") else { return };
    output(promtool.args(["test", "rules"]).arg(deploy("prometheus/alerts.test.yaml")));
}

#[test]
fn the_dockerfile_is_linted() {
    let Some(mut hadolint) = tool("REELSHIFT_TEST_HADOLINT") else { return };
    hadolint.args(["--failure-threshold", "style"]);
    assert_eq!(output(hadolint.arg(deploy("Dockerfile"))), "");
}

#[test]
fn the_units_of_systemd_may_do_little() {
    for unit in ["reelshift-worker.service", "reelshift-server.service"] {
        let mut analyze = Command::new("systemd-analyze");
        // Of ten points: what is left is the network and its own files.
        analyze.args(["security", "--offline=true", "--threshold=15"]);
        match analyze.arg(deploy("systemd").join(unit)).output() {
            Ok(Output { status, stdout, .. }) => {
                assert!(status.success(), "{}", String::from_utf8_lossy(&stdout));
            }
            Err(error) => return skipped(&format!("systemd-analyze judges {unit}: {error}")),
        }
    }
}

/// What no schema is published for here: kustomize's own files, and the resources of KEDA and
/// of the Prometheus operator.
const UNKNOWN: [&str; 6] = [
    "Kustomization",
    "Component",
    "ScaledObject",
    "TriggerAuthentication",
    "PodMonitor",
    "PrometheusRule",
];

#[test]
fn kubernetes_knows_every_field() {
    let Some(mut validate) = tool("REELSHIFT_TEST_KUBERNETES_VALIDATE") else { return };
    let folders = ["base", "hpa", "keda", "prometheus", "overlays/example"];
    let files = folders.iter().flat_map(|folder| {
        let entries = std::fs::read_dir(deploy("kubernetes").join(folder)).expect("a folder");
        entries.map(|entry| entry.expect("a file").path())
    });
    // A patch is a part of a resource.
    let files: Vec<PathBuf> =
        files.filter(|file| !file.ends_with("overlays/example/network.yaml")).collect();
    assert!(files.len() > 9, "{files:?}");
    let said = output(validate.arg("--strict").args(&files));
    let unknown = |line: &&str| line.starts_with("WARN");
    for line in said.lines().filter(unknown) {
        let known = UNKNOWN.iter().any(|kind| line.contains(&format!("schema for kind {kind} ")));
        assert!(known, "{line}");
    }
    for kind in [
        "job/",
        "deployment/",
        "service/",
        "horizontalpodautoscaler/",
        "poddisruptionbudget/",
        "networkpolicy/",
    ] {
        assert!(said.contains(&format!("passed for resource {kind}reelshift")), "{said}");
    }
}

#[test]
fn the_overlay_is_built_and_valid() {
    let Some(mut validate) = tool("REELSHIFT_TEST_KUBERNETES_VALIDATE") else { return };
    let Some(mut kustomize) = tool("REELSHIFT_TEST_KUSTOMIZE") else { return };
    let text = output(kustomize.arg("build").arg(deploy("kubernetes/overlays/example")));
    // What the base names for all is the overlay's everywhere, the settings' hash too.
    assert_eq!(text.matches("image: registry.example.com/reelshift:0.1.0").count(), 5);
    assert_eq!(text.matches("namespace: reelshift\n").count(), 16, "{text}");
    assert!(
        text.contains("REELSHIFT_ENVIRONMENT: example")
            && !text.contains("name: reelshift-settings\n")
    );
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("built.yaml");
    std::fs::write(&file, text).expect("a file");
    output(validate.args(["--strict", "--quiet"]).arg(file));
}

#[test]
fn the_base_works_without_an_overlay() {
    let Some(mut kustomize) = tool("REELSHIFT_TEST_KUSTOMIZE") else { return };
    let text = output(kustomize.arg("build").arg(deploy("kubernetes/base")));
    let resource = |kind: &str, name: &str| {
        let (kind, name) = (format!("kind: {kind}\n"), format!("  name: {name}\n"));
        let mut resources = text.split("---\n");
        resources.find(|text| text.contains(&kind) && text.contains(&name)).expect("a resource")
    };
    // What opens the media root has it.
    for (kind, name) in [("Job", "reelshift-enqueue-hash"), ("Deployment", "reelshift-worker")] {
        let resource = resource(kind, name);
        let mounted = ["mountPath: /srv/media", "claimName: media", "readOnly: true"];
        assert!(mounted.iter().all(|part| resource.contains(part)), "{resource}");
    }
    // The labels of reelshift's pods choose whom the policy is for, and not who answers for names.
    let policy = resource("NetworkPolicy", "reelshift");
    assert_eq!(policy.matches("app.kubernetes.io/name: reelshift").count(), 2, "{policy}");
}

/// The text of a block that begins with `key: >-`, on one line.
fn folded(text: &str, key: &str) -> String {
    let mut lines = text.lines().skip_while(|line| line.trim() != format!("{key}: >-"));
    let indent = |line: &str| line.len() - line.trim_start().len();
    let head = indent(lines.next().expect("the key"));
    lines.take_while(|line| indent(line) > head).map(str::trim).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_autoscaler_counts_work_from_indexes() {
    let file = std::fs::read_to_string(deploy("kubernetes/keda/scaled-object.yaml"));
    let query = folded(&file.expect("the file"), "query");
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    legacy.fill(1_000).await;
    let run = |arguments: &[&str]| {
        Reelshift::new(dir.path(), arguments).database(&legacy.url).run().expect(0).ok();
    };
    run(&["apply", "expand"]);
    assert_eq!(legacy.number(&query).await, 0);
    run(&["enqueue", "backfill", "--batch-size", "10"]);
    assert_eq!(legacy.number(&query).await, 100);
    legacy.execute("UPDATE reelshift_batches SET state = 'leased' ORDER BY seq LIMIT 30").await;
    assert_eq!(legacy.number(&query).await, 100, "a leased batch has a worker");
    legacy.execute("UPDATE reelshift_batches SET state = 'done' WHERE state = 'leased'").await;
    assert_eq!(legacy.number(&query).await, 70);
    // The plan must not depend on when the server renews its statistics by itself.
    legacy.execute("ANALYZE TABLE reelshift_batches, reelshift_runs").await;
    // The table: MySQL and MariaDB have different documents, and MySQL 9 another default.
    let plan = legacy.rows(&format!("EXPLAIN FORMAT=TRADITIONAL {query}")).await;
    let text = |row: &AnyRow, column: &str| -> String {
        row.try_get_unchecked::<Option<String>, _>(column).expect("a text").unwrap_or_default()
    };
    let batches = plan.iter().find(|row| text(row, "table") == "b").expect("the batches");
    assert_eq!(text(batches, "key"), "reelshift_batches_claim");
    assert!(text(batches, "Extra").contains("Using index"), "{}", text(batches, "Extra"));
    assert_ne!(text(batches, "type"), "index", "not the whole index");
    legacy.execute("UPDATE reelshift_runs SET state = 'paused'").await;
    assert_eq!(legacy.number(&query).await, 0, "a paused run needs no workers");
    legacy.drop_database().await;
}

/// Ends a process with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What Prometheus answers to a query: how many series; none while it starts.
fn series(prometheus: SocketAddr, query: &str) -> usize {
    let path = format!("/api/v1/query?query={}", encoded(query));
    let Some((status, body)) = get(prometheus, &path) else { return 0 };
    if status == 503 {
        return 0;
    }
    assert_eq!(status, 200, "{query}: {body}");
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    answer["data"]["result"].as_array().expect("series").len()
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("UTF-8")
}

/// Our own configuration, with one worker and one server in place of those of compose.
fn prometheus_config(worker: SocketAddr, server: SocketAddr) -> String {
    let config = std::fs::read_to_string(deploy("prometheus/prometheus.yaml")).expect("a file");
    let changes = [
        ("dns_sd_configs", "static_configs".to_owned()),
        (
            "{ names: [worker], type: A, port: 9090, refresh_interval: 5s }",
            format!("targets: ['{worker}']"),
        ),
        (
            "{ names: [serve], type: A, port: 8080, refresh_interval: 5s }",
            format!("targets: ['{server}']"),
        ),
        ("/run/secrets/viewer-token", text(deploy("compose/viewer-token"))),
        ("[alerts.yaml]", format!("['{}']", text(deploy("prometheus/alerts.yaml")))),
        ("scrape_interval: 5s", "scrape_interval: 500ms".to_owned()),
        ("evaluation_interval: 15s", "evaluation_interval: 1s".to_owned()),
    ];
    changes.iter().fold(config, |config, (before, after)| {
        assert!(config.contains(before), "{before}: {config}");
        config.replace(before, after)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_answers_every_panel() {
    let Some(mut prometheus) = tool("REELSHIFT_TEST_PROMETHEUS") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    legacy.fill(2_000).await;
    let media = dir.path().join("media");
    std::fs::create_dir(&media).expect("a directory");
    std::fs::write(media.join("a.mp4"), "a film").expect("a file");
    legacy.execute("UPDATE videos SET file_path = 'a.mp4', file_size = 6 LIMIT 50").await;
    let run = |arguments: &[&str]| {
        let reelshift = Reelshift::new(dir.path(), arguments).database(&legacy.url);
        reelshift.run().expect(0).ok();
    };
    run(&["apply", "expand"]);
    // A row that is set aside, an attempt that is retried.
    legacy
        .execute(
            "CREATE TRIGGER theirs BEFORE UPDATE ON videos FOR EACH ROW BEGIN \
             IF NEW.filename LIKE 'video 777.%' THEN \
             SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1105, MESSAGE_TEXT = 'not this one'; \
             END IF; END",
        )
        .await;
    let health = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let work = ["work", "--health", &health.to_string(), "--media-root", "media"];
    let worker = Ended(Reelshift::new(dir.path(), &work).database(&legacy.url).start());
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let serve = ["serve", "--listen", &listen.to_string()];
    let serve = Reelshift::new(dir.path(), &serve).database(&legacy.url);
    let _server =
        Ended(serve.env("REELSHIFT_TOKENS_FILE", &text(deploy("compose/tokens"))).start());
    let own = SocketAddr::from(([127, 0, 0, 1], free_port()));
    std::fs::write(dir.path().join("prometheus.yaml"), prometheus_config(health, listen))
        .expect("a file");
    prometheus.current_dir(dir.path()).args(["--config.file=prometheus.yaml", "--log.level=warn"]);
    prometheus.arg(format!("--web.listen-address={own}")).arg("--storage.tsdb.path=series");
    let _prometheus = Ended(prometheus.stdin(Stdio::null()).spawn().expect("Prometheus starts"));
    until("the first scrape", async || series(own, "reelshift_throttle_share_ratio") > 0).await;
    run(&["flags", "enable", "realtime_notifications"]);
    run(&["enqueue", "backfill", "--batch-size", "200"]);
    run(&["enqueue", "hash"]);
    run(&["enqueue", "validate"]);

    let dashboard = std::fs::read_to_string(deploy("grafana/dashboards/reelshift.json"));
    let dashboard: serde_json::Value =
        serde_json::from_str(&dashboard.expect("the dashboard")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    for panel in panels {
        for target in panel["targets"].as_array().expect("targets") {
            let query = target["expr"].as_str().expect("a query");
            // No worker is lost here, nothing is left to do, no object store has checksums, and no
            // application is at work; but the query must be one.
            let empty = ["leases_", "time_left", "stored_checksums", "application_latency"];
            if empty.iter().any(|metric| query.contains(metric)) {
                series(own, query);
                continue;
            }
            until(query, async || series(own, query) > 0).await;
        }
    }

    // Killed for good, with nobody left who takes it for lost.
    drop(worker);
    let firing = "ALERTS{alertname=\"ReelshiftWorkerLost\", alertstate=\"firing\"}";
    until("an alert", async || series(own, firing) > 0).await;
    legacy.drop_database().await;
}
