//! Who asks: what access control found out, for handlers that have to know.

use std::net::IpAddr;
use std::time::Duration;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use reelshift_operate::{By, Reason};
use serde::Serialize;
use utoipa::ToSchema;

use super::guard::unauthorized;
use super::session::Session;
use super::token::Role;
use crate::app::Shared;
use crate::problem::Problem;

/// How often somebody who is connected for longer is looked up again: as often as the clock,
/// which is what ends a token or a session.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// For how long somebody is admitted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Admission {
    /// When their token expires.
    pub expires: Option<DateTime<Utc>>,
    /// Their login, where they have one.
    pub session: Option<Session>,
}

impl Admission {
    fn has_ended(&self, app: &Shared) -> bool {
        app.clock.now().is_some_and(|now| {
            self.expires.is_some_and(|expires| now >= expires)
                || self.session.as_ref().is_some_and(|session| !app.sessions.is_open(session, now))
        })
    }

    /// Returns when the token has expired or the session has ended: a stream ends with it.
    pub(crate) async fn ended(self, app: Shared) {
        while !self.has_ended(&app) {
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    /// The name of the token.
    pub name: String,
    pub role: Role,
    /// From where.
    pub address: IpAddr,
    /// What a form of a page has to send along as its field `csrf`, a script as the header
    /// `x-csrf-token`; empty for bearers of a token, who need none.
    pub csrf: String,
    pub admission: Admission,
}

impl Principal {
    /// For what is the same whoever looks.
    pub(crate) fn nobody() -> Self {
        Self {
            name: String::new(),
            role: Role::Viewer,
            address: IpAddr::from([127, 0, 0, 1]),
            csrf: String::new(),
            admission: Admission::default(),
        }
    }

    /// `name@address`: who does this, for the record. The command line writes `user@host`.
    pub(crate) fn by(&self) -> String {
        format!("{}@{}", self.name, self.address)
    }

    /// A command of theirs.
    pub(crate) fn command(&self, reason: Option<Reason>) -> By {
        By::new(self.by(), reason)
    }

    /// Whether the page may offer what changes something.
    pub(crate) fn operates(&self) -> bool {
        self.role >= Role::Operator
    }
}

impl FromRequestParts<Shared> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| unauthorized("nobody is known here"))
    }
}

/// Who somebody is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WhoAmI {
    /// The name of the token; `local` where none is needed.
    name: String,
    role: Role,
    /// From where the request came.
    address: String,
}

/// Who the server takes one for.
#[utoipa::path(
    get,
    path = "/api/v1/whoami",
    operation_id = "get_caller",
    tag = "access",
    responses((status = 200, description = "Who one is", body = WhoAmI))
)]
pub(crate) async fn whoami(principal: Principal) -> Json<WhoAmI> {
    let address = principal.address.to_string();
    Json(WhoAmI { name: principal.name, role: principal.role, address })
}
