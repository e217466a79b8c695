//! Every command that changes something is one row of the audit, whoever gave it; what changes
//! nothing is none.

use std::path::Path;
use std::process::Command;

use reelshift_tests::http::Request;
use reelshift_tests::server::{OPERATOR, Server, tokens};
use reelshift_tests::{LIMIT, Legacy, Reelshift, until, wait};
use serde_json::Value;
use sqlx::{Connection as _, MySqlConnection};

fn json(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = ["--json"].into_iter().chain(arguments.iter().copied()).collect();
    Reelshift::new(directory, &arguments).database(&legacy.url).run().expect(0).json()
}

/// The audit without what flags were at first, the oldest change first. Every row says who.
fn audit(directory: &Path, legacy: &Legacy) -> Vec<String> {
    let tuned = json(directory, legacy, &["tune", "--changes", "100"]);
    let mut told = Vec::new();
    for entry in tuned["changes"].as_array().expect("changes").iter().rev() {
        assert!(entry["changed_by"].as_str().is_some_and(|who| who.contains('@')), "{entry}");
        let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        if text("action") != "initial" {
            let (subject, name, action) = (text("subject"), text("name"), text("action"));
            told.push(format!("{subject} {name} {action}: {}", text("value")));
        }
    }
    told
}

/// Steps of a phase that were not done before.
fn new_steps(report: &Value) -> usize {
    let steps = report["steps"].as_array().expect("steps").iter();
    steps.filter(|step| step["outcome"] != "already_done").count()
}

async fn databases(directory: &Path) -> [Legacy; 2] {
    [Legacy::sqlite(directory).await, Legacy::mariadb().await]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_is_recorded_once() {
    let dir = tempfile::tempdir().expect("a directory");
    for (n, legacy) in databases(dir.path()).await.into_iter().enumerate() {
        let path = dir.path();
        let archive = path.join(format!("archive-{n}"));
        let archive = archive.to_str().expect("a path");
        legacy.fill(30).await;
        let run = |arguments: &[&str]| json(path, &legacy, arguments);
        let expanded = new_steps(&run(&["apply", "expand"]));
        assert_eq!(new_steps(&run(&["apply", "expand"])), 0);
        run(&["enqueue", "backfill", "--where", "status=uploaded"]);
        // Its planner is gone: the same command goes on.
        legacy.execute("UPDATE reelshift_runs SET state = 'planning'").await;
        run(&["enqueue", "backfill", "--where", "status=uploaded"]);
        run(&["enqueue", "backfill", "--where", "status=uploaded"]);
        run(&["work", "--until-idle"]);
        let indexed = new_steps(&run(&["apply", "index"]));
        run(&["notify", "hello", "--broadcast"]);
        let ended = "state = 'cancelled', finished_at = '2026-01-02 03:04:05.678'";
        legacy.execute(&format!("UPDATE reelshift_runs SET {ended}")).await;
        run(&["prune", "--older-than", "1h"]);
        run(&["prune", "--older-than", "1h"]);
        let token = run(&["token", "--name", "eve", "--role", "operator"]);
        assert_eq!(token["recorded"], true);
        let undone = |report: Value| report["undone"].as_array().expect("steps").len();
        let unindexed = undone(run(&["rollback", "--to", "rollout"]));
        assert_eq!(undone(run(&["rollback", "--to", "rollout"])), 0);
        let back = undone(run(&["rollback", "--archive", archive]));
        let again = new_steps(&run(&["apply", "expand"]));
        run(&["restore", archive]);
        let told = audit(path, &legacy);
        let expected = [
            format!("schema expand apply: {expanded} steps"),
            "run run enqueue: backfill where status=uploaded".to_owned(),
            "run run plan: backfill where status=uploaded".to_owned(),
            format!("schema index apply: {indexed} steps"),
            "notification hello queue: ".to_owned(),
            "history history prune: runs 1, batches 1, ".to_owned(),
            "token eve make: operator".to_owned(),
            format!("schema rollout rollback: {unindexed} steps"),
            format!("schema legacy rollback: {back} steps, archived in {archive}"),
            format!("schema expand apply: {again} steps"),
            "schema archive restore: ".to_owned(),
            "run run enqueue: backfill".to_owned(),
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, expected) in told.iter().zip(&expected) {
            assert!(told.starts_with(expected.as_str()), "{told} is not {expected}");
        }
        let shown = Reelshift::new(path, &["tune", "--changes", "100"]).database(&legacy.url);
        let shown = shown.run().expect(0).stdout;
        for words in
            ["expand applied", "rolled back to legacy", "archive restored", "token of eve made"]
        {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        let server = Server::start_with(path, &legacy, &[("REELSHIFT_TOKENS", &*tokens())]).await;
        let page = Request::get("/activity").bearer(OPERATOR).header("Accept", "text/html");
        let page = server.send(&page).expect(200).body;
        assert!(page.contains("rolled back to legacy") && page.contains("backfill run "), "{page}");
        let get = |path: &str| server.send(&Request::get(path).bearer(OPERATOR));
        let page = get("/activity?subject=&by=no%26body&since=24h").expect(200).body;
        assert!(page.contains("Nothing was changed that matches"), "{page}");
        let link = "/activity.csv?by=no%26body&amp;since=24h";
        assert!(
            page.contains(link) || page.contains("/activity.csv?by=no%26body&#38;since=24h"),
            "{page}"
        );
        let changes = |query: &str| {
            let page = get(&format!("/api/v1/audit?limit=1{query}")).expect(200).json();
            page["items"].as_array().map(Vec::len)
        };
        assert_eq!((changes("&by=@&since=1h"), changes("&by=nobody")), (Some(1), Some(0)));
        assert_eq!(changes("&since=2037-01-01"), Some(0));
        let wrong = get("/api/v1/audit?since=yesterday").expect(400).json();
        assert!(wrong["detail"].to_string().contains("`yesterday` is no time"), "{wrong}");
        drop(server);
        legacy.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in databases(dir.path()).await {
        json(dir.path(), &legacy, &["apply", "expand"]);
        let variables = [("REELSHIFT_TOKENS", &*tokens())];
        let server = Server::start_with(dir.path(), &legacy, &variables).await;
        let login = |token: &str| {
            server.send(&Request::new("POST", "/login").form(&format!("token={token}")))
        };
        drop(login("wrong").expect(401));
        drop(login(OPERATOR).expect(303));
        let recorded = "SELECT COUNT(*) FROM reelshift_audit WHERE subject = 'session' \
                        AND action = 'login' AND changed_by = 'ann@127.0.0.1'";
        assert_eq!(legacy.number(recorded).await, 1);
        drop(server);
        legacy.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phase_that_was_told_to_stop_is_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    legacy.fill(10).await;
    let mut application = MySqlConnection::connect(&legacy.url).await.expect("connected");
    let mut transaction = application.begin().await.expect("a transaction");
    // Expand waits for this transaction before it changes the table of videos.
    sqlx::query("SELECT * FROM videos").fetch_all(&mut *transaction).await.expect("read");
    let apply = Reelshift::new(dir.path(), &["apply", "expand"]).database(&legacy.url);
    let mut apply = apply.start();
    until("the ledger", async || {
        let table = "SELECT COUNT(*) FROM information_schema.tables \
                     WHERE table_schema = DATABASE() AND table_name = 'video_processing_status'";
        legacy.number(table).await == 1
    })
    .await;
    let told = Command::new("kill").arg(apply.id().to_string()).status().expect("kill runs");
    assert!(told.success());
    assert_eq!(wait(&mut apply, LIMIT), Some(130));
    transaction.rollback().await.expect("it ends");
    let stopped = "SELECT COUNT(*) FROM reelshift_audit WHERE subject = 'schema' \
                   AND name = 'expand' AND value LIKE '% steps, then it stopped'";
    assert_eq!(legacy.number(stopped).await, 1);
    json(dir.path(), &legacy, &["apply", "expand"]);
    let complete = "SELECT COUNT(*) FROM reelshift_audit WHERE subject = 'schema' \
                    AND name = 'expand' AND value LIKE '% steps'";
    assert_eq!(legacy.number(complete).await, 1);
    legacy.drop_database().await;
}

// The audit's table is one of the last of the ledger: a signal may come before it is made.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_is_told_though_the_audit_cannot_be_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    let mut application = MySqlConnection::connect(&legacy.url).await.expect("connected");
    let mut transaction = application.begin().await.expect("a transaction");
    sqlx::query("SELECT * FROM videos").fetch_all(&mut *transaction).await.expect("read");
    let log = dir.path().join("log");
    let apply = Reelshift::new(dir.path(), &["apply", "expand"]).database(&legacy.url);
    let mut apply = apply.start_logging(&log);
    until("the ledger", async || {
        let table = "SELECT COUNT(*) FROM information_schema.tables \
                     WHERE table_schema = DATABASE() AND table_name = 'video_processing_status'";
        legacy.number(table).await == 1
    })
    .await;
    legacy.execute("RENAME TABLE reelshift_audit TO elsewhere").await;
    let told = Command::new("kill").arg(apply.id().to_string()).status().expect("kill runs");
    assert!(told.success());
    assert_eq!(wait(&mut apply, LIMIT), Some(130));
    let said = std::fs::read_to_string(&log).expect("a log");
    assert!(said.contains("error: interrupted: what was done is kept"), "{said}");
    transaction.rollback().await.expect("it ends");
    legacy.drop_database().await;
}
