//! A Galera cluster of three nodes with two appliers each, and the platform's application on
//! all three: every phase and the rollback, without a freeze, and the same right rows on
//! each node.

use std::path::Path;

use reelshift_tests::galera::{Cluster, NODES};
use reelshift_tests::orm::application::{Application, Report};
use reelshift_tests::orm::{self, Dates};
use reelshift_tests::{LIMIT, Legacy, Reelshift, oracle, until, wait};

const VIDEOS: usize = 1_000;
/// On each node.
const THREADS: u64 = 2;
/// Seconds of the application without a migration, to compare with.
const CONTROL_SECONDS: u64 = 3;

/// The application inserts into no table that `videos` references.
const STOP: &str = "--stop-the-cluster";
const CREATES: &str = "creates a trigger of videos, which references projects";

/// One unless `REELSHIFT_TEST_CLUSTER_CYCLES` says more.
fn cycles() -> u32 {
    let more = std::env::var("REELSHIFT_TEST_CLUSTER_CYCLES").ok();
    more.map_or(1, |count| count.parse().expect("REELSHIFT_TEST_CLUSTER_CYCLES is a number"))
}

struct Scene<'a> {
    directory: &'a Path,
    cluster: &'a Cluster,
    /// The platform by each node.
    nodes: &'a [Legacy],
    touched: &'a [String],
    seed: u64,
}

impl Scene<'_> {
    fn reelshift(&self, node: usize, arguments: &[&str]) -> Reelshift {
        Reelshift::new(self.directory, arguments).database(&self.nodes[node].url)
    }

    /// Does something beside the application on every node, and says what came of that.
    async fn beside_the_application(&mut self, what: &str, work: impl AsyncFnOnce(&Self)) {
        let applications: Vec<_> = (0..NODES)
            .map(|node| {
                self.seed += 100;
                let (url, ids) = (&self.nodes[node].url, self.touched.to_vec());
                Application::start(url, ids, THREADS, self.seed, false)
            })
            .collect();
        work(self).await;
        self.cluster.check_alive(what).await;
        let mut all = Report::default();
        for application in applications {
            let report = application.stop().await;
            assert_eq!(report.refused, [""; 0], "{what}: transactions of the application failed");
            assert_eq!(report.outages, [""; 0], "{what}: connections were lost");
            all.requests += report.requests;
            all.deadlocks += report.deadlocks;
            all.longest = all.longest.max(report.longest);
        }
        println!(
            "{what}: {} requests, {} failed with 1213, the longest took {} ms",
            all.requests,
            all.deadlocks,
            all.longest.as_millis()
        );
        assert!(all.requests > 0, "{what}: the application did nothing");
    }

    async fn phase(&mut self, what: &str, node: usize, arguments: &[&str]) {
        self.beside_the_application(what, async |scene| {
            scene.reelshift(node, arguments).run().ok();
        })
        .await;
    }

    async fn backfill(&mut self) {
        self.beside_the_application("backfill", async |scene| {
            scene.reelshift(0, &["enqueue", "backfill", "--batch-size", "100"]).run().ok();
            let start = |node| scene.reelshift(node, &["work", "--until-idle"]).start();
            for mut worker in [start(1), start(2)] {
                assert_eq!(wait(&mut worker, LIMIT), Some(0), "a worker ends well");
            }
        })
        .await;
    }

    /// An operator on a second node, while one works on the first, is refused or comes after it.
    async fn expand_twice(&mut self) {
        self.beside_the_application("expand", async |scene| {
            let expand = ["apply", "expand", STOP];
            let mut first = scene.reelshift(0, &expand).start();
            let lock = "SELECT COUNT(*) FROM information_schema.TABLES \
                        WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'reelshift_migration_lock'";
            until("an operator at work", async || scene.nodes[1].number(lock).await == 1).await;
            let second = scene.reelshift(1, &expand).run();
            assert!([Some(0), Some(4)].contains(&second.code), "{second:?}");
            assert_eq!(wait(&mut first, LIMIT), Some(0));
        })
        .await;
    }

    /// Both try the steps on copies, one after the other.
    fn plan_twice(&self) {
        let mut plans: Vec<_> =
            [0, 1].iter().map(|&node| self.reelshift(node, &["plan"]).start()).collect();
        for plan in &mut plans {
            assert_eq!(wait(plan, LIMIT), Some(0), "plans on two nodes are in each other's way");
        }
    }

    /// Somebody must have decided about what can stop every write on all nodes: `why` is part of
    /// the refusal.
    async fn decided_phase(&mut self, node: usize, arguments: &[&str], why: &str) {
        let refused = self.reelshift(node, arguments).run().expect(4).stderr;
        assert!(refused.contains(why) && refused.contains("all 3 nodes"), "{refused}");
        self.phase(&arguments.join(" "), node, &[arguments, &[STOP]].concat()).await;
    }

    async fn cycle(&mut self, number: u32) {
        if number == 1 {
            self.expand_twice().await;
        } else {
            self.decided_phase(0, &["apply", "expand"], CREATES).await;
        }
        self.backfill().await;
        self.decided_phase(1, &["apply", "index"], "building 8 indexes of videos").await;
        self.decided_phase(2, &["apply", "automate"], CREATES).await;
        for (node, legacy) in self.nodes.iter().enumerate() {
            self.reelshift(node, &["validate"]).run().ok();
            assert!(oracle::check_every_live_row(legacy).await >= VIDEOS);
        }
        let tables = ["videos", "video_processing_status", "annotations", "ground_truth_objects"];
        self.cluster.check_equal("platform", &tables).await;
        let drops = "drops a trigger of videos, which references projects";
        self.decided_phase(0, &["rollback", "--discard", "--yes"], drops).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "three servers at once: docs/testing.md says how to run it"]
async fn every_phase_and_back_beside_an_application_on_every_node() {
    let Some(cluster) = Cluster::start().await else { return };
    let directory = tempfile::tempdir().expect("a directory");
    cluster.create_probe().await;
    let root = Legacy::existing(&cluster.url(0)).await;
    root.execute("CREATE DATABASE platform CHARACTER SET utf8mb4").await;
    let mut nodes = Vec::new();
    for node in 0..NODES {
        nodes.push(Legacy::existing(&format!("{}/platform", cluster.url(node))).await);
    }
    orm::fill(&nodes[0], Dates::DateTime, VIDEOS).await;
    cluster.check_equal("platform", &["videos", "annotations"]).await;
    let before = orm::definitions(&nodes[0]).await;
    let touched = orm::touched(&nodes[0]).await;
    let still = orm::digest(&nodes[0]).await;
    let mut scene = Scene {
        directory: directory.path(),
        cluster: &cluster,
        nodes: &nodes,
        touched: &touched,
        seed: 0,
    };
    let control = std::time::Duration::from_secs(CONTROL_SECONDS);
    scene.beside_the_application("control", async |_| tokio::time::sleep(control).await).await;
    let plan = scene.reelshift(0, &["plan", "--json"]).run().expect(0).json();
    let findings = plan["findings"].as_array().expect("findings");
    let of = |check: &str| findings.iter().find(|finding| finding["check"] == check);
    let cluster_finding = of("cluster").expect("a check of the cluster");
    assert_eq!(cluster_finding["verdict"], "warning", "{cluster_finding}");
    assert!(
        cluster_finding["says"].to_string().contains("3 nodes (2 appliers"),
        "{cluster_finding}"
    );
    scene.plan_twice();
    for cycle in 1..=cycles() {
        println!("cycle {cycle}");
        scene.cycle(cycle).await;
        for node in &nodes {
            assert_eq!(orm::definitions(node).await, before, "every table is as it was");
            assert_eq!(orm::digest(node).await, still, "rows left alone are as they were");
        }
    }
}
