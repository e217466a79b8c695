//! What handlers of the API take out of a request; where it does not fit, the answer says
//! what is wrong with which value, in words.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The parameters of a query.
#[derive(Debug)]
pub(crate) struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(wrong) => Err(Problem::bad_request(in_words("the query", &wrong.body_text()))),
        }
    }
}

/// The parameters of the path.
#[derive(Debug)]
pub(crate) struct Path<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(wrong) => Err(Problem::bad_request(in_words("the path", &wrong.body_text()))),
        }
    }
}

/// What a form sends.
#[derive(Debug)]
pub(crate) struct Form<T>(pub T);

impl<T, S> FromRequest<S> for Form<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Form::from_request(request, state).await {
            Ok(axum::Form(form)) => Ok(Self(form)),
            Err(wrong) => Err(refused(
                wrong.status(),
                &wrong.body_text(),
                "the form",
                "a form, as application/x-www-form-urlencoded",
            )),
        }
    }
}

/// A body of JSON; of what is answered too.
#[derive(Debug)]
pub(crate) struct Json<T>(pub T);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(wrong) => Err(refused(
                wrong.status(),
                &wrong.body_text(),
                "the body",
                "JSON, as application/json",
            )),
        }
    }
}

impl<T: Serialize> axum::response::IntoResponse for Json<T> {
    fn into_response(self) -> axum::response::Response {
        axum::Json(self.0).into_response()
    }
}

/// A library's refusal of `what`, which must be sent as `format`.
fn refused(status: StatusCode, text: &str, what: &str, format: &str) -> Problem {
    let (name, detail) = match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported-media-type", format!("send {format}")),
        StatusCode::UNPROCESSABLE_ENTITY => ("unprocessable", in_words(what, text)),
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "the request is too large".to_owned()),
        _ => ("bad-request", in_words(what, text)),
    };
    Problem::new(status, name, detail)
}

/// A library's refusal of `what`: without what it says of itself.
fn in_words(what: &str, text: &str) -> String {
    let why = text.split_once(": ").map_or(text, |(_, why)| why);
    // The place in a document of one line.
    let why = why.split_once(" at line ").map_or(why, |(why, _)| why);
    format!("{what} is wrong: {}", reelshift_operate::in_words(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_value_and_not_the_library() {
        let said = "Failed to deserialize query string: limit: invalid digit found in string";
        assert_eq!(in_words("the query", said), "the query is wrong: limit: it is no whole number");
        let said = "Failed to deserialize the JSON body into the target type: percent: invalid \
                    value: integer `300`, expected u8 at line 1 column 37";
        let words = "the body is wrong: percent: invalid value: integer `300`, give a whole number \
                     from 0 to 255";
        assert_eq!(in_words("the body", said), words);
    }
}
