//! The session of a browser: a signed cookie, so that any replica with the same key knows
//! it and none has to store it. It names a token and stands as long as that token does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use rand::RngExt as _;
use ring::hmac;

use super::token::ConfiguredToken;

/// The name of the cookie.
const COOKIE: &str = "reelshift_session";
/// A shift: whoever works on logs in once.
const LASTS: TimeDelta = TimeDelta::hours(12);

/// Signs and reads sessions.
pub(crate) struct Sessions(hmac::Key);

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sessions {
    /// With the replicas' common key, or one that this process alone has.
    pub(crate) fn new(key: Option<&str>) -> Self {
        let mut own = [0_u8; 32];
        rand::rng().fill(&mut own);
        let key = key.map_or(&own[..], str::as_bytes);
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The `Set-Cookie` of a new session of `token`.
    pub(crate) fn begin(
        &self,
        token: &ConfiguredToken,
        now: DateTime<Utc>,
        secure: bool,
    ) -> String {
        let ends = (now + LASTS).timestamp();
        let mac = hmac::sign(&self.0, Self::signed(token, ends).as_bytes());
        let value = format!("{}.{ends}.{}", token.name, URL_SAFE_NO_PAD.encode(mac));
        cookie(&value, LASTS.num_seconds(), secure)
    }

    /// The `Set-Cookie` that ends a session.
    pub(crate) fn end(secure: bool) -> String {
        cookie("", 0, secure)
    }

    /// What is signed: the hash too, so that another token of the same name ends the session.
    fn signed(token: &ConfiguredToken, ends: i64) -> String {
        format!("session\n{}\n{}\n{ends}", token.name, hex::encode(token.hash))
    }

    /// The token whose session the `Cookie` header holds, with the value of the cookie.
    pub(crate) fn read<'a, 'h>(
        &self,
        tokens: &'a [ConfiguredToken],
        header: &'h str,
        now: DateTime<Utc>,
    ) -> Option<(&'a ConfiguredToken, &'h str)> {
        let value = header
            .split(';')
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find_map(|(name, value)| (name == COOKIE).then_some(value))?;
        // The name may hold dots, what follows it holds none.
        let mut parts = value.rsplitn(3, '.');
        let (mac, ends, name) = (parts.next()?, parts.next()?, parts.next()?);
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let ends: i64 = ends.parse().ok()?;
        let token = tokens.iter().find(|token| token.name == name)?;
        hmac::verify(&self.0, Self::signed(token, ends).as_bytes(), &mac).ok()?;
        (now.timestamp() < ends).then_some((token, value))
    }

    /// What a page sends along with a change: it can be known only by reading a page of this
    /// `session` (empty where nobody logs in).
    pub(crate) fn csrf(&self, session: &str) -> String {
        hex::encode(hmac::sign(&self.0, format!("csrf\n{session}").as_bytes()))
    }

    /// Whether `given` is [`Self::csrf`]; compared in constant time.
    pub(crate) fn is_csrf(&self, session: &str, given: &str) -> bool {
        let Ok(given) = hex::decode(given) else { return false };
        hmac::verify(&self.0, format!("csrf\n{session}").as_bytes(), &given).is_ok()
    }
}

fn cookie(value: &str, seconds: i64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::token::{self, Role};

    fn configured(name: &str) -> ConfiguredToken {
        let hash = token::hash(&token::generate());
        ConfiguredToken { name: name.to_owned(), role: Role::Viewer, hash, expires: None }
    }

    #[test]
    fn a_session_is_its_tokens_and_ends() {
        let tokens = [configured("ann.b"), configured("bob")];
        let (sessions, now) = (Sessions::new(None), DateTime::UNIX_EPOCH);
        let set = sessions.begin(&tokens[0], now, true);
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
        let other = Sessions::new(None);
        assert_eq!(read(&other, &tokens, &header, now), None, "another key");
    }

    #[test]
    fn replicas_with_one_key_know_each_others_sessions() {
        let tokens = [configured("ann")];
        let key = Some("0123456789abcdef0123456789abcdef");
        let set = Sessions::new(key).begin(&tokens[0], DateTime::UNIX_EPOCH, false);
        let header = set.split(';').next().expect("a cookie");
        assert!(Sessions::new(key).read(&tokens, header, DateTime::UNIX_EPOCH).is_some());
        let csrf = Sessions::new(key).csrf("s");
        assert!(Sessions::new(key).is_csrf("s", &csrf));
        assert!(!Sessions::new(key).is_csrf("t", &csrf) && !Sessions::new(key).is_csrf("s", ""));
    }
}
