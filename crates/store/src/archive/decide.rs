//! What of an archived video is written back: pure, the same for every dialect.
//!
//! An archived value replaces what the new expand, the bridge and the backfill put there
//! by themselves (the column's default, or what follows from the legacy columns), never
//! what somebody else has written since. Where the legacy columns changed, they win.

use super::{Column, LEGACY_COLUMNS, NEW_COLUMNS, Row, VIDEO_TRUTH, Value, position};

/// A video as it is now.
#[derive(Debug, Clone)]
pub struct CurrentVideo {
    /// As archived: [`LEGACY_COLUMNS`], then [`NEW_COLUMNS`].
    pub row: Row,
    /// `WF(row)`, by the database.
    pub workflow_state: String,
    /// The specification's type of the file name, by the database.
    pub mime_type: String,
}

/// What to write, and what was left as it is because the row changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    pub set: Vec<(&'static str, Value)>,
    pub kept_state: bool,
    pub kept_hash: bool,
    pub kept_metadata: bool,
}

impl Decision {
    /// Which of [`NEW_COLUMNS`] are set, a bit each.
    #[must_use]
    pub fn columns(&self) -> u32 {
        let is_set = |name: &&str| self.set.iter().any(|(column, _)| column == name);
        let bits = NEW_COLUMNS.iter().enumerate().filter(|(_, name)| is_set(name));
        bits.map(|(at, _)| 1 << at).sum()
    }
}

/// Decides over one video. Both rows have all columns.
#[must_use]
pub fn decide(archived: &[Value], current: &CurrentVideo) -> Decision {
    let mut decision = Decision::default();
    let new = LEGACY_COLUMNS.len()..;
    for ((column, was), is) in
        NEW_COLUMNS.into_iter().zip(&archived[new.clone()]).zip(&current.row[new])
    {
        if was == is {
            continue;
        }
        let restored = match column {
            "workflow_state" => {
                let restored = state(archived, was, current);
                decision.kept_state |= !restored;
                restored && may_replace_state(is, current)
            }
            "file_hash" => {
                let changed =
                    !same("file_path", archived, current) || !same("file_size", archived, current);
                decision.kept_hash |= changed && !was.is_null();
                !changed && is.is_null()
            }
            "original_filename" | "file_mime_type" | "storage_location" | "retention_policy" => {
                let gone = follows_what_changed(column, archived, was, current);
                decision.kept_metadata |= gone;
                // NULL is "not filled in yet", and filling it in is the backfill's.
                !gone && !was.is_null() && (is.is_null() || follows(column, is, current))
            }
            "video_quality_score" => is.reads("0.75"),
            "objects_detected_count" | "annotations_count" => is.reads("0"),
            _ => is.is_null(),
        };
        if restored {
            decision.set.push((column, was.clone()));
        }
    }
    decision
}

/// Whether the archived state agrees with the legacy columns as they are now. An archived
/// video stays so only while they are as they were.
fn state(archived: &[Value], was: &Value, current: &CurrentVideo) -> bool {
    let expected = current.workflow_state.as_str();
    match was.text() {
        Some("archived") => {
            same("processing_status", archived, current)
                && same("ground_truth_generated", archived, current)
        }
        Some("initializing" | "uploading" | "uploaded" | "validating") => expected == "uploaded",
        Some(state) => state == expected,
        None => false,
    }
}

fn may_replace_state(is: &Value, current: &CurrentVideo) -> bool {
    is.is_null() || is.reads("uploaded") || is.reads(&current.workflow_state)
}

/// Whether `is` is what the specification's mapping gives for the current row.
fn follows(column: &str, is: &Value, current: &CurrentVideo) -> bool {
    match column {
        "original_filename" => is == legacy("filename", &current.row),
        "storage_location" => is == legacy("file_path", &current.row),
        "file_mime_type" => is.reads(&current.mime_type),
        _ => is.reads("standard_90_days"),
    }
}

/// Whether the archived value followed from a legacy column that has changed since. Of a
/// type it cannot be told, and the new name's is the better guess.
fn follows_what_changed(
    column: &str,
    archived: &[Value],
    was: &Value,
    current: &CurrentVideo,
) -> bool {
    match column {
        "original_filename" => {
            !same("filename", archived, current) && was == legacy("filename", archived)
        }
        "storage_location" => {
            !same("file_path", archived, current) && was == legacy("file_path", archived)
        }
        "file_mime_type" => !same("filename", archived, current) && !was.is_null(),
        _ => false,
    }
}

fn same(column: &str, archived: &[Value], current: &CurrentVideo) -> bool {
    legacy(column, archived) == legacy(column, &current.row)
}

fn legacy<'a>(column: &str, row: &'a [Value]) -> &'a Value {
    LEGACY_COLUMNS.iter().position(|name| *name == column).map_or(&Value::Null, |at| &row[at])
}

/// Whether what an archived status row says of the ground truth is out of date: it is not
/// `truth`, which is `GT(video)` now, and the legacy columns have changed since. Where they
/// have not, the row said something else all along, and does so again.
#[must_use]
pub fn truth_is_outdated(columns: &[Column], archived: &[Value], truth: &str) -> bool {
    let says = |column: &str| {
        position(columns, column).is_some_and(|at| archived[at].text() == Some(truth))
    };
    !says("ground_truth_status") && !says(VIDEO_TRUTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn row(new: &[(&str, &str)]) -> Row {
        let legacy = ["v1", "a.mp4", "/m/a.mp4", "10", "pending", "0"].map(text);
        let new = NEW_COLUMNS.map(|column| {
            let named = new.iter().find(|(name, _)| *name == column);
            named.map_or(Value::Null, |(_, value)| text(value))
        });
        legacy.into_iter().chain(new).collect()
    }

    /// As the new expand leaves a row.
    fn fresh() -> CurrentVideo {
        let row = row(&[
            ("workflow_state", "uploaded"),
            ("video_quality_score", "0.75"),
            ("objects_detected_count", "0"),
            ("annotations_count", "0"),
        ]);
        CurrentVideo { row, workflow_state: "uploaded".into(), mime_type: "video/mp4".into() }
    }

    fn set(archived: &[Value], current: &CurrentVideo) -> Vec<&'static str> {
        decide(archived, current).set.into_iter().map(|(column, _)| column).collect()
    }

    #[test]
    fn everything_comes_back_to_a_fresh_row() {
        let values: Vec<(&str, &str)> = NEW_COLUMNS
            .into_iter()
            .map(|name| (name, if name == "workflow_state" { "validating" } else { "x" }))
            .collect();
        let archived = row(&values);
        assert_eq!(set(&archived, &fresh()), NEW_COLUMNS);
        let mut restored = fresh();
        restored.row.clone_from(&archived);
        assert_eq!(decide(&archived, &restored), Decision::default(), "the second time");
    }

    #[test]
    fn a_hash_of_another_file_stays_away() {
        let archived = row(&[
            ("file_hash", "aa"),
            ("storage_location", "/m/a.mp4"),
            ("workflow_state", "uploaded"),
        ]);
        for changed in [2, 3] {
            let mut current = fresh();
            current.row[changed] = text("other");
            let decision = decide(&archived, &current);
            assert!(
                decision.kept_hash && decision.set.iter().all(|(column, _)| *column != "file_hash")
            );
            assert_eq!(decision.kept_metadata, changed == 2);
        }
    }

    #[test]
    fn a_state_must_agree() {
        let archived = |state| row(&[("workflow_state", state)]);
        let mut current = fresh();
        assert!(set(&archived("uploading"), &current).contains(&"workflow_state"));
        current.workflow_state = "completed".to_owned();
        assert!(decide(&archived("uploading"), &current).kept_state);
        assert!(set(&archived("archived"), &current).contains(&"workflow_state"));
        current.row[4] = text("processing");
        assert!(decide(&archived("archived"), &current).kept_state);
    }

    #[test]
    fn a_truth_is_outdated_only_where_the_legacy_columns_changed() {
        let columns = ["id", "ground_truth_status", VIDEO_TRUTH]
            .map(|name| Column { name: name.to_owned(), declared: String::new() });
        let outdated = |status, video, now| {
            truth_is_outdated(&columns, &[text("s"), text(status), text(video)], now)
        };
        assert!(!outdated("generating", "pending", "pending"), "it was so before");
        assert!(!outdated("generating", "pending", "generating"), "the video came after it");
        assert!(outdated("pending", "pending", "generating"));
        assert!(outdated("failed", "pending", "generating"));
    }

    #[test]
    fn what_was_written_since_stays() {
        let archived = row(&[
            ("ml_model_version", "1"),
            ("original_filename", "own"),
            ("video_quality_score", "0.10"),
            ("workflow_state", "uploading"),
        ]);
        let mut current = fresh();
        current.row = row(&[
            ("ml_model_version", "2"),
            ("original_filename", "new"),
            ("video_quality_score", "0.20"),
            ("workflow_state", "validating"),
            ("objects_detected_count", "3"),
            ("annotations_count", "3"),
        ]);
        assert_eq!(set(&archived, &current), [""; 0]);
        // The bridge's own value gives way.
        current.row = row(&[("original_filename", "a.mp4")]);
        assert!(set(&archived, &current).contains(&"original_filename"));
    }
}
