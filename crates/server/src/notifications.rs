//! Notifications: from the platform's queue to subscribers and webhooks.
//!
//! Every replica does the same, and none has to know another:
//! - [`dispatcher`] claims what is due and publishes it to the outbox, the one order of all
//!   that was ever published; [`rollout`] says what is withheld;
//! - [`tail`] reads the outbox, whoever published, and gives it to the [`hub`], which hands
//!   it to the subscribers of this replica;
//! - [`stream`] is what a subscriber is connected to: [`replay`] what it missed, then what
//!   comes;
//! - [`webhook`], [`signature`], [`delivery`]: notifications that are also posted somewhere;
//! - [`upkeep`]: taking back, expiring and pruning.

mod delivery;
mod dispatcher;
mod event;
mod hub;
mod replay;
mod rollout;
mod settings;
pub(crate) mod signature;
mod stream;
mod tail;
mod upkeep;
pub(crate) mod webhook;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::Shared;

pub(crate) use hub::Hub;
pub use settings::Settings;
pub use webhook::{Webhook, WebhookError};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(stream::stream))
}

/// Starts what works beside the requests, among `app.tasks`, until `app.stop`.
pub(crate) fn start(app: &Shared) {
    let deliveries = Arc::new(delivery::Deliveries::new(Arc::clone(app)));
    app.tasks.spawn(tail::run(Arc::clone(app)));
    app.tasks.spawn(dispatcher::run(Arc::clone(app), deliveries));
    app.tasks.spawn(upkeep::run(Arc::clone(app)));
}
