//! The leases that this worker knows of, from their claim until their end is written. The
//! ledger may say that it has others: a claim whose answer was lost, or what a database that
//! has failed did not hand on to its heir. Nobody would work on those.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reelshift_store::ledger::{Claimed, Lease};

#[derive(Debug, Default)]
pub(crate) struct InHand(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    leases: HashSet<Lease>,
    /// Claims that have no answer yet.
    claims: usize,
}

/// A claim that is under way.
pub(crate) struct Claim<'a>(&'a InHand);

impl InHand {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a claim.
    pub(crate) fn claim(&self) -> Claim<'_> {
        self.state().claims += 1;
        Claim(self)
    }

    /// Forgets leases whose end is written.
    pub(crate) fn end(&self, leases: &[Lease]) {
        let mut state = self.state();
        for lease in leases {
            state.leases.remove(lease);
        }
    }

    /// Those of `ledger`, which was read just now, that this worker does not know of. None
    /// while a claim is under way: its answer may be on the way, too.
    pub(crate) fn unknown(&self, ledger: Vec<Lease>) -> Vec<Lease> {
        let state = self.state();
        if state.claims > 0 {
            return Vec::new();
        }
        ledger.into_iter().filter(|lease| !state.leases.contains(lease)).collect()
    }
}

impl Claim<'_> {
    /// Ends the claim with what it brought.
    pub(crate) fn bring(self, batches: &[Claimed]) {
        self.0.state().leases.extend(batches.iter().map(|batch| batch.lease));
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.state().claims -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn lease(seq: i64, token: i64) -> Lease {
        Lease { seq, token }
    }

    #[test]
    fn what_was_not_brought_by_a_claim_is_unknown() {
        let in_hand = InHand::default();
        in_hand.state().leases.extend([lease(1, 7), lease(2, 7)]);
        let ledger = || vec![lease(1, 7), lease(2, 8), lease(3, 9)];
        assert_eq!(in_hand.unknown(ledger()), [lease(2, 8), lease(3, 9)]);

        let claim = in_hand.claim();
        assert_eq!(in_hand.unknown(ledger()), [], "its answer may be on the way");
        claim.bring(&[]);
        in_hand.end(&[lease(1, 7)]);
        assert_eq!(in_hand.unknown(ledger()), ledger());
    }
}
