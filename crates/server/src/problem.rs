//! Every answer that is no success, as RFC 9457 has it: `application/problem+json`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelshift_store::StoreError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What kind of problem this is: the same for every problem of its kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind for people.
    pub title: String,
    /// The status code.
    pub status: u16,
    /// What is wrong in this request, and what to do.
    pub detail: String,
}

impl Problem {
    /// A problem of the kind `name`, which is part of the API.
    #[must_use]
    pub fn new(status: StatusCode, name: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:reelshift:problem:{name}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// The status code.
    #[must_use]
    pub fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Invalid(why) => Self::bad_request(why),
            StoreError::Refused(why) | StoreError::NotExpanded(why) => Self::conflict(why),
            StoreError::Locked { message, .. } | StoreError::Transient { message, .. } => {
                Self::unavailable(format!(
                    "the database does not answer now ({message}): try again in a moment"
                ))
            }
            StoreError::LeaseLost
            | StoreError::RowRefused { .. }
            | StoreError::Permanent { .. }
            | StoreError::Unusable { .. } => {
                tracing::error!(%error, "the database refused what a request needs");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "database",
                    format!("the database refused this: {error}"),
                )
            }
        }
    }
}

impl From<Problem> for Box<Response> {
    fn from(problem: Problem) -> Self {
        Self::new(problem.into_response())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.code(), Json(&self)).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
