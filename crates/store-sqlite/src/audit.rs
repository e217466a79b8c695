//! The audit: `reelshift_audit`, into which every change is written in its own transaction.

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::audit::{
    Audit, AuditColumns, AuditEntry, AuditEvent, AuditSelection, Change, Subject,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::error::{Failure, Outcome};
use crate::failures::{TEXT, cut, cut_bytes};
use crate::{SqliteStore, controls, time};

/// The columns' lengths in MySQL, in characters.
const NAME: usize = 64;
const VALUE: usize = 255;
const BY: usize = 255;

#[async_trait]
impl Audit for SqliteStore {
    async fn audit(
        &self,
        selection: &AuditSelection,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>> {
        self.named(newest(self, selection, before, limit).await)
    }

    async fn record(&self, event: &AuditEvent, reason: Option<&str>, by: &str) -> Result<()> {
        let recorded = async {
            let mut tx = self.write().await?;
            record(&mut tx, event.clone(), reason, by).await?;
            tx.commit().await?;
            Ok(())
        };
        self.named(recorded.await)
    }
}

/// Records `event`, at the time of the database's clock.
pub(crate) async fn record(
    tx: &mut SqliteConnection,
    event: AuditEvent,
    reason: Option<&str>,
    by: &str,
) -> Outcome<()> {
    let at = controls::now(tx).await?;
    log(tx, &Change::new(event, reason, by, at)).await
}

/// Writes one change.
pub(crate) async fn log(tx: &mut SqliteConnection, change: &Change) -> Outcome<()> {
    let columns = change.event.columns();
    let value = |value: &Option<String>| value.as_deref().map(|value| cut(value, VALUE).to_owned());
    sqlx::query(
        "INSERT INTO reelshift_audit (subject, name, action, run_id, previous, value, reason,
             changed_by, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(columns.subject.as_str())
    .bind(cut(&columns.name, NAME))
    .bind(columns.action)
    .bind(columns.run.map(|run| run.to_string()))
    .bind(value(&columns.previous))
    .bind(value(&columns.value))
    .bind(change.reason.as_deref().map(|reason| cut_bytes(reason, TEXT)))
    .bind(cut(&change.changed_by, BY))
    .bind(time::text(change.changed_at))
    .execute(tx)
    .await?;
    Ok(())
}

/// The newest changes that are selected.
pub(crate) async fn newest(
    store: &SqliteStore,
    selection: &AuditSelection,
    before: Option<i64>,
    limit: u32,
) -> Outcome<Vec<AuditEntry>> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT seq, subject, name, action, run_id, previous, value, reason, changed_by, changed_at
         FROM reelshift_audit WHERE subject IN (",
    );
    let mut list = query.separated(", ");
    for subject in selection.subjects() {
        list.push_bind(subject.as_str());
    }
    query.push(")");
    if let Some(actions) = selection.actions() {
        let mut list = query.push(" AND action IN (").separated(", ");
        for action in actions {
            list.push_bind(*action);
        }
        query.push(")");
    }
    if let Some(name) = &selection.name {
        query.push(" AND name = ").push_bind(name.clone());
    }
    if let Some(run) = selection.run {
        query.push(" AND run_id = ").push_bind(run.to_string());
    }
    if let Some(before) = before {
        query.push(" AND seq < ").push_bind(before);
    }
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(&store.readers).await?;
    rows.iter().filter_map(|row| read(row).transpose()).collect()
}

/// `None` for a subject of a later version.
fn read(row: &SqliteRow) -> Outcome<Option<AuditEntry>> {
    let Some(subject) = Subject::named(row.try_get("subject")?) else { return Ok(None) };
    let run: Option<String> = row.try_get("run_id")?;
    let foreign = |run: &str| Failure::foreign_value("reelshift_audit", "run_id", run);
    let columns = AuditColumns {
        subject,
        name: row.try_get("name")?,
        action: row.try_get("action")?,
        run: run.map(|run| run.parse().map_err(|_| foreign(&run))).transpose()?,
        previous: row.try_get("previous")?,
        value: row.try_get("value")?,
    };
    Ok(Some(AuditEntry {
        seq: row.try_get("seq")?,
        change: Change {
            event: columns.into(),
            reason: row.try_get("reason")?,
            changed_by: row.try_get("changed_by")?,
            changed_at: time::read(row, "changed_at")?,
        },
    }))
}
