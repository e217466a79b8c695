//! Duties: what exactly one process does for the whole fleet, and another takes over when
//! it falls silent. The holder may say something to all others with every beat.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use crate::Result;

/// A duty as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Duty {
    pub name: String,
    /// Who has it, for people; `None` after it was given back.
    pub holder: Option<String>,
    /// Since the holder beat last, or gave it back; by the database's clock.
    pub silent_seconds: f64,
    /// What the holder said last.
    pub state: Option<serde_json::Value>,
}

/// The right to a duty, fenced by its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DutyLease {
    pub name: String,
    pub token: i64,
}

/// Duties of the fleet. Names have at most 100 characters.
#[async_trait]
pub trait Duties {
    /// Takes a duty: granted when nobody has it or when its holder has not beaten for
    /// `timeout`. A refusal writes nothing.
    async fn take_duty(
        &self,
        name: &str,
        holder: &str,
        timeout: Duration,
    ) -> Result<Option<DutyLease>>;

    /// Says that the holder lives, and with `state` something to all others; without it
    /// what was said last stays.
    ///
    /// # Errors
    /// `LeaseLost` when another has the duty; nothing is written.
    async fn beat_duty(&self, lease: &DutyLease, state: Option<&serde_json::Value>) -> Result<()>;

    /// Gives a duty back, so that another takes it at once. What was said last stays. One
    /// that another has by now is left alone.
    async fn release_duty(&self, lease: &DutyLease) -> Result<()>;

    /// All duties that anybody ever had, by name.
    async fn duties(&self) -> Result<Vec<Duty>>;
}
