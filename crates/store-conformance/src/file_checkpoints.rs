//! Checkpoints of large files: written by whoever holds the lease, read by whoever takes
//! the batch over, gone with the file's outcome.

use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_store::SharedStore;
use reelshift_store::StoreError;
use reelshift_store::file_checkpoints::FileCheckpoint;
use reelshift_store::ledger::Claimed;
use reelshift_store::videos::{FailedItem, FileResults, HashedFile};

use crate::Fixture;
use crate::arrange::{claimed, error, everything, expanded, forged, insert, videos};

async fn hashing(db: &dyn Fixture) -> (SharedStore, Claimed) {
    insert(db, &videos(4)).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Hash, everything()).await;
    (store, batch)
}

fn checkpoint(n: usize, bytes_done: u64) -> FileCheckpoint {
    FileCheckpoint {
        video_id: format!("v{n:04}"),
        file_path: format!("/media/ünd 'clip' {n}.mp4 "),
        // More than 32 bits.
        file_size: 20 << 30,
        bytes_done,
        state: vec![0, 1, 255, bytes_done as u8],
    }
}

fn ids(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("v{n:04}")).collect()
}

#[apply(behaviour!)]
async fn a_file_checkpoint_is_read_back_whole(db: &dyn Fixture) {
    let (store, batch) = hashing(db).await;
    for n in [3, 1] {
        store.save_file_checkpoint(batch.lease, &checkpoint(n, 64)).await.expect("saved");
    }
    let found = store.file_checkpoints(&ids(1..=4)).await.expect("read");
    assert_eq!(found, [checkpoint(1, 64), checkpoint(3, 64)]);
    let found = store.file_checkpoints(&ids([2, 3])).await.expect("read");
    assert_eq!(found, [checkpoint(3, 64)]);
    assert!(store.file_checkpoints(&[]).await.expect("read").is_empty());
}

#[apply(behaviour!)]
async fn a_later_file_checkpoint_takes_the_place(db: &dyn Fixture) {
    let (store, batch) = hashing(db).await;
    for bytes in [64, 15 << 30] {
        store.save_file_checkpoint(batch.lease, &checkpoint(1, bytes)).await.expect("saved");
    }
    let other = FileCheckpoint { file_path: "/media/other.mp4".to_owned(), ..checkpoint(1, 128) };
    store.save_file_checkpoint(batch.lease, &other).await.expect("saved");
    assert_eq!(store.file_checkpoints(&ids([1])).await.expect("read"), [other]);
}

#[apply(behaviour!)]
async fn an_outcome_removes_the_file_checkpoint(db: &dyn Fixture) {
    let (store, batch) = hashing(db).await;
    for n in 1..=4 {
        store.save_file_checkpoint(batch.lease, &checkpoint(n, 64)).await.expect("saved");
    }
    let hashed = HashedFile {
        id: "v0001".to_owned(),
        file_path: "/media/clip 1.mp4".to_owned(),
        file_size: Some(1_000),
        sha256: "a".repeat(64),
        bytes: 1_000,
        from_checksum: false,
    };
    // The second one's path is another by now, and its hash is not written.
    let moved =
        HashedFile { id: "v0002".to_owned(), file_path: "/media/x".to_owned(), ..hashed.clone() };
    let failed = FailedItem {
        video_id: "v0003".to_owned(),
        error: error("file_missing", Some("v0003"), batch.id),
    };
    let results =
        FileResults { hashed: vec![hashed, moved], failed: vec![failed], ..FileResults::default() };
    assert_eq!(store.record_files(batch.lease, &results).await.expect("recorded"), 1);
    let left = store.file_checkpoints(&ids(1..=4)).await.expect("read");
    assert_eq!(left, [checkpoint(4, 64)]);
}

#[apply(behaviour!)]
async fn file_checkpoints_are_forgotten(db: &dyn Fixture) {
    let (store, batch) = hashing(db).await;
    for n in 1..=3 {
        store.save_file_checkpoint(batch.lease, &checkpoint(n, 64)).await.expect("saved");
    }
    store.forget_file_checkpoints(batch.lease, &ids([1, 3, 4])).await.expect("forgotten");
    let left = store.file_checkpoints(&ids(1..=4)).await.expect("read");
    assert_eq!(left, [checkpoint(2, 64)]);
}

#[apply(behaviour!)]
async fn only_a_lease_writes_file_checkpoints(db: &dyn Fixture) {
    let (store, batch) = hashing(db).await;
    store.save_file_checkpoint(batch.lease, &checkpoint(1, 64)).await.expect("saved");
    let late = forged(batch.lease);
    let saved = store.save_file_checkpoint(late, &checkpoint(1, 128)).await;
    assert!(matches!(saved, Err(StoreError::LeaseLost)), "{saved:?}");
    let forgotten = store.forget_file_checkpoints(late, &ids([1])).await;
    assert!(matches!(forgotten, Err(StoreError::LeaseLost)), "{forgotten:?}");
    assert_eq!(store.file_checkpoints(&ids([1])).await.expect("read"), [checkpoint(1, 64)]);
}
