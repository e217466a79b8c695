//! What an orchestrator is told of a worker, and what Prometheus reads.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use reelshift_tests::http::get;
use reelshift_tests::receiver::free_port;
use reelshift_tests::{Legacy, Reelshift, wait};

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < reelshift_tests::LIMIT, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(status.expect("kill runs").success());
}

fn worker(directory: &Path, url: &str) -> (SocketAddr, Child) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let worker = Reelshift::new(directory, &["work", "--health", &address.to_string()])
        .database(url)
        .env("REELSHIFT_LEASE_TIMEOUT", "2s")
        .start();
    (address, worker)
}

fn ready(address: SocketAddr) -> bool {
    get(address, "/readyz").is_some_and(|(status, _)| status == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_read_in_prometheus_text() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(500).await;
    let (address, mut worker) = {
        for arguments in [&["apply", "expand"][..], &["enqueue", "backfill", "--batch-size", "100"]]
        {
            Reelshift::new(dir.path(), arguments).database(&legacy.url).run().expect(0).ok();
        }
        worker(dir.path(), &legacy.url)
    };
    let metrics = || get(address, "/metrics").map(|(_, body)| body).unwrap_or_default();
    until("the rows", || {
        metrics()
            .lines()
            .any(|line| line.starts_with("reelshift_rows_total{") && line.ends_with(" 500"))
    });
    assert!(ready(address));
    let asked = Reelshift::new(dir.path(), &["probe", &address.to_string(), "readyz"]).run();
    assert_eq!(asked.expect(0).stdout, "ok\n");
    let text = metrics();
    for series in [
        r#"reelshift_batches_total{"#,
        r#"reelshift_outcome="done""#,
        "messaging_process_duration_seconds_bucket{",
        "reelshift_chunk_duration_seconds_count",
        "reelshift_queue_depth",
        "reelshift_queue_oldest_age_seconds",
        "reelshift_throttle_share",
        "reelshift_throttle_active",
        "reelshift_videos_migrated",
        "reelshift_errors",
        "reelshift_status_rows",
        "reelshift_notifications_queued",
        "reelshift_error_rate_ratio",
        "db_client_connection_count",
        "db_client_connection_max",
        "process_memory_usage_bytes",
        "target_info{",
    ] {
        assert!(text.contains(series), "{series} is missing:\n{text}");
    }
    let ids = legacy.rows("SELECT id FROM reelshift_batches").await;
    for id in ids {
        let id: String = sqlx::Row::get(&id, 0);
        assert!(!text.contains(&id), "a label has no end");
    }
    assert_eq!(get(address, "/elsewhere").map(|(status, _)| status), Some(404));
    signal(&worker, "-TERM");
    assert_eq!(wait(&mut worker, reelshift_tests::LIMIT), Some(0));
    let asked = Reelshift::new(dir.path(), &["probe", &address.to_string()]).run().expect(1);
    assert!(asked.stderr.contains("cannot be asked"), "{}", asked.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_database_is_gone_is_not_ready_and_lives() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    Reelshift::new(dir.path(), &["apply", "expand"]).database(&legacy.url).run().expect(0).ok();
    // A way to the database that can be cut: this process in the middle.
    let (before, name) = legacy.url.rsplit_once('/').expect("a URL with a name");
    let (scheme, server) = before.rsplit_once('@').expect("a URL with a user");
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let way = listener.local_addr().expect("its address");
    let server = server.to_owned();
    let carrying = tokio::spawn(async move {
        let mut carried = tokio::task::JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            carried.spawn(async move {
                let mut server = tokio::net::TcpStream::connect(server).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    let (address, mut worker) = worker(dir.path(), &format!("{scheme}@{way}/{name}"));
    until("the worker to be ready", || ready(address));
    carrying.abort();
    until("the worker to be unready", || {
        get(address, "/readyz").is_some_and(|(status, why)| {
            status == 503 && why.contains("the database has not answered")
        })
    });
    assert_eq!(get(address, "/livez").map(|(status, _)| status), Some(200), "it only waits");
    worker.kill().expect("the worker dies");
    worker.wait().expect("the worker is dead");
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_answers_no_probe_and_a_draining_one_is_not_ready() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(10).await;
    Reelshift::new(dir.path(), &["apply", "expand"]).database(&legacy.url).run().expect(0).ok();
    let (address, mut worker) = worker(dir.path(), &legacy.url);
    until("the worker to be ready", || ready(address));
    signal(&worker, "-STOP");
    // The signal is on its way; from then on nobody answers.
    until("the worker to be frozen", || get(address, "/livez").is_none());
    assert_eq!(get(address, "/livez"), None);
    signal(&worker, "-CONT");
    until("the worker to be back", || ready(address));
    signal(&worker, "-TERM");
    until("the worker to be unready", || !ready(address));
    assert_eq!(wait(&mut worker, reelshift_tests::LIMIT), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(10).await;
    Reelshift::new(dir.path(), &["apply", "expand"]).database(&legacy.url).run().expect(0).ok();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let ran = Reelshift::new(dir.path(), &["work", "--until-idle", "--health", &address])
        .database(&legacy.url)
        .run()
        .expect(1);
    assert!(ran.stderr.contains(&format!("--health {address}")), "{}", ran.stderr);
}

// As many as a broken load balancer has: each asks nothing, and comes again when it is cut off.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_ask_nothing_take_no_probe_away() {
    const CLIENTS: usize = 200;
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    Reelshift::new(dir.path(), &["apply", "expand"]).database(&legacy.url).run().ok();
    let (address, mut worker) = worker(dir.path(), &legacy.url);
    until("the worker to be ready", || ready(address));
    let mut silent = tokio::task::JoinSet::new();
    let (connected, mut connections) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..CLIENTS {
        let connected = connected.clone();
        silent.spawn(async move {
            while let Ok(mut client) = tokio::net::TcpStream::connect(address).await {
                connected.send(()).unwrap_or_default();
                // Its end, or an error, is that it was cut off.
                let mut byte = [0];
                tokio::io::AsyncReadExt::read(&mut client, &mut byte).await.unwrap_or_default();
            }
        });
    }
    for _ in 0..CLIENTS {
        connections.recv().await;
    }
    for _ in 0..10 {
        until("a probe to be answered", || {
            get(address, "/livez").is_some_and(|(status, _)| status == 200)
        });
    }
    silent.shutdown().await;
    worker.kill().expect("the worker dies");
    worker.wait().expect("the worker is dead");
}
