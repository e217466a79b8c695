//! Bearer tokens: 256 random bits, of which the configuration holds the SHA-256. A hash that
//! is slow on purpose protects passwords, which can be guessed; these cannot.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use rand::RngExt as _;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

/// What every token begins with, so that scanners for leaked secrets find it.
const PREFIX: &str = "reelshift_";

/// A SHA-256.
pub type Hash = [u8; 32];

/// What somebody may do.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
#[strum(parse_err_ty = WrongToken, parse_err_fn = no_such_role)]
pub enum Role {
    /// Read.
    Viewer,
    /// Read, and change.
    Operator,
}

const fn no_such_role(_: &str) -> WrongToken {
    WrongToken::Role
}

/// A token as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredToken {
    /// Whose it is, for the audit.
    pub name: String,
    pub role: Role,
    /// SHA-256 of the token.
    pub hash: Hash,
    /// From then on it is worth nothing; by the database's clock.
    pub expires: Option<DateTime<Utc>>,
}

/// Why a token's configuration cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongToken {
    #[error("give NAME:ROLE:HASH or NAME:ROLE:HASH:EXPIRY, as `reelshift token` prints it")]
    Shape,
    #[error("a name has 1 to 64 letters, digits, `.`, `-` or `_`")]
    Name,
    #[error("a role is viewer or operator")]
    Role,
    #[error("a hash is 64 hexadecimal digits, as `reelshift token` prints it")]
    Hash,
    #[error("an expiry is a time as 2027-01-31T12:00:00Z")]
    Expiry,
}

impl ConfiguredToken {
    /// Checks the parts of a configuration.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn of(
        name: &str,
        role: &str,
        hash: &str,
        expires: Option<&str>,
    ) -> Result<Self, WrongToken> {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            return Err(WrongToken::Name);
        }
        let hash = hash.strip_prefix("sha256:").unwrap_or(hash);
        let mut bytes = Hash::default();
        hex::decode_to_slice(hash, &mut bytes).map_err(|_| WrongToken::Hash)?;
        let expires = expires
            .map(|text| DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()))
            .transpose()
            .map_err(|_| WrongToken::Expiry)?;
        Ok(Self { name: name.to_owned(), role: role.parse()?, hash: bytes, expires })
    }
}

impl std::str::FromStr for ConfiguredToken {
    type Err = WrongToken;

    /// `NAME:ROLE:HASH[:EXPIRY]`.
    fn from_str(text: &str) -> Result<Self, WrongToken> {
        let mut parts = text.splitn(4, ':');
        let mut part = || parts.next().ok_or(WrongToken::Shape);
        let (name, role, hash) = (part()?, part()?, part()?);
        Self::of(name, role, hash, parts.next())
    }
}

/// A new token: to be shown once and stored nowhere.
#[must_use]
pub fn generate() -> String {
    let mut secret = [0_u8; 32];
    rand::rng().fill(&mut secret);
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret))
}

/// The SHA-256 of a token.
#[must_use]
pub fn hash(token: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

/// The configured token that has this hash, looked for in a time that does not depend on how
/// much of it agrees with any of them.
pub(crate) fn find<'a>(tokens: &'a [ConfiguredToken], hash: &Hash) -> Option<&'a ConfiguredToken> {
    let mut found = None;
    for token in tokens {
        if bool::from(token.hash.ct_eq(hash)) {
            found = Some(token);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_hash_only() {
        let (ann, bob) = (generate(), generate());
        assert_ne!(ann, bob);
        assert_eq!(ann.len(), PREFIX.len() + 43, "256 bits");
        let of = |name, token: &str| {
            ConfiguredToken::of(name, "viewer", &hex::encode(hash(token)), None).expect("usable")
        };
        let tokens = [of("ann", &ann), of("bob", &bob)];
        let name = |token: &str| find(&tokens, &hash(token)).map(|found| found.name.as_str());
        assert_eq!((name(&ann), name(&bob)), (Some("ann"), Some("bob")));
        assert_eq!((name(""), name(&ann[1..])), (None, None));
    }

    #[test]
    fn a_configuration_is_read_or_its_fault_named() {
        let hash = "ab".repeat(32);
        let read = |text: &str| text.replace('#', &hash).parse::<ConfiguredToken>();
        let token = read("ops:operator:#:2027-01-31T12:00:00Z").expect("usable");
        assert_eq!((token.name.as_str(), token.role), ("ops", Role::Operator));
        assert_eq!(token.expires.map(|time| time.timestamp()), Some(1_801_396_800));
        assert!(read("ops:viewer:sha256:#").is_err(), "the prefix is the file's");
        for (text, fault) in [
            ("ops:viewer", WrongToken::Shape),
            (":viewer:#", WrongToken::Name),
            ("a b:viewer:#", WrongToken::Name),
            ("ops:root:#", WrongToken::Role),
            ("ops:viewer:12", WrongToken::Hash),
            ("ops:viewer:#:tomorrow", WrongToken::Expiry),
        ] {
            assert_eq!(read(text), Err(fault), "{text}");
        }
    }
}
