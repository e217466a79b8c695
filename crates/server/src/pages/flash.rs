//! What came of a form, said once on the page that follows: carried by a cookie that only
//! this site sets and that lives for as long as a redirect takes.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const NAME: &str = "reelshift_said";

/// A cookie holds 4 kB; more than this is cut.
const MAX_COOKIE_BYTES: usize = 1_500;

/// What came of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flash {
    pub failed: bool,
    pub text: String,
}

impl Flash {
    pub(crate) fn done(text: impl Into<String>) -> Self {
        Self { failed: false, text: text.into() }
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self { failed: true, text: text.into() }
    }

    /// The cookie that carries it.
    pub(crate) fn cookie(&self) -> HeaderValue {
        let cut = &self.text[..self.text.floor_char_boundary(MAX_COOKIE_BYTES)];
        let sign = if self.failed { '-' } else { '+' };
        let value = URL_SAFE_NO_PAD.encode(format!("{sign}{cut}"));
        header_value(&format!("{NAME}={value}; Path=/; Max-Age=30; HttpOnly; SameSite=Strict"))
    }

    /// The one that a request carries.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let cookies =
            headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let value = cookies
            .flat_map(|cookies| cookies.split(';'))
            .find_map(|cookie| cookie.trim().strip_prefix(NAME)?.strip_prefix('='))?;
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok()?;
        let failed = text.starts_with('-');
        Some(Self { failed, text: text.get(1..)?.to_owned() })
    }

    /// The cookie that ends it.
    pub(crate) fn over() -> HeaderValue {
        header_value(&format!("{NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"))
    }
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(cookie: &HeaderValue) -> HeaderMap {
        let cookie = cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned();
        let all = format!("theme=dark; {cookie}; other=1");
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&all).expect("a value"))])
    }

    #[test]
    fn what_is_said_arrives_and_ends() {
        for flash in [Flash::done("12 batches: \"again\"; é 🎬"), Flash::failed("no")] {
            assert_eq!(Flash::of(&carried(&flash.cookie())), Some(flash));
        }
        assert_eq!(Flash::of(&carried(&Flash::over())), None);
        assert_eq!(Flash::of(&HeaderMap::new()), None);
    }

    #[test]
    fn what_others_put_there_is_ignored() {
        for value in ["%%%", "____", "="] {
            let cookie = HeaderValue::from_str(&format!("{NAME}={value}")).expect("a value");
            assert_eq!(Flash::of(&carried(&cookie)), None, "{value}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let flash = Flash::failed("é".repeat(2_000));
        let seen = Flash::of(&carried(&flash.cookie())).expect("it arrives");
        assert_eq!(seen.text.len(), MAX_COOKIE_BYTES);
    }
}
