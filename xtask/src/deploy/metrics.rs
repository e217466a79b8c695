//! The profile `metrics`: the real Prometheus answers the queries of every panel and every
//! alert; an alert fires for a fleet that was killed, and what the runbook types ends it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Deployment, PROMETHEUS, WORKERS};

/// Queries whose series need what does not happen here: an object store, an application, work that
/// goes on for minutes, a database on the worker's own disk.
const MAY_BE_EMPTY: [&str; 4] =
    ["stored_checksums", "application_latency", "time_left", "free_disk"];

pub(super) fn scenario(deployment: &Deployment<'_>) -> Result<()> {
    // Grafana is left out: it only shows what Prometheus answers.
    deployment.compose(&["--profile", "metrics", "up", "--detach", "--no-build", "prometheus"])?;
    deployment.until("every scrape", || targets(deployment))?;
    // Without these some metrics have nothing to report.
    deployment.reelshift(&["flags", "enable", "realtime_notifications"])?;
    deployment.reelshift(&["enqueue", "validate"])?;
    deployment.until("the validation", || deployment.runs_are_done())?;
    deployment.reelshift(&["rerun", "--quarantined"])?;
    for query in panels(deployment)? {
        answered(deployment, &query)?;
    }
    let rules = rules(deployment)?;
    for rule in &rules {
        ensure!(rule["health"] == "ok", "{} is not evaluated: {}", rule["name"], rule["lastError"]);
        let query = rule["query"].as_str().context("a rule without a query")?;
        for selector in selectors(query) {
            answered(deployment, selector)?;
        }
    }
    eprintln!("xtask: {} rules are evaluated on real series", rules.len());
    lost_fleet(deployment)
}

/// All workers are killed for good while work is open.
fn lost_fleet(deployment: &Deployment<'_>) -> Result<()> {
    deployment.compose(&["kill", "worker"])?;
    deployment.reelshift(&["enqueue", "validate"])?;
    for alert in ["ReelshiftWorkerLost", "ReelshiftNoWorker"] {
        deployment.until(alert, || {
            ensure!(is_firing(deployment, alert)?, "{alert} does not fire");
            Ok(())
        })?;
    }
    // As docs/runbook.md has it.
    deployment.scale(WORKERS)?;
    deployment.until("the end of the alert", || {
        ensure!(!is_firing(deployment, "ReelshiftNoWorker")?, "the alert fires still");
        Ok(())
    })?;
    deployment.until("the work that was open", || deployment.runs_are_done())
}

fn is_firing(deployment: &Deployment<'_>, alert: &str) -> Result<bool> {
    let query = format!("ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}");
    Ok(series(deployment, &query)? > 0)
}

/// Whether all workers and the server are scraped.
fn targets(deployment: &Deployment<'_>) -> Result<()> {
    let query = [("state", "active")];
    let answer = deployment.get(PROMETHEUS, "/api/v1/targets", &query)?;
    let targets = answer["data"]["activeTargets"].as_array().context("no targets")?;
    let up = targets.iter().filter(|target| target["health"] == "up").count();
    let expected = WORKERS + 1;
    ensure!(
        up == expected && targets.len() == expected,
        "{up} of {} targets are up",
        targets.len()
    );
    Ok(())
}

fn answered(deployment: &Deployment<'_>, query: &str) -> Result<()> {
    if MAY_BE_EMPTY.iter().any(|metric| query.contains(metric)) {
        let found = series(deployment, query)?;
        eprintln!("xtask: {found} series of {query}, which may have none");
        return Ok(());
    }
    deployment.until(query, || {
        ensure!(series(deployment, query)? > 0, "no series");
        Ok(())
    })
}

fn series(deployment: &Deployment<'_>, query: &str) -> Result<usize> {
    let answer = deployment.get(PROMETHEUS, "/api/v1/query", &[("query", query)])?;
    let result = answer["data"]["result"].as_array().context("no result")?;
    Ok(result.len())
}

/// The queries of the dashboard.
fn panels(deployment: &Deployment<'_>) -> Result<Vec<String>> {
    let path = deployment.root.join("deploy/grafana/dashboards/reelshift.json");
    let text = std::fs::read_to_string(path).context("the dashboard cannot be read")?;
    let dashboard: Value = serde_json::from_str(&text).context("the dashboard is no document")?;
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries = targets.map(|target| target["expr"].as_str().map(str::to_owned));
    queries.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty()).context("no queries")
}

fn rules(deployment: &Deployment<'_>) -> Result<Vec<Value>> {
    deployment.until("the rules", || {
        let answer = deployment.get(PROMETHEUS, "/api/v1/rules", &[("type", "alert")])?;
        let groups = answer["data"]["groups"].as_array().context("no groups")?;
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let rules: Vec<Value> = rules.cloned().collect();
        ensure!(!rules.is_empty(), "no rule is known");
        ensure!(rules.iter().all(|rule| rule["health"] != "unknown"), "not all are evaluated yet");
        Ok(rules)
    })
}

/// The series that a query asks for, each with the labels that it must have.
fn selectors(query: &str) -> Vec<&str> {
    let starts = query.match_indices("reelshift_").map(|(at, _)| at);
    // Labels have that name too.
    let starts = starts.filter(|&at| !query[..at].ends_with('{') && !query[..at].ends_with(", "));
    let end = |text: &str| {
        let name = text
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .unwrap_or(text.len());
        match text[name..].strip_prefix('{').and_then(|labels| labels.find('}')) {
            Some(labels) => name + labels + 2,
            None => name,
        }
    };
    starts.map(|at| &query[at..at + end(&query[at..])]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_found() {
        let query =
            "(max(reelshift_a{reelshift_b=~\"c|d\"}) == 1) and on () (max(reelshift_e) > 0)";
        assert_eq!(selectors(query), ["reelshift_a{reelshift_b=~\"c|d\"}", "reelshift_e"]);
    }
}
