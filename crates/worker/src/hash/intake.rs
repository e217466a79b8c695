//! How many hash batches a worker has in hand: as many as keep its hashing threads in files,
//! and no more. A batch may be one film or sixty-four clips.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reelshift_queue::Gate;

/// Batches at once, at least: the second keeps the hashing threads busy while the last files
/// of the first are read.
const LEAST_BATCHES: usize = 2;

/// Lets batches in by the files that are in hand.
#[derive(Debug)]
pub(crate) struct Intake {
    gate: Arc<Gate>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Files that may be read at once; 0 where nothing is to be hashed.
    at_once: usize,
    batches: usize,
    /// Files of these batches that are not done.
    files: usize,
    /// Files of the batch that began last.
    typical: Option<usize>,
}

/// A batch in hand; dropping it ends that.
#[derive(Debug)]
pub(crate) struct InHand<'a> {
    intake: &'a Intake,
    files: usize,
}

impl Intake {
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate, state: Mutex::default() }
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Files that may be read at once from now on.
    pub(crate) fn set_at_once(&self, files: usize) {
        self.change(|state| state.at_once = files);
    }

    /// A batch whose files are not known yet: like the last one, until they are.
    pub(crate) fn begin(&self) -> InHand<'_> {
        let mut files = 0;
        self.change(|state| {
            files = state.typical.unwrap_or(0);
            state.batches += 1;
            state.files += files;
        });
        InHand { intake: self, files }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        self.gate.set_limit(state.limit());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn limit(&self) -> usize {
        if self.at_once == 0 {
            return 0;
        }
        let missing = self.at_once.saturating_sub(self.files);
        let more = self.typical.map_or(0, |typical| missing.div_ceil(typical.max(1)));
        // A batch of one film needs one of the places; none that is in hand is sent away.
        (self.batches + more).clamp(LEAST_BATCHES, self.at_once.max(LEAST_BATCHES))
    }
}

impl InHand<'_> {
    /// So many files are to be read.
    pub(crate) fn files(&mut self, files: usize) {
        let before = std::mem::replace(&mut self.files, files);
        self.intake.change(|state| {
            state.files = state.files - before + files;
            state.typical = Some(files);
        });
    }

    /// One of them is done.
    pub(crate) fn done(&mut self) {
        let before = self.files;
        self.files = before.saturating_sub(1);
        self.intake.change(|state| state.files -= before - self.files);
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.intake.change(|state| {
            state.batches -= 1;
            state.files -= self.files;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake(at_once: usize) -> (Arc<Gate>, Intake) {
        let gate = Gate::new(0);
        let intake = Intake::new(Arc::clone(&gate));
        intake.set_at_once(at_once);
        (gate, intake)
    }

    #[test]
    fn many_small_files_need_few_batches() {
        let (gate, intake) = intake(40);
        assert_eq!(gate.limit(), LEAST_BATCHES);
        let mut first = intake.begin();
        first.files(64);
        let mut second = intake.begin();
        second.files(64);
        assert_eq!(gate.limit(), 2);
        for _ in 0..60 {
            first.done();
            second.done();
        }
        assert_eq!(gate.limit(), 3, "8 of the 40 files are in hand");
        drop(first);
        drop(second);
        assert_eq!(gate.limit(), LEAST_BATCHES);
    }

    #[test]
    fn films_need_a_batch_each() {
        let (gate, intake) = intake(40);
        let mut batches = Vec::new();
        while batches.len() < gate.limit() {
            let mut batch = intake.begin();
            batch.files(1);
            batches.push(batch);
        }
        assert_eq!(batches.len(), 40);
        intake.set_at_once(0);
        assert_eq!(gate.limit(), 0);
    }
}
