//! The storage port on MySQL (8.0.29 or later) and MariaDB (10.6 or later): one adapter in
//! their common SQL, told apart only where a capability differs ([`server`]).
//!
//! What holds in every module:
//! - sessions are READ COMMITTED, so that a statement locks the rows it changes and no
//!   gaps between them;
//! - rows are locked by primary key in ascending order, or skipped when held;
//! - the connection counts rows that match (`CLIENT_FOUND_ROWS`), not rows that change;
//! - ids bind as text and compare in the collation of `videos.id`.

mod application_time;
mod archive;
mod chunk;
mod claim;
mod cluster;
mod codes;
mod comparisons;
mod connection;
mod contact;
mod credentials;
mod database_url;
mod deadline;
mod dialect;
mod differences;
mod duplicates;
mod error;
mod failures;
mod file_checkpoints;
mod flag_lock;
mod gate;
mod history;
mod id_list;
mod inspection;
mod lease;
mod legacy;
mod lock;
mod mapping;
mod metadata_locks;
mod notifications;
mod plans;
mod preflight;
mod presence;
mod quarantine;
mod replica;
mod rollback;
mod row;
mod schema;
mod server;
mod session;
mod signals;
mod status;
mod structure;
mod text;
mod timestamp;
mod tls;
mod trial;
mod triggers;
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

pub use connection::{ConnectOptions, MySqlStore, connect};
pub use credentials::PasswordSource;
pub use error::has_no_connection_left;
pub use replica::replica;
