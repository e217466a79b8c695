//! Many subscribers of one replica, each of a video of its own: what each takes of memory,
//! and how long after a change of its video it knows.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde::Serialize;
use sqlx::MySqlPool;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::ServeArgs;
use super::subscriber::{Got, subscribe};

/// Between two changes: a busy platform.
const PAUSE: Duration = Duration::from_millis(10);
/// After this nothing is late any more, but lost.
const LOST: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize)]
struct Figures {
    server: String,
    subscribers: usize,
    kib_each: f64,
    changes: usize,
    changes_per_second: f64,
    delivered: usize,
    wrong_room: usize,
    p50_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
    /// From the INSERT of a broadcast to the last of all subscribers.
    broadcast_to_all_ms: f64,
}

pub async fn run(database: &str, pool: &MySqlPool, args: &ServeArgs) -> Result<()> {
    let ids = super::platform(database, pool, u32::try_from(args.subscribers)?).await?;
    let (server, port) = super::replica(database).await?;
    // What the first requests make once.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = server.resident();
    eprintln!("{} subscribers", args.subscribers);
    let (sender, mut got) = mpsc::unbounded_channel();
    let mut reading = JoinSet::new();
    for (subscriber, id) in ids.iter().enumerate() {
        reading.spawn(subscribe(port, subscriber, format!("video_{id}"), sender.clone()));
        if subscriber % 100 == 99 {
            // No more connections at once than a listener lets wait.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for _ in &ids {
        match tokio::time::timeout(LOST, got.recv()).await?.context("subscribers read")? {
            Got::Connected => {}
            other => bail!("{other:?} before anything was changed"),
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let memory = server.resident().saturating_sub(before);

    eprintln!("{} changes", args.changes);
    let changes = change(pool, &ids, args.changes);
    let collecting = collect(&mut got, &ids, args.changes);
    let (changed, received) = tokio::join!(changes, collecting);
    let ((changed, took), received) = (changed?, received?);
    let mut times = Histogram::<u64>::new(3)?;
    for (key, at) in &received.at {
        let began = changed.get(key).context("a notification of a change that was not made")?;
        times.record(u64::try_from(at.duration_since(*began).as_micros())?)?;
    }
    let broadcast = broadcast(pool, &mut got, ids.len()).await?;
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    let figures = Figures {
        server: sqlx::query_scalar("SELECT VERSION()").fetch_one(pool).await?,
        subscribers: ids.len(),
        kib_each: memory as f64 / 1_024.0 / ids.len() as f64,
        changes: changed.len(),
        changes_per_second: changed.len() as f64 / took.as_secs_f64(),
        delivered: received.at.len(),
        wrong_room: received.wrong,
        p50_ms: times.value_at_quantile(0.5) as f64 / 1_000.0,
        p99_ms: times.value_at_quantile(0.99) as f64 / 1_000.0,
        longest_ms: times.max() as f64 / 1_000.0,
        broadcast_to_all_ms: broadcast.as_secs_f64() * 1_000.0,
    };
    println!("{}", serde_json::to_string_pretty(&figures)?);
    if received.wrong > 0 || received.at.len() != changed.len() {
        bail!("something was lost, or delivered to the wrong room");
    }
    Ok(())
}

/// A change is known by its video and the progress that it brings.
type Key = (String, String);

/// Changes the progress of videos; when each statement was begun.
async fn change(
    pool: &MySqlPool,
    ids: &[String],
    changes: usize,
) -> Result<(HashMap<Key, Instant>, Duration)> {
    let mut rng = StdRng::seed_from_u64(7);
    let mut made = HashMap::new();
    let began = Instant::now();
    for number in 0..changes {
        let id = ids.choose(&mut rng).context("there are no videos")?;
        let stage = format!("stage {number}");
        made.insert((id.clone(), stage.clone()), Instant::now());
        sqlx::query("UPDATE video_processing_status SET current_stage = ? WHERE video_id = ?")
            .bind(&stage)
            .bind(id)
            .execute(pool)
            .await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok((made, began.elapsed()))
}

#[derive(Debug, Default)]
struct Collected {
    at: HashMap<Key, Instant>,
    wrong: usize,
}

async fn collect(
    got: &mut mpsc::UnboundedReceiver<Got>,
    ids: &[String],
    changes: usize,
) -> Result<Collected> {
    let mut collected = Collected::default();
    while collected.at.len() + collected.wrong < changes {
        let Ok(next) = tokio::time::timeout(LOST, got.recv()).await else { break };
        let Some(Got::Event { subscriber, notification, at }) = next else { continue };
        let text = |name: &str| notification.event_data[name].as_str().unwrap_or("").to_owned();
        let key = (text("video_id"), text("stage"));
        if ids[subscriber] == key.0 {
            collected.at.insert(key, at);
        } else {
            collected.wrong += 1;
        }
    }
    Ok(collected)
}

async fn broadcast(
    pool: &MySqlPool,
    got: &mut mpsc::UnboundedReceiver<Got>,
    subscribers: usize,
) -> Result<Duration> {
    let began = Instant::now();
    sqlx::query(
        "INSERT INTO realtime_notification_queue (id, event_type, broadcast_to_all, event_data) \
         VALUES ('broadcast', 'maintenance', TRUE, '{}')",
    )
    .execute(pool)
    .await?;
    let mut told = 0;
    while told < subscribers {
        match tokio::time::timeout(LOST, got.recv()).await? {
            Some(Got::Event { notification, .. }) if notification.id == "broadcast" => told += 1,
            _ => {}
        }
    }
    Ok(began.elapsed())
}
