//! Batches that were given back because a worker does not find their files.

use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_store::ledger::{Lease, RootSuspicion, VideoFilter};
use reelshift_store::videos::{FileResults, HashedFile};
use reelshift_store::{SharedStore, StoreError};
use uuid::Uuid;

use crate::Fixture;
use crate::arrange::{
    claim_one, claimed, error, everything, expanded, insert, items, plan, reap_all, running,
    videos, worker,
};

#[apply(behaviour!)]
async fn the_first_worker_that_misses_a_batchs_files_stays(db: &dyn Fixture) {
    insert(db, &videos(2)).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Hash, everything()).await;
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let read = async |lease, me| store.root_suspicion(lease, me).await.expect("read");
    assert_eq!(read(batch.lease, first).await, RootSuspicion::default());
    for worker in [first, second] {
        store.suspect_root(batch.lease, worker).await.expect("recorded");
    }
    store.release(&[batch.lease]).await.expect("given back");
    for lost in [
        store.suspect_root(batch.lease, second).await,
        store.root_suspicion(batch.lease, second).await.map(drop),
    ] {
        assert!(matches!(lost, Err(StoreError::LeaseLost)), "{lost:?}");
    }
    let me = worker(&store).await;
    let batch = claim_one(&store, me, JobKind::Hash).await;
    assert_eq!(batch.attempts, 0, "giving back is no attempt");
    let by_itself = RootSuspicion { times: 2, ..RootSuspicion::default() };
    assert_eq!(read(batch.lease, first).await, by_itself, "the first stays");
    let by_another = RootSuspicion { of_batch: true, of_run: true, ..by_itself };
    assert_eq!(read(batch.lease, second).await, by_another);
    hash(&store, batch.lease, "v0001").await;
    assert!(read(batch.lease, me).await.run_has_hashes);
    let ids = ["v0001", "v0002"].map(str::to_owned);
    let found = store.hashed_files(&ids).await.expect("read");
    let found: Vec<_> = found.iter().map(|file| (&*file.id, &*file.file_path)).collect();
    assert_eq!(found, [("v0001", "/media/clip 1.mp4")]);
}

#[apply(behaviour!)]
async fn files_that_another_run_hashed_can_be_looked_for(db: &dyn Fixture) {
    insert(db, &videos(2)).await;
    let store = expanded(db).await;
    // Rows that a backfill filled in say nothing about files.
    let backfill = claimed(&store, JobKind::Backfill, everything()).await;
    let filter = VideoFilter::default();
    let chunk = store.backfill_chunk(backfill.lease, &backfill.bounds, None, 10, &filter).await;
    assert_eq!(chunk.expect("a chunk").rows, 2);
    running(&store, JobKind::Hash, plan(None), &[items(&["v0001"])]).await;
    running(&store, JobKind::Hash, plan(Some("p")), &[items(&["v0002"])]).await;
    let me = worker(&store).await;
    let first = claim_one(&store, me, JobKind::Hash).await;
    let second = claim_one(&store, me, JobKind::Hash).await;
    let found = async || store.root_suspicion(second.lease, me).await.expect("read");
    assert_eq!(found().await, RootSuspicion::default());
    hash(&store, first.lease, "v0001").await;
    let known = vec!["v0001".to_owned()];
    let expected = RootSuspicion { hashed_items: known, ..RootSuspicion::default() };
    assert_eq!(found().await, expected);
}

/// Records that `id` was hashed where [`videos`] have it.
async fn hash(store: &SharedStore, lease: Lease, id: &str) {
    let hashed = HashedFile {
        id: id.to_owned(),
        file_path: "/media/clip 1.mp4".to_owned(),
        file_size: Some(1_000),
        sha256: "a".repeat(64),
        bytes: 1,
        from_checksum: false,
    };
    let results = FileResults { hashed: vec![hashed], ..FileResults::default() };
    assert_eq!(store.record_files(lease, &results).await.expect("recorded"), 1);
}

#[apply(behaviour!)]
async fn lost_leases_are_counted_and_keep_what_was_read_alone(db: &dyn Fixture) {
    insert(db, &videos(4)).await;
    let store = expanded(db).await;
    let mut batch = claimed(&store, JobKind::Hash, everything()).await;
    assert_eq!((batch.lost_leases, batch.alone_files), (0, None));
    for (lost, alone) in [(1, None), (2, Some(2)), (3, Some(1))] {
        store.record_alone(batch.lease, alone).await.expect("recorded");
        let before = batch.lease;
        reap_all(&store).await;
        let refused = store.record_alone(before, None).await;
        assert!(matches!(refused, Err(StoreError::LeaseLost)), "{refused:?}");
        batch = claim_one(&store, worker(&store).await, JobKind::Hash).await;
        assert_eq!((batch.lost_leases, batch.alone_files), (lost, alone));
        assert_eq!(batch.attempts, 0, "a lost lease is no attempt");
    }
    // Whoever ends by itself was not killed.
    store.release(&[batch.lease]).await.expect("given back");
    let leaver = worker(&store).await;
    batch = claim_one(&store, leaver, JobKind::Hash).await;
    assert_eq!((batch.lost_leases, batch.alone_files), (3, None));
    store.record_alone(batch.lease, Some(1)).await.expect("recorded");
    store.deregister_worker(leaver).await.expect("it leaves");
    batch = claim_one(&store, worker(&store).await, JobKind::Hash).await;
    assert_eq!((batch.lost_leases, batch.alone_files), (3, None));
    store.record_alone(batch.lease, Some(1)).await.expect("recorded");
    let failure = error("file_changed", None, batch.id);
    store.fail_attempt(batch.lease, true, Duration::ZERO, &failure).await.expect("it fails");
    batch = claim_one(&store, worker(&store).await, JobKind::Hash).await;
    assert_eq!((batch.lost_leases, batch.alone_files, batch.attempts), (3, None, 1));
}
