//! The application's transactions beside ours: one that holds a row which ours needs changes
//! another that ours holds. If ours waited, the server would end one of the two, most likely the
//! application's, which is the smaller.

use std::fmt::Debug;
use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_store::archive::ArchivedTable;
use reelshift_store::ledger::{Bounds, VideoFilter};
use reelshift_store::videos::{FailedItem, FileResults};
use reelshift_store::{ErrorRecord, Result, SharedStore, StoreError};

use crate::arrange::{claimed, error, everything, expanded, insert, items, steadily, videos};
use crate::files::hashed;
use crate::rollback::archive;
use crate::{Fixture, Held};

/// Time enough for `ours` to come to the row that `held` has; with less it only gives way later.
const AHEAD: Duration = Duration::from_millis(200);

/// Has a transaction that holds something change `v0002` while `ours` is under way.
async fn beside<T: Debug>(mut held: Box<dyn Held>, ours: impl Future<Output = Result<T>>) {
    let (ours, changed) = tokio::join!(ours, async {
        tokio::time::sleep(AHEAD).await;
        held.try_execute("UPDATE videos SET fps = 25 WHERE id = 'v0002'").await
    });
    assert_eq!(changed, Ok(()), "{ours:?}");
    assert!(!matches!(ours, Err(StoreError::Locked { deadlock: true, .. })), "{ours:?}");
    held.release().await;
}

/// A store with six videos; `None` where a row cannot be held by itself.
async fn six_videos(db: &dyn Fixture) -> Option<SharedStore> {
    if !db.row_locks() {
        return None;
    }
    insert(db, &videos(6)).await;
    Some(expanded(db).await)
}

/// Holds the status row of `v0006` and, on MariaDB, the gap before it.
async fn hold_status(db: &dyn Fixture) -> Box<dyn Held> {
    db.hold("UPDATE videos SET processing_status = 'processing' WHERE id = 'v0006'").await
}

#[apply(behaviour!)]
async fn a_chunk_does_not_wait(db: &dyn Fixture) {
    let Some(store) = six_videos(db).await else { return };
    db.execute("UPDATE videos SET processing_status = 'failed' WHERE id = 'v0006'").await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    let bounds = Bounds::Range { after: None, upto: "v0005".to_owned() };
    let filter = VideoFilter::default();
    let chunk = async || store.backfill_chunk(batch.lease, &bounds, None, 10, &filter).await;
    beside(hold_status(db).await, chunk()).await;
    steadily("the chunk afterwards", chunk).await;
    assert_eq!(db.count("FROM video_processing_status").await, 6);

    // Rows that are there and differ, one of them in the application's hands.
    let differs = "UPDATE video_processing_status SET ground_truth_status = 'failed' \
                   WHERE video_id IN ('v0002', 'v0004')";
    db.execute(differs).await;
    let held = "UPDATE video_processing_status SET retry_count = 1 WHERE video_id = 'v0004'";
    beside(db.hold(held).await, chunk()).await;
    steadily("the chunk afterwards", chunk).await;
    let differ = "FROM video_processing_status WHERE ground_truth_status = 'failed' \
                  AND video_id <> 'v0006'";
    assert_eq!(db.count(differ).await, 0);
}

#[apply(behaviour!)]
async fn a_chunk_of_items_does_not_wait(db: &dyn Fixture) {
    let Some(store) = six_videos(db).await else { return };
    let bounds = items(&["v0002", "v0004"]);
    let batch = claimed(&store, JobKind::Backfill, bounds.clone()).await;
    let failed = error("database_value_refused", Some("v0004"), batch.id);
    let failed = ErrorRecord { processing_stage: "backfill".to_owned(), ..failed };
    store.record_errors(&[failed]).await.expect("recorded");
    let filter = VideoFilter::default();
    let chunk = async || store.backfill_chunk(batch.lease, &bounds, None, 10, &filter).await;
    // Done by another, whom the application follows: its rows go with the video.
    steadily("a chunk", chunk).await;
    db.execute("UPDATE processing_error_log SET recovery_successful = NULL").await;
    db.execute("UPDATE videos SET retention_policy = NULL WHERE id = 'v0002'").await;
    beside(db.hold("DELETE FROM videos WHERE id = 'v0004'").await, chunk()).await;
    steadily("the chunk afterwards", chunk).await;
    let open = "FROM processing_error_log WHERE recovery_successful IS NULL";
    assert_eq!(db.count(open).await, 0);
}

#[apply(behaviour!)]
async fn hashes_do_not_wait(db: &dyn Fixture) {
    let Some(store) = six_videos(db).await else { return };
    let batch = claimed(&store, JobKind::Hash, everything()).await;
    let results = FileResults {
        hashed: [1, 2, 4].map(|n| hashed(n, "a")).to_vec(),
        ..FileResults::default()
    };
    let record = async || store.record_files(batch.lease, &results).await;
    for held in [
        "UPDATE videos SET fps = 24 WHERE id = 'v0004'",
        "UPDATE processing_error_log SET user_impact = 'low' WHERE video_id = 'v0004'",
    ] {
        let failed = error("file_missing", Some("v0004"), batch.id);
        store.record_errors(&[failed]).await.expect("recorded");
        beside(db.hold(held).await, record()).await;
        assert_eq!(steadily("the hashes afterwards", record).await, 3, "{held}");
        let open = "FROM processing_error_log WHERE recovery_successful IS NULL";
        assert_eq!(db.count(open).await, 0, "{held}");
    }
}

#[apply(behaviour!)]
async fn setting_aside_does_not_wait(db: &dyn Fixture) {
    let Some(store) = six_videos(db).await else { return };
    db.execute("UPDATE videos SET processing_status = 'failed' WHERE id = 'v0006'").await;
    let batch = claimed(&store, JobKind::Hash, everything()).await;
    let held_rows = [
        "UPDATE videos SET fps = 24 WHERE id = 'v0004'",
        "UPDATE video_processing_status SET retry_count = 1 WHERE video_id = 'v0006'",
    ];
    for (held, ids) in held_rows.into_iter().zip([["v0002", "v0004"], ["v0002", "v0006"]]) {
        let items = ids.map(|id| FailedItem {
            error: error("file_missing", Some(id), batch.id),
            video_id: id.to_owned(),
        });
        let set_aside = async || store.set_aside(batch.lease, &items).await;
        beside(db.hold(held).await, set_aside()).await;
        assert_eq!(steadily("setting them aside afterwards", set_aside).await, 2, "{held}");
    }
}

#[apply(behaviour!)]
async fn restoring_does_not_wait(db: &dyn Fixture) {
    let Some(store) = six_videos(db).await else { return };
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    let filter = VideoFilter::default();
    steadily("a backfill", async || {
        store.backfill_chunk(batch.lease, &batch.bounds, None, 10, &filter).await
    })
    .await;
    let archived = archive(&store, 100).await;
    let (table, columns, rows) =
        archived.iter().find(|(table, ..)| *table == ArchivedTable::Statuses).expect("status rows");
    db.execute("DELETE FROM video_processing_status WHERE video_id <> 'v0006'").await;
    let restore = async || store.restore_rows(*table, columns, &rows[..5]).await;
    beside(hold_status(db).await, restore()).await;
    let rows = steadily("the restore afterwards", restore).await.rows;
    assert_eq!(rows.restored + rows.present, 5, "where no gap was held, it was done before");
}
