//! The only crate that names apalis: a [`Backend`](apalis_core::backend::Backend) over the
//! ledger, so that apalis' monitor, worker builder, layers and graceful shutdown run the
//! fleet.
//!
//! - [`job`]: what is done with the batches of one kind.
//! - [`session`]: a worker process is registered, beats, reaps the silent, and leaves.
//! - [`backend`]: claims batches ahead of what can run, and hands them to apalis.
//! - [`ack`]: writes how attempts ended, many at a time.
//! - [`gate`]: how many batches run at once, under a limit that may change.
//! - [`outbox`]: error rows that wait for the database; [`fatal`]: when there is no waiting.
//! - [`pulse`]: whether this worker lives and is ready; [`start`]: tries again while it starts.
//! - [`room`]: whether the server has connections for this worker.
//! - [`lottery`]: who does what any worker could do.
//! - [`fleet`]: puts them together; what the `worker` crate calls.
//!
//! Why not one of apalis' own SQL storages: `docs/decisions/001-our-own-apalis-backend.md`.

pub mod ack;
pub mod activity;
pub mod attempt;
pub mod backend;
pub mod fatal;
pub mod fleet;
pub mod gate;
mod in_hand;
pub mod job;
pub mod lottery;
pub mod outbox;
pub mod pulse;
pub mod room;
pub mod session;
pub mod start;

pub use activity::Activity;
pub use attempt::AttemptEnd;
pub use fatal::{Fatal, FatalError};
pub use fleet::Fleet;
pub use gate::{Gate, Pass};
pub use job::Job;
pub use lottery::Lottery;
pub use outbox::Outbox;
pub use pulse::Pulse;
pub use room::NoRoom;
pub use session::{JoinError, Session, Times};
pub use start::retry_start;
