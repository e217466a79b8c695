//! The platform itself, SQLAlchemy's tables and transactions, through every phase and back:
//! none of its transactions fails, and every table is in the end as it was.

use std::path::Path;
use std::process::Child;

use reelshift_tests::orm::definitions;
use reelshift_tests::orm::script::{Application, Orm, Phase};
use reelshift_tests::{LIMIT, Legacy, Reelshift, wait};

/// Enough for each phase to meet transactions; `REELSHIFT_TEST_ORM_VIDEOS` for more.
const VIDEOS: u32 = 3_000;
const THREADS: u32 = 3;
/// Workers of the backfill.
const WORKERS: usize = 2;
/// Transactions that a build of all indexes may end on MySQL, which cannot ask for the lock
/// at its end without waiting.
const VICTIMS_OF_AN_INDEX: usize = 2;

fn videos() -> u32 {
    let more = std::env::var("REELSHIFT_TEST_ORM_VIDEOS").ok();
    more.map_or(VIDEOS, |count| count.parse().expect("REELSHIFT_TEST_ORM_VIDEOS is a number"))
}

/// A thread of the application finds that another has deleted its video, between two of its
/// transactions or two of its statements.
const DELETED_BY_ANOTHER: [&str; 2] = ["ObjectDeletedError", "StaleDataError"];
/// How often that may happen with three threads and thousands of videos.
const DELETED_AT_MOST: usize = 3;

struct Platform<'a> {
    directory: &'a Path,
    legacy: &'a Legacy,
    application: Application,
}

impl Platform<'_> {
    /// Begins a phase for the application, and runs it.
    fn phase(&mut self, name: &str, arguments: &[&str]) {
        self.application.begin(name);
        self.run(arguments);
    }

    fn run(&self, arguments: &[&str]) {
        Reelshift::new(self.directory, arguments).database(&self.legacy.url).run().ok();
    }

    /// Fills in the rows that want it, and waits until the workers are through.
    fn backfill(&mut self, name: &str) {
        self.phase(name, &["enqueue", "backfill", "--batch-size", "200"]);
        let work = || Reelshift::new(self.directory, &["work", "--until-idle"]);
        let mut workers: Vec<Child> =
            (0..WORKERS).map(|_| work().database(&self.legacy.url).start()).collect();
        for worker in &mut workers {
            assert_eq!(wait(worker, LIMIT), Some(0));
        }
    }
}

/// Every phase, the rollback and the way forth again beside the application.
async fn there_and_back(directory: &Path, legacy: &Legacy) -> Option<Vec<Phase>> {
    let orm = Orm::of(&legacy.url)?;
    orm.fill(videos());
    let before = definitions(legacy).await;
    let mut platform = Platform { directory, legacy, application: orm.start(THREADS) };
    platform.phase("plan", &["plan"]);
    platform.phase("expand", &["apply", "expand"]);
    platform.backfill("backfill");
    platform.phase("rollout", &["flags", "rollout", "enhanced_video_processing", "50"]);
    platform.phase("index", &["apply", "index"]);
    platform.phase("automate", &["apply", "automate"]);
    platform.phase("validate", &["validate"]);
    platform.phase("rollback", &["rollback", "--archive", "archive"]);
    assert_eq!(definitions(legacy).await, before, "every table is as it was");
    platform.phase("expand again", &["apply", "expand"]);
    platform.phase("restore", &["restore", "archive"]);
    platform.phase("validate again", &["validate"]);
    Some(platform.application.end())
}

/// No transaction failed, but `index` in that phase, `gates` in another, and those that fail
/// for each other.
fn check(phases: &[Phase], index: usize, gates: u64, fails_by_itself: impl Fn(&str) -> bool) {
    for Phase { name, transactions, failures } in phases {
        println!("{name}: {transactions} transactions, {} failed", failures.len());
    }
    let deleted = |text: &str| DELETED_BY_ANOTHER.iter().any(|error| text.starts_with(error));
    let races: Vec<_> =
        phases.iter().flat_map(|phase| &phase.failures).filter(|text| deleted(text)).collect();
    assert!(races.len() <= DELETED_AT_MOST, "{races:#?}");
    let fails_by_itself = |text: &str| deleted(text) || fails_by_itself(text);
    let mut by_gates = 0;
    for Phase { name, failures, .. } in phases {
        let failures: Vec<_> = failures.iter().filter(|text| !fails_by_itself(text)).collect();
        if name == "index" {
            assert!(failures.len() <= index, "{name}: {failures:#?}");
        } else {
            by_gates += failures.len() as u64;
            assert!(by_gates <= gates, "{name}: {failures:#?}");
        }
        let victims = failures.iter().all(|failure| failure.contains("(1213,"));
        assert!(victims, "{name}: {failures:#?}");
    }
    assert!(phases.iter().any(|phase| phase.transactions > 0), "the application worked");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_phase_and_back_on_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::empty_sqlite(directory.path()).await;
    let Some(phases) = there_and_back(directory.path(), &legacy).await else { return };
    check(&phases, 0, 0, |_| false);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_phase_and_back_on_mariadb() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::empty_mariadb().await;
    let version: String = sqlx::Row::get(&legacy.rows("SELECT VERSION()").await[0], 0);
    let Some(phases) = there_and_back(directory.path(), &legacy).await else { return };
    // With innodb_snapshot_isolation, on in MariaDB 11.8, two transactions of this application
    // that change the same video fail each other, with nobody else there.
    let isolated = "SHOW VARIABLES LIKE 'innodb_snapshot_isolation'";
    let isolated = legacy
        .rows(isolated)
        .await
        .first()
        .is_some_and(|row| sqlx::Row::get::<String, _>(row, 1) == "ON");
    let index = if version.contains("MariaDB") { 0 } else { VICTIMS_OF_AN_INDEX };
    let gates = legacy.victims_of_gates().await;
    check(&phases, index, gates, |text| isolated && text.contains("(1020,"));
    legacy.drop_database().await;
}
