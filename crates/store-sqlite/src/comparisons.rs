//! What `validate` compares.
//!
//! The mappings are written here a second time, as tables of the specification's rules,
//! so that a mistake in the backfill's expressions cannot hide itself.

use reelshift_store::comparisons::ComparedTable;

/// Comparisons of one name are one check, described by the first.
pub(crate) struct Comparison {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) parts: &'static [Part],
}

/// One query for the differences among the rows of a table with `?1 < key <= ?2`.
pub(crate) struct Part {
    pub(crate) table: ComparedTable,
    /// Complete statement around the differences, see `differences!`.
    pub(crate) sql: &'static str,
}

/// Counts the differences of a window and yields the first of them.
macro_rules! differences {
    ($key:literal, $($sql:expr),+ $(,)?) => {
        concat!(
            "SELECT CAST(id AS TEXT) AS id, name, CAST(expected AS TEXT) AS expected,
                 CAST(found AS TEXT) AS found, COUNT(*) OVER () AS total
             FROM (", $($sql),+, " AND ", $key, " >= COALESCE(?1, '') AND ", $key, " IS NOT ?1
                 AND ", $key, " <= ?2)
             ORDER BY id, name LIMIT ?3"
        )
    };
}

/// The specification's phases 2.1 and 2.2 as a table: the first rule that fits a row, by
/// rank. `generated` or `processing` NULL fits any.
macro_rules! rules {
    () => {
        "rules (rank, generated, processing, class, truth, stage) AS (VALUES
            (1, 1,    NULL,         'completed',  'completed',  'completed'),
            (2, NULL, 'pending',    'uploaded',   'pending',    'validation'),
            (3, NULL, 'processing', 'processing', 'generating', 'ground_truth'),
            (4, NULL, NULL,         'failed',     'failed',     'validation'))"
    };
}

/// A video `v` with its rule `m`.
macro_rules! ruled {
    () => {
        "videos v JOIN rules m ON m.rank = (
             SELECT MIN(r.rank) FROM rules r
             WHERE (r.generated IS NULL OR r.generated = v.ground_truth_generated)
               AND (r.processing IS NULL OR r.processing = v.processing_status))"
    };
}

/// A column of an enumeration that holds something else.
macro_rules! outside {
    ($table:literal, $alias:literal, $id:literal, $column:literal, $values:literal) => {
        outside!($table, $alias, $id, $column, $values, "")
    };
    // A status with a default; that of the ground truth has a check of its own.
    ($table:literal, $alias:literal, $id:literal, $column:literal, $values:literal, NOT NULL) => {
        outside!(
            $table,
            $alias,
            $id,
            $column,
            $values,
            concat!(" OR ", $alias, ".", $column, " IS NULL")
        )
    };
    ($table:literal, $alias:literal, $id:literal, $column:literal, $values:literal, $or:expr) => {
        concat!(
            "SELECT ",
            $id,
            " AS id, '",
            $table,
            ".",
            $column,
            "' AS name, 'one of ",
            $values,
            "' AS expected, ",
            $alias,
            ".",
            $column,
            " AS found, ",
            $id,
            " AS key FROM ",
            $table,
            " ",
            $alias,
            " WHERE instr(', ",
            $values,
            ",', ', ' || ",
            $alias,
            ".",
            $column,
            " || ',') = 0",
            $or
        )
    };
}

pub(crate) const CHECKS: [Comparison; 9] = [
    Comparison {
        name: "data_integrity",
        description: "each video has exactly one processing status, whose upload_status is completed",
        parts: &[Part {
            table: ComparedTable::Videos,
            sql: differences!(
                "key",
                "SELECT * FROM (
                     SELECT v.id AS id, 'video_processing_status rows' AS name, 1 AS expected,
                         (SELECT COUNT(*) FROM video_processing_status s WHERE s.video_id = v.id) AS found,
                         v.id AS key
                     FROM videos v
                     WHERE (SELECT COUNT(*) FROM video_processing_status s WHERE s.video_id = v.id) <> 1
                     UNION ALL
                     SELECT v.id, 'upload_status', 'completed', s.upload_status, v.id
                     FROM videos v JOIN video_processing_status s ON s.video_id = v.id
                     WHERE s.upload_status IS NOT 'completed')
                 WHERE 1",
            ),
        }],
    },
    Comparison {
        name: "metadata",
        description: "original filename, MIME type, storage location and retention policy follow phase 2.3",
        parts: &[Part {
            table: ComparedTable::Videos,
            sql: differences!(
                "key",
                "WITH types (ending, type) AS (VALUES ('.mp4', 'video/mp4'), ('.avi', 'video/avi'),
                     ('.mov', 'video/quicktime'), ('.mkv', 'video/x-matroska'))
                 SELECT * FROM (
                     SELECT v.id AS id, 'original_filename' AS name, v.filename AS expected,
                         v.original_filename AS found, v.id AS key FROM videos v
                     UNION ALL SELECT v.id, 'file_mime_type', COALESCE(t.type, 'video/unknown'),
                         v.file_mime_type, v.id
                     FROM videos v LEFT JOIN types t ON t.ending = lower(substr(v.filename, -4))
                     UNION ALL SELECT v.id, 'storage_location', v.file_path, v.storage_location, v.id FROM videos v
                     UNION ALL SELECT v.id, 'retention_policy', 'standard_90_days', v.retention_policy, v.id
                     FROM videos v)
                 WHERE expected IS NOT found",
            ),
        }],
    },
    Comparison {
        name: "workflow_state",
        description: "the workflow state agrees with the legacy columns by phase 2.2",
        parts: &[Part {
            table: ComparedTable::Videos,
            sql: differences!(
                "v.id",
                "WITH ",
                rules!(),
                ", finer (state, class) AS (VALUES ('initializing', 'uploaded'), ('uploading', 'uploaded'),
                     ('uploaded', 'uploaded'), ('validating', 'uploaded'), ('processing', 'processing'),
                     ('completed', 'completed'), ('failed', 'failed'))
                 SELECT v.id AS id, 'workflow_state' AS name, m.class AS expected, v.workflow_state AS found
                 FROM ",
                ruled!(),
                " LEFT JOIN finer f ON f.state = v.workflow_state
                 WHERE v.workflow_state IS NOT 'archived' AND f.class IS NOT m.class",
            ),
        }],
    },
    Comparison {
        name: "ground_truth_status",
        description: "the ground truth status follows phase 2.1",
        parts: &[Part {
            table: ComparedTable::Videos,
            sql: differences!(
                "v.id",
                "WITH ",
                rules!(),
                " SELECT v.id AS id, 'ground_truth_status' AS name, m.truth AS expected,
                     s.ground_truth_status AS found
                 FROM ",
                ruled!(),
                " JOIN video_processing_status s ON s.video_id = v.id
                 WHERE s.ground_truth_status IS NOT m.truth",
            ),
        }],
    },
    Comparison {
        name: "current_stage",
        description: "the stage follows phase 2.1, or the workflow state as phase 5.1 sets or leaves it",
        parts: &[Part {
            table: ComparedTable::Videos,
            sql: differences!(
                "v.id",
                "WITH ",
                rules!(),
                ", synced (state, stage) AS (VALUES ('processing', 'inference'), ('completed', 'completed'),
                     ('failed', 'failed'))
                 SELECT v.id AS id, 'current_stage' AS name, m.stage AS expected, s.current_stage AS found
                 FROM ",
                ruled!(),
                " JOIN video_processing_status s ON s.video_id = v.id
                  LEFT JOIN synced y ON y.state = v.workflow_state
                 WHERE s.current_stage IS NOT m.stage AND (y.stage IS NULL OR s.current_stage IS NOT y.stage)
                     AND NOT COALESCE((m.class = 'uploaded' OR v.workflow_state = 'archived') AND s.current_stage
                         IN ('validation', 'ground_truth', 'inference', 'completed', 'failed'), FALSE)",
            ),
        }],
    },
    Comparison {
        name: "state_consistency",
        description: "a completed video's ground truth is completed, a failed one's failed or pending",
        parts: &[Part {
            table: ComparedTable::Videos,
            sql: differences!(
                "v.id",
                "SELECT v.id AS id, 'ground_truth_status' AS name,
                     CASE v.workflow_state WHEN 'completed' THEN 'completed' ELSE 'failed or pending' END AS expected,
                     s.ground_truth_status AS found
                 FROM videos v JOIN video_processing_status s ON s.video_id = v.id
                 WHERE ((v.workflow_state = 'completed' AND s.ground_truth_status IS NOT 'completed')
                     OR (v.workflow_state = 'failed'
                         AND COALESCE(s.ground_truth_status, '') NOT IN ('failed', 'pending')))",
            ),
        }],
    },
    Comparison {
        name: "foreign_key_validation",
        description: "each processing status and each error row names a video and a parent that exist",
        parts: &[
            Part {
                table: ComparedTable::Statuses,
                sql: differences!(
                    "s.video_id",
                    "SELECT s.video_id AS id, 'video_processing_status.video_id' AS name, 'a video' AS expected,
                         s.video_id AS found
                     FROM video_processing_status s
                     WHERE NOT EXISTS (SELECT 1 FROM videos v WHERE v.id = s.video_id)",
                ),
            },
            Part {
                table: ComparedTable::Errors,
                sql: differences!(
                    "key",
                    "SELECT * FROM (
                         SELECT e.id AS id, 'processing_error_log.video_id' AS name, 'a video' AS expected,
                             e.video_id AS found, e.id AS key
                         FROM processing_error_log e
                         WHERE e.video_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM videos v WHERE v.id = e.video_id)
                         UNION ALL
                         SELECT e.id, 'processing_error_log.parent_error_id', 'an error row',
                             e.parent_error_id, e.id
                         FROM processing_error_log e
                         WHERE e.parent_error_id IS NOT NULL
                           AND NOT EXISTS (SELECT 1 FROM processing_error_log p WHERE p.id = e.parent_error_id))
                     WHERE 1",
                ),
            },
        ],
    },
    Comparison {
        name: "enum_values",
        description: "each state and status is one of the specification's values",
        parts: &[
            Part {
                table: ComparedTable::Videos,
                sql: differences!(
                    "key",
                    "SELECT * FROM (",
                    outside!("videos", "v", "v.id", "workflow_state",
                        "initializing, uploading, uploaded, validating, processing, completed, failed, archived"),
                    ") WHERE 1",
                ),
            },
            Part {
                table: ComparedTable::Statuses,
                sql: differences!(
                    "key",
                    "SELECT * FROM (",
                    outside!("video_processing_status", "s", "s.video_id", "upload_status",
                        "pending, uploading, completed, failed", NOT NULL),
                    " UNION ALL ",
                    outside!("video_processing_status", "s", "s.video_id", "validation_status",
                        "pending, validating, completed, failed", NOT NULL),
                    " UNION ALL ",
                    outside!("video_processing_status", "s", "s.video_id", "extraction_status",
                        "pending, extracting, completed, failed", NOT NULL),
                    " UNION ALL ",
                    outside!("video_processing_status", "s", "s.video_id", "inference_status",
                        "pending, processing, completed, failed", NOT NULL),
                    " UNION ALL ",
                    outside!("video_processing_status", "s", "s.video_id", "ground_truth_status",
                        "pending, generating, completed, failed"),
                    ") WHERE 1",
                ),
            },
            Part {
                table: ComparedTable::Errors,
                sql: differences!(
                    "key",
                    "SELECT * FROM (",
                    outside!("processing_error_log", "e", "e.id", "severity", "low, medium, high, critical"),
                    " UNION ALL ",
                    outside!("processing_error_log", "e", "e.id", "user_impact", "none, low, medium, high"),
                    ") WHERE 1",
                ),
            },
            Part {
                table: ComparedTable::Notifications,
                sql: differences!(
                    "key",
                    "SELECT * FROM (",
                    outside!("realtime_notification_queue", "n", "n.id", "status",
                        "pending, processing, sent, failed, expired"),
                    ") WHERE 1",
                ),
            },
        ],
    },
    Comparison {
        name: "file_hash",
        description: "each hash is 64 lower-case hexadecimal digits",
        parts: &[Part {
            table: ComparedTable::Videos,
            sql: differences!(
                "v.id",
                "SELECT v.id AS id, 'file_hash' AS name, '64 lower-case hex digits' AS expected,
                     v.file_hash AS found
                 FROM videos v
                 WHERE v.file_hash IS NOT NULL
                   AND (length(v.file_hash) <> 64 OR v.file_hash GLOB '*[^0-9a-f]*')",
            ),
        }],
    },
];
