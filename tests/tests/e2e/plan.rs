//! `plan`: what it shows, what it refuses, and that it changes nothing; and the query plans
//! that `validate` judges.

use std::path::Path;

use reelshift_tests::{Legacy, Ran, Reelshift, until};
use serde_json::Value;
use sqlx::Row;
use uuid::Uuid;

fn run(directory: &Path, url: &str, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(url).run()
}

fn finding<'a>(plan: &'a Value, check: &str) -> &'a Value {
    let findings = plan["findings"].as_array().expect("findings");
    findings
        .iter()
        .find(|finding| finding["check"] == check)
        .unwrap_or_else(|| panic!("no {check} in {plan}"))
}

/// The statements left in each phase.
fn left(plan: &Value) -> Vec<(String, usize)> {
    let phases = plan["phases"].as_array().expect("phases");
    phases
        .iter()
        .map(|phase| {
            let statements = phase["statements"].as_array().expect("statements").len();
            (phase["phase"].as_str().expect("a name").to_owned(), statements)
        })
        .collect()
}

#[tokio::test]
async fn before_and_after_expand() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        legacy.fill(30).await;
        let plan = run(dir.path(), &legacy.url, &["--json", "plan"]).expect(0).json();
        assert_eq!(
            (&plan["refused"], &plan["table"]["rows"]),
            (&Value::Bool(false), &Value::from(30))
        );
        if !legacy.url.starts_with("sqlite") {
            let connections = finding(&plan, "connections")["says"].as_str().expect("a sentence");
            assert!(
                connections.contains("enough for 2")
                    && connections.contains("workers of concurrency 2"),
                "{connections}"
            );
        }
        let before = left(&plan);
        assert_eq!(before[1], ("backfill".to_owned(), 0));
        assert!(before[0].1 > 5 && before[3].1 > 0 && before[4].1 > 0, "{before:?}");
        for statement in plan["phases"][0]["statements"].as_array().expect("statements") {
            assert!(
                statement["algorithm"].is_string() && statement["lock"].is_string(),
                "{statement}"
            );
        }
        let text = run(dir.path(), &legacy.url, &["plan"]).expect(0).stdout;
        assert!(text.contains("expand_videos_columns") && text.contains("rows/s"), "{text}");

        run(dir.path(), &legacy.url, &["apply", "expand"]).ok();
        let plan = run(dir.path(), &legacy.url, &["--json", "plan"]).expect(0).json();
        assert_eq!((left(&plan)[0].1, &plan["phases"][0]["done"]), (0, &Value::Bool(true)));
        assert_eq!(left(&plan)[3..], before[3..]);
        legacy.drop_database().await;
    }
}

#[tokio::test]
async fn nothing_is_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    legacy.fill(30).await;
    let definition = async || legacy.rows("SHOW CREATE TABLE videos").await[0].get::<String, _>(1);
    let before =
        (definition().await, legacy.rows("CHECKSUM TABLE videos").await[0].get::<i64, _>(1));
    run(dir.path(), &legacy.url, &["plan"]).ok();
    let after =
        (definition().await, legacy.rows("CHECKSUM TABLE videos").await[0].get::<i64, _>(1));
    assert_eq!(after, before);
    assert_eq!(legacy.rows("SHOW TABLES").await.len(), 1);
    legacy.drop_database().await;
}

#[tokio::test]
async fn refusals_on_mariadb() {
    let dir = tempfile::tempdir().expect("a directory");
    let cases = [
        (
            "CREATE TABLE realtime_notification_queue (theirs INT)",
            "in_the_way",
            "realtime_notification_queue",
        ),
        (
            "ALTER TABLE videos ADD INDEX idx_video_hash (filename)",
            "in_the_way",
            "videos.idx_video_hash",
        ),
        (
            "CREATE VIEW v_processing_dashboard_stats AS SELECT 1",
            "in_the_way",
            "v_processing_dashboard_stats",
        ),
        (
            "CREATE PROCEDURE add_one() INSERT INTO videos VALUES (1)",
            "column_lists",
            "procedure add_one",
        ),
        ("ALTER TABLE videos ENGINE = MyISAM", "engine", "MyISAM"),
        ("ALTER TABLE videos DROP COLUMN fps", "columns", "fps"),
        ("ALTER TABLE videos DROP PRIMARY KEY, ADD PRIMARY KEY (id, filename)", "key", "filename"),
    ];
    for (change, check, names) in cases {
        let legacy = Legacy::mariadb().await;
        legacy.execute(change).await;
        let ran = run(dir.path(), &legacy.url, &["--json", "plan"]).expect(4);
        let found = ran.json();
        let found = finding(&found, check);
        assert_eq!(found["verdict"], "refusal", "{change}: {found}");
        assert!(
            found["says"].as_str().is_some_and(|says| says.contains(names)),
            "{change}: {found}"
        );
        assert!(found["do_what"].is_string(), "{found}");
        let applied = run(dir.path(), &legacy.url, &["apply", "expand"]).expect(4);
        assert!(applied.stderr.contains(names), "{}", applied.stderr);
        assert!(
            !legacy
                .rows("SHOW TABLES")
                .await
                .iter()
                .any(|row| { row.get::<String, _>(0).starts_with("reelshift_") }),
            "nothing was made"
        );
        legacy.drop_database().await;
    }
}

#[tokio::test]
async fn a_user_without_a_right_is_told_which() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    let (server, database) = legacy.url.rsplit_once('/').expect("a database in the URL");
    let user = format!("u{}", &Uuid::new_v4().simple().to_string()[..12]);
    // With the binary log on, MySQL would refuse the triggers before it comes to the right.
    legacy.execute("SET GLOBAL log_bin_trust_function_creators = 1").await;
    legacy.execute(&format!("CREATE USER {user}@'%' IDENTIFIED BY 'secret'")).await;
    let rights =
        "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, REFERENCES, CREATE VIEW, DROP";
    legacy.execute(&format!("GRANT {rights} ON {database}.* TO {user}@'%'")).await;
    let url = format!("{}/{database}", server.replace("root@", &format!("{user}:secret@")));
    let plan = run(dir.path(), &url, &["--json", "plan"]).expect(4).json();
    let found = finding(&plan, "privileges");
    assert_eq!(
        (found["verdict"].as_str(), found["says"].as_str().map(|says| says.contains("TRIGGER"))),
        (Some("refusal"), Some(true))
    );
    let applied = run(dir.path(), &url, &["apply", "expand"]).expect(4);
    assert!(applied.stderr.contains("lacks TRIGGER"), "{}", applied.stderr);

    legacy.execute(&format!("GRANT TRIGGER ON {database}.* TO {user}@'%'")).await;
    let plan = run(dir.path(), &url, &["--json", "plan"]).expect(0).json();
    assert_eq!(finding(&plan, "privileges")["verdict"], "warning", "no PROCESS");
    assert_eq!(finding(&plan, "transactions")["verdict"], "warning", "cannot be seen");
    run(dir.path(), &url, &["apply", "expand"]).ok();
    legacy.execute(&format!("DROP USER {user}@'%'")).await;
    legacy.drop_database().await;
}

#[tokio::test]
async fn query_plans_are_judged_after_index() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        legacy.fill(60).await;
        for arguments in
            [&["apply", "expand"][..], &["enqueue", "backfill"], &["work", "--until-idle"]]
        {
            run(dir.path(), &legacy.url, arguments).ok();
        }
        let verdicts = || {
            let document = run(dir.path(), &legacy.url, &["--json", "validate"]).expect(0).json();
            let checks = document["checks"].as_array().expect("checks").clone();
            let plans = checks.into_iter().filter(|check| {
                check["name"].as_str().is_some_and(|name| name.starts_with("query_plan"))
            });
            plans
                .map(|check| check["verdict"].as_str().expect("a verdict").to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(verdicts(), ["not_yet", "not_yet"]);
        run(dir.path(), &legacy.url, &["apply", "index"]).ok();
        for verdict in verdicts() {
            assert!(["ok", "warning"].contains(&verdict.as_str()), "{verdict}");
        }
        let text = run(dir.path(), &legacy.url, &["validate"]).expect(0).stdout;
        assert!(text.contains("state_consistency") && text.contains("query_plan_videos"), "{text}");
        legacy.drop_database().await;
    }
}

#[tokio::test]
async fn a_backfill_is_forecast_from_a_trial_on_the_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    legacy.fill(500).await;
    let few = run(dir.path(), &legacy.url, &["--json", "plan"]).expect(0).json();
    assert_eq!(few["expected"]["rehearsal"], Value::Null, "{few}");
    // 512,000 rows: on any server eight statements of them are read within the trial.
    for _ in 0..10 {
        legacy
            .execute(
                "INSERT INTO videos (id, filename, file_size) \
                 SELECT UUID(), filename, file_size FROM videos",
            )
            .await;
    }
    let before = legacy.number("SELECT COUNT(*) FROM videos").await;
    let mut plan = Value::Null;
    until("a trial of enough statements", async || {
        plan = run(dir.path(), &legacy.url, &["--json", "plan"]).expect(0).json();
        !plan["expected"]["rehearsal"].is_null()
    })
    .await;
    let rate = plan["expected"]["backfill_rows_per_second"].as_f64().expect("a rate");
    let seconds = plan["phases"][1]["duration_seconds"].as_f64().expect("a duration");
    assert!((512_000.0 / rate - seconds).abs() < 1.0, "{plan}");
    assert_eq!(legacy.number("SELECT COUNT(*) FROM videos").await, before, "nothing was changed");
}
