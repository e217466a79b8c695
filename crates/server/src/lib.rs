//! `reelshift serve`: what the platform's application and its operators talk to.
//!
//! [`App`] is what every route is given. [`serve`] answers on a listener until it is told
//! to stop, then drains. Any number of replicas serve one database: nothing that one of them
//! keeps has to be known to another.

mod access;
mod api;
mod app;
mod clock;
mod cors;
mod cursor;
mod etag;
mod events;
mod extract;
mod fleet_metrics;
mod http;
mod idempotency;
mod listen;
mod notifications;
mod openapi;
mod pages;
mod parameters;
mod playground;
mod prefix;
mod problem;
mod request_id;
mod router;
mod sampling;

pub use access::one_time::OneTimeLogin;
pub use access::proxy::ProxyUsers;
pub use access::token::{self, ConfiguredToken, Role};
pub use app::{App, Options, Shared};
pub use clock::Clock;
pub use cors::origin;
pub use events::{EVENTS, Hook, HookTarget};
pub use listen::serve;
pub use notifications::{Settings as NotificationSettings, Webhook, WebhookError};
pub use pages::report::document as report;
pub use playground::{Playground, Scene};
pub use prefix::PathPrefix;
pub use problem::Problem;
pub use router::document;
