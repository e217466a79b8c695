//! A legacy database that is expanded and slow, an application that writes to it, and
//! workers that come and go.

use std::path::Path;
use std::time::Duration;

use sqlx::Row;
use tempfile::TempDir;
use tokio::task::block_in_place;
use uuid::Uuid;

use crate::chaos::chunks::{self, Summary};
use crate::chaos::proof;
use crate::chaos::server::Server;
use crate::chaos::worker::Worker;
use crate::orm::application::{Application, Report};
use crate::orm::{self, Dates};
use crate::{Legacy, Reelshift, backlog, until, until_within};

/// What a worker's write of one video takes until [`Scene::finish`]: a chunk of the smallest
/// size lasts half a second, so that faults meet batches under way on a slow machine too.
const DELAY: Duration = Duration::from_millis(10);

/// Shorter than the default, so that the suite is; [`Scene::with_lease`] is for where the
/// machine's own pauses must not look like a silent worker.
const LEASE: &str = "3s";

/// A run with its sweeps, whatever happens to it. nextest ends a test after five minutes.
const FINISHES: Duration = Duration::from_mins(3);

/// Due at a time while the others are kept back: as many as three workers hold.
const DUE: usize = 6;

/// Threads of the application.
const THREADS: u64 = 2;

/// The server that a scene is set on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The one that all tests share.
    Shared,
    /// One of its own, to be stopped and killed.
    Own,
}

/// Everything that a test of faults has. Its processes are killed when it goes.
#[derive(Debug)]
pub struct Scene {
    pub workers: Vec<Worker>,
    pub legacy: Legacy,
    application: Option<Application>,
    server: Option<Server>,
    /// Arguments of every worker that is started from now on.
    lease: &'static str,
    max_attempts: &'static str,
    url: String,
    accounts: String,
    started: u32,
    still: String,
    /// Somebody provokes deadlocks, whose victim may be the application.
    pub(crate) deadlocks: bool,
    directory: TempDir,
}

/// What came of it all, when everything has been proved that must hold every time.
#[derive(Debug)]
pub struct Outcome {
    pub chunks: Summary,
    pub application: Report,
    pub still: Scene,
}

impl Scene {
    /// A database of `videos` videos after `apply expand`. The application touches every
    /// other of them from now on; the legacy columns of the rest must stay as they are.
    pub async fn set(place: Place, videos: usize, seed: u64) -> Self {
        let server = match place {
            Place::Own => Some(Server::start().await),
            Place::Shared => None,
        };
        let url = server.as_ref().map_or_else(shared_server, Server::url);
        let legacy = Legacy::empty_on(url).await;
        // Both kinds of dates, each in half of the scenes.
        let dates = if seed.is_multiple_of(2) { Dates::DateTime } else { Dates::Timestamp };
        orm::fill(&legacy, dates, videos).await;
        let scene = Self {
            workers: Vec::new(),
            application: None,
            server,
            lease: LEASE,
            max_attempts: "20",
            accounts: format!("c{}_", &Uuid::new_v4().simple().to_string()[..10]),
            started: 0,
            deadlocks: false,
            still: orm::digest(&legacy).await,
            directory: tempfile::tempdir().expect("a directory"),
            url: legacy.url.clone(),
            legacy,
        };
        scene.run(&["apply", "expand"]);
        // Faults are to meet many workers at work, on a machine that is busy with tests.
        scene.run(&["tune", "throttle=off"]);
        chunks::install(&scene.legacy, &format!("{}w", scene.accounts), DELAY).await;
        scene.begin_application(seed).await
    }

    async fn begin_application(mut self, seed: u64) -> Self {
        let ids = orm::touched(&self.legacy).await;
        let url = self.account("application", "%").await;
        self.application = Some(Application::start(&url, ids, THREADS, seed, true));
        self
    }

    /// Workers started from now on have this lease timeout.
    #[must_use]
    pub const fn with_lease(mut self, lease: &'static str) -> Self {
        self.lease = lease;
        self
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its own server.
    pub fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("the scene has a server of its own")
    }

    /// Begins the names of its workers' accounts.
    #[must_use]
    pub fn account_prefix(&self) -> &str {
        &self.accounts
    }

    /// An account on the database, and the URL with it.
    pub async fn account(&self, name: &str, host: &str) -> String {
        let (_, database) = self.url.rsplit_once('/').expect("the URL names a database");
        let user = format!("{}{name}", self.accounts);
        // `localhost` too: an anonymous user of it would come before the other.
        for host in [host, "localhost"] {
            let account = format!("'{user}'@'{host}'");
            self.legacy.execute(&format!("CREATE USER IF NOT EXISTS {account}")).await;
            self.legacy.execute(&format!("GRANT ALL ON {database}.* TO {account}")).await;
        }
        self.url.replace("//root@", &format!("//{user}@"))
    }

    /// Starts a worker; its index in [`workers`](Self::workers).
    pub async fn start_worker(&mut self) -> usize {
        self.start_worker_with("%", |url, reelshift| reelshift.database(url)).await
    }

    /// Starts a worker that connects from `host`, as `dress` says: it is given the URL.
    pub async fn start_worker_with(
        &mut self,
        host: &str,
        dress: impl FnOnce(&str, Reelshift) -> Reelshift,
    ) -> usize {
        self.started += 1;
        let name = format!("w{}", self.started);
        let url = self.account(&name, host).await;
        let arguments = ["work", "--concurrency", "2", "--lease-timeout", self.lease];
        let reelshift = Reelshift::new(self.directory(), &arguments);
        let reelshift = dress(&url, reelshift).media(&self.media()).env("REELSHIFT_LOG", "info");
        let log = self.directory().join(format!("{name}.log"));
        let mut worker = Worker::start(reelshift, log);
        // A worker that cannot reach its database when it starts ends, as a supervisor wants.
        let pid = worker.pid();
        until("a worker in the fleet", async || {
            worker.still_runs();
            !self.worker_state(pid).await.is_empty()
        })
        .await;
        self.workers.push(worker);
        self.workers.len() - 1
    }

    /// Where the media files are.
    #[must_use]
    pub fn media(&self) -> std::path::PathBuf {
        let media = self.directory().join("media");
        std::fs::create_dir_all(&media).expect("a directory");
        // An empty media root looks like one that is not mounted, and is refused.
        std::fs::write(media.join("mounted"), "").expect("a file");
        media
    }

    /// Runs a command as root to its good end.
    pub fn run(&self, arguments: &[&str]) {
        self.command(arguments, 0);
    }

    /// Runs a command as root; it must end with `code`.
    pub fn command(&self, arguments: &[&str], code: i32) -> crate::Ran {
        let reelshift = Reelshift::new(self.directory(), arguments).database(&self.url);
        let reelshift = reelshift.media(&self.media());
        block_in_place(|| reelshift.run()).expect(code)
    }

    /// Starts a producer and does not wait for it.
    #[must_use]
    pub fn start_producer(&self, arguments: &[&str]) -> Worker {
        let arguments = [&["enqueue"], arguments, &["--max-attempts", self.max_attempts]].concat();
        let reelshift = Reelshift::new(self.directory(), &arguments).database(&self.url);
        Worker::start(reelshift, self.directory().join("producer.log"))
    }

    /// Plans a run to its end.
    pub fn enqueue(&self, arguments: &[&str]) {
        let arguments = [&["enqueue"], arguments, &["--max-attempts", self.max_attempts]].concat();
        self.run(&arguments);
    }

    /// Keeps most batches back until [`finish`](Self::finish), so that no run is over before
    /// the faults; [`feed`](Self::feed) makes some of them due.
    pub async fn keep_back(&self) {
        backlog::keep_back(&self.legacy, DUE).await;
    }

    /// Gives the fleet something to claim, where it has nothing.
    pub async fn feed(&self) {
        backlog::feed(&self.legacy, DUE).await;
    }

    /// How many leases the fleet has taken from worker `index`.
    pub async fn leases_lost_by(&self, index: usize) -> i64 {
        let pid = self.workers[index].pid();
        self.legacy
            .number(&format!(
                "SELECT COUNT(*) FROM reelshift_lost_leases l JOIN reelshift_workers w
                 ON w.id = l.worker_id WHERE w.pid = {pid}"
            ))
            .await
    }

    /// How many batches worker `index` has leased.
    pub async fn leases_of(&self, index: usize) -> i64 {
        let pid = self.workers[index].pid();
        self.legacy
            .number(&format!(
                "SELECT COUNT(*) FROM reelshift_batches b JOIN reelshift_workers w
                 ON w.id = b.leased_by WHERE w.pid = {pid}"
            ))
            .await
    }

    /// The state of the worker with this process id, by the ledger.
    pub async fn worker_state(&self, pid: u32) -> String {
        let rows = self
            .legacy
            .rows(&format!("SELECT state FROM reelshift_workers WHERE pid = {pid}"))
            .await;
        rows.first().map(|row| row.get("state")).unwrap_or_default()
    }

    /// Whether every run has come to its end; one that failed or paused fails the test.
    pub async fn is_done(&self) -> bool {
        let stuck = self
            .legacy
            .rows("SELECT state, reason FROM reelshift_runs WHERE state IN ('failed', 'paused')")
            .await;
        if let Some(run) = stuck.first() {
            let (state, reason): (String, Option<String>) = (run.get(0), run.get(1));
            let errors = self.command(&["errors"], 0).stdout;
            panic!("a run is {state} ({reason:?}):\n{errors}");
        }
        self.legacy.number("SELECT COUNT(*) FROM reelshift_runs WHERE state <> 'done'").await == 0
    }

    /// What a worker asks for that ended since a KILL left a trigger half read in the server's
    /// cache: `FLUSH TABLES`, and another start.
    pub async fn mend_triggers(&mut self) {
        let before = self.workers.len();
        self.workers.retain_mut(|worker| !worker.met_a_broken_trigger());
        let ended = before - self.workers.len();
        if ended > 0 {
            eprintln!("a KILL broke a trigger in the server's cache, and {ended} workers ended");
            // Of its own tables only: other tests use the server, too.
            let tables = "SELECT CAST(GROUP_CONCAT(DISTINCT event_object_table) AS CHAR)
                FROM information_schema.triggers WHERE trigger_schema = DATABASE()";
            let tables: String = self.legacy.rows(tables).await[0].get(0);
            self.legacy.execute(&format!("FLUSH TABLES {tables}")).await;
        }
        for _ in 0..ended {
            self.start_worker().await;
        }
    }

    /// Lets the fleet finish with at least two workers, everybody leave, and proves what
    /// must hold.
    pub async fn finish(mut self) -> Outcome {
        chunks::hurry(&self.legacy).await;
        backlog::release_all(&self.legacy).await;
        while self.workers.len() < 2 {
            self.start_worker().await;
        }
        until_within("the end of every run", FINISHES, async || {
            self.mend_triggers().await;
            self.workers.iter_mut().for_each(Worker::still_runs);
            self.is_done().await
        })
        .await;
        let application = self.application.take().expect("there is an application").stop().await;
        // The dead are found before the last of the living leaves: nobody would otherwise.
        let alive = i64::try_from(self.workers.len()).expect("a few");
        let live = "SELECT COUNT(*) FROM reelshift_workers WHERE state = 'live'";
        until("every dead worker lost", async || self.legacy.number(live).await == alive).await;
        for worker in &mut self.workers {
            block_in_place(|| worker.leave());
        }
        let chunks = proof::check(&self, &application).await;
        Outcome { chunks, application, still: self }
    }

    /// Whether the legacy columns of the videos that the application leaves alone, and the
    /// children that were there at first, are as they were.
    pub async fn is_still(&self) -> bool {
        orm::digest(&self.legacy).await == self.still
    }
}

impl Outcome {
    /// Removes the database and its accounts.
    pub async fn clear(self) {
        let scene = self.still;
        if scene.server.is_none() {
            let accounts = scene
                .legacy
                .rows(&format!(
                    "SELECT CONCAT(QUOTE(user), '@', QUOTE(host)) AS account FROM mysql.user
                     WHERE LEFT(user, {}) = '{}'",
                    scene.accounts.len(),
                    scene.accounts
                ))
                .await;
            for account in accounts {
                scene.legacy.execute(&format!("DROP USER {}", account.get::<String, _>(0))).await;
            }
            drop(scene.workers);
            scene.legacy.drop_database().await;
        }
    }
}

fn shared_server() -> String {
    std::env::var("REELSHIFT_TEST_MYSQL_URL").expect(
        "REELSHIFT_TEST_MYSQL_URL is not set: run `cargo xtask test`, which starts a server",
    )
}
