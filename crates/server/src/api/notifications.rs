//! Notifications: the queue, and one sent by hand.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use reelshift_operate as operate;
use reelshift_plan::Flag;
use reelshift_store::StoreError;
use reelshift_store::notifications::{
    MAX_ATTEMPTS, NewNotification, NotificationReport, NotificationSelection, NotificationState,
    Target,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::command::run_detached_or_503;
use super::page::{Page, PageQuery};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::{Json, Query};
use crate::idempotency::IDEMPOTENCY_KEY;
use crate::problem::Problem;

/// The specification's default of `priority`.
const USUAL_PRIORITY: i32 = 5;

/// Which notifications. Every condition that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    state: Option<NotificationState>,
    /// Of this type.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    event_type: Option<String>,
}

/// The notifications in the queue, whatever their state, in the order of their ids.
#[utoipa::path(
    get,
    path = "/api/v1/notifications",
    operation_id = "list_notifications",
    tag = "notifications",
    params(Filter, PageQuery),
    responses((status = 200, description = "A page of notifications", body = Page<NotificationReport>))
)]
pub(super) async fn list(
    State(app): State<Shared>,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<NotificationReport>>, Problem> {
    let (limit, after) = (page.limit()?, page.cursor::<String>()?);
    let selection = NotificationSelection { state: filter.state, event_type: filter.event_type };
    let found = app.store.notifications(&selection, after.as_deref(), limit + 1).await?;
    Page::of(found, limit, |report| report.id.clone()).map(Json)
}

/// A notification to be queued.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "type": "maintenance", "room": "video_1ab0f3c2", "data": { "at": "noon" }, "expires_in_seconds": 3_600,
}))]
pub(super) struct NewMessage {
    /// What happened.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 50, example = "maintenance")]
    event_type: String,
    /// To the subscribers of this room; a video's is `video_ID`.
    #[schema(max_length = 255)]
    room: Option<String>,
    /// To the subscribers of this session.
    #[schema(max_length = 255)]
    session: Option<String>,
    /// To the subscribers of this user.
    #[schema(max_length = 36)]
    user: Option<String>,
    /// To all subscribers.
    #[serde(default)]
    broadcast: bool,
    /// What to say.
    #[serde(default)]
    #[schema(value_type = Object)]
    data: Value,
    /// What goes along with it.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// Lower is delivered first.
    #[schema(default = 5)]
    priority: Option<i32>,
    /// Not before so many seconds from now.
    #[schema(maximum = 31_536_000)]
    after_seconds: Option<u32>,
    /// Not delivered later than so many seconds from now.
    #[schema(maximum = 31_536_000)]
    expires_in_seconds: Option<u32>,
}

/// A notification that was queued.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Queued {
    id: String,
    /// Whether the flag `realtime_notifications` is on; without it nothing is delivered.
    delivers: bool,
}

/// Queues one notification.
#[utoipa::path(
    post,
    path = "/api/v1/notifications",
    operation_id = "send_notification",
    tag = "notifications",
    request_body = NewMessage,
    responses((status = 201, description = "It is in the queue", body = Queued))
)]
pub(super) async fn send(
    State(app): State<Shared>,
    principal: Principal,
    headers: HeaderMap,
    Json(message): Json<NewMessage>,
) -> Result<(StatusCode, Json<Queued>), Problem> {
    let id = id(&principal, &headers);
    let notification = notification(message, &id)?;
    let (shared, by) = (app.clone(), principal.command(None));
    let work = async move { operate::notify(&*shared.store, &by, &notification).await };
    run_detached_or_503::<_, StoreError>(&app, work).await?;
    let delivers = app.flags.current().await?.is_on(Flag::RealtimeNotifications);
    Ok((StatusCode::CREATED, Json(Queued { id, delivers })))
}

/// Under one key a client queues one notification, whichever replica it asks.
fn id(who: &Principal, headers: &HeaderMap) -> String {
    let id = match headers.get(IDEMPOTENCY_KEY) {
        Some(key) => {
            let of_client = [who.name.as_bytes(), b"\n", key.as_bytes()].concat();
            Uuid::new_v5(&Uuid::NAMESPACE_OID, &of_client)
        }
        None => Uuid::now_v7(),
    };
    id.to_string()
}

fn notification(message: NewMessage, id: &str) -> Result<NewNotification, Problem> {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let notification = NewNotification {
        id: id.to_owned(),
        event_type: message.event_type,
        priority: message.priority.unwrap_or(USUAL_PRIORITY),
        to: Target {
            room_name: message.room,
            session_id: message.session,
            user_id: message.user,
            broadcast_to_all: message.broadcast,
        },
        event_data: if message.data.is_null() { json!({}) } else { message.data },
        event_metadata: message.metadata,
        max_attempts: MAX_ATTEMPTS,
        after: message.after_seconds.map_or(Duration::ZERO, seconds),
        expires_in: message.expires_in_seconds.map(seconds),
    };
    notification.check().map_err(Problem::bad_request)?;
    Ok(notification)
}
