//! `processing_error_log`: writing its rows, marking what recovered, reading them.

mod recovered;
mod selection;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::failures::{
    ErrorEntry, ErrorGroup, ErrorRecord, ErrorSelection, Failures, NEWEST_GROUPED,
};
use reelshift_store::length::{
    CORRELATION_CHARACTERS, ERROR_CODE_CHARACTERS, ERROR_TYPE_CHARACTERS, STAGE_CHARACTERS,
    STRATEGY_CHARACTERS, TEXT_BYTES, cut, cut_bytes,
};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};

use self::recovered::mark_not_recovered;
pub(crate) use self::recovered::{mark_items_recovered, mark_recovered};
pub(crate) use self::selection::push_conditions;
use self::selection::push_selection;
use crate::connection::MySqlStore;
use crate::deadline::{LONG, SHORT, within};
use crate::session::NEVER_WAIT;
use crate::text::TextColumn;
use crate::{error, id_list, lease, row};

/// Rows in one INSERT: two texts of 64 KiB each stay below the packet limit.
const ROWS_PER_INSERT: usize = 64;

#[async_trait]
impl Failures for MySqlStore {
    async fn record_errors(&self, errors: &[ErrorRecord]) -> Result<()> {
        within(SHORT, async {
            let mut transaction = self.pool.begin().await?;
            let written = insert(&mut transaction, errors, Parent::Video).await;
            lease::commit_or_roll_back(transaction, written).await.map(drop)
        })
        .await
    }

    async fn error_groups(
        &self,
        selection: &ErrorSelection,
        newest: Option<u32>,
    ) -> Result<Vec<ErrorGroup>> {
        within(LONG, async {
            let video_id = &self.legacy().await?.id;
            let mut connection = self.pool.acquire().await?;
            groups(&mut connection, selection, newest, video_id).await
        })
        .await
    }

    async fn errors(&self, selection: &ErrorSelection, limit: u32) -> Result<Vec<ErrorEntry>> {
        within(LONG, entries(self, selection, limit)).await
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

/// Writes rows; those written before are left as they are, so that a write whose outcome
/// was not seen can be repeated. A video or a parent that is gone is written as NULL; the
/// parents are marked: what followed them failed. Returns the videos that are there, whose
/// rows stay locked against a deletion.
pub(crate) async fn insert(
    connection: &mut MySqlConnection,
    errors: &[ErrorRecord],
    parent: Parent<'_>,
) -> error::Result<HashSet<String>> {
    let of_batch = match parent {
        Parent::Batch(Some(parent)) | Parent::Item(Some(parent)) => {
            sqlx::query_scalar::<_, String>(
                "SELECT id FROM processing_error_log WHERE id = ? LOCK IN SHARE MODE",
            )
            .bind(parent)
            .fetch_optional(&mut *connection)
            .await?
        }
        Parent::Batch(None) | Parent::Item(None) | Parent::Video => None,
    };
    let mut all_present = HashSet::new();
    for errors in errors.chunks(ROWS_PER_INSERT) {
        let present = lock_present(connection, errors).await?;
        let earlier = match parent {
            Parent::Video | Parent::Item(_) => open_errors(connection, errors, &present).await?,
            Parent::Batch(_) => HashMap::new(),
        };
        let parent_of = |error: &ErrorRecord| {
            let of_video = error.video_id.as_ref().and_then(|video| earlier.get(video)).cloned();
            of_video.or_else(|| of_batch.clone())
        };
        let mut query = QueryBuilder::<MySql>::new(NEVER_WAIT);
        query.push(
            "INSERT INTO processing_error_log (id, video_id, processing_stage, error_type, \
               error_message, error_code, stack_trace, system_state, recovery_strategy, \
               correlation_id, parent_error_id, severity, user_impact) ",
        );
        // Repeated rows change nothing, and keep the statement's shapes few.
        query.push_values(id_list::padded(errors), |mut values, error| {
            let code =
                error.error_code.as_deref().map(|code| cut(code, ERROR_CODE_CHARACTERS).to_owned());
            let trace =
                error.stack_trace.as_deref().map(|trace| cut_bytes(trace, TEXT_BYTES).to_owned());
            let correlation = error
                .correlation_id
                .as_deref()
                .map(|id| cut(id, CORRELATION_CHARACTERS).to_owned());
            values
                .push_bind(error.id.to_string())
                .push_bind(error.video_id.clone().filter(|id| present.contains(id)))
                .push_bind(cut(&error.processing_stage, STAGE_CHARACTERS).to_owned())
                .push_bind(cut(&error.error_type, ERROR_TYPE_CHARACTERS).to_owned())
                .push_bind(cut_bytes(&error.error_message, TEXT_BYTES).to_owned())
                .push_bind(code)
                .push_bind(trace)
                .push_bind(error.system_state.to_string())
                .push_bind(cut(&error.recovery_strategy, STRATEGY_CHARACTERS).to_owned())
                .push_bind(correlation)
                .push_bind(parent_of(error))
                .push_bind(error.severity.into_str())
                .push_bind(error.user_impact.into_str());
        });
        query.push(" ON DUPLICATE KEY UPDATE id = processing_error_log.id");
        query.build().execute(&mut *connection).await?;
        let mut parents: Vec<String> = errors.iter().filter_map(parent_of).collect();
        parents.sort_unstable();
        parents.dedup();
        mark_not_recovered(connection, &parents).await?;
        all_present.extend(present);
    }
    Ok(all_present)
}

/// Writes a failed attempt, after that of `parent`.
pub(crate) async fn insert_attempt(
    connection: &mut MySqlConnection,
    error: &ErrorRecord,
    parent: Option<&str>,
) -> error::Result<()> {
    insert(connection, std::slice::from_ref(error), Parent::Batch(parent)).await?;
    Ok(())
}

/// The last error of each video in the stage of its new one that nothing made good.
async fn open_errors(
    connection: &mut MySqlConnection,
    errors: &[ErrorRecord],
    present: &HashSet<String>,
) -> error::Result<HashMap<String, String>> {
    let stages: HashSet<&str> =
        errors.iter().map(|error| error.processing_stage.as_str()).collect();
    let mut found = HashMap::new();
    for stage in stages {
        let videos: Vec<String> = errors
            .iter()
            .filter(|error| error.processing_stage == stage)
            .filter_map(|error| error.video_id.clone().filter(|id| present.contains(id)))
            .collect();
        if videos.is_empty() {
            continue;
        }
        let mut query = QueryBuilder::<MySql>::new(
            "SELECT video_id, MAX(id) AS id FROM processing_error_log \
             WHERE NOT (recovery_successful <=> TRUE) AND processing_stage = ",
        );
        query.push_bind(cut(stage, STAGE_CHARACTERS).to_owned()).push(" AND video_id IN ");
        id_list::push(&mut query, &videos);
        query.push(" GROUP BY video_id");
        for row in query.build().fetch_all(&mut *connection).await? {
            found.insert(row.try_get("video_id")?, row.try_get("id")?);
        }
    }
    // Written before, and now once more: a row is not its own parent.
    let own: HashSet<String> = errors.iter().map(|error| error.id.to_string()).collect();
    found.retain(|_, id: &mut String| !own.contains(id));
    Ok(found)
}

/// Which of the videos are there, locked against a deletion: a foreign key check would
/// otherwise wait for one under way, and then refuse the row. `Locked` at once where the
/// application holds one.
async fn lock_present(
    connection: &mut MySqlConnection,
    errors: &[ErrorRecord],
) -> error::Result<HashSet<String>> {
    let ids: Vec<String> = errors.iter().filter_map(|error| error.video_id.clone()).collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let mut query =
        QueryBuilder::<MySql>::new("SELECT id FROM videos FORCE INDEX (PRIMARY) WHERE id IN ");
    id_list::push(&mut query, &ids);
    query.push(" ORDER BY id FOR UPDATE NOWAIT");
    let present: Vec<String> = query.build_query_scalar().fetch_all(connection).await?;
    Ok(present.into_iter().collect())
}

/// Groups over the `newest` rows, or over all. The sample is the group's newest row: ids
/// are UUIDv7 and sort by time.
/// The groups of the newest failures, for the ledger report.
pub(crate) async fn newest_groups(
    connection: &mut MySqlConnection,
) -> error::Result<Vec<ErrorGroup>> {
    let every = ErrorSelection::default();
    groups(connection, &every, Some(NEWEST_GROUPED), &TextColumn::default()).await
}

async fn groups(
    connection: &mut MySqlConnection,
    selection: &ErrorSelection,
    newest: Option<u32>,
    video_id: &TextColumn,
) -> error::Result<Vec<ErrorGroup>> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT g.*, n.severity, n.error_message, n.video_id, n.recovery_strategy, n.correlation_id FROM (\
           SELECT e.processing_stage, e.error_type, COUNT(*) AS errors, \
             CAST(COALESCE(SUM(e.recovery_successful), 0) AS SIGNED) AS recovered, \
             CAST(COALESCE(SUM(e.created_at > NOW() - INTERVAL 1 HOUR), 0) AS SIGNED) AS last_hour, \
             CAST(COALESCE(SUM(e.created_at > NOW() - INTERVAL 2 HOUR \
               AND e.created_at <= NOW() - INTERVAL 1 HOUR), 0) AS SIGNED) AS hour_before, \
             COALESCE(MIN(e.created_at), TIMESTAMP('1970-01-01')) AS first_at, \
             COALESCE(MAX(e.created_at), TIMESTAMP('1970-01-01')) AS last_at, MAX(e.id) AS newest FROM ",
    );
    match newest {
        Some(rows) => {
            query.push(
                "(SELECT id, video_id, processing_stage, error_type, error_message, \
                    recovery_successful, created_at, system_state FROM processing_error_log ORDER BY created_at DESC LIMIT ",
            );
            query.push_bind(rows).push(") e");
        }
        None => {
            query.push("processing_error_log e");
        }
    }
    push_selection(&mut query, selection, video_id);
    query.push(
        " GROUP BY e.processing_stage, e.error_type) g \
          JOIN processing_error_log n ON n.id = g.newest \
          ORDER BY g.errors DESC, g.processing_stage, g.error_type",
    );
    let rows = query.build().fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(ErrorGroup {
                processing_stage: row.try_get("processing_stage")?,
                error_type: row.try_get("error_type")?,
                severity: text(row, "severity")?,
                count: row::count(row, "errors")?,
                recovered: row::count(row, "recovered")?,
                first_at: row.try_get("first_at")?,
                last_at: row.try_get("last_at")?,
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

async fn entries(
    store: &MySqlStore,
    selection: &ErrorSelection,
    limit: u32,
) -> error::Result<Vec<ErrorEntry>> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT e.id, e.video_id, e.processing_stage, e.error_type, e.error_message, e.error_code, \
           e.stack_trace, CAST(e.system_state AS CHAR) AS system_state, e.recovery_strategy, \
           COALESCE(e.recovery_attempted, FALSE) AS recovery_attempted, e.recovery_successful, \
           e.recovery_timestamp, e.correlation_id, e.parent_error_id, e.severity, e.user_impact, \
           COALESCE(e.created_at, TIMESTAMP('1970-01-01')) AS created_at FROM processing_error_log e",
    );
    push_selection(&mut query, selection, &store.legacy().await?.id);
    query.push(" ORDER BY e.created_at DESC, e.id DESC LIMIT ").push_bind(limit);
    query.build().fetch_all(&store.pool).await?.iter().map(read).collect()
}

fn read(row: &MySqlRow) -> error::Result<ErrorEntry> {
    let system_state: Option<String> = row.try_get("system_state")?;
    Ok(ErrorEntry {
        id: row.try_get("id")?,
        video_id: row.try_get("video_id")?,
        processing_stage: row.try_get("processing_stage")?,
        error_type: row.try_get("error_type")?,
        error_message: row.try_get("error_message")?,
        error_code: row.try_get("error_code")?,
        stack_trace: row.try_get("stack_trace")?,
        system_state: system_state.and_then(|state| serde_json::from_str(&state).ok()),
        recovery_strategy: row.try_get("recovery_strategy")?,
        recovery_attempted: row.try_get("recovery_attempted")?,
        recovery_successful: row.try_get("recovery_successful")?,
        recovery_timestamp: row.try_get("recovery_timestamp")?,
        correlation_id: row.try_get("correlation_id")?,
        parent_error_id: row.try_get("parent_error_id")?,
        severity: text(row, "severity")?,
        user_impact: text(row, "user_impact")?,
        created_at: row.try_get("created_at")?,
    })
}

/// A column that has a default, and is NULL only where somebody wrote so.
fn text(row: &MySqlRow, column: &str) -> error::Result<String> {
    Ok(row.try_get::<Option<String>, _>(column)?.unwrap_or_default())
}
