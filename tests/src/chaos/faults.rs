//! What happens to the fleet.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, Row};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::chaos::Scene;
use crate::chaos::worker::Worker;
use crate::orm::application::{is_deadlock, is_outage};
use crate::{orm, until};

/// `kill -9` of a worker; another takes its place.
pub async fn kill_worker(scene: &mut Scene, rng: &mut StdRng) {
    let victim = rng.random_range(0..scene.workers.len());
    scene.workers.remove(victim).kill();
    scene.start_worker().await;
}

/// `kill -9` of a random worker that holds a lease; another takes its place.
pub async fn kill_at_work(scene: &mut Scene, rng: &mut StdRng) {
    let any = shuffled(scene, rng);
    let victim = stop_at_work(scene, &any, Worker::freeze, Worker::thaw).await;
    scene.workers.remove(victim).kill();
    scene.start_worker().await;
}

/// Stops the first of the workers `any` that certainly holds a lease; its index.
async fn stop_at_work(
    scene: &Scene,
    any: &[usize],
    stop: impl Fn(&Worker),
    go_on: impl Fn(&Worker),
) -> usize {
    let mut stopped = None;
    until("a stopped worker that holds a lease", async || {
        scene.feed().await;
        for &index in any {
            if scene.leases_of(index).await == 0 {
                continue;
            }
            stop(&scene.workers[index]);
            if scene.leases_of(index).await > 0 {
                stopped = Some(index);
                return true;
            }
            go_on(&scene.workers[index]);
        }
        false
    })
    .await;
    stopped.expect("a worker that was stopped")
}

/// Stops one of the workers `any` at work and leaves it so when the fleet has taken its
/// leases; its index. Again, where the server was just about to end them.
pub async fn lose_at_work(
    scene: &Scene,
    any: &[usize],
    stop: impl Fn(&Worker),
    go_on: impl Fn(&Worker),
) -> usize {
    let mut lost = None;
    until("a worker that lost a lease", async || {
        let index = stop_at_work(scene, any, &stop, &go_on).await;
        let before = scene.leases_lost_by(index).await;
        let pid = scene.workers[index].pid();
        until("a lost worker without a lease", async || {
            scene.worker_state(pid).await == "lost" && scene.leases_of(index).await == 0
        })
        .await;
        if scene.leases_lost_by(index).await > before {
            lost = Some(index);
        } else {
            go_on(&scene.workers[index]);
        }
        lost.is_some()
    })
    .await;
    lost.expect("a worker that lost a lease")
}

/// A worker stands still until the fleet has given it up, then goes on where it was.
pub async fn freeze_worker(scene: &Scene, rng: &mut StdRng) {
    let index = rng.random_range(0..scene.workers.len());
    let pid = scene.workers[index].pid();
    scene.workers[index].freeze();
    until("a lost worker", async || scene.worker_state(pid).await == "lost").await;
    scene.workers[index].thaw();
}

/// The fleet gives a worker up that is alive and at work, as where its heartbeats alone do
/// not come through: it goes on under leases that are others' by now.
pub async fn give_up(scene: &Scene, rng: &mut StdRng) {
    let mut before = Vec::new();
    for index in shuffled(scene, rng) {
        before.push((index, scene.leases_lost_by(index).await));
    }
    until("a worker that is given up at work", async || {
        scene.feed().await;
        for &(index, before) in &before {
            if scene.leases_of(index).await == 0 {
                continue;
            }
            let pid = scene.workers[index].pid();
            let silent = format!(
                "UPDATE reelshift_workers SET last_seen_at = NOW(6) - INTERVAL 1 HOUR
                 WHERE pid = {pid} AND state = 'live'"
            );
            // Again and again: its heartbeats do come through. Not without a pause: reaping
            // passes by a worker whose row is locked.
            scene.legacy.execute(&silent).await;
            sleep(Duration::from_millis(50)).await;
            return scene.leases_lost_by(index).await > before;
        }
        false
    })
    .await;
}

/// The indexes of all workers in random order. A fault takes the first of them that is at
/// work: the batches may be out before a certain one is.
fn shuffled(scene: &Scene, rng: &mut StdRng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..scene.workers.len()).collect();
    all.shuffle(rng);
    all
}

/// Why connections of this server must not be killed; `None` where they may be.
///
/// A session of `MariaDB` that is killed while it opens a table with triggers leaves one half
/// read in the server's cache, and every later write fails with 1064: on 10.11 in one of some
/// hundred scenes, which [`Scene::mend_triggers`] goes on from, on 11.8 in each.
pub async fn kill_breaks_triggers(scene: &Scene) -> Option<&'static str> {
    let version: String = scene.legacy.rows("SELECT CAST(VERSION() AS CHAR)").await[0].get(0);
    (version.contains("MariaDB") && !version.starts_with("10."))
        .then_some("a KILL leaves triggers half read in this server's cache")
}

/// Kills every connection of the fleet and the application, again and again for `span`, and
/// until it were `least`.
pub async fn kill_connections(scene: &mut Scene, span: Duration, least: u64) {
    let began = Instant::now();
    let mut killed = 0;
    let prefix = scene.account_prefix();
    let list = format!(
        "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE LEFT(user, {}) = '{prefix}'",
        prefix.len()
    );
    while began.elapsed() < span || killed < least {
        scene.feed().await;
        for row in scene.legacy.rows(&list).await {
            let kill = format!("KILL {}", row.get::<i64, _>(0));
            // It may have ended by itself meanwhile (error 1094).
            let done = sqlx::raw_sql(AssertSqlSafe(kill)).execute(&scene.legacy.pool).await;
            killed += u64::from(done.is_ok());
        }
        sleep(Duration::from_millis(100)).await;
    }
    scene.mend_triggers().await;
}

/// `kill -9` of the server, which stays away for `away`.
pub async fn kill_server(scene: &mut Scene, away: Duration) {
    scene.server().kill();
    sleep(away).await;
    scene.server().start_again().await;
}

/// An orderly restart of the server.
pub async fn restart_server(scene: &mut Scene) {
    tokio::task::block_in_place(|| scene.server().stop());
    scene.server().start_again().await;
}

/// Deadlocks, provoked by somebody who locks status rows before their videos, as neither
/// the fleet nor the bridge does.
#[derive(Debug)]
pub struct Deadlocks {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Deadlocks {
    /// Begins to provoke them among the videos that the application touches.
    pub async fn provoke(scene: &mut Scene, seed: u64) -> Self {
        scene.deadlocks = true;
        let (url, ids) = (scene.account("provoker", "%").await, orm::touched(&scene.legacy).await);
        let stop = CancellationToken::new();
        let task = tokio::spawn(provoke(url, ids, StdRng::seed_from_u64(seed), stop.clone()));
        Self { stop, task }
    }

    /// # Panics
    /// When the provoker failed for another reason than the faults.
    pub async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("the provoker ends");
    }
}

async fn provoke(url: String, ids: Vec<String>, mut rng: StdRng, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let Ok(mut connection) = MySqlConnection::connect(&url).await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        while !stop.is_cancelled() {
            let some: Vec<&str> = ids.sample(&mut rng, 20).map(String::as_str).collect();
            match backwards(&mut connection, &some.join("','")).await {
                Ok(()) => {}
                Err(error) if is_outage(&error) => break,
                Err(error) => assert!(is_deadlock(&error), "{error}"),
            }
        }
    }
}

async fn backwards(connection: &mut MySqlConnection, ids: &str) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    for sql in [
        format!(
            "UPDATE video_processing_status SET processed_frames = processed_frames + 1
             WHERE video_id IN ('{ids}')"
        ),
        "DO SLEEP(0.02)".to_owned(),
        format!("UPDATE videos SET duration = COALESCE(duration, 0) + 1 WHERE id IN ('{ids}')"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// How many deadlocks the server has seen.
pub async fn deadlocks(scene: &Scene) -> i64 {
    let status = scene.legacy.rows("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").await;
    match status.first() {
        Some(row) => row.get::<String, _>(1).parse().expect("a number"),
        // MySQL counts them elsewhere.
        None => {
            let sql = "SELECT CAST(`count` AS SIGNED) FROM information_schema.innodb_metrics
                       WHERE name = 'lock_deadlocks'";
            scene.legacy.number(sql).await
        }
    }
}
