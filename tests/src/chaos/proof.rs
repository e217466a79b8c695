//! What must hold when the fleet is done, whatever happened to it.

use std::collections::HashMap;

use sqlx::Row;

use crate::chaos::Scene;
use crate::chaos::chunks::{self, Summary};
use crate::orm::application::Report;
use crate::{Legacy, oracle};

/// Every promise, on a scene whose workers have left.
///
/// # Panics
/// When one is broken.
pub async fn check(scene: &Scene, application: &Report) -> Summary {
    let legacy = &scene.legacy;
    oracle::check_every_live_row(legacy).await;
    assert!(scene.is_still().await, "legacy columns changed that the application left alone");
    application.check_refused(legacy).await;
    if !scene.deadlocks && application.deadlocks > 0 {
        let status = legacy.rows("SHOW ENGINE INNODB STATUS").await;
        panic!(
            "{} transactions of the application were deadlock victims:\n{}",
            application.deadlocks,
            status.iter().map(|row| row.get::<String, _>(2)).collect::<String>()
        );
    }
    let summary = chunks::check(legacy).await;
    check_errors(legacy, &summary).await;
    check_ends(legacy).await;
    summary
}

/// Every failed attempt is in the error log, each with the one before it as its parent, and
/// none has recovered while what an item was set aside for after it has not.
///
/// # Panics
/// When one is not.
pub async fn check_errors(legacy: &Legacy, summary: &Summary) {
    let mut before: HashMap<&str, &str> = HashMap::new();
    for (batch, attempt, error) in &summary.failed {
        let rows = legacy
            .rows(&format!(
                "SELECT parent_error_id, processing_stage, error_message FROM processing_error_log
                 WHERE id = '{error}'"
            ))
            .await;
        let row = rows.first().unwrap_or_else(|| {
            panic!("attempt {attempt} of batch {batch} failed without a row in the error log")
        });
        let parent: Option<String> = row.get("parent_error_id");
        assert_eq!(parent.as_deref(), before.insert(batch, error), "parent of error {error}");
        assert!(!row.get::<String, _>("error_message").is_empty(), "error {error} says nothing");
    }
    let early = "SELECT COUNT(*) FROM processing_error_log e
        JOIN processing_error_log p ON p.id = e.parent_error_id AND p.error_type = e.error_type
        WHERE e.video_id IS NOT NULL AND e.recovery_successful IS NOT TRUE
          AND p.recovery_successful IS TRUE";
    assert_eq!(legacy.number(early).await, 0, "errors that recovered before their items");
}

/// No lease is left, of a batch or of a run; nobody is in the fleet; every batch is done.
///
/// # Panics
/// When something is left.
pub async fn check_ends(legacy: &Legacy) {
    for (what, left) in [
        (
            "batches with a lease",
            "reelshift_batches WHERE leased_by IS NOT NULL OR lease_token IS NOT NULL",
        ),
        ("batches that are not done", "reelshift_batches WHERE state <> 'done'"),
        ("runs that are not done", "reelshift_runs WHERE state <> 'done'"),
        ("planning leases", "reelshift_runs WHERE planner_token IS NOT NULL"),
        ("workers in the fleet", "reelshift_workers WHERE state = 'live'"),
    ] {
        let count = legacy.number(&format!("SELECT COUNT(*) FROM {left}")).await;
        assert_eq!(count, 0, "{what}");
    }
}
