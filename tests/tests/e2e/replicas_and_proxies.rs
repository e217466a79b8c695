//! What stands between reelshift and its database, or in its place: a server that takes no
//! writes, proxies that cut connections.

use std::path::Path;
use std::time::Duration;

use reelshift_tests::chaos::server::Server;
use reelshift_tests::proxy::splitting::Splitting;
use reelshift_tests::proxy::{Manners, Proxy};
use reelshift_tests::{LIMIT, Legacy, Ran, Reelshift, oracle, until, wait};
use sqlx::{Connection as _, Executor as _, MySqlConnection};

fn run(directory: &Path, url: &str, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(url).run()
}

/// A database that was expanded and backfilled.
async fn migrated(directory: &Path, legacy: &Legacy) {
    legacy.fill(200).await;
    for arguments in [&["apply", "expand"][..], &["enqueue", "backfill"], &["work", "--until-idle"]]
    {
        run(directory, &legacy.url, arguments).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_can_be_proved_and_looked_at() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start().await;
    let legacy = Legacy::on(server.url()).await;
    migrated(dir.path(), &legacy).await;
    legacy.execute("SET GLOBAL read_only = 1").await;
    for arguments in [
        &["validate"][..],
        &["status"],
        &["runs"],
        &["batches"],
        &["workers"],
        &["quarantine"],
        &["audit"],
        &["errors"],
        &["duplicates"],
        &["inspect"],
        &["flags", "list"],
    ] {
        let ran = run(dir.path(), &legacy.url, arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
    }
    for arguments in [
        &["validate", "--repair"][..],
        &["work"],
        &["enqueue", "backfill"],
        &["apply", "index"],
        &["rollback", "--discard", "--yes"],
        &["pause"],
        &["plan"],
    ] {
        let ran = run(dir.path(), &legacy.url, arguments).expect(4);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("read-only"), "{arguments:?}: {said}");
    }
    // Root may lock rows all the same; who may not is told the same.
    legacy.execute("SET GLOBAL read_only = 0").await;
    legacy.execute("CREATE USER plain").await;
    legacy.execute("GRANT ALL ON *.* TO plain").await;
    let is_mariadb = legacy.number("SELECT VERSION() LIKE '%MariaDB%'").await == 1;
    let beyond = if is_mariadb { "SUPER, READ_ONLY ADMIN" } else { "SUPER, CONNECTION_ADMIN" };
    legacy.execute(&format!("REVOKE {beyond} ON *.* FROM plain")).await;
    legacy.execute("SET GLOBAL read_only = 1").await;
    let plain = legacy.url.replacen("root", "plain", 1);
    for (arguments, code) in [(&["plan"][..], 4), (&["apply", "expand"], 4), (&["doctor"], 1)] {
        let ran = run(dir.path(), &plain, arguments).expect(code);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("the server is read-only"), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_starts_though_its_first_connections_are_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    legacy.fill(200).await;
    run(dir.path(), &legacy.url, &["apply", "expand"]).ok();
    run(dir.path(), &legacy.url, &["enqueue", "backfill"]).ok();
    let proxy = Proxy::start(&legacy.url, Manners { cut_first: 3, ..Manners::default() }).await;
    let worker = Reelshift::new(dir.path(), &["work", "--until-idle"]);
    let mut worker = worker.database(&proxy.before(&legacy.url)).start();
    assert_eq!(wait(&mut worker, LIMIT), Some(0));
    assert_eq!(oracle::check_every_row(&legacy).await, 200);
    legacy.drop_database().await;
}

/// While a phase waits for its lock, a proxy closes whatever says nothing: nobody is let in for
/// that, and the phase ends well.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_idle_limit_lets_no_second_operator_in() {
    const IDLE_LIMIT: Duration = Duration::from_secs(2);
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    legacy.fill(200).await;
    let mut application = MySqlConnection::connect(&legacy.url).await.expect("a connection");
    application.execute("BEGIN").await.expect("a transaction");
    application.execute("UPDATE videos SET duration = 1").await.expect("it writes");

    let manners = Manners { idle_limit: IDLE_LIMIT, ..Manners::default() };
    let proxy = Proxy::start(&legacy.url, manners).await;
    let first = Reelshift::new(dir.path(), &["apply", "expand"]);
    let mut first = first.database(&proxy.before(&legacy.url)).start();
    let waiting = "SELECT COUNT(*) FROM information_schema.TABLES \
                   WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'processing_error_log'";
    until("an operator that waits for videos", async || legacy.number(waiting).await == 1).await;
    // As long as a session that only holds something would have been silent twice over.
    tokio::time::sleep(IDLE_LIMIT * 2).await;
    let refused = run(dir.path(), &legacy.url, &["apply", "expand"]).expect(4).stderr;
    assert!(refused.contains("another operator"), "{refused}");
    application.execute("COMMIT").await.expect("it ends");
    assert_eq!(wait(&mut first, LIMIT), Some(0));
    run(dir.path(), &legacy.url, &["apply", "expand"]).ok();
    legacy.drop_database().await;
}

/// What a worker or a validation reads by way of it may be what was there before.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_moves_reads_to_a_replica_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let (primary, replica) = tokio::join!(Server::start(), Server::start());
    let legacy = Legacy::on(primary.url()).await;
    let database = legacy.url.rsplit('/').next().expect("a URL with a database").to_owned();
    let behind = Legacy::existing(&format!("{}/mysql", replica.url())).await;
    behind.execute(&format!("CREATE DATABASE {database}")).await;
    migrated(dir.path(), &legacy).await;

    let whole = Splitting::start(primary.port(), primary.port()).await;
    let split = Splitting::start(primary.port(), replica.port()).await;
    // The proxy has to read the statements, so the client must not use the TLS that newer
    // servers offer.
    let by = |port: u16| format!("mysql://root@127.0.0.1:{port}/{database}?ssl-mode=DISABLED");
    run(dir.path(), &by(whole.port), &["validate"]).ok();
    for arguments in [&["plan"][..], &["apply", "index"], &["work"], &["validate"], &["status"]] {
        let refused = run(dir.path(), &by(split.port), arguments).expect(4).stderr;
        assert!(refused.contains("moves reads to another server"), "{arguments:?}: {refused}");
        assert!(refused.contains(&format!(":{}, server id", replica.port())), "{refused}");
    }
}
