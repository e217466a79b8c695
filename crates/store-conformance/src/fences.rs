//! A worker without the lease writes nothing: every function that takes a lease, with a
//! token that was never given and with one that was taken away.

use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_store::ledger::{Claimed, Finished, Lease, VideoFilter};
use reelshift_store::videos::{FailedItem, FileResults, HashedFile};
use reelshift_store::{SharedStore, StoreError};

use crate::arrange::{
    LONG, claimed, error, everything, expanded, forged, insert, items, reap_all, videos,
};
use crate::{Fixture, Rows};

/// Everything that a zombie could write to.
async fn database(db: &dyn Fixture) -> Vec<Rows> {
    let mut tables = Vec::new();
    for table in [
        "reelshift_batches",
        "reelshift_runs",
        "reelshift_quarantine",
        "processing_error_log",
        "video_processing_status",
        "videos",
    ] {
        tables.push(db.contents(table).await);
    }
    tables
}

/// Tries every write under `lease`, and sees that there was none.
async fn writes_nothing(db: &dyn Fixture, store: &SharedStore, batch: &Claimed, lease: Lease) {
    let before = database(db).await;
    assert_eq!(store.finish(&[Finished { lease, last_error_id: None }]).await.expect("asked"), 0);
    assert_eq!(store.release(&[lease]).await.expect("asked"), 0);
    for retry in [true, false] {
        let failed =
            store.fail_attempt(lease, retry, Duration::ZERO, &error("late", None, batch.id)).await;
        assert!(matches!(failed, Err(StoreError::LeaseLost)), "{failed:?}");
    }
    let chunk =
        store.backfill_chunk(lease, &everything(), None, 100, &VideoFilter::default()).await;
    assert!(matches!(chunk, Err(StoreError::LeaseLost)), "{chunk:?}");
    let results = FileResults {
        hashed: vec![HashedFile {
            id: "v0001".to_owned(),
            file_path: "/media/clip 1.mp4".to_owned(),
            file_size: Some(1_000),
            sha256: "a".repeat(64),
            bytes: 10,
            from_checksum: false,
        }],
        failed: vec![FailedItem {
            video_id: "v0002".to_owned(),
            error: error("file_missing", Some("v0002"), batch.id),
        }],
        noticed: vec![error("size_differs", Some("v0003"), batch.id)],
    };
    let recorded = store.record_files(lease, &results).await;
    assert!(matches!(recorded, Err(StoreError::LeaseLost)), "{recorded:?}");
    let aside = store.set_aside(lease, &results.failed).await;
    assert!(matches!(aside, Err(StoreError::LeaseLost)), "{aside:?}");
    assert_eq!(database(db).await, before);
}

#[apply(behaviour!)]
async fn a_token_that_was_never_given_writes_nothing(db: &dyn Fixture) {
    insert(db, &videos(3)).await;
    let store = expanded(db).await;
    for &kind in JobKind::ALL {
        let batch = claimed(&store, kind, items(&["v0001", "v0002", "v0003"])).await;
        writes_nothing(db, &store, &batch, forged(batch.lease)).await;
        let other_batch = Lease { seq: batch.lease.seq + 1_000, ..batch.lease };
        writes_nothing(db, &store, &batch, other_batch).await;
        assert_eq!(
            store.release(&[batch.lease]).await.expect("given back"),
            1,
            "the real one still holds"
        );
    }
}

#[apply(behaviour!)]
async fn a_reaped_worker_writes_nothing(db: &dyn Fixture) {
    insert(db, &videos(3)).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Hash, items(&["v0001", "v0002", "v0003"])).await;
    assert_eq!(reap_all(&store).await, 1);
    writes_nothing(db, &store, &batch, batch.lease).await;
    let heir = crate::arrange::worker(&store).await;
    let again = crate::arrange::claim_one(&store, heir, JobKind::Hash).await;
    assert_ne!(again.lease.token, batch.lease.token);
    writes_nothing(db, &store, &batch, batch.lease).await;
    assert_eq!(
        store
            .finish(&[Finished { lease: again.lease, last_error_id: None }])
            .await
            .expect("it ends"),
        1
    );
}

#[apply(behaviour!)]
async fn a_finished_or_failed_attempt_writes_nothing_more(db: &dyn Fixture) {
    insert(db, &videos(3)).await;
    let store = expanded(db).await;
    let done = claimed(&store, JobKind::Backfill, everything()).await;
    assert_eq!(
        store
            .finish(&[Finished { lease: done.lease, last_error_id: None }])
            .await
            .expect("it ends"),
        1
    );
    writes_nothing(db, &store, &done, done.lease).await;
    let failed = claimed(&store, JobKind::Hash, everything()).await;
    let error = error("broken", None, failed.id);
    store.fail_attempt(failed.lease, true, LONG, &error).await.expect("it fails");
    writes_nothing(db, &store, &failed, failed.lease).await;
}
