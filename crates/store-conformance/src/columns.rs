//! Every column of a run, a batch and a worker after each transition: what one adapter
//! writes, every adapter writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_plan::{BatchState, JobKind, RunState};
use reelshift_store::SharedStore;
use reelshift_store::ledger::{Claimed, Finished, Membership, RerunSelection, WorkerActivity};

use crate::Fixture;
use crate::arrange::{
    batch, claim_one, create, due_planner, error, everything, expanded, plan, planner, reap_all,
    running, running_batches, worker,
};

/// One row of the ledger, and how it was when last read.
struct Row<'a> {
    db: &'a dyn Fixture,
    from: String,
    names: Vec<String>,
    last: BTreeMap<String, String>,
}

impl<'a> Row<'a> {
    async fn read(db: &'a dyn Fixture, table: &str, condition: &str) -> Self {
        let names = db.texts(&db.columns_sql(table)).await;
        let names = names.into_iter().map(|mut column| column.remove(0).expect("a name"));
        // Only a server has it, and what it holds is that server's.
        let names = names.filter(|name| name != "lock_server").collect();
        let from = format!("FROM {table} WHERE {condition}");
        let mut row = Self { db, from, names, last: BTreeMap::new() };
        row.last = row.columns().await;
        row
    }

    /// The columns that hold anything: NULL, the empty text and 0 are left out. Of ids,
    /// tokens, people and times only that they are there.
    async fn columns(&self) -> BTreeMap<String, String> {
        let quoted: Vec<_> = self.names.iter().map(|name| format!("`{name}`")).collect();
        let quoted: Vec<_> = quoted.iter().map(String::as_str).collect();
        let mut rows = self.db.rows(&quoted, &self.from).await;
        assert_eq!(rows.len(), 1, "rows {}", self.from);
        let columns = self.names.iter().zip(rows.remove(0));
        columns.filter_map(|(name, value)| Some((name.clone(), shown(name, &value?)?))).collect()
    }

    /// What has changed since the row was last read: `column=value`, by column.
    async fn changes(&mut self) -> String {
        let now = self.columns().await;
        let names: BTreeSet<_> = self.last.keys().chain(now.keys()).collect();
        let changed = names.into_iter().filter(|name| self.last.get(*name) != now.get(*name));
        let value = |name| now.get(name).map_or("none", String::as_str);
        let changes: Vec<_> = changed.map(|name| format!("{name}={}", value(name))).collect();
        self.last = now;
        changes.join(" ")
    }
}

fn shown(name: &str, value: &str) -> Option<String> {
    let masked = ["id", "planner", "active_key", "plan", "traceparent"].contains(&name)
        || ["_id", "_at", "_by", "_token"].iter().any(|end| name.ends_with(end));
    match value.parse::<f64>() {
        _ if value.is_empty() => None,
        Ok(0.0) => None,
        _ if masked => Some("set".to_owned()),
        Ok(number) => Some(number.to_string()),
        Err(_) => Some(value.to_owned()),
    }
}

async fn finish(store: &SharedStore, batch: Claimed) {
    let Claimed { lease, last_error_id, .. } = batch;
    assert_eq!(store.finish(&[Finished { lease, last_error_id }]).await.expect("it ends"), 1);
}

async fn fail(store: &SharedStore, batch: &Claimed, error_type: &str, retry: bool) -> BatchState {
    let error = error(error_type, None, batch.id);
    store.fail_attempt(batch.lease, retry, Duration::ZERO, &error).await.expect("it fails")
}

const CLAIMED: &str = "lease_token=set leased_at=set leased_by=set state=leased";
const GIVEN_BACK: &str = "lease_token=none leased_at=none leased_by=none state=pending";

#[apply(behaviour!)]
async fn the_columns_of_a_batch_follow_its_transitions(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 1).await;
    let mut row = Row::read(db, "reelshift_batches", "TRUE").await;
    let (first, second, third) = (worker(&store).await, worker(&store).await, worker(&store).await);

    let batch = claim_one(&store, first, JobKind::Hash).await;
    assert_eq!(row.changes().await, format!("claimed_by=set {CLAIMED}"));
    store.record_alone(batch.lease, Some(2)).await.expect("it is recorded");
    assert_eq!(row.changes().await, "alone_files=2");
    assert_eq!(store.release(&[batch.lease]).await.expect("it is given back"), 1);
    assert_eq!(row.changes().await, format!("alone_files=none {GIVEN_BACK}"));

    let batch = claim_one(&store, first, JobKind::Hash).await;
    assert_eq!(row.changes().await, CLAIMED);
    assert_eq!(fail(&store, &batch, "busy", true).await, BatchState::Pending);
    let failed = "attempts=1 last_error_id=set last_error_type=busy";
    assert_eq!(row.changes().await, format!("{failed} {GIVEN_BACK}"));

    claim_one(&store, first, JobKind::Hash).await;
    assert_eq!(row.changes().await, CLAIMED);
    store.deregister_worker(first).await.expect("it leaves");
    assert_eq!(row.changes().await, GIVEN_BACK);

    claim_one(&store, second, JobKind::Hash).await;
    assert_eq!(row.changes().await, CLAIMED);
    assert_eq!(reap_all(&store).await, 1);
    let lost = GIVEN_BACK.replace("state", "lost_leases=1 state");
    assert_eq!(row.changes().await, lost);

    let batch = claim_one(&store, third, JobKind::Hash).await;
    assert_eq!(row.changes().await, CLAIMED);
    finish(&store, batch).await;
    let ended = "finished_at=set lease_token=none leased_by=none state=done";
    assert_eq!(row.changes().await, ended, "when its last attempt began stays known");
}

#[apply(behaviour!)]
async fn the_columns_of_a_batch_follow_its_other_ends(db: &dyn Fixture) {
    let store = expanded(db).await;
    let worker = worker(&store).await;
    let batches = [everything(), everything(), everything()];
    let run = running(&store, JobKind::Hash, plan(None), &batches).await;
    let failing = claim_one(&store, worker, JobKind::Hash).await;
    let leased = claim_one(&store, worker, JobKind::Hash).await;
    let row = async |condition: String| Row::read(db, "reelshift_batches", &condition).await;
    let mut failed = row(format!("id = '{}'", failing.id)).await;
    let mut fenced = row(format!("id = '{}'", leased.id)).await;
    let mut pending = row("state = 'pending'".to_owned()).await;
    pending.from = pending.from.replace("state = 'pending'", "claimed_by IS NULL");

    assert_eq!(fail(&store, &failing, "broken", false).await, BatchState::Failed);
    assert_eq!(
        failed.changes().await,
        "attempts=1 finished_at=set last_error_id=set last_error_type=broken lease_token=none \
         leased_by=none state=failed"
    );
    store.cancel_run(run.id, None, "ops").await.expect("it is cancelled");
    let ended = "finished_at=set lease_token=none leased_by=none state=cancelled";
    assert_eq!(fenced.changes().await, ended);
    assert_eq!(store.cancel_pending(run.id, 9).await.expect("it is cancelled"), 1);
    assert_eq!(pending.changes().await, "finished_at=set state=cancelled");
}

#[apply(behaviour!)]
async fn a_rerun_has_the_rows_that_its_batch_left(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 1).await;
    let batch = claim_one(&store, worker(&store).await, JobKind::Hash).await;
    db.execute(
        "UPDATE reelshift_batches SET rows_done = 6, rows_quarantined = 1, bytes_done = 650",
    )
    .await;
    fail(&store, &batch, "broken", false).await;
    // The platform may clear its own table.
    db.execute("DELETE FROM processing_error_log").await;
    let selection =
        RerunSelection { error_type: Some("broken".to_owned()), ..RerunSelection::default() };
    let rerun = store.rerun(&selection, None, "ops").await.expect("it is enqueued again");
    assert_eq!((rerun.batches, rerun.items), (1, 0));
    let again = Row::read(db, "reelshift_batches", "parent_id IS NOT NULL").await;
    let columns: Vec<_> =
        again.last.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        columns.join(" "),
        "bytes_total=350 created_at=set id=set last_error_id=set max_attempts=3 parent_id=set \
         rows_total=3 run_at=set run_id=set seq=2 state=pending traceparent=set upto_id=set"
    );
    let run = store.run(run.id).await.expect("read").expect("there");
    assert_eq!((run.batches_total, run.rows_total, run.bytes_total), (1, 10, 1_000));
}

const PLANNER: &str = "planner=set planner_seen_at=set planner_token=set";
const NO_PLANNER: &str = "planner=none planner_seen_at=none planner_token=none";

#[apply(behaviour!)]
async fn the_columns_of_a_run_follow_its_transitions(db: &dyn Fixture) {
    let store = expanded(db).await;
    let worker = worker(&store).await;
    let run = create(&store, JobKind::Backfill, plan(None)).await.id;
    let mut row = Row::read(db, "reelshift_runs", "TRUE").await;
    let settle = async || store.settle(run).await.expect("it settles");

    let lease = planner(&store, run).await;
    assert_eq!(row.changes().await, PLANNER);
    let two = [batch(everything()), batch(everything())];
    store.add_batches(&lease, Some("v0002"), &two).await.expect("batches are added");
    assert_eq!(
        row.changes().await,
        "batches_total=2 bytes_total=2000 planned_to=v0002 round_batches=2 rows_total=20"
    );
    store.pause_run(run, Some("maintenance"), "ops").await.expect("it pauses");
    let paused = "decided_at=set decided_by=set paused_from=planning";
    let reason = "reason=maintenance state=paused";
    assert_eq!(row.changes().await, format!("{paused} {NO_PLANNER} {reason}"));
    store.resume_run(run, None, "ops").await.expect("it resumes");
    let resumed = "paused_from=none reason=none resumed_at=set state=planning";
    assert_eq!(row.changes().await, resumed);
    let lease = planner(&store, run).await;
    store.finish_planning(&lease).await.expect("it is planned");
    assert_eq!(row.changes().await, "state=running");

    for _ in 0..2 {
        finish(&store, claim_one(&store, worker, JobKind::Backfill).await).await;
    }
    assert_eq!(settle().await, RunState::Sweeping);
    let swept = "planned_to=none round=1 round_batches=none state=sweeping";
    assert_eq!(row.changes().await, swept);
    let sweep = async |upto| {
        let lease = due_planner(&store, run).await;
        let found = [batch(everything())];
        store.add_batches(&lease, Some(upto), &found).await.expect("a batch is added");
        store.finish_planning(&lease).await.expect("the sweep ends");
    };
    sweep("v0003").await;
    assert_eq!(
        row.changes().await,
        "batches_total=3 bytes_total=3000 planned_to=v0003 round_batches=1 rows_total=30 \
         state=running"
    );
    finish(&store, claim_one(&store, worker, JobKind::Backfill).await).await;
    assert_eq!(settle().await, RunState::Sweeping);
    assert_eq!(
        row.changes().await,
        "idle_rounds=1 planned_to=none round=2 round_batches=none rows_waiting=10 state=sweeping \
         sweep_at=set"
    );

    sweep("v0004").await;
    row.changes().await;
    let failing = claim_one(&store, worker, JobKind::Backfill).await;
    fail(&store, &failing, "broken", false).await;
    assert_eq!(settle().await, RunState::Failed);
    let reason = "reason=1 batch failed: `reelshift errors` shows why, `reelshift rerun` enqueues \
                  it again";
    assert_eq!(
        row.changes().await,
        format!(
            "active_key=none finished_at=set {reason} rows_waiting=none state=failed sweep_at=none"
        )
    );
    store.rerun(&RerunSelection::default(), None, "ops").await.expect("it is enqueued again");
    assert_eq!(
        row.changes().await,
        "active_key=set finished_at=none reason=none round_batches=2 state=running"
    );
}

#[apply(behaviour!)]
async fn the_columns_of_a_run_follow_its_other_ends(db: &dyn Fixture) {
    let store = expanded(db).await;
    let worker = worker(&store).await;
    let row = async |id| Row::read(db, "reelshift_runs", &format!("id = '{id}'")).await;

    let empty = create(&store, JobKind::Hash, plan(Some("empty"))).await.id;
    let mut columns = row(empty).await;
    store.finish_planning(&planner(&store, empty).await).await.expect("it is planned");
    assert_eq!(columns.changes().await, "active_key=none finished_at=set state=done");

    let unreadable = create(&store, JobKind::Hash, plan(Some("unreadable"))).await.id;
    let mut columns = row(unreadable).await;
    let lease = planner(&store, unreadable).await;
    store.fail_planning(&lease, "no such column", "planner").await.expect("it fails");
    assert_eq!(
        columns.changes().await,
        "active_key=none decided_at=set decided_by=set finished_at=set reason=no such column \
         state=failed"
    );

    let swept = running_batches(&store, JobKind::Backfill, 1).await.id;
    let mut columns = row(swept).await;
    finish(&store, claim_one(&store, worker, JobKind::Backfill).await).await;
    store.settle(swept).await.expect("it settles");
    let lease = due_planner(&store, swept).await;
    store.add_batches(&lease, None, &[batch(everything())]).await.expect("a batch is added");
    store.finish_planning(&lease).await.expect("the sweep ends");
    finish(&store, claim_one(&store, worker, JobKind::Backfill).await).await;
    store.settle(swept).await.expect("it settles");
    columns.changes().await;
    due_planner(&store, swept).await;
    assert_eq!(columns.changes().await, PLANNER);
    store.cancel_run(swept, Some("enough"), "ops").await.expect("it is cancelled");
    assert_eq!(
        columns.changes().await,
        format!(
            "active_key=none decided_at=set decided_by=set finished_at=set {NO_PLANNER} \
             reason=enough rows_waiting=none state=cancelled sweep_at=none"
        )
    );
}

#[apply(behaviour!)]
async fn the_columns_of_a_worker_follow_its_transitions(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 1).await;
    let id = worker(&store).await;
    let mut row = Row::read(db, "reelshift_workers", "TRUE").await;
    let activity = |doing: &str, rows_done| WorkerActivity {
        doing: doing.to_owned(),
        rows_done,
        bytes_done: 7_000,
        rows_per_second: 1_234.5,
        bytes_per_second: 2.5e9,
        capacity: 4,
        chunk_seconds: Some(0.25),
        controls_seen: 5,
        writes_refused: 2,
    };
    assert_eq!(
        store.heartbeat(id, &activity("hashing", 3)).await.expect("it lives"),
        Membership::Live
    );
    assert_eq!(
        row.changes().await,
        "bytes_done=7000 bytes_per_second=2500000000 capacity=4 chunk_seconds=0.25 \
         controls_seen=5 doing=hashing rows_done=3 rows_per_second=1234.5 writes_refused=2"
    );
    store.drain_worker(id, None, "ops").await.expect("it is told");
    assert_eq!(row.changes().await, "drained_by=set");

    claim_one(&store, id, JobKind::Hash).await;
    reap_all(&store).await;
    assert_eq!(row.changes().await, "state=lost");
    // A claim that was under way when its leases were taken.
    claim_one(&store, id, JobKind::Hash).await;
    assert_eq!(
        store.heartbeat(id, &activity("back", 4)).await.expect("it is back"),
        Membership::WasLost
    );
    assert_eq!(row.changes().await, "doing=back rows_done=4 state=live");
    assert_eq!(db.count("FROM reelshift_batches WHERE state = 'leased'").await, 0, "it drops all");

    store.deregister_worker(id).await.expect("it leaves");
    assert_eq!(row.changes().await, "doing=none state=left");
}
