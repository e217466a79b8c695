//! `[[events]]` of the TOML file: where `serve` sends the fleet's events.

use reelshift_server::{EVENTS, Hook, HookTarget, Webhook};
use serde::Deserialize;
use url::Url;

use crate::exit::Usage;

/// Where PagerDuty takes events.
const PAGER_DUTY: &str = "https://events.pagerduty.com/v2/enqueue";

/// An entry.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "to", rename_all = "lowercase", deny_unknown_fields)]
pub enum EventSection {
    /// A JSON document is posted, signed as notifications are.
    Webhook {
        url: String,
        /// The environment variable that holds the secret: at least 16 characters.
        secret_env: String,
        /// Names of events, of which one may end in `*`; without any, all.
        #[serde(default)]
        types: Vec<String>,
    },
    /// An incoming webhook of Slack.
    Slack {
        /// The environment variable that holds its address.
        url_env: String,
        /// Names of events, of which one may end in `*`; without any, all.
        #[serde(default)]
        types: Vec<String>,
    },
    /// PagerDuty's Events API v2.
    PagerDuty {
        /// The environment variable that holds the routing key.
        routing_key_env: String,
        /// Where it is, if not at PagerDuty.
        url: Option<String>,
        /// Names of events, of which one may end in `*`; without any, all.
        #[serde(default)]
        types: Vec<String>,
    },
    /// A program that reads the JSON document.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
        /// Names of events, of which one may end in `*`; without any, all.
        #[serde(default)]
        types: Vec<String>,
    },
}

/// The hooks of the server.
///
/// # Errors
/// `Usage` when one cannot be used. No message holds a secret.
pub fn hooks(sections: &[EventSection], allow_plaintext: bool) -> Result<Vec<Hook>, Usage> {
    sections.iter().map(|section| hook(section, allow_plaintext)).collect()
}

fn hook(section: &EventSection, allow_plaintext: bool) -> Result<Hook, Usage> {
    let (types, to) = match section {
        EventSection::Webhook { url, secret_env, types } => {
            let webhook = Webhook::new(url, &variable(secret_env)?, Vec::new(), allow_plaintext)
                .map_err(|error| Usage(error.to_string()))?;
            (types, HookTarget::Webhook(webhook))
        }
        EventSection::Slack { url_env, types } => {
            let url = address(&variable(url_env)?, &format!("the variable {url_env}"))?;
            (types, HookTarget::Slack(url))
        }
        EventSection::PagerDuty { routing_key_env, url, types } => {
            let url = address(url.as_deref().unwrap_or(PAGER_DUTY), "events.url")?;
            (types, HookTarget::PagerDuty { url, routing_key: variable(routing_key_env)? })
        }
        EventSection::Command { command, .. } if command.is_empty() => {
            return Err(Usage("events.command names no program".to_owned()));
        }
        EventSection::Command { command, types } => (types, HookTarget::Command(command.clone())),
    };
    if let Some(unknown) = Hook::unknown_type(types) {
        return Err(Usage(format!(
            "[[events]] types: no event is called {unknown:?}: there are {}",
            EVENTS.join(", ")
        )));
    }
    Ok(Hook { types: types.clone(), to })
}

fn variable(name: &str) -> Result<String, Usage> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
        Usage(format!("the environment variable {name}, which [[events]] names, is not set"))
    })
}

fn address(text: &str, place: &str) -> Result<Url, Usage> {
    Url::parse(text)
        .ok()
        .filter(|url| ["http", "https"].contains(&url.scheme()) && url.host().is_some())
        .ok_or_else(|| Usage(format!("{place} holds no URL of the form https://HOST/PATH")))
}
