//! The HTTP client that posts to webhooks and event hooks.

use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;

/// The limit for one whole request. Receivers should answer first and work afterwards.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A client; `None`, logged, where this process cannot speak HTTP.
pub(crate) fn client() -> Option<Client> {
    // Whatever else in this process speaks TLS may have chosen one already.
    rustls::crypto::ring::default_provider().install_default().ok();
    // Where a receiver sends us elsewhere, nobody has configured that.
    let client = Client::builder()
        .timeout(TIMEOUT)
        .redirect(Policy::none())
        .user_agent(concat!("reelshift/", env!("CARGO_PKG_VERSION")))
        .build();
    match client {
        Ok(client) => Some(client),
        Err(error) => {
            tracing::error!(%error, "this process cannot speak HTTP: nothing is posted");
            None
        }
    }
}
