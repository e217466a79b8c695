//! `processing_error_log`: writing its rows and reading them.

mod selection;

use async_trait::async_trait;
use reelshift_plan::JobKind;
use reelshift_store::Result;
use reelshift_store::failures::{
    ErrorEntry, ErrorGroup, ErrorRecord, ErrorSelection, Failures, NEWEST_GROUPED,
};
use reelshift_store::length::{
    CORRELATION_CHARACTERS, ERROR_CODE_CHARACTERS, ERROR_TYPE_CHARACTERS, STAGE_CHARACTERS,
    STRATEGY_CHARACTERS, TEXT_BYTES, cut, cut_bytes,
};
use sqlx::{QueryBuilder, Row, SqliteConnection};

pub(crate) use self::selection::push_conditions;
use self::selection::push_selection;
use crate::mapping::{hex_array, ids};
use crate::{SqliteStore, error, row};

#[async_trait]
impl Failures for SqliteStore {
    async fn record_errors(&self, errors: &[ErrorRecord]) -> Result<()> {
        self.short(record_errors(self, errors)).await
    }

    async fn error_groups(
        &self,
        selection: &ErrorSelection,
        newest: Option<u32>,
    ) -> Result<Vec<ErrorGroup>> {
        self.about_file(match self.readers.acquire().await {
            Ok(mut connection) => groups(&mut connection, selection, newest).await,
            Err(error) => Err(error.into()),
        })
    }

    async fn errors(&self, selection: &ErrorSelection, limit: u32) -> Result<Vec<ErrorEntry>> {
        self.short(errors(self, selection, limit)).await
    }
}

/// Which earlier row a new one follows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Parent<'a> {
    /// That of the batch's attempt before.
    Batch(Option<&'a str>),
    /// The video's last one of the same stage that nothing made good.
    Video,
    /// The same for an item of a batch; where the video has none, that of the batch's
    /// attempt before.
    Item(Option<&'a str>),
}

/// Writes one row. A video or a parent that is gone is written as NULL, and a row that a
/// broken connection left unacknowledged may be written again. The parent is marked: what
/// followed it failed.
pub(crate) async fn insert_error(
    tx: &mut SqliteConnection,
    error: &ErrorRecord,
    parent: Parent<'_>,
) -> error::Result<()> {
    let parent = match (parent, &error.video_id) {
        (Parent::Batch(parent), _) => parent.map(str::to_owned),
        (Parent::Video, Some(video)) => open_error(tx, error, video).await?,
        (Parent::Item(batchs), Some(video)) => {
            open_error(tx, error, video).await?.or_else(|| batchs.map(str::to_owned))
        }
        (Parent::Item(batchs), None) => batchs.map(str::to_owned),
        (Parent::Video, None) => None,
    };
    sqlx::query(
        "INSERT INTO processing_error_log (id, video_id, processing_stage, error_type, error_message,
             error_code, stack_trace, system_state, recovery_strategy, recovery_attempted, correlation_id,
             parent_error_id, severity, user_impact, created_at)
         VALUES (?, (SELECT v.id FROM videos v WHERE v.id = ?), ?, ?, ?, ?, ?, ?, ?, 0, ?,
             (SELECT e.id FROM processing_error_log e WHERE e.id = ?), ?, ?, CURRENT_TIMESTAMP)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(error.id.to_string())
    .bind(&error.video_id)
    .bind(cut(&error.processing_stage, STAGE_CHARACTERS))
    .bind(cut(&error.error_type, ERROR_TYPE_CHARACTERS))
    .bind(cut_bytes(&error.error_message, TEXT_BYTES))
    .bind(error.error_code.as_deref().map(|code| cut(code, ERROR_CODE_CHARACTERS)))
    .bind(error.stack_trace.as_deref().map(|trace| cut_bytes(trace, TEXT_BYTES)))
    .bind(error.system_state.to_string())
    .bind(cut(&error.recovery_strategy, STRATEGY_CHARACTERS))
    .bind(error.correlation_id.as_deref().map(|id| cut(id, CORRELATION_CHARACTERS)))
    .bind(&parent)
    .bind(error.severity.into_str())
    .bind(error.user_impact.into_str())
    .execute(&mut *tx)
    .await?;
    if let Some(parent) = parent {
        sqlx::query(
            "UPDATE processing_error_log SET recovery_attempted = 1, recovery_successful = 0
             WHERE id = ? AND recovery_successful IS NOT 1",
        )
        .bind(parent)
        .execute(tx)
        .await?;
    }
    Ok(())
}

/// Writes a failed attempt, after that of `parent`.
pub(crate) async fn insert_attempt(
    tx: &mut SqliteConnection,
    error: &ErrorRecord,
    parent: Option<&str>,
) -> error::Result<()> {
    insert_error(tx, error, Parent::Batch(parent)).await
}

/// The last error of `video` in the stage of the new one that nothing made good.
async fn open_error(
    tx: &mut SqliteConnection,
    error: &ErrorRecord,
    video: &str,
) -> error::Result<Option<String>> {
    Ok(sqlx::query_scalar(
        "SELECT MAX(id) FROM processing_error_log
         WHERE video_id = ? AND processing_stage = ? AND recovery_successful IS NOT 1 AND id <> ?",
    )
    .bind(video)
    .bind(cut(&error.processing_stage, STAGE_CHARACTERS))
    .bind(error.id.to_string())
    .fetch_one(tx)
    .await?)
}

/// Says of the failures of `kind` on these videos that the work was done after all.
pub(crate) async fn mark_items_recovered(
    tx: &mut SqliteConnection,
    kind: JobKind,
    videos: &[String],
) -> error::Result<()> {
    let marked = sqlx::query(concat!(
        "UPDATE processing_error_log
         SET recovery_attempted = 1, recovery_successful = 1, recovery_timestamp = CURRENT_TIMESTAMP
         WHERE video_id IN ",
        ids!(),
        " AND processing_stage = ? AND recovery_successful IS NOT 1"
    ))
    .bind(hex_array(videos))
    .bind(kind.into_str())
    .execute(&mut *tx)
    .await?;
    if marked.rows_affected() == 0 {
        return Ok(());
    }
    for attempt in attempts_made_good(tx, kind, videos).await? {
        mark_recovered(tx, &attempt).await?;
    }
    Ok(())
}

/// The failed attempts that errors of these videos followed, where nothing that followed is
/// left open.
async fn attempts_made_good(
    tx: &mut SqliteConnection,
    kind: JobKind,
    videos: &[String],
) -> error::Result<Vec<String>> {
    Ok(sqlx::query_scalar(concat!(
        "SELECT DISTINCT p.id FROM processing_error_log e
         JOIN processing_error_log p ON p.id = e.parent_error_id
         WHERE p.video_id IS NULL AND p.recovery_successful IS NOT 1
           AND NOT EXISTS (SELECT 1 FROM processing_error_log o
                           WHERE o.parent_error_id = p.id AND o.recovery_successful IS NOT 1)
           AND e.processing_stage = ? AND e.video_id IN ",
        ids!()
    ))
    .bind(kind.into_str())
    .bind(hex_array(videos))
    .fetch_all(tx)
    .await?)
}

/// Says of the attempts that led to `last_error_id` that a later one succeeded. What it set
/// an item aside for, it did not make good: those of the same type wait for the item.
pub(crate) async fn mark_recovered(
    tx: &mut SqliteConnection,
    last_error_id: &str,
) -> error::Result<()> {
    sqlx::query(
        "WITH RECURSIVE chain (id) AS (
             VALUES (?)
             UNION
             SELECT e.parent_error_id FROM chain c JOIN processing_error_log e ON e.id = c.id
             WHERE e.parent_error_id IS NOT NULL
         )
         UPDATE processing_error_log
         SET recovery_attempted = 1, recovery_successful = 1, recovery_timestamp = CURRENT_TIMESTAMP
         WHERE id IN (SELECT id FROM chain) AND recovery_successful IS NOT 1
           AND error_type NOT IN (
             SELECT o.error_type FROM processing_error_log o
             WHERE o.parent_error_id IN (SELECT id FROM chain) AND o.video_id IS NOT NULL
               AND o.recovery_successful IS NOT 1)",
    )
    .bind(last_error_id)
    .execute(tx)
    .await?;
    Ok(())
}

async fn record_errors(store: &SqliteStore, errors: &[ErrorRecord]) -> error::Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    let mut tx = store.write().await?;
    for error in errors {
        insert_error(&mut tx, error, Parent::Video).await?;
    }
    Ok(tx.commit().await?)
}

/// A time of the platform's table in a form that is always read; an odd one is the epoch.
macro_rules! readable {
    ($time:literal) => {
        concat!("COALESCE(strftime('%Y-%m-%d %H:%M:%f', ", $time, "), '1970-01-01 00:00:00.000')")
    };
}

/// The sample is the newest row: ids are UUIDv7 and sort by time.
/// The groups of the newest failures, for the ledger report.
pub(crate) async fn newest_groups(
    connection: &mut SqliteConnection,
) -> error::Result<Vec<ErrorGroup>> {
    groups(connection, &ErrorSelection::default(), Some(NEWEST_GROUPED)).await
}

async fn groups(
    connection: &mut SqliteConnection,
    selection: &ErrorSelection,
    newest: Option<u32>,
) -> error::Result<Vec<ErrorGroup>> {
    let mut query = QueryBuilder::new(concat!(
        "SELECT g.*, n.severity, n.error_message, n.video_id, n.recovery_strategy, n.correlation_id
         FROM (SELECT e.processing_stage, e.error_type, COUNT(*) AS count,
                      COALESCE(SUM(e.recovery_successful = 1), 0) AS recovered,
                      COALESCE(SUM(julianday('now') - julianday(e.created_at) < 1.0 / 24), 0) AS last_hour,
                      COALESCE(SUM(julianday('now') - julianday(e.created_at) >= 1.0 / 24
                          AND julianday('now') - julianday(e.created_at) < 2.0 / 24), 0) AS hour_before, ",
        readable!("MIN(e.created_at)"),
        " AS first_at, ",
        readable!("MAX(e.created_at)"),
        " AS last_at, MAX(e.id) AS newest FROM "
    ));
    match newest {
        Some(rows) => {
            query.push("(SELECT * FROM processing_error_log ORDER BY created_at DESC LIMIT ");
            query.push_bind(rows).push(") e");
        }
        None => {
            query.push("processing_error_log e");
        }
    }
    push_selection(&mut query, selection);
    query.push(
        " GROUP BY e.processing_stage, e.error_type) g JOIN processing_error_log n ON n.id = g.newest
         ORDER BY g.count DESC, g.processing_stage, g.error_type",
    );
    let rows = query.build().fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(ErrorGroup {
                processing_stage: row.try_get("processing_stage")?,
                error_type: row.try_get("error_type")?,
                severity: row.try_get::<Option<_>, _>("severity")?.unwrap_or_default(),
                count: row::count(row, "count")?,
                recovered: row::count(row, "recovered")?,
                first_at: row::time(row, "first_at")?,
                last_at: row::time(row, "last_at")?,
                sample: row.try_get("error_message")?,
                sample_video_id: row.try_get("video_id")?,
                recovery_strategy: row.try_get("recovery_strategy")?,
                sample_correlation_id: row.try_get("correlation_id")?,
                last_hour: row::count(row, "last_hour")?,
                hour_before: row::count(row, "hour_before")?,
            })
        })
        .collect()
}

async fn errors(
    store: &SqliteStore,
    selection: &ErrorSelection,
    limit: u32,
) -> error::Result<Vec<ErrorEntry>> {
    let mut query = QueryBuilder::new(concat!(
        "SELECT e.id, e.video_id, e.processing_stage, e.error_type, e.error_message, e.error_code,
             e.stack_trace, e.system_state, e.recovery_strategy,
             COALESCE(e.recovery_attempted = 1, 0) AS attempted, e.recovery_successful = 1 AS successful,
             strftime('%Y-%m-%d %H:%M:%f', e.recovery_timestamp) AS recovered_at, e.correlation_id,
             e.parent_error_id, e.severity, e.user_impact, ",
        readable!("e.created_at"),
        " AS created_at FROM processing_error_log e"
    ));
    push_selection(&mut query, selection);
    query.push(" ORDER BY e.created_at DESC, e.id DESC LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(&store.readers).await?;
    rows.iter()
        .map(|row| {
            let system_state: Option<String> = row.try_get("system_state")?;
            Ok(ErrorEntry {
                id: row.try_get("id")?,
                video_id: row.try_get("video_id")?,
                processing_stage: row.try_get("processing_stage")?,
                error_type: row.try_get("error_type")?,
                error_message: row.try_get("error_message")?,
                error_code: row.try_get("error_code")?,
                stack_trace: row.try_get("stack_trace")?,
                system_state: system_state.and_then(|json| serde_json::from_str(&json).ok()),
                recovery_strategy: row.try_get("recovery_strategy")?,
                recovery_attempted: row.try_get("attempted")?,
                recovery_successful: row.try_get("successful")?,
                recovery_timestamp: row::optional_time(row, "recovered_at")?,
                correlation_id: row.try_get("correlation_id")?,
                parent_error_id: row.try_get("parent_error_id")?,
                severity: row.try_get::<Option<_>, _>("severity")?.unwrap_or_default(),
                user_impact: row.try_get::<Option<_>, _>("user_impact")?.unwrap_or_default(),
                created_at: row::time(row, "created_at")?,
            })
        })
        .collect()
}
