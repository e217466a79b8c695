//! Memory over time: whether it is flat, not only how large it once was.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::Process;

/// Between two looks: short, since a producer ends within seconds.
const LOOK: Duration = Duration::from_millis(100);

/// A table of what processes take, a line every so often.
#[derive(Debug)]
pub struct Series {
    every: Duration,
    began: Instant,
    due: Instant,
}

impl Series {
    pub fn begin(every: Duration) -> Self {
        println!("| Seconds | Process | Largest resident now MiB | Largest so far MiB |");
        println!("|---:|---|---:|---:|");
        Self { every, began: Instant::now(), due: Instant::now() }
    }

    fn look(&mut self, what: &str, processes: &[Process]) {
        if Instant::now() < self.due {
            return;
        }
        self.due += self.every;
        let now = processes.iter().map(Process::resident).max().unwrap_or(0);
        let most = processes.iter().map(Process::largest).max().unwrap_or(0);
        let seconds = self.began.elapsed().as_secs_f64();
        println!("| {seconds:.0} | {what} | {:.1} | {:.1} |", mib(now), mib(most));
    }
}

/// Waits until all of `processes` have ended well.
pub async fn until_ended(
    what: &str,
    processes: &mut [Process],
    mut series: Option<&mut Series>,
) -> Result<()> {
    loop {
        let mut any = false;
        for process in &mut *processes {
            any |= process.runs()?;
        }
        if !any {
            return Ok(());
        }
        if let Some(series) = &mut series {
            series.look(what, processes);
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
