//! The profile `sampling`: the collector keeps the traces in which something failed or was slow,
//! and drops most of the others, however long their batches waited.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::DateTime;
use serde_json::Value;

use super::traces::{MISSING, Trace, services};
use super::{Deployment, JAEGER, WORKERS, output};

/// Longer than the collector waits with a decision.
const WAIT: Duration = Duration::from_secs(45);
/// The bytes that the whole fleet reads in a second, so that batches of hashes are slow.
const SLOW: &str = "byte_rate=256KiB";
/// An attempt that takes so long is slow by far.
const SLOW_FROM: Duration = Duration::from_secs(20);
/// As compose has it.
const MEDIA_ROOT: &str = "/srv/media/platform/media";
/// Any image with a shell.
const SHELL: &str = "docker.io/library/mariadb:10.11";

pub(super) fn scenario(deployment: &mut Deployment<'_>) -> Result<()> {
    deployment.variables.push(("OTLP_ENDPOINT", "http://collector:4317"));
    let deployment = &*deployment;
    // First: what is sent before it listens is lost.
    deployment.compose(&["--profile", "sampling", "up", "--detach", "--no-build", "collector"])?;
    deployment.up(0)?;
    deployment.until("both runs to be enqueued", || {
        let runs = deployment.items("/api/v1/runs", &[])?;
        ensure!(runs.len() >= 2, "{} runs are enqueued", runs.len());
        Ok(())
    })?;
    deployment.reelshift(&["tune", SLOW])?;
    deployment.interrupts.pause(WAIT)?;
    deployment.scale(WORKERS)?;
    deployment.until("a slow batch", || {
        let batches = batches(deployment)?;
        ensure!(batches.values().any(|took| *took > SLOW_FROM), "none is done that was slow");
        Ok(())
    })?;
    deployment.reelshift(&["tune", "byte_rate=default"])?;
    deployment.until("both runs", || deployment.runs_are_done())?;
    let recovered = recover(deployment)?;

    let batches = batches(deployment)?;
    let slow: BTreeSet<&str> = (batches.iter())
        .filter_map(|(trace, took)| (*took > SLOW_FROM).then_some(trace.as_str()))
        .collect();
    let errors = deployment.items("/api/v1/errors", &[("limit", "200")])?;
    // Nothing failed where what was noticed is accepted, such as another size than the row's.
    let failures = errors.iter().filter(|error| error["recovery_strategy"] != "accept");
    let failed: BTreeSet<&str> =
        failures.filter_map(|error| error["correlation_id"].as_str()).collect();
    ensure!(!failed.is_empty(), "nothing failed, though files are missing on purpose");
    let kept = deployment.until("every trace that failed or was slow", || {
        let kept = kept(deployment)?;
        let missing =
            failed.union(&slow).filter(|trace| !kept.contains(**trace)).collect::<Vec<_>>();
        ensure!(missing.is_empty(), "{missing:?} are missing");
        Ok(kept)
    })?;
    // Not the creations of all: a producer ends, and may lose its last spans on a busy machine.
    deployment.until("the services", || services(deployment))?;
    deployment.until("both attempts of a failure that has recovered", || {
        let attempts = Trace::find(deployment, &recovered)?.named("process ")?.len();
        ensure!(attempts > 1, "{attempts} attempt of {recovered} is there");
        Ok(())
    })?;
    let others = batches
        .keys()
        .filter(|trace| !failed.contains(trace.as_str()) && !slow.contains(trace.as_str()));
    let (others_kept, others_dropped): (Vec<_>, Vec<_>) =
        others.partition(|trace| kept.contains(*trace));
    eprintln!(
        "xtask: kept: {} traces that failed, {} that were slow, {} of {} others",
        failed.len(),
        slow.len(),
        others_kept.len(),
        others_kept.len() + others_dropped.len()
    );
    ensure!(others_kept.len() < others_dropped.len(), "most of the others are kept");
    Ok(())
}

/// Puts a file there that was missing, and enqueues again what is in quarantine. Returns the
/// trace of its failure.
fn recover(deployment: &Deployment<'_>) -> Result<String> {
    let errors = deployment.items("/api/v1/errors", &[("type", MISSING)])?;
    let error = errors.first().context("no file is missing")?;
    let (id, trace) = (&error["id"], text(error, "correlation_id")?);
    // there is no file "11/….mkv" in the media root
    let file = text(error, "error_message")?.split('"').nth(1).context("a message without file")?;
    let file = Path::new(MEDIA_ROOT).join(file);
    let mut write = Command::new(&deployment.engine.program);
    write.args(["run", "--rm", "--network", "none", "--volume", "reelshift_media:/srv/media"]);
    write.args(["--entrypoint", "sh", SHELL, "-c"]);
    write.arg("mkdir -p \"$(dirname \"$0\")\" && echo film >\"$0\" && chmod a+r \"$0\"");
    output(write.arg(file))?;
    deployment.reelshift(&["rerun", "--quarantined"])?;
    deployment.until("the failure to recover", || {
        deployment.runs_are_done()?;
        let errors = deployment.items("/api/v1/errors", &[("type", MISSING)])?;
        let error = errors.iter().find(|error| error["id"] == *id).context("the error is gone")?;
        ensure!(error["recovery_successful"] == true, "it has not recovered");
        Ok(())
    })?;
    Ok(trace.to_owned())
}

/// How long the attempt took by which each batch got done, by its trace.
fn batches(deployment: &Deployment<'_>) -> Result<BTreeMap<String, Duration>> {
    let of = |batch: &Value| -> Result<_> {
        let trace = text(batch, "traceparent")?.split('-').nth(1).context("no traceparent")?;
        let at = |name| -> Result<_> { Ok(DateTime::parse_from_rfc3339(text(batch, name)?)?) };
        let took = at("finished_at")? - at("leased_at")?;
        Ok((trace.to_owned(), took.to_std()?))
    };
    // A rerun continues the trace of its batch: the longest of them counts.
    let mut longest = BTreeMap::new();
    for run in deployment.items("/api/v1/runs", &[])? {
        let query = [("run", text(&run, "id")?), ("state", "done"), ("limit", "200")];
        for batch in &deployment.items("/api/v1/batches", &query)? {
            let (trace, took) = of(batch)?;
            let longest = longest.entry(trace).or_insert(took);
            *longest = took.max(*longest);
        }
    }
    Ok(longest)
}

/// The traces with attempts that Jaeger has.
fn kept(deployment: &Deployment<'_>) -> Result<BTreeSet<String>> {
    let query = [("service", "reelshift-worker"), ("limit", "20000"), ("lookback", "1h")];
    let found = deployment.get(JAEGER, "/api/traces", &query)?;
    let traces = found["data"].as_array().context("no traces")?;
    let ids = traces.iter().map(|trace| trace["traceID"].as_str().map(str::to_owned));
    ids.collect::<Option<_>>().context("a trace without an id")
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value[name].as_str().with_context(|| format!("there is no {name}"))
}
