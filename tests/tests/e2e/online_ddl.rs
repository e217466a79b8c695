//! A schema change does not make the application wait for a transaction that somebody has
//! left open: the waiting is the migration's.

use std::time::{Duration, Instant};

use reelshift_tests::orm::application::Application;
use reelshift_tests::orm::{self, Dates};
use reelshift_tests::{Legacy, Reelshift};
use sqlx::{Connection, MySqlConnection, Row as _};
use tokio::time::sleep;

const VIDEOS: usize = 2_000;
const THREADS: u64 = 4;
/// How long a transaction is left open.
const HELD: Duration = Duration::from_secs(16);
/// Who waits for that transaction waits longer than this, and nobody else on any machine.
const STALL: Duration = Duration::from_secs(8);

/// The ORM's tables, on a server.
async fn platform() -> Legacy {
    let legacy = Legacy::empty_mariadb().await;
    orm::fill(&legacy, Dates::DateTime, VIDEOS).await;
    legacy
}

/// The platform's application at work.
async fn application(legacy: &Legacy) -> Application {
    Application::start(&legacy.url, orm::touched(legacy).await, THREADS, 1, false)
}

/// The application waited for nobody, no transaction of it failed, and no child is lost.
async fn check(legacy: &Legacy, application: Application) {
    let report = application.stop().await;
    println!("{} requests, the longest {:?}", report.requests, report.longest);
    assert!(report.longest < STALL, "the application waited {:?}", report.longest);
    report.check(legacy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_left_open_stalls_the_migration_and_not_the_application() {
    let legacy = platform().await;
    let dir = tempfile::tempdir().expect("a directory");

    let mut holder = MySqlConnection::connect(&legacy.url).await.expect("a session");
    let mut held = holder.begin().await.expect("a transaction");
    sqlx::query("SELECT COUNT(*) FROM videos")
        .fetch_one(&mut *held)
        .await
        .expect("it reads videos");
    let began = Instant::now();

    let application = application(&legacy).await;
    let expand = Reelshift::new(dir.path(), &["apply", "expand"]).database(&legacy.url);
    let expand = tokio::task::spawn_blocking(move || expand.run());

    sleep(Duration::from_secs(12)).await;
    let plan = Reelshift::new(dir.path(), &["--json", "plan"]).database(&legacy.url);
    let plan =
        tokio::task::spawn_blocking(move || plan.run()).await.expect("plan ends").expect(0).json();
    let findings = plan["findings"].as_array().expect("findings");
    let open =
        findings.iter().find(|finding| finding["check"] == "transactions").expect("the check");
    assert_eq!(open["verdict"], "warning", "{open}");

    sleep(HELD.saturating_sub(began.elapsed())).await;
    assert!(!expand.is_finished(), "expand waits for the transaction");
    held.rollback().await.expect("the transaction ends");

    let ran = expand.await.expect("expand ends").expect(0);
    assert!(ran.stderr.contains("waiting for the lock of step 0104"), "{}", ran.stderr);
    assert!(ran.stderr.contains("held by session"), "{}", ran.stderr);
    // A little longer: what the new triggers cost is the application's too.
    sleep(Duration::from_secs(1)).await;
    check(&legacy, application).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_not_tried_while_a_transaction_holds_the_table() {
    let legacy = platform().await;
    let dir = tempfile::tempdir().expect("a directory");
    Reelshift::new(dir.path(), &["apply", "expand"]).database(&legacy.url).run().ok();
    let mut holder = MySqlConnection::connect(&legacy.url).await.expect("a session");
    let mut held = holder.begin().await.expect("a transaction");
    sqlx::query("SELECT COUNT(*) FROM videos").fetch_one(&mut *held).await.expect("it reads");

    let application = application(&legacy).await;
    let index = Reelshift::new(dir.path(), &["apply", "index"]).database(&legacy.url);
    let index = tokio::task::spawn_blocking(move || index.run());
    sleep(HELD).await;
    assert!(!index.is_finished(), "index waits for the transaction");
    held.rollback().await.expect("the transaction ends");
    index.await.expect("index ends").ok();
    check(&legacy, application).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_that_vanished_are_told_and_made_again() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        legacy.fill(10).await;
        let run = |arguments: &[&str]| {
            let command = Reelshift::new(dir.path(), arguments).database(&legacy.url);
            tokio::task::block_in_place(|| command.run())
        };
        run(&["apply", "expand"]).ok();
        run(&["enqueue", "backfill"]).ok();
        run(&["work", "--until-idle"]).ok();
        run(&["validate"]).ok();
        let trigger = match legacy.url.starts_with("sqlite") {
            true => {
                "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'tr_reelshift_%' ORDER BY name LIMIT 1"
            }
            false => {
                "SELECT CAST(TRIGGER_NAME AS CHAR) FROM information_schema.TRIGGERS \
                 WHERE TRIGGER_SCHEMA = DATABASE() ORDER BY TRIGGER_NAME LIMIT 1"
            }
        };
        let trigger: String = legacy.rows(trigger).await[0].get(0);
        legacy.execute(&format!("DROP TRIGGER {trigger}")).await;
        let told = run(&["validate"]).expect(3);
        assert!(told.stdout.contains(&trigger), "{}", told.stdout);
        run(&["apply", "expand"]).ok();
        run(&["validate"]).ok();
        legacy.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_ends_with_a_report_of_who_held_the_lock() {
    let legacy = Legacy::mariadb().await;
    legacy.fill(10).await;
    let dir = tempfile::tempdir().expect("a directory");
    let mut holder = MySqlConnection::connect(&legacy.url).await.expect("a session");
    let session: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()")
        .fetch_one(&mut holder)
        .await
        .expect("its number");
    let mut held = holder.begin().await.expect("a transaction");
    sqlx::query("SELECT COUNT(*) FROM videos")
        .fetch_one(&mut *held)
        .await
        .expect("it reads videos");
    let arguments = ["apply", "expand", "--lock-patience", "3s"];
    let ran = Reelshift::new(dir.path(), &arguments).database(&legacy.url).run().expect(4);
    assert!(ran.stderr.contains("was never free within 3 s"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("session {session} of root@")), "{}", ran.stderr);
    held.rollback().await.expect("the transaction ends");
    Reelshift::new(dir.path(), &arguments).database(&legacy.url).run().ok();
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_copied_only_where_that_is_allowed() {
    let legacy = Legacy::mariadb().await;
    legacy.fill(50).await;
    legacy.execute("ALTER TABLE videos ROW_FORMAT = COMPRESSED").await;
    let dir = tempfile::tempdir().expect("a directory");
    let run =
        |arguments: &[&str]| Reelshift::new(dir.path(), arguments).database(&legacy.url).run();

    let plan = run(&["plan"]).expect(4);
    assert!(plan.stdout.contains("COMPRESSED"), "{}", plan.stdout);
    let refused = run(&["apply", "expand"]).expect(4);
    assert!(refused.stderr.contains("--allow-copy videos"), "{}", refused.stderr);
    assert_eq!(legacy.number("SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos'").await, 13);

    let asks = run(&["apply", "expand", "--allow-copy", "videos"]).expect(4);
    assert!(asks.stderr.contains("--yes"), "{}", asks.stderr);
    let unknown = run(&["apply", "expand", "--allow-copy", "users", "--yes"]).expect(2);
    assert!(unknown.stderr.contains("users"), "{}", unknown.stderr);
    run(&["apply", "expand", "--allow-copy", "videos", "--yes"]).ok();
    assert_eq!(
        legacy.number("SELECT COUNT(*) FROM videos WHERE workflow_state = 'uploaded'").await,
        50
    );
    legacy.drop_database().await;
}

/// What an application prepares once and executes for as long as its connection lives.
const PREPARED: [&str; 5] = [
    "INSERT INTO videos (id, filename, processing_status) VALUES (?, 'new.mp4', 'pending')",
    "UPDATE videos SET processing_status = 'processing' WHERE id = ?",
    "INSERT INTO videos (id, filename) VALUES (?, 'again.mp4') \
     ON DUPLICATE KEY UPDATE processing_status = 'completed'",
    "SELECT COUNT(*) FROM videos WHERE id = ?",
    "DELETE FROM videos WHERE id = ?",
];

/// The driver prepares each statement at its first use on a connection, and keeps it.
async fn execute_prepared(connection: &mut MySqlConnection, during: &str) {
    for statement in PREPARED {
        sqlx::query(statement).bind("prepared").execute(&mut *connection).await.unwrap_or_else(
            |error| panic!("a prepared statement fails {during}: {statement}: {error}"),
        );
    }
}

async fn prepared_statements_survive(own_triggers: bool) {
    let legacy = Legacy::mariadb().await;
    legacy.fill(50).await;
    if own_triggers {
        legacy.execute("CREATE TABLE audit (id INT AUTO_INCREMENT PRIMARY KEY)").await;
        for event in ["INSERT", "UPDATE", "DELETE"] {
            legacy
                .execute(&format!(
                    "CREATE TRIGGER audit_{event} AFTER {event} ON videos FOR EACH ROW \
                     INSERT INTO audit () VALUES ()"
                ))
                .await;
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut connections = Vec::new();
    let phases: [&[&str]; 5] = [
        &["apply", "expand"],
        &["apply", "index"],
        &["apply", "automate"],
        &["rollback", "--to", "rollout"],
        &["rollback", "--discard", "--purge", "--yes"],
    ];
    for phase in phases {
        // Statements as old as each phase: some know its triggers, some do not.
        let mut connection = MySqlConnection::connect(&legacy.url).await.expect("a connection");
        execute_prepared(&mut connection, "when it is new").await;
        connections.push(connection);
        // The server's clock of triggers has steps of 10 ms.
        sleep(Duration::from_millis(20)).await;
        Reelshift::new(dir.path(), phase).database(&legacy.url).run().ok();
        for connection in &mut connections {
            execute_prepared(connection, &format!("after {phase:?}")).await;
        }
    }
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_prepared_before_a_phase_go_on() {
    prepared_statements_survive(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_prepared_before_a_phase_go_on_beside_triggers_of_the_platform() {
    prepared_statements_survive(true).await;
}
