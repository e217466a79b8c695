//! `[notifications]` of the TOML file: how `serve` delivers them.

use std::time::Duration;

use reelshift_server::{NotificationSettings, Webhook};
use serde::Deserialize;

use crate::context::who;
use crate::exit::Usage;

/// The shortest retention: subscribers that come back after a cut find what they missed.
const SHORTEST: Duration = Duration::from_mins(1);

/// The section.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Notifications {
    /// For how long notifications that were sent or have expired are kept: `7days`, `12h`, …
    retention: Option<String>,
    /// Where notifications are posted.
    #[serde(default)]
    webhooks: Vec<WebhookSection>,
}

/// `[[notifications.webhooks]]`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct WebhookSection {
    url: String,
    /// The environment variable that holds the secret: at least 16 characters.
    secret_env: String,
    /// Types of notifications, one of which may end in `*`; without any, all.
    #[serde(default)]
    types: Vec<String>,
}

impl Notifications {
    /// The settings of the server.
    ///
    /// # Errors
    /// `Usage` when a value cannot be used. No message holds a secret.
    pub fn settings(&self, allow_plaintext: bool) -> Result<NotificationSettings, Usage> {
        let mut settings = NotificationSettings {
            dispatcher: format!("{}, process {}", who(), std::process::id()),
            ..NotificationSettings::default()
        };
        if let Some(retention) = &self.retention {
            settings.retention = humantime::parse_duration(retention)
                .ok()
                .filter(|retention| *retention >= SHORTEST)
                .ok_or_else(|| {
                    Usage(format!(
                        "notifications.retention is `{retention}`: write 1min or more, as in 7days"
                    ))
                })?;
        }
        for webhook in &self.webhooks {
            let secret = std::env::var(&webhook.secret_env).map_err(|_| {
                Usage(format!(
                    "the environment variable {}, which notifications.webhooks names for a secret, \
                     is not set",
                    webhook.secret_env
                ))
            })?;
            let types = webhook.types.clone();
            let webhook = Webhook::new(&webhook.url, &secret, types, allow_plaintext)
                .map_err(|error| Usage(error.to_string()))?;
            settings.webhooks.push(webhook);
        }
        Ok(settings)
    }
}
