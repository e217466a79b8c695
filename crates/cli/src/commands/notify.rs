//! `notify`: queues one notification by hand.

use std::time::Duration;

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_plan::Flag;
use reelshift_rollout::FlagCache;
use reelshift_store::notifications::{NewNotification, Target};
use serde_json::json;
use uuid::Uuid;

use crate::args::notify::NotifyArgs;
use crate::commands::flags;
use crate::context::{Context, by, who};
use crate::exit::Outcome;

pub async fn run(context: &Context, args: &NotifyArgs) -> Result<Outcome> {
    let store = context.expanded_store(2).await?;
    let notification = NewNotification {
        id: Uuid::now_v7().to_string(),
        event_type: args.event_type.clone(),
        priority: args.priority,
        to: Target {
            room_name: args.room.clone(),
            session_id: args.session.clone(),
            user_id: args.user.clone(),
            broadcast_to_all: args.broadcast,
        },
        event_data: args.data.clone(),
        event_metadata: args.metadata.clone(),
        max_attempts: args.max_attempts,
        after: args.after.unwrap_or(Duration::ZERO),
        expires_in: args.expires_in,
    };
    reelshift_operate::notify(&*store, &by(None), &notification).await?;
    let flags = FlagCache::new(store, flags::environment(), who()).current().await?;
    let delivers = flags.is_on(Flag::RealtimeNotifications);
    if context.json {
        context.print_json(&json!({ "id": notification.id, "delivers": delivers }))?;
        return Ok(Outcome::Done);
    }
    crate::output::say!("{} {}", "queued:".green().bold(), notification.id);
    if !delivers {
        crate::output::say!(
            "Nothing is delivered while realtime_notifications is off. \
             Next: reelshift flags enable realtime_notifications"
        );
    }
    Ok(Outcome::Done)
}
