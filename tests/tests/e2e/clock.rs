//! The database's clock, set back while work waits.

use reelshift_tests::{Legacy, Reelshift, oracle};

/// As when the clock goes back by an hour: what the ledger holds is an hour ahead.
async fn set_back(legacy: &Legacy) {
    let later = |column: &str| match legacy.url.starts_with("sqlite") {
        true => format!("{column} = strftime('%Y-%m-%d %H:%M:%f', {column}, '+1 hour')"),
        false => format!("{column} = {column} + INTERVAL 1 HOUR"),
    };
    for (table, columns) in
        [("reelshift_runs", &["created_at"][..]), ("reelshift_batches", &["created_at", "run_at"])]
    {
        let columns: Vec<String> = columns.iter().map(|column| later(column)).collect();
        legacy.execute(&format!("UPDATE {table} SET {}", columns.join(", "))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_after_the_clock_was_set_back() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        legacy.fill(200).await;
        let run = |arguments: &[&str]| {
            Reelshift::new(dir.path(), arguments).database(&legacy.url).run().ok();
        };
        run(&["apply", "expand"]);
        run(&["enqueue", "backfill", "--batch-size", "10"]);
        set_back(&legacy).await;
        run(&["work", "--until-idle"]);
        assert_eq!(oracle::check_every_row(&legacy).await, 200);
        legacy.drop_database().await;
    }
}
