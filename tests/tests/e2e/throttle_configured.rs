//! Brakes of the operator's own: a query, an address, a query of a real Prometheus, hours to
//! work in. Each is followed, named, and missed when it does not answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use reelshift_tests::chaos::skipped;
use reelshift_tests::http::get;
use reelshift_tests::receiver::free_port;
use reelshift_tests::{Legacy, Reelshift, until};

/// Ends a process with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may be gone already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// An address that answers with `status`, and with nothing where that is 0.
fn switch(status: Arc<AtomicU16>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let status = status.load(Ordering::Relaxed);
            if status == 0 {
                continue;
            }
            // As much as a request has.
            let _: usize = connection.read(&mut [0; 4_096]).expect("a request");
            let answer =
                format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            connection.write_all(answer.as_bytes()).expect("an answer");
        }
    });
    address
}

fn run(dir: &Path, legacy: &Legacy, arguments: &[&str]) {
    Reelshift::new(dir, arguments).database(&legacy.url).run().expect(0).ok();
}

/// Waits for a level and what its reason says.
async fn until_throttled(dir: &Path, legacy: &Legacy, level: &str, says: &str) {
    until(&format!("{level}: {says}"), async || {
        let ran = Reelshift::new(dir, &["--json", "status"]).database(&legacy.url).run();
        let throttle = &ran.json()["throttle"];
        throttle["level"] == level && throttle["reason"].as_str().unwrap_or_default().contains(says)
    })
    .await;
}

async fn until_free(dir: &Path, legacy: &Legacy) {
    until("no brake", async || {
        let ran = Reelshift::new(dir, &["--json", "status"]).database(&legacy.url).run();
        ["free", "held"].contains(&ran.json()["throttle"]["level"].as_str().unwrap_or_default())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_and_an_address_hold_the_fleet() {
    let dir = tempfile::tempdir().expect("a directory");
    let (dir, legacy) = (dir.path(), Legacy::mariadb().await);
    legacy.execute("CREATE TABLE checkout (waiting INT)").await;
    legacy.execute("INSERT INTO checkout VALUES (3)").await;
    let status = Arc::new(AtomicU16::new(200));
    let address = switch(Arc::clone(&status));
    std::fs::write(
        dir.join("reelshift.toml"),
        format!(
            "[[throttle.query]]\nname = \"orders\"\nsql = \"SELECT waiting FROM checkout\"\nlimit = 10\n\
             [[throttle.http]]\nname = \"freeze\"\nurl = \"http://{address}/?key=hidden\"\n"
        ),
    )
    .expect("a file");
    run(dir, &legacy, &["apply", "expand"]);
    let _worker = Ended(Reelshift::new(dir, &["work"]).database(&legacy.url).start());
    until_free(dir, &legacy).await;
    legacy.execute("UPDATE checkout SET waiting = 20").await;
    until_throttled(dir, &legacy, "slowed", "query orders 20.00 > 10.00").await;
    legacy.execute("UPDATE checkout SET waiting = 3").await;
    until_free(dir, &legacy).await;
    status.store(503, Ordering::Relaxed);
    until_throttled(dir, &legacy, "stopped", "HTTP brake freeze says stop").await;
    status.store(204, Ordering::Relaxed);
    until_free(dir, &legacy).await;
    // What is no answer is no permission.
    for (odd, says) in [(0, "no answer"), (404, "neither go (2xx) nor stop")] {
        status.store(odd, Ordering::Relaxed);
        until_throttled(dir, &legacy, "blind", says).await;
    }
    let ran = Reelshift::new(dir, &["status"]).database(&legacy.url).run();
    assert!(ran.stdout.contains("freeze") && !ran.stdout.contains("hidden"), "{}", ran.stdout);
    status.store(200, Ordering::Relaxed);
    until_free(dir, &legacy).await;
    legacy.execute("DROP TABLE checkout").await;
    until_throttled(dir, &legacy, "blind", "query orders unknown").await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_works_in_its_hours_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let (dir, legacy) = (dir.path(), Legacy::mariadb().await);
    run(dir, &legacy, &["apply", "expand"]);
    let _worker = Ended(Reelshift::new(dir, &["work"]).database(&legacy.url).start());
    until_free(dir, &legacy).await;
    let hour = legacy.number("SELECT HOUR(UTC_TIMESTAMP())").await;
    let window = |from: i64, to: i64| {
        format!("work_window={:02}:00-{:02}:00 UTC", (hour + from) % 24, (hour + to) % 24)
    };
    run(dir, &legacy, &["tune", &window(3, 5)]);
    until_throttled(dir, &legacy, "stopped", "work window").await;
    run(dir, &legacy, &["tune", &window(22, 4)]);
    until_free(dir, &legacy).await;
    run(dir, &legacy, &["tune", &window(3, 5), "--for", "3s"]);
    until_throttled(dir, &legacy, "stopped", "says stop").await;
    // By itself.
    until_free(dir, &legacy).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_prometheus_holds_the_fleet() {
    let Some(program) = std::env::var_os("REELSHIFT_TEST_PROMETHEUS") else {
        return skipped(
            "REELSHIFT_TEST_PROMETHEUS names no program; `cargo xtask test` brings one",
        );
    };
    let dir = tempfile::tempdir().expect("a directory");
    let (dir, legacy) = (dir.path(), Legacy::mariadb().await);
    run(dir, &legacy, &["apply", "expand"]);
    let prometheus = SocketAddr::from(([127, 0, 0, 1], free_port()));
    std::fs::write(dir.join("prometheus.yaml"), "").expect("a file");
    let mut command = Command::new(program);
    command.current_dir(dir).args(["--config.file=prometheus.yaml", "--storage.tsdb.path=series"]);
    command.arg(format!("--web.listen-address={prometheus}")).stdin(Stdio::null());
    let _prometheus = Ended(command.spawn().expect("Prometheus starts"));
    until("Prometheus", async || {
        get(prometheus, "/-/ready").is_some_and(|(status, _)| status == 200)
    })
    .await;
    let worker = |query: &str| {
        let config = format!(
            "[[throttle.prometheus]]\nname = \"p99\"\nurl = \"http://{prometheus}\"\n\
             query = '{query}'\nlimit = 0.25\n"
        );
        std::fs::write(dir.join("reelshift.toml"), config).expect("a file");
        Ended(Reelshift::new(dir, &["work"]).database(&legacy.url).start())
    };
    for (query, level, says) in [
        ("vector(0.5)", "slowed", "Prometheus p99 0.50 > 0.25"),
        ("no_such_metric", "blind", "the query returned no value"),
        ("sum(", "blind", "Prometheus answered 400"),
    ] {
        let _worker = worker(query);
        until_throttled(dir, &legacy, level, says).await;
    }
    let _worker = worker("vector(0.1)");
    until_free(dir, &legacy).await;
    legacy.drop_database().await;
}
