//! What fails is found, set aside, explained and run again; the rest is done.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reelshift_tests::{LIMIT, Legacy, Ran, Reelshift, oracle, wait};
use sqlx::Row as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str], code: i32) -> Ran {
    Reelshift::new(directory, arguments)
        .database(&legacy.url)
        .media(&directory.join("media"))
        .run()
        .expect(code)
}

fn media(directory: &Path) {
    std::fs::create_dir(directory.join("media")).expect("a directory");
    std::fs::write(directory.join("media/here.mp4"), b"a film").expect("a file");
}

/// A row among many that somebody else's trigger refuses.
async fn a_row_is_refused(legacy: &Legacy, directory: &Path, trigger: &str) {
    media(directory);
    legacy.fill(4_000).await;
    let refused = "filename LIKE 'video 2345.%'";
    run(directory, legacy, &["apply", "expand"], 0).ok();
    legacy.execute(trigger).await;
    run(directory, legacy, &["enqueue", "backfill", "--batch-size", "500"], 0).ok();
    let worked = run(directory, legacy, &["--json", "work", "--until-idle"], 5).json();
    assert_eq!(worked["runs"][0]["state"], "done");
    assert_eq!(worked["runs"][0]["quarantined"], 1);
    assert_eq!(worked["runs"][0]["rows_done"], 3_999);

    let aside =
        "SELECT COUNT(*) FROM reelshift_quarantine q JOIN videos v ON v.id = q.video_id WHERE";
    assert_eq!(legacy.number(&format!("{aside} {refused}")).await, 1, "exactly that one");
    let left = "SELECT COUNT(*) FROM videos WHERE workflow_state IS NULL OR file_mime_type IS NULL";
    assert_eq!(legacy.number(left).await, 1, "everything else is done");
    let log = "FROM processing_error_log e JOIN reelshift_quarantine q ON q.error_id = e.id \
               AND q.video_id = e.video_id WHERE e.error_type = 'database_trigger_refused' \
               AND e.severity = 'high' AND e.recovery_strategy = 'quarantine' \
               AND e.correlation_id IS NOT NULL AND e.error_code IS NOT NULL";
    assert_eq!(legacy.number(&format!("SELECT COUNT(*) {log}")).await, 1);
    assert_eq!(legacy.number("SELECT COUNT(*) FROM processing_error_log").await, 1);
    let counted = "SELECT COUNT(*) FROM video_processing_status WHERE error_count = 1";
    assert_eq!(legacy.number(counted).await, 1);
    let errors = run(directory, legacy, &["errors"], 0).stdout;
    assert!(
        errors.contains("database_trigger_refused") && errors.contains("not this one"),
        "{errors}"
    );
    assert_eq!(
        run(directory, legacy, &["--json", "status"], 5).json()["runs"][0]["quarantined"],
        1
    );
    let differs = run(directory, legacy, &["--json", "validate"], 3).json();
    assert_eq!(differs["valid"], false);

    legacy.execute("DROP TRIGGER theirs").await;
    let dry = run(directory, legacy, &["--json", "rerun", "--quarantined", "--dry-run"], 0).json();
    assert_eq!((&dry["items"], &dry["runs"][0]["items"]), (&1.into(), &1.into()));
    run(directory, legacy, &["rerun", "--quarantined", "--stage", "backfill", "--since", "1h"], 0)
        .ok();
    let again = run(directory, legacy, &["rerun", "--quarantined"], 0).stdout;
    assert!(again.contains("nothing to enqueue again"), "{again}");
    let taken = run(directory, legacy, &["rerun", "--type", "database_trigger_refused"], 0).stdout;
    assert!(taken.contains("is enqueued again already, accepted, or not meant"), "{taken}");
    for mistyped in [&["rerun", "--type", "file_mising"][..], &["errors", "--type", "file_mising"]]
    {
        let says = run(directory, legacy, mistyped, 0).stdout;
        assert!(says.contains("no error is of the type file_mising; errors are of: "), "{says}");
    }
    run(directory, legacy, &["work", "--until-idle"], 0).ok();
    assert_eq!(oracle::check_every_row(legacy).await, 4_000);
    run(directory, legacy, &["validate"], 0).ok();
    let recovered = "SELECT COUNT(*) FROM processing_error_log WHERE recovery_successful \
                     AND recovery_timestamp IS NOT NULL";
    assert_eq!(legacy.number(recovered).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_refuses_is_found_on_mariadb() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    let trigger = "CREATE TRIGGER theirs BEFORE UPDATE ON videos FOR EACH ROW BEGIN \
                   IF NEW.filename LIKE 'video 2345.%' THEN \
                   SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF; END";
    a_row_is_refused(&legacy, dir.path(), trigger).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_refuses_is_found_on_sqlite() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    let trigger = "CREATE TRIGGER theirs BEFORE UPDATE ON videos \
                   WHEN NEW.filename LIKE 'video 2345.%' \
                   BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    a_row_is_refused(&legacy, dir.path(), trigger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_row_is_refused_the_batch_fails() {
    let dir = tempfile::tempdir().expect("a directory");
    media(dir.path());
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(300).await;
    run(dir.path(), &legacy, &["apply", "expand"], 0).ok();
    legacy
        .execute(
            "CREATE TRIGGER theirs BEFORE UPDATE ON videos BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .await;
    run(dir.path(), &legacy, &["enqueue", "backfill"], 0).ok();
    let _ = run(dir.path(), &legacy, &["work", "--until-idle"], 5);
    let failed = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'failed' AND attempts = 1";
    assert_eq!(legacy.number(failed).await, 1, "at once, not row by row");
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_quarantine").await, 100);
    legacy.execute("DROP TRIGGER theirs").await;
    run(dir.path(), &legacy, &["rerun", "--type", "batch_mostly_refused"], 0).ok();
    run(dir.path(), &legacy, &["rerun", "--quarantined"], 0).ok();
    run(dir.path(), &legacy, &["work", "--until-idle"], 0).ok();
    assert_eq!(oracle::check_every_row(&legacy).await, 300);
    let open = "SELECT COUNT(*) FROM processing_error_log WHERE recovery_successful IS NOT TRUE";
    assert_eq!(legacy.number(open).await, 0, "every failure has recovered");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_batches_of_refused_rows_fail_too() {
    let dir = tempfile::tempdir().expect("a directory");
    media(dir.path());
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(200).await;
    run(dir.path(), &legacy, &["apply", "expand"], 0).ok();
    legacy
        .execute(
            "CREATE TRIGGER theirs BEFORE UPDATE ON videos WHEN NEW.filename NOT LIKE 'video 7%' \
             BEGIN SELECT RAISE(ABORT, 'no more mysql://user:hunter2@h/x'); END",
        )
        .await;
    run(dir.path(), &legacy, &["enqueue", "backfill", "--batch-size", "50"], 0).ok();
    let said = run(dir.path(), &legacy, &["work", "--until-idle"], 5).stderr;
    assert!(said.contains("mysql://***@h/x") && !said.contains("hunter2"), "{said}");
    let batches = |state: &str| {
        format!("SELECT COUNT(*) FROM reelshift_batches WHERE state = '{state}' AND attempts <= 1")
    };
    assert_eq!(legacy.number(&batches("failed")).await, 4);
    assert_eq!(legacy.number(&batches("done")).await, 0, "no batch is done with nothing written");
    legacy.execute("DROP TRIGGER theirs").await;
    run(dir.path(), &legacy, &["rerun"], 0).ok();
    run(dir.path(), &legacy, &["work", "--until-idle"], 0).ok();
    assert_eq!(oracle::check_every_row(&legacy).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bisecting_ends_for_a_pause() {
    let dir = tempfile::tempdir().expect("a directory");
    media(dir.path());
    let legacy = Legacy::mariadb().await;
    legacy.fill(90).await;
    run(dir.path(), &legacy, &["apply", "expand"], 0).ok();
    // Slow, so that halving all of them takes far longer than a pause may.
    legacy
        .execute(
            "CREATE TRIGGER theirs BEFORE UPDATE ON videos FOR EACH ROW BEGIN DO SLEEP(0.5); \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END",
        )
        .await;
    run(dir.path(), &legacy, &["enqueue", "backfill"], 0).ok();
    let mut worker = Reelshift::new(dir.path(), &["work"]).database(&legacy.url).start();
    let aside = "SELECT COUNT(*) FROM reelshift_quarantine";
    let leased = "SELECT COUNT(*) FROM reelshift_batches WHERE leased_by IS NOT NULL";
    until(&legacy, aside, |count| count >= 2).await;
    run(dir.path(), &legacy, &["pause"], 0).ok();
    until(&legacy, leased, |count| count == 0).await;
    assert!(legacy.number(aside).await < 45, "it was in the middle of it");
    run(dir.path(), &legacy, &["resume"], 0).ok();
    until(&legacy, leased, |count| count == 1).await;
    let id: String = legacy.rows("SELECT id FROM reelshift_runs").await[0].get(0);
    run(dir.path(), &legacy, &["cancel", &id], 0).ok();
    let left = legacy.number(aside).await;
    assert_eq!(left, 0, "its quarantine is free");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(legacy.number(aside).await, 0, "and nothing is set aside any more");
    worker.kill().expect("it is killed");
    worker.wait().expect("it is gone");
    legacy.drop_database().await;
}

/// Waits for a count.
async fn until(legacy: &Legacy, count: &str, holds: impl Fn(i64) -> bool) {
    reelshift_tests::until(count, async || holds(legacy.number(count).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_error_leads_from_the_attempt_to_its_row() {
    let dir = tempfile::tempdir().expect("a directory");
    media(dir.path());
    let legacy = Legacy::mariadb().await;
    legacy.fill(200).await;
    run(dir.path(), &legacy, &["apply", "expand"], 0).ok();
    legacy
        .execute(
            "CREATE TRIGGER theirs BEFORE UPDATE ON videos FOR EACH ROW BEGIN \
             IF NEW.filename LIKE 'video 42.%' THEN INSERT INTO nowhere VALUES (1); END IF; END",
        )
        .await;
    run(dir.path(), &legacy, &["enqueue", "backfill"], 0).ok();
    let _ = run(dir.path(), &legacy, &["work", "--until-idle"], 5);
    let chain = "SELECT COUNT(*) FROM processing_error_log e \
                 JOIN processing_error_log p ON p.id = e.parent_error_id \
                 JOIN reelshift_quarantine q ON q.error_id = e.id \
                 WHERE p.video_id IS NULL AND p.recovery_strategy = 'retry_once' \
                   AND p.recovery_attempted AND p.recovery_successful = FALSE";
    assert_eq!(legacy.number(chain).await, 1);
    assert_eq!(legacy.number("SELECT COUNT(*) FROM processing_error_log").await, 2);
    legacy.execute("DROP TRIGGER theirs").await;
    run(dir.path(), &legacy, &["rerun", "--quarantined"], 0).ok();
    run(dir.path(), &legacy, &["work", "--until-idle"], 0).ok();
    let recovered = "SELECT COUNT(*) FROM processing_error_log WHERE recovery_successful";
    assert_eq!(legacy.number(recovered).await, 2, "the row's error, and the attempt's by it");
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_undone_is_shown_however_old_and_freed_by_cancelling() {
    let dir = tempfile::tempdir().expect("a directory");
    media(dir.path());
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(50).await;
    legacy.execute("UPDATE videos SET file_path = 'here.mp4'").await;
    run(dir.path(), &legacy, &["apply", "expand"], 0).ok();
    legacy
        .execute(
            "CREATE TRIGGER theirs BEFORE UPDATE ON videos WHEN NEW.filename LIKE 'video 7.%' \
             BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        )
        .await;
    run(dir.path(), &legacy, &["enqueue", "backfill"], 0).ok();
    let _ = run(dir.path(), &legacy, &["work", "--until-idle"], 5);
    for _ in 0..11 {
        let hash = run(dir.path(), &legacy, &["--json", "enqueue", "hash"], 0).json();
        let id = hash["run"]["id"].as_str().expect("an id");
        run(dir.path(), &legacy, &["cancel", id], 0).ok();
    }
    let status = run(dir.path(), &legacy, &["status"], 5).stdout;
    assert!(status.contains("> backfill ok >"), "{status}");
    assert!(status.contains("1 item in quarantine"), "{status}");

    legacy.execute("DROP TRIGGER theirs").await;
    legacy.execute("UPDATE reelshift_runs SET state = 'paused' WHERE kind = 'backfill'").await;
    let id: String =
        legacy.rows("SELECT id FROM reelshift_runs WHERE kind = 'backfill'").await[0].get(0);
    let cancelled = run(dir.path(), &legacy, &["cancel", &id], 0).stdout;
    assert!(cancelled.contains("no longer in quarantine"), "{cancelled}");
    run(dir.path(), &legacy, &["status"], 0).ok();
    run(dir.path(), &legacy, &["enqueue", "backfill"], 0).ok();
    run(dir.path(), &legacy, &["work", "--until-idle"], 0).ok();
    assert_eq!(oracle::check_every_row(&legacy).await, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_files_do_not_hold_up_the_others() {
    let dir = tempfile::tempdir().expect("a directory");
    media(dir.path());
    let legacy = Legacy::mariadb().await;
    legacy.fill(1_000).await;
    legacy
        .execute(
            "UPDATE videos SET file_path = CASE WHEN filename LIKE '%.MOV' THEN 'gone.mp4' \
             ELSE 'here.mp4' END",
        )
        .await;
    let missing = legacy.number("SELECT COUNT(*) FROM videos WHERE file_path = 'gone.mp4'").await;
    run(dir.path(), &legacy, &["apply", "expand"], 0).ok();
    run(dir.path(), &legacy, &["enqueue", "hash"], 0).ok();
    let worked = run(dir.path(), &legacy, &["--json", "work", "--until-idle"], 5).json();
    assert_eq!(worked["runs"][0]["quarantined"], missing);
    assert_eq!(worked["runs"][0]["state"], "done");
    let hashed = "SELECT COUNT(*) FROM videos WHERE file_hash IS NOT NULL";
    assert_eq!(legacy.number(hashed).await, 1_000 - missing);
    let attempts = "SELECT COUNT(*) FROM reelshift_batches WHERE attempts > 0";
    assert_eq!(legacy.number(attempts).await, 0, "no batch was tried again for them");
    let errors = run(dir.path(), &legacy, &["errors"], 0).stdout;
    assert!(errors.contains("file_missing") && errors.contains(&missing.to_string()), "{errors}");
    assert!(errors.lines().count() <= 50, "one screen: {errors}");

    // Half of them fail again: each names its failure before.
    run(dir.path(), &legacy, &["rerun", "--type", "file_missing"], 0).ok();
    let _ = run(dir.path(), &legacy, &["work", "--until-idle"], 5);
    let chained = "SELECT COUNT(*) FROM processing_error_log e JOIN processing_error_log p \
                   ON p.id = e.parent_error_id AND p.video_id = e.video_id \
                   WHERE p.recovery_attempted AND NOT p.recovery_successful";
    assert_eq!(legacy.number(chained).await, missing);
    std::fs::write(dir.path().join("media/gone.mp4"), b"found again").expect("a file");
    run(dir.path(), &legacy, &["rerun", "--quarantined"], 0).ok();
    run(dir.path(), &legacy, &["work", "--until-idle"], 0).ok();
    assert_eq!(legacy.number(hashed).await, 1_000);
    let open = "SELECT COUNT(*) FROM processing_error_log WHERE NOT (recovery_successful <=> TRUE) \
                AND recovery_strategy <> 'accept'";
    assert_eq!(legacy.number(open).await, 0);
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_a_trigger_refuses_is_set_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    media(dir.path());
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(100).await;
    legacy.execute("UPDATE videos SET file_path = 'here.mp4'").await;
    run(dir.path(), &legacy, &["apply", "expand"], 0).ok();
    legacy
        .execute(
            "CREATE TRIGGER theirs BEFORE UPDATE OF file_hash ON videos \
             WHEN NEW.filename LIKE 'video 42.%' BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        )
        .await;
    run(dir.path(), &legacy, &["enqueue", "hash"], 0).ok();
    let worked = run(dir.path(), &legacy, &["--json", "work", "--until-idle"], 5).json();
    assert_eq!(worked["runs"][0]["quarantined"], 1);
    assert_eq!(legacy.number("SELECT COUNT(*) FROM videos WHERE file_hash IS NULL").await, 1);
}

/// A way to the database that can be cut.
struct Way {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Way {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (open, seen) = watch::channel(true);
        let server: Arc<str> = server.into();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (server, mut seen) = (Arc::clone(&server), seen.clone());
                tokio::spawn(async move {
                    if !*seen.borrow_and_update() {
                        return Ok(());
                    }
                    let mut server = TcpStream::connect(&*server).await?;
                    tokio::select! {
                        copied = tokio::io::copy_bidirectional(&mut client, &mut server) => {
                            copied.map(drop)
                        }
                        // Both connections are dropped.
                        _ = seen.changed() => Err(ErrorKind::ConnectionReset.into()),
                    }
                });
            }
        });
        Self { address, open }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_kept_while_the_database_is_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    legacy.fill(3_000).await;
    run(dir.path(), &legacy, &["apply", "expand"], 0).ok();
    run(dir.path(), &legacy, &["enqueue", "backfill", "--batch-size", "1000"], 0).ok();
    let (start, rest) = legacy.url.split_once('@').expect("a URL");
    let (server, database) = rest.split_once('/').expect("a database");
    let way = Way::to(server.to_owned()).await;

    // A row that is held makes sure that the worker is in the middle of its batches.
    legacy
        .execute(
            "CREATE TRIGGER slow BEFORE UPDATE ON videos FOR EACH ROW \
             BEGIN DECLARE waited INT; SELECT SLEEP(0.002) INTO waited; END",
        )
        .await;
    let mut worker = Reelshift::new(dir.path(), &["work", "--until-idle"])
        .database(&format!("{start}@{}/{database}", way.address))
        .start();
    let filled = "SELECT COUNT(*) FROM videos WHERE file_mime_type IS NOT NULL";
    until(&legacy, filled, |count| count >= 50).await;
    way.open.send_replace(false);
    tokio::time::sleep(Duration::from_secs(3)).await;
    legacy.execute("DROP TRIGGER slow").await;
    assert_eq!(legacy.number("SELECT COUNT(*) FROM processing_error_log").await, 0);
    way.open.send_replace(true);
    assert_eq!(wait(&mut worker, LIMIT), Some(0));
    assert_eq!(oracle::check_every_row(&legacy).await, 3_000);
    let kept = "SELECT COUNT(*) FROM processing_error_log WHERE error_type = 'database_unavailable' \
                AND recovery_attempted AND recovery_successful AND recovery_timestamp IS NOT NULL";
    assert!(legacy.number(kept).await > 0, "what failed meanwhile is written, and recovered");
    let open = "SELECT COUNT(*) FROM processing_error_log WHERE NOT (recovery_successful <=> TRUE)";
    assert_eq!(legacy.number(open).await, 0);
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_answer_shows_no_password() {
    let dir = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let url = format!("mysql://root:hunter2@127.0.0.1:{port}/platform");
    let ran = tokio::task::spawn_blocking(move || {
        Reelshift::new(dir.path(), &["-vv", "work"]).database(&url).run()
    });
    let ran = ran.await.expect("it ends").expect(1);
    assert!(ran.stderr.contains("did not answer within 10 s"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}
