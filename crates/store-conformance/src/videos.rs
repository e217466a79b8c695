//! The backfill: what a chunk writes, compared with an expectation that is computed here,
//! from the specification, and shares nothing with the adapters' SQL.

use std::collections::BTreeMap;

use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_store::SharedStore;
use reelshift_store::ledger::Claimed;

use crate::arrange::{Video, claimed, everything, expanded, insert, video, videos, without_bridge};
use crate::{Fixture, Rows};

const LEGACY: [&str; 13] = [
    "id",
    "filename",
    "file_path",
    "file_size",
    "duration",
    "fps",
    "resolution",
    "status",
    "processing_status",
    "ground_truth_generated",
    "project_id",
    "created_at",
    "updated_at",
];

const FILENAMES: [Option<&str>; 12] = [
    Some("a.mp4"),
    Some("b.avi"),
    Some("c.mov"),
    Some("d.mkv"),
    Some("E.MP4"),
    Some("f.MoV"),
    Some("g.webm"),
    Some("mp4"),
    Some("it's \"ünï\" 🎬.mkv"),
    Some("h.mp4.bak"),
    Some(""),
    None,
];

/// What the backfill must leave: workflow state, file name, type, location, retention,
/// upload status, ground truth status, stage.
type Expected = [Option<String>; 8];

fn expected(video: &Video) -> Expected {
    let (state, truth, stage) = match (video.ground_truth, video.processing_status.as_deref()) {
        (Some(true), _) => ("completed", "completed", "completed"),
        (_, Some("pending")) => ("uploaded", "pending", "validation"),
        (_, Some("processing")) => ("processing", "generating", "ground_truth"),
        _ => ("failed", "failed", "validation"),
    };
    let name = video.filename.as_deref().unwrap_or_default().to_ascii_lowercase();
    let types = [(".mp4", "mp4"), (".avi", "avi"), (".mov", "quicktime"), (".mkv", "x-matroska")];
    let mime =
        types.iter().find(|(ending, _)| name.ends_with(ending)).map_or("unknown", |(_, mime)| mime);
    let text = |text: &str| Some(text.to_owned());
    [
        text(state),
        video.filename.clone(),
        Some(format!("video/{mime}")),
        video.file_path.clone(),
        text("standard_90_days"),
        text("completed"),
        text(truth),
        text(stage),
    ]
}

/// The same columns, as they are; a video without a status row is not in it.
pub(super) async fn found(db: &dyn Fixture) -> BTreeMap<String, Expected> {
    let columns = [
        "v.id",
        "v.workflow_state",
        "v.original_filename",
        "v.file_mime_type",
        "v.storage_location",
        "v.retention_policy",
        "s.upload_status",
        "s.ground_truth_status",
        "s.current_stage",
    ];
    let rows = db
        .rows(&columns, "FROM videos v JOIN video_processing_status s ON s.video_id = v.id")
        .await;
    rows.into_iter()
        .map(|mut row| {
            let id = row.remove(0).expect("a video has an id");
            (id, row.try_into().expect("eight columns"))
        })
        .collect()
}

/// Every combination of the columns that the mappings read, and of those that must stay.
fn combinations() -> Vec<Video> {
    let mut all = Vec::new();
    for status in [Some("uploaded"), Some("processed"), None] {
        for processing in [
            Some("pending"),
            Some("processing"),
            Some("completed"),
            Some("failed"),
            Some("queued"),
            None,
        ] {
            for ground_truth in [Some(true), Some(false), None] {
                for filename in FILENAMES {
                    let n = all.len() + 1;
                    all.push(Video {
                        filename: filename.map(str::to_owned),
                        file_path: (n % 7 > 0).then(|| format!("/media/{n} it's 🎬.mp4")),
                        file_size: (n % 5 > 0).then_some(1_000),
                        status: status.map(str::to_owned),
                        processing_status: processing.map(str::to_owned),
                        ground_truth,
                        created_at: (n % 11 > 0).then(|| "2026-01-02 03:04:05".to_owned()),
                        updated_at: (n % 13 > 0).then(|| "2026-02-03 04:05:06".to_owned()),
                        ..video(n)
                    });
                }
            }
        }
    }
    all
}

/// Chunks of `limit` rows until the bounds are exhausted; the sum of their rows.
pub(super) async fn drain(store: &SharedStore, batch: &Claimed, limit: u32) -> u32 {
    let (mut after, mut rows, mut chunks) = (batch.checkpoint.clone(), 0, 0);
    loop {
        let chunk = store
            .backfill_chunk(batch.lease, &batch.bounds, after.as_deref(), limit, &batch.filter)
            .await
            .expect("a chunk");
        assert!(chunk.rows <= limit, "{chunk:?}");
        (rows, chunks) = (rows + chunk.rows, chunks + 1);
        assert!(chunks < 1_000, "chunks have an end: {chunk:?}");
        if chunk.next.is_none() {
            return rows;
        }
        assert_ne!(chunk.next, after, "a chunk goes on");
        after = chunk.next;
    }
}

async fn legacy(db: &dyn Fixture) -> Rows {
    db.rows(&LEGACY, "FROM videos ORDER BY id").await
}

#[apply(behaviour!)]
async fn every_combination_gets_what_the_specification_says(db: &dyn Fixture) {
    let all = combinations();
    insert(db, &all).await;
    let before = legacy(db).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    assert_eq!(drain(&store, &batch, 50).await as usize, all.len());
    let found = found(db).await;
    assert_eq!(found.len(), all.len(), "each video has its status row");
    for video in &all {
        assert_eq!(found[&video.id], expected(video), "{video:?}");
    }
    assert_eq!(legacy(db).await, before, "the legacy columns are as they were, updated_at too");
}

#[apply(behaviour!)]
async fn status_rows_have_ids_and_times_of_their_own_video(db: &dyn Fixture) {
    insert(db, &videos(20)).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    drain(&store, &batch, 7).await;
    let rows = db.rows(&["id", "created_at", "updated_at"], "FROM video_processing_status").await;
    assert_eq!(rows.len(), 20);
    let ids: std::collections::BTreeSet<_> = rows.iter().map(|row| &row[0]).collect();
    assert_eq!(ids.len(), 20);
    let of_videos = db.rows(&["created_at", "updated_at"], "FROM videos WHERE id = 'v0001'").await;
    for row in &rows {
        assert_eq!(row[0].as_deref().map(str::len), Some(36), "a UUID: {row:?}");
        assert_eq!(row[1..], of_videos[0]);
    }
}

#[apply(behaviour!)]
async fn a_second_pass_writes_nothing(db: &dyn Fixture) {
    insert(db, &combinations()).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    assert!(drain(&store, &batch, 1_000).await > 0);
    let tables =
        async || [db.contents("videos").await, db.contents("video_processing_status").await];
    let before = tables().await;
    assert_eq!(drain(&store, &batch, 1_000).await, 0);
    assert_eq!(tables().await, before);
}

#[apply(behaviour!)]
async fn archived_and_finer_states_survive(db: &dyn Fixture) {
    insert(db, &videos(6)).await;
    let store = expanded(db).await;
    without_bridge(db, &store).await;
    let states = ["archived", "initializing", "uploading", "validating", "completed"];
    for (n, state) in states.iter().enumerate() {
        db.execute(&format!(
            "UPDATE videos SET workflow_state = '{state}' WHERE id = 'v000{}'",
            n + 1
        ))
        .await;
    }
    db.execute("UPDATE videos SET workflow_state = NULL WHERE id = 'v0006'").await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    assert_eq!(drain(&store, &batch, 10).await, 6, "metadata and status rows were missing");
    let now = db.rows(&["workflow_state"], "FROM videos ORDER BY id").await;
    let now: Vec<_> = now.iter().map(|row| row[0].as_deref().expect("a state")).collect();
    assert_eq!(
        now,
        ["archived", "initializing", "uploading", "validating", "uploaded", "uploaded"]
    );
    for (id, row) in found(db).await {
        assert_eq!(
            row[6].as_deref(),
            Some("pending"),
            "{id}: ground truth comes from the legacy columns"
        );
    }
}

#[apply(behaviour!)]
async fn what_others_wrote_into_the_metadata_survives(db: &dyn Fixture) {
    insert(db, &videos(2)).await;
    let store = expanded(db).await;
    without_bridge(db, &store).await;
    db.execute("UPDATE videos SET retention_policy = 'legal_hold', file_mime_type = 'video/x' WHERE id = 'v0001'").await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    assert_eq!(drain(&store, &batch, 10).await, 2);
    let row = &found(db).await["v0001"];
    assert_eq!(row[1].as_deref(), Some("clip 1.mp4"), "what was NULL is filled in");
    assert_eq!((row[2].as_deref(), row[4].as_deref()), (Some("video/x"), Some("legal_hold")));
}

#[apply(behaviour!)]
async fn a_status_row_that_disagrees_is_corrected_and_keeps_the_rest(db: &dyn Fixture) {
    let mut some = videos(1);
    some[0].processing_status = Some("processing".to_owned());
    insert(db, &some).await;
    let store = expanded(db).await;
    db.execute("DELETE FROM video_processing_status").await;
    db.execute(
        "INSERT INTO video_processing_status (id, video_id, ground_truth_status, total_frames, processing_priority) \
         VALUES ('theirs', 'v0001', 'failed', 77, 9)",
    )
    .await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    assert_eq!(drain(&store, &batch, 10).await, 1);
    let row = db.rows(
        &["id", "ground_truth_status", "total_frames", "processing_priority"],
        "FROM video_processing_status",
    );
    assert_eq!(row.await, [["theirs", "generating", "77", "9"].map(|text| Some(text.to_owned()))]);
}
