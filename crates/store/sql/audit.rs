//! The audit: `reelshift_audit`, into which every change is written in its own transaction.

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::audit::{
    Audit, AuditColumns, AuditEntry, AuditEvent, AuditSelection, Change, Subject,
};
use reelshift_store::length::{
    BY_CHARACTERS, NAME_CHARACTERS, TEXT_BYTES, VALUE_CHARACTERS, cut, cut_bytes,
};
use sqlx::{QueryBuilder, Row as _};

use crate::dialect::{Connection, Db, Row, Store, bind_bound, bind_time, push_matches, read_clock};
use crate::{error, row};

#[async_trait]
impl Audit for Store {
    async fn audit(
        &self,
        selection: &AuditSelection,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>> {
        self.short(newest(self, selection, before, limit)).await
    }

    async fn record(&self, event: &AuditEvent, reason: Option<&str>, by: &str) -> Result<()> {
        self.short(async {
            let mut transaction = self.begin().await?;
            record(&mut transaction, event.clone(), reason, by).await?;
            Ok(transaction.commit().await?)
        })
        .await
    }
}

/// Records `event`, at the time of the database's clock.
pub(crate) async fn record(
    connection: &mut Connection,
    event: AuditEvent,
    reason: Option<&str>,
    by: &str,
) -> error::Result<()> {
    let at = read_clock(connection).await?;
    log(connection, &Change::new(event, reason, by, at)).await
}

/// Writes one change.
pub(crate) async fn log(connection: &mut Connection, change: &Change) -> error::Result<()> {
    let columns = change.event.columns();
    let value = |value: &Option<String>| {
        value.as_deref().map(|value| cut(value, VALUE_CHARACTERS).to_owned())
    };
    sqlx::query(
        "INSERT INTO reelshift_audit (subject, name, action, run_id, previous, value, reason, \
           changed_by, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(columns.subject.into_str())
    .bind(cut(&columns.name, NAME_CHARACTERS))
    .bind(columns.action)
    .bind(columns.run.map(|run| run.to_string()))
    .bind(value(&columns.previous))
    .bind(value(&columns.value))
    .bind(change.reason.as_deref().map(|reason| cut_bytes(reason, TEXT_BYTES)))
    .bind(cut(&change.changed_by, BY_CHARACTERS))
    .bind(bind_time(change.changed_at))
    .execute(connection)
    .await?;
    Ok(())
}

/// The newest changes that are selected.
pub(crate) async fn newest(
    store: &Store,
    selection: &AuditSelection,
    before: Option<i64>,
    limit: u32,
) -> error::Result<Vec<AuditEntry>> {
    let mut query = QueryBuilder::<Db>::new(
        "SELECT seq, subject, name, action, run_id, previous, value, reason, changed_by, changed_at \
         FROM reelshift_audit WHERE subject IN (",
    );
    let mut list = query.separated(", ");
    for subject in selection.subjects() {
        list.push_bind(subject.into_str());
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
    if let Some(by) = &selection.by {
        push_matches(&mut query, "changed_by", by);
    }
    if let Some(since) = selection.since {
        query.push(" AND changed_at >= ").push_bind(bind_bound(since));
    }
    if let Some(before) = before {
        query.push(" AND seq < ").push_bind(before);
    }
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(store.reader()).await?;
    rows.iter().filter_map(|row| read(row).transpose()).collect()
}

/// `None` for a subject of a later version.
fn read(row: &Row) -> error::Result<Option<AuditEntry>> {
    let Some(subject) = Subject::named(row.try_get("subject")?) else { return Ok(None) };
    let columns = AuditColumns {
        subject,
        name: row.try_get("name")?,
        action: row.try_get("action")?,
        run: row::optional_uuid(row, "run_id")?,
        previous: row.try_get("previous")?,
        value: row.try_get("value")?,
    };
    Ok(Some(AuditEntry {
        seq: row.try_get("seq")?,
        change: Change {
            event: columns.into(),
            reason: row.try_get("reason")?,
            changed_by: row.try_get("changed_by")?,
            changed_at: row::time(row, "changed_at")?,
        },
    }))
}
