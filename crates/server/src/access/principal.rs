//! Who asks: what access control found out, for handlers that have to know.

use std::net::IpAddr;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use super::guard::unauthorized;
use super::token::Role;
use crate::app::Shared;
use crate::problem::Problem;

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
}

impl Principal {
    /// `name@address`: who does this, for the record. The command line writes `user@host`.
    pub(crate) fn by(&self) -> String {
        format!("{}@{}", self.name, self.address)
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
    tag = "access",
    responses((status = 200, description = "Who one is", body = WhoAmI))
)]
pub(crate) async fn whoami(principal: Principal) -> Json<WhoAmI> {
    let address = principal.address.to_string();
    Json(WhoAmI { name: principal.name, role: principal.role, address })
}
