//! What runs of validation found: counts of each check by batch, and each difference.

use std::collections::BTreeMap;

use reelshift_store::comparisons::{
    ComparedTable, ComparedWindow, Comparisons as _, FoundDifference,
};
use reelshift_store::ledger::Lease;
use reelshift_store::report::{Check, Difference, FIRST_DIFFERENCES};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row};
use uuid::Uuid;

use crate::SqliteStore;
use crate::dialect::bind_count;
use crate::error;
use crate::lease::fence;
use crate::mapping::{hex_array, ids};
use crate::row;

pub(crate) async fn record(
    store: &SqliteStore,
    lease: Lease,
    window: &ComparedWindow,
) -> error::Result<()> {
    let mut tx = store.write().await?;
    let run = fence(&mut tx, lease).await?.run_id;
    for counted in &window.compared.checks {
        sqlx::query(
            "INSERT INTO reelshift_comparisons
                 (run_id, batch_seq, check_name, rows_compared, differences)
             VALUES (?, ?, ?, ?, ?) ON CONFLICT (run_id, batch_seq, check_name) DO UPDATE SET
                 rows_compared = rows_compared + excluded.rows_compared,
                 differences = differences + excluded.differences",
        )
        .bind(&run)
        .bind(lease.seq)
        .bind(counted.check)
        .bind(bind_count(counted.rows))
        .bind(bind_count(counted.differences))
        .execute(&mut *tx)
        .await?;
    }
    // A batch that was enqueued again may find the same once more.
    for (check, difference) in &window.compared.differences {
        sqlx::query(
            "INSERT INTO reelshift_differences
                 (run_id, table_name, row_key, check_name, column_name, expected, found)
             VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (run_id, table_name, row_key, check_name, column_name)
             DO UPDATE SET expected = excluded.expected, found = excluded.found",
        )
        .bind(&run)
        .bind(window.table.into_str())
        .bind(&difference.video_id)
        .bind(*check)
        .bind(&difference.column)
        .bind(&difference.expected)
        .bind(&difference.found)
        .execute(&mut *tx)
        .await?;
    }
    sqlx::query(
        "UPDATE reelshift_batches SET rows_done = rows_done + ?, checkpoint = ?
         WHERE seq = ? AND lease_token = ?",
    )
    .bind(bind_count(window.rows))
    .bind(&window.upto)
    .bind(lease.seq)
    .bind(lease.token)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

pub(crate) async fn checks(store: &SqliteStore, run: Uuid) -> error::Result<Vec<Check>> {
    let counts: BTreeMap<String, (u64, u64)> = sqlx::query(
        "SELECT c.check_name, SUM(c.rows_compared) AS looked_at, SUM(c.differences) AS different
         FROM reelshift_comparisons c
         WHERE c.run_id = ? AND NOT EXISTS (SELECT 1 FROM reelshift_batches b
             JOIN reelshift_batches r ON r.parent_id = b.id AND NOT r.of_items
             WHERE b.seq = c.batch_seq)
         GROUP BY c.check_name",
    )
    .bind(run.to_string())
    .fetch_all(&store.readers)
    .await?
    .iter()
    .map(|row| {
        Ok((
            row.try_get("check_name")?,
            (row::count(row, "looked_at")?, row::count(row, "different")?),
        ))
    })
    .collect::<error::Result<_>>()?;
    let mut checks = store.row_checks();
    for check in &mut checks {
        let Some((rows, differences)) = counts.get(&check.name) else { continue };
        check.count(*rows, *differences);
        if *differences == 0 {
            continue;
        }
        for &table in ComparedTable::ALL {
            let room =
                i64::from(FIRST_DIFFERENCES) - i64::try_from(check.first.len()).unwrap_or(i64::MAX);
            let first = sqlx::query(
                "SELECT table_name, row_key, check_name, column_name, expected, found
                 FROM reelshift_differences
                 WHERE run_id = ? AND table_name = ? AND check_name = ?
                 ORDER BY row_key, column_name LIMIT ?",
            )
            .bind(run.to_string())
            .bind(table.into_str())
            .bind(&check.name)
            .bind(room.max(0))
            .fetch_all(&store.readers)
            .await?;
            for row in &first {
                let FoundDifference { key, column, expected, found, .. } = read(row)?;
                check.first.push(Difference { video_id: key, column, expected, found });
            }
        }
    }
    Ok(checks)
}

pub(crate) async fn keys(
    store: &SqliteStore,
    run: Uuid,
    table: ComparedTable,
    after: Option<&str>,
    limit: u32,
) -> error::Result<Vec<String>> {
    let mut query =
        QueryBuilder::new("SELECT DISTINCT row_key FROM reelshift_differences WHERE run_id = ");
    query.push_bind(run.to_string()).push(" AND table_name = ").push_bind(table.into_str());
    if let Some(after) = after {
        query.push(" AND row_key > ").push_bind(after.to_owned());
    }
    query.push(" ORDER BY row_key LIMIT ").push_bind(limit);
    Ok(query.build_query_scalar().fetch_all(&store.readers).await?)
}

pub(crate) async fn of_keys(
    store: &SqliteStore,
    run: Uuid,
    table: ComparedTable,
    keys: &[String],
) -> error::Result<Vec<FoundDifference>> {
    let rows = sqlx::query(concat!(
        "SELECT table_name, row_key, check_name, column_name, expected, found
         FROM reelshift_differences WHERE run_id = ? AND table_name = ? AND row_key IN ",
        ids!(),
        " ORDER BY row_key, check_name, column_name"
    ))
    .bind(run.to_string())
    .bind(table.into_str())
    .bind(hex_array(keys))
    .fetch_all(&store.readers)
    .await?;
    rows.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> error::Result<FoundDifference> {
    Ok(FoundDifference {
        table: row.try_get("table_name")?,
        key: row.try_get("row_key")?,
        check: row.try_get("check_name")?,
        column: row.try_get("column_name")?,
        expected: row.try_get("expected")?,
        found: row.try_get("found")?,
    })
}
