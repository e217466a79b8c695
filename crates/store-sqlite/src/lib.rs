//! The embedded adapter of reelshift's storage port: one SQLite file that several
//! processes share.
//!
//! SQLite has one writer at a time for the whole file, so there are no row locks to skip.
//! Every writing transaction begins IMMEDIATE (a transaction that only becomes a writer
//! half-way fails at once when another was faster), is short, and takes its turn (`turns`).

mod archive;
mod audit;
mod claim;
mod codes;
mod comparisons;
mod connect;
mod controls;
mod differences;
mod duplicates;
mod duties;
mod error;
mod failures;
mod file_checkpoints;
mod flags;
mod history;
mod holds;
mod leases;
mod ledger;
mod listings;
mod lost_leases;
mod mapping;
mod notifications;
mod planning;
mod plans;
mod preflight;
mod quarantine;
mod report;
mod rerun;
mod rollback;
mod runs;
mod schema;
mod status;
mod strain;
mod structure;
mod suspicions;
mod time;
mod trial;
mod turns;
mod validate;
mod videos;
mod vitals;
mod workers;

pub use connect::{ConnectOptions, SqliteStore, connect};
pub use reelshift_store::Result;
