//! Where an event goes: a signed webhook, Slack, PagerDuty, a command.

use std::process::Stdio;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use reqwest::{Client, RequestBuilder, Url};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::change::{EVENTS, Event, Severity};
use crate::http;
use crate::notifications::webhook::{Webhook, wants};

/// For a command.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between attempts: with those under a minute in all.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10)];

/// Who is told.
#[derive(Debug)]
pub struct Hook {
    /// The names of events, of which one may end in `*`; without any, all.
    pub types: Vec<String>,
    pub to: HookTarget,
}

impl Hook {
    /// The first of `types` that no event has.
    #[must_use]
    pub fn unknown_type(types: &[String]) -> Option<&String> {
        let is_known =
            |one: &String| EVENTS.iter().any(|event| wants(std::slice::from_ref(one), event));
        types.iter().find(|one| !is_known(one))
    }
}

/// How somebody is told.
pub enum HookTarget {
    /// A JSON document, signed.
    Webhook(Webhook),
    /// The address of an incoming webhook of Slack, which is a secret.
    Slack(Url),
    /// PagerDuty's Events API v2.
    PagerDuty { url: Url, routing_key: String },
    /// A program and its arguments; it reads the JSON document.
    Command(Vec<String>),
}

impl std::fmt::Debug for HookTarget {
    // By hand: addresses and keys are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl HookTarget {
    const fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "Slack",
            Self::PagerDuty { .. } => "PagerDuty",
            Self::Command(_) => "command",
        }
    }
}

/// Sends events.
pub(super) struct Sender(Option<Client>);

impl Sender {
    pub(super) fn new() -> Self {
        Self(http::client())
    }

    /// Sends to all that want it, each by itself. Who does not take it after some attempts does
    /// not get it, which is logged. `at` is now, by the database's clock.
    pub(super) async fn send(&self, hooks: &[Hook], event: &Event, at: DateTime<Utc>) {
        let wanting = hooks.iter().filter(|hook| wants(&hook.types, event.event));
        join_all(wanting.map(|hook| self.send_to(hook, event, at))).await;
    }

    async fn send_to(&self, hook: &Hook, event: &Event, at: DateTime<Utc>) {
        let mut pauses = PAUSES.into_iter();
        while let Err(why) = self.attempt(&hook.to, event, at).await {
            let Some(pause) = pauses.next() else {
                let (hook, event) = (hook.to.name(), event.event);
                tracing::error!(hook, event, why, "an event of the fleet could not be told");
                return;
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        to: &HookTarget,
        event: &Event,
        at: DateTime<Utc>,
    ) -> Result<(), String> {
        let document = json!(event).to_string();
        let client = || self.0.as_ref().ok_or_else(|| "no HTTP client".to_owned());
        let request = match to {
            HookTarget::Command(words) => return run(words, &document).await,
            HookTarget::Webhook(webhook) => {
                let request = client()?.post(webhook.url.clone());
                webhook.signer.sign(request, &event.id.to_string(), at, document)?
            }
            HookTarget::Slack(url) => client()?.post(url.clone()).json(&slack(event)),
            HookTarget::PagerDuty { url, routing_key } => match pager_duty(event, routing_key) {
                Some(body) => client()?.post(url.clone()).json(&body),
                None => return Ok(()),
            },
        };
        post(request).await
    }
}

async fn post(request: RequestBuilder) -> Result<(), String> {
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("it answered {}", answer.status())),
        // The address may hold a secret.
        Err(error) => Err(error.without_url().to_string()),
    }
}

async fn run(words: &[String], document: &str) -> Result<(), String> {
    let [program, arguments @ ..] = words else { return Err("the command is empty".to_owned()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.kill_on_drop(true).spawn().map_err(|error| error.to_string())?;
    let ended = async {
        if let Some(mut input) = child.stdin.take() {
            // One that reads nothing may end before it is told.
            input.write_all(document.as_bytes()).await.ok();
            input.write_all(b"\n").await.ok();
        }
        child.wait().await
    };
    match tokio::time::timeout(TIMEOUT, ended).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("the command failed ({status})")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the command did not end within {} s", TIMEOUT.as_secs())),
    }
}

/// The message of an incoming webhook. `&`, `<` and `>` are Slack's own.
fn slack(event: &Event) -> Value {
    let sign = match event.severity {
        Severity::Info => ":white_check_mark:",
        Severity::Warning => ":warning:",
        Severity::Critical => ":rotating_light:",
    };
    let place = event.environment.as_ref().map_or_else(String::new, |name| format!("[{name}] "));
    let text = format!("{place}{}", event.summary);
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({ "text": format!("{sign} {text}") })
}

/// The request to PagerDuty; `None` for what nobody is paged for. A run that is done resolves
/// what it was triggered for.
fn pager_duty(event: &Event, routing_key: &str) -> Option<Value> {
    let key = format!("reelshift-{}", event.subject);
    if event.event == "run_done" {
        return Some(json!({
            "routing_key": routing_key, "event_action": "resolve", "dedup_key": key,
        }));
    }
    if event.severity == Severity::Info {
        return None;
    }
    Some(json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": key,
        "payload": {
            "summary": event.summary,
            "source": event.environment.as_deref().unwrap_or("reelshift"),
            "severity": event.severity.into_str(),
            "timestamp": event.at,
            "component": "reelshift",
            "class": event.event,
            "custom_details": event,
        },
    }))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn event(name: &'static str, severity: Severity) -> Event {
        Event {
            id: Uuid::from_u128(1),
            event: name,
            severity,
            summary: "The hash run 7 failed: <a> & b.".to_owned(),
            subject: "7".to_owned(),
            environment: Some("production".to_owned()),
            at: None,
        }
    }

    #[test]
    fn slack_shows_the_text_as_it_is() {
        let body = slack(&event("run_failed", Severity::Critical));
        let text = ":rotating_light: [production] The hash run 7 failed: &lt;a&gt; &amp; b.";
        assert_eq!(body, json!({ "text": text }));
    }

    #[test]
    fn pagerduty_is_triggered_by_what_is_wrong_and_resolved_by_what_is_done() {
        let body = |name, severity| pager_duty(&event(name, severity), "key");
        let failed = body("run_failed", Severity::Critical).expect("a page");
        assert_eq!(failed["event_action"], "trigger");
        assert_eq!(failed["routing_key"], "key");
        assert_eq!(failed["payload"]["severity"], "critical");
        assert_eq!(failed["payload"]["source"], "production");
        let done = body("run_done", Severity::Info).expect("the end of it");
        assert_eq!(done["event_action"], "resolve");
        assert_eq!(done["dedup_key"], failed["dedup_key"]);
        assert_eq!(body("phase_applied", Severity::Info), None);
    }
}
