//! The bridge: every transition of the design's table, walked through on rows, against an
//! expectation that is computed here and shares nothing with the triggers' SQL.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_store::ledger::{Bounds, VideoFilter};

use crate::arrange::{
    Video, claimed, everything, expanded, insert, video, videos, with_bridge, without_bridge,
};
use crate::validate::validate;
use crate::videos::drain;
use crate::{Fixture, Rows};

const PROCESSING: [Option<&str>; 6] =
    [Some("pending"), Some("processing"), Some("completed"), Some("failed"), Some("queued"), None];
const GROUND_TRUTH: [Option<bool>; 3] = [Some(true), Some(false), None];
const STATES: [Option<&str>; 9] = [
    Some("initializing"),
    Some("uploading"),
    Some("uploaded"),
    Some("validating"),
    Some("processing"),
    Some("completed"),
    Some("failed"),
    Some("archived"),
    None,
];

/// What the bridge looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    processing: Option<&'static str>,
    ground_truth: Option<bool>,
    state: Option<&'static str>,
}

impl Row {
    /// Every combination there is.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for processing in PROCESSING {
            for ground_truth in GROUND_TRUTH {
                for state in STATES {
                    all.push(Self { processing, ground_truth, state });
                }
            }
        }
        all
    }

    fn workflow_state(self) -> &'static str {
        match (self.ground_truth, self.processing) {
            (Some(true), _) => "completed",
            (_, Some("pending")) => "uploaded",
            (_, Some("processing")) => "processing",
            _ => "failed",
        }
    }

    fn ground_truth_status(self) -> &'static str {
        match self.workflow_state() {
            "uploaded" => "pending",
            "processing" => "generating",
            other => other,
        }
    }

    fn class(self) -> Option<&'static str> {
        match self.state {
            Some("initializing" | "uploading" | "validating") => Some("uploaded"),
            other => other,
        }
    }

    fn agrees(self) -> bool {
        self.state == Some("archived") || self.class() == Some(self.workflow_state())
    }

    fn with_state_of_legacy(self) -> Self {
        Self { state: Some(self.workflow_state()), ..self }
    }

    fn with_legacy_of_state(self) -> Self {
        let (processing, truth) = match self.class() {
            Some("uploaded") => ("pending", false),
            Some("processing") => ("processing", false),
            Some("completed") => ("completed", true),
            _ => ("failed", false),
        };
        Self { processing: Some(processing), ground_truth: Some(truth), ..self }
    }

    /// The design's table: what an UPDATE from `old` to `self` leaves.
    fn after_update(self, old: Self) -> Self {
        let legacy = (self.processing, self.ground_truth) != (old.processing, old.ground_truth);
        let state = self.state != old.state;
        match (legacy, state) {
            (true, false) if old.state == Some("archived") => self.with_state_of_legacy(),
            _ if self.agrees() => self,
            (false, true) if self.state.is_some() => self.with_legacy_of_state(),
            _ => self.with_state_of_legacy(),
        }
    }

    /// The design's table: what an INSERT of `self` leaves.
    fn after_insert(self) -> Self {
        match self.state {
            None | Some("uploaded") => self.with_state_of_legacy(),
            _ if self.agrees() => self,
            _ => self.with_legacy_of_state(),
        }
    }

    /// The stage of a status row that is made for it.
    fn first_stage(self) -> &'static str {
        match self.workflow_state() {
            "completed" => "completed",
            "processing" => "ground_truth",
            _ => "validation",
        }
    }

    /// The stage of a status row that was there.
    fn next_stage(self, before: &'static str) -> &'static str {
        match self.state {
            Some("processing") => "inference",
            Some("completed") => "completed",
            Some("failed") => "failed",
            _ => before,
        }
    }

    fn texts(self) -> [Option<String>; 3] {
        [
            self.processing.map(str::to_owned),
            self.ground_truth.map(|truth| u8::from(truth).to_string()),
            self.state.map(str::to_owned),
        ]
    }
}

fn literal(text: Option<&str>) -> String {
    text.map_or("NULL".to_owned(), |text| format!("'{text}'"))
}

fn truth(value: Option<bool>) -> &'static str {
    value.map_or("NULL", |value| if value { "1" } else { "0" })
}

/// The rows that an UPDATE starts from, and the status row that each has: stage
/// `extraction`, or none.
struct Transition {
    old: Row,
    new: Row,
    backfilled: bool,
    has_status: bool,
}

fn transitions() -> Vec<Transition> {
    let mut all = Vec::new();
    for old in Row::all() {
        for new in Row::all() {
            let n = all.len();
            all.push(Transition { old, new, backfilled: n % 2 == 0, has_status: n % 3 > 0 });
        }
    }
    all
}

/// Inserts the rows as they were, with what they shall become in columns that nothing
/// reads: `resolution`, `fps` and `project_id`.
async fn insert_transitions(db: &dyn Fixture, all: &[Transition]) {
    for (chunk, some) in all.chunks(500).enumerate() {
        let mut rows = Vec::new();
        let mut statuses = Vec::new();
        for (n, t) in some.iter().enumerate() {
            let id = format!("v{:05}", chunk * 500 + n);
            rows.push(format!(
                "('{id}', 'a.mp4', 'kept', {}, {}, {}, {}, '{}', {}, '{}')",
                literal(t.old.processing),
                truth(t.old.ground_truth),
                literal(t.old.state),
                literal(t.backfilled.then_some("standard_90_days")),
                t.new.processing.unwrap_or("-"),
                t.new.ground_truth.map_or(-1, i8::from),
                t.new.state.unwrap_or("-"),
            ));
            if t.has_status {
                let status = t.old.ground_truth_status();
                statuses.push(format!("('s{id}', '{id}', '{status}', 'extraction')"));
            }
        }
        db.execute(&format!(
            "INSERT INTO videos (id, filename, status, processing_status, ground_truth_generated, workflow_state, \
             retention_policy, resolution, fps, project_id) VALUES {}",
            rows.join(", ")
        ))
        .await;
        db.execute(&format!(
            "INSERT INTO video_processing_status (id, video_id, ground_truth_status, current_stage) VALUES {}",
            statuses.join(", ")
        ))
        .await;
    }
}

/// One statement that takes every row to what it shall become.
const TRANSITION: &str = "UPDATE videos SET processing_status = NULLIF(resolution, '-'), \
     ground_truth_generated = CASE WHEN fps >= 0 THEN CASE WHEN fps > 0 THEN 1 ELSE 0 END END, \
     workflow_state = NULLIF(project_id, '-')";

const BRIDGED: [&str; 6] = [
    "v.status",
    "v.processing_status",
    "v.ground_truth_generated",
    "v.workflow_state",
    "s.ground_truth_status",
    "s.current_stage",
];

async fn bridged(db: &dyn Fixture) -> Rows {
    let tables =
        "FROM videos v LEFT JOIN video_processing_status s ON s.video_id = v.id ORDER BY v.id";
    db.rows(&BRIDGED, tables).await
}

/// `in_two` says that the triggers take a row to its state in a second UPDATE, as SQLite's
/// must: a state that was written and put back then counts as changed.
fn expected(t: &Transition, in_two: bool) -> Vec<Option<String>> {
    let after = t.new.after_update(t.old);
    let changed = after.state != t.old.state
        || after.ground_truth_status() != t.old.ground_truth_status()
        || (in_two && t.new.state != after.state);
    let (status, stage) = match (t.has_status, changed) {
        (true, true) => (Some(after.ground_truth_status()), Some(after.next_stage("extraction"))),
        (true, false) => (Some(t.old.ground_truth_status()), Some("extraction")),
        (false, true) => (Some(after.ground_truth_status()), Some(after.first_stage())),
        (false, false) => (None, None),
    };
    let mut row = vec![Some("kept".to_owned())];
    row.extend(after.texts());
    row.extend([status.map(str::to_owned), stage.map(str::to_owned)]);
    row
}

async fn walk(db: &dyn Fixture, all: &[Transition], statement: &str) {
    let store = expanded(db).await;
    without_bridge(db, &store).await;
    insert_transitions(db, all).await;
    with_bridge(&store).await;
    db.execute(statement).await;
    let found = bridged(db).await;
    assert_eq!(found.len(), all.len());
    for (t, found) in all.iter().zip(&found) {
        let expected = expected(t, !db.row_locks());
        assert_eq!(found, &expected, "{:?} to {:?}, backfilled {}", t.old, t.new, t.backfilled);
    }
    db.execute("UPDATE videos SET duration = 1").await;
    assert_eq!(bridged(db).await, found, "where there is agreement, nothing is done");
}

#[apply(behaviour!)]
async fn every_transition_is_that_of_the_table(db: &dyn Fixture) {
    walk(db, &transitions(), TRANSITION).await;
}

/// The same with triggers that fire themselves again, which SQLite can be told to allow,
/// and without strictness; a part of the transitions is enough.
#[apply(behaviour!)]
async fn transitions_do_not_depend_on_settings(db: &dyn Fixture) {
    let some: Vec<_> = transitions().into_iter().step_by(7).collect();
    let statement = if db.row_locks() {
        format!("SET SESSION sql_mode = ''; {TRANSITION}; SET SESSION sql_mode = DEFAULT")
    } else {
        format!("PRAGMA recursive_triggers = ON; {TRANSITION}; PRAGMA recursive_triggers = OFF")
    };
    walk(db, &some, &statement).await;
}

/// Columns of another character set and collation than their table's.
#[apply(behaviour!)]
async fn transitions_do_not_depend_on_collations(db: &dyn Fixture) {
    if !db.row_locks() {
        return;
    }
    db.execute(
        "ALTER TABLE videos MODIFY processing_status VARCHAR(50) CHARACTER SET latin1 COLLATE latin1_german2_ci, \
         MODIFY filename VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci, \
         MODIFY file_path VARCHAR(500) CHARACTER SET ucs2 COLLATE ucs2_bin",
    )
    .await;
    let some: Vec<_> = transitions().into_iter().step_by(41).collect();
    walk(db, &some, TRANSITION).await;
    db.execute("UPDATE videos SET filename = 'ü.mov', file_path = '/ü.mov'").await;
    db.execute("UPDATE videos SET filename = 'Ü.avi', file_path = '/Ü.avi'").await;
    let columns = ["original_filename", "file_mime_type", "storage_location"];
    let mut metadata = db.rows(&columns, "FROM videos").await;
    metadata.dedup();
    assert_eq!(metadata, [["Ü.avi", "video/avi", "/Ü.avi"].map(|text| Some(text.to_owned()))]);
}

/// Inserts one row of each kind with `verb`, and compares.
async fn insert_all(db: &dyn Fixture, verb: &str, selected: bool) {
    let all = Row::all();
    let rows: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(n, row)| {
            [
                format!("'v{n:05}'"),
                literal(row.processing),
                truth(row.ground_truth).to_owned(),
                literal(row.state),
            ]
            .join(", ")
        })
        .collect();
    let rest = "'2026-01-02 03:04:05', '2026-02-03 04:05:06', 'A.MKV', '/a.mkv', 'kept'";
    let source = if selected {
        rows.iter()
            .map(|row| format!("SELECT {row}, {rest}"))
            .collect::<Vec<_>>()
            .join(" UNION ALL ")
    } else {
        let rows: Vec<_> = rows.iter().map(|row| format!("({row}, {rest})")).collect();
        format!("VALUES {}", rows.join(", "))
    };
    db.execute(&format!(
        "{verb} INTO videos (id, processing_status, ground_truth_generated, workflow_state, created_at, updated_at, \
         filename, file_path, status) {source}"
    ))
    .await;
    let found = bridged(db).await;
    assert_eq!(found.len(), all.len());
    for (row, found) in all.iter().zip(found) {
        let after = row.after_insert();
        let mut expected = vec![Some("kept".to_owned())];
        expected.extend(after.texts());
        expected
            .extend([after.ground_truth_status(), after.first_stage()].map(|t| Some(t.to_owned())));
        assert_eq!(found, expected, "{verb} of {row:?}");
    }
    let mut rest = db
        .rows(
            &[
                "s.upload_status",
                "s.created_at",
                "s.updated_at",
                "v.original_filename",
                "v.file_mime_type",
                "v.storage_location",
                "v.retention_policy",
            ],
            "FROM videos v JOIN video_processing_status s ON s.video_id = v.id",
        )
        .await;
    rest.dedup();
    let texts = [
        "completed",
        "2026-01-02 03:04:05",
        "2026-02-03 04:05:06",
        "A.MKV",
        "video/x-matroska",
        "/a.mkv",
        "standard_90_days",
    ];
    assert_eq!(rest, [texts.map(|text| Some(text.to_owned()))]);
}

const INSERT_IGNORE: [&str; 2] = ["INSERT OR IGNORE", "INSERT IGNORE"];

#[apply(behaviour!)]
async fn every_insert_is_that_of_the_table(db: &dyn Fixture) {
    expanded(db).await;
    let ignore = INSERT_IGNORE[usize::from(db.row_locks())];
    for (verb, selected) in [
        ("INSERT", false),
        ("INSERT", true),
        (ignore, false),
        ("REPLACE", false),
        ("REPLACE", false),
    ] {
        if verb != "REPLACE" {
            db.execute("DELETE FROM videos").await;
        }
        insert_all(db, verb, selected).await;
    }
}

#[apply(behaviour!)]
async fn an_insert_that_meets_its_row_keeps_it_in_step(db: &dyn Fixture) {
    let store = expanded(db).await;
    insert(db, &videos(2)).await;
    let ignore = INSERT_IGNORE[usize::from(db.row_locks())];
    db.execute(&format!("{ignore} INTO videos (id, processing_status) VALUES ('v0001', 'failed')"))
        .await;
    assert_eq!(
        db.value("workflow_state", "FROM videos WHERE id = 'v0001'").await.as_deref(),
        Some("uploaded")
    );
    let conflict =
        if db.row_locks() { "ON DUPLICATE KEY UPDATE" } else { "ON CONFLICT (id) DO UPDATE SET" };
    db.execute(&format!(
        "INSERT INTO videos (id, filename) VALUES ('v0001', 'x.avi'), ('v0003', 'x.avi') \
         {conflict} processing_status = 'processing', filename = 'y.mov'"
    ))
    .await;
    let columns =
        ["v.workflow_state", "s.ground_truth_status", "v.original_filename", "v.file_mime_type"];
    let rows = db
        .rows(
            &columns,
            "FROM videos v JOIN video_processing_status s ON s.video_id = v.id ORDER BY v.id",
        )
        .await;
    let expected = [
        ["processing", "generating", "y.mov", "video/quicktime"],
        ["uploaded", "pending", "clip 2.mp4", "video/mp4"],
        ["uploaded", "pending", "x.avi", "video/avi"],
    ];
    assert_eq!(rows, expected.map(|row| row.map(|text| Some(text.to_owned()))));
    db.execute("UPDATE videos SET file_path = '/x.avi', filename = 'x.avi'").await;
    for check in validate(&store).await {
        assert_eq!(check.differences, 0, "{check:?}");
    }
}

#[apply(behaviour!)]
async fn metadata_follow_until_somebody_else_writes_them(db: &dyn Fixture) {
    expanded(db).await;
    insert(db, &[video(1)]).await;
    let metadata = async || {
        let columns =
            ["original_filename", "file_mime_type", "storage_location", "retention_policy"];
        let row = db.rows(&columns, "FROM videos").await.remove(0);
        row.into_iter().map(|text| text.unwrap_or_default()).collect::<Vec<_>>().join(" ")
    };
    let steps = [
        ("filename = 'a.mov'", "a.mov video/quicktime /media/clip 1.mp4 standard_90_days"),
        ("filename = NULL, file_path = '/b'", " video/unknown /b standard_90_days"),
        ("filename = 'c.avi'", "c.avi video/avi /b standard_90_days"),
        ("filename = 'C.avi'", "C.avi video/avi /b standard_90_days"),
        (
            "filename = 'd.avi', original_filename = 'first.avi'",
            "first.avi video/avi /b standard_90_days",
        ),
        ("filename = 'e.mkv'", "first.avi video/x-matroska /b standard_90_days"),
        ("file_mime_type = 'video/x'", "first.avi video/x /b standard_90_days"),
        ("filename = 'f.mp4', file_path = '/f'", "first.avi video/x /f standard_90_days"),
        ("storage_location = 's3://b/f'", "first.avi video/x s3://b/f standard_90_days"),
        ("file_path = '/g', retention_policy = 'hold'", "first.avi video/x s3://b/f hold"),
        (
            "original_filename = NULL, file_mime_type = NULL, storage_location = NULL, filename = 'h.mov', \
             file_path = '/h'",
            "h.mov video/quicktime /h hold",
        ),
    ];
    for (set, expected) in steps {
        db.execute(&format!("UPDATE videos SET {set}")).await;
        assert_eq!(metadata().await, expected, "after {set}");
    }
}

#[apply(behaviour!)]
async fn a_hash_goes_with_the_path_and_the_size_it_was_read_by(db: &dyn Fixture) {
    expanded(db).await;
    insert(db, &[video(1)]).await;
    for (set, stays) in [
        ("file_hash = 'h1'", true),
        ("processing_status = 'processing', filename = 'renamed.mov'", true),
        ("file_path = file_path, file_size = file_size", true),
        ("file_path = '/MEDIA/clip 1.mp4'", false),
        ("file_hash = 'h1', file_path = '/b'", true),
        ("file_size = NULL", false),
        ("file_hash = 'h1', file_size = 7", true),
        ("file_size = 8, ground_truth_generated = 1", false),
    ] {
        let before = db.value("file_hash", "FROM videos").await;
        db.execute(&format!("UPDATE videos SET {set}")).await;
        let hash = db.value("file_hash", "FROM videos").await;
        assert_eq!(hash.as_deref(), stays.then_some("h1"), "after {set}, from {before:?}");
    }
}

#[apply(behaviour!)]
async fn changes_before_the_backfill_do_not_wait_for_each_other(db: &dyn Fixture) {
    if !db.row_locks() {
        return;
    }
    let processing_status = Some("failed".to_owned());
    let failed = |n| Video { processing_status: processing_status.clone(), ..video(n) };
    insert(db, &(1..=40).map(failed).collect::<Vec<_>>()).await;
    let store = expanded(db).await;
    let change = |set: &str, n: usize| format!("UPDATE videos SET {set} WHERE id = 'v{n:04}'");
    // By the legacy columns and by the state, and so that the state is `uploaded` again.
    let changes = [
        "processing_status = 'pending'",
        "processing_status = 'processing'",
        "workflow_state = 'uploaded'",
        "workflow_state = 'validating'",
        "workflow_state = 'uploaded'",
        "workflow_state = 'processing', file_mime_type = 'video/x'",
        "ground_truth_generated = TRUE",
    ];
    for (set, n) in changes.into_iter().zip((21..30).rev()) {
        let held = db.hold(&change(set, 20)).await;
        // A first change, which inserts the status row behind the one that is held. (MariaDB
        // locks the gap before a row that is found by a unique key other than the primary.)
        db.execute(&change("processing_status = 'pending'", n)).await;
        held.release().await;
        db.execute(&change(set, 20)).await;
    }
    let held = db.hold(&change("ground_truth_generated = FALSE", 20)).await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    let bounds = Bounds::Range { after: Some("v0020".to_owned()), upto: "v0040".to_owned() };
    let filter = VideoFilter::default();
    let chunk = store.backfill_chunk(batch.lease, &bounds, None, 100, &filter).await;
    assert_eq!(chunk.expect("a chunk beside the change").rows, 20);
    held.release().await;
}

#[apply(behaviour!)]
async fn deleting_a_video_leaves_nothing(db: &dyn Fixture) {
    expanded(db).await;
    insert(db, &videos(3)).await;
    let error = |id: &str, video: &str, parent: &str| {
        format!(
            "INSERT INTO processing_error_log (id, video_id, processing_stage, error_type, error_message, \
             parent_error_id) VALUES ('{id}', '{video}', 'hash', 't', 'm', {parent})"
        )
    };
    db.execute(&error("e1", "v0001", "NULL")).await;
    db.execute(&error("e2", "v0002", "'e1'")).await;
    let delete = "DELETE FROM videos WHERE id = 'v0001'";
    if db.row_locks() {
        db.execute(delete).await;
    } else {
        // Foreign keys are off in an application that has not switched them on.
        db.execute_unchecked(delete).await;
    }
    assert_eq!(db.count("FROM video_processing_status WHERE video_id = 'v0001'").await, 0);
    assert_eq!(db.count("FROM video_processing_status").await, 2);
    let errors = db.rows(&["id", "parent_error_id"], "FROM processing_error_log").await;
    assert_eq!(errors, [[Some("e2".to_owned()), None]]);
}

/// What the writer in the test below does, over and over.
const WRITES: [&str; 8] = [
    "processing_status = 'processing'",
    "ground_truth_generated = 1, processing_status = 'completed'",
    "workflow_state = 'failed'",
    "filename = 'renamed.mov', file_path = '/media/renamed.mov'",
    "workflow_state = 'validating'",
    "processing_status = 'pending', ground_truth_generated = 0",
    "resolution = '640x480'",
    "workflow_state = 'archived'",
];

/// The application beside the backfill: no write of it fails, and no row is out of step.
#[apply(behaviour!)]
async fn a_backfill_under_live_writes_converges(db: &dyn Fixture) {
    let mut some = videos(600);
    for (n, video) in some.iter_mut().enumerate() {
        video.processing_status = PROCESSING[n % 6].map(str::to_owned);
        video.ground_truth = GROUND_TRUTH[n % 3];
    }
    insert(db, &some).await;
    let store = expanded(db).await;
    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    let done = AtomicBool::new(false);
    let application = async {
        let mut n = 0_usize;
        while !done.load(Ordering::Relaxed) || n < 100 {
            let id = (n * 37) % 600 + 1;
            db.execute(&format!("UPDATE videos SET {} WHERE id = 'v{id:04}'", WRITES[n % 8])).await;
            if n.is_multiple_of(5) {
                insert(db, &[Video { processing_status: None, ..video(1_000 + n) }]).await;
            }
            n += 1;
        }
        n
    };
    let backfill = async {
        drain(&store, &batch, 20).await;
        done.store(true, Ordering::Relaxed);
    };
    let (writes, ()) = futures::join!(application, backfill);
    assert!(writes >= 100, "{writes}");
    // The sweep: the rows that the application held.
    drain(&store, &batch, 1_000).await;
    let checks = validate(&store).await;
    for check in &checks {
        assert_eq!(check.differences, 0, "after {writes} writes: {check:?}");
    }
    let states: BTreeMap<_, _> = db
        .rows(&["workflow_state", "COUNT(*)"], "FROM videos GROUP BY workflow_state")
        .await
        .into_iter()
        .map(|mut row| (row.remove(0), row.remove(0)))
        .collect();
    assert!(states.contains_key(&Some("archived".to_owned())), "new states survive: {states:?}");
}
