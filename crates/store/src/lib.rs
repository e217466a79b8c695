//! The storage port: everything that reelshift asks of a database, as traits over types
//! that name no dialect. `reelshift-store-mysql` and `reelshift-store-sqlite` implement
//! it; the suite in [`conformance`] is what both must pass.
//!
//! The database's clock is the only clock: no method takes the time of day, only
//! durations, and every time that is read was set by the server.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod error;
pub mod failures;
pub mod ledger;
pub mod report;
pub mod schema;
pub mod videos;

use std::sync::Arc;

pub use error::{Result, StoreError};
pub use failures::{ErrorRecord, Failures, Severity, UserImpact};
pub use ledger::Ledger;
pub use report::Reports;
pub use schema::Schema;
pub use videos::Videos;

/// A database that can hold the platform's videos and the fleet's ledger.
pub trait Store: Schema + Ledger + Videos + Failures + Reports + std::fmt::Debug + Send + Sync {}

impl<T: Schema + Ledger + Videos + Failures + Reports + std::fmt::Debug + Send + Sync> Store for T {}

/// How the rest of the program holds a store.
pub type SharedStore = Arc<dyn Store>;
