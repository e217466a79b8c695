//! `doctor`: everything that the fleet relies on, asked once; changes nothing.

use anyhow::Result;
use chrono::Utc;
use reelshift_media::{MediaRoot, RootOptions};
use reelshift_plan::WorkerState;
use reelshift_store::SharedStore;
use reelshift_store::preflight::{Finding, Scope, Verdict};
use reelshift_store::report::throttle;
use reelshift_store::schema::{self, JournalEntry, StepGroup};

use crate::commands::plan;
use crate::context::Context;
use crate::exit::{self, Failed, Outcome};
use crate::style::plural;

/// A clock that is further off than this misleads whoever compares logs with the database.
const CLOCK_TOLERANCE_SECONDS: i64 = 2;

/// Live workers that are asked for their version.
const MAX_WORKERS: u32 = 1_000;

pub async fn run(context: &Context) -> Result<Outcome> {
    let mut findings = Vec::new();
    match context.store().await {
        Ok(store) => {
            let server = store.server().await?;
            findings.push(Finding::ok(format!("{server} answers")).named("database"));
            findings.push(clock(&store).await?);
            findings.extend(store.preflight(Scope::Doctor).await?.findings);
            findings.push(applied(&store).await?);
            if let Some(finding) = workers(&store).await? {
                findings.push(finding);
            }
        }
        Err(error) => {
            let remedy = "mend what it says: nothing else can be checked without the database";
            findings.push(Finding::refusal(exit::sentence(&error), remedy).named("database"));
        }
    }
    findings.extend(replicas(context).await?);
    findings.push(media_root(context).await);
    if context.json {
        context.print_json(&findings)?;
    } else {
        crate::output::block(plan::findings_table(&findings));
    }
    let refusals =
        findings.iter().filter(|finding| finding.verdict == Verdict::Refusal).count() as u64;
    if refusals > 0 {
        let checks = plural(refusals, "check fails", "checks fail");
        return Err(Failed(format!("{checks}: see above")).into());
    }
    Ok(Outcome::Done)
}

#[expect(clippy::disallowed_methods, reason = "the question is whether this clock agrees")]
async fn clock(store: &SharedStore) -> Result<Finding> {
    let off = (store.now().await? - Utc::now()).num_seconds();
    let finding = if off.abs() <= CLOCK_TOLERANCE_SECONDS {
        Finding::ok("the clocks of this machine and of the database agree")
    } else {
        let ahead = if off > 0 { "ahead of" } else { "behind" };
        Finding::warning(
            format!("the database's clock is {} s {ahead} this machine's", off.abs()),
            "have both follow a time server: reelshift goes by the database's",
        )
    };
    Ok(finding.named("clock"))
}

/// Which phases' steps are there.
async fn applied(store: &SharedStore) -> Result<Finding> {
    let journal = store.journal().await?;
    let groups = [StepGroup::Ledger, StepGroup::Expand, StepGroup::Index, StepGroup::Automate];
    let phases = groups.map(|group| {
        let steps = || store.steps().iter().filter(move |step| step.group == group);
        let (done, all) = (steps().filter(|step| step.is_done(&journal)).count(), steps().count());
        format!("{} {done} of {all}", group.into_str())
    });
    let says = format!("steps that are applied: {}", phases.join(", "));
    let known =
        |entry: &&JournalEntry| store.steps().iter().any(|step| step.number == entry.number);
    let finding = if journal.iter().all(|entry| known(&entry)) {
        Finding::ok(says)
    } else {
        Finding::refusal(
            format!("{says}, and some that this version does not know"),
            "a newer version of reelshift has been here: use that",
        )
    };
    Ok(finding.named("schema"))
}

/// `None` where no ledger is there that could know any.
async fn workers(store: &SharedStore) -> Result<Option<Finding>> {
    if schema::require_expanded(&**store).await.is_err() {
        return Ok(None);
    }
    let workers = store.workers(Some(WorkerState::Live), None, MAX_WORKERS).await?;
    let own = env!("CARGO_PKG_VERSION");
    let others = workers.iter().filter(|worker| worker.version != own).count() as u64;
    let live = plural(workers.len() as u64, "live worker", "live workers");
    let finding = if workers.is_empty() {
        Finding::ok("no worker is at work")
    } else if others == 0 {
        Finding::ok(format!("{live}, of version {own} as this program"))
    } else {
        Finding::warning(
            format!("{live}, {others} of another version than {own}"),
            "replace them: `reelshift workers -o wide` names their versions",
        )
    };
    Ok(Some(finding.named("workers")))
}

async fn replicas(context: &Context) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for replica in context.replicas(&[])? {
        let finding = match replica.beat_at(throttle::DUTY).await {
            Ok(Some(at)) => Finding::ok(format!("{}: it follows, last at {at}", replica.host())),
            Ok(None) => Finding::ok(format!("{}: it answers", replica.host())),
            Err(error) => Finding::refusal(
                format!("{}: {error}", replica.host()),
                "mend it or leave it out: workers stop while a replica does not answer",
            ),
        };
        findings.push(finding.named("replica"));
    }
    Ok(findings)
}

async fn media_root(context: &Context) -> Finding {
    let Some(root) = &context.media_root else {
        return Finding::warning(
            "no media root is set: this process could hash nothing",
            "where workers hash, give --media-root or set REELSHIFT_MEDIA_ROOT",
        )
        .named("media_root");
    };
    let options = RootOptions::default();
    let opened = MediaRoot::at(root, context.media_prefix.as_deref(), options).await;
    match opened {
        Ok(root) => Finding::ok(format!("{} can be read", root.name())),
        Err(error) => Finding::refusal(
            exit::sentence(&error.into()),
            "see whether it is mounted and readable here",
        ),
    }
    .named("media_root")
}
