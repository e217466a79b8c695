//! What a collector gets of a fleet whose batches are retried, bisected, killed and run
//! again; and that no worker ever waits for one.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use reelshift_tests::http::Request;
use reelshift_tests::proxy::{Manners, Proxy};
use reelshift_tests::receiver::{Receiver, Span};
use reelshift_tests::server::{self, OPERATOR, Server};
use reelshift_tests::{Legacy, Reelshift, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The binary with everything that it does exported to `endpoint`, at once.
fn traced(directory: &Path, legacy: &Legacy, endpoint: &str, arguments: &[&str]) -> Reelshift {
    Reelshift::new(directory, arguments)
        .database(&legacy.url)
        .env("REELSHIFT_LEASE_TIMEOUT", "3s")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "500")
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < reelshift_tests::LIMIT, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// Batches of which an attempt was received: a worker that lost its lease makes another.
fn attempted_batches(receiver: &Receiver) -> usize {
    let spans = receiver.spans();
    let attempts = named(&spans, "process backfill");
    let batches: BTreeSet<_> =
        attempts.iter().map(|span| &span.attributes["reelshift.batch.id"]).collect();
    batches.len()
}

async fn nothing_is_open(legacy: &Legacy) -> bool {
    legacy.number("SELECT COUNT(*) FROM reelshift_runs WHERE finished_at IS NULL").await == 0
}

async fn rows_are_done(legacy: &Legacy) -> bool {
    legacy.number("SELECT CAST(SUM(rows_done) AS SIGNED) FROM reelshift_batches").await > 0
}

fn kill(mut worker: Child) {
    worker.kill().expect("the worker dies");
    worker.wait().expect("the worker is dead");
}

/// Ends the worker as an orchestrator does.
fn drain(mut worker: Child) {
    let pid = worker.id().to_string();
    std::process::Command::new("kill").arg(&pid).status().expect("kill runs");
    assert_eq!(wait(&mut worker, reelshift_tests::LIMIT), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_one_trace_whatever_happens_to_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(receiver) = Receiver::start(dir.path()) else { return };
    let legacy = Legacy::mariadb().await;
    legacy.fill(12_000).await;
    let (grpc, http) = (receiver.grpc(), receiver.http());
    let over_grpc = |arguments: &[&str]| {
        traced(dir.path(), &legacy, &grpc, arguments).env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    };
    over_grpc(&["apply", "expand"]).run().expect(0).ok();
    // An error that nobody knows: tried once more, then looked for, then set aside.
    legacy
        .execute(
            "CREATE TRIGGER theirs BEFORE UPDATE ON videos FOR EACH ROW BEGIN \
             IF NEW.filename LIKE 'video 777.%' THEN \
             SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1105, MESSAGE_TEXT = 'not this one'; \
             END IF; END",
        )
        .await;
    over_grpc(&["enqueue", "backfill", "--batch-size", "100000"]).run().expect(0).ok();
    let killed = over_grpc(&["work"]).start();
    let killed_pid = killed.id().to_string();
    until("a worker's first chunk", async || rows_are_done(&legacy).await).await;
    until("its spans", async || !named(&receiver.spans(), "chunk").is_empty()).await;
    kill(killed);
    let second = over_grpc(&["work", "--until-idle"]).run().expect(5);
    assert!(second.stderr.contains(r#""trace_id":""#), "logs name their trace: {}", second.stderr);
    legacy.execute("DROP TRIGGER theirs").await;
    over_grpc(&["rerun", "--quarantined"]).run().expect(0).ok();
    // The last one speaks HTTP.
    traced(dir.path(), &legacy, &http, &["work", "--until-idle"]).run().expect(0).ok();

    let spans = receiver.spans();
    let enqueued = named(&spans, "enqueue backfill");
    let created = named(&spans, "create backfill");
    let [enqueued, ..] = enqueued[..] else { panic!("no run: {spans:?}") };
    let created: Vec<_> =
        created.into_iter().filter(|span| span.attributes["reelshift.rows"] == "12000").collect();
    let [created] = created[..] else { panic!("one batch: {created:?}") };
    assert_eq!((created.kind.as_str(), created.parent.as_str()), ("PRODUCER", ""));
    assert_ne!(created.trace, enqueued.trace, "the batch outlives the planning");
    assert_eq!(enqueued.resource["service.name"], "reelshift-producer");
    let run = (enqueued.trace.clone(), enqueued.id.clone());
    assert!(created.links.contains(&run), "{created:?}");
    let one = &created.attributes;
    assert_eq!(one["messaging.system"], "reelshift");
    assert_eq!(one["messaging.destination.name"], "backfill");
    assert_eq!(one["messaging.operation.type"], "create");

    let attempts: Vec<_> = named(&spans, "process backfill")
        .into_iter()
        .filter(|span| span.trace == created.trace)
        .collect();
    for attempt in &attempts {
        assert_eq!((&attempt.parent, attempt.kind.as_str()), (&created.id, "CONSUMER"));
        assert!(attempt.links.contains(&run), "{attempt:?}");
        assert_eq!(
            attempt.attributes["messaging.client.id"],
            attempt.resource["service.instance.id"]
        );
        assert_eq!(attempt.resource["service.name"], "reelshift-worker");
        assert_eq!(attempt.resource["service.namespace"], "reelshift");
        let id = &attempt.attributes["messaging.message.id"];
        assert_eq!(&attempt.attributes["reelshift.batch.id"], id);
        assert_eq!(attempt.resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert!(attempt.resource.contains_key("host.name"), "{attempt:?}");
    }
    let outcome = |of: &str| -> Vec<_> {
        attempts.iter().filter(|span| span.attributes["reelshift.outcome"] == of).collect()
    };
    let [retried] = outcome("retried")[..] else { panic!("one retry: {attempts:?}") };
    assert_eq!(retried.status, "ERROR");
    assert_eq!(retried.attributes["error.type"], "database_rejected");
    let exception = retried.events.iter().find(|(name, _)| name == "exception");
    let (_, exception) = exception.expect("an exception event");
    assert_eq!(exception["exception.type"], "database_rejected");
    assert!(exception["exception.message"].contains("not this one"), "{exception:?}");
    let done = outcome("done");
    let [bisected, rerun] = done[..] else { panic!("two that were done: {attempts:?}") };
    assert!(bisected.events.iter().any(|(name, _)| name == "exception"), "{bisected:?}");
    assert_ne!(bisected.status, "ERROR");
    assert_ne!(
        bisected.attributes["messaging.message.id"],
        rerun.attributes["messaging.message.id"]
    );
    assert_ne!(bisected.resource["service.instance.id"], rerun.resource["service.instance.id"]);
    assert_eq!(one["messaging.message.id"], bisected.attributes["messaging.message.id"]);

    let chunks: Vec<_> =
        named(&spans, "chunk").into_iter().filter(|span| span.trace == created.trace).collect();
    // Of the worker that was killed, what it had sent is there: chunks whose attempt never
    // ended. Every other chunk belongs to an attempt of its own worker.
    let instance = |span: &Span| span.resource["service.instance.id"].clone();
    let (owned, orphaned): (Vec<&&Span>, Vec<&&Span>) =
        chunks.iter().partition(|chunk| attempts.iter().any(|attempt| attempt.id == chunk.parent));
    assert!(owned.iter().all(|chunk| {
        attempts
            .iter()
            .any(|attempt| attempt.id == chunk.parent && instance(attempt) == instance(chunk))
    }));
    assert!(!orphaned.is_empty(), "the killed worker's chunks are in the trace too");
    assert!(
        orphaned.iter().all(|chunk| chunk.resource["process.pid"] == killed_pid),
        "{orphaned:?}"
    );
    assert!(chunks.iter().filter(|chunk| chunk.status == "ERROR").count() > 2, "halves failed");
    let updates = named(&spans, "UPDATE videos");
    let update = updates.iter().find(|span| span.trace == created.trace).expect("its statements");
    assert_eq!(
        (update.kind.as_str(), update.attributes["db.operation.name"].as_str()),
        ("CLIENT", "UPDATE")
    );
    assert!(chunks.iter().any(|chunk| chunk.id == update.parent), "{update:?}");
    assert!(["mariadb", "mysql"].contains(&update.attributes["db.system.name"].as_str()));
    assert!(update.attributes["db.query.text"].contains("UPDATE videos"), "{update:?}");
    let refused = updates.iter().filter(|span| span.status == "ERROR");
    let codes: BTreeSet<&str> =
        refused.map(|span| span.attributes["db.response.status_code"].as_str()).collect();
    assert_eq!(codes, BTreeSet::from(["1105"]), "a statement's span says what it failed with");
    let log = receiver.log();
    let others =
        "SELECT CAST(id AS CHAR) FROM videos WHERE filename NOT LIKE 'video 777.%' LIMIT 99";
    for row in legacy.rows(others).await {
        let id: String = sqlx::Row::get(&row, 0);
        assert!(!log.contains(&id), "statements are told without their values");
    }
    let correlated = format!(
        "SELECT COUNT(*) FROM processing_error_log WHERE correlation_id = '{}'",
        created.trace
    );
    let errors = legacy.number("SELECT COUNT(*) FROM processing_error_log").await;
    assert!(errors >= 2);
    assert_eq!(legacy.number(&correlated).await, errors);
    for metric in ["reelshift.batches", "messaging.process.duration", "process.memory.usage"] {
        assert!(log.contains(metric), "{metric} was not received");
    }
    legacy.drop_database().await;
}

/// Five batches of a run over a few videos.
async fn enqueued(directory: &Path) -> Legacy {
    let legacy = Legacy::sqlite(directory).await;
    legacy.fill(500).await;
    for arguments in [&["apply", "expand"][..], &["enqueue", "backfill", "--batch-size", "100"]] {
        Reelshift::new(directory, arguments).database(&legacy.url).run().expect(0).ok();
    }
    legacy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_enqueued_without_traces_has_one_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(receiver) = Receiver::start(dir.path()) else { return };
    let legacy = enqueued(dir.path()).await;
    traced(dir.path(), &legacy, &receiver.http(), &["work", "--until-idle"])
        .env("OTEL_LOGS_EXPORTER", "otlp")
        .run()
        .expect(0)
        .ok();
    assert!(receiver.log().contains("this worker joins the fleet"), "logs came as well");
    let spans = receiver.spans();
    let attempts = named(&spans, "process backfill");
    assert_eq!(attempts.len(), 5, "{spans:?}");
    let stored = legacy.rows("SELECT traceparent FROM reelshift_batches").await;
    let stored: BTreeSet<String> = stored.iter().map(|row| sqlx::Row::get(row, 0)).collect();
    let parents: BTreeSet<String> =
        attempts.iter().map(|span| format!("00-{}-{}-01", span.trace, span.parent)).collect();
    assert_eq!(stored, parents);
    assert!(named(&spans, "UPDATE videos").len() >= 5, "SQLite's statements are there too");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sampler_of_the_producer_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(receiver) = Receiver::start(dir.path()) else { return };
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(100).await;
    let http = receiver.http();
    traced(dir.path(), &legacy, &http, &["apply", "expand"]).run().expect(0).ok();
    traced(dir.path(), &legacy, &http, &["enqueue", "backfill"])
        .env("OTEL_TRACES_SAMPLER", "always_off")
        .run()
        .expect(0)
        .ok();
    traced(dir.path(), &legacy, &http, &["work", "--until-idle"]).run().expect(0).ok();
    assert!(named(&receiver.spans(), "process backfill").is_empty());
    let unsampled = "SELECT COUNT(*) FROM reelshift_batches WHERE traceparent LIKE '00-%-00'";
    assert_eq!(legacy.number(unsampled).await, 1, "its errors are correlated all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_never_answers_holds_nobody_up() {
    // Accepts connections and says nothing, for ever.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let silent = silent.local_addr().map(|address| (silent, address)).expect("its address");
    let away = reelshift_tests::receiver::free_port();
    for (endpoint, protocol) in [
        (format!("http://127.0.0.1:{away}"), "http/protobuf"),
        (format!("http://127.0.0.1:{away}"), "grpc"),
        (format!("http://{}", silent.1), "http/protobuf"),
        (format!("http://{}", silent.1), "grpc"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let legacy = enqueued(dir.path()).await;
        // A run that hangs is killed.
        traced(dir.path(), &legacy, &endpoint, &["work", "--until-idle"])
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .run()
            .expect(0)
            .ok();
        assert_eq!(reelshift_tests::oracle::check_every_row(&legacy).await, 500);
    }
}

fn enqueue(directory: &Path, legacy: &Legacy) {
    let backfill = Reelshift::new(directory, &["enqueue", "backfill", "--batch-size", "100"]);
    backfill.database(&legacy.url).run().expect(0).ok();
}

/// A way to `server` on which everything takes a second longer.
async fn slow_way(server: String) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let way = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let mut server = tokio::net::TcpStream::connect(server).await?;
                let (mut from, mut to) = client.split();
                let (mut back, mut forth) = server.split();
                let answers = tokio::io::copy(&mut back, &mut to);
                let mut buffer = vec![0; 1 << 16];
                let requests = async {
                    loop {
                        let read = from.read(&mut buffer).await?;
                        if read == 0 {
                            return Ok::<_, std::io::Error>(());
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        forth.write_all(&buffer[..read]).await?;
                    }
                };
                tokio::select! {
                    ended = requests => ended,
                    ended = answers => ended.map(drop),
                }
            });
        }
    });
    format!("http://{way}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_collector_gets_everything_and_holds_nobody_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(receiver) = Receiver::start(dir.path()) else { return };
    let legacy = enqueued(dir.path()).await;
    let endpoint = slow_way(receiver.http().replace("http://", "")).await;
    let worker = traced(dir.path(), &legacy, &endpoint, &["work"]).start();
    until("the work", async || {
        legacy.number("SELECT COUNT(*) FROM reelshift_runs WHERE state = 'done'").await == 1
    })
    .await;
    until("its traces", async || attempted_batches(&receiver) == 5).await;
    drain(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_comes_back_gets_what_follows() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(mut receiver) = Receiver::start(dir.path()) else { return };
    let legacy = enqueued(dir.path()).await;
    let endpoint = receiver.grpc();
    let worker = traced(dir.path(), &legacy, &endpoint, &["work"])
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .start();
    until("the first attempts", async || attempted_batches(&receiver) == 5).await;
    receiver.kill();
    legacy.execute("DELETE FROM video_processing_status").await;
    enqueue(dir.path(), &legacy);
    until("the work without a collector", async || {
        legacy.number("SELECT COUNT(*) FROM video_processing_status").await == 500
    })
    .await;
    receiver.start_again();
    legacy.execute("DELETE FROM video_processing_status").await;
    until("the run before to end", async || nothing_is_open(&legacy).await).await;
    enqueue(dir.path(), &legacy);
    until("spans after the collector's return", async || {
        named(&receiver.spans(), "process backfill").len() > 5
    })
    .await;
    drain(worker);
}

/// A connection that died without a word, as on a machine whose address has changed, is given up
/// with the first export on it, not when the kernel does so after a quarter of an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_carries_nothing_any_more_is_replaced() {
    for (grpc, protocol) in [(true, "grpc"), (false, "http/protobuf")] {
        let dir = tempfile::tempdir().expect("a directory");
        let Some(receiver) = Receiver::start(dir.path()) else { return };
        let legacy = enqueued(dir.path()).await;
        let server = if grpc { receiver.grpc() } else { receiver.http() };
        let way = Proxy::start(&server, Manners::default()).await;
        let worker = traced(dir.path(), &legacy, &way.before(&server), &["work", "--verbose"])
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")
            .env("OTEL_LOGS_EXPORTER", "otlp")
            .start();
        until("the first attempts", async || attempted_batches(&receiver) == 5).await;
        way.sever();
        // Again and again: what is in the export that finds it out is lost.
        let work = async || {
            if nothing_is_open(&legacy).await {
                legacy.execute("DELETE FROM video_processing_status").await;
                enqueue(dir.path(), &legacy);
            }
        };
        until("spans on another connection", async || {
            work().await;
            named(&receiver.spans(), "process backfill").len() > 5
        })
        .await;
        // By now nothing that was sent before is under way.
        let received =
            || ["ResourceMetrics #", "LogRecord #"].map(|of| receiver.log().matches(of).count());
        let before = received();
        until("metrics and logs on another connection", async || {
            work().await;
            received().iter().zip(before).all(|(now, before)| *now > before)
        })
        .await;
        drain(worker);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_is_a_service_unless_it_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(receiver) = Receiver::start(dir.path()) else { return };
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(10).await;
    traced(dir.path(), &legacy, &receiver.http(), &["apply", "expand"]).run().expect(0).ok();
    traced(dir.path(), &legacy, &receiver.http(), &["enqueue", "backfill"])
        .env("OTEL_SERVICE_NAME", "ours")
        .run()
        .expect(0)
        .ok();
    let (tokens, endpoint) = (server::tokens(), receiver.http());
    let variables = [
        ("REELSHIFT_TOKENS", tokens.as_str()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let server = Server::start_with(dir.path(), &legacy, &variables).await;
    let validate = serde_json::json!({ "kind": "validate" });
    let request = Request::new("POST", "/api/v1/runs").bearer(OPERATOR).json(&validate);
    assert_eq!(server.send(&request).status, 201);
    traced(dir.path(), &legacy, &receiver.http(), &["work", "--until-idle"]).run().expect(0).ok();
    let services = || -> BTreeSet<String> {
        let spans = receiver.spans();
        spans.iter().filter_map(|span| span.resource.get("service.name").cloned()).collect()
    };
    let expected = ["ours", "reelshift-server", "reelshift-worker"].map(str::to_owned);
    until("their spans", async || expected.iter().all(|name| services().contains(name))).await;
    assert!(!services().contains("reelshift-producer"), "{:?}", services());
}

#[test]
fn another_exporter_is_refused_in_one_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let ran = Reelshift::new(dir.path(), &["status"])
        .env("OTEL_TRACES_EXPORTER", "zipkin")
        .run()
        .expect(2);
    assert!(ran.stderr.contains("OTEL_TRACES_EXPORTER=zipkin"), "{}", ran.stderr);
}
