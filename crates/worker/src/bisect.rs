//! Finding the one row that makes a chunk fail, within the lease: the rows are halved, and
//! each half is a chunk of its own, until the row stands alone and is set aside.
//!
//! A crash in the middle loses nothing: every half that succeeded is committed with its
//! checkpoint, and a row in quarantine is not taken up again.

use std::slice;

use reelshift_queue::{AttemptEnd, Pass};
use reelshift_store::StoreError;
use reelshift_store::ledger::{Bounds, Claimed};
use reelshift_store::videos::{Chunk, FailedItem};
use reelshift_telemetry::failure::noticed;
use reelshift_telemetry::metrics;
use tracing::Span;

use crate::attempt;
use crate::chunks::{Chunks, Size};
use crate::classify::{self, Meaning, Remedy};
use crate::ending::{Endings, blames_an_item};
use crate::give_way;

/// Rows that are halved at once: with more, most halves are good and written in vain.
const ROWS_PER_HALVING: u32 = 256;
/// From here on a batch fails at once if more of its rows are refused than written: halving
/// the rest would take long.
const MAX_REFUSED_ROWS: u64 = 100;
/// A batch of fewer rows does not fail for what is refused of it: too few to tell a cause
/// that is not with the rows.
const MIN_ROWS: u64 = 20;

/// What is left to be tried, in order.
#[derive(Debug)]
pub(crate) struct Halves<'a, T>(Vec<&'a [T]>);

impl<'a, T> Halves<'a, T> {
    pub(crate) fn of(items: &'a [T]) -> Self {
        Self(if items.is_empty() { Vec::new() } else { vec![items] })
    }

    pub(crate) fn next(&mut self) -> Option<&'a [T]> {
        self.0.pop()
    }

    /// `items` failed: its halves are next. The item itself where there is but one.
    pub(crate) fn split(&mut self, items: &'a [T]) -> Option<&'a T> {
        if let [item] = items {
            return Some(item);
        }
        let (first, second) = items.split_at(items.len() / 2);
        self.0.extend([second, first]);
        None
    }
}

/// Whether the cause is not with the rows: more of a batch were refused than written.
const fn mostly_refused(written: u64, refused: u64) -> bool {
    refused > written && refused + written >= MIN_ROWS
}

/// The bisecting of one attempt.
pub(crate) struct Bisect<'a> {
    chunks: &'a Chunks,
    endings: &'a Endings,
    batch: &'a Claimed,
    pass: &'a Pass,
    /// Of the whole batch, whichever attempts did it.
    written: u64,
    refused: u64,
    /// What the last row was refused for.
    last: Option<String>,
}

impl<'a> Bisect<'a> {
    pub(crate) fn new(chunks: &'a Chunks, batch: &'a Claimed, pass: &'a Pass) -> Self {
        let (written, refused) = (batch.rows_done, batch.rows_quarantined);
        Self { chunks, endings: &chunks.endings, batch, pass, written, refused, last: None }
    }

    /// Counts rows that were written without bisecting.
    pub(crate) fn wrote(&mut self, rows: u32) {
        self.written += u64::from(rows);
    }

    /// The batch is through: it fails if more of it was refused than written.
    pub(crate) fn through(&self) -> Result<(), AttemptEnd> {
        if mostly_refused(self.written, self.refused) {
            return Err(self.mostly_refused());
        }
        Ok(())
    }

    /// Does up to `limit` of the rows that follow `after`, without those that refuse.
    /// Returns how far it came; `None` where no row needs anything.
    pub(crate) async fn next(
        &mut self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Option<String>, AttemptEnd> {
        let (store, batch) = (self.endings.session.store(), self.batch);
        let ids = store
            .rows_to_backfill(&batch.bounds, after, limit.min(ROWS_PER_HALVING), &batch.filter)
            .await
            .map_err(|error| self.endings.database(batch, &error))?;
        let mut halves = Halves::of(&ids);
        while let Some(rows) = halves.next() {
            let error = match self.chunk(rows).await? {
                Ok(chunk) => {
                    self.wrote(chunk.rows);
                    continue;
                }
                Err(error) if blames_an_item(batch, &error) => error,
                Err(error) => return Err(self.endings.database(batch, &error)),
            };
            if let Some(id) = halves.split(rows) {
                self.set_aside(id, &error).await?;
            }
        }
        Ok(ids.last().cloned())
    }

    async fn chunk(&self, rows: &[String]) -> Result<Result<Chunk, StoreError>, AttemptEnd> {
        let attempt = (self.batch, self.pass);
        let bounds = Bounds::Items(rows.to_vec());
        let size = Size::Fixed(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        let chunk = self.chunks.backfill(attempt, (&bounds, None), size).await?;
        match &chunk {
            // Not known to be the row's fault: not before it has happened to it alone, twice.
            Err(error) if rows.len() == 1 && classify::store(error).remedy == Remedy::RetryOnce => {
                give_way::pause(1).await;
                self.chunks.backfill(attempt, (&bounds, None), size).await
            }
            _ => Ok(chunk),
        }
    }

    async fn set_aside(&mut self, id: &str, error: &StoreError) -> Result<(), AttemptEnd> {
        let session = &self.endings.session;
        let item = failed_item(self.endings, self.batch, id, error);
        record_on_span(&item);
        tracing::warn!(batch = %self.batch.id, video = id, %error, "this row is set aside");
        let items = slice::from_ref(&item);
        self.refused += give_way::until_free(give_way::patiently(), || {
            session.store().set_aside(self.batch.lease, items)
        })
        .await
        .map_err(|error| self.endings.database(self.batch, &error))?;
        count_quarantined(self.batch, &item);
        self.last = Some(error.to_string());
        if self.refused >= MAX_REFUSED_ROWS && mostly_refused(self.written, self.refused) {
            return Err(self.mostly_refused());
        }
        Ok(())
    }

    fn mostly_refused(&self) -> AttemptEnd {
        let message = format!(
            "{} rows of this batch were refused and {} written, the last with: {}",
            self.refused,
            self.written,
            self.last.as_deref().unwrap_or("an error of an attempt before")
        );
        let meaning = classify::MOSTLY_REFUSED;
        let record = self.endings.recorder.message(self.batch, None, meaning, message);
        self.endings.failed(self.batch, meaning.remedy, record)
    }
}

/// Records on the attempt's span why `item` is quarantined.
pub(crate) fn record_on_span(item: &FailedItem) {
    noticed(&Span::current(), attempt::failure(&item.error));
}

/// Counts `item`, which the ledger now has in quarantine.
pub(crate) fn count_quarantined(batch: &Claimed, item: &FailedItem) {
    metrics::quarantined(batch.kind.into_str(), &item.error.error_type);
}

/// An item that the database refuses.
pub(crate) fn failed_item(
    endings: &Endings,
    batch: &Claimed,
    id: &str,
    error: &StoreError,
) -> FailedItem {
    // The item was found: what is done about it now is to set it aside.
    let meaning = Meaning { remedy: Remedy::Quarantine, ..classify::store(error) };
    let code = error.code().map(str::to_owned);
    let error = endings.recorder.failure(batch, Some(id), meaning, error, code);
    FailedItem { video_id: id.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Halves `count` items of which some are bad; returns the good ones in the order in
    /// which they were written, the bad ones, and how many tries it took.
    fn halve(count: usize, bad: &[usize]) -> (Vec<usize>, Vec<usize>, usize) {
        let items: Vec<usize> = (0..count).collect();
        let (mut good, mut found, mut tries) = (Vec::new(), Vec::new(), 0);
        let mut halves = Halves::of(&items);
        while let Some(some) = halves.next() {
            tries += 1;
            if some.iter().any(|item| bad.contains(item)) {
                found.extend(halves.split(some));
            } else {
                good.extend(some);
            }
        }
        (good, found, tries)
    }

    #[test]
    fn exactly_the_bad_ones_are_found_in_order() {
        for bad in [vec![], vec![0], vec![99], vec![17, 18, 64], (0..100).collect()] {
            let (good, found, _) = halve(100, &bad);
            assert_eq!(found, bad);
            assert_eq!(good, (0..100).filter(|item| !bad.contains(item)).collect::<Vec<_>>());
        }
        assert_eq!(halve(0, &[]), (vec![], vec![], 0));
    }

    #[test]
    fn a_batch_fails_if_more_is_refused_than_written() {
        for (written, refused, fails) in
            [(0, 19, false), (0, 20, true), (10, 10, false), (9, 11, true), (1_000, 999, false)]
        {
            assert_eq!(mostly_refused(written, refused), fails, "{written} and {refused}");
        }
    }

    #[test]
    fn one_bad_of_many_takes_few_tries() {
        let (_, _, tries) = halve(256, &[100]);
        assert!(tries <= 17, "{tries}");
    }
}
