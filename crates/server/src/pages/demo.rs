//! The demo's own page: what can be done to its fleet.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::frame::{Frame, Page};
use super::view::View;
use super::{actions, begin, finish};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Form;
use crate::playground::Scene;

/// Where it is.
pub(crate) const PATH: &str = "/demo";

#[derive(Template)]
#[template(path = "demo.html")]
struct Demo {
    frame: Frame,
    view: View,
    scenes: Vec<Scene>,
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let Some(playground) = &app.options.playground else {
        return Err(StatusCode::NOT_FOUND.into_response());
    };
    let scenes = playground.scenes();
    let (frame, view) = begin(&app, &who, &headers, Page::Overview, PATH).await?;
    let said = frame.flash.is_some();
    Ok(finish(&Demo { frame: frame.titled("Demo"), view, scenes }, said))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Fields {
    scene: String,
}

/// `POST /actions/demo`
pub(crate) async fn play(State(app): State<Shared>, Form(fields): Form<Fields>) -> Response {
    let Some(playground) = &app.options.playground else {
        return StatusCode::NOT_FOUND.into_response();
    };
    actions::answered(PATH, playground.play(&fields.scene).await)
}
