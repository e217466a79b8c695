//! The specification's mappings as fragments of SQL over the legacy columns of
//! `videos v`, written once for planning and for the backfill. `validate` does not use
//! them: it has its own.

use reelshift_store::ledger::VideoFilter;
use sqlx::{QueryBuilder, Sqlite};

use crate::timestamp;

/// WF(row), phase 2.2.
macro_rules! workflow_state {
    () => {
        "CASE WHEN v.ground_truth_generated = 1 THEN 'completed'
              WHEN v.processing_status = 'pending' THEN 'uploaded'
              WHEN v.processing_status = 'processing' THEN 'processing'
              ELSE 'failed' END"
    };
}

/// GT(row), phase 2.1.
macro_rules! ground_truth_status {
    () => {
        "CASE WHEN v.ground_truth_generated = 1 THEN 'completed'
              WHEN v.processing_status = 'pending' THEN 'pending'
              WHEN v.processing_status = 'processing' THEN 'generating'
              ELSE 'failed' END"
    };
}

/// The stage of phase 2.1.
macro_rules! current_stage {
    () => {
        "CASE WHEN v.ground_truth_generated = 1 THEN 'completed'
              WHEN v.processing_status = 'processing' THEN 'ground_truth'
              ELSE 'validation' END"
    };
}

/// The type of phase 2.3; a file name's case does not matter.
macro_rules! mime_type {
    () => {
        "CASE WHEN LOWER(v.filename) LIKE '%.mp4' THEN 'video/mp4'
              WHEN LOWER(v.filename) LIKE '%.avi' THEN 'video/avi'
              WHEN LOWER(v.filename) LIKE '%.mov' THEN 'video/quicktime'
              WHEN LOWER(v.filename) LIKE '%.mkv' THEN 'video/x-matroska'
              ELSE 'video/unknown' END"
    };
}

/// Whether the row agrees; never NULL.
macro_rules! agrees {
    () => {
        concat!(
            "(v.workflow_state IS 'archived' OR CASE
                  WHEN v.workflow_state IN ('initializing', 'uploading', 'uploaded', 'validating')
                  THEN 'uploaded' ELSE v.workflow_state END IS ",
            $crate::mapping::workflow_state!(),
            ")"
        )
    };
}

/// Whether a stage is one that the backfill, the bridge or the trigger of automate give a row
/// of this ground truth status, archived or not, as `validate` has it; never NULL.
macro_rules! stage_agrees {
    ($stage:expr, $truth:expr, $archived:expr) => {
        concat!(
            "COALESCE(CASE WHEN ",
            $archived,
            " OR ",
            $truth,
            " = 'pending' THEN ",
            $stage,
            " IN ('validation', 'ground_truth', 'inference', 'completed', 'failed') ELSE CASE ",
            $truth,
            " WHEN 'completed' THEN ",
            $stage,
            " = 'completed' WHEN 'generating' THEN ",
            $stage,
            " IN ('ground_truth', 'inference') ELSE ",
            $stage,
            " IN ('validation', 'failed') END END, FALSE)"
        )
    };
}

/// Whether the row needs backfill. The three mappings that come from columns that may be
/// NULL are compared only where they are not.
macro_rules! needs_backfill {
    () => {
        concat!(
            "((NOT ",
            $crate::mapping::agrees!(),
            " OR v.file_mime_type IS NULL OR v.retention_policy IS NULL
              OR (v.original_filename IS NULL AND v.filename IS NOT NULL)
              OR (v.storage_location IS NULL AND v.file_path IS NOT NULL)
              OR NOT EXISTS (SELECT 1 FROM video_processing_status s WHERE s.video_id = v.id
                  AND s.ground_truth_status IS ",
            $crate::mapping::ground_truth_status!(),
            " AND ",
            $crate::mapping::stage_agrees!(
                "s.current_stage",
                "s.ground_truth_status",
                "v.workflow_state IS 'archived'"
            ),
            ")) AND NOT EXISTS (SELECT 1 FROM reelshift_quarantine q
                               WHERE q.kind = 'backfill' AND q.video_id = v.id))"
        )
    };
}

/// Whether the row has a file to be hashed: a blank path is one. No index on the hash is
/// taken, which would give all such rows at once.
macro_rules! needs_hash {
    () => {
        "(COALESCE(v.file_path, '') COLLATE BINARY <> '' AND +v.file_hash IS NULL
          AND NOT EXISTS (SELECT 1 FROM reelshift_quarantine q WHERE q.kind = 'hash' AND q.video_id = v.id))"
    };
}

/// The ids of a bound [`hex_array`], as a subquery. In hexadecimal: a text of `json_each`
/// ends at a NUL, which an id may hold.
macro_rules! ids {
    () => {
        "(SELECT CAST(unhex(value) AS TEXT) FROM json_each(?))"
    };
}

pub(crate) use {
    agrees, current_stage, ground_truth_status, ids, mime_type, needs_backfill, needs_hash,
    stage_agrees, workflow_state,
};

/// Ids of videos as one bound value, for [`ids!`].
pub(crate) fn hex_array(ids: &[String]) -> String {
    serde_json::json!(ids.iter().map(hex::encode).collect::<Vec<_>>()).to_string()
}

/// Adds [`ids!`] with its value.
pub(crate) fn push_ids(query: &mut QueryBuilder<Sqlite>, ids: &[String]) {
    query.push("(SELECT CAST(unhex(value) AS TEXT) FROM json_each(");
    query.push_bind(hex_array(ids)).push("))");
}

/// Adds the condition that `v.id` lies behind `after`. Without one the first text of all
/// is the limit: SQLite puts NULL before it and, should there be any, blobs after the
/// last, where planning would never come to an end.
pub(crate) fn push_after(query: &mut QueryBuilder<Sqlite>, after: Option<&str>) {
    match after {
        Some(after) => query.push("v.id > ").push_bind(after.to_owned()),
        None => query.push("v.id >= ''"),
    };
    query.push(" AND v.id < x''");
}

/// Adds the filter's conditions, each with AND before it. They are put so that no index of
/// the application's serves them: that on the key does, which bounds what is read.
pub(crate) fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: &VideoFilter) {
    if let Some(project) = &filter.project {
        query.push(" AND CASE WHEN v.project_id = ").push_bind(project.clone()).push(" THEN 1 END");
    }
    if let Some(status) = &filter.status {
        query.push(" AND CASE WHEN v.status = ").push_bind(status.clone()).push(" THEN 1 END");
    }
    // Applications write `2026-01-02 03:04:05`, with or without fractions, a T or a zone:
    // as text these do not sort as the times do.
    if let Some(from) = filter.created_after {
        query
            .push(" AND julianday(v.created_at) >= julianday(")
            .push_bind(timestamp::text(from))
            .push(")");
    }
    if let Some(before) = filter.created_before {
        query
            .push(" AND julianday(v.created_at) < julianday(")
            .push_bind(timestamp::text(before))
            .push(")");
    }
}
