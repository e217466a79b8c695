//! The pure logic of reelshift: what a phase, a run and a batch may do, how work is cut
//! into batches and chunks, how long to wait before the next attempt, and how long the
//! rest will take. Nothing here performs I/O or reads a clock.

pub mod backoff;
pub mod batching;
pub mod chunk;
pub mod connections;
pub mod eta;
pub mod forecast;
pub mod impact;
pub mod phase;
pub mod rollout;
pub mod state;
pub mod throttle;
pub mod tuning;
pub mod verdict;
pub mod window;

pub use backoff::Backoff;
pub use batching::FileBatcher;
pub use chunk::{ChunkLimits, ChunkSizer};
pub use connections::Connections;
pub use impact::Impact;
pub use phase::Phase;
pub use rollout::{Flag, FlagAction, Rollout};
pub use state::{BatchState, JobKind, RunState, UnknownName, WorkerState};
pub use throttle::Throttle;
pub use tuning::{Knob, Tuning};
pub use verdict::VerdictKind;
pub use window::WorkWindow;
