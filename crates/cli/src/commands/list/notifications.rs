//! `notifications`: the queue, whatever the state of what is in it.

use anyhow::Result;
use reelshift_store::notifications::{NotificationReport, NotificationSelection};

use super::{Column, Value, print};
use crate::args::list::NotificationsArgs;
use crate::context::Context;
use crate::exit::Outcome;

const COLUMNS: [Column<NotificationReport>; 11] = [
    Column::new("id", |one| Value::text(&one.id)),
    Column::new("type", |one| Value::text(&one.event_type)),
    Column::new("state", |one| Value::text(one.state.into_str())),
    Column::new("created", |one| Value::time(one.created_at)),
    Column::new("attempts", |one| Value::Number(one.attempts.into())),
    Column::wide("max_attempts", |one| Value::Number(one.max_attempts.into())),
    Column::wide("room", |one| Value::maybe(one.to.room_name.as_ref())),
    Column::wide("session", |one| Value::maybe(one.to.session_id.as_ref())),
    Column::wide("user", |one| Value::maybe(one.to.user_id.as_ref())),
    Column::wide("broadcast", |one| Value::text(one.to.broadcast_to_all)),
    Column::new("error", |one| Value::maybe(one.last_error.as_ref())),
];

pub async fn run(context: &Context, args: &NotificationsArgs) -> Result<Outcome> {
    let store = context.reading_store(4).await?;
    let selection =
        NotificationSelection { state: args.state, event_type: args.event_type.clone() };
    let found = store.notifications(&selection, None, args.list.limit).await?;
    print(context, &args.list, &COLUMNS, &found)?;
    Ok(Outcome::Done)
}
