//! A webhook: where notifications are posted, which of them, and how the receiver knows
//! that they come from here.

use url::{Host, Url};

use super::signature::Signer;

/// A secret shorter than this can be guessed.
const SECRET_LENGTH: usize = 16;

/// Why a webhook cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error("webhook `{0}` is no URL of the form https://HOST/PATH")]
    NotAUrl(String),
    #[error(
        "webhook {0} would be sent in plaintext: write https, or allow it with allow_plaintext"
    )]
    Plaintext(String),
    #[error(
        "the secret of webhook {0} has fewer than {SECRET_LENGTH} characters: use a longer one"
    )]
    WeakSecret(String),
    #[error("the secret of webhook {0} begins with whsec_ and goes on with what is not base64")]
    UnreadableSecret(String),
}

/// Where notifications are posted.
#[derive(Debug, Clone)]
pub struct Webhook {
    pub(crate) url: Url,
    pub(crate) signer: Signer,
    types: Vec<String>,
}

impl Webhook {
    /// A webhook for notifications whose `event_type` is among `types`, of which one may end
    /// in `*`; without any, for all. Without TLS only on loopback, or where
    /// `allow_plaintext` says so.
    ///
    /// # Errors
    /// When the URL or the secret cannot be used. No message holds a secret.
    pub fn new(
        url: &str,
        secret: &str,
        types: Vec<String>,
        allow_plaintext: bool,
    ) -> Result<Self, WebhookError> {
        let url = Url::parse(url)
            .ok()
            .filter(|url| ["http", "https"].contains(&url.scheme()) && url.host().is_some())
            .ok_or_else(|| WebhookError::NotAUrl(before_query(url).to_owned()))?;
        let loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if url.scheme() == "http" && !loopback && !allow_plaintext {
            return Err(WebhookError::Plaintext(place(&url)));
        }
        if secret.chars().count() < SECRET_LENGTH {
            return Err(WebhookError::WeakSecret(place(&url)));
        }
        let signer =
            Signer::new(secret).ok_or_else(|| WebhookError::UnreadableSecret(place(&url)))?;
        Ok(Self { url, signer, types })
    }

    /// Whether notifications of this type are posted here.
    pub(super) fn wants(&self, event_type: &str) -> bool {
        wants(&self.types, event_type)
    }

    /// Scheme, host and port: what of the URL may be shown. Its path may be a secret.
    pub(super) fn place(&self) -> String {
        place(&self.url)
    }
}

/// Whether a type is among `types`, of which one may end in `*`; without any, all are.
pub(crate) fn wants(types: &[String], event_type: &str) -> bool {
    types.is_empty()
        || types.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(beginning) => event_type.starts_with(beginning),
            None => event_type == wanted,
        })
}

fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn before_query(url: &str) -> &str {
    url.split(['?', '#', '@']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn webhook(url: &str, types: &[&str]) -> Result<Webhook, WebhookError> {
        Webhook::new(url, SECRET, types.iter().map(|one| (*one).to_owned()).collect(), false)
    }

    #[test]
    fn types_are_names_or_beginnings() {
        let all = webhook("https://example.org/hook", &[]).expect("a webhook");
        assert!(all.wants("anything"));
        let some = webhook("https://example.org/hook", &["stage_changed", "workflow_*"]);
        let some = some.expect("a webhook");
        assert!(some.wants("stage_changed") && some.wants("workflow_failed"));
        assert!(!some.wants("stage_changed_twice") && !some.wants("a workflow_failed"));
    }

    #[test]
    fn plaintext_stays_on_this_machine_unless_it_is_allowed() {
        for url in ["http://127.0.0.1:9/x", "http://[::1]/x", "http://localhost/x", "https://h/x"] {
            assert!(webhook(url, &[]).is_ok(), "{url}");
        }
        let elsewhere = "http://user:pw@example.org/secret?token=x";
        let refused = webhook(elsewhere, &[]).expect_err("plaintext");
        assert_eq!(refused, WebhookError::Plaintext("http://example.org".to_owned()));
        assert!(Webhook::new(elsewhere, SECRET, Vec::new(), true).is_ok());
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_telling_secrets() {
        for url in ["ftp://h/x", "h/x", "https://", ""] {
            assert!(matches!(webhook(url, &[]), Err(WebhookError::NotAUrl(_))), "{url}");
        }
        let weak = Webhook::new("https://h/path", "hunter2", Vec::new(), false);
        let said = weak.expect_err("weak").to_string();
        assert!(!said.contains("hunter2") && !said.contains("path"), "{said}");
        let unreadable = Webhook::new("https://h/path", "whsec_hunter2 hunter2", Vec::new(), false);
        let said = unreadable.expect_err("no base64").to_string();
        assert!(!said.contains("hunter2") && !said.contains("path"), "{said}");
        let printed = format!("{:?}", webhook("https://h/x", &[]).expect("a webhook").signer);
        assert!(!printed.contains(SECRET) && !printed.contains("30"), "{printed}");
    }
}
