//! Rows of `reelshift_quarantine`, as an operator selects them.

use reelshift_plan::JobKind;
use reelshift_store::ledger::{Quarantined, RerunSelection};
use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use crate::dialect::{
    Connection, Db, Store, file_bytes, now, push_error_conditions, push_since, push_video_ids,
    video_key,
};
use crate::error::Result;
use crate::{id_list, row};

/// Appends what must hold for an item `q`.
async fn push_conditions(
    query: &mut QueryBuilder<Db>,
    store: &Store,
    selection: &RerunSelection,
) -> Result<()> {
    if let Some(batch) = selection.batch {
        query.push(" AND q.batch_id = ").push_bind(batch.to_string());
    }
    if let Some(error_type) = &selection.error_type {
        query.push(" AND q.error_type = ").push_bind(error_type.clone());
    }
    if let Some(since) = selection.since {
        push_since(query, "q.created_at", since);
    }
    if !selection.of_accepted() {
        query.push(" AND q.accepted_at IS NULL");
    }
    if let Some(error) = &selection.error {
        push_error_conditions(query, store, "q.error_id", error).await?;
    }
    Ok(())
}

/// Items of `run` that match, in the order of the batches that had set them aside and of their
/// keys.
pub(crate) async fn select(
    connection: &mut Connection,
    store: &Store,
    run: Uuid,
    selection: &RerunSelection,
) -> Result<Vec<Quarantined>> {
    let mut query = QueryBuilder::<Db>::new(concat!(
        "SELECT ",
        video_key!("q.video_id"),
        " AS video_id, q.batch_id, v.id IS NOT NULL AS present, ",
        file_bytes!("v.file_size"),
        " AS bytes, b.traceparent \
         FROM reelshift_quarantine q LEFT JOIN videos v ON v.id = q.video_id \
         LEFT JOIN reelshift_batches b ON b.id = q.batch_id WHERE q.run_id = "
    ));
    query.push_bind(run.to_string());
    push_conditions(&mut query, store, selection).await?;
    query.push(" ORDER BY q.batch_id, q.video_id");
    let rows = query.build().fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(Quarantined {
                video_id: row.try_get("video_id")?,
                batch: row::uuid(row, "batch_id")?,
                traceparent: row.try_get("traceparent")?,
                bytes: row::count(row, "bytes")?,
                is_present: row.try_get("present")?,
            })
        })
        .collect()
}

/// Takes these items of `run` out of quarantine. By primary key: a delete by run would lock what
/// others set aside meanwhile. One that another run has set aside since stays.
pub(crate) async fn delete(
    connection: &mut Connection,
    run: Uuid,
    kind: JobKind,
    videos: &[String],
) -> Result<u64> {
    let mut deleted = 0;
    for videos in videos.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::<Db>::new("DELETE FROM reelshift_quarantine WHERE run_id = ");
        query.push_bind(run.to_string());
        query.push(" AND kind = ").push_bind(kind.into_str()).push(" AND video_id IN ");
        push_video_ids(&mut query, videos);
        deleted += query.build().execute(&mut *connection).await?.rows_affected();
    }
    Ok(deleted)
}

/// Takes up to `limit` items of `run` out of quarantine.
pub(crate) async fn free(connection: &mut Connection, run: Uuid, limit: u32) -> Result<u64> {
    let rows = sqlx::query(concat!(
        "SELECT kind, ",
        video_key!("video_id"),
        " AS video_id FROM reelshift_quarantine WHERE run_id = ? LIMIT ?"
    ))
    .bind(run.to_string())
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let Some(first) = rows.first() else { return Ok(0) };
    let kind: JobKind = row::parsed(first, "kind")?;
    let videos: Vec<String> =
        rows.iter().map(|row| row.try_get("video_id")).collect::<sqlx::Result<_>>()?;
    delete(connection, run, kind, &videos).await
}

/// Accepts the items of `run` that match and are not accepted yet.
pub(crate) async fn accept(
    connection: &mut Connection,
    store: &Store,
    run: Uuid,
    selection: &RerunSelection,
    reason: &str,
    by: &str,
) -> Result<u64> {
    let mut query = QueryBuilder::<Db>::new(concat!(
        "UPDATE reelshift_quarantine AS q SET accepted_at = ",
        now!(),
        ", accepted_by = "
    ));
    query.push_bind(by.to_owned()).push(", accepted_reason = ").push_bind(reason.to_owned());
    query.push(" WHERE q.accepted_at IS NULL AND q.run_id = ").push_bind(run.to_string());
    push_conditions(&mut query, store, selection).await?;
    Ok(query.build().execute(connection).await?.rows_affected())
}
