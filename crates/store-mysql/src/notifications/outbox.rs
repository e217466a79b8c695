//! The outbox: what was published, in the one order in which all replicas deliver it.
//!
//! A sequence number is taken under the lock of the one row of
//! `reelshift_notification_position`, which is held until the transaction ends: what has a
//! lower number has always been committed before. Numbers of AUTO_INCREMENT become visible
//! in the order of commits, and a reader that has seen 7 would never look for a late 6.

use std::collections::{HashMap, HashSet};

use reelshift_store::StoreError;
use reelshift_store::notifications::{
    MAX_PER_CALL, Notification, OutboxSpan, PayloadBudget, Published,
};
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use super::ending::hold;
use super::payload;
use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::id_list;

pub(super) async fn publish(
    store: &MySqlStore,
    token: i64,
    ids: &[String],
    sent: bool,
) -> Result<u64> {
    let mut published = 0;
    for ids in ids.chunks(MAX_PER_CALL) {
        let mut transaction = store.pool.begin().await?;
        let held = hold(&mut transaction, token, ids).await?;
        if held.is_empty() {
            continue;
        }
        if sent {
            end_sent(&mut transaction, &held).await?;
        }
        append(&mut transaction, &held).await?;
        transaction.commit().await?;
        published += held.len() as u64;
    }
    Ok(published)
}

async fn end_sent(connection: &mut MySqlConnection, ids: &[String]) -> Result<()> {
    for sql in [
        "UPDATE realtime_notification_queue SET status = 'sent', sent_at = NOW(), \
           attempts = COALESCE(attempts, 0) + 1, next_retry_at = NULL \
         WHERE status = 'processing' AND id IN ",
        "DELETE FROM reelshift_notification_leases WHERE notification_id IN ",
    ] {
        let mut query = QueryBuilder::<MySql>::new(sql);
        id_list::push(&mut query, ids);
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn append(connection: &mut MySqlConnection, ids: &[String]) -> Result<()> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT notification_id FROM reelshift_notification_outbox WHERE notification_id IN ",
    );
    id_list::push(&mut query, ids);
    let there: Vec<String> = query.build_query_scalar().fetch_all(&mut *connection).await?;
    let there: HashSet<String> = there.into_iter().collect();
    let new: Vec<&String> = ids.iter().filter(|id| !there.contains(*id)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let before = advance(connection, new.len()).await?;
    let entries: Vec<(i64, String)> = (before + 1..).zip(new.into_iter().cloned()).collect();
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO reelshift_notification_outbox (seq, notification_id) ",
    );
    query.push_values(id_list::padded(&entries), |mut values, (seq, id)| {
        values.push_bind(*seq).push_bind(id.clone());
    });
    // Repeated rows change nothing, and keep the statement's shapes few.
    query.push(" ON DUPLICATE KEY UPDATE seq = reelshift_notification_outbox.seq");
    query.build().execute(connection).await?;
    Ok(())
}

/// Takes `count` numbers; the one before the first of them.
async fn advance(connection: &mut MySqlConnection, count: usize) -> Result<i64> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let take = "UPDATE reelshift_notification_position SET seq = seq + ? WHERE id = 1";
    let taken = sqlx::query(take).bind(count).execute(&mut *connection).await?;
    if taken.rows_affected() == 0 {
        // The first of all.
        sqlx::query("INSERT IGNORE INTO reelshift_notification_position (id, seq) VALUES (1, 0)")
            .execute(&mut *connection)
            .await?;
        sqlx::query(take).bind(count).execute(&mut *connection).await?;
    }
    let last: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM reelshift_notification_position WHERE id = 1")
            .fetch_optional(connection)
            .await?;
    let last = last.ok_or_else(|| {
        Error::Store(StoreError::Locked {
            deadlock: false,
            code: None,
            message: "the outbox's position was removed by another transaction".to_owned(),
        })
    })?;
    Ok(last - count)
}

pub(super) async fn span(store: &MySqlStore) -> Result<OutboxSpan> {
    // In this order: what is published in between is newer than both.
    let oldest: Option<i64> =
        sqlx::query_scalar("SELECT MIN(seq) FROM reelshift_notification_outbox")
            .fetch_one(&store.pool)
            .await?;
    let newest: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM reelshift_notification_position WHERE id = 1")
            .fetch_optional(&store.pool)
            .await?;
    let newest = newest.unwrap_or(0);
    Ok(OutboxSpan { newest, pruned_upto: oldest.map_or(newest, |oldest| oldest - 1) })
}

const AFTER: &str = "SELECT o.seq, q.id FROM reelshift_notification_outbox o \
     STRAIGHT_JOIN realtime_notification_queue q ON q.id = o.notification_id \
     WHERE o.seq > ? ORDER BY o.seq LIMIT ?";

pub(super) async fn after(store: &MySqlStore, seq: i64, limit: u32) -> Result<Vec<Published>> {
    let limit = limit.min(MAX_PER_CALL as u32);
    let mut connection = store.pool.acquire().await?;
    loop {
        let rows: Vec<(i64, String)> =
            sqlx::query_as(AFTER).bind(seq).bind(limit).fetch_all(&mut *connection).await?;
        let (seqs, ids): (Vec<i64>, Vec<String>) = rows.into_iter().unzip();
        let mut budget = PayloadBudget::default();
        let fitting = payload::fitting(&mut connection, &ids, &mut budget).await?;
        let found = payload::read_all(&mut connection, fitting).await?;
        // All that were named have been pruned meanwhile: there may be others behind them.
        if found.is_empty() && !ids.is_empty() {
            continue;
        }
        let seqs: HashMap<&String, i64> = ids.iter().zip(seqs).collect();
        let published = |notification: Notification| {
            let seq = seqs.get(&notification.id).copied();
            seq.map(|seq| Published { seq, notification })
        };
        return Ok(found.into_iter().filter_map(published).collect());
    }
}
