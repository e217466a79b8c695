//! A fleet on three hosts, of which one is cut off from the others and comes back.

use std::collections::BTreeSet;

use reelshift_tests::chaos::network::Namespace;
use reelshift_tests::chaos::{Place, Scene, faults, skipped};
use reelshift_tests::receiver::{Receiver, Span};
use reelshift_tests::until;
use sqlx::Row as _;

const HOSTS: [&str; 3] = ["host-1", "host-2", "host-3"];
/// The one that is cut off.
const CUT_OFF: usize = 2;

/// How an attempt ends whose worker is cut off: before its connections fail or after.
const LOST: [&str; 2] = ["lease_lost", "retried"];

fn is_attempt(span: &Span) -> bool {
    span.name == "process backfill"
}

fn lost_on(span: &Span, host: &str) -> bool {
    is_attempt(span)
        && span.resource["host.name"] == host
        && LOST.contains(&span.attributes["reelshift.outcome"].as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hosts_of_which_one_is_cut_off() {
    let namespaces = HOSTS.map(|_| Namespace::make());
    if let Some(Err(why)) = namespaces.iter().find(|made| made.is_err()) {
        return skipped(why);
    }
    let namespaces = namespaces.map(|made| made.expect("it was made"));
    let dir = tempfile::tempdir().expect("a directory");
    let Some(receiver) = Receiver::start(dir.path()) else { return };
    let port = receiver.grpc().rsplit_once(':').expect("a port").1.to_owned();
    let mut scene = Scene::set(Place::Own, 6_000, 21).await;
    scene.enqueue(&["backfill", "--batch-size", "200"]);
    scene.keep_back().await;
    for (namespace, host) in namespaces.iter().zip(HOSTS) {
        let renamed = Namespace::renamed(host);
        scene
            .start_worker_with(&namespace.address(), |url, reelshift| {
                let gateway = namespace.gateway();
                reelshift
                    .under(&namespace.words_on(&renamed))
                    .database(&url.replace("127.0.0.1", &gateway))
                    // Seen from inside, the server is on another host.
                    .env("REELSHIFT_ALLOW_PLAINTEXT", "true")
                    .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{gateway}:{port}"))
                    .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
                    .env("OTEL_BSP_SCHEDULE_DELAY", "200")
                    // Longer than any cut: what ended meanwhile is not dropped.
                    .env("OTEL_EXPORTER_OTLP_TIMEOUT", "120000")
            })
            .await;
    }
    let cut_off = &namespaces[CUT_OFF];
    faults::lose_at_work(&scene, &[CUT_OFF], |_| cut_off.cut(), |_| cut_off.heal()).await;
    let pid = scene.workers[CUT_OFF].pid();
    let held = scene
        .legacy
        .rows(&format!(
            "SELECT l.batch_seq FROM reelshift_lost_leases l JOIN reelshift_workers w \
             ON w.id = l.worker_id WHERE w.pid = {pid}"
        ))
        .await;
    let held: Vec<String> = held.iter().map(|row| row.get::<i64, _>(0).to_string()).collect();
    until("its batches with the others", async || {
        let waiting = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'pending' AND seq IN";
        scene.legacy.number(&format!("{waiting} ({})", held.join(","))).await == 0
    })
    .await;
    cut_off.heal();
    until("the third host back", async || scene.worker_state(pid).await == "live").await;
    // A worker that leaves waits only a moment for its last spans, and TCP sends again only
    // after a pause as long as the cut.
    until("the attempts that the third host lost", async || {
        receiver.spans().iter().any(|span| lost_on(span, HOSTS[CUT_OFF]))
    })
    .await;
    let outcome = scene.finish().await;
    assert!(outcome.chunks.returned > 0, "{:?}", outcome.chunks);

    // The traces say on which host which attempt was.
    let spans = receiver.spans();
    let attempts: Vec<_> = spans.iter().filter(|span| is_attempt(span)).collect();
    let hosts: BTreeSet<&str> =
        attempts.iter().map(|span| span.resource["host.name"].as_str()).collect();
    assert_eq!(hosts, BTreeSet::from(HOSTS), "{attempts:?}");
    let ended = |of: &str| -> Vec<_> {
        attempts
            .iter()
            .filter(|span| span.attributes["reelshift.outcome"] == of)
            .map(|span| (span.trace.as_str(), span.resource["host.name"].as_str()))
            .collect()
    };
    let lost = LOST.map(ended).concat();
    assert!(ended("lease_lost").iter().all(|(_, host)| *host == HOSTS[CUT_OFF]), "{lost:?}");
    let done = ended("done");
    let taken_over = lost.iter().filter(|(trace, host)| {
        *host == HOSTS[CUT_OFF]
            && done.iter().any(|(other, by)| other == trace && *by != HOSTS[CUT_OFF])
    });
    assert!(taken_over.count() > 0, "its batches went on elsewhere in their traces: {attempts:?}");
    outcome.clear().await;
}
