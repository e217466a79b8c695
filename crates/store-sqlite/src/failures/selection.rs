//! Which rows of the log are selected.

use reelshift_store::failures::ErrorSelection;
use reelshift_store::ledger::Since;
use sqlx::{QueryBuilder, Sqlite};

use crate::dialect::push_matches;
use crate::timestamp;

/// Appends the conditions as the statement's WHERE, a page's beginning among them.
pub(super) fn push_selection(query: &mut QueryBuilder<Sqlite>, selection: &ErrorSelection) {
    query.push(" WHERE 1");
    push_conditions(query, selection);
}

/// Appends the conditions on a row `e` of the log.
pub(crate) fn push_conditions(query: &mut QueryBuilder<Sqlite>, selection: &ErrorSelection) {
    if !selection.ids.is_empty() {
        query.push(" AND e.id IN (");
        let mut ids = query.separated(", ");
        for id in &selection.ids {
            ids.push_bind(id.to_string());
        }
        query.push(")");
    }
    for (key, id) in
        [("batch", selection.batch), ("run", selection.run), ("worker", selection.worker)]
    {
        let Some(id) = id else { continue };
        query.push(format_args!(" AND json_extract(e.system_state, '$.{key}') = "));
        query.push_bind(id.to_string());
    }
    if let Some(error_type) = &selection.error_type {
        query.push(" AND e.error_type = ").push_bind(error_type.clone());
    }
    if let Some(error_types) = &selection.error_types {
        push_matches(query, "e.error_type", error_types);
    }
    if let Some(stage) = &selection.processing_stage {
        query.push(" AND e.processing_stage = ").push_bind(stage.clone());
    }
    if let Some(video) = &selection.video {
        query.push(" AND e.video_id = ").push_bind(video.clone());
    }
    if let Some(videos) = &selection.videos {
        push_matches(query, "e.video_id", videos);
    }
    if let Some(path) = &selection.path {
        query.push(" AND EXISTS (SELECT 1 FROM videos p WHERE p.id = e.video_id");
        push_matches(query, "p.file_path", path);
        query.push(")");
    }
    if let Some(message) = &selection.message {
        push_matches(query, "e.error_message", message);
    }
    // As the column holds them: whole seconds.
    match selection.since {
        Some(Since::At(at)) => {
            query.push(" AND e.created_at >= ");
            query.push_bind(at.format("%Y-%m-%d %H:%M:%S").to_string());
        }
        Some(Since::Ago(ago)) => {
            query.push(" AND e.created_at >= strftime('%Y-%m-%d %H:%M:%S', 'now', ");
            query.push_bind(timestamp::ago(ago)).push(")");
        }
        None => {}
    }
    match selection.recovered {
        Some(true) => query.push(" AND e.recovery_successful IS 1"),
        Some(false) => query.push(" AND e.recovery_successful IS NOT 1"),
        None => query,
    };
    if let Some(accepted) = selection.accepted {
        query.push(
            " AND EXISTS (SELECT 1 FROM reelshift_quarantine a \
             WHERE a.error_id = e.id AND a.accepted_at IS ",
        );
        query.push(if accepted { "NOT NULL)" } else { "NULL)" });
    }
    if let Some(before) = &selection.before {
        // As the column holds them: whole seconds.
        let at = before.created_at.format("%Y-%m-%d %H:%M:%S").to_string();
        query.push(" AND e.created_at <= ").push_bind(at.clone());
        query.push(" AND (e.created_at < ").push_bind(at);
        query.push(" OR e.id < ").push_bind(before.id.clone()).push(")");
    }
}
