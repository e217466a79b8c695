//! Signatures of what is posted, as Standard Webhooks define them: receivers verify them with a
//! library of theirs.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use reqwest::{RequestBuilder, header};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};

/// What such secrets begin with; what follows is the key in base64.
const PREFIX: &str = "whsec_";

/// Signs with the secret of one receiver.
#[derive(Clone)]
pub(crate) struct Signer(Arc<standardwebhooks::Webhook>);

impl std::fmt::Debug for Signer {
    // By hand: it holds the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// The key is `secret` itself, or what `whsec_` and base64 stand for; `None` where that is
    /// not base64.
    pub(crate) fn new(secret: &str) -> Option<Self> {
        let webhook = match secret.starts_with(PREFIX) {
            true => standardwebhooks::Webhook::new(secret),
            false => standardwebhooks::Webhook::from_bytes(secret.into()),
        };
        Some(Self(Arc::new(webhook.ok()?)))
    }

    /// `request` with the signed JSON document `body`.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub(crate) fn sign(
        &self,
        request: RequestBuilder,
        id: &str,
        at: DateTime<Utc>,
        body: String,
    ) -> Result<RequestBuilder, String> {
        let at = at.timestamp();
        let signature = self.0.sign(id, at, body.as_bytes()).map_err(|error| error.to_string())?;
        Ok(request
            .header(header::CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, at)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .body(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(secret: &str, id: &str, at: i64, body: &str) -> String {
        rustls::crypto::ring::default_provider().install_default().ok();
        let request = reqwest::Client::new().post("http://127.0.0.1/");
        let at = DateTime::from_timestamp(at, 0).expect("a time");
        let signer = Signer::new(secret).expect("a secret");
        let signed = signer.sign(request, id, at, body.to_owned()).expect("signed");
        let signed = signed.build().expect("a request");
        signed.headers()[HEADER_WEBHOOK_SIGNATURE].to_str().expect("text").to_owned()
    }

    /// The first is the example of the definition; the second was computed by Python:
    /// `hmac.new(b"0123456789abcdef", b'7.1700000000.{"a":1}', "sha256")`.
    #[test]
    fn signatures_never_change() {
        assert_eq!(
            signature(
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(
            signature("0123456789abcdef", "7", 1_700_000_000, r#"{"a":1}"#),
            "v1,TH9NICcp1UjYWwMOn46+VBwN/RNSn3RgDWZlyY+vVJ4="
        );
    }

    #[test]
    fn a_key_that_is_not_base64_is_none() {
        assert!(Signer::new("whsec_not base64").is_none());
    }
}
