//! The status of a video, as the application reads it.

use axum::extract::State;
use reelshift_rollout::VideoStatus;

use crate::app::Shared;
use crate::extract::{Json, Path};
use crate::problem::Problem;

/// The status of a video, in one of the specification's two shapes.
#[utoipa::path(
    get,
    path = "/videos/{id}/status",
    operation_id = "get_video_status",
    tag = "videos",
    params(("id" = String, Path, description = "The video's id")),
    responses(
        (status = 200, description = "The status", body = VideoStatus),
        (status = 404, description = "There is no such video", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn status(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<VideoStatus>, Problem> {
    app.statuses.read(&id).await?.map(Json).ok_or_else(|| Problem::not_found("Video not found"))
}
