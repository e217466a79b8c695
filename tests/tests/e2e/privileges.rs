//! Three accounts with exactly the rights of `docs/privileges.md`, which is read here so that
//! it cannot go stale: one migrates, one serves, one does everything else.

use std::path::Path;

use reelshift_tests::http::Request;
use reelshift_tests::server::{OPERATOR, Server, VIEWER, tokens};
use reelshift_tests::{Legacy, Ran, Reelshift, oracle, until};
use uuid::Uuid;

const DOCUMENT: &str = include_str!("../../../docs/privileges.md");

/// An account of the document, in one database.
struct Account {
    name: String,
    url: String,
}

impl Account {
    /// Creates the account `documented` by the document's statements, under a name of its
    /// own.
    async fn create(legacy: &Legacy, documented: &str) -> Self {
        let block = DOCUMENT
            .split("```sql\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .find(|block| block.contains(&format!("CREATE USER '{documented}'")))
            .expect("the document creates this account");
        let (base, database) = legacy.url.rsplit_once('/').expect("a URL with a database");
        let name = format!("{}_{}", documented, &Uuid::new_v4().simple().to_string()[..12]);
        let statements = block
            .replace(&format!("'{documented}'"), &format!("'{name}'"))
            .replace("platform.", &format!("{database}."));
        for statement in statements.split(';').map(str::trim).filter(|sql| !sql.is_empty()) {
            legacy.execute(statement).await;
        }
        let host = base.split_once("://root@").expect("root's URL").1;
        Self { url: format!("mysql://{name}:PASSWORD@{host}/{database}"), name }
    }

    fn run(&self, directory: &Path, arguments: &[&str]) -> Ran {
        Reelshift::new(directory, arguments)
            .database(&self.url)
            .media(&directory.join("media"))
            .run()
    }

    async fn drop(self, legacy: &Legacy) {
        legacy.execute(&format!("DROP USER '{}'@'%'", self.name)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_are_enough() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path();
    std::fs::create_dir(path.join("media")).expect("a directory");
    std::fs::write(path.join("media/here.mp4"), b"a film").expect("a file");
    let legacy = Legacy::mariadb().await;
    legacy.fill(300).await;
    legacy
        .execute(
            "UPDATE videos SET file_path = CASE WHEN filename LIKE 'video 1.%' THEN 'gone.mp4' \
             ELSE 'here.mp4' END WHERE filename LIKE 'video 1%'",
        )
        .await;

    // What the document asks for besides, where the binary log is on.
    legacy.execute("SET GLOBAL log_bin_trust_function_creators = 1").await;
    let migrator = Account::create(&legacy, "migrator").await;
    let migrates = |arguments: &[&str], code| migrator.run(path, arguments).expect(code);
    let plan = migrates(&["--json", "plan"], 0);
    assert!(!plan.stdout.contains("lacks"), "{}", plan.stdout);
    migrates(&["inspect"], 0).ok();
    migrates(&["apply", "expand"], 0).ok();

    let worker = Account::create(&legacy, "worker").await;
    let works = |arguments: &[&str], code| worker.run(path, arguments).expect(code);
    works(&["enqueue", "backfill", "--batch-size", "50"], 0).ok();
    works(&["enqueue", "hash"], 0).ok();
    // One file is missing.
    let _ = works(&["work", "--until-idle"], 5);
    assert_eq!(oracle::check_every_row(&legacy).await, 300);
    let _ = works(&["--json", "status"], 5);
    assert!(works(&["errors"], 0).stdout.contains("file_missing"));
    std::fs::write(path.join("media/gone.mp4"), b"found again").expect("a file");
    works(&["rerun", "--quarantined", "--dry-run"], 0).ok();
    works(&["rerun", "--quarantined"], 0).ok();
    works(&["work", "--until-idle"], 0).ok();
    works(&["validate"], 0).ok();
    works(&["status"], 0).ok();
    let hashed = "SELECT COUNT(*) FROM videos WHERE file_hash IS NOT NULL";
    assert_eq!(legacy.number(hashed).await, 111);

    migrates(&["apply", "index"], 0).ok();
    migrates(&["apply", "automate"], 0).ok();
    works(&["validate"], 0).ok();
    // The triggers act with the migrating account's rights, whoever writes.
    legacy
        .execute(
            "UPDATE videos SET processing_status = 'completed' WHERE filename LIKE 'video 2.%'",
        )
        .await;

    let refused = works(&["apply", "index"], 4);
    assert!(refused.stderr.contains("lacks"), "{}", refused.stderr);
    migrates(&["rollback", "--archive", "kept", "--purge", "--yes"], 0).ok();
    let left = "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() \
                AND TABLE_NAME = 'videos'";
    assert_eq!(legacy.number(left).await, 13, "the legacy table as it was");
    worker.drop(&legacy).await;
    migrator.drop(&legacy).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_documented_rights_are_enough() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path();
    std::fs::create_dir(path.join("media")).expect("a directory");
    std::fs::write(path.join("media/here.mp4"), b"a film").expect("a file");
    let legacy = Legacy::mariadb().await;
    // Too few for the worker to doubt its media root.
    legacy.fill(19).await;
    legacy.execute("UPDATE videos SET file_path = 'gone.mp4'").await;
    let migrates = |arguments: &[&str]| Reelshift::new(path, arguments).database(&legacy.url).run();
    migrates(&["apply", "expand"]).ok();
    migrates(&["enqueue", "hash"]).ok();
    let account = Account::create(&legacy, "server").await;
    // Its files are not there: something to be done again.
    let worker = Reelshift::new(path, &["work", "--until-idle"]).database(&legacy.url);
    drop(worker.media(&path.join("media")).run().expect(5));
    migrates(&["enqueue", "backfill"]).ok();
    // Something to be pruned, and a notification on its way.
    let past = "'2026-01-02 03:04:05'";
    legacy
        .execute(&format!(
            "INSERT INTO realtime_notification_queue \
               (id, event_type, event_data, status, process_after, sent_at, updated_at) \
             VALUES ('old', 'hello', '{{}}', 'sent', {past}, {past}, {past})"
        ))
        .await;
    legacy
        .execute(&format!("INSERT INTO reelshift_notification_outbox VALUES (1, 'old', {past})"))
        .await;
    legacy.execute("INSERT INTO reelshift_notification_position VALUES (1, 1)").await;
    account.run(path, &["notify", "hello", "--broadcast"]).ok();
    let server = Server::start_on(path, &account.url, &[("REELSHIFT_TOKENS", &tokens())]).await;
    let runs = server.send(&Request::get("/api/v1/runs").bearer(VIEWER)).expect(200).json();
    let run = runs["items"][0]["id"].as_str().expect("an id");
    for path in [
        "flags",
        "controls",
        "batches",
        "workers",
        "errors",
        "errors/groups",
        "quarantine",
        "audit",
    ] {
        drop(server.send(&Request::get(&format!("/api/v1/{path}")).bearer(VIEWER)).expect(200));
    }
    let none = serde_json::json!({});
    for (method, path, body, status) in [
        ("PUT", "flags/advanced_error_handling", serde_json::json!({ "enabled": true }), 200),
        ("PATCH", "controls", serde_json::json!({ "settings": { "lock_waits": "7" } }), 200),
        ("PATCH", "controls", serde_json::json!({ "settings": { "lock_waits": null } }), 200),
        ("POST", "rerun", none.clone(), 200),
        ("POST", &format!("runs/{run}/pause"), none.clone(), 200),
        ("POST", &format!("runs/{run}/resume"), none.clone(), 200),
        ("POST", &format!("runs/{run}/cancel"), none.clone(), 202),
        ("POST", "validation", none, 202),
    ] {
        let request = Request::new(method, &format!("/api/v1/{path}")).bearer(OPERATOR);
        drop(server.send(&request.json(&body)).expect(status));
    }
    let enqueue = || {
        let request = Request::new("POST", "/api/v1/runs").bearer(OPERATOR);
        server.send(&request.json(&serde_json::json!({ "kind": "backfill" })))
    };
    let enqueued = enqueue();
    assert!(matches!(enqueued.status, 201 | 202), "{enqueued:?}");
    // It sees that a rollback has not come to its end.
    legacy
        .execute(
            "INSERT INTO reelshift_rollbacks (id, state, started_by) \
             VALUES ('01890000-0000-7000-8000-000000000000', 'undoing', 'ops@db')",
        )
        .await;
    assert!(enqueue().expect(409).body.contains("rollback"), "an open rollback is seen");
    legacy.execute("DELETE FROM reelshift_rollbacks").await;
    let id: String = sqlx::Row::get(&legacy.rows("SELECT id FROM videos LIMIT 1").await[0], 0);
    let status = format!("/videos/{id}/status");
    drop(server.send(&Request::get(&status).bearer(VIEWER)).expect(200));
    until("the validation", async || {
        let known = server.send(&Request::get("/api/v1/validation").bearer(VIEWER)).json();
        assert!(known["trouble"].is_null(), "{known}");
        !known["report"].is_null()
    })
    .await;
    migrates(&["flags", "enable", "realtime_notifications"]).ok();
    let queue = async |what: &str| {
        legacy.number(&format!("SELECT COUNT(*) FROM realtime_notification_queue {what}")).await
    };
    until("the notification to be sent", async || queue("WHERE status = 'sent'").await == 1).await;
    until("the old one to be pruned", async || queue("WHERE id = 'old'").await == 0).await;
    assert!(!server.log().contains("denied"), "{}", server.log());
    drop(server);
    account.drop(&legacy).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_rights_are_taken_away_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path();
    std::fs::create_dir(path.join("media")).expect("a directory");
    std::fs::write(path.join("media/any.mp4"), b"a film").expect("a file");
    let legacy = Legacy::mariadb().await;
    legacy.fill(200).await;
    Reelshift::new(path, &["apply", "expand"]).database(&legacy.url).run().ok();
    let worker = Account::create(&legacy, "worker").await;
    worker.run(path, &["enqueue", "backfill", "--batch-size", "20"]).ok();
    let database = legacy.url.rsplit_once('/').expect("a URL with a database").1;
    legacy.execute(&format!("REVOKE UPDATE ON {database}.videos FROM '{}'@'%'", worker.name)).await;

    let ended = worker.run(path, &["work", "--until-idle"]).expect(4);
    let said = ended.stderr.lines().last().unwrap_or_default();
    // MySQL says "SELECT with locking clause command denied".
    assert!(said.starts_with("error:") && said.contains(" command denied"), "{}", ended.stderr);
    assert!(said.contains("docs/privileges.md"), "{said}");
    let open = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'pending' AND attempts = 0 \
                AND leased_by IS NULL";
    assert_eq!(legacy.number(open).await, 10, "its batches went back, with no attempt counted");
    let logged = "SELECT COUNT(*) FROM processing_error_log WHERE error_type = 'database_unusable' \
                  AND severity = 'critical' AND recovery_strategy = 'end_worker'";
    assert!(legacy.number(logged).await > 0);

    legacy.execute(&format!("GRANT UPDATE ON {database}.videos TO '{}'@'%'", worker.name)).await;
    worker.run(path, &["work", "--until-idle"]).ok();
    assert_eq!(oracle::check_every_row(&legacy).await, 200);
    worker.drop(&legacy).await;
    legacy.drop_database().await;
}
