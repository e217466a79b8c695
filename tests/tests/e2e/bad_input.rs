//! Bad input: one clear sentence, the exit code that the design gives it, nothing changed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use reelshift_tests::chaos::skipped;
use reelshift_tests::{Legacy, Ran, Reelshift};
use sqlx::Row;

fn one_sentence(ran: &Ran, code: i32, says: &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(ran.stderr.contains(says), "`{says}` is not in: {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    let errors = ran.stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert_eq!(errors, 1, "{}", ran.stderr);
}

fn run(directory: &Path, url: &str, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(url).run()
}

#[test]
fn no_database_at_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let ran = Reelshift::new(dir.path(), &["status"]).run();
    one_sentence(&ran, 2, "no database: give --database URL");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0, "nothing was made");
}

#[test]
fn an_unknown_url_does_not_show_its_password() {
    let dir = tempfile::tempdir().expect("a directory");
    let ran = run(dir.path(), "postgres://me:hunter2@host/db", &["status"]);
    one_sentence(&ran, 2, "must begin with mysql://");
    assert!(!ran.stderr.contains("hunter2"));
}

#[tokio::test]
async fn a_wrong_password() {
    let legacy = Legacy::empty_mariadb().await;
    let dir = tempfile::tempdir().expect("a directory");
    let url = legacy.url.replace("root@", "nobody:hunter2@");
    let ran = run(dir.path(), &url, &["status"]);
    one_sentence(&ran, 2, "check the user and the password");
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    legacy.drop_database().await;
}

#[test]
fn a_server_that_is_down() {
    let dir = tempfile::tempdir().expect("a directory");
    let ran = run(dir.path(), "mysql://root:hunter2@127.0.0.1:1/platform", &["status"]);
    one_sentence(&ran, 1, "127.0.0.1:1");
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_database_without_videos() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::empty_mariadb().await;
    for command in
        [&["apply", "expand"][..], &["status"], &["enqueue", "backfill"], &["work"], &["inspect"]]
    {
        one_sentence(&run(dir.path(), &legacy.url, command), 4, "`videos`");
    }
    assert_eq!(legacy.rows("SHOW TABLES").await.len(), 0, "nothing was made");
    legacy.drop_database().await;
}

#[tokio::test]
async fn a_videos_table_of_another_shape() {
    let dir = tempfile::tempdir().expect("a directory");
    let shapes = [
        ("ALTER TABLE videos DROP COLUMN ground_truth_generated", "ground_truth_generated"),
        ("ALTER TABLE videos MODIFY id BIGINT NOT NULL", "id"),
        ("ALTER TABLE videos DROP PRIMARY KEY, ADD PRIMARY KEY (id, filename)", "id"),
    ];
    for (change, names) in shapes {
        let legacy = Legacy::mariadb().await;
        legacy.execute(change).await;
        let before = definition(&legacy).await;
        one_sentence(&run(dir.path(), &legacy.url, &["apply", "expand"]), 4, names);
        assert_eq!(definition(&legacy).await, before, "nothing was changed");
        assert_eq!(legacy.rows("SHOW TABLES").await.len(), 1, "nothing was made");
        legacy.drop_database().await;
    }
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.execute("ALTER TABLE videos DROP COLUMN file_path").await;
    one_sentence(&run(dir.path(), &legacy.url, &["apply", "expand"]), 4, "file_path");
}

async fn definition(legacy: &Legacy) -> String {
    legacy.rows("SHOW CREATE TABLE videos").await[0].get(1)
}

#[tokio::test]
async fn commands_before_expand() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        for command in [&["work"][..], &["enqueue", "hash"], &["errors"], &["rerun"], &["validate"]]
        {
            one_sentence(&run(dir.path(), &legacy.url, command), 4, "reelshift apply expand");
        }
        let status = run(dir.path(), &legacy.url, &["status"]).expect(0);
        assert!(status.stdout.contains("apply expand"), "{}", status.stdout);
        legacy.drop_database().await;
    }
}

#[tokio::test]
async fn a_media_root_that_is_not_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    run(dir.path(), &legacy.url, &["apply", "expand"]).ok();
    for command in
        [&["work", "--media-root", "nowhere"][..], &["enqueue", "hash", "--media-root", "nowhere"]]
    {
        one_sentence(&run(dir.path(), &legacy.url, command), 1, "nowhere");
    }
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_runs").await, 0);
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_workers").await, 0);
}

#[tokio::test]
async fn wrong_options() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    let long = "why ".repeat(501);
    let wrong = [
        (&["enqueue", "backfill", "--batch-size", "0"][..], "0"),
        (&["enqueue", "backfill", "--where", "colour=red"], "unknown key"),
        (&["enqueue", "hash", "--batch-bytes", "many"], "many"),
        (&["work", "--concurrency", "none"], "none"),
        (&["apply", "collapse"], "collapse"),
        (&["rerun", "--batch", "7"], "7"),
        (&["pause", "--reason", &long], "2000 at the most"),
    ];
    for (arguments, names) in wrong {
        one_sentence(&run(dir.path(), &legacy.url, arguments), 2, names);
    }
    std::fs::write(dir.path().join("reelshift.toml"), "colour = 'red'\n").expect("a file");
    one_sentence(&run(dir.path(), &legacy.url, &["status"]), 2, "colour");
}

#[tokio::test]
async fn a_read_only_sqlite_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.pool.close().await;
    let file = dir.path().join("platform.db");
    let before = std::fs::read(&file).expect("the database");
    // Root may write what nobody may, so the file is read-only by a mount of its own.
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,bind,ro {0} && exec \"$0\" apply expand",
        dir.path().display()
    );
    let ran = Reelshift::new(dir.path(), &["apply", "expand"])
        .in_own_mounts(&script)
        .database(&legacy.url)
        .run();
    one_sentence(&ran, 4, "read-only");
    assert_eq!(std::fs::read(&file).expect("the database"), before, "nothing was changed");
}

#[tokio::test]
async fn a_full_disk_under_sqlite() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(500).await;
    legacy.pool.close().await;
    let small = dir.path().join("small");
    std::fs::create_dir(&small).expect("a directory");
    // A file system with hardly more room than the database takes; what is on it afterwards
    // is copied out, since it goes with the mount.
    let script = format!(
        "mount -t tmpfs -o size=200k none {0} && cp {1}/platform.db {0}/platform.db && \
         \"$0\" apply expand; code=$?; mkdir {1}/after; cp {0}/platform.db* {1}/after; exit $code",
        small.display(),
        dir.path().display()
    );
    let url = format!("sqlite://{}", small.join("platform.db").display());
    let ran = Reelshift::new(dir.path(), &[]).in_own_mounts(&script).database(&url).run();
    one_sentence(&ran, 1, "full");
    let after =
        Legacy::existing(&format!("sqlite://{}", dir.path().join("after/platform.db").display()))
            .await;
    assert_eq!(after.number("SELECT COUNT(*) FROM videos").await, 500);
    assert_eq!(after.rows("PRAGMA integrity_check").await[0].get::<String, _>(0), "ok");
}

#[test]
fn help_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let ran = Reelshift::new(dir.path(), &["--help"]).run().expect(0);
    for command in
        ["demo", "inspect", "apply", "enqueue", "work", "status", "errors", "rerun", "validate"]
    {
        assert!(ran.stdout.contains(command), "{command} is not in the help");
    }
}

#[tokio::test]
async fn conditions_that_no_video_meets() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        legacy.fill(20).await;
        run(dir.path(), &legacy.url, &["apply", "expand"]).ok();
        for (kind, condition) in [
            ("hash", "status=no-such-status"),
            ("backfill", "project=no-such-project"),
            ("backfill", "created-after=2037-12-31"),
            ("hash", "created-before=1971-01-01"),
        ] {
            let ran = run(dir.path(), &legacy.url, &["enqueue", kind, "--where", condition]);
            one_sentence(&ran, 2, "nothing was enqueued");
            assert!(ran.stderr.contains("no video meets"), "{}", ran.stderr);
        }
        assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_runs").await, 0, "no run is made");
        legacy.drop_database().await;
    }
}

#[tokio::test]
async fn settings_that_somebody_else_wrote() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    let settings = dir.path().join("reelshift.toml");
    std::fs::write(&settings, "concurrency = 1\n").expect("written");
    let mode = |mode| {
        std::fs::set_permissions(&settings, PermissionsExt::from_mode(mode)).expect("changed");
    };
    mode(0o644);
    run(dir.path(), &legacy.url, &["inspect"]).ok();
    mode(0o666);
    one_sentence(&run(dir.path(), &legacy.url, &["inspect"]), 4, "may be written by others");
    // Whoever names the file has looked at it.
    run(dir.path(), &legacy.url, &["--config", "reelshift.toml", "inspect"]).ok();
    mode(0o644);
    match std::os::unix::fs::chown(&settings, Some(12_345), None) {
        Ok(()) => {
            one_sentence(&run(dir.path(), &legacy.url, &["inspect"]), 4, "belongs to user 12345")
        }
        Err(error) => skipped(&format!("in part: only root can give a file away: {error}")),
    }
}

#[test]
fn credentials_in_settings_are_not_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("reelshift.db"), "").expect("written");
    for endpoint in [
        "http://user:hunter2@collector:port",
        "http://user:hunter2@[collector",
        "http://user:hunter2 x@collector:4317",
        "user:hunter2@collector:4317",
        "user:hunter2@",
        "://user:hunter2@collector",
    ] {
        for variable in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] {
            let status = Reelshift::new(dir.path(), &["status"]).env(variable, endpoint);
            let ran = status.env("OTEL_LOGS_EXPORTER", "otlp").run();
            let shown = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!shown.contains("hunter2"), "{variable}={endpoint}: {shown}");
        }
    }
    for root in ["s3://KEY:hunter2@bucket", "s3://KEY:hunter2@", "s3://KEY:hunter2@bucket/a b"] {
        let enqueue = Reelshift::new(dir.path(), &["--media-root", root, "enqueue", "hash"]);
        let ran = enqueue.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").run();
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code != Some(0) && !shown.contains("hunter2"), "{root}: {shown}");
    }
}

#[test]
fn files_of_settings_and_secrets_are_not_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let pipe = pipe.to_str().expect("a path");
    let run = |arguments: &[&str]| Reelshift::new(dir.path(), arguments).run();
    one_sentence(&run(&["--config", pipe, "runs"]), 2, "no database");
    one_sentence(&run(&["--database-file", pipe, "runs"]), 2, "holds no URL");
    let serve = ["--database", "sqlite://x.db", "serve", "--tokens-file", pipe];
    one_sentence(&run(&serve), 2, "names no token");
    for text in ["", "\0\0", "# the URL\nsqlite://x.db"] {
        let file = dir.path().join("url");
        std::fs::write(&file, text).expect("a file");
        let ran = run(&["--database-file", file.to_str().expect("a path"), "runs"]);
        one_sentence(&ran, 2, "holds no URL");
    }
}

#[test]
fn settings_that_are_wrong_are_named_by_their_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("settings.toml");
    let ran = |text: &str, arguments: &[&str]| {
        std::fs::write(&file, text).expect("a file");
        let config = ["--config", file.to_str().expect("a path")];
        Reelshift::new(dir.path(), &[&config, arguments].concat()).run()
    };
    let wrong = ran("concurrency = 2\n\n[serve]\nlisten = 5\n", &["runs"]);
    one_sentence(&wrong, 2, "settings.toml, line 4 are wrong");
    let event = "[[events]]\nto = \"command\"\ncommand = [\"true\"]\ntypes = [\"run_finished\"]\n";
    let serve = ["--database", "sqlite://x.db", "serve"];
    one_sentence(&ran(event, &serve), 2, "no event is called \"run_finished\"");
    let jaeger = ["--database", "sqlite://x.db", "serve", "--jaeger", "javascript:alert(1)"];
    one_sentence(&ran("", &jaeger), 2, "--jaeger: give the address");
    let token = ["token", "--name", "ops", "--expires", "2026-01-01T00:00:00Z"];
    one_sentence(&ran("", &token), 2, "the token would open nothing");
}
