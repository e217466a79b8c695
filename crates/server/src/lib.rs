//! `reelshift serve`: what the platform's application and its operators talk to.
//!
//! [`App`] is what every route is given. [`serve`] answers on a listener until it is told
//! to stop, then drains. Any number of replicas serve one database: nothing that one of them
//! keeps has to be known to another.

mod access;
mod api;
mod app;
mod clock;
mod cursor;
mod listen;
mod notifications;
mod pages;
mod problem;
mod router;
mod sampling;

pub use access::token::{self, ConfiguredToken, Role};
pub use app::{App, Options, Shared};
pub use clock::Clock;
pub use listen::serve;
pub use notifications::{Settings as NotificationSettings, Webhook, WebhookError};
pub use problem::Problem;
pub use router::document;
