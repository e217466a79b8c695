//! What a batch does to videos, under its fence: the adapters' chunks in small.

use reelshift_store::ledger::Lease;
use reelshift_store::{Result, StoreError};

use crate::MemoryLedger;

impl MemoryLedger {
    /// Writes the video of a leased batch that its worker has come to, unless it is written or
    /// the application holds it, and moves the batch's checkpoint behind it.
    ///
    /// # Errors
    /// `LeaseLost`: nothing is written.
    pub async fn write(&self, lease: Lease, position: usize, is_held: bool) -> Result<()> {
        let mut session = self.session().await;
        let batch = session.tables.leased(lease).ok_or(StoreError::LeaseLost)?;
        let Some(video) = batch.items().get(position).cloned() else { return Ok(()) };
        batch.checkpoint = position + 1;
        if !is_held && session.tables.videos.get(&video) == Some(&0) {
            session.tables.videos.insert(video, 1);
            if let Some(batch) = session.tables.leased(lease) {
                batch.rows_done += 1;
            }
        }
        session.commit();
        Ok(())
    }
}
