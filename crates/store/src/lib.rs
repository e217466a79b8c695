//! The storage port: everything that reelshift asks of a database, as traits over types
//! that name no dialect. `reelshift-store-mysql` and `reelshift-store-sqlite` implement
//! it; `reelshift-store-conformance` is the suite that both must pass. The ledger is asked for
//! statements; its rules are here ([`ledger`]).
//!
//! The database's clock is the only clock: no method takes the time of day, only
//! durations, and every time that is read was set by the server.

pub mod archive;
pub mod audit;
pub mod clock;
pub mod comparisons;
pub mod controls;
pub mod duplicates;
pub mod duties;
pub mod error;
pub mod failures;
pub mod file_checkpoints;
pub mod flags;
pub mod gate;
pub mod history;
pub mod ids;
pub mod ledger;
pub mod length;
pub mod listings;
pub mod notifications;
pub mod patience;
pub mod plans;
pub mod preflight;
pub mod report;
pub mod rollback;
pub mod samples;
pub mod schema;
pub mod signals;
pub mod statement;
pub mod status;
pub mod structure;
pub mod trial;
pub mod validation;
pub mod videos;
pub mod vitals;

use std::sync::Arc;

pub use archive::Archive;
pub use audit::Audit;
pub use comparisons::Comparisons;
pub use controls::Controls;
pub use duplicates::Duplicates;
pub use duties::Duties;
pub use error::{Result, Rule, StoreError};
pub use failures::{ErrorRecord, Failures, Severity, UserImpact};
pub use file_checkpoints::FileCheckpoints;
pub use flags::Flags;
pub use history::History;
pub use ledger::Ledger;
pub use listings::Listings;
pub use notifications::Notifications;
pub use preflight::Preflight;
pub use report::Reports;
pub use rollback::Rollback;
pub use samples::{Sample, Samples};
pub use schema::Schema;
pub use signals::ThrottleSignals;
pub use status::VideoStatuses;
pub use videos::Videos;
pub use vitals::Vitals;

/// A database that can hold the platform's videos and the fleet's ledger.
pub trait Store:
    Schema
    + Preflight
    + Ledger
    + Videos
    + FileCheckpoints
    + Duplicates
    + Failures
    + Flags
    + Controls
    + Duties
    + History
    + Notifications
    + VideoStatuses
    + Reports
    + Comparisons
    + Rollback
    + Samples
    + Archive
    + ThrottleSignals
    + Vitals
    + Audit
    + Listings
    + std::fmt::Debug
    + Send
    + Sync
{
}

impl<T> Store for T where
    T: Schema
        + Preflight
        + Ledger
        + Videos
        + FileCheckpoints
        + Duplicates
        + Failures
        + Flags
        + Controls
        + Duties
        + History
        + Notifications
        + VideoStatuses
        + Reports
        + Comparisons
        + Rollback
        + Samples
        + Archive
        + ThrottleSignals
        + Vitals
        + Audit
        + Listings
        + std::fmt::Debug
        + Send
        + Sync
{
}

/// How the rest of the program holds a store.
pub type SharedStore = Arc<dyn Store>;
