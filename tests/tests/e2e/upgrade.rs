//! A rolling upgrade: workers of the release before and of this one on one ledger, each killed
//! once. The binary of the release before is given by `cargo xtask test --before FILE`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reelshift_tests::{Legacy, Ran, Reelshift, oracle, until, wait};

const BEFORE: &str = "REELSHIFT_TEST_BEFORE";
const LIMIT: Duration = Duration::from_mins(2);
const VIDEOS: u32 = 3_000;

/// The two versions, on one platform.
struct Upgrade<'a> {
    directory: &'a Path,
    before: PathBuf,
    legacy: &'a Legacy,
    media: PathBuf,
    /// Whether the ledger is what both know: the version of before may start anew.
    is_same_ledger: bool,
}

impl Upgrade<'_> {
    fn before(&self, arguments: &[&str]) -> Reelshift {
        let binary = Reelshift::of(&self.before, self.directory, arguments);
        binary.database(&self.legacy.url).media(&self.media)
    }

    fn after(&self, arguments: &[&str]) -> Reelshift {
        let binary = Reelshift::new(self.directory, arguments);
        binary.database(&self.legacy.url).media(&self.media)
    }

    /// A run of `kind`, enqueued by `producer`, on workers of both versions.
    async fn run(&self, kind: &[&str], producer: impl Fn(&[&str]) -> Reelshift) {
        producer(&[&["enqueue"], kind].concat()).run().ok();
        let work = ["work", "--lease-timeout", "3s"];
        let start = |version| match version {
            0 if self.is_same_ledger => self.before(&work).start(),
            _ => self.after(&work).start(),
        };
        let mut workers = [start(0), start(1)];
        let done = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'done'";
        for (version, worker) in workers.iter_mut().enumerate() {
            let some = self.legacy.number(done).await;
            // The run may be over by then.
            until("progress", async || {
                self.legacy.number(done).await > some || self.open_runs().await == 0
            })
            .await;
            worker.kill().expect("it is killed");
            worker.wait().expect("it is gone");
            *worker = start(version);
        }
        until("the run ends", async || self.open_runs().await == 0).await;
        for mut worker in workers {
            let pid = worker.id().to_string();
            assert!(std::process::Command::new("kill").arg(pid).status().expect("kill").success());
            assert_eq!(wait(&mut worker, LIMIT), Some(0));
        }
    }

    async fn open_runs(&self) -> i64 {
        let open = "SELECT COUNT(*) FROM reelshift_runs \
                    WHERE state NOT IN ('done', 'failed', 'cancelled')";
        self.legacy.number(open).await
    }
}

fn ok(binary: Reelshift) -> Ran {
    binary.run().expect(0)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary of the release before: cargo xtask test --before FILE"]
async fn workers_of_two_versions_share_a_ledger() {
    let before = std::env::var_os(BEFORE).expect("a binary, by `cargo xtask test --before FILE`");
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        legacy.fill(VIDEOS).await;
        let own =
            dir.path().join(if legacy.url.starts_with("sqlite") { "sqlite" } else { "server" });
        std::fs::create_dir(&own).expect("a directory");
        let media = legacy.share_one_file(&own).await;
        legacy.execute("UPDATE videos SET file_size = 4").await;
        legacy.execute("UPDATE videos SET project_id = 'a' WHERE id < '8'").await;
        let directory = own.as_path();
        let before = before.clone().into();
        let mut upgrade =
            Upgrade { directory, before, legacy: &legacy, media, is_same_ledger: true };

        ok(upgrade.before(&["apply", "expand"]));
        let mut old = upgrade.before(&["work"]).start();
        until("the worker of before", async || {
            legacy.number("SELECT COUNT(*) FROM reelshift_workers WHERE state = 'live'").await == 1
        })
        .await;
        // What came since, while it goes on.
        ok(upgrade.after(&["apply", "expand"]));
        ok(upgrade.after(&["enqueue", "backfill", "--where", "project=a"]));
        until("it works on what the new version enqueued", async || upgrade.open_runs().await == 0)
            .await;
        old.kill().expect("it is killed");
        old.wait().expect("it is gone");

        let started = upgrade.before(&["status"]).run();
        upgrade.is_same_ledger = started.code == Some(0);
        assert!(
            upgrade.is_same_ledger || started.stderr.contains("a newer one has been here"),
            "{started:?}"
        );
        upgrade.run(&["backfill", "--batch-size", "50"], |words| upgrade.after(words)).await;
        upgrade.run(&["hash", "--batch-files", "50"], |words| upgrade.after(words)).await;

        for command in ["status", "validate", "inspect"] {
            ok(upgrade.after(&[command]));
            if upgrade.is_same_ledger {
                ok(upgrade.before(&[command]));
            }
        }
        assert_eq!(oracle::check_every_row(&legacy).await, VIDEOS as usize);
        let unhashed = "SELECT COUNT(*) FROM videos WHERE file_hash IS NULL";
        assert_eq!(legacy.number(unhashed).await, 0);

        // Flags and settings of one are the other's.
        if upgrade.is_same_ledger {
            ok(upgrade.before(&["flags", "rollout", "enhanced_video_processing", "25"]));
            let shown = ok(upgrade.after(&["flags", "list"])).stdout;
            assert!(shown.contains("25"), "{shown}");
        }
        ok(upgrade.after(&["flags", "disable", "enhanced_video_processing"]));
        ok(upgrade.after(&["rollback", "--discard", "--purge", "--yes"]));
        legacy.drop_database().await;
    }
}
