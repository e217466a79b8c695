//! Access to the server: its tokens, and the sessions of browsers.

use reelshift_store::audit::AuditEvent;
use reelshift_store::{Result, Store};

use crate::By;

/// Records that a browser has begun a session.
///
/// # Errors
/// As the store.
pub async fn logged_in(store: &dyn Store, by: &By, session: String) -> Result<()> {
    store.record(&AuditEvent::LoggedIn { session }, by.reason(), &by.who).await
}

/// Ends a session: every replica reads this from the audit.
///
/// # Errors
/// As the store.
pub async fn log_out(store: &dyn Store, by: &By, session: String) -> Result<()> {
    store.record(&AuditEvent::LoggedOut { session }, by.reason(), &by.who).await
}

/// Records that a token was made, never the token.
///
/// # Errors
/// As the store.
pub async fn token_made(store: &dyn Store, by: &By, name: String, role: String) -> Result<()> {
    store.record(&AuditEvent::TokenMade { name, role }, by.reason(), &by.who).await
}
