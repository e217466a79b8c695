//! Every command that changes something, once: who gives it and why, what is checked before,
//! what is done, and the row of the audit that says so. The command line, the API and the pages
//! parse what they are given, call one of these functions, and print what it returns.

mod access;
mod controls;
mod flags;
mod history;
mod notifications;
mod plans;
mod query;
mod reason;
mod rehearsal;
mod restore;
mod rollback;
mod runs;
mod schema;
mod words;
mod workers;

pub use access::{log_out, logged_in, token_made};
pub use controls::{LASTS, Tune, pause_fleet, resume_fleet, tune};
pub use flags::{FlagRequest, change_flags};
pub use history::{Removed, prune};
pub use notifications::notify;
pub use plans::{
    BATCH_FILES, BATCH_ROWS, DEFAULT_BACKFILL_ROWS, DEFAULT_BATCH_FILES, DEFAULT_MAX_ATTEMPTS,
    DEFAULT_VALIDATION_ROWS, MAX_ATTEMPTS, PhaseSteps, PlannedStatement, check_plan, plan_phase,
    steps_left, usual_plan,
};
pub use query::{Query, WrongQuery, since, time_of};
pub use reason::Reason;
pub use rehearsal::{Rehearsal, rehearse};
pub use restore::{Restore, restore};
pub use rollback::{
    Keep, PreviewedStep, RollBack, RollbackEvent, RollbackPreview, RollbackTarget, RolledBack,
    WrittenArchive, preview_rollback, roll_back,
};
pub use runs::{
    CancelledRest, accept, cancel, cancel_rest, enqueue, pause_run, repair, rerun, resume_run,
    watch,
};
pub use schema::{Applied, AppliedStep, Apply, apply};
pub use words::in_words;
pub use workers::drain;

/// Who gives a command, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// `who@where`: `user@host` on the command line, the token's name and the client's address
    /// over HTTP.
    pub who: String,
    /// For whoever reads the audit later.
    pub reason: Option<Reason>,
}

impl By {
    #[must_use]
    pub const fn new(who: String, reason: Option<Reason>) -> Self {
        Self { who, reason }
    }

    fn reason(&self) -> Option<&str> {
        self.reason.as_ref().map(Reason::as_str)
    }
}
