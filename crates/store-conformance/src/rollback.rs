//! Undoing steps, the schema of before, and what is archived and brought back.

use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_plan::{BatchState, JobKind, RunState};
use reelshift_store::archive::{ArchivedTable, Column, PageLimit, Restored, Row, position, size};
use reelshift_store::ledger::{Rerun, RerunSelection};
use reelshift_store::patience::Options;
use reelshift_store::rollback::{Change, Definition, RollbackState, dependents, differences};
use reelshift_store::schema::{self, Step, StepGroup, UndoOutcome};
use reelshift_store::trial::Extent;
use reelshift_store::videos::{FailedItem, FileResults};
use reelshift_store::{Result, SharedStore, StoreError};
use uuid::Uuid;

use crate::arrange::{
    LONG, apply, batch_states, claimed, create, error, everything, expanded, insert, plan, running,
    steadily, try_expand, video, videos,
};
use crate::{Fixture, Rows};

const ALL: [StepGroup; 4] =
    [StepGroup::Ledger, StepGroup::Expand, StepGroup::Index, StepGroup::Automate];

const ERROR_COLUMNS: &str =
    "(id, video_id, processing_stage, error_type, error_message, parent_error_id, created_at)";

async fn apply_all(store: &SharedStore) {
    apply(store, &ALL, |_, _| {}).await.expect("all is applied");
}

async fn undo(store: &SharedStore, last: u32) -> Result<Vec<UndoOutcome>> {
    let lock = store.lock_migration().await?;
    let mut outcomes = Vec::new();
    let report = |_: &Step, outcome| outcomes.push(outcome);
    let options = Options { longest_stall: LONG, ..Options::default() };
    let undone =
        schema::undo(store.as_ref(), &*lock, last, &options, report, tokio::time::sleep).await;
    lock.release().await?;
    undone.map(|()| outcomes)
}

/// The last of reelshift's own steps.
fn ledger(store: &SharedStore) -> u32 {
    let own = store.steps().iter().filter(|step| step.group == StepGroup::Ledger);
    own.map(|step| step.number).max().expect("there are steps")
}

async fn now(store: &SharedStore) -> Vec<Definition> {
    store.schema_now().await.expect("the schema is read")
}

/// Something of the application's own of every kind.
async fn furnish(db: &dyn Fixture) {
    db.execute("CREATE TABLE theirs (id INTEGER PRIMARY KEY, v VARCHAR(10))").await;
    db.execute("CREATE INDEX theirs_v ON theirs (v)").await;
    db.execute("CREATE INDEX videos_by_project ON videos (project_id, status)").await;
    db.execute("CREATE VIEW their_view AS SELECT id, status FROM videos").await;
    db.execute(
        "CREATE TRIGGER their_trigger AFTER INSERT ON theirs FOR EACH ROW \
         BEGIN UPDATE videos SET resolution = 'x' WHERE id = 'none'; END",
    )
    .await;
    insert(db, &videos(20)).await;
}

#[apply(behaviour!)]
async fn undoing_brings_the_schema_of_before_back(db: &dyn Fixture) {
    furnish(db).await;
    let store = db.store().await;
    let before = now(&store).await;
    let kinds: Vec<&str> = before.iter().map(|thing| thing.kind.as_str()).collect();
    assert!(
        ["table", "view", "trigger", "index"].iter().all(|kind| kinds.contains(kind)),
        "{kinds:?}"
    );
    let rows = db.contents("videos").await;
    apply_all(&store).await;
    assert_eq!(store.schema_before().await.expect("it is recorded").as_ref(), Some(&before));
    assert_ne!(now(&store).await, before);
    let outcomes = undo(&store, ledger(&store)).await.expect("everything is undone");
    assert!(outcomes.iter().all(|outcome| *outcome == UndoOutcome::Undone), "{outcomes:?}");
    assert_eq!(differences(&before, &now(&store).await), []);
    assert_eq!(db.contents("videos").await, rows);
    assert_eq!(undo(&store, ledger(&store)).await.expect("nothing is left"), []);
    // Once more, and reelshift's own tables too.
    apply_all(&store).await;
    undo(&store, 0).await.expect("everything is undone");
    assert_eq!(differences(&before, &now(&store).await), []);
    for step in store.steps() {
        assert!(
            !store.exists(&step.creates).await.expect("the schema is read"),
            "{}",
            step.creates
        );
    }
    assert_eq!(undo(&store, 0).await.expect("nothing is left"), []);
}

#[apply(behaviour!)]
async fn undoing_stops_where_it_is_told(db: &dyn Fixture) {
    let store = db.store().await;
    apply_all(&store).await;
    let steps = store.steps();
    let last = steps.iter().filter(|step| step.group == StepGroup::Expand).map(|step| step.number);
    undo(&store, last.max().expect("there are steps")).await.expect("undone to expand");
    for step in steps {
        let stays = matches!(step.group, StepGroup::Ledger | StepGroup::Expand);
        assert_eq!(store.exists(&step.creates).await.expect("read"), stays, "{}", step.creates);
    }
    schema::require_expanded(store.as_ref()).await.expect("workers go on");
}

#[apply(behaviour!)]
async fn a_death_before_any_statement_is_made_up_for(db: &dyn Fixture) {
    let store = db.store().await;
    let before = now(&store).await;
    apply_all(&store).await;
    for step in store.steps().iter().rev() {
        if step.number > store.steps()[0].number {
            store.journal_undoing(step).await.expect("journaled");
        }
        let outcomes =
            undo(&db.store().await, step.number - 1).await.expect("the next one goes on");
        assert_eq!(outcomes, [UndoOutcome::Undone], "{}", step.name);
    }
    assert_eq!(now(&store).await, before);
}

#[apply(behaviour!)]
async fn a_death_after_any_statement_is_made_up_for(db: &dyn Fixture) {
    let store = db.store().await;
    let before = now(&store).await;
    apply_all(&store).await;
    for step in store.steps().iter().rev() {
        let is_journal = step.number == store.steps()[0].number;
        if !is_journal {
            store.journal_undoing(step).await.expect("journaled");
        }
        steadily(&step.name, async || store.undo_step(step).await).await;
        let outcomes =
            undo(&db.store().await, step.number - 1).await.expect("the next one goes on");
        let expected: &[_] = if is_journal { &[] } else { &[UndoOutcome::FoundUndone] };
        assert_eq!(outcomes, expected, "{}", step.name);
    }
    assert_eq!(now(&store).await, before);
}

#[apply(behaviour!)]
async fn an_apply_makes_good_what_was_half_undone(db: &dyn Fixture) {
    let store = expanded(db).await;
    let whole = now(&store).await;
    let expand: Vec<_> =
        store.steps().iter().filter(|step| step.group == StepGroup::Expand).cloned().collect();
    let [.., other, last] = expand.as_slice() else { panic!("two steps") };
    store.begin_rollback(Uuid::new_v4(), None, "ops").await.expect("it begins");
    store.journal_undoing(last).await.expect("journaled");
    steadily(&last.name, async || store.undo_step(last).await).await;
    store.journal_undone(last).await.expect("journaled");
    store.journal_undoing(other).await.expect("journaled");
    let before = store.schema_before().await.expect("it is read");
    try_expand(&store).await.expect("expand completes");
    assert_eq!(now(&store).await, whole);
    assert_eq!(store.schema_before().await.expect("it is read"), before, "the record is as it was");
    assert_eq!(store.open_rollback().await.expect("it is read"), None, "the rollback is over");
}

#[apply(behaviour!)]
async fn undoing_waits_while_the_table_is_held(db: &dyn Fixture) {
    insert(db, &videos(1)).await;
    let store = expanded(db).await;
    let held = db.hold("SELECT COUNT(*) FROM videos").await;
    let last = ledger(&store);
    let waiting = store.clone();
    let undone = tokio::spawn(async move { undo(&waiting, last).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!undone.is_finished(), "it waits");
    held.release().await;
    undone.await.expect("it does not panic").expect("everything is undone");
}

#[apply(behaviour!)]
async fn steps_of_another_version_are_not_undone(db: &dyn Fixture) {
    let store = expanded(db).await;
    db.execute("UPDATE reelshift_schema_steps SET checksum = 'other' WHERE number = 101").await;
    let entries = store.journal().await.expect("it is read");
    let refused = undo(&store, ledger(&store)).await.expect_err("it is refused");
    assert!(matches!(refused, StoreError::Refused(_)), "{refused:?}");
    assert_eq!(store.journal().await.expect("it is read"), entries, "nothing was undone");
}

#[apply(behaviour!)]
async fn a_column_that_somebody_dropped_is_named(db: &dyn Fixture) {
    let store = expanded(db).await;
    let entries = store.journal().await.expect("it is read");
    // By the first the step is recognised.
    for columns in
        [&["compliance_tags"][..], &["backup_location"], &["expiry_date", "compliance_tags"]]
    {
        for column in columns {
            db.execute(&format!("ALTER TABLE videos DROP COLUMN {column}")).await;
        }
        let refused = undo(&store, ledger(&store)).await.expect_err("it is refused").to_string();
        let (_, remedy) = refused.split_once("again with ").expect("a remedy");
        let (add, _) = remedy.split_once(", then").expect("a statement");
        for column in columns {
            assert!(add.contains(&format!("ALTER TABLE videos ADD COLUMN {column} ")), "{refused}");
        }
        let again = try_expand(&store).await.expect_err("so is this").to_string();
        assert!(again.contains(add), "{again}");
        let tried = store.trial(Extent::WayForthAndBack).await.expect_err("so is a plan");
        assert!(tried.to_string().contains(add), "{tried}");
        assert_eq!(store.journal().await.expect("it is read"), entries, "nothing was undone");
        db.execute(add).await;
    }
    undo(&store, ledger(&store)).await.expect("everything is undone");
}

#[apply(behaviour!)]
async fn what_others_changed_since_is_named(db: &dyn Fixture) {
    furnish(db).await;
    let store = expanded(db).await;
    db.execute("CREATE TABLE newer (id INTEGER PRIMARY KEY)").await;
    db.execute("ALTER TABLE videos ADD COLUMN extra INTEGER").await;
    db.execute("DROP VIEW their_view").await;
    db.execute("INSERT INTO theirs VALUES (700, 'x')").await;
    undo(&store, ledger(&store)).await.expect("everything is undone");
    let before = store.schema_before().await.expect("it is read").expect("there is a record");
    let found: Vec<_> = differences(&before, &now(&store).await)
        .into_iter()
        .filter(|found| found.kind != "index")
        .map(|found| (found.name, found.change))
        .collect();
    let expected =
        [("newer", Change::Added), ("videos", Change::Changed), ("their_view", Change::Missing)];
    assert_eq!(found, expected.map(|(name, change)| (name.to_owned(), change)));
    // The next expand starts from there.
    try_expand(&store).await.expect("expand is applied");
    let before = store.schema_before().await.expect("it is read").expect("there is a record");
    assert!(before.iter().any(|thing| thing.name == "newer"));
}

#[apply(behaviour!)]
async fn what_uses_what_is_dropped_is_named(db: &dyn Fixture) {
    furnish(db).await;
    let store = db.store().await;
    apply_all(&store).await;
    let before = store.schema_before().await.expect("it is read").expect("there is a record");
    let found = async |last: u32| -> Vec<String> {
        let undone = schema::undoable(store.as_ref(), last).await.expect("steps");
        let found = dependents(store.steps(), &undone, &before, &now(&store).await);
        found.iter().map(ToString::to_string).collect()
    };
    assert_eq!(found(ledger(&store)).await, [""; 0], "nothing of the application's own uses it");
    for statement in [
        "CREATE TRIGGER app_t AFTER UPDATE ON videos FOR EACH ROW \
         BEGIN UPDATE theirs SET v = NEW.workflow_state WHERE id = 0; END",
        "CREATE TRIGGER app_other AFTER UPDATE ON videos FOR EACH ROW \
         BEGIN UPDATE theirs SET v = NEW.status WHERE id = 0; END",
        "CREATE VIEW app_v AS SELECT id, expiry_date FROM videos",
        "CREATE VIEW app_stats AS SELECT * FROM v_processing_dashboard_stats",
        "CREATE INDEX app_i ON videos (file_hash, project_id)",
        "CREATE TABLE app_f (id INTEGER PRIMARY KEY, status_id VARCHAR(36), \
         CONSTRAINT app_fk FOREIGN KEY (status_id) REFERENCES video_processing_status (id))",
    ] {
        db.execute(statement).await;
    }
    // MySQL cannot add a stored column in place, nor SQLite any.
    db.execute("ALTER TABLE videos ADD COLUMN app_g INTEGER GENERATED ALWAYS AS (annotations_count + 1) VIRTUAL")
        .await;
    let expected = [
        "column videos.app_g (videos.annotations_count)",
        "foreign key app_f.app_fk (video_processing_status)",
        "index videos.app_i (videos.file_hash)",
        "trigger app_t (videos.workflow_state)",
        "view app_stats (v_processing_dashboard_stats)",
        "view app_v (videos.expiry_date)",
    ];
    assert_eq!(found(ledger(&store)).await, expected);
    let of_expand =
        store.steps().iter().filter(|step| step.group == StepGroup::Expand).map(|step| step.number);
    let to_index = found(of_expand.max().expect("there are steps")).await;
    assert_eq!(to_index, expected[4..5], "the columns stay");
    // As it stands before expand, by itself or with one of another name, it uses nothing.
    for drop in [
        "DROP TRIGGER app_t",
        "DROP VIEW app_v",
        "DROP VIEW app_stats",
        "DROP TABLE app_f",
        "ALTER TABLE videos DROP COLUMN app_g",
    ] {
        db.execute(drop).await;
    }
    assert_eq!(found(ledger(&store)).await, expected[2..3]);
}

#[apply(behaviour!)]
async fn a_rollback_is_recorded(db: &dyn Fixture) {
    let store = expanded(db).await;
    assert_eq!(store.open_rollback().await.expect("it is read"), None);
    let id = Uuid::new_v4();
    store.begin_rollback(id, Some("/backup/a b"), "ops@host").await.expect("it begins");
    let open = store.open_rollback().await.expect("it is read").expect("it is open");
    assert_eq!(
        (open.id, open.directory.as_deref(), open.undoing),
        (id, Some("/backup/a b"), false)
    );
    assert_eq!(open.started_by, "ops@host");
    store.move_rollback(RollbackState::Undoing).await.expect("it moves on");
    assert!(store.open_rollback().await.expect("it is read").expect("it is open").undoing);
    store.move_rollback(RollbackState::Done).await.expect("it ends");
    assert_eq!(store.open_rollback().await.expect("it is read"), None);
}

#[apply(behaviour!)]
async fn runs_of_before_a_rollback_do_not_count(db: &dyn Fixture) {
    insert(db, &videos(3)).await;
    let store = expanded(db).await;
    let failed = claimed(&store, JobKind::Backfill, everything()).await;
    let aside = FailedItem {
        video_id: "v0002".to_owned(),
        error: error("bad_row", Some("v0002"), failed.id),
    };
    let results = FileResults { failed: vec![aside], ..FileResults::default() };
    store.record_files(failed.lease, &results).await.expect("set aside");
    let record = error("io", None, failed.id);
    let state = store.fail_attempt(failed.lease, false, Duration::ZERO, &record).await;
    assert_eq!(state.expect("it fails"), BatchState::Failed);
    assert_eq!(store.settle(failed.run_id).await.expect("settled"), RunState::Failed);
    let paused = running(&store, JobKind::Backfill, plan(Some("p1")), &[everything()]).await;
    store.pause_run(paused.id, None, "ops").await.expect("it is paused");
    store.begin_rollback(Uuid::new_v4(), None, "ops").await.expect("it begins");
    assert_eq!(
        store.ledger_report(10).await.expect("it is read").runs.len(),
        2,
        "nothing is undone"
    );
    store.move_rollback(RollbackState::Undoing).await.expect("it moves on");
    undo(&store, ledger(&store)).await.expect("everything is undone");
    store.move_rollback(RollbackState::Done).await.expect("it ends");
    try_expand(&store).await.expect("expanded again");

    assert_eq!(store.ledger_report(10).await.expect("it is read").runs, []);
    let rerun = store.rerun(&RerunSelection::default(), None, "a test").await.expect("it is asked");
    assert_eq!(rerun, Rerun::default(), "what failed before is not enqueued again");
    let ended = store.run(paused.id).await.expect("it is read").expect("it is there");
    assert_eq!((ended.state, ended.reason.as_deref()), (RunState::Cancelled, Some("rolled back")));
    assert_eq!(batch_states(db).await, ["failed", "cancelled"]);
    assert_eq!(db.count("FROM reelshift_quarantine").await, 0, "every row is tried anew");
    // The same videos again: a new run, and it counts.
    let again = create(&store, JobKind::Backfill, plan(Some("p1"))).await;
    let runs = store.ledger_report(10).await.expect("it is read").runs;
    assert_eq!(runs.iter().map(|report| report.run.id).collect::<Vec<_>>(), [again.id]);
}

/// The archive in memory.
type Archived = Vec<(ArchivedTable, Vec<Column>, Vec<Row>)>;

/// Reads everything in pages of `limit` rows, in the order in which it is restored.
pub(crate) async fn archive(store: &SharedStore, rows: u32) -> Archived {
    let limit = PageLimit { rows, bytes: u64::MAX };
    let mut archived = Vec::new();
    for table in store.restore_order() {
        let columns = store.archived_columns(table).await.expect("read").expect("it is there");
        let mut found: Vec<Row> = Vec::new();
        loop {
            let after = found.last().and_then(|row| row[0].text().map(str::to_owned));
            let page =
                store.archive_page(table, &columns, after.as_deref(), limit).await.expect("a page");
            assert!(page.len() <= rows as usize);
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        archived.push((table, columns, found));
    }
    archived
}

/// What came of each table, in the order of [`ArchivedTable::ALL`].
async fn restore(store: &SharedStore, archived: &Archived) -> Vec<Restored> {
    let mut all = Vec::new();
    for (table, columns, rows) in archived {
        let mut sum = Restored::default();
        for page in rows.chunks(7) {
            sum +=
                store.restore_rows(*table, columns, page).await.expect("a page is restored").rows;
        }
        all.push((*table, sum));
        if let Some(at) = position(columns, "parent_error_id") {
            let link = |row: &Row| Some((row[0].text()?.to_owned(), row[at].text()?.to_owned()));
            let links: Vec<_> = rows.iter().filter_map(link).collect();
            store.link_errors(&links).await.expect("errors are linked");
        }
    }
    all.sort_by_key(|(table, _)| *table);
    all.into_iter().map(|(_, sum)| sum).collect()
}

/// Everything that an archive is for, row by row.
async fn dump(db: &dyn Fixture) -> Vec<Rows> {
    let mut all = Vec::new();
    for table in ArchivedTable::ALL {
        all.push(db.contents(table.into_str()).await);
    }
    all
}

/// Videos with values of every kind in every new column, status rows, notifications, and
/// errors of which the parent has the higher id.
async fn fill(db: &dyn Fixture) {
    insert(db, &videos(20)).await;
    db.execute("UPDATE videos SET processing_status = 'processing' WHERE id > 'v0010'").await;
    db.execute(
        "UPDATE videos SET workflow_state = CASE WHEN id > 'v0010' THEN 'processing' ELSE 'validating' END, \
         ml_model_version = 'é ''x''', inference_config = '{\"a\": [1, null]}', processing_node_id = '', \
         video_quality_score = 0.1, frame_quality_analysis = '[]', audio_quality_score = NULL, \
         original_filename = 'own name.mp4', file_mime_type = 'video/own', storage_location = 's3://x', \
         backup_location = 's3://y', total_processing_time_seconds = -5, frames_per_second_processed = 29.97, \
         objects_detected_count = 7, annotations_count = NULL, expiry_date = '2030-01-02 03:04:05', \
         retention_policy = 'for ever', compliance_tags = '[\"a\"]', updated_at = updated_at WHERE id > 'v0004'",
    )
    .await;
    db.execute(
        "UPDATE videos SET file_hash = 'abc', updated_at = updated_at WHERE file_path IS NOT NULL",
    )
    .await;
    db.execute("DELETE FROM video_processing_status").await;
    db.execute(
        "INSERT INTO video_processing_status (id, video_id, ground_truth_status, current_stage, progress_percentage, \
         last_error_message, created_at, updated_at) \
         SELECT CONCAT('s-', id), id, CASE WHEN id > 'v0010' THEN 'generating' ELSE 'pending' END, 'extraction', 12.5, \
         'bad', '2024-01-01 00:00:00', '2024-01-02 00:00:00' FROM videos",
    )
    .await;
    // What the application says of the ground truth need not follow from the legacy columns.
    db.execute(
        "UPDATE video_processing_status SET ground_truth_status = 'generating', progress_percentage = 44.4, \
         error_count = 7 WHERE video_id IN ('v0007', 'v0008')",
    )
    .await;
    db.execute("DELETE FROM realtime_notification_queue").await;
    db.execute(
        "INSERT INTO realtime_notification_queue (id, event_type, event_data, created_at, updated_at) \
         SELECT CONCAT('n-', id), 'x', '{\"n\": 1.50}', '2024-01-01 00:00:00', '2024-01-02 00:00:00' FROM videos",
    )
    .await;
    for n in 1..=9 {
        db.execute(&format!(
            "INSERT INTO processing_error_log {ERROR_COLUMNS} VALUES \
             ('e{}', {}, 'hash', 'io', 'm{n}', {}, '2024-01-01 00:00:00')",
            10 - n,
            if n % 3 == 0 { "NULL".to_owned() } else { format!("'v000{n}'") },
            if n == 1 { "NULL".to_owned() } else { format!("'e{}'", 11 - n) },
        ))
        .await;
    }
}

#[apply(behaviour!)]
async fn pages_are_in_key_order_and_hold_everything(db: &dyn Fixture) {
    let store = expanded(db).await;
    fill(db).await;
    let archived = archive(&store, 3).await;
    assert_eq!(archived, archive(&store, 1_000).await);
    for (table, columns, rows) in &archived {
        assert_eq!(columns[0].name, "id");
        assert_eq!(rows.len() as u64, db.count(&format!("FROM {}", table.into_str())).await);
        let ids: Vec<_> = rows.iter().map(|row| row[0].text().expect("a text")).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        // A page ends with the row that passes its bytes, and has at least one.
        for (bytes, expected) in [(1, 1), (size(&rows[0]) + 1, 2)] {
            let limit = PageLimit { rows: 10, bytes };
            let page = store.archive_page(*table, columns, None, limit).await.expect("a page");
            assert_eq!(page, rows[..expected], "{table:?} {bytes}");
        }
    }
}

#[apply(behaviour!)]
async fn a_rollback_and_a_restore_lose_nothing(db: &dyn Fixture) {
    let store = expanded(db).await;
    fill(db).await;
    let before = dump(db).await;
    let archived = archive(&store, 4).await;
    undo(&store, ledger(&store)).await.expect("everything is undone");
    for table in ArchivedTable::ALL {
        assert_eq!(
            store.archived_columns(table).await.expect("read"),
            None,
            "{}",
            table.into_str()
        );
    }
    try_expand(&store).await.expect("expanded again");
    let restored = restore(&store, &archived).await;
    assert_eq!(dump(db).await, before);
    let counts: Vec<_> = restored.iter().map(|sum| (sum.restored, sum.present)).collect();
    assert_eq!(counts, [(20, 0), (20, 0), (20, 0), (9, 0)], "{restored:?}");
    let again = restore(&store, &archived).await;
    assert_eq!(dump(db).await, before, "the second time changes nothing");
    let counts: Vec<_> = again.iter().map(|sum| (sum.restored, sum.present)).collect();
    assert_eq!(counts, [(0, 20), (0, 20), (0, 20), (0, 9)], "{again:?}");
}

#[apply(behaviour!)]
async fn transactions_beside_a_restore_do_not_wait_for_each_other(db: &dyn Fixture) {
    if !db.row_locks() {
        return;
    }
    let store = expanded(db).await;
    fill(db).await;
    let archived = archive(&store, 100).await;
    undo(&store, ledger(&store)).await.expect("everything is undone");
    try_expand(&store).await.expect("expanded again");
    let states = ["processing", "pending", "failed", "processing"];
    for ((table, columns, rows), state) in archived.iter().zip(states) {
        store.restore_rows(*table, columns, rows).await.expect("a page is restored");
        // Whatever was restored, the bridge locks no gap for one that keeps another waiting.
        let change = |id: &str| {
            format!(
                "UPDATE videos SET processing_status = '{state}', ground_truth_generated = FALSE \
                 WHERE id = '{id}'"
            )
        };
        let held = db.hold(&change("v0005")).await;
        db.execute(&change("v0006")).await;
        db.execute(&change("v0004")).await;
        held.release().await;
    }
}

#[apply(behaviour!)]
async fn where_a_row_changed_the_legacy_columns_win(db: &dyn Fixture) {
    let store = expanded(db).await;
    fill(db).await;
    let archived = archive(&store, 100).await;
    undo(&store, ledger(&store)).await.expect("everything is undone");
    for change in [
        "UPDATE videos SET ground_truth_generated = TRUE WHERE id = 'v0005'",
        "UPDATE videos SET processing_status = 'odd' WHERE id = 'v0008'",
        "UPDATE videos SET file_path = '/other' WHERE id = 'v0001'",
        "UPDATE videos SET file_size = 2 WHERE id = 'v0002'",
        "DELETE FROM videos WHERE id = 'v0004'",
    ] {
        db.execute(change).await;
    }
    insert(db, &[video(99)]).await;
    try_expand(&store).await.expect("expanded again");
    // The bridge, or a backfill, has been here.
    db.execute("DELETE FROM video_processing_status WHERE video_id IN ('v0003', 'v0006')").await;
    db.execute(
        "INSERT INTO video_processing_status (id, video_id, ground_truth_status, last_error_message) \
         VALUES ('theirs', 'v0003', 'pending', NULL), ('s-v0006', 'v0006', 'pending', 'newer')",
    )
    .await;
    let restored = restore(&store, &archived).await;
    let counts: Vec<_> = restored
        .iter()
        .map(|sum| (sum.restored + sum.present, sum.deleted, sum.kept_truths))
        .collect();
    assert_eq!(counts, [(19, 1, 0), (19, 1, 2), (20, 0, 0), (8, 1, 0)], "{restored:?}");
    let videos = restored[0];
    assert_eq!((videos.kept_states, videos.kept_hashes), (2, 2), "{videos:?}");
    let column = async |column: &str, id: &str| {
        db.value(column, &format!("FROM videos WHERE id = '{id}'")).await
    };
    assert_ne!(column("workflow_state", "v0005").await.as_deref(), Some("validating"));
    assert_eq!(column("ml_model_version", "v0005").await.as_deref(), Some("é 'x'"));
    assert_eq!(column("file_hash", "v0001").await, None);
    assert_eq!(column("file_hash", "v0002").await, None);
    assert_eq!(column("file_hash", "v0003").await.as_deref(), Some("abc"));
    assert_eq!(column("file_path", "v0001").await.as_deref(), Some("/other"));
    let status = async |id: &str| {
        db.rows(&["id"], &format!("FROM video_processing_status WHERE video_id = '{id}'")).await
    };
    assert_eq!(status("v0003").await, [[Some("s-v0003".to_owned())]], "the restored row wins");
    let kept =
        db.value("last_error_message", "FROM video_processing_status WHERE id = 's-v0006'").await;
    assert_eq!(kept.as_deref(), Some("newer"), "the same row is left as it is");
    let says = ["id", "ground_truth_status", "current_stage", "last_error_message", "error_count"];
    for (id, expected) in [
        ("v0005", ["s-v0005", "completed", "completed", "bad", "0"]),
        ("v0007", ["s-v0007", "generating", "extraction", "bad", "7"]),
        ("v0008", ["s-v0008", "failed", "validation", "bad", "7"]),
    ] {
        let rest = format!("FROM video_processing_status WHERE video_id = '{id}'");
        let now = db.rows(&says, &rest).await;
        assert_eq!(now, [expected.map(|value| Some(value.to_owned()))], "{id}");
    }
    assert_eq!(db.count("FROM processing_error_log WHERE video_id = 'v0004'").await, 0);
    let orphan = db.value("parent_error_id", "FROM processing_error_log WHERE id = 'e5'").await;
    assert_eq!(orphan, None, "its parent was the deleted video's");
    let before = dump(db).await;
    restore(&store, &archived).await;
    assert_eq!(dump(db).await, before, "the second time changes nothing");
}
