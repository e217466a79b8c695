//! What the server does meanwhile, as it tells itself and as the kernel tells of it.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use sqlx::MySqlPool;

/// Clock ticks in a second, as the kernel tells times of processes (`sysconf(_SC_CLK_TCK)`,
/// 100 on every Linux).
const TICKS: f64 = 100.0;

/// The counters at one moment.
#[derive(Debug)]
pub struct Load {
    counters: BTreeMap<String, f64>,
    /// Seconds of processor; `None` where the server is on another machine.
    server: Option<f64>,
    own: Option<f64>,
}

/// What happened between two moments, a second.
#[derive(Debug, Serialize)]
pub struct Rates {
    statements_per_second: f64,
    rows_read_per_second: f64,
    redo_kib_per_second: f64,
    row_lock_waits_per_second: f64,
    connections: f64,
    server_cores: Option<f64>,
    simulation_cores: Option<f64>,
}

impl Load {
    pub async fn of(pool: &MySqlPool) -> Result<Self> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SHOW GLOBAL STATUS WHERE Variable_name IN ('Questions', 'Innodb_os_log_written', \
             'Handler_read_key', 'Handler_read_next', 'Handler_read_rnd_next', 'Innodb_row_lock_waits', 'Threads_connected')",
        )
        .fetch_all(pool)
        .await?;
        let counters =
            rows.into_iter().filter_map(|(name, value)| Some((name, value.parse().ok()?)));
        let pid_file: String = sqlx::query_scalar("SELECT @@pid_file").fetch_one(pool).await?;
        let pid = std::fs::read_to_string(pid_file).unwrap_or_default();
        Ok(Self {
            counters: counters.collect(),
            server: processor_seconds(pid.trim()),
            own: processor_seconds("self"),
        })
    }

    fn counter(&self, name: &str) -> f64 {
        self.counters.get(name).copied().unwrap_or(0.0)
    }

    pub fn since(&self, before: &Self, seconds: f64) -> Rates {
        let rate = |name: &str| (self.counter(name) - before.counter(name)) / seconds;
        let cores = |now: Option<f64>, then: Option<f64>| Some((now? - then?) / seconds);
        Rates {
            statements_per_second: rate("Questions"),
            rows_read_per_second: ["key", "next", "rnd_next"]
                .map(|how| rate(&format!("Handler_read_{how}")))
                .iter()
                .sum(),
            redo_kib_per_second: rate("Innodb_os_log_written") / 1_024.0,
            row_lock_waits_per_second: rate("Innodb_row_lock_waits"),
            connections: self.counter("Threads_connected"),
            server_cores: cores(self.server, before.server),
            simulation_cores: cores(self.own, before.own),
        }
    }
}

/// User and system time of a process: the 14th and 15th field, counted from the name's end.
fn processor_seconds(process: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS)
}
