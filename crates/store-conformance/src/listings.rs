//! Lists: every row once, whatever the size of the pages.

use macro_rules_attribute::apply;
use reelshift_plan::{BatchState, JobKind, RunState, WorkerState};
use reelshift_store::ids::{self, IdKind};
use reelshift_store::ledger::{Bounds, Finished};
use reelshift_store::listings::{
    BatchReport, BatchSelection, QuarantineSelection, Quarantined, RunSelection,
};
use reelshift_store::videos::FailedItem;
use reelshift_store::{SharedStore, StoreError};
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{
    claim_one, claimed, create, error, everything, expanded, insert, items, plan, running,
    running_batches, set_run_state, videos, worker,
};

/// All rows of a list, read in pages of two.
async fn paged<T, C>(
    mut page: impl AsyncFnMut(Option<C>) -> reelshift_store::Result<Vec<T>>,
    cursor: impl Fn(&T) -> C,
) -> Vec<T> {
    let mut rows = Vec::new();
    loop {
        let after = rows.last().map(&cursor);
        let some = page(after).await.expect("a page is read");
        assert!(some.len() <= 2, "a page has its limit");
        let last = some.len() < 2;
        rows.extend(some);
        if last {
            return rows;
        }
    }
}

async fn batches(store: &SharedStore, selection: &BatchSelection) -> Vec<BatchReport> {
    let page = async |after: Option<_>| store.batches(selection, after.as_ref(), 2).await;
    paged(page, BatchReport::cursor).await
}

async fn quarantine(store: &SharedStore, selection: &QuarantineSelection) -> Vec<Quarantined> {
    let page = async |after: Option<_>| store.quarantine(selection, after.as_ref(), 2).await;
    paged(page, Quarantined::cursor).await
}

#[apply(behaviour!)]
async fn an_id_is_found_by_its_beginning_or_end(db: &dyn Fixture) {
    let store = expanded(db).await;
    let ids = ["0198f000-aaaa-7000-8000-00000000000a", "0198f000-aaab-7000-8000-00000000000b"];
    for id in ids {
        create(&store, JobKind::Hash, plan(Some(id))).await;
        db.execute(&format!("UPDATE reelshift_runs SET id = '{id}' WHERE id NOT LIKE '0198f000%'"))
            .await;
    }
    let find = async |part: &str| {
        let part = part.parse().expect("a part of an id");
        ids::find(&*store, IdKind::Run, &part).await.map(|id| id.to_string())
    };
    for part in ["0198f000-aaaa", "0198f000aaaa", "0198F000-AAAA-7", "000a", "8000-00000000000a"] {
        assert_eq!(find(part).await.as_deref().ok(), Some(ids[0]), "{part}");
    }
    assert_eq!(find("000b").await.as_deref().ok(), Some(ids[1]));
    match find("0198f000").await {
        Err(StoreError::Invalid(why)) => assert!(ids.iter().all(|id| why.contains(id)), "{why}"),
        other => panic!("{other:?}"),
    }
    match find("ffff").await {
        Err(StoreError::Invalid(why)) => assert!(why.starts_with("no run has an id"), "{why}"),
        other => panic!("{other:?}"),
    }
    // A whole one is not looked up: whoever uses it says that there is nothing.
    let whole = Uuid::nil();
    assert_eq!(find(&whole.to_string()).await.ok(), Some(whole.to_string()));
    running_batches(&store, JobKind::Backfill, 1).await;
    let worker = worker(&store).await;
    let batch = claim_one(&store, worker, JobKind::Backfill).await.id;
    for (kind, id) in [(IdKind::Batch, batch), (IdKind::Worker, worker)] {
        let part = id.to_string()[24..].parse().expect("a part of an id");
        assert_eq!(ids::find(&*store, kind, &part).await.ok(), Some(id), "{kind}");
    }
}

#[apply(behaviour!)]
async fn runs_are_listed_newest_first(db: &dyn Fixture) {
    let store = expanded(db).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let kind = if n % 2 == 0 { JobKind::Hash } else { JobKind::Backfill };
        ids.push(create(&store, kind, plan(Some(&format!("p{n}")))).await.id);
    }
    set_run_state(db, ids[1], RunState::Paused).await;
    ids.sort_unstable();
    ids.reverse();
    let list = async |selection: RunSelection| -> Vec<Uuid> {
        let page = async |before| store.runs(&selection, before, 2).await;
        paged(page, |run| run.id).await.iter().map(|run| run.id).collect()
    };
    assert_eq!(list(RunSelection::default()).await, ids);
    let hashes = RunSelection { kind: Some(JobKind::Hash), state: None };
    assert_eq!(list(hashes).await, [ids[0], ids[2], ids[4]]);
    let paused = RunSelection { kind: None, state: Some(RunState::Paused) };
    assert_eq!(list(paused).await, [ids[3]]);
}

#[apply(behaviour!)]
async fn batches_of_a_run_are_listed_state_by_state(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 9).await.id;
    let other = create(&store, JobKind::Backfill, plan(None)).await.id;
    let me = worker(&store).await;
    for n in 0..5 {
        let batch = claim_one(&store, me, JobKind::Hash).await;
        match n {
            0 | 1 => {
                let finished = Finished { lease: batch.lease, last_error_id: None };
                store.finish(&[finished]).await.expect("done");
            }
            2 => {
                let failed = error("file_missing", None, batch.id);
                let at_once = std::time::Duration::ZERO;
                store.fail_attempt(batch.lease, false, at_once, &failed).await.expect("failed");
            }
            _ => {}
        }
    }
    let all = batches(&store, &BatchSelection::OfRun { run, state: None }).await;
    let states: Vec<_> = all.iter().map(|batch| batch.state).collect();
    let mut expected = vec![BatchState::Pending; 4];
    expected.extend([BatchState::Leased; 2]);
    expected.extend([BatchState::Done; 2]);
    expected.push(BatchState::Failed);
    assert_eq!(states, expected);
    for &state in BatchState::ALL {
        let some = batches(&store, &BatchSelection::OfRun { run, state: Some(state) }).await;
        let same: Vec<_> = all.iter().filter(|batch| batch.state == state).cloned().collect();
        assert_eq!(some, same, "{state}");
    }
    assert_eq!(batches(&store, &BatchSelection::OfRun { run: other, state: None }).await, []);

    let failed = all.last().expect("there is one");
    assert_eq!(failed.last_error_type.as_deref(), Some("file_missing"));
    assert_eq!((failed.run_id, failed.attempts, &failed.bounds), (run, 1, &everything()));
    assert_eq!(store.batch(failed.id).await.expect("read").as_ref(), Some(failed));
    assert_eq!(store.batch(Uuid::nil()).await.expect("read"), None);

    let newest = batches(&store, &BatchSelection::All).await;
    assert_eq!(newest.len(), 9);
    assert!(newest.windows(2).all(|pair| pair[0].seq > pair[1].seq), "newest first");
    let leased = batches(&store, &BatchSelection::LeasedBy(me)).await;
    assert!(leased.len() == 2 && leased.iter().all(|batch| batch.leased_by == Some(me)));
}

#[apply(behaviour!)]
async fn the_open_batches_of_a_video_are_found(db: &dyn Fixture) {
    let store = expanded(db).await;
    let range = |after: Option<&str>, upto: &str| Bounds::Range {
        after: after.map(str::to_owned),
        upto: upto.to_owned(),
    };
    let bounds = [range(None, "c"), range(Some("c"), "f"), items(&["b", "e\"1"]), items(&["bb"])];
    let run = running(&store, JobKind::Hash, plan(None), &bounds).await;
    let of = async |video: &str| -> Vec<Bounds> {
        let open = BatchSelection::OpenWith(video.to_owned());
        batches(&store, &open).await.into_iter().map(|batch| batch.bounds).collect()
    };
    assert_eq!(of("b").await, [items(&["b", "e\"1"]), range(None, "c")], "newest first");
    assert_eq!(of("c").await, [range(None, "c")]);
    assert_eq!(of("d").await, [range(Some("c"), "f")]);
    assert_eq!(of("e\"1").await, [items(&["b", "e\"1"]), range(Some("c"), "f")]);
    assert_eq!(of("g").await, []);

    store.cancel_run(run.id, None, "ops").await.expect("cancelled");
    assert_eq!(of("b").await, [], "nobody takes them up any more");
}

#[apply(behaviour!)]
async fn workers_are_listed_with_their_leases(db: &dyn Fixture) {
    let store = expanded(db).await;
    running_batches(&store, JobKind::Hash, 3).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(worker(&store).await);
    }
    claim_one(&store, ids[0], JobKind::Hash).await;
    store.deregister_worker(ids[4]).await.expect("it leaves");
    let left = ids[4];
    let busy = ids[0];
    ids.sort_unstable();
    ids.reverse();
    let page = async |before| store.workers(None, before, 2).await;
    let all = paged(page, |worker| worker.id).await;
    assert_eq!(all.iter().map(|worker| worker.id).collect::<Vec<_>>(), ids);
    assert!(all.iter().all(|worker| worker.leases == u64::from(worker.id == busy)));
    let gone = store.workers(Some(WorkerState::Left), None, 9).await.expect("read");
    assert_eq!(gone.iter().map(|worker| worker.id).collect::<Vec<_>>(), [left]);
}

#[apply(behaviour!)]
async fn the_quarantine_is_listed_by_its_key(db: &dyn Fixture) {
    insert(db, &videos(6)).await;
    let store = expanded(db).await;
    let mut runs = Vec::new();
    for (kind, ids) in [
        (JobKind::Hash, ["v0004", "v0002", "v0005"]),
        (JobKind::Backfill, ["v0006", "v0001", "v0002"]),
    ] {
        let batch = claimed(&store, kind, everything()).await;
        runs.push(batch.run_id);
        let items: Vec<_> = ids
            .iter()
            .map(|id| FailedItem {
                video_id: (*id).to_owned(),
                error: error(
                    if *id == "v0002" { "odd" } else { "file_missing" },
                    Some(id),
                    batch.id,
                ),
            })
            .collect();
        store.set_aside(batch.lease, &items).await.expect("set aside");
    }
    let keys = async |selection: QuarantineSelection| -> Vec<(JobKind, String)> {
        let items = quarantine(&store, &selection).await;
        items.into_iter().map(|item| (item.kind, item.video_id)).collect()
    };
    let of = |kind, ids: [&str; 3]| ids.map(|id| (kind, id.to_owned())).to_vec();
    let backfill = of(JobKind::Backfill, ["v0001", "v0002", "v0006"]);
    let hash = of(JobKind::Hash, ["v0002", "v0004", "v0005"]);
    assert_eq!(keys(QuarantineSelection::default()).await, [&backfill[..], &hash[..]].concat());
    let kind = Some(JobKind::Hash);
    assert_eq!(keys(QuarantineSelection { kind, ..Default::default() }).await, hash);
    let run = Some(runs[1]);
    assert_eq!(keys(QuarantineSelection { run, ..Default::default() }).await, backfill);
    let error_type = Some("odd".to_owned());
    let video = Some(backfill[0].1.clone());
    let of_video = keys(QuarantineSelection { video, ..Default::default() }).await;
    assert_eq!(of_video[0], backfill[0]);
    assert!(of_video.iter().all(|(_, video)| *video == backfill[0].1), "{of_video:?}");
    let odd = keys(QuarantineSelection { error_type, ..Default::default() }).await;
    assert_eq!(odd, [backfill[1].clone(), hash[0].clone()]);
}
