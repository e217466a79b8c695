//! The specification's mappings of the legacy columns as SQL over `videos v`, and what of
//! a row is to be written. `validate` states the same mappings in other words; nothing is
//! shared with it.

/// `WF(row)`.
macro_rules! workflow_state {
    () => {
        "CASE WHEN v.ground_truth_generated = TRUE THEN 'completed' \
              WHEN v.processing_status = 'pending' THEN 'uploaded' \
              WHEN v.processing_status = 'processing' THEN 'processing' \
              ELSE 'failed' END"
    };
}

/// `GT(row)`.
macro_rules! ground_truth_status {
    () => {
        "CASE WHEN v.ground_truth_generated = TRUE THEN 'completed' \
              WHEN v.processing_status = 'pending' THEN 'pending' \
              WHEN v.processing_status = 'processing' THEN 'generating' \
              ELSE 'failed' END"
    };
}

/// The type of a file name; its case does not matter.
macro_rules! mime_type {
    () => {
        "CASE WHEN LOWER(v.filename) LIKE '%.mp4' THEN 'video/mp4' \
              WHEN LOWER(v.filename) LIKE '%.avi' THEN 'video/avi' \
              WHEN LOWER(v.filename) LIKE '%.mov' THEN 'video/quicktime' \
              WHEN LOWER(v.filename) LIKE '%.mkv' THEN 'video/x-matroska' \
              ELSE 'video/unknown' END"
    };
}

/// Whether the row agrees, never NULL.
macro_rules! agrees {
    () => {
        concat!(
            "COALESCE(CASE \
               WHEN v.workflow_state = 'archived' THEN TRUE \
               WHEN v.workflow_state IN ('initializing', 'uploading', 'uploaded', 'validating') \
                 THEN ",
            workflow_state!(),
            " = 'uploaded' ELSE v.workflow_state = ",
            workflow_state!(),
            " END, FALSE)"
        )
    };
}

/// Whether the stage of status row `s` is one that the backfill, the bridge or the triggers of
/// automate give a row like this, as `validate` has it; never NULL. Compared as bytes.
macro_rules! stage_agrees {
    () => {
        concat!(
            "COALESCE(FIND_IN_SET(CAST(CONVERT(s.current_stage USING utf8mb4) AS BINARY), \
               CAST(CASE WHEN v.workflow_state = 'archived' \
                    THEN 'validation,ground_truth,inference,completed,failed' ELSE CASE ",
            ground_truth_status!(),
            " WHEN 'completed' THEN 'completed' \
                      WHEN 'pending' THEN 'validation,ground_truth,inference,completed,failed' \
                      WHEN 'generating' THEN 'ground_truth,inference' \
                      ELSE 'validation,failed' END END AS BINARY)), 0) > 0"
        )
    };
}

pub(crate) const STAGE_AGREES: &str = stage_agrees!();

pub(crate) const WORKFLOW_STATE: &str = workflow_state!();

pub(crate) const GROUND_TRUTH_STATUS: &str = ground_truth_status!();

pub(crate) const MIME_TYPE: &str = mime_type!();

pub(crate) const CURRENT_STAGE: &str = "CASE WHEN v.ground_truth_generated = TRUE THEN 'completed' \
     WHEN v.processing_status = 'pending' THEN 'validation' \
     WHEN v.processing_status = 'processing' THEN 'ground_truth' \
     ELSE 'validation' END";

/// Whether the row needs backfill.
pub(crate) const NEEDS_BACKFILL: &str = concat!(
    "(NOT ",
    agrees!(),
    " OR (v.original_filename IS NULL AND v.filename IS NOT NULL) \
      OR v.file_mime_type IS NULL \
      OR (v.storage_location IS NULL AND v.file_path IS NOT NULL) \
      OR v.retention_policy IS NULL \
      OR NOT EXISTS (SELECT 1 FROM video_processing_status s WHERE s.video_id = v.id \
         AND s.ground_truth_status = ",
    ground_truth_status!(),
    " AND ",
    stage_agrees!(),
    ")) AND NOT EXISTS (SELECT 1 FROM reelshift_quarantine q \
        WHERE q.kind = 'backfill' AND q.video_id = v.id)"
);

/// The assignments that bring a row into agreement. The times are named so that no
/// `ON UPDATE CURRENT_TIMESTAMP` of the legacy table changes them.
pub(crate) const ASSIGNMENTS: &str = concat!(
    "v.workflow_state = CASE WHEN ",
    agrees!(),
    " THEN v.workflow_state ELSE ",
    workflow_state!(),
    " END, \
     v.original_filename = COALESCE(v.original_filename, v.filename), \
     v.file_mime_type = COALESCE(v.file_mime_type, ",
    mime_type!(),
    "), \
     v.storage_location = COALESCE(v.storage_location, v.file_path), \
     v.retention_policy = COALESCE(v.retention_policy, 'standard_90_days'), \
     v.created_at = v.created_at, v.updated_at = v.updated_at"
);
