//! Executing the steps on an empty copy of the whole schema, for [`reelshift_store::trial`].
//!
//! The copy is a database in memory: the file is only read, and nothing is left behind.

use std::time::Instant;

use reelshift_store::patience::Direction;
use reelshift_store::schema::{Object, Step, require_whole, undo_order};
use reelshift_store::trial::{Extent, Obstacle, Trial, Tried};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use crate::SqliteStore;
use crate::error::{Error, Result};
use crate::schema::{exists, steps};

const DO_WHAT: &str = "drop or change what it names, then run the same command again";

pub(crate) async fn run(store: &SqliteStore, extent: Extent) -> Result<Trial> {
    require_whole(store).await?;
    let (mut missing, mut applied) = (Vec::new(), Vec::new());
    for step in steps() {
        let of = if exists(store, &step.creates).await? { &mut applied } else { &mut missing };
        of.push(step);
    }
    let mut back = match extent {
        Extent::WayForthAndBack if missing.is_empty() => return Ok(Trial::default()),
        Extent::WayForthAndBack => applied,
        Extent::WayBack { last } => {
            missing.clear();
            applied.retain(|step| step.number > last);
            applied
        }
    };
    let mut trial = Trial::default();
    let mut copy = copy(store).await?;
    for step in &missing {
        if !attempt(&mut copy, step, Direction::Up, &mut trial).await? {
            return Ok(trial);
        }
    }
    back.extend(missing);
    trial.obstacle = foreign_keys(store, &back).await?;
    if trial.obstacle.is_some() {
        return Ok(trial);
    }
    for step in undo_order(back) {
        if !attempt(&mut copy, step, Direction::Down, &mut trial).await? {
            break;
        }
    }
    copy.close().await?;
    Ok(trial)
}

/// Every table, index, view and trigger of the file.
async fn copy(store: &SqliteStore) -> Result<SqliteConnection> {
    let schema: Vec<String> = sqlx::query_scalar(
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, rowid",
    )
    .fetch_all(&store.readers)
    .await?;
    let memory = SqliteConnectOptions::new().in_memory(true);
    let mut copy = SqliteConnection::connect_with(&memory).await?;
    for statement in schema {
        // The tables behind a virtual one are made with it.
        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut copy).await {
            tracing::debug!(%error, "a part of the schema is not on the copy");
        }
    }
    Ok(copy)
}

/// Executes a step's statements on the copy and records them. `false` where SQLite refuses.
async fn attempt(
    copy: &mut SqliteConnection,
    step: &Step,
    direction: Direction,
    trial: &mut Trial,
) -> Result<bool> {
    let statements = match direction {
        Direction::Up => &step.up,
        Direction::Down => &step.down,
    };
    let began = Instant::now();
    let executed = sqlx::raw_sql(AssertSqlSafe(statements.clone())).execute(copy).await;
    let took = began.elapsed();
    match executed {
        Ok(_) => {
            let name = step.name.clone();
            let statement = statements.clone();
            trial.tried.push(Tried {
                step: step.number,
                name,
                direction,
                statement,
                took,
                copies: None,
            });
            Ok(true)
        }
        Err(sqlx::Error::Database(error)) => {
            let why = error.message().to_owned();
            trial.obstacle = Some(Obstacle::new(step, direction, why, DO_WHAT));
            Ok(false)
        }
        Err(error) => Err(Error::from(error)),
    }
}

/// A foreign key of the platform's that leads to what `steps` drop: without rows, as on the
/// copy, it keeps nothing from being dropped.
async fn foreign_keys(store: &SqliteStore, steps: &[&Step]) -> Result<Option<Obstacle>> {
    let keys: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT s.name, f.\"from\", f.\"table\" FROM sqlite_schema s JOIN pragma_foreign_key_list(s.name) f
         WHERE s.type = 'table' ORDER BY s.name, f.id, f.seq",
    )
    .fetch_all(&store.readers)
    .await?;
    let dropped = |wanted: &str| {
        steps.iter().find(|step| {
            matches!(&step.creates, Object::Table(name) if name.eq_ignore_ascii_case(wanted))
        })
    };
    Ok(keys.iter().filter(|(table, ..)| dropped(table).is_none()).find_map(
        |(table, column, to)| {
            let step = dropped(to)?;
            let why =
                format!("a foreign key of table {table} ({column} to {to}) uses what it drops");
            let do_what = format!("drop table {table}, or make it again without that key");
            Some(Obstacle::new(step, Direction::Down, why, do_what))
        },
    ))
}
