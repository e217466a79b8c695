//! Who asks: what access control found out, for handlers that have to know.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

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
        Ok(parts.extensions.get().cloned().unwrap_or(Self {
            name: "local".to_owned(),
            role: Role::Operator,
            address: IpAddr::from([127, 0, 0, 1]),
            csrf: String::new(),
        }))
    }
}
