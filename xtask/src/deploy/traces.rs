//! What the real Jaeger has of a batch that failed and was enqueued again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Deployment, JAEGER};

/// What is wrong with some files of the demo on purpose.
pub(super) const MISSING: &str = "file_missing";

/// A trace as Jaeger's API has it.
pub(super) struct Trace(Value);

/// A failure is found by its tags, its trace is whole, and a rerun goes on with it.
pub(super) fn scenario(deployment: &Deployment<'_>) -> Result<()> {
    deployment.until("the services", || services(deployment))?;
    let errors = deployment.items("/api/v1/errors", &[])?;
    let failed = errors.iter().filter(|error| error["error_type"] == MISSING);
    let failed: BTreeSet<&str> =
        failed.filter_map(|error| error["correlation_id"].as_str()).collect();
    ensure!(!failed.is_empty(), "nothing failed, though files are missing on purpose");
    // Those of the worker that was killed are not whole, nor what a busy machine has lost.
    let whole = || {
        failed.iter().filter_map(|trace| {
            let found = Trace::find(deployment, trace).ok()?;
            let attempts = found.attempts_of_a_whole_trace().ok()?;
            Some((*trace, (found.batch().ok()?, attempts)))
        })
    };
    let before: BTreeMap<_, _> = deployment.until("the trace of a failure", || {
        let before: BTreeMap<_, _> = whole().collect();
        ensure!(!before.is_empty(), "no failure has a whole trace");
        Ok(before)
    })?;
    let (batch, _) = before.values().next().context("a trace")?;
    for (what, tags) in [
        ("failures", json!({ "error": "true" })),
        ("failures by their type", json!({ "error.type": MISSING })),
        ("the batch by its id", json!({ "reelshift.batch.id": batch })),
    ] {
        deployment.until(what, || found(deployment, &tags))?;
    }

    // Again where nothing comes of it: a worker may lose an export, such as the one that was cut off.
    deployment.until("a trace with the rerun", || {
        deployment.reelshift(&["rerun", "--quarantined"])?;
        deployment.until("the rerun", || deployment.runs_are_done())?;
        let more = |(trace, (_, now))| before.get(trace).is_some_and(|(_, then)| now > *then);
        ensure!(whole().any(more), "all traces have as many attempts as before the rerun");
        Ok(())
    })
}

/// Each role is a service of its own; the server has no spans until somebody enqueues by it.
pub(super) fn services(deployment: &Deployment<'_>) -> Result<()> {
    let services = deployment.get(JAEGER, "/api/services", &[])?;
    let names = services["data"].as_array().context("no services")?;
    for role in ["producer", "worker"] {
        let name = json!(format!("reelshift-{role}"));
        ensure!(names.contains(&name), "{name} is not among the services {names:?}");
    }
    Ok(())
}

/// Whether Jaeger finds traces of workers with these tags.
fn found(deployment: &Deployment<'_>, tags: &Value) -> Result<()> {
    let query = [("service", "reelshift-worker"), ("limit", "20"), ("tags", &tags.to_string())];
    let found = deployment.get(JAEGER, "/api/traces", &query)?;
    ensure!(found["data"].as_array().is_some_and(|traces| !traces.is_empty()), "none is found");
    Ok(())
}

impl Trace {
    pub(super) fn find(deployment: &Deployment<'_>, id: &str) -> Result<Self> {
        let found = deployment.get(JAEGER, &format!("/api/traces/{id}"), &[])?;
        Ok(Self(found["data"][0].clone()))
    }

    fn spans(&self) -> Result<&Vec<Value>> {
        self.0["spans"].as_array().context("no such trace")
    }

    pub(super) fn named(&self, prefix: &str) -> Result<Vec<&Value>> {
        let is = |span: &&Value| {
            span["operationName"].as_str().is_some_and(|name| name.starts_with(prefix))
        };
        Ok(self.spans()?.iter().filter(is).collect())
    }

    /// The id on its attempts.
    fn batch(&self) -> Result<String> {
        let tags = self.named("process ")?.into_iter().flat_map(|span| span["tags"].as_array());
        let mut ids = tags.flatten().filter(|tag| tag["key"] == "reelshift.batch.id");
        let id = ids.next().and_then(|tag| tag["value"].as_str());
        id.map(str::to_owned).context("no attempt has the batch's id")
    }

    /// How many attempts there are, in a trace that a producer began and that workers went on
    /// with, each the child of the batch's creation and with a link to the run.
    fn attempts_of_a_whole_trace(&self) -> Result<usize> {
        let (created, attempts) = (self.named("create ")?, self.named("process ")?);
        ensure!(created.len() == 1, "{} spans create the batch", created.len());
        ensure!(!attempts.is_empty(), "no attempt");
        self.check_service(created[0], "reelshift-producer")?;
        ensure!(has_link(created[0]), "the creation has no link to its run");
        for attempt in &attempts {
            self.check_service(attempt, "reelshift-worker")?;
            let parent = references(attempt, "CHILD_OF").any(|id| *id == created[0]["spanID"]);
            ensure!(parent, "an attempt is not the child of its batch's creation");
            ensure!(has_link(attempt), "an attempt has no link to its run");
        }
        Ok(attempts.len())
    }

    fn check_service(&self, span: &Value, expected: &str) -> Result<()> {
        let process = &self.0["processes"][span["processID"].as_str().unwrap_or_default()];
        ensure!(process["serviceName"] == expected, "a span is of {}", process["serviceName"]);
        let tags = process["tags"].as_array().cloned().unwrap_or_default();
        let namespace = tags.iter().find(|tag| tag["key"] == "service.namespace");
        ensure!(
            namespace.is_some_and(|tag| tag["value"] == "reelshift"),
            "{expected} is not in the namespace reelshift: {tags:?}"
        );
        Ok(())
    }
}

fn references<'a>(span: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let references = span["references"].as_array().into_iter().flatten();
    references.filter(move |of| of["refType"] == kind).map(|of| &of["spanID"])
}

/// Whether it links a span of another trace.
fn has_link(span: &Value) -> bool {
    let mut references = span["references"].as_array().into_iter().flatten();
    references.any(|of| of["refType"] == "FOLLOWS_FROM" && of["traceID"] != span["traceID"])
}
