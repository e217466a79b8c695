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
mod audit;
mod chunk;
mod claim;
mod codes;
mod comparisons;
mod connection;
mod contact;
mod controls;
mod database_url;
mod deadline;
mod differences;
mod duplicates;
mod duties;
mod error;
mod failures;
mod file_checkpoints;
mod flags;
mod gate;
mod history;
mod holds;
mod id_list;
mod lease;
mod ledger;
mod legacy;
mod listings;
mod lock;
mod lost_leases;
mod mapping;
mod metadata_locks;
mod notifications;
mod plans;
mod preflight;
mod quarantine;
mod replica;
mod report;
mod rerun;
mod rollback;
mod row;
mod runs;
mod schema;
mod server;
mod session;
mod status;
mod strain;
mod structure;
mod suspicions;
mod text;
mod timestamp;
mod tls;
mod trial;
mod triggers;
mod validate;
mod videos;
mod vitals;
mod workers;

pub use connection::{ConnectOptions, MySqlStore, connect};
pub use replica::replica;
