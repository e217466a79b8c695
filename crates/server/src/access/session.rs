//! The session of a browser: a signed cookie, so that any replica with the same key knows
//! it and none has to store it. It names a token, and ends with that token, after a shift, or
//! when its owner logs out: that is written into the audit, which every replica reads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use reelshift_operate::By;
use reelshift_store::audit::{AuditColumns, AuditEvent, AuditSelection};
use reelshift_store::{Result, Store, StoreError};
use ring::hmac;

use super::token::ConfiguredToken;

/// The name of the cookie.
const COOKIE: &str = "reelshift_session";
/// A shift: whoever works on logs in once.
const LASTS: TimeDelta = TimeDelta::hours(12);
/// Logouts that are read at once.
const LOGOUTS_PER_PAGE: u32 = 100;

/// Signs and reads sessions.
pub(crate) struct Sessions {
    key: hmac::Key,
    /// Sessions whose owners have logged out, with when they would have ended. `None` until the
    /// audit was read: before that no session is believed.
    revoked: Mutex<Option<HashMap<String, i64>>>,
    /// Whether the audit could not be read the last time, which was logged then.
    unreadable: AtomicBool,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

/// One login of a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// The value of the cookie.
    pub cookie: String,
    id: String,
    ends: i64,
}

impl Sessions {
    /// With the replicas' common key, or one that this process alone has.
    pub(crate) fn new(key: Option<&str>) -> Self {
        let own: [u8; 32] = rand::random();
        let key = key.map_or(&own[..], str::as_bytes);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            revoked: Mutex::new(None),
            unreadable: AtomicBool::new(false),
        }
    }

    /// A new session of `token`: its id, and its `Set-Cookie`.
    pub(crate) fn begin(
        &self,
        token: &ConfiguredToken,
        now: DateTime<Utc>,
        secure: bool,
    ) -> (String, String) {
        let ends = (now + LASTS).timestamp();
        let id: [u8; 16] = rand::random();
        let id = URL_SAFE_NO_PAD.encode(id);
        let mac = hmac::sign(&self.key, Self::signed(token, &id, ends).as_bytes());
        let value = format!("{}.{id}.{ends}.{}", token.name, URL_SAFE_NO_PAD.encode(mac));
        let cookie = cookie(&value, LASTS.num_seconds(), secure);
        (id, cookie)
    }

    /// The `Set-Cookie` that removes a session from its browser.
    pub(crate) fn removal(secure: bool) -> String {
        cookie("", 0, secure)
    }

    /// What is signed: the hash too, so that another token of the same name ends the session.
    fn signed(token: &ConfiguredToken, id: &str, ends: i64) -> String {
        format!("session\n{}\n{}\n{id}\n{ends}", token.name, hex::encode(token.hash))
    }

    /// The token whose session the `Cookie` header holds, with the session.
    pub(crate) fn read<'a>(
        &self,
        tokens: &'a [ConfiguredToken],
        header: &str,
        now: DateTime<Utc>,
    ) -> Option<(&'a ConfiguredToken, Session)> {
        let value = value(header)?;
        // The name may hold dots, what follows it holds none.
        let mut parts = value.rsplitn(4, '.');
        let (mac, ends, id, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let ends: i64 = ends.parse().ok()?;
        let token = tokens.iter().find(|token| token.name == name)?;
        hmac::verify(&self.key, Self::signed(token, id, ends).as_bytes(), &mac).ok()?;
        let session = Session { cookie: value.to_owned(), id: id.to_owned(), ends };
        self.is_open(&session, now).then_some((token, session))
    }

    /// Whether `session` has neither ended nor been revoked.
    pub(crate) fn is_open(&self, session: &Session, now: DateTime<Utc>) -> bool {
        let revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        now.timestamp() < session.ends
            && revoked.as_ref().is_some_and(|revoked| !revoked.contains_key(&session.id))
    }

    /// Ends `session` here at once, and at every other replica with its next
    /// [`refresh`](Self::refresh). Before expand there is no audit that would tell the others.
    ///
    /// # Errors
    /// When it cannot be recorded: then it is ended here only.
    pub(crate) async fn revoke(
        &self,
        store: &dyn Store,
        session: &Session,
        by: &By,
        now: DateTime<Utc>,
    ) -> Result<()> {
        self.remember([(session.id.clone(), session.ends)], now);
        match reelshift_operate::log_out(store, by, session.id.clone()).await {
            Err(StoreError::NotExpanded(_)) => Ok(()),
            recorded => recorded,
        }
    }

    /// Reads who has logged out since the last time, at any replica. Where the audit cannot be
    /// read, what was known before is still known.
    pub(crate) async fn refresh(&self, store: &dyn Store, now: DateTime<Utc>) {
        let read = self.read_logouts(store, now).await;
        let failed_before = self.unreadable.swap(read.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (read, failed_before) {
            tracing::warn!(%error, "the logouts of other replicas cannot be read");
        }
    }

    async fn read_logouts(&self, store: &dyn Store, now: DateTime<Utc>) -> Result<()> {
        let AuditColumns { subject, name, .. } =
            AuditEvent::LoggedOut { session: String::new() }.columns();
        let selection = AuditSelection {
            subject: Some(subject),
            name: Some(name),
            ..AuditSelection::default()
        };
        let mut before = None;
        loop {
            let page = match store.audit(&selection, before, LOGOUTS_PER_PAGE).await {
                // Before expand there is no audit: a logout is known at its own replica only.
                Err(StoreError::NotExpanded(_)) => Vec::new(),
                page => page?,
            };
            before = page.last().map(|entry| entry.seq);
            let full = page.len() >= LOGOUTS_PER_PAGE as usize;
            let recent = page.into_iter().map(|entry| entry.change).filter_map(|change| {
                let AuditEvent::LoggedOut { session } = change.event else { return None };
                let ends = (change.changed_at + LASTS).timestamp();
                Some((session, ends)).filter(|_| now.timestamp() < ends)
            });
            // A page that tells nothing new is followed by older ones only.
            if self.remember(recent, now) == 0 || !full {
                return Ok(());
            }
        }
    }

    /// Adds sessions that are revoked, forgets those that have ended anyway; returns how many
    /// were not known.
    fn remember(
        &self,
        sessions: impl IntoIterator<Item = (String, i64)>,
        now: DateTime<Utc>,
    ) -> usize {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let revoked = revoked.get_or_insert_default();
        revoked.retain(|_, ends| now.timestamp() < *ends);
        let new = |(id, ends)| revoked.insert(id, ends).is_none();
        sessions.into_iter().map(new).filter(|new| *new).count()
    }

    /// What a page sends along with a change: it can be known only by reading a page of this
    /// `session` (empty where nobody logs in).
    pub(crate) fn csrf(&self, session: &str) -> String {
        hex::encode(hmac::sign(&self.key, format!("csrf\n{session}").as_bytes()))
    }

    /// Whether `given` is [`Self::csrf`]; compared in constant time.
    pub(crate) fn is_csrf(&self, session: &str, given: &str) -> bool {
        let Ok(given) = hex::decode(given) else { return false };
        hmac::verify(&self.key, format!("csrf\n{session}").as_bytes(), &given).is_ok()
    }
}

/// The value of the session's cookie in a `Cookie` header.
fn value(header: &str) -> Option<&str> {
    header
        .split(';')
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// Whether a browser has had a session: then it did not end by logging out.
pub(crate) fn is_given(header: &str) -> bool {
    value(header).is_some_and(|value| !value.is_empty())
}

fn cookie(value: &str, seconds: i64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::token::{self, Role};

    /// Sessions of a process that has read the audit, and found nothing in it.
    fn sessions(key: Option<&str>) -> Sessions {
        let sessions = Sessions::new(key);
        sessions.remember([], DateTime::UNIX_EPOCH);
        sessions
    }

    fn configured(name: &str) -> ConfiguredToken {
        let hash = token::hash(&token::generate());
        ConfiguredToken { name: name.to_owned(), role: Role::Viewer, hash, expires: None }
    }

    #[test]
    fn a_session_is_its_tokens_and_ends() {
        let tokens = [configured("ann.b"), configured("bob")];
        let (sessions, now) = (sessions(None), DateTime::UNIX_EPOCH);
        let (_, set) = sessions.begin(&tokens[0], now, true);
        assert!(set.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{set}");
        let header = format!("a=b; {}", set.split(';').next().expect("a cookie"));
        let read = |sessions: &Sessions, tokens: &[ConfiguredToken], header: &str, now| {
            sessions.read(tokens, header, now).map(|(token, _)| token.name.clone())
        };
        assert_eq!(read(&sessions, &tokens, &header, now).as_deref(), Some("ann.b"));
        assert_eq!(read(&sessions, &tokens, &header, now + LASTS), None, "it has ended");
        let forged = header.replace("ann.b", "bob");
        assert_eq!(read(&sessions, &tokens, &forged, now), None, "somebody else's");
        let later = header.replacen(".43200.", ".99999.", 1);
        assert_ne!(later, header);
        assert_eq!(read(&sessions, &tokens, &later, now), None, "made longer");
        let renewed = [configured("ann.b")];
        assert_eq!(read(&sessions, &renewed, &header, now), None, "another token of that name");
        let other = super::tests::sessions(None);
        assert_eq!(read(&other, &tokens, &header, now), None, "another key");
    }

    #[test]
    fn a_session_is_revoked_alone_and_forgotten_when_it_has_ended() {
        let (tokens, now) = ([configured("ann")], DateTime::UNIX_EPOCH);
        let sessions = Sessions::new(None);
        let login = || {
            let (_, set) = sessions.begin(&tokens[0], now, false);
            set.split(';').next().expect("a cookie").to_owned()
        };
        let (first, second) = (login(), login());
        assert!(sessions.read(&tokens, &first, now).is_none(), "the audit was not read yet");
        sessions.remember([], now);
        let (_, session) = sessions.read(&tokens, &first, now).expect("a session");
        assert_eq!(sessions.remember([(session.id.clone(), session.ends)], now), 1);
        assert_eq!(sessions.remember([(session.id.clone(), session.ends)], now), 0);
        assert!(sessions.read(&tokens, &first, now).is_none(), "it is revoked");
        assert!(sessions.read(&tokens, &second, now).is_some(), "the other login is not");
        sessions.remember([], now + LASTS);
        assert_eq!(sessions.revoked.lock().expect("free").as_ref().map(HashMap::len), Some(0));
    }

    #[test]
    fn replicas_with_one_key_know_each_others_sessions() {
        let tokens = [configured("ann")];
        let key = Some("0123456789abcdef0123456789abcdef");
        let (_, set) = Sessions::new(key).begin(&tokens[0], DateTime::UNIX_EPOCH, false);
        let header = set.split(';').next().expect("a cookie");
        assert!(sessions(key).read(&tokens, header, DateTime::UNIX_EPOCH).is_some());
        let csrf = Sessions::new(key).csrf("s");
        assert!(Sessions::new(key).is_csrf("s", &csrf));
        assert!(!Sessions::new(key).is_csrf("t", &csrf) && !Sessions::new(key).is_csrf("s", ""));
    }
}
