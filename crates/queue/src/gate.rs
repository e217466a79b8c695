//! How much is done at once, under a limit that may change at any time.
//!
//! Nothing waits behind a shut gate: what comes is turned away, so that its lease goes
//! back to the fleet, and what is within is told to leave at its next step.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

/// A limit and what is within it.
#[derive(Debug)]
pub struct Gate {
    limit: watch::Sender<usize>,
    within: Mutex<usize>,
    freed: Notify,
}

/// The right to be within; dropping it is leaving.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    left: Mutex<bool>,
}

enum Admission {
    Entered,
    Full,
    Shut,
}

impl Gate {
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: watch::Sender::new(limit),
            within: Mutex::new(0),
            freed: Notify::new(),
        })
    }

    #[must_use]
    pub fn limit(&self) -> usize {
        *self.limit.borrow()
    }

    /// Changes the limit; 0 shuts the gate.
    pub fn set_limit(&self, limit: usize) {
        self.limit.send_if_modified(|old| std::mem::replace(old, limit) != limit);
    }

    /// Tells of every change of the limit.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.limit.subscribe()
    }

    /// Waits for a place; `None` when the gate is shut, or shuts meanwhile.
    pub async fn enter(self: &Arc<Self>) -> Option<Pass> {
        let mut changes = self.changes();
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.admit() {
                Admission::Entered => {
                    return Some(Pass { gate: Arc::clone(self), left: Mutex::new(false) });
                }
                Admission::Shut => return None,
                Admission::Full => {}
            }
            tokio::select! {
                () = freed => {}
                // The sender is ours: it is never gone.
                _ = changes.changed() => {}
            }
        }
    }

    fn admit(&self) -> Admission {
        let mut within = self.within();
        let limit = self.limit();
        if limit == 0 {
            Admission::Shut
        } else if *within < limit {
            *within += 1;
            Admission::Entered
        } else {
            Admission::Full
        }
    }

    fn within(&self) -> MutexGuard<'_, usize> {
        self.within.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Whether the limit has fallen below what is within: as many as are too many are told
    /// so, and count as gone from then on.
    #[must_use]
    pub fn must_leave(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if !*left {
            let mut within = self.gate.within();
            if *within > self.gate.limit() {
                *within -= 1;
                *left = true;
            }
        }
        *left
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let left = *self.left.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !left {
            *self.gate.within() -= 1;
            self.gate.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn waits(gate: &Arc<Gate>) -> bool {
        tokio::time::timeout(Duration::from_millis(20), gate.enter()).await.is_err()
    }

    #[tokio::test]
    async fn a_limit_holds_and_a_raised_one_lets_in() {
        let gate = Gate::new(2);
        let first = gate.enter().await.expect("a place");
        let _second = gate.enter().await.expect("a place");
        assert!(waits(&gate).await);
        drop(first);
        let _third = gate.enter().await.expect("the place that was left");
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.is_some() }
        });
        tokio::task::yield_now().await;
        gate.set_limit(3);
        assert!(waiting.await.expect("it ends"), "let in by the new limit");
    }

    #[tokio::test]
    async fn a_lowered_limit_sends_out_as_many_as_are_too_many() {
        let gate = Gate::new(3);
        let mut passes = Vec::new();
        for _ in 0..3 {
            passes.push(gate.enter().await.expect("a place"));
        }
        assert!(passes.iter().all(|pass| !pass.must_leave()));
        gate.set_limit(1);
        let told: Vec<_> = passes.iter().map(Pass::must_leave).collect();
        assert_eq!(told, [true, true, false]);
        assert!(passes[0].must_leave(), "told again");
        passes.clear();
        let _only = gate.enter().await.expect("a place");
        assert!(waits(&gate).await, "nothing was counted twice");
    }

    #[tokio::test]
    async fn a_shut_gate_turns_away_whoever_waits() {
        let gate = Gate::new(1);
        let within = gate.enter().await.expect("a place");
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.is_none() }
        });
        tokio::task::yield_now().await;
        gate.set_limit(0);
        assert!(waiting.await.expect("it ends"));
        assert!(within.must_leave());
        assert!(gate.enter().await.is_none());
    }
}
