//! The profile `sampling`: the collector keeps the traces in which something failed, and drops
//! most of the others.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use super::{Deployment, JAEGER, WORKERS};

pub(super) fn scenario(deployment: &mut Deployment<'_>) -> Result<()> {
    deployment.variables.push(("OTLP_ENDPOINT", "http://collector:4317"));
    let deployment = &*deployment;
    // First: what is sent before it listens is lost.
    deployment.compose(&["--profile", "sampling", "up", "--detach", "--no-build", "collector"])?;
    deployment.up(WORKERS)?;
    deployment.until("both runs", || deployment.runs_are_done())?;

    let errors = deployment.items("/api/v1/errors", &[("limit", "200")])?;
    // Nothing failed where what was noticed is accepted, such as another size than the row's.
    let failures = errors.iter().filter(|error| error["recovery_strategy"] != "accept");
    let failed: BTreeSet<&str> =
        failures.filter_map(|error| error["correlation_id"].as_str()).collect();
    ensure!(!failed.is_empty(), "nothing failed, though files are missing on purpose");
    deployment.until("every trace that failed", || {
        let kept = kept(deployment)?;
        let missing = failed.iter().filter(|trace| !kept.contains(**trace)).count();
        ensure!(missing == 0, "{missing} of {} are missing", failed.len());
        Ok(())
    })?;
    let batches = batches(deployment)?;
    let kept = kept(deployment)?.len();
    eprintln!("xtask: {kept} of {batches} traces are kept, {} of them failed", failed.len());
    ensure!(kept < batches, "none was dropped");
    Ok(())
}

/// The traces of batches that Jaeger has.
fn kept(deployment: &Deployment<'_>) -> Result<BTreeSet<String>> {
    let query = [("service", "reelshift-worker"), ("limit", "20000"), ("lookback", "1h")];
    let found = deployment.get(JAEGER, "/api/traces", &query)?;
    let traces = found["data"].as_array().context("no traces")?;
    let ids = traces.iter().map(|trace| trace["traceID"].as_str().map(str::to_owned));
    ids.collect::<Option<_>>().context("a trace without an id")
}

fn batches(deployment: &Deployment<'_>) -> Result<usize> {
    let runs = deployment.items("/api/v1/runs", &[])?;
    let total: u64 = runs.iter().filter_map(|run| run["batches_total"].as_u64()).sum();
    Ok(usize::try_from(total)?)
}
