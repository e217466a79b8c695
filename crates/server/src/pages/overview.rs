//! Is it moving, and does it need me?

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::frame::{Frame, Page};
use super::view::View;
use super::{begin, finish};
use crate::access::Principal;
use crate::app::Shared;

#[derive(Template)]
#[template(
    path = "overview.html",
    blocks = [
        "verdict", "phases", "progress", "attention", "charts", "stopping", "verified", "fleet",
        "steps"
    ]
)]
pub(super) struct Overview {
    pub frame: Frame,
    pub view: View,
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let (frame, view) = begin(&app, &who, &headers, Page::Overview, "/").await?;
    let said = frame.flash.is_some();
    Ok(finish(&Overview { frame, view }, said))
}
