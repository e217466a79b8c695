//! A long queue, drained by two replicas to a thousand rooms.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sqlx::{MySql, MySqlPool, QueryBuilder};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::ServeArgs;
use super::subscriber::{Got, subscribe};
use crate::process::Process;

const ROOMS: usize = 1_000;
/// Rows in one INSERT.
const ROWS: usize = 1_000;
/// After this nothing is late any more, but lost.
const LOST: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize)]
struct Figures {
    server: String,
    replicas: usize,
    rooms: usize,
    queued: usize,
    seconds: f64,
    per_second: f64,
    received: usize,
    received_twice: usize,
    lost: usize,
    wrong_room: usize,
    /// Subscribers that were cut off for being slow, and came back.
    came_back: usize,
    resets: usize,
}

pub async fn run(database: &str, pool: &MySqlPool, args: &ServeArgs) -> Result<()> {
    super::platform(database, pool, 100).await?;
    let flag = async |how: &str| {
        Process::start(database, &["flags", how, "realtime_notifications"])?.finish().await
    };
    flag("disable").await?;
    eprintln!("queueing {} notifications", args.queued);
    queue(pool, args.queued).await?;
    let (_first, one) = super::replica(database).await?;
    let (_second, two) = super::replica(database).await?;
    let (sender, mut got) = mpsc::unbounded_channel();
    let mut reading = JoinSet::new();
    for room in 0..ROOMS {
        let port = if room % 2 == 0 { one } else { two };
        reading.spawn(subscribe(port, room, format!("room{room}"), sender.clone()));
        if room % 100 == 99 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for _ in 0..ROOMS {
        tokio::time::timeout(LOST, got.recv()).await?.context("subscribers read")?;
    }
    eprintln!("draining");
    let began = Instant::now();
    flag("enable").await?;
    let mut seen = HashSet::with_capacity(args.queued);
    let (mut twice, mut wrong, mut came_back, mut resets) = (0, 0, 0, 0);
    let mut last = began;
    while seen.len() < args.queued {
        let Ok(next) = tokio::time::timeout(LOST, got.recv()).await else { break };
        match next.context("subscribers read")? {
            Got::Connected => came_back += 1,
            Got::Reset => resets += 1,
            Got::Event { subscriber, notification, at } => {
                last = at;
                let room = format!("room{subscriber}");
                let number =
                    notification.id.strip_prefix('n').and_then(|n| n.parse::<usize>().ok());
                let right = notification.room_name.as_ref() == Some(&room)
                    && number.is_some_and(|number| number % ROOMS == subscriber);
                if !right {
                    wrong += 1;
                } else if !seen.insert(notification.id) {
                    twice += 1;
                }
            }
        }
    }
    let seconds = last.duration_since(began).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    let figures = Figures {
        server: sqlx::query_scalar("SELECT VERSION()").fetch_one(pool).await?,
        replicas: 2,
        rooms: ROOMS,
        queued: args.queued,
        seconds,
        per_second: seen.len() as f64 / seconds,
        received: seen.len(),
        received_twice: twice,
        lost: args.queued - seen.len(),
        wrong_room: wrong,
        came_back,
        resets,
    };
    println!("{}", serde_json::to_string_pretty(&figures)?);
    let left: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM realtime_notification_queue WHERE status <> 'sent'",
    )
    .fetch_one(pool)
    .await?;
    if figures.lost > 0 || wrong > 0 || left > 0 {
        bail!("something was lost, or delivered to the wrong room; {left} are not `sent`");
    }
    Ok(())
}

async fn queue(pool: &MySqlPool, count: usize) -> Result<()> {
    for from in (0..count).step_by(ROWS) {
        let mut insert = QueryBuilder::<MySql>::new(
            "INSERT INTO realtime_notification_queue (id, event_type, priority, room_name, \
               event_data, expires_at) ",
        );
        insert.push_values(from..count.min(from + ROWS), |mut row, number| {
            row.push_bind(format!("n{number}"))
                .push_bind("application")
                .push_bind(i32::try_from(number % 4).unwrap_or(0))
                .push_bind(format!("room{}", number % ROOMS))
                .push_bind(format!(r#"{{"number":{number}}}"#))
                .push("NOW() + INTERVAL 1 HOUR");
        });
        insert.build().execute(pool).await?;
    }
    Ok(())
}
