//! The notification queue: the specification's `realtime_notification_queue`, which
//! triggers and the application fill, as dispatchers claim and end it, and the outbox, the
//! one order in which every replica hands notifications to its subscribers.
//!
//! A notification goes `pending → processing → sent | failed | expired`. While it is
//! `processing` a lease says which dispatcher has it and until when; whatever a dispatcher
//! writes about it names the lease's token. Attempts are counted when they end, so one that
//! died with its dispatcher is not.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Result;
use crate::audit::AuditEvent;

/// Notifications that one call claims, publishes or ends at most.
pub const MAX_PER_CALL: usize = 256;

/// Bytes of `event_data` and `event_metadata` that one claim, or one page of the outbox, holds
/// at most, unless its first notification alone has more.
const MAX_PAYLOAD_BYTES: u64 = 8 * 1_024 * 1_024;

/// What is left of [`MAX_PAYLOAD_BYTES`].
#[derive(Debug, Default)]
pub struct PayloadBudget {
    taken: Option<u64>,
}

impl PayloadBudget {
    /// Takes the room of a notification of so many bytes, if there is room.
    pub fn take(&mut self, bytes: u64) -> bool {
        let sum = self.taken.map_or(bytes, |taken| taken.saturating_add(bytes));
        let fits = self.taken.is_none() || sum <= MAX_PAYLOAD_BYTES;
        if fits {
            self.taken = Some(sum);
        }
        fits
    }
}

/// What a notification of which nobody has said how often gets: the specification's default
/// of `max_attempts`.
pub const MAX_ATTEMPTS: i32 = 3;

/// Lengths of the specification's columns, in characters.
pub const EVENT_TYPE_CHARACTERS: usize = 50;
pub const ROOM_CHARACTERS: usize = 255;
pub const SESSION_CHARACTERS: usize = 255;
pub const USER_CHARACTERS: usize = 36;

/// A notification to be queued. The lengths are those of the specification's columns.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNotification {
    /// Up to 36 characters, unique.
    pub id: String,
    /// Up to 50 characters.
    pub event_type: String,
    /// Lower goes first; 5 is the specification's default.
    pub priority: i32,
    pub to: Target,
    pub event_data: Value,
    pub event_metadata: Option<Value>,
    pub max_attempts: i32,
    /// Not before this from now.
    pub after: Duration,
    /// Not later than this from now.
    pub expires_in: Option<Duration>,
}

impl NewNotification {
    /// Refuses what no column holds, and what is for nobody.
    ///
    /// # Errors
    /// What is wrong, and what is possible.
    pub fn check(&self) -> Result<(), String> {
        let to = &self.to;
        for (what, text, most) in [
            ("type", Some(&self.event_type), EVENT_TYPE_CHARACTERS),
            ("room", to.room_name.as_ref(), ROOM_CHARACTERS),
            ("session", to.session_id.as_ref(), SESSION_CHARACTERS),
            ("user", to.user_id.as_ref(), USER_CHARACTERS),
        ] {
            let Some(characters) = text.map(|text| text.chars().count()) else { continue };
            if !(1..=most).contains(&characters) {
                return Err(format!("{what} has {characters} characters: give 1 to {most}"));
            }
        }
        if to.is_nobody() {
            return Err("it is for nobody: give room, session, user or broadcast".to_owned());
        }
        Ok(())
    }

    /// What the audit records of it.
    #[must_use]
    pub fn queued(&self) -> AuditEvent {
        AuditEvent::NotificationQueued { event_type: self.event_type.clone(), id: self.id.clone() }
    }
}

/// Whom a notification is for. Any of them may be given together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = NotificationTarget))]
pub struct Target {
    /// Up to 255 characters, as the session's.
    pub room_name: Option<String>,
    pub session_id: Option<String>,
    /// Up to 36 characters.
    pub user_id: Option<String>,
    pub broadcast_to_all: bool,
}

impl Target {
    /// Whether it names nobody at all.
    #[must_use]
    pub const fn is_nobody(&self) -> bool {
        self.room_name.is_none()
            && self.session_id.is_none()
            && self.user_id.is_none()
            && !self.broadcast_to_all
    }
}

/// A notification as it is delivered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notification {
    pub id: String,
    pub event_type: String,
    pub priority: i32,
    #[serde(flatten)]
    pub to: Target,
    pub event_data: Value,
    pub event_metadata: Option<Value>,
    /// Attempts that failed before.
    #[serde(skip)]
    pub attempts: u32,
    pub created_at: Option<DateTime<Utc>>,
}

/// How a notification stands: the specification's `status`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum NotificationState {
    Pending,
    Processing,
    Sent,
    Failed,
    Expired,
}

impl NotificationState {
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
}

impl std::str::FromStr for NotificationState {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter();
        known().find(|state| state.into_str() == name).copied().ok_or_else(|| {
            let names: Vec<_> = known().map(Self::into_str).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

/// Which notifications. Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotificationSelection {
    pub state: Option<NotificationState>,
    pub event_type: Option<String>,
}

/// A notification in a list: without what it says, which may be large.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotificationReport {
    pub id: String,
    pub event_type: String,
    pub priority: i32,
    #[serde(flatten)]
    pub to: Target,
    pub state: NotificationState,
    /// Attempts that failed.
    pub attempts: u32,
    pub max_attempts: u32,
    /// Why the last attempt failed; its first 1,000 characters.
    pub last_error: Option<String>,
    pub created_at: Option<DateTime<Utc>>,
}

/// What one claim came to.
#[derive(Debug, Clone, PartialEq)]
pub struct NotificationClaim {
    /// Fences everything that is written about these notifications.
    pub token: i64,
    /// When they were claimed, by the database's clock.
    pub at: DateTime<Utc>,
    /// In the order in which they are to be delivered: by priority, then by the time from
    /// which each was due.
    pub notifications: Vec<Notification>,
}

/// How an attempt at a notification ended that did not deliver it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    pub id: String,
    /// Written to `last_error`; cut to 65,535 bytes.
    pub why: String,
    pub then: Then,
}

/// What becomes of a notification that was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The attempt counts: `pending` again, due after this, or `failed` when it was the
    /// last of `max_attempts`.
    Retry(Duration),
    /// No attempt can succeed: `failed`.
    Fail,
    /// Nothing was tried: `pending` again, due after this. No attempt counts.
    Defer(Duration),
    /// It is not to be delivered: `expired`. No attempt counts.
    Withhold,
}

/// A notification in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Larger than that of everything published before.
    pub seq: i64,
    pub notification: Notification,
}

/// What the outbox holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxSpan {
    /// The number given last; 0 before the first.
    pub newest: i64,
    /// Everything after this number is there; what came before was pruned.
    pub pruned_upto: i64,
}

/// Notifications that wait although they are due.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DueNotifications {
    /// Counted up to [`Self::MAX_COUNTED`] a priority.
    pub count: u64,
    /// Seconds since the oldest of them became due, by the database's clock; 0 where none is.
    pub oldest_seconds: f64,
}

impl DueNotifications {
    /// Enough to see a backlog, and a walk along the index of a few milliseconds.
    pub const MAX_COUNTED: u32 = 10_000;
}

/// The queue and the outbox. Times are counted from the moment of the call, by the
/// database's clock; the specification's columns have whole seconds.
#[async_trait]
pub trait Notifications: std::fmt::Debug + Send + Sync {
    /// Queues a notification and records it as queued by `by`, in one transaction. One that is
    /// there already is left as it is, so that a call whose answer was lost can be repeated.
    async fn queue_notification(&self, notification: &NewNotification, by: &str) -> Result<()>;

    /// Claims up to `max` (at most [`MAX_PER_CALL`]) notifications that are due, or fewer that are
    /// large (see [`PayloadBudget`]), in order of their priority, and leases them for `lease`. Due is what is `pending` and whose
    /// `process_after`, `scheduled_at` and `next_retry_at` have come. What it meets that is
    /// over becomes `expired`. `process_after` is moved to the time from which a
    /// notification is due, so that the index leads past it until then.
    async fn claim_notifications(
        &self,
        dispatcher: &str,
        lease: Duration,
        max: usize,
    ) -> Result<NotificationClaim>;

    /// The notifications that are due and that nobody has claimed.
    async fn due_notifications(&self) -> Result<DueNotifications>;

    /// Puts off the end of the lease on all notifications of a claim that are still open.
    /// Returns how many those are.
    async fn extend_notifications(&self, token: i64, lease: Duration) -> Result<u64>;

    /// Appends to the outbox those of `ids` whose lease still holds, in their order; those
    /// that are there already stay where they are. With `sent` they are also ended as
    /// `sent`, in the same transaction. Returns how many were held.
    async fn publish_notifications(&self, token: i64, ids: &[String], sent: bool) -> Result<u64>;

    /// Ends attempts that did not deliver, of those whose lease still holds. Returns how
    /// many were held.
    async fn end_undelivered(&self, token: i64, undelivered: &[Undelivered]) -> Result<u64>;

    /// Makes `pending` again what a dispatcher that fell silent had: notifications whose
    /// lease is over, and those that have been `processing` for `abandoned` without any.
    /// No attempt counts. Returns how many, at most [`MAX_PER_CALL`] of each.
    async fn take_back_notifications(&self, abandoned: Duration) -> Result<u64>;

    /// Makes `expired` what is `pending` and was over at some time in the last `within`, at
    /// most [`MAX_PER_CALL`]. Returns how many.
    async fn expire_notifications(&self, within: Duration) -> Result<u64>;

    /// Up to `limit` notifications, in the order of their ids; those after `after`.
    async fn notifications(
        &self,
        selection: &NotificationSelection,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<NotificationReport>>;

    /// What the outbox holds.
    async fn outbox_span(&self) -> Result<OutboxSpan>;

    /// The outbox after `seq`, in order, up to `limit` entries; none is missing in between
    /// but what somebody else has deleted from the queue.
    async fn outbox_after(&self, seq: i64, limit: u32) -> Result<Vec<Published>>;

    /// How many notifications [`Self::prune_notifications`] would remove in all.
    async fn prunable_notifications(&self, older_than: Duration) -> Result<u64>;

    /// Removes up to `limit` notifications that were sent or have expired longer ago than
    /// `older_than`, and entries of the outbox as old, in one short transaction. Nothing
    /// removed means that nothing is left to remove. Failed ones stay.
    async fn prune_notifications(&self, older_than: Duration, limit: u32) -> Result<u64>;
}
