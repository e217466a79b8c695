//! What `plan` finds: nothing to refuse on the specification's table, each thing in the
//! way by name, and nothing changed by looking.

use macro_rules_attribute::apply;
use reelshift_store::SharedStore;
use reelshift_store::preflight::{Finding, Scope, Verdict};

use crate::Fixture;
use crate::arrange::{eventually, expanded, insert, videos};

async fn findings(store: &SharedStore, scope: Scope) -> Vec<Finding> {
    store.preflight(scope).await.expect("every check is made").findings
}

fn refusals(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.verdict == Verdict::Refusal).collect()
}

#[apply(behaviour!)]
async fn the_specifications_table_has_no_refusal(db: &dyn Fixture) {
    insert(db, &videos(3)).await;
    let store = db.store().await;
    for scope in [Scope::Apply, Scope::Plan] {
        let found = findings(&store, scope).await;
        assert_eq!(refusals(&found), Vec::<&Finding>::new());
        for finding in &found {
            assert!(!finding.check.is_empty() && !finding.says.is_empty(), "{finding:?}");
            assert!(finding.verdict == Verdict::Ok || finding.do_what.is_some(), "{finding:?}");
        }
        let mut names: Vec<_> = found.iter().map(|finding| &finding.check).collect();
        names.dedup();
        assert_eq!(names.len(), found.len(), "{names:?}");
    }
}

#[apply(behaviour!)]
async fn looking_changes_nothing(db: &dyn Fixture) {
    insert(db, &videos(3)).await;
    let before = (db.contents("videos").await, db.texts(&db.columns_sql("videos")).await);
    let store = db.store().await;
    findings(&store, Scope::Plan).await;
    for step in store.steps() {
        store.statements(step).await.expect("the step is shown");
        assert!(
            !store.exists(&step.creates).await.expect("the schema is read"),
            "{}",
            step.creates
        );
    }
    assert_eq!((db.contents("videos").await, db.texts(&db.columns_sql("videos")).await), before);
}

#[apply(behaviour!)]
async fn every_step_is_shown_with_its_lock(db: &dyn Fixture) {
    let store = db.store().await;
    for step in store.steps() {
        let statements = store.statements(step).await.expect("the step is shown");
        assert!(!statements.is_empty(), "{}", step.name);
        for statement in statements {
            let empty =
                [&statement.sql, &statement.algorithm, &statement.lock].map(String::is_empty);
            assert_eq!(empty, [false; 3], "{statement:?}");
            assert!(!statement.sql.contains("{videos_id_type}"), "{statement:?}");
        }
    }
}

#[apply(behaviour!)]
async fn what_is_in_the_way_refuses_by_name(db: &dyn Fixture) {
    db.execute("ALTER TABLE videos ADD COLUMN retention_policy VARCHAR(10)").await;
    let store = db.store().await;
    let found = findings(&store, Scope::Apply).await;
    let refused = refusals(&found);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].says.contains("videos.retention_policy"), "{refused:?}");
}

#[apply(behaviour!)]
async fn what_reelshift_made_is_not_in_the_way(db: &dyn Fixture) {
    let store = expanded(db).await;
    for scope in [Scope::Apply, Scope::Plan] {
        assert_eq!(refusals(&findings(&store, scope).await), Vec::<&Finding>::new());
    }
}

#[apply(behaviour!)]
async fn without_the_table_the_checks_end(db: &dyn Fixture) {
    db.execute("DROP TABLE videos").await;
    let store = db.store().await;
    let found = findings(&store, Scope::Plan).await;
    let last = found.last().expect("there are findings");
    assert_eq!((last.verdict, refusals(&found).len()), (Verdict::Refusal, 1), "{found:?}");
    assert!(last.says.contains("videos") && last.do_what.is_some(), "{last:?}");
}

#[apply(behaviour!)]
async fn surprising_rows_are_counted(db: &dyn Fixture) {
    let mut some = videos(5);
    for video in &mut some {
        video.processing_status = Some("pending".to_owned());
        video.ground_truth = Some(false);
    }
    some[0].processing_status = Some("completed".to_owned());
    some[1].processing_status = Some("completed".to_owned());
    some[2].processing_status = Some("completed".to_owned());
    some[2].ground_truth = Some(true);
    insert(db, &some).await;
    db.execute("UPDATE videos SET file_size = 7").await;
    let surprising = async || {
        let store = db.store().await;
        let mut found = findings(&store, Scope::Plan).await;
        found.retain(|finding| finding.check == "surprising_rows");
        found.remove(0)
    };
    let finding = surprising().await;
    assert_eq!(finding.verdict, Verdict::Warning);
    assert!(finding.says.contains("2 ") && finding.says.contains("'failed'"), "{finding:?}");
    db.execute("UPDATE videos SET processing_status = 'pending'").await;
    assert_eq!(surprising().await.verdict, Verdict::Ok);
    db.execute("UPDATE videos SET file_size = -1 WHERE id = 'v0004'").await;
    let finding = surprising().await;
    assert!(finding.verdict == Verdict::Warning && finding.says.contains("1 "), "{finding:?}");
}

#[apply(behaviour!)]
async fn the_size_is_counted(db: &dyn Fixture) {
    insert(db, &videos(7)).await;
    db.execute("UPDATE videos SET file_size = CASE id WHEN 'v0001' THEN -5 WHEN 'v0002' THEN NULL ELSE 10 END").await;
    db.execute("UPDATE videos SET file_path = CASE id WHEN 'v0006' THEN NULL WHEN 'v0007' THEN '' ELSE 'a.mp4' END").await;
    let size = db.store().await.table_size().await.expect("the table is measured");
    assert_eq!((size.rows, size.exact), (7, true));
    assert_eq!((size.files, size.file_bytes), (Some(5), Some(30)), "those with a path");
}

#[apply(behaviour!)]
async fn a_long_transaction_is_named_as_the_holder(db: &dyn Fixture) {
    if !db.row_locks() {
        return;
    }
    insert(db, &videos(1)).await;
    let store = db.store().await;
    let altering = store.steps().iter().find(|step| step.creates.table() == Some("videos"));
    let altering = altering.expect("a step alters the table videos");
    assert_eq!(store.lock_holders(altering).await.expect("it can be seen"), []);
    let held = db.hold("SELECT COUNT(*) FROM videos").await;
    let holders = eventually("the holder to be seen", async || {
        // InnoDB's list of transactions is renewed only where nobody reads it for 100 ms.
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        let holders = store.lock_holders(altering).await.expect("it can be seen");
        (!holders.is_empty()).then_some(holders)
    })
    .await;
    assert_eq!(holders.len(), 1, "{holders:?}");
    assert!(holders[0].thread > 0 && !holders[0].user.is_empty(), "{holders:?}");
    held.release().await;
    eventually("the holder to be gone", async || {
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        store.lock_holders(altering).await.expect("it can be seen").is_empty().then_some(())
    })
    .await;
}
