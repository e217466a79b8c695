//! The application writes between any two steps of expand, as it meets a gate that ended half
//! way, or a server without gates: the backfill makes all of it right.

use macro_rules_attribute::apply;
use reelshift_plan::JobKind;
use reelshift_store::ledger::VideoFilter;
use reelshift_store::schema::StepGroup;

use crate::Fixture;
use crate::arrange::{claimed, everything, execute_step, try_expand};
use crate::validate::validate;

/// Every pair of legacy columns.
const LEGACY: [(Option<&str>, Option<bool>); 12] = [
    (Some("pending"), Some(false)),
    (Some("pending"), Some(true)),
    (Some("pending"), None),
    (Some("processing"), Some(false)),
    (Some("processing"), Some(true)),
    (Some("processing"), None),
    (Some("completed"), Some(false)),
    (Some("completed"), Some(true)),
    (Some("completed"), None),
    (None, Some(false)),
    (None, Some(true)),
    (None, None),
];

fn literals((processing, truth): (Option<&str>, Option<bool>)) -> (String, &'static str) {
    let processing = processing.map_or("NULL".to_owned(), |text| format!("'{text}'"));
    (processing, truth.map_or("NULL", |truth| if truth { "TRUE" } else { "FALSE" }))
}

/// Inserts videos with their legacy columns, under ids that begin with `prefix`.
async fn upload(db: &dyn Fixture, prefix: &str) {
    let rows: Vec<_> = LEGACY
        .iter()
        .enumerate()
        .map(|(n, legacy)| {
            let (processing, truth) = literals(*legacy);
            format!("('{prefix}{n:02}', 'a.mp4', '/a.mp4', {processing}, {truth})")
        })
        .collect();
    db.execute(&format!(
        "INSERT INTO videos (id, filename, file_path, processing_status, ground_truth_generated) VALUES {}",
        rows.join(", ")
    ))
    .await;
}

/// Takes every video under `prefix` to the legacy columns of `to`, in the ORM's way: only what
/// the application knows is named.
async fn take(db: &dyn Fixture, prefix: &str, to: (Option<&str>, Option<bool>)) {
    let (processing, truth) = literals(to);
    db.execute(&format!(
        "UPDATE videos SET processing_status = {processing}, ground_truth_generated = {truth} \
         WHERE id LIKE '{prefix}%'"
    ))
    .await;
}

#[apply(behaviour!)]
async fn the_application_may_write_between_any_two_steps(db: &dyn Fixture) {
    let store = db.store().await;
    let groups = [StepGroup::Ledger, StepGroup::Expand];
    let steps: Vec<_> =
        store.steps().iter().filter(|step| groups.contains(&step.group)).cloned().collect();
    let first = steps.iter().position(|step| step.group == StepGroup::Expand).expect("expand");
    let states = steps.len() - first + 1;
    // The ids of a group: to what, changed first at, changed again at.
    let group = |to: usize, at: usize, again: usize| format!("v{to:02}-{at:02}-{again:02}-");
    for (to, legacy) in LEGACY.iter().enumerate() {
        for at in 0..states {
            for again in at..states {
                if (to + at + again) % 3 == 0 || legacy.0 == Some("processing") {
                    upload(db, &group(to, at, again)).await;
                }
            }
        }
    }
    for (number, step) in steps.iter().enumerate() {
        if number >= first {
            write(db, number - first, states, &group).await;
        }
        if number > 0 {
            store.journal_started(step).await.expect("journaled");
        }
        execute_step(&store, step).await;
    }
    write(db, states - 1, states, &group).await;
    try_expand(&store).await.expect("expand is completed");

    let batch = claimed(&store, JobKind::Backfill, everything()).await;
    let filter = VideoFilter::default();
    let chunk = store.backfill_chunk(batch.lease, &everything(), None, 1_000_000, &filter).await;
    chunk.expect("a chunk");
    let left = store.window(None, 1_000_000, &filter).await.expect("a window").expect("videos");
    assert_eq!(left.needing, 0, "the sweep finds nothing");
    for check in validate(&store).await {
        assert_eq!(check.differences, 0, "{check:?}");
    }
}

/// What the application does in one state of the schema: uploads, first changes, second ones.
async fn write(
    db: &dyn Fixture,
    state: usize,
    states: usize,
    group: &impl Fn(usize, usize, usize) -> String,
) {
    upload(db, &format!("new-{state:02}-")).await;
    for (to, legacy) in LEGACY.iter().enumerate() {
        // `vNN-SS-%`: all that are changed first in this state.
        let prefix = group(to, state, 0);
        take(db, &prefix[..prefix.len() - 3], *legacy).await;
        // From the new columns on, both ways of an upload's life.
        let then = LEGACY[(to + 4) % LEGACY.len()];
        for at in 0..=state {
            take(db, &group(to, at, state), then).await;
        }
    }
    if state + 1 < states {
        take(db, &format!("new-{state:02}-"), (Some("processing"), Some(false))).await;
    }
    if state > 0 {
        take(db, &format!("new-{:02}-", state - 1), (Some("completed"), Some(true))).await;
    }
}
