//! Marking errors whose work was done after all.

use reelshift_plan::JobKind;
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use crate::{error, id_list};

/// By an index always: a scan, which the optimizer prefers for a small table, would wait for
/// the rows that other transactions write.
fn recovered() -> QueryBuilder<MySql> {
    QueryBuilder::new(
        "UPDATE processing_error_log FORCE INDEX (PRIMARY) SET recovery_attempted = TRUE, \
           recovery_successful = TRUE, recovery_timestamp = NOW() \
         WHERE NOT (recovery_successful <=> TRUE) AND id IN ",
    )
}

/// What followed these errors was no success.
pub(super) async fn mark_not_recovered(
    connection: &mut MySqlConnection,
    ids: &[String],
) -> error::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::<MySql>::new(
        "UPDATE processing_error_log FORCE INDEX (PRIMARY) \
         SET recovery_attempted = TRUE, recovery_successful = FALSE \
         WHERE NOT (recovery_successful <=> TRUE) AND id IN ",
    );
    id_list::push(&mut query, ids);
    query.build().execute(connection).await?;
    Ok(())
}

/// A later attempt succeeded than the one that ended with `last_error` and those before it.
/// What it set an item aside for, it did not make good: those of the same type wait for the
/// item.
pub(crate) async fn mark_recovered(
    connection: &mut MySqlConnection,
    last_error: &str,
) -> error::Result<()> {
    let mut chain: Vec<String> = Vec::new();
    let mut next = Some(last_error.to_owned());
    while let Some(id) = next.filter(|id| !chain.contains(id)) {
        let parent: Option<Option<String>> =
            sqlx::query_scalar("SELECT parent_error_id FROM processing_error_log WHERE id = ?")
                .bind(&id)
                .fetch_optional(&mut *connection)
                .await?;
        chain.push(id);
        next = parent.flatten();
    }
    for ids in chain.chunks(id_list::MAX_LISTED_VALUES) {
        let waiting = types_that_wait(connection, ids).await?;
        let mut query = recovered();
        id_list::push(&mut query, ids);
        if !waiting.is_empty() {
            query.push(" AND error_type NOT IN ");
            id_list::push(&mut query, &waiting);
        }
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// The types of the errors that items were set aside for after those of `chain`, and that
/// nothing made good.
async fn types_that_wait(
    connection: &mut MySqlConnection,
    chain: &[String],
) -> error::Result<Vec<String>> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT DISTINCT error_type FROM processing_error_log \
         WHERE video_id IS NOT NULL AND NOT (recovery_successful <=> TRUE) AND parent_error_id IN ",
    );
    id_list::push(&mut query, chain);
    Ok(query.build_query_scalar().fetch_all(connection).await?)
}

/// The work of `kind` on these videos was done after all.
pub(crate) async fn mark_items_recovered(
    connection: &mut MySqlConnection,
    kind: JobKind,
    video_ids: &[String],
) -> error::Result<()> {
    // With a column that the index lacks, or a small index is scanned.
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT id, created_at FROM processing_error_log FORCE INDEX (idx_error_video_stage) \
         WHERE NOT (recovery_successful <=> TRUE) AND processing_stage = ",
    );
    query.push_bind(kind.into_str()).push(" AND video_id IN ");
    id_list::push(&mut query, video_ids);
    query.push(" FOR UPDATE NOWAIT");
    let errors: Vec<String> = query.build_query_scalar().fetch_all(&mut *connection).await?;
    if errors.is_empty() {
        return Ok(());
    }
    for ids in errors.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = recovered();
        id_list::push(&mut query, ids);
        query.build().execute(&mut *connection).await?;
    }
    for attempt in attempts_made_good(connection, kind, video_ids).await? {
        mark_recovered(connection, &attempt).await?;
    }
    Ok(())
}

/// The failed attempts that errors of these videos followed, where nothing that followed is
/// left open.
async fn attempts_made_good(
    connection: &mut MySqlConnection,
    kind: JobKind,
    video_ids: &[String],
) -> error::Result<Vec<String>> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT DISTINCT p.id FROM processing_error_log e FORCE INDEX (idx_error_video_stage) \
         JOIN processing_error_log p ON p.id = e.parent_error_id \
         WHERE p.video_id IS NULL AND NOT (p.recovery_successful <=> TRUE) \
           AND NOT EXISTS (SELECT 1 FROM processing_error_log o \
             WHERE o.parent_error_id = p.id AND NOT (o.recovery_successful <=> TRUE)) \
           AND e.processing_stage = ",
    );
    query.push_bind(kind.into_str()).push(" AND e.video_id IN ");
    id_list::push(&mut query, video_ids);
    Ok(query.build_query_scalar().fetch_all(connection).await?)
}
