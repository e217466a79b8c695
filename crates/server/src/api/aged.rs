//! Figures that are counted at most so often, whoever asks, and say how old they are.

use std::time::Duration;

use reelshift_store::Result;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long counted figures are shown. Counting reads what a hundred thousand errors are.
const KEPT: Duration = Duration::from_secs(10);

/// Figures with their age.
#[derive(Debug, Clone)]
pub(crate) struct Counted<T> {
    pub value: T,
    pub at: Instant,
}

/// The last figures. Whoever asks meanwhile waits for the one who counts.
#[derive(Debug)]
pub(crate) struct Aged<T>(Mutex<Option<Counted<T>>>);

impl<T> Default for Aged<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Aged<T> {
    /// The figures, counted again where the last are too old.
    pub(crate) async fn get(&self, count: impl Future<Output = Result<T>>) -> Result<Counted<T>> {
        let mut last = self.0.lock().await;
        if let Some(counted) = &*last
            && counted.at.elapsed() < KEPT
        {
            return Ok(counted.clone());
        }
        let at = Instant::now();
        let counted = Counted { value: count.await?, at };
        *last = Some(counted.clone());
        Ok(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_counts_for_all_who_ask_within_ten_seconds() {
        let aged = Aged::default();
        let mut counts = 0;
        for _ in 0..3 {
            let counted = aged
                .get(async {
                    counts += 1;
                    Ok(counts)
                })
                .await
                .expect("counted");
            assert_eq!(counted.value, 1);
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        let counted = aged
            .get(async {
                counts += 1;
                Ok(counts)
            })
            .await
            .expect("counted");
        assert_eq!((counted.value, counted.at.elapsed()), (2, Duration::ZERO));
    }
}
