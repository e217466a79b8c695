//! What a rollback would do: the steps that would be undone, each with its statement, and
//! whether the server can undo all of them.

use reelshift_store::Store;
use reelshift_store::schema;
use reelshift_store::trial::Extent;
use serde::Serialize;

use super::{Result, RollBack, refuse};

/// What a rollback would do.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RollbackPreview {
    pub to: String,
    pub steps: Vec<PreviewedStep>,
    /// Why it would not begin now.
    pub refused: Vec<String>,
}

/// A step that would be undone.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewedStep {
    pub number: u32,
    pub name: String,
    pub removes: String,
    pub statement: String,
    /// The table that the server can change only by copying it.
    pub copies: Option<String>,
}

/// Tries everything on empty copies of the tables, and changes nothing.
///
/// # Errors
/// As the store.
pub async fn preview_rollback(
    store: &dyn Store,
    request: &RollBack<'_>,
) -> Result<RollbackPreview> {
    let last = request.to.last_step(store.steps());
    let to_undo = schema::undoable(store, last).await?;
    let mut refused = Vec::new();
    let mut statements = Vec::new();
    if !to_undo.is_empty() {
        let mut note = |checked: Result<()>| {
            refused.extend(checked.err().map(|error| error.to_string()));
        };
        note(refuse::while_used(store, &to_undo, request.despite).await);
        if schema::require_expanded(store).await.is_ok() {
            note(refuse::while_working(store).await);
        }
        let trial = store.trial(Extent::WayBack { last }).await?;
        note(refuse::unless_it_can_end(&trial, request.options.allow_copy));
        statements = trial.tried;
    }
    let purged = if request.purge { schema::undoable(store, 0).await? } else { to_undo };
    let steps = purged.into_iter().map(|step| {
        let tried = statements.iter().find(|tried| tried.step == step.number);
        let columns = step.down.matches("DROP COLUMN").count();
        // The step is known by one of them.
        let removes = match step.creates.table() {
            Some(table) if columns > 1 => format!("{columns} columns of {table}"),
            _ => step.creates.to_string(),
        };
        PreviewedStep {
            number: step.number,
            name: step.name.clone(),
            removes,
            statement: tried.map_or(&step.down, |tried| &tried.statement).trim_end().to_owned(),
            copies: tried.and_then(|tried| tried.copies.clone()),
        }
    });
    Ok(RollbackPreview { to: request.to.to_string(), steps: steps.collect(), refused })
}
