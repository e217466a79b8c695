//! A phase changes a table in use under one lock, which no transaction of the application is
//! a victim of.

use std::time::Duration;

use reelshift_tests::{Legacy, Reelshift};
use sqlx::{Connection, MySqlConnection};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const VIDEOS: u32 = 2_000;

/// Transactions that read a video and then write it, one after another; how many failed, and
/// how many there were.
async fn transactions(url: String, number: usize, stop: CancellationToken) -> (Vec<String>, usize) {
    let mut connection = MySqlConnection::connect(&url).await.expect("the application connects");
    let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM videos ORDER BY id")
        .fetch_all(&mut connection)
        .await
        .expect("the application reads");
    let (mut failed, mut count) = (Vec::new(), 0);
    while !stop.is_cancelled() {
        // Each thread has videos of its own: no lock of a row is between them.
        let id = &ids[(count * 4 + number) % ids.len()];
        let done = async {
            let mut transaction = connection.begin().await?;
            sqlx::query("SELECT filename FROM videos WHERE id = ?")
                .bind(id)
                .fetch_one(&mut *transaction)
                .await?;
            sleep(Duration::from_millis(3)).await;
            sqlx::query("UPDATE videos SET processing_status = ? WHERE id = ?")
                .bind(["processing", "pending"][count % 2])
                .bind(id)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        }
        .await;
        if let Err(error) = done {
            failed.push(error.to_string());
        }
        count += 1;
        sleep(Duration::from_millis(4)).await;
    }
    (failed, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_transaction_is_a_victim_of_a_gate() {
    let legacy = Legacy::mariadb().await;
    legacy.fill(VIDEOS).await;
    let dir = tempfile::tempdir().expect("a directory");
    let stop = CancellationToken::new();
    let mut threads = JoinSet::new();
    for number in 0..3 {
        threads.spawn(transactions(legacy.url.clone(), number, stop.clone()));
    }
    let run = |arguments: &[&str]| {
        let command = Reelshift::new(dir.path(), arguments).database(&legacy.url);
        tokio::task::block_in_place(|| command.run())
    };
    for _ in 0..2 {
        for phase in ["expand", "automate"] {
            let report = run(&["--json", "apply", phase]).expect(0).json();
            let gates = report["gates"].as_array().expect("gates");
            assert!(!gates.is_empty(), "{report}");
            for gate in gates {
                assert!(gate["held_seconds"].as_f64().is_some_and(|held| held > 0.0), "{gate}");
                assert!(gate["asked"].as_u64().is_some_and(|asked| asked > 0), "{gate}");
            }
        }
        run(&["rollback", "--discard", "--yes"]).ok();
    }
    stop.cancel();
    let mut all_failed = Vec::new();
    for (failed, count) in threads.join_all().await {
        assert!(count > 20, "the application made {count} transactions only");
        all_failed.extend(failed);
    }
    let may_fail = legacy.victims_of_gates().await;
    assert!(all_failed.len() as u64 <= may_fail, "{all_failed:?}");
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_never_free_is_left_as_it_is() {
    let legacy = Legacy::mariadb().await;
    legacy.fill(10).await;
    let dir = tempfile::tempdir().expect("a directory");
    let mut holder = MySqlConnection::connect(&legacy.url).await.expect("a session");
    let mut held = holder.begin().await.expect("a transaction");
    sqlx::query("SELECT COUNT(*) FROM videos").fetch_one(&mut *held).await.expect("it reads");
    let run = |arguments: &[&str]| {
        let command = Reelshift::new(dir.path(), arguments).database(&legacy.url);
        tokio::task::block_in_place(|| command.run())
    };
    let ran = run(&["apply", "expand", "--lock-patience", "2s"]).expect(4);
    for part in ["step 0104", "was never free within 2 s", "--window", "--accept-victims"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert_eq!(
        legacy
            .number(
                "SELECT COUNT(*) FROM information_schema.COLUMNS \
                 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos'"
            )
            .await,
        13
    );
    held.rollback().await.expect("it ends");
    run(&["apply", "expand"]).ok();
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_would_be_held_for_too_long_is_asked_about() {
    let legacy = Legacy::mariadb().await;
    legacy.fill(10).await;
    let dir = tempfile::tempdir().expect("a directory");
    let run = |arguments: &[&str]| {
        let command = Reelshift::new(dir.path(), arguments).database(&legacy.url);
        tokio::task::block_in_place(|| command.run())
    };
    let plan = run(&["--json", "plan"]).expect(0).json();
    let expand = &plan["phases"][0]["gates"][0];
    assert_eq!(expand["table"], "videos", "{plan}");
    assert!(expand["held_seconds"].as_f64().is_some_and(|held| held > 0.0), "{expand}");
    let scratch = "SELECT COUNT(*) FROM information_schema.TABLES \
                   WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE '%scratch%'";
    assert_eq!(legacy.number(scratch).await, 0, "the copies are gone");

    let refused = run(&["apply", "expand", "--longest-stall", "1us"]).expect(4);
    assert!(refused.stderr.contains("--longest-stall allows"), "{}", refused.stderr);
    run(&["apply", "expand", "--longest-stall", "1us", "--yes"]).ok();
    assert_eq!(legacy.number(scratch).await, 0, "the copies are gone");
    let wrong = run(&["apply", "index", "--window", "2-4"]).expect(2);
    assert!(wrong.stderr.contains("02:00-04:00"), "{}", wrong.stderr);
    legacy.drop_database().await;
}
