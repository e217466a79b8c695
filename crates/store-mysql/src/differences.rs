//! What runs of validation found: counts of each check by batch, and each difference.

use std::collections::BTreeMap;

use reelshift_store::comparisons::{
    ComparedTable, ComparedWindow, Comparisons as _, FoundDifference,
};
use reelshift_store::ledger::Lease;
use reelshift_store::report::{Check, Difference, FIRST_DIFFERENCES};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::error::Result;
use crate::{id_list, lease, row};

/// Differences in one INSERT: seven values each, far below the packet limit.
const ROWS_PER_INSERT: usize = 250;

/// What is stored of an expected or found value at most, in characters.
const MAX_VALUE_CHARACTERS: usize = 1_000;

pub(crate) async fn record(
    store: &MySqlStore,
    lease: Lease,
    window: &ComparedWindow,
) -> Result<()> {
    let mut transaction = store.pool.begin().await?;
    let written = write(&mut transaction, lease, window).await;
    lease::commit_or_roll_back(transaction, written).await
}

async fn write(
    connection: &mut MySqlConnection,
    lease: Lease,
    window: &ComparedWindow,
) -> Result<()> {
    let run = lease::fence(connection, lease).await?.run_id;
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO reelshift_comparisons (run_id, batch_seq, check_name, rows_compared, \
           differences) ",
    );
    query.push_values(&window.compared.checks, |mut values, counted| {
        values
            .push_bind(run.clone())
            .push_bind(lease.seq)
            .push_bind(counted.check)
            .push_bind(counted.rows)
            .push_bind(counted.differences);
    });
    query.push(
        " ON DUPLICATE KEY UPDATE rows_compared = rows_compared + VALUES(rows_compared), \
           differences = differences + VALUES(differences)",
    );
    query.build().execute(&mut *connection).await?;
    for differences in window.compared.differences.chunks(ROWS_PER_INSERT) {
        insert(connection, &run, window.table, differences).await?;
    }
    sqlx::query(
        "UPDATE reelshift_batches SET rows_done = rows_done + ?, checkpoint = ? \
         WHERE seq = ? AND lease_token = ?",
    )
    .bind(window.rows)
    .bind(&window.upto)
    .bind(lease.seq)
    .bind(lease.token)
    .execute(connection)
    .await?;
    Ok(())
}

/// A batch that was enqueued again may find the same once more.
async fn insert(
    connection: &mut MySqlConnection,
    run: &str,
    table: ComparedTable,
    differences: &[(&'static str, Difference)],
) -> Result<()> {
    let cut = |value: &Option<String>| -> Option<String> {
        Some(value.as_ref()?.chars().take(MAX_VALUE_CHARACTERS).collect())
    };
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO reelshift_differences (run_id, table_name, row_key, check_name, column_name, \
           expected, found) ",
    );
    query.push_values(differences, |mut values, (check, difference)| {
        values
            .push_bind(run.to_owned())
            .push_bind(table.into_str())
            .push_bind(difference.video_id.clone())
            .push_bind(*check)
            .push_bind(difference.column.clone())
            .push_bind(cut(&difference.expected))
            .push_bind(cut(&difference.found));
    });
    query.push(" ON DUPLICATE KEY UPDATE expected = VALUES(expected), found = VALUES(found)");
    let persistent = differences.len() == ROWS_PER_INSERT;
    query.build().persistent(persistent).execute(connection).await?;
    Ok(())
}

pub(crate) async fn checks(store: &MySqlStore, run: Uuid) -> Result<Vec<Check>> {
    let counts: BTreeMap<String, (u64, u64)> = sqlx::query(
        "SELECT c.check_name, CAST(SUM(c.rows_compared) AS SIGNED) AS looked_at, \
           CAST(SUM(c.differences) AS SIGNED) AS different FROM reelshift_comparisons c \
         WHERE c.run_id = ? AND NOT EXISTS (SELECT 1 FROM reelshift_batches b \
           JOIN reelshift_batches r ON r.parent_id = b.id AND NOT r.of_items WHERE b.seq = c.batch_seq) \
         GROUP BY c.check_name",
    )
    .bind(run.to_string())
    .fetch_all(&store.pool)
    .await?
    .iter()
    .map(|counted| {
        let counts = (row::count(counted, "looked_at")?, row::count(counted, "different")?);
        Ok((counted.try_get("check_name")?, counts))
    })
    .collect::<Result<_>>()?;
    let mut checks = store.row_checks();
    for check in &mut checks {
        let Some((rows, differences)) = counts.get(&check.name) else { continue };
        check.count(*rows, *differences);
        if *differences == 0 {
            continue;
        }
        for &table in ComparedTable::ALL {
            let room = FIRST_DIFFERENCES
                .saturating_sub(u32::try_from(check.first.len()).unwrap_or(u32::MAX));
            let first = sqlx::query(
                "SELECT table_name, row_key, check_name, column_name, expected, found \
                 FROM reelshift_differences \
                 WHERE run_id = ? AND table_name = ? AND check_name = ? \
                 ORDER BY row_key, column_name LIMIT ?",
            )
            .bind(run.to_string())
            .bind(table.into_str())
            .bind(&check.name)
            .bind(room)
            .fetch_all(&store.pool)
            .await?;
            for difference in &first {
                let FoundDifference { key, column, expected, found, .. } = read(difference)?;
                check.first.push(Difference { video_id: key, column, expected, found });
            }
        }
    }
    Ok(checks)
}

pub(crate) async fn keys(
    store: &MySqlStore,
    run: Uuid,
    table: ComparedTable,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<String>> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT DISTINCT row_key FROM reelshift_differences FORCE INDEX (PRIMARY) WHERE run_id = ",
    );
    query.push_bind(run.to_string()).push(" AND table_name = ").push_bind(table.into_str());
    if let Some(after) = after {
        query.push(" AND row_key > ").push_bind(after.to_owned());
    }
    query.push(" ORDER BY row_key LIMIT ").push_bind(limit);
    Ok(query.build_query_scalar().fetch_all(&store.pool).await?)
}

pub(crate) async fn of_keys(
    store: &MySqlStore,
    run: Uuid,
    table: ComparedTable,
    keys: &[String],
) -> Result<Vec<FoundDifference>> {
    let mut differences = Vec::new();
    for keys in keys.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::<MySql>::new(
            "SELECT table_name, row_key, check_name, column_name, expected, found \
             FROM reelshift_differences WHERE run_id = ",
        );
        query.push_bind(run.to_string()).push(" AND table_name = ").push_bind(table.into_str());
        query.push(" AND row_key IN ");
        id_list::push(&mut query, keys);
        query.push(" ORDER BY row_key, check_name, column_name");
        for difference in query.build().fetch_all(&store.pool).await? {
            differences.push(read(&difference)?);
        }
    }
    Ok(differences)
}

fn read(difference: &MySqlRow) -> Result<FoundDifference> {
    Ok(FoundDifference {
        table: difference.try_get("table_name")?,
        key: difference.try_get("row_key")?,
        check: difference.try_get("check_name")?,
        column: difference.try_get("column_name")?,
        expected: difference.try_get("expected")?,
        found: difference.try_get("found")?,
    })
}
