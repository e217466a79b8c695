//! The embedded adapter of reelshift's storage port: one SQLite file that several
//! processes share.
//!
//! SQLite has one writer at a time for the whole file, so there are no row locks to skip.
//! Every writing transaction begins IMMEDIATE (a transaction that only becomes a writer
//! half-way fails at once when another was faster), is short, and takes its turn (`turns`).

mod archive;
mod chunk;
mod claim;
mod codes;
mod comparisons;
mod connection;
mod dialect;
mod differences;
mod duplicates;
mod error;
mod failures;
mod file_checkpoints;
mod flag_lock;
mod history;
mod id_list;
mod inspection;
mod lease;
mod mapping;
mod notifications;
mod plans;
mod preflight;
mod quarantine;
mod rollback;
mod row;
mod schema;
mod signals;
mod status;
mod structure;
mod timestamp;
mod trial;
mod turns;
mod validate;
mod videos;
mod vitals;
mod workers;

// The sources that both adapters compile, each against its `dialect`.
#[path = "../../store/sql/audit.rs"]
mod audit;
#[path = "../../store/sql/batch_rows.rs"]
mod batch_rows;
#[path = "../../store/sql/clock.rs"]
mod clock;
#[path = "../../store/sql/controls.rs"]
mod controls;
#[path = "../../store/sql/duties.rs"]
mod duties;
#[path = "../../store/sql/flags.rs"]
mod flags;
#[path = "../../store/sql/lease_rows.rs"]
mod lease_rows;
#[path = "../../store/sql/ledger.rs"]
mod ledger;
#[path = "../../store/sql/listings.rs"]
mod listings;
#[path = "../../store/sql/lost_leases.rs"]
mod lost_leases;
#[path = "../../store/sql/notification_rows.rs"]
mod notification_rows;
#[path = "../../store/sql/planner_rows.rs"]
mod planner_rows;
#[path = "../../store/sql/quarantine_rows.rs"]
mod quarantine_rows;
#[path = "../../store/sql/readable.rs"]
mod readable;
#[path = "../../store/sql/report.rs"]
mod report;
#[path = "../../store/sql/run_rows.rs"]
mod run_rows;
#[path = "../../store/sql/samples.rs"]
mod samples;
#[path = "../../store/sql/worker_rows.rs"]
mod worker_rows;

pub use connection::{ConnectOptions, SqliteStore, connect};
pub use reelshift_store::Result;
