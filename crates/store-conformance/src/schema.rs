//! Applying the steps, the journal, the lock, and what is refused beforehand.

use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::gate::{Answer, Gate, GateAccess};
use reelshift_store::patience::Direction;
use reelshift_store::schema::{Step, StepGroup, StepOutcome};
use reelshift_store::{SharedStore, StoreError};

use crate::Fixture;
use crate::arrange::{batch_states, execute_step, expanded, running_batches, steadily, try_expand};

fn expand_steps(store: &SharedStore) -> Vec<Step> {
    let groups = [StepGroup::Ledger, StepGroup::Expand];
    store.steps().iter().filter(|step| groups.contains(&step.group)).cloned().collect()
}

/// The sentence of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result.expect_err("this must be refused") {
        StoreError::Refused(sentence) => sentence,
        other => panic!("not a refusal: {other:?}"),
    }
}

#[apply(behaviour!)]
async fn the_server_names_its_product_and_version(db: &dyn Fixture) {
    let server = db.store().await.server().await.expect("the server says what it is");
    let (product, version) = server.split_once(' ').expect("a product and a version");
    assert!(["MariaDB", "MySQL", "SQLite"].contains(&product), "{server}");
    assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{server}");
}

#[apply(behaviour!)]
async fn steps_are_in_order_and_start_with_the_journal(db: &dyn Fixture) {
    let store = db.store().await;
    let steps = store.steps();
    assert!(steps.windows(2).all(|pair| pair[0].number < pair[1].number), "numbers rise");
    assert_eq!(steps[0].creates.to_string(), "table reelshift_schema_steps");
    assert_eq!(steps[0].group, StepGroup::Ledger);
    assert!(steps.iter().any(|step| step.group == StepGroup::Expand));
    for step in steps {
        assert!(!step.up.trim().is_empty() && !step.down.trim().is_empty(), "{}", step.name);
    }
}

#[apply(behaviour!)]
async fn expand_applies_every_step_once(db: &dyn Fixture) {
    let store = db.store().await;
    assert_eq!(store.journal().await.expect("a database without journal is read"), []);
    for step in expand_steps(&store) {
        assert!(
            !store.exists(&step.creates).await.expect("the schema is read"),
            "{} before",
            step.creates
        );
    }
    let first = try_expand(&store).await.expect("expand is applied");
    let steps: Vec<_> = first.iter().map(|(step, _)| step.clone()).collect();
    assert_eq!(steps, expand_steps(&store));
    assert!(first.iter().all(|(_, outcome)| *outcome == StepOutcome::Applied), "{first:?}");
    for step in &steps {
        assert!(
            store.exists(&step.creates).await.expect("the schema is read"),
            "{} after",
            step.creates
        );
    }
    let again = try_expand(&db.store().await).await.expect("expand is applied again");
    assert_eq!(again.len(), steps.len());
    assert!(again.iter().all(|(_, outcome)| *outcome == StepOutcome::AlreadyDone), "{again:?}");
}

#[apply(behaviour!)]
async fn the_journal_holds_every_step(db: &dyn Fixture) {
    let store = expanded(db).await;
    let journal = store.journal().await.expect("the journal is read");
    let steps = expand_steps(&store);
    let journaled: Vec<_> =
        journal.iter().map(|entry| (entry.number, &entry.name, entry.checksum.clone())).collect();
    let expected: Vec<_> =
        steps.iter().map(|step| (step.number, &step.name, step.checksum())).collect();
    assert_eq!(journaled, expected);
    for entry in &journal {
        assert!(entry.done, "{} is done", entry.name);
        assert!(
            entry.finished_at.is_some_and(|end| end >= entry.started_at),
            "{} has an end",
            entry.name
        );
    }
}

#[apply(behaviour!)]
async fn a_journal_entry_is_written_once(db: &dyn Fixture) {
    let store = expanded(db).await;
    let before = db.contents("reelshift_schema_steps").await;
    for step in expand_steps(&store) {
        store.journal_started(&step).await.expect("said twice, does nothing");
    }
    assert_eq!(db.contents("reelshift_schema_steps").await, before);
}

#[apply(behaviour!)]
async fn a_step_whose_journal_entry_was_lost_is_recognised(db: &dyn Fixture) {
    let store = db.store().await;
    for (index, step) in expand_steps(&store).iter().enumerate() {
        if index > 0 {
            store.journal_started(step).await.expect("the start is journaled");
        }
        execute_step(&store, step).await;
    }
    let journal = store.journal().await.expect("the journal is read");
    assert_eq!(
        journal.len(),
        expand_steps(&store).len() - 1,
        "the journal's own step is not in it yet"
    );
    assert!(journal.iter().all(|entry| !entry.done && entry.finished_at.is_none()), "{journal:?}");
    let outcomes = try_expand(&db.store().await).await.expect("expand goes on");
    assert!(
        outcomes.iter().all(|(_, outcome)| *outcome == StepOutcome::Recognised),
        "{outcomes:?}"
    );
    assert!(store.journal().await.expect("the journal is read").iter().all(|entry| entry.done));
}

#[apply(behaviour!)]
async fn a_step_that_was_started_and_never_executed_is_applied(db: &dyn Fixture) {
    let store = db.store().await;
    let steps = expand_steps(&store);
    store.execute_step(&steps[0]).await.expect("the journal is created");
    store.journal_started(&steps[1]).await.expect("the start is journaled");
    let outcomes = try_expand(&store).await.expect("expand goes on");
    assert_eq!(outcomes[0].1, StepOutcome::Recognised);
    assert!(
        outcomes[1..].iter().all(|(_, outcome)| *outcome == StepOutcome::Applied),
        "{outcomes:?}"
    );
}

#[apply(behaviour!)]
async fn an_object_in_the_way_is_refused_by_name(db: &dyn Fixture) {
    db.execute("CREATE TABLE processing_error_log (theirs INTEGER)").await;
    let refused = refusal(try_expand(&db.store().await).await);
    assert!(refused.contains("table processing_error_log"), "{refused}");
    let columns = db.texts(&db.columns_sql("processing_error_log")).await;
    assert_eq!(columns.len(), 1, "the table is as it was");
}

#[apply(behaviour!)]
async fn a_column_in_the_way_is_refused_by_name(db: &dyn Fixture) {
    db.execute("ALTER TABLE videos ADD COLUMN workflow_state VARCHAR(10)").await;
    let refused = refusal(try_expand(&db.store().await).await);
    assert!(refused.contains("videos.workflow_state"), "{refused}");
}

#[apply(behaviour!)]
async fn a_step_journaled_with_another_text_is_refused(db: &dyn Fixture) {
    let store = expanded(db).await;
    let step = expand_steps(&store).pop().expect("there are steps");
    db.execute(&format!(
        "UPDATE reelshift_schema_steps SET checksum = 'other' WHERE number = {}",
        step.number
    ))
    .await;
    let refused = refusal(try_expand(&store).await);
    assert!(refused.contains(&step.name), "{refused}");
}

#[apply(behaviour!)]
async fn a_second_operator_is_refused(db: &dyn Fixture) {
    let (first, second) = (db.store().await, db.store().await);
    let lock = first.lock_migration().await.expect("the lock is free");
    refusal(second.lock_migration().await.map(|_| ()));
    refusal(try_expand(&second).await);
    assert_eq!(second.journal().await.expect("the journal is read"), [], "nothing was applied");
    lock.release().await.expect("the lock is given back");
    try_expand(&second).await.expect("the lock is free again");
    second.lock_migration().await.expect("apply gave it back").release().await.expect("given back");
}

#[apply(behaviour!)]
async fn two_operators_at_once_apply_each_step_once(db: &dyn Fixture) {
    let (first, second) = (db.store().await, db.store().await);
    let (one, other) = tokio::join!(try_expand(&first), try_expand(&second));
    let outcomes = [one, other];
    assert!(outcomes.iter().any(Result::is_ok), "{outcomes:?}");
    let mut applied: Vec<_> = outcomes.iter().flatten().flatten().collect();
    applied.retain(|(_, outcome)| *outcome == StepOutcome::Applied);
    assert_eq!(applied.len(), expand_steps(&first).len());
    for failed in outcomes.into_iter().filter(Result::is_err) {
        refusal(failed);
    }
}

#[apply(behaviour!)]
async fn each_step_is_undone_by_its_down_statement(db: &dyn Fixture) {
    let before = db.texts(&db.columns_sql("videos")).await;
    let indexes = db.texts(&db.indexes_sql("videos")).await;
    let store = expanded(db).await;
    let steps = expand_steps(&store);
    for step in steps.iter().rev() {
        let undoing = Step { up: step.down.clone(), ..step.clone() };
        // The server's own threads may hold the table for a moment.
        steadily("the step to be undone", async || store.execute_step(&undoing).await).await;
    }
    for step in &steps {
        assert!(
            !store.exists(&step.creates).await.expect("the schema is read"),
            "{}",
            step.creates
        );
    }
    assert_eq!(db.texts(&db.columns_sql("videos")).await, before);
    assert_eq!(db.texts(&db.indexes_sql("videos")).await, indexes);
}

#[apply(behaviour!)]
async fn a_locked_table_makes_a_step_transient(db: &dyn Fixture) {
    let store = db.store().await;
    crate::arrange::insert(db, &crate::arrange::videos(1)).await;
    let steps = expand_steps(&store);
    let altering =
        steps.iter().position(|step| step.up.to_uppercase().contains("ALTER TABLE VIDEOS"));
    let altering = altering.expect("a step alters the table videos");
    for step in &steps[..altering] {
        store.execute_step(step).await.expect("the statement succeeds");
    }
    let held = db.hold("SELECT COUNT(*) FROM videos").await;
    let tried = store.execute_step(&steps[altering]).await.expect_err("the table is in use");
    assert!(tried.is_transient(), "{tried:?}");
    assert!(!store.exists(&steps[altering].creates).await.expect("the schema is read"));
    assert!(!store.retry_pause().is_zero(), "the application gets a turn");
    held.release().await;
    store.execute_step(&steps[altering]).await.expect("the table is free");
}

#[apply(behaviour!)]
async fn a_gate_that_ended_half_way_is_taken_again(db: &dyn Fixture) {
    crate::arrange::insert(db, &crate::arrange::videos(3)).await;
    let shipped = db.store().await;
    let steps = expand_steps(&shipped);
    let under_gate: Vec<&Step> = steps.iter().filter(|step| !step.gate.is_empty()).collect();
    let before = steps.iter().filter(|step| step.gate.is_empty());
    for step in before.clone() {
        shipped.execute_step(step).await.expect("the statement succeeds");
        shipped.journal_started(step).await.expect("journaled");
        shipped.journal_done(step).await.expect("journaled");
    }
    for executed in 0..under_gate.len() {
        let store = db.store().await;
        let GateAccess::Gate(mut gate) =
            store.gate(&under_gate, Direction::Up).await.expect("it is prepared")
        else {
            return;
        };
        open(&mut *gate).await;
        for step in &under_gate[..executed] {
            store.journal_started(step).await.expect("journaled");
            gate.execute(step).await.expect("executed");
        }
        // As the end of its process.
        drop(gate);
        // Nothing is locked, and what is there fails no write.
        let write = "UPDATE videos SET processing_status = 'processing', duration = duration + 1";
        steadily("the application's write", async || {
            db.execute(write).await;
            Ok(())
        })
        .await;
        let outcomes = try_expand(&store).await.expect("expand goes on");
        let recognised =
            outcomes.iter().filter(|(_, outcome)| *outcome == StepOutcome::Recognised).count();
        assert_eq!(recognised, executed);
        for step in under_gate.iter().rev() {
            crate::arrange::undo_step(&store, step).await;
            store.journal_undone(step).await.expect("journaled");
        }
    }
}

/// Asks until the gate is had: the server's own threads may hold a table for a moment.
async fn open(gate: &mut dyn Gate) {
    for _ in 0..2_000 {
        let answer = gate.ask(0, Duration::from_millis(50)).await.expect("it is asked for");
        if matches!(answer, Answer::Open { .. }) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the gate was never had");
}

#[apply(behaviour!)]
async fn the_legacy_table_is_accepted(db: &dyn Fixture) {
    db.store().await.check_legacy().await.expect("the specification's table");
}

#[apply(behaviour!)]
async fn a_database_without_videos_is_refused(db: &dyn Fixture) {
    db.execute("DROP TABLE videos").await;
    refused_naming(db, "videos").await;
}

#[apply(behaviour!)]
async fn a_view_named_videos_is_refused(db: &dyn Fixture) {
    db.execute("ALTER TABLE videos RENAME TO clips").await;
    db.execute("CREATE VIEW videos AS SELECT * FROM clips").await;
    refused_naming(db, "videos").await;
}

#[apply(behaviour!)]
async fn a_missing_legacy_column_is_refused(db: &dyn Fixture) {
    db.execute("ALTER TABLE videos DROP COLUMN resolution").await;
    refused_naming(db, "resolution").await;
}

/// The legacy columns after the key.
const REST: &str = "filename VARCHAR(255), file_path VARCHAR(500), file_size INTEGER, duration FLOAT, fps FLOAT, \
                    resolution VARCHAR(50), status VARCHAR(50), processing_status VARCHAR(50), \
                    ground_truth_generated BOOLEAN, project_id VARCHAR(36), created_at TIMESTAMP NULL, \
                    updated_at TIMESTAMP NULL";

#[apply(behaviour!)]
async fn an_integer_key_is_refused(db: &dyn Fixture) {
    db.execute("DROP TABLE videos").await;
    db.execute(&format!("CREATE TABLE videos (id INTEGER PRIMARY KEY, {REST})")).await;
    refused_naming(db, "id").await;
}

#[apply(behaviour!)]
async fn a_composite_key_is_refused(db: &dyn Fixture) {
    db.execute("DROP TABLE videos").await;
    let table =
        format!("CREATE TABLE videos (id VARCHAR(36), {REST}, PRIMARY KEY (id, project_id))");
    db.execute(&table).await;
    refused_naming(db, "id").await;
}

#[apply(behaviour!)]
async fn a_key_of_another_column_is_refused(db: &dyn Fixture) {
    db.execute("DROP TABLE videos").await;
    let table = format!("CREATE TABLE videos (id VARCHAR(36), {REST}, PRIMARY KEY (project_id))");
    db.execute(&table).await;
    refused_naming(db, "id").await;
}

async fn refused_naming(db: &dyn Fixture, what: &str) {
    let store = db.store().await;
    let refused = refusal(store.check_legacy().await);
    assert!(refused.contains(what), "{refused}");
    refusal(try_expand(&store).await);
    assert_eq!(store.journal().await.expect("the journal is read"), [], "nothing was applied");
}

#[apply(behaviour!)]
async fn ledger_rows_survive_a_second_expand(db: &dyn Fixture) {
    let store = expanded(db).await;
    let run = running_batches(&store, JobKind::Hash, 2).await;
    try_expand(&store).await.expect("expand is applied again");
    assert_eq!(batch_states(db).await, ["pending", "pending"]);
    assert_eq!(crate::arrange::run_state(&store, run.id).await, RunState::Running);
}
