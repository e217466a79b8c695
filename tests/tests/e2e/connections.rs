//! The server's connections: the application always finds one, however many workers there are.

use std::path::PathBuf;

use reelshift_tests::chaos::server::Server;
use reelshift_tests::{LIMIT, Legacy, Reelshift, until, wait};
use sqlx::{Connection as _, MySqlConnection, Row as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the server accepts. The workers' own connections would be half as many again.
const MAX_CONNECTIONS: usize = 60;
const WORKERS: usize = 14;
/// The application's, all at once.
const CLIENTS: usize = 8;

/// Connects with [`CLIENTS`] connections at once, again and again.
struct Application {
    stop: CancellationToken,
    clients: JoinSet<(usize, Vec<String>)>,
}

impl Application {
    fn start(url: &str) -> Self {
        let (stop, mut clients) = (CancellationToken::new(), JoinSet::new());
        for _ in 0..CLIENTS {
            clients.spawn(client(url.to_owned(), stop.clone()));
        }
        Self { stop, clients }
    }

    /// How often it connected, and why it could not.
    async fn end(self) -> (usize, Vec<String>) {
        self.stop.cancel();
        let ended = self.clients.join_all().await;
        let tried = ended.iter().map(|(tried, _)| tried).sum();
        (tried, ended.into_iter().flat_map(|(_, refused)| refused).collect())
    }
}

async fn client(url: String, stop: CancellationToken) -> (usize, Vec<String>) {
    let (mut tried, mut refused) = (0, Vec::new());
    while !stop.is_cancelled() {
        tried += 1;
        if let Err(error) = connect(&url).await {
            refused.push(error.to_string());
        }
    }
    (tried, refused)
}

async fn connect(url: &str) -> Result<(), sqlx::Error> {
    let mut connection = MySqlConnection::connect(url).await?;
    sqlx::query("SELECT SLEEP(0.05)").execute(&mut connection).await?;
    connection.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_leave_the_application_its_connections() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = vec![format!("--max-connections={MAX_CONNECTIONS}")];
    let data = PathBuf::from(std::env::var("REELSHIFT_TEST_SERVER_DATA").expect("a server"));
    let server = Server::start_with(&data, options).await;
    let legacy = Legacy::on(server.url()).await;
    legacy.fill(1_200).await;
    let media = legacy.share_one_file(dir.path()).await;
    let reelshift = |arguments: &[&str]| {
        Reelshift::new(dir.path(), arguments).database(&legacy.url).media(&media)
    };
    reelshift(&["apply", "expand"]).run().ok();
    reelshift(&["enqueue", "hash", "--batch-files", "4"]).run().ok();
    reelshift(&["enqueue", "backfill", "--batch-size", "100"]).run().ok();

    let application = Application::start(&legacy.url);
    let log = |worker: usize| dir.path().join(format!("worker-{worker}.log"));
    let mut workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let arguments = ["work", "--until-idle", "--concurrency", "2"];
            reelshift(&arguments).start_logging(&log(worker))
        })
        .collect();
    for worker in &mut workers {
        assert_eq!(wait(worker, LIMIT), Some(0));
    }
    let (tried, refused) = application.end().await;
    let most = &legacy.rows("SHOW GLOBAL STATUS LIKE 'Max_used_connections'").await[0];
    println!("{tried} connects, {} connections at most", most.get::<String, _>(1));
    assert_eq!(refused, [""; 0], "of {tried} connects");
    let logs: Vec<_> = (0..WORKERS).map(|worker| std::fs::read_to_string(log(worker))).collect();
    let waits = "waits for connections";
    let waited = logs.into_iter().filter(|log| log.as_ref().is_ok_and(|log| log.contains(waits)));
    assert_ne!(waited.count(), 0, "some workers wait until others have left");
    let hashed =
        "SELECT COUNT(*) FROM videos WHERE file_hash IS NOT NULL AND workflow_state IS NOT NULL";
    until("all rows", async || legacy.number(hashed).await == 1_200).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_ends_when_it_is_told_to_or_when_nothing_is_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    let reelshift =
        |arguments: &[&str]| Reelshift::new(dir.path(), arguments).database(&legacy.url);
    reelshift(&["apply", "expand"]).run().ok();
    reelshift(&["tune", "connections=1"]).run().ok();
    let mut first = reelshift(&["work"]).start_logging(&dir.path().join("first.log"));
    let live = "SELECT COUNT(*) FROM reelshift_workers WHERE state = 'live'";
    until("the first one works whatever the share", async || legacy.number(live).await == 1).await;
    reelshift(&["work", "--until-idle"]).run().ok();

    let log = dir.path().join("second.log");
    let mut second = reelshift(&["work"]).start_logging(&log);
    let logged = async || std::fs::read_to_string(&log).unwrap_or_default();
    until("the second one waits", async || logged().await.contains("waits for connections")).await;
    assert_eq!(legacy.number(live).await, 1);
    for worker in [&mut second, &mut first] {
        let pid = rustix::process::Pid::from_child(worker);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        assert_eq!(wait(worker, LIMIT), Some(0));
    }
    legacy.drop_database().await;
}
