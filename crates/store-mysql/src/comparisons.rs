//! What `validate` compares: the specification's mappings stated a second time, as
//! positions in lists. They share nothing with [`crate::mapping`], so that a mistake there
//! is found here.

/// Position of the row's state: 1 any other, 2 pending, 3 processing, 4 with ground truth.
macro_rules! position {
    () => {
        "IF(v.ground_truth_generated <=> 1, 4, \
            FIELD(v.processing_status, 'pending', 'processing') + 1)"
    };
}

/// By the last four characters, so that no collation's idea of an ending plays a part.
macro_rules! mime_type {
    () => {
        "ELT(FIELD(RIGHT(LOWER(v.filename), 4), '.mp4', '.avi', '.mov', '.mkv') + 1, \
             'video/unknown', 'video/mp4', 'video/avi', 'video/quicktime', 'video/x-matroska')"
    };
}

/// A text's bytes: collations ignore case, and blanks at the end.
macro_rules! bytes {
    ($text:expr) => {
        concat!("CAST(CONVERT(", $text, " USING utf8mb4) AS BINARY)")
    };
}

/// Whether two texts differ in any byte.
macro_rules! differ {
    ($one:expr, $other:expr) => {
        concat!("NOT (", bytes!($one), " <=> ", bytes!($other), ")")
    };
}

/// The comparisons of one table's rows.
pub(crate) struct Walk {
    /// The table itself, in the order of the key.
    pub(crate) keys: &'static str,
    /// With it whatever one of the comparisons reads.
    pub(crate) from: &'static str,
    /// The key, never NULL in what is compared.
    pub(crate) key: &'static str,
    pub(crate) comparisons: &'static [Comparison],
}

/// One comparison of the rows in a window.
pub(crate) struct Comparison {
    /// Comparisons of one name are one check, described by the first.
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// What may differ: column, expectation, finding, and the condition that it does. The
    /// condition is never NULL.
    pub(crate) parts: &'static [Part],
}

pub(crate) struct Part {
    pub(crate) column: &'static str,
    pub(crate) expected: &'static str,
    pub(crate) found: &'static str,
    pub(crate) differs: &'static str,
}

/// The enum's error value, which a server without strict mode stores for an unknown name,
/// reads as an empty text. No status is NULL: each has a default.
macro_rules! enum_part {
    ($column:literal, $names:literal) => {
        Part {
            column: $column,
            expected: concat!("'one of ", $names, "'"),
            found: concat!("s.", $column),
            differs: concat!(
                "s.id IS NOT NULL AND COALESCE(FIND_IN_SET(s.",
                $column,
                ", '",
                $names,
                "'), 0) = 0"
            ),
        }
    };
}

/// What is compared along the keys of each table, in the order of `ComparedTable::ALL`. In `videos` the one status row is joined; a
/// video with two is found by its number of rows.
pub(crate) static WALKS: [Walk; 4] = [
    Walk {
        keys: "videos v FORCE INDEX (PRIMARY)",
        from: "videos v FORCE INDEX (PRIMARY) \
               LEFT JOIN video_processing_status s ON s.video_id = v.id",
        key: "v.id",
        comparisons: VIDEO_COMPARISONS,
    },
    Walk { keys: STATUSES, from: STATUSES, key: "s.video_id", comparisons: STATUS_COMPARISONS },
    Walk { keys: ERRORS, from: ERRORS, key: "s.id", comparisons: ERROR_COMPARISONS },
    Walk {
        keys: NOTIFICATIONS,
        from: NOTIFICATIONS,
        key: "s.id",
        comparisons: NOTIFICATION_COMPARISONS,
    },
];

const STATUSES: &str =
    "video_processing_status s FORCE INDEX (idx_video_processing_status_video_id)";
const ERRORS: &str = "processing_error_log s FORCE INDEX (PRIMARY)";
const NOTIFICATIONS: &str = "realtime_notification_queue s FORCE INDEX (PRIMARY)";

const STATUS_COMPARISONS: &[Comparison] = &[Comparison {
    name: "foreign_key_validation",
    description: "each video_id of video_processing_status and processing_error_log is a video, each \
                  parent_error_id an error",
    parts: &[Part {
        column: "video_processing_status.video_id",
        expected: "'a video'",
        found: "s.video_id",
        differs: "NOT EXISTS (SELECT 1 FROM videos v WHERE v.id = s.video_id)",
    }],
}];

const ERROR_COMPARISONS: &[Comparison] = &[
    Comparison {
        name: "foreign_key_validation",
        description: "",
        parts: &[
            Part {
                column: "processing_error_log.video_id",
                expected: "'a video'",
                found: "s.video_id",
                differs: "s.video_id IS NOT NULL AND NOT EXISTS \
                          (SELECT 1 FROM videos v WHERE v.id = s.video_id)",
            },
            Part {
                column: "processing_error_log.parent_error_id",
                expected: "'an error'",
                found: "s.parent_error_id",
                differs: "s.parent_error_id IS NOT NULL AND NOT EXISTS \
                          (SELECT 1 FROM processing_error_log p WHERE p.id = s.parent_error_id)",
            },
        ],
    },
    Comparison {
        name: "enum_values",
        description: "",
        parts: &[
            Part {
                column: "processing_error_log.severity",
                expected: "'one of low,medium,high,critical'",
                found: "s.severity",
                differs: "COALESCE(FIND_IN_SET(s.severity, 'low,medium,high,critical') = 0, FALSE)",
            },
            Part {
                column: "processing_error_log.user_impact",
                expected: "'one of none,low,medium,high'",
                found: "s.user_impact",
                differs: "COALESCE(FIND_IN_SET(s.user_impact, 'none,low,medium,high') = 0, FALSE)",
            },
        ],
    },
];

const NOTIFICATION_COMPARISONS: &[Comparison] = &[Comparison {
    name: "enum_values",
    description: "",
    parts: &[Part {
        column: "realtime_notification_queue.status",
        expected: "'one of pending,processing,sent,failed,expired'",
        found: "s.status",
        differs: "COALESCE(FIND_IN_SET(s.status, 'pending,processing,sent,failed,expired') = 0, FALSE)",
    }],
}];

const VIDEO_COMPARISONS: &[Comparison] = &[
    Comparison {
        name: "data_integrity",
        description: "each video has exactly one row in video_processing_status, whose upload_status \
                      is completed",
        parts: &[
            Part {
                column: "video_processing_status",
                expected: "'1'",
                found: "(SELECT COUNT(*) FROM video_processing_status c WHERE c.video_id = v.id)",
                differs: "s.id IS NULL OR EXISTS (SELECT 1 FROM video_processing_status c \
                          WHERE c.video_id = v.id AND c.id <> s.id)",
            },
            Part {
                column: "upload_status",
                expected: "'completed'",
                found: "s.upload_status",
                differs: "s.id IS NOT NULL AND NOT (s.upload_status <=> 'completed')",
            },
        ],
    },
    Comparison {
        name: "metadata",
        description: "original_filename, file_mime_type, storage_location and retention_policy \
                      follow the legacy columns",
        parts: &[
            Part {
                column: "original_filename",
                expected: "v.filename",
                found: "v.original_filename",
                differs: differ!("v.original_filename", "v.filename"),
            },
            Part {
                column: "file_mime_type",
                expected: mime_type!(),
                found: "v.file_mime_type",
                differs: differ!("v.file_mime_type", mime_type!()),
            },
            Part {
                column: "storage_location",
                expected: "v.file_path",
                found: "v.storage_location",
                differs: differ!("v.storage_location", "v.file_path"),
            },
            Part {
                column: "retention_policy",
                expected: "'standard_90_days'",
                found: "v.retention_policy",
                differs: differ!("v.retention_policy", "'standard_90_days'"),
            },
        ],
    },
    Comparison {
        name: "workflow_state",
        description: "workflow_state agrees with processing_status and ground_truth_generated, or \
                      is archived",
        parts: &[Part {
            column: "workflow_state",
            expected: concat!(
                "ELT(",
                position!(),
                ", 'failed', 'uploaded', 'processing', 'completed')"
            ),
            found: "v.workflow_state",
            differs: concat!(
                "COALESCE(FIND_IN_SET(v.workflow_state, ELT(",
                position!(),
                ", 'failed,archived', 'initializing,uploading,uploaded,validating,archived', \
                   'processing,archived', 'completed,archived')), 0) = 0"
            ),
        }],
    },
    Comparison {
        name: "ground_truth_status",
        description: "ground_truth_status agrees with processing_status and ground_truth_generated",
        parts: &[Part {
            column: "ground_truth_status",
            expected: concat!(
                "ELT(",
                position!(),
                ", 'failed', 'pending', 'generating', 'completed')"
            ),
            found: "s.ground_truth_status",
            differs: concat!(
                "NOT (s.ground_truth_status <=> ELT(",
                position!(),
                ", 'failed', 'pending', 'generating', 'completed'))"
            ),
        }],
    },
    Comparison {
        name: "current_stage",
        description: "current_stage is the backfill's for the row's state, or the one that \
                      tr_video_workflow_sync sets or leaves",
        parts: &[Part {
            column: "current_stage",
            expected: concat!(
                "ELT(",
                position!(),
                ", 'validation', 'validation', 'ground_truth', 'completed')"
            ),
            found: "s.current_stage",
            differs: concat!(
                "COALESCE(FIND_IN_SET(CAST(CONVERT(s.current_stage USING utf8mb4) AS BINARY), \
                   CAST(ELT(IF(v.workflow_state <=> 'archived', 2, ",
                position!(),
                "), 'validation,failed', 'validation,ground_truth,inference,completed,failed', \
                   'ground_truth,inference', 'completed') AS BINARY)), 0) = 0"
            ),
        }],
    },
    Comparison {
        name: "state_consistency",
        description: "a completed video's ground truth is completed, a failed one's failed or pending",
        parts: &[Part {
            column: "ground_truth_status",
            expected: "IF(v.workflow_state = 'completed', 'completed', 'failed or pending')",
            found: "s.ground_truth_status",
            differs: "s.id IS NOT NULL AND COALESCE(\
                        (v.workflow_state = 'completed' AND NOT (s.ground_truth_status <=> 'completed')) \
                        OR (v.workflow_state = 'failed' \
                            AND COALESCE(s.ground_truth_status NOT IN ('failed', 'pending'), TRUE)), FALSE)",
        }],
    },
    Comparison {
        name: "enum_values",
        description: "every state, status, severity and impact is a value of its enum",
        parts: &[
            Part {
                column: "workflow_state",
                expected: "'one of initializing,uploading,uploaded,validating,processing,completed,\
                           failed,archived'",
                found: "v.workflow_state",
                differs: "COALESCE(FIND_IN_SET(v.workflow_state, 'initializing,uploading,uploaded,\
                          validating,processing,completed,failed,archived') = 0, FALSE)",
            },
            enum_part!("upload_status", "pending,uploading,completed,failed"),
            enum_part!("validation_status", "pending,validating,completed,failed"),
            enum_part!("extraction_status", "pending,extracting,completed,failed"),
            enum_part!("inference_status", "pending,processing,completed,failed"),
            enum_part!("ground_truth_status", "pending,generating,completed,failed"),
        ],
    },
    Comparison {
        name: "file_hash",
        description: "each file_hash is 64 lower-case hex digits",
        parts: &[Part {
            column: "file_hash",
            expected: "'64 lower-case hex digits'",
            found: "v.file_hash",
            differs: "v.file_hash IS NOT NULL AND (CHAR_LENGTH(v.file_hash) <> 64 \
                      OR v.file_hash NOT REGEXP '^[0-9a-f]{64}$' \
                      OR CONVERT(v.file_hash USING utf8mb4) COLLATE utf8mb4_bin \
                         <> LOWER(CONVERT(v.file_hash USING utf8mb4)) COLLATE utf8mb4_bin)",
        }],
    },
];
