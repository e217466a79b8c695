//! Going back and coming back, as an operator does it, while the application writes.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reelshift_tests::orm::{self, Dates};
use reelshift_tests::{Legacy, Ran, Reelshift, Video};
use serde_json::Value;
use sqlx::{AnyPool, Row};
use tokio::task::JoinHandle;

/// What the archive is for.
const TABLES: [(&str, &str); 4] = [
    ("videos", "id"),
    ("video_processing_status", "video_id"),
    ("realtime_notification_queue", "id"),
    ("processing_error_log", "id"),
];

fn reelshift(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    println!("reelshift {arguments:?}");
    let arguments: Vec<&str> = ["--json"].into_iter().chain(arguments.iter().copied()).collect();
    Reelshift::new(directory, &arguments).database(&legacy.url).media(directory).run()
}

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str], code: i32) -> Value {
    reelshift(directory, legacy, arguments).expect(code).json()
}

fn refusal(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> String {
    let ran = reelshift(directory, legacy, arguments).expect(4);
    assert_eq!(ran.stdout, "", "a refusal prints no document");
    ran.stderr
}

/// Videos that nobody writes (`cold-…`, the first twelve with files) and some that the
/// application writes all the time.
async fn platform(directory: &Path, legacy: &Legacy) {
    let videos: Vec<Video> = (0..300)
        .map(|n| {
            let file_path = if n < 12 {
                let path = directory.join(format!("clip {n}.mp4"));
                std::fs::write(&path, vec![7; n * 1_000]).expect("a file is written");
                path.display().to_string()
            } else {
                String::new()
            };
            Video {
                id: format!("{}-{n:04}", if n < 250 { "cold" } else { "hot" }),
                filename: Some(format!("clip {n}.mp4")),
                file_path: Some(file_path),
                file_size: Some(i64::try_from(n * 1_000).expect("small")),
                status: Some("uploaded".to_owned()),
                processing_status: Some(["pending", "processing", "odd"][n % 3].to_owned()),
                ground_truth: Some(n % 5 == 0),
            }
        })
        .collect();
    legacy.insert(&videos).await;
}

/// Expand, backfill, hash, and what the platform writes into the new tables.
async fn migrate(directory: &Path, legacy: &Legacy) {
    run(directory, legacy, &["apply", "expand"], 0);
    run(directory, legacy, &["enqueue", "backfill", "--batch-size", "50"], 0);
    run(directory, legacy, &["work", "--until-idle"], 0);
    run(directory, legacy, &["enqueue", "hash"], 0);
    run(directory, legacy, &["work", "--until-idle"], 0);
    let hashed = "SELECT COUNT(*) FROM videos WHERE file_hash IS NOT NULL";
    assert_eq!(legacy.number(hashed).await, 12);
    for n in 0..30 {
        legacy
            .execute(&format!(
                "INSERT INTO realtime_notification_queue (id, event_type, event_data) VALUES ('cold-n{n}', 'x', '{{}}')"
            ))
            .await;
        legacy
            .execute(&format!(
                "INSERT INTO processing_error_log (id, video_id, processing_stage, error_type, error_message) \
                 VALUES ('cold-e{n}', 'cold-00{n:02}', 'hash', 'io', 'it''s bad')"
            ))
            .await;
    }
    // One by one, as an application does beside another.
    for n in 0..100 {
        legacy
            .execute(&format!(
                "UPDATE video_processing_status SET progress_percentage = 44.4, error_count = 7, \
                   retry_count = 2, last_error_message = 'no disk' WHERE video_id = 'cold-00{n:02}'"
            ))
            .await;
    }
    legacy
        .execute("UPDATE videos SET workflow_state = 'validating', compliance_tags = '[1.50]' WHERE id = 'cold-0001' OR id = 'cold-0003'")
        .await;
}

/// Every column of every row that nobody writes.
async fn dump(legacy: &Legacy) -> Vec<String> {
    let mut dump = Vec::new();
    for (table, key) in TABLES {
        let columns = columns(legacy, table).await;
        dump.extend(dump_of(legacy, table, key, &columns).await);
    }
    dump
}

async fn dump_of(legacy: &Legacy, table: &str, key: &str, columns: &[String]) -> Vec<String> {
    let casts: Vec<_> = columns
        .iter()
        .map(|column| format!("COALESCE(CAST({column} AS CHAR(500)), '<null>')"))
        .collect();
    let sql = format!(
        "SELECT {} FROM {table} WHERE {key} LIKE 'cold-%' ORDER BY {key}",
        casts.join(", ")
    );
    let shown = |row: &sqlx::any::AnyRow| {
        let values: Vec<String> = (0..columns.len()).map(|column| row.get(column)).collect();
        format!("{table}: {}", values.join("|"))
    };
    legacy.rows(&sql).await.iter().map(shown).collect()
}

/// Shows the first row that differs, not all that do not.
#[track_caller]
fn same(now: &[String], before: &[String], what: &str) {
    assert_eq!(now.len(), before.len(), "{what}");
    for (now, before) in now.iter().zip(before) {
        assert_eq!(now, before, "{what}");
    }
}

async fn columns(legacy: &Legacy, table: &str) -> Vec<String> {
    let sql = if legacy.url.starts_with("sqlite") {
        format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid")
    } else {
        format!(
            "SELECT CAST(COLUMN_NAME AS CHAR(64)) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION"
        )
    };
    legacy.rows(&sql).await.iter().map(|row| row.get(0)).collect()
}

/// The application at work.
enum Application {
    Statements(Statements),
    Orm(orm::application::Application),
}

impl Application {
    /// The ORM's transactions where the platform has its tables.
    async fn start(legacy: &Legacy) -> Self {
        if legacy.url.starts_with("sqlite") {
            return Self::Statements(Statements::start(legacy.pool.clone()));
        }
        let (still, touched) = (orm::STILL, orm::TOUCHED);
        let project =
            format!("UPDATE videos SET project_id = IF(id LIKE 'cold-%', '{still}', '{touched}')");
        legacy.execute(&project).await;
        let ids = orm::touched(legacy).await;
        Self::Orm(orm::application::Application::start(&legacy.url, ids, 2, 1, false))
    }

    /// Nothing of it may have failed, and no child may be lost.
    async fn end(self, legacy: &Legacy) {
        match self {
            Self::Statements(statements) => statements.end().await,
            Self::Orm(application) => application.stop().await.check(legacy).await,
        }
    }
}

/// Legacy columns only, one statement at a time.
struct Statements {
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    task: JoinHandle<Vec<String>>,
}

impl Statements {
    fn start(pool: AnyPool) -> Self {
        let (stop, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counted) = (Arc::clone(&stop), Arc::clone(&writes));
        let task = tokio::spawn(async move {
            let mut failed = Vec::new();
            for n in 0_u64.. {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let done = if n.is_multiple_of(10) {
                    sqlx::query("INSERT INTO videos (id, filename, processing_status, ground_truth_generated) VALUES (?, 'new.mp4', 'pending', 0)")
                        .bind(format!("hot-new-{n}"))
                        .execute(&pool)
                        .await
                } else {
                    sqlx::query("UPDATE videos SET processing_status = ?, ground_truth_generated = ? WHERE id = ?")
                        .bind(["pending", "processing", "odd"][usize::try_from(n % 3).expect("small")])
                        .bind(i32::from(n.is_multiple_of(7)))
                        .bind(format!("hot-{:04}", 250 + n % 50))
                        .execute(&pool)
                        .await
                };
                match done {
                    Ok(_) => counted.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        failed.push(error.to_string());
                        0
                    }
                };
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            failed
        });
        Self { stop, writes, task }
    }

    /// No write may have failed.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.task.await.expect("the application ends");
        assert_eq!(failed, [""; 0]);
        assert!(self.writes.load(Ordering::Relaxed) > 0, "the application wrote meanwhile");
    }
}

/// The sum over all tables of what a restore counted.
fn counted(report: &Value, what: &str) -> u64 {
    let tables = report["tables"].as_array().expect("a list");
    tables.iter().map(|table| table[what].as_u64().expect("a count")).sum()
}

async fn round_trip(directory: &Path, legacy: &Legacy) {
    platform(directory, legacy).await;
    let legacy_columns = columns(legacy, "videos").await;
    let application = Application::start(legacy).await;
    migrate(directory, legacy).await;
    let before = dump(legacy).await;
    assert_eq!(before.len(), 250 + 250 + 30 + 30);
    let original = dump_of(legacy, "videos", "id", &legacy_columns).await;

    let report = run(directory, legacy, &["rollback", "--archive", "kept"], 0);
    assert_eq!(report["differences"], Value::Array(Vec::new()), "{report}");
    let tables = report["archive"]["manifest"]["tables"].as_array().expect("a list");
    assert!(tables[0]["rows"].as_u64().is_some_and(|rows| rows >= 300), "{report}");
    let archived_rows: u64 = tables.iter().filter_map(|table| table["rows"].as_u64()).sum();
    same(
        &dump_of(legacy, "videos", "id", &columns(legacy, "videos").await).await,
        &original,
        "after the rollback",
    );
    let again = run(directory, legacy, &["rollback", "--archive", "other"], 0);
    assert_eq!(again["undone"], Value::Array(Vec::new()), "{again}");

    run(directory, legacy, &["apply", "expand"], 0);
    let restored = run(directory, legacy, &["restore", "kept"], 0);
    same(&dump(legacy).await, &before, &restored.to_string());
    // The application deletes videos meanwhile.
    let counts = ["restored", "present", "deleted"].map(|what| counted(&restored, what));
    assert_eq!(counts.iter().sum::<u64>(), archived_rows, "{restored}");
    let again = run(directory, legacy, &["restore", "kept"], 0);
    same(&dump(legacy).await, &before, &again.to_string());
    application.end(legacy).await;
    run(directory, legacy, &["validate"], 0);
    // The archive of the first is never overwritten by the second.
    assert!(
        refusal(directory, legacy, &["rollback", "--archive", "kept"]).contains("holds an archive")
    );
    let last = run(directory, legacy, &["rollback", "--discard", "--purge", "--yes"], 0);
    assert_eq!(
        (&last["purged"], &last["differences"]),
        (&true.into(), &Value::Array(Vec::new())),
        "{last}"
    );
    same(
        &dump_of(legacy, "videos", "id", &columns(legacy, "videos").await).await,
        &original,
        "after the last",
    );
    assert_eq!(
        run(directory, legacy, &["rollback", "--purge", "--yes"], 0)["undone"],
        Value::Array(Vec::new())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_trip_loses_nothing_on_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    round_trip(directory.path(), &Legacy::sqlite(directory.path()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_trip_loses_nothing_on_mariadb() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::empty_mariadb().await;
    orm::create(&legacy, Dates::DateTime).await;
    legacy.execute("ALTER TABLE videos ALTER COLUMN project_id SET DEFAULT 'touched'").await;
    round_trip(directory.path(), &legacy).await;
    legacy.drop_database().await;
}

/// Runs `arguments` again and again, killed after a growing time, until it ends by itself.
fn killed_until_done(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> u32 {
    for kills in 0.. {
        let mut child = Reelshift::new(directory, arguments).database(&legacy.url).start();
        // Short at first, to hit the beginning; the whole takes about a second.
        std::thread::sleep(Duration::from_millis(u64::from(15 + kills * 13)));
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            if status.code() != Some(0) {
                // Once more, to see what it says.
                reelshift(directory, legacy, arguments).ok();
                panic!("{status} after {kills} kills, and not the next time");
            }
            return kills;
        }
        child.kill().expect("it is killed");
        child.wait().expect("it is dead");
        assert!(kills < 400, "it never came to its end");
    }
    unreachable!("the loop has no end")
}

async fn killed_all_the_way(directory: &Path, legacy: &Legacy) {
    platform(directory, legacy).await;
    migrate(directory, legacy).await;
    run(directory, legacy, &["apply", "index"], 0);
    run(directory, legacy, &["apply", "automate"], 0);
    let before = dump(legacy).await;
    let kills = killed_until_done(directory, legacy, &["rollback", "--archive", "kept"]);
    assert!(kills > 3, "killed {kills} times only");
    let report = run(directory, legacy, &["rollback"], 0);
    assert_eq!(report["differences"], Value::Array(Vec::new()), "{report}");
    killed_until_done(directory, legacy, &["apply", "expand"]);
    killed_until_done(directory, legacy, &["restore", "kept"]);
    same(&dump(legacy).await, &before, "after all kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rollback_is_completed_on_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    killed_all_the_way(directory.path(), &Legacy::sqlite(directory.path()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rollback_is_completed_on_mariadb() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    killed_all_the_way(directory.path(), &legacy).await;
    legacy.drop_database().await;
}

/// Runs `arguments` until they end by themselves, each time killed as soon as a step that
/// was not complete before is reported; the numbers of those steps.
fn killed_after_each_step(
    directory: &Path,
    legacy: &Legacy,
    arguments: &[&str],
    killed_after: &mut BTreeSet<String>,
) {
    for _ in 0..200 {
        let mut child = Reelshift::new(directory, arguments).database(&legacy.url).start_reading();
        let lines = BufReader::new(child.stdout.take().expect("its output is read")).lines();
        let step = lines.map_while(Result::ok).find(|line| {
            line.starts_with(|first: char| first.is_ascii_digit()) && !line.ends_with("done before")
        });
        let Some(step) = step else {
            assert_eq!(child.wait().expect("it ends").code(), Some(0), "{arguments:?}");
            return;
        };
        child.kill().expect("it is killed");
        child.wait().expect("it is dead");
        killed_after.extend(step.split(' ').next().map(str::to_owned));
    }
    panic!("{arguments:?} never came to its end");
}

/// The steps after which a process can be killed: of those that share a gate, whose lines are
/// printed when it is over, the first. What a kill within a gate leaves is tested on the store.
fn killable(steps: &BTreeSet<String>, reports: &[Value]) -> BTreeSet<String> {
    let gates = reports.iter().filter_map(|report| report["gates"].as_array()).flatten();
    let shared = gates
        .filter_map(|gate| gate["steps"].as_array())
        .flat_map(|steps| steps.iter().skip(1).filter_map(Value::as_u64))
        .map(|number| format!("{number:04}"))
        .collect();
    steps.difference(&shared).cloned().collect()
}

/// Kills apply and rollback after each of their steps, going there and back until there is
/// no step left after which nobody was killed.
async fn killed_after_every_step(directory: &Path, legacy: &Legacy) {
    platform(directory, legacy).await;
    let there =
        ["expand", "index", "automate"].map(|phase| run(directory, legacy, &["apply", phase], 0));
    let steps = legacy.rows("SELECT number + 0 FROM reelshift_schema_steps").await;
    let steps: BTreeSet<String> =
        steps.iter().map(|row| format!("{:04}", row.get::<i64, _>(0))).collect();
    let complete = schema(legacy).await;
    let back = run(directory, legacy, &["rollback", "--discard", "--purge", "--yes"], 0);
    let (all_up, all_down) = (killable(&steps, &there), killable(&steps, &[back]));
    let original = schema(legacy).await;
    let (mut up, mut down) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..5 {
        for phase in ["expand", "index", "automate"] {
            killed_after_each_step(directory, legacy, &["apply", phase], &mut up);
        }
        assert_eq!(schema(legacy).await, complete, "after kills on the way there");
        let back = ["rollback", "--discard", "--purge", "--yes"];
        killed_after_each_step(directory, legacy, &back, &mut down);
        assert_eq!(schema(legacy).await, original, "after kills on the way back");
        if up.is_superset(&all_up) && down.is_superset(&all_down) {
            return;
        }
    }
    panic!(
        "never killed after {:?} there and {:?} back",
        all_up.difference(&up),
        all_down.difference(&down)
    );
}

/// Every object of the schema with its definition.
async fn schema(legacy: &Legacy) -> Vec<String> {
    let sql = if legacy.url.starts_with("sqlite") {
        "SELECT type || ' ' || name || ' ' || COALESCE(sql, '') FROM sqlite_schema ORDER BY 1"
    } else {
        "SELECT CAST(line AS CHAR(2000)) FROM ( \
           SELECT CONCAT_WS(' ', 'column', TABLE_NAME, ORDINAL_POSITION, COLUMN_NAME, COLUMN_TYPE, \
             COLUMN_DEFAULT, IS_NULLABLE) AS line \
           FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() \
           UNION ALL SELECT CONCAT_WS(' ', 'index', TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, \
             NON_UNIQUE) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() \
           UNION ALL SELECT CONCAT_WS(' ', 'trigger', TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, \
             SHA2(ACTION_STATEMENT, 256)) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() \
           UNION ALL SELECT CONCAT_WS(' ', 'key', TABLE_NAME, CONSTRAINT_NAME, CONSTRAINT_TYPE) \
           FROM information_schema.TABLE_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = DATABASE()) objects \
         ORDER BY line"
    };
    legacy.rows(sql).await.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_any_step_changes_nothing_on_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    killed_after_every_step(directory.path(), &Legacy::sqlite(directory.path()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_any_step_changes_nothing_on_mariadb() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    killed_after_every_step(directory.path(), &legacy).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_lose_something_is_refused() {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path();
    let legacy = Legacy::sqlite(directory).await;
    platform(directory, &legacy).await;
    assert_eq!(run(directory, &legacy, &["rollback"], 0)["undone"], Value::Array(Vec::new()));
    run(directory, &legacy, &["apply", "expand"], 0);
    assert!(refusal(directory, &legacy, &["rollback"]).contains("--archive DIR"));
    for arguments in [["--to", "index", "--purge"], ["--archive", "x", "--discard"]] {
        let arguments: Vec<_> = ["rollback"].into_iter().chain(arguments).collect();
        assert_eq!(reelshift(directory, &legacy, &arguments).code, Some(2), "{arguments:?}");
    }
    std::fs::create_dir(directory.join("full")).expect("a directory");
    std::fs::write(directory.join("full/notes.txt"), "mine").expect("a file");
    assert!(refusal(directory, &legacy, &["rollback", "--archive", "full"]).contains("not empty"));
    run(directory, &legacy, &["enqueue", "backfill"], 0);
    assert!(
        refusal(directory, &legacy, &["rollback", "--archive", "kept"]).contains("let it finish")
    );
    run(directory, &legacy, &["work", "--until-idle"], 0);
    assert!(refusal(directory, &legacy, &["restore", "kept"]).contains("no archive"));

    // What the application added since stays, and is named.
    legacy.execute("CREATE TABLE theirs (id INTEGER PRIMARY KEY)").await;
    let ran = reelshift(directory, &legacy, &["rollback", "--archive", "kept", "--purge", "--yes"])
        .expect(1);
    assert!(ran.stderr.contains("table theirs (new since)"), "{}", ran.stderr);
    assert_eq!(ran.json()["purged"], false);
    let purged =
        reelshift(directory, &legacy, &["rollback", "--purge", "--discard", "--yes"]).expect(1);
    assert_eq!(purged.json()["purged"], true);
    assert_eq!(
        legacy.number("SELECT COUNT(*) FROM sqlite_schema WHERE name LIKE 'reelshift%'").await,
        0
    );

    // Every file is checked before anything is written.
    run(directory, &legacy, &["apply", "expand"], 0);
    let file = directory.join("kept/video_processing_status.00001.jsonl.gz");
    let whole = std::fs::read(&file).expect("the file is read");
    std::fs::write(&file, &whole[..whole.len() - 1]).expect("the file is cut off");
    let before = dump(&legacy).await;
    assert!(refusal(directory, &legacy, &["restore", "kept"]).contains("SHA-256"));
    std::fs::remove_file(&file).expect("the file is removed");
    assert!(refusal(directory, &legacy, &["restore", "kept"]).contains("missing"));
    same(&dump(&legacy).await, &before, "nothing was written");
    std::fs::write(&file, &whole).expect("the file is whole again");
    run(directory, &legacy, &["restore", "kept"], 0);
}
