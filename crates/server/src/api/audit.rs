//! Who changed what.

use axum::extract::State;
use reelshift_store::audit::{AuditEntry, AuditSelection, Subject};
use reelshift_store::failures::Pattern;
use reelshift_store::ids::{self, IdKind, IdPart};
use serde::Deserialize;
use utoipa::IntoParams;

use super::page::{Page, PageQuery};
use crate::app::Shared;
use crate::extract::{Json, Query};
use crate::problem::Problem;

/// Which changes. Every condition that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    subject: Option<Subject>,
    /// Of the flag, the control, the phase or the token.
    name: Option<String>,
    /// Of this run.
    run: Option<IdPart>,
    /// A part of who made them, or of from where; `*` stands for any characters.
    #[param(example = "ann@")]
    by: Option<String>,
    /// At or after this time: 30min, 2h, 2026-01-31 or 2026-01-31T12:00:00Z.
    #[param(example = "24h")]
    since: Option<String>,
}

/// Changes, the newest first: who, what, from where, when by the database's clock.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    operation_id = "list_audit",
    tag = "audit",
    params(Filter, PageQuery),
    responses((status = 200, description = "A page of changes", body = Page<AuditEntry>))
)]
pub(super) async fn list(
    State(app): State<Shared>,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<AuditEntry>>, Problem> {
    let (limit, before) = (page.limit()?, page.cursor()?);
    let Filter { subject, name, run, by, since } = filter;
    let run = ids::find_given(&*app.store, IdKind::Run, run.as_ref()).await?;
    let by = by.as_deref().map(Pattern::containing);
    let since = since.as_deref().map(reelshift_operate::since).transpose();
    let since = since.map_err(Problem::bad_request)?;
    let since = reelshift_operate::time_of(&*app.store, since).await?;
    let selection = AuditSelection { subject, name, run, by, since, commands: false };
    let entries = app.store.audit(&selection, before, limit + 1).await?;
    Page::of(entries, limit, |entry| entry.seq).map(Json)
}
