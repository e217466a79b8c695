//! Batches that were given back because a worker does not find their files.

use reelshift_plan::JobKind;
use uuid::Uuid;

use super::Fixture;
use super::arrange::{claim_one, claimed, everything, expanded, insert, videos, worker};
use crate::StoreError;
use crate::ledger::RootSuspicion;
use crate::videos::{FileResults, HashedFile};

pub async fn the_first_worker_that_misses_a_batchs_files_stays(db: &dyn Fixture) {
    insert(db, &videos(2)).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Hash, everything()).await;
    let read = async |lease| store.root_suspicion(lease).await.expect("read");
    assert_eq!(read(batch.lease).await, RootSuspicion::default());
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for worker in [first, second] {
        store.suspect_root(batch.lease, worker).await.expect("recorded");
    }
    store.release(&[batch.lease]).await.expect("given back");
    for lost in [
        store.suspect_root(batch.lease, second).await,
        store.root_suspicion(batch.lease).await.map(drop),
    ] {
        assert!(matches!(lost, Err(StoreError::LeaseLost)), "{lost:?}");
    }
    let me = worker(&store).await;
    let batch = claim_one(&store, me, JobKind::Hash).await;
    assert_eq!(batch.attempts, 0, "giving back is no attempt");
    let suspicion = RootSuspicion { suspected_by: Some(first), run_has_hashes: false };
    assert_eq!(read(batch.lease).await, suspicion);
    let hashed = HashedFile {
        id: "v0001".to_owned(),
        file_path: "/media/clip 1.mp4".to_owned(),
        file_size: Some(1_000),
        sha256: "a".repeat(64),
        bytes: 1,
    };
    let results = FileResults { hashed: vec![hashed], ..FileResults::default() };
    assert_eq!(store.record_files(batch.lease, &results).await.expect("recorded"), 1);
    assert!(read(batch.lease).await.run_has_hashes);
}
