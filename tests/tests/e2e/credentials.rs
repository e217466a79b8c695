//! Passwords that change while a worker works: it goes on with the new one, is not started
//! again, and logs none.

use std::path::Path;
use std::process::Child;

use reelshift_tests::{Legacy, Reelshift, until};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};
use uuid::Uuid;

const FIRST: &str = "first-Secret-1";
const SECOND: &str = "second-Secret-2";

/// Ends a worker with this value.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be gone already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// An account whose password changes.
struct Account<'a> {
    legacy: &'a Legacy,
    name: String,
}

impl<'a> Account<'a> {
    async fn create(legacy: &'a Legacy) -> Self {
        let name = format!("rotates_{}", &Uuid::new_v4().simple().to_string()[..12]);
        let (_, database) = legacy.url.rsplit_once('/').expect("a URL with a database");
        legacy.execute(&format!("CREATE USER '{name}'@'%' IDENTIFIED BY '{FIRST}'")).await;
        legacy.execute(&format!("GRANT ALL ON {database}.* TO '{name}'@'%'")).await;
        Self { legacy, name }
    }

    fn url(&self, password: &str) -> String {
        let (_, place) = self.legacy.url.split_once("://root@").expect("root's URL");
        format!("mysql://{}{password}@{place}", self.name)
    }

    /// From now on only the second password opens a connection, and none is open.
    async fn rotate(&self) {
        let name = &self.name;
        self.legacy.execute(&format!("ALTER USER '{name}'@'%' IDENTIFIED BY '{SECOND}'")).await;
        let mut root = MySqlConnection::connect(&self.legacy.url).await.expect("a connection");
        let sessions: Vec<i64> = sqlx::query_scalar(
            "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE user = ?",
        )
        .bind(name)
        .fetch_all(&mut root)
        .await
        .expect("its sessions");
        for session in sessions {
            let kill = AssertSqlSafe(format!("KILL {session}"));
            // It may have ended by itself.
            root.execute(kill).await.ok();
        }
    }

    async fn drop(self) {
        self.legacy.execute(&format!("DROP USER '{}'@'%'", self.name)).await;
    }
}

/// Has a worker started by `with` work before and after its password changes; `renew` makes the
/// new one known.
async fn rotated(
    dir: &Path,
    legacy: &Legacy,
    account: &Account<'_>,
    with: impl Fn(Reelshift) -> Reelshift,
    renew: impl Fn(),
) {
    legacy.fill(2_000).await;
    let root = |arguments: &[&str]| {
        Reelshift::new(dir, arguments).database(&legacy.url).run().expect(0).ok();
    };
    root(&["apply", "expand"]);
    let log = dir.join("worker.log");
    let worker = with(Reelshift::new(dir, &["work"]).env("REELSHIFT_LOG", "info"));
    let mut worker = Worker(worker.start_logging(&log));
    root(&["enqueue", "backfill", "--batch-size", "200"]);
    let done = "SELECT COUNT(*) FROM reelshift_runs WHERE state = 'done'";
    until("the first run", async || legacy.number(done).await == 1).await;

    account.rotate().await;
    let read = || std::fs::read_to_string(&log).expect("a log");
    until("a connection that is refused", async || read().contains("waiting for another")).await;
    renew();
    root(&["enqueue", "validate"]);
    until("the second run", async || legacy.number(done).await == 2).await;
    assert!(worker.0.try_wait().expect("its state").is_none(), "the same process");
    let log = read();
    assert!(log.contains("password was renewed"), "{log}");
    for secret in [FIRST, SECOND] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_the_url_is_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    let account = Account::create(&legacy).await;
    let file = dir.path().join("url");
    let write = |password: &str| {
        let new = dir.path().join("url.new");
        std::fs::write(&new, account.url(&format!(":{password}")) + "\n").expect("a file");
        std::fs::rename(new, &file).expect("in its place");
    };
    write(FIRST);
    let path = file.to_str().expect("UTF-8");
    let with = |worker: Reelshift| worker.env("DATABASE_URL_FILE", path);
    rotated(dir.path(), &legacy, &account, with, || write(SECOND)).await;
    account.drop().await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_command_is_run_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    let account = Account::create(&legacy).await;
    let file = dir.path().join("the password");
    std::fs::write(&file, FIRST).expect("a file");
    let command = format!("cat '{}'", file.display());
    let with = |worker: Reelshift| {
        worker.database(&account.url("")).env("REELSHIFT_PASSWORD_COMMAND", &command)
    };
    let renew = || std::fs::write(&file, SECOND).expect("a file");
    rotated(dir.path(), &legacy, &account, with, renew).await;
    account.drop().await;
    legacy.drop_database().await;
}

#[test]
fn two_sources_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("url"), "mysql://u:hidden@127.0.0.1:1/v").expect("a file");
    let run = |variables: &[(&str, &str)]| {
        let mut command = Reelshift::new(dir.path(), &["status"]);
        for (name, value) in variables {
            command = command.env(name, value);
        }
        command.run()
    };
    let file = ("DATABASE_URL_FILE", "url");
    for (variables, says) in [
        (&[file, ("DATABASE_URL", "mysql://127.0.0.1:1/v")][..], "leave DATABASE_URL"),
        (&[file, ("REELSHIFT_PASSWORD_COMMAND", "cat p")], "leave --database-file"),
        (&[("DATABASE_URL_FILE", "nowhere")], "cannot be read"),
        (
            &[
                ("DATABASE_URL", "mysql://u@127.0.0.1:1/v"),
                ("REELSHIFT_PASSWORD_COMMAND", "cat 'p"),
            ],
            "check its quotes",
        ),
        (
            &[("DATABASE_URL", "mysql://u@127.0.0.1:1/v"), ("REELSHIFT_PASSWORD_COMMAND", "false")],
            "the password command failed",
        ),
    ] {
        let ran = run(variables).expect(2);
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hidden"), "{}", ran.stderr);
    }
}
