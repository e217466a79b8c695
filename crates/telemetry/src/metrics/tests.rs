//! That every metric is documented.

use std::collections::BTreeSet;

use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

use super::*;

/// The first cells of the table of metrics.
fn documented() -> BTreeSet<String> {
    let text = include_str!("../../../../docs/telemetry.md");
    let metrics = text.split("## Metrics").nth(1).and_then(|rest| rest.split("## ").next());
    let lines = metrics.expect("a part on metrics").lines();
    lines
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_is_made() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    global::set_meter_provider(provider.clone());
    observe_process();
    rows("backfill", 1);
    bytes("hash", 1);
    stored_checksum("trusted");
    quarantined("hash", "file_missing");
    leases_reaped(1);
    chunk(Duration::from_millis(20));
    for outcome in [Outcome::LeaseLost, Outcome::Retried("database_deadlock")] {
        attempt("backfill", outcome, Duration::from_secs(1));
    }
    let level = OneOf { name: Some("slowed"), all: &["free", "slowed"] };
    throttle(0.5, level, OneOf { name: None, all: &["chunk_time", "lock_waits"] });
    queue(vec![Depth { kind: "hash", pending: 3, oldest: 1.5 }]);
    monitor(Some(Monitor {
        videos_migrated: 9,
        errors: 1,
        status_rows: 8,
        notifications: 0,
        error_rate: 0.1,
        left: Some(2.5),
    }));
    impact(Some(Latencies { median: [0.002, 0.0015], p99: None }));
    fleet::report(Some(fleet::Fleet {
        verdict: OneOf { name: Some("stalled"), all: &["running", "stalled"] },
        workers: [("live", 2), ("lost", 1), ("left", 0)],
        kinds: vec![fleet::OfKind {
            kind: "hash",
            active_runs: 1,
            batches: ["pending", "leased", "done", "failed", "cancelled"].map(|of| (of, 1)),
            failed: 1,
            quarantined: 1,
        }],
        open_batches: 2,
        paused: false,
        paused_runs: [("operator", 0), ("breaker", 1)],
        rows_per_second: 1.5,
        bytes_per_second: 1.5,
        throttle_share: Some(1.0),
        pressures: vec![("free_disk", 0.4)],
        latest_seconds: Some(9.0),
        differences: Some(2),
        notifications: Some((4, 61.0)),
        at: Some(1.5),
    }));
    observe_connections(|| vec![Connections { name: "main", used: 1, idle: 2, max: 8 }]);
    provider.force_flush().expect("it is collected");
    let collected = exporter.get_finished_metrics().expect("it is exported");
    let made: BTreeSet<String> = collected
        .iter()
        .flat_map(|resource| resource.scope_metrics())
        .flat_map(|scope| scope.metrics())
        .map(|metric| metric.name().to_owned())
        .collect();
    assert_eq!(made, documented());
    assert!(enabled());
}
