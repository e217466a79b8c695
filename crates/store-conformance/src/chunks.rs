//! The backfill: which rows a chunk takes, where the next goes on, and what others hold.

use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_store::ledger::{Bounds, VideoFilter};

use crate::Fixture;
use crate::arrange::{
    Video, claim_one, claimed, everything, expanded, insert, items, plan, running, steadily, video,
    videos, worker,
};
use crate::videos::{drain, found};

#[apply(behaviour!)]
async fn chunks_walk_their_range_and_leave_the_rest(db: &dyn Fixture) {
    insert(db, &videos(30)).await;
    let store = expanded(db).await;
    let bounds = Bounds::Range { after: Some("v0010".to_owned()), upto: "v0022".to_owned() };
    let batch = claimed(&store, JobKind::Backfill, bounds).await;
    assert_eq!(drain(&store, &batch, 5).await, 12);
    let ids: Vec<_> = found(db).await.into_keys().collect();
    assert_eq!(ids, videos(22)[10..].iter().map(|video| video.id.clone()).collect::<Vec<_>>());
}

#[apply(behaviour!)]
async fn a_range_compares_ids_as_the_database_does(db: &dyn Fixture) {
    let ids = ["a1", "B2", "b1", "A2", "c'3", "Zz", "é9", "e8"];
    let some: Vec<_> = ids.iter().map(|id| Video { id: (*id).to_owned(), ..video(1) }).collect();
    insert(db, &some).await;
    let store = expanded(db).await;
    let ordered = db.rows(&["id"], "FROM videos ORDER BY id").await;
    let ordered: Vec<_> =
        ordered.into_iter().map(|mut row| row.remove(0).expect("an id")).collect();
    let bounds = Bounds::Range { after: Some(ordered[1].clone()), upto: ordered[6].clone() };
    let batch = claimed(&store, JobKind::Backfill, bounds).await;
    assert_eq!(drain(&store, &batch, 2).await, 5);
    let mut expected = ordered[2..7].to_vec();
    expected.sort();
    assert_eq!(found(db).await.into_keys().collect::<Vec<_>>(), expected);
}

#[apply(behaviour!)]
async fn items_are_filled_in_and_nothing_else(db: &dyn Fixture) {
    let mut some = videos(9);
    some[8].id = "it's 🎬".to_owned();
    insert(db, &some).await;
    let store = expanded(db).await;
    let ids = ["it's 🎬", "v0002", "v0004", "v0005", "v0007", "gone"];
    let batch = claimed(&store, JobKind::Backfill, items(&ids)).await;
    assert_eq!(drain(&store, &batch, 2).await, 5);
    assert_eq!(found(db).await.into_keys().collect::<Vec<_>>(), ids[..5]);
}

#[apply(behaviour!)]
async fn a_checkpoint_is_committed_with_its_chunk(db: &dyn Fixture) {
    insert(db, &videos(10)).await;
    let store = expanded(db).await;
    let run = running(&store, JobKind::Backfill, plan(None), &[everything()]).await;
    let first = claim_one(&store, worker(&store).await, JobKind::Backfill).await;
    let filter = VideoFilter::default();
    let chunk =
        store.backfill_chunk(first.lease, &first.bounds, None, 4, &filter).await.expect("a chunk");
    assert_eq!((chunk.rows, chunk.next.as_deref()), (4, Some("v0004")));
    let chunk = store
        .backfill_chunk(first.lease, &first.bounds, Some("v0004"), 3, &filter)
        .await
        .expect("a chunk");
    assert_eq!((chunk.rows, chunk.next.as_deref()), (3, Some("v0007")));
    let done = db.rows(&["checkpoint", "rows_done"], "FROM reelshift_batches").await;
    assert_eq!(done, [[Some("v0007".to_owned()), Some("7".to_owned())]]);
    assert_eq!(store.release(&[first.lease]).await.expect("given back"), 1);
    let second = claim_one(&store, worker(&store).await, JobKind::Backfill).await;
    assert_eq!(second.checkpoint.as_deref(), Some("v0007"), "another worker goes on from there");
    assert_eq!(drain(&store, &second, 4).await, 3);
    let snapshot = store.ledger_report(1).await.expect("a report");
    assert_eq!((snapshot.runs[0].run.id, snapshot.runs[0].rows_done), (run.id, 10));
}

#[apply(behaviour!)]
async fn rows_that_others_hold_are_skipped(db: &dyn Fixture) {
    insert(db, &videos(5)).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    let held =
        db.hold("UPDATE videos SET resolution = '640x480' WHERE id IN ('v0002', 'v0004')").await;
    let filter = VideoFilter::default();
    let chunk = store.backfill_chunk(batch.lease, &batch.bounds, None, 10, &filter).await;
    let expected = if db.row_locks() {
        let chunk = chunk.expect("it does not wait for them");
        assert_eq!((chunk.rows, chunk.next), (3, None));
        vec!["v0001", "v0003", "v0005"]
    } else {
        assert!(chunk.as_ref().is_err_and(reelshift_store::StoreError::is_transient), "{chunk:?}");
        vec![]
    };
    let ids: Vec<_> = found(db).await.into_keys().collect();
    assert_eq!(ids, expected);
    held.release().await;
    let left = steadily("the rest", async || {
        store.backfill_chunk(batch.lease, &batch.bounds, None, 10, &filter).await
    })
    .await;
    assert_eq!(left.rows as usize, 5 - expected.len(), "the sweep's rows");
    assert_eq!(found(db).await.len(), 5);
}

#[apply(behaviour!)]
async fn chunks_at_once_do_not_collide(db: &dyn Fixture) {
    insert(db, &videos(400)).await;
    let store = expanded(db).await;
    let bounds: Vec<_> = (0..4)
        .map(|n| Bounds::Range {
            after: Some(format!("v{:04}", n * 100)),
            upto: format!("v{:04}", (n + 1) * 100),
        })
        .collect();
    running(&store, JobKind::Backfill, plan(None), &bounds).await;
    let workers = (0..4).map(async |_| {
        let store = db.store().await;
        let batch = claim_one(&store, worker(&store).await, JobKind::Backfill).await;
        let (mut after, mut rows) = (None, 0);
        loop {
            let chunk = steadily("a chunk", async || {
                store
                    .backfill_chunk(batch.lease, &batch.bounds, after.as_deref(), 10, &batch.filter)
                    .await
            })
            .await;
            rows += chunk.rows;
            after = chunk.next;
            if after.is_none() {
                return rows;
            }
        }
    });
    let rows = futures::future::join_all(workers).await;
    assert_eq!(rows, [100; 4]);
    assert_eq!(found(db).await.len(), 400);
    assert_eq!(db.value("SUM(rows_done)", "FROM reelshift_batches").await.as_deref(), Some("400"));
}
