//! The specification's two performance queries, and the judgement of how a database would
//! execute them: no full scan. Where an index that the specification names cannot give the
//! order that its query asks for, that is a warning: the specification has it so.

use crate::report::{Check, CheckVerdict};
use crate::schema::{JournalEntry, Step, StepGroup};

/// A query of the specification's performance validation.
#[derive(Debug, Clone, Copy)]
pub struct PlannedQuery {
    /// The check's name.
    pub name: &'static str,
    pub description: &'static str,
    pub sql: &'static str,
}

pub const QUERIES: [PlannedQuery; 2] = [
    PlannedQuery {
        name: "query_plan_videos",
        description: "the newest videos of a state are found without a full scan",
        sql: "SELECT v.*, vps.current_stage, vps.progress_percentage FROM videos v \
              LEFT JOIN video_processing_status vps ON v.id = vps.video_id \
              WHERE v.workflow_state = 'processing' ORDER BY v.updated_at DESC LIMIT 20",
    },
    PlannedQuery {
        name: "query_plan_notifications",
        description: "due notifications are found without a full scan",
        sql: "SELECT * FROM realtime_notification_queue \
              WHERE status = 'pending' AND process_after <= CURRENT_TIMESTAMP \
              ORDER BY priority ASC, created_at ASC LIMIT 100",
    },
];

/// A table of this many rows is read as fast as its index, and optimizers do so.
const SMALL: u64 = 10_000;

/// How one table of a query is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub table: String,
    pub full_scan: bool,
    /// Whether an index was there to be used, though the optimizer preferred the scan.
    pub avoidable: bool,
    /// The optimizer's estimate of rows that it reads.
    pub rows: Option<u64>,
}

/// How a database would execute a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryPlan {
    pub accesses: Vec<Access>,
    /// Whether it sorts what it has found.
    pub sorts: bool,
}

/// Whether every step of the phase `index` is done.
#[must_use]
pub fn is_indexed(steps: &[Step], journal: &[JournalEntry]) -> bool {
    steps.iter().filter(|step| step.group == StepGroup::Index).all(|step| step.is_done(journal))
}

/// The check of one query.
#[must_use]
pub fn judge(query: &PlannedQuery, indexed: bool, plan: &QueryPlan) -> Check {
    let (verdict, note) = if indexed {
        judged(plan)
    } else {
        (CheckVerdict::NotYet, Some("its indexes come with `reelshift apply index`".to_owned()))
    };
    Check { verdict, note, ..Check::new(query.name, query.description) }
}

fn judged(plan: &QueryPlan) -> (CheckVerdict, Option<String>) {
    let scans = || plan.accesses.iter().filter(|access| access.full_scan);
    if let Some(scan) = scans().find(|scan| !scan.avoidable) {
        let note = format!("reads all of {}: no index serves it", scan.table);
        return (CheckVerdict::Difference, Some(note));
    }
    let is_large = |scan: &&Access| scan.rows.is_none_or(|rows| rows >= SMALL);
    if let Some(scan) = scans().find(is_large) {
        let note = format!(
            "reads all of {}, though an index would serve: by its statistics most rows match; \
             ANALYZE TABLE may change that",
            scan.table
        );
        return (CheckVerdict::Warning, Some(note));
    }
    let small = scans().next().map(|scan| {
        format!("reads all of {}, which is too small for its index to matter", scan.table)
    });
    // No warning: the operator cannot change the specified index.
    let sorts = plan
        .sorts
        .then(|| "sorts what it finds: the specified index does not give that order".to_owned());
    let notes: Vec<_> = small.into_iter().chain(sorts).collect();
    (CheckVerdict::Ok, (!notes.is_empty()).then(|| notes.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(avoidable: bool, rows: u64) -> QueryPlan {
        let access = Access { table: "v".to_owned(), full_scan: true, avoidable, rows: Some(rows) };
        QueryPlan { accesses: vec![access], sorts: true }
    }

    fn verdict(indexed: bool, plan: &QueryPlan) -> CheckVerdict {
        judge(&QUERIES[0], indexed, plan).verdict
    }

    #[test]
    fn before_the_phase_nothing_is_wrong() {
        assert_eq!(verdict(false, &scan(false, 1_000_000)), CheckVerdict::NotYet);
        assert!(judge(&QUERIES[0], false, &scan(false, 1)).is_valid());
    }

    #[test]
    fn a_scan_that_no_index_could_avoid_is_a_difference() {
        assert_eq!(verdict(true, &scan(false, 10)), CheckVerdict::Difference);
        assert_eq!(verdict(true, &scan(true, 1_000_000)), CheckVerdict::Warning);
    }

    #[test]
    fn a_sort_and_a_small_scan_are_noted_and_ok() {
        let check = judge(&QUERIES[0], true, &scan(true, 10));
        assert_eq!(check.verdict, CheckVerdict::Ok);
        let note = check.note.expect("a note");
        assert!(note.contains("too small") && note.contains("; sorts"), "{note}");
        let check = judge(&QUERIES[0], true, &QueryPlan::default());
        assert_eq!((check.verdict, check.note), (CheckVerdict::Ok, None));
    }
}
