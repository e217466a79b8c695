//! The signature of a posted notification: HMAC-SHA256 over the time, a full stop and the
//! body, under the webhook's secret. With the time in it an old request cannot be repeated
//! later.

use chrono::{DateTime, Utc};
use ring::hmac;

/// The header that carries the signature: `t=SECONDS,v1=HEX`.
pub(crate) const HEADER: &str = "x-reelshift-signature";

pub(crate) fn sign(key: &hmac::Key, at: DateTime<Utc>, body: &str) -> String {
    let at = at.timestamp();
    let tag = hmac::sign(key, format!("{at}.{body}").as_bytes());
    format!("t={at},v1={}", hex::encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by Python: `hmac.new(b"0123456789abcdef", b'1700000000.{"a":1}', "sha256")`.
    #[test]
    fn signatures_never_change() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef");
        let at = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        assert_eq!(sign(&key, at, r#"{"a":1}"#), EXPECTED);
    }

    const EXPECTED: &str =
        "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23";
}
