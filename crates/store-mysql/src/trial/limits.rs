//! The server's limits by its error numbers, in words that name the table and the way out.

use reelshift_store::StoreError;
use reelshift_store::patience::Direction;
use reelshift_store::schema::{Object, Step};
use reelshift_store::trial::Obstacle;
use sqlx::{MySqlConnection, Row as _};

use super::names::PREFIX;
use crate::error::{Error, Result};
use crate::schema::served_keys::Keys;

const ROW_LENGTH: &str = "its rows would be longer than the server allows";

const SHORTEN: &str = "shorten its VARCHAR columns or make TEXT of the long ones; in ROW_FORMAT COMPACT or \
                       REDUNDANT it may be enough to convert it to ROW_FORMAT=DYNAMIC";

const SHORTEN_ID: &str = "shorten the columns of videos that this table has too, id before all";

/// What is wrong with the table, and what to do about it. Numbers are of both servers where
/// no other is named.
const LIMITS: &[(u16, &str, &str)] = &[
    (1118, ROW_LENGTH, SHORTEN),
    // MariaDB's number for what is 1118 elsewhere.
    (139, ROW_LENGTH, SHORTEN),
    (
        1069,
        "it would have more than the 64 indexes that the server allows",
        "drop indexes that are not used",
    ),
    (
        1117,
        "it would have more than the 1,017 columns that InnoDB allows",
        "drop columns, or move some to another table",
    ),
    (
        1071,
        "a key would be longer than the 3,072 bytes that InnoDB allows (767 in row formats COMPACT and REDUNDANT)",
        "shorten the key's columns, or convert the table to ROW_FORMAT=DYNAMIC",
    ),
    (
        1709,
        "a key would be longer than the 767 bytes that its row format allows",
        "convert the table to ROW_FORMAT=DYNAMIC",
    ),
    (
        1005,
        "the server cannot make a foreign key that leads to it",
        "see why with SHOW ENGINE INNODB STATUS",
    ),
];

/// Why the server refused the statement that `step` executes on the copies.
pub(super) fn refused(step: &Step, direction: Direction, error: &Error) -> Obstacle {
    let said = said(error);
    let own = match &step.creates {
        Object::Table(name) => Some(name.as_str()),
        _ => None,
    };
    let table = own.or_else(|| step.creates.table()).or_else(|| step.trigger_table());
    let table = table.unwrap_or("videos");
    let number = match error.number() {
        // MariaDB's way of saying 1117.
        Some(1005) if said.contains("Too many columns") => Some(1117),
        number => number,
    };
    match number.and_then(|number| LIMITS.iter().find(|(known, ..)| *known == number)) {
        Some((number, why, do_what)) => {
            let why = format!("table {table}: {why} ({said})");
            // Its keys are ours, but for the id that they hold.
            let is_length = matches!(number, 1118 | 139 | 1071 | 1709);
            let do_what = if own.is_some() && is_length { SHORTEN_ID } else { do_what };
            Obstacle::new(step, direction, why, do_what)
        }
        None => {
            let do_what = "change what the server names, then run the same command again";
            Obstacle::new(step, direction, format!("table {table}: {said}"), do_what)
        }
    }
}

/// The table takes the columns, but no later change that rebuilds it.
pub(super) fn rebuilding(step: &Step, error: &Error) -> Obstacle {
    let why = format!(
        "table videos would take the columns, but no later change that rebuilds it ({})",
        said(error)
    );
    let do_what = "convert it with ALTER TABLE videos ROW_FORMAT=DYNAMIC, or shorten its columns";
    Obstacle::new(step, Direction::Up, why, do_what)
}

/// In the words of the server, with the names that the operator knows.
fn said(error: &Error) -> String {
    match error {
        Error::Database(sqlx::Error::Database(error)) => error.message().replace(PREFIX, ""),
        Error::Database(error) => error.to_string(),
        Error::Store(error) => StoreError::to_string(error),
    }
}

/// A foreign key of `videos` that would have no index any more: the copies have no such keys.
pub(super) async fn served_keys(
    connection: &mut MySqlConnection,
    steps: &[&Step],
) -> Result<Option<Obstacle>> {
    let dropped = steps.iter().filter_map(|step| match &step.creates {
        Object::Index { table, name } if table == "videos" => Some((*step, name.as_str())),
        _ => None,
    });
    let (dropped, names): (Vec<&Step>, Vec<&str>) = dropped.unzip();
    let Some(step) = dropped.last() else { return Ok(None) };
    let keys = Keys::read(connection, "videos").await?;
    Ok(keys.unserved_without(&names).map(|(key, columns)| {
        let why = format!(
            "foreign key {key} of table videos has no index on ({columns}) but those that it drops"
        );
        let do_what = format!("give it one with ALTER TABLE videos ADD INDEX ({columns})");
        Obstacle::new(step, Direction::Down, why, do_what)
    }))
}

/// A foreign key of the platform's, here or in another database, that leads from or to what
/// `steps` drop: the copies have none.
pub(super) async fn foreign_keys(
    connection: &mut MySqlConnection,
    steps: &[&Step],
) -> Result<Option<Obstacle>> {
    let dropped = |wanted: &str| {
        steps.iter().find(|step| matches!(&step.creates, Object::Table(name) if name == wanted))
    };
    let columns = steps
        .iter()
        .find(|step| matches!(&step.creates, Object::Column { table, .. } if table == "videos"));
    let drops_column = |name: &str| {
        columns
            .filter(|step| step.columns().iter().any(|(added, _)| added.eq_ignore_ascii_case(name)))
    };
    let keys = sqlx::query(
        "SELECT CAST(TABLE_SCHEMA AS CHAR), CAST(TABLE_NAME AS CHAR), CAST(CONSTRAINT_NAME AS CHAR), \
           CAST(COLUMN_NAME AS CHAR), CAST(REFERENCED_TABLE_NAME AS CHAR), \
           CAST(REFERENCED_COLUMN_NAME AS CHAR), TABLE_SCHEMA = DATABASE(), \
           REFERENCED_TABLE_SCHEMA = DATABASE() \
         FROM information_schema.KEY_COLUMN_USAGE \
         WHERE REFERENCED_TABLE_NAME IS NOT NULL \
           AND DATABASE() IN (TABLE_SCHEMA, REFERENCED_TABLE_SCHEMA) \
         ORDER BY TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION",
    )
    .fetch_all(connection)
    .await?;
    for key in keys {
        let text = |index: usize| key.try_get::<String, _>(index);
        let (database, table, name, column) = (text(0)?, text(1)?, text(2)?, text(3)?);
        let (to_table, to_column) = (text(4)?, text(5)?);
        let (from_here, to_here) = (key.try_get::<i64, _>(6)? != 0, key.try_get::<i64, _>(7)? != 0);
        // What goes with a dropped table is in nobody's way.
        if table.starts_with(PREFIX) || from_here && dropped(&table).is_some() {
            continue;
        }
        let in_the_way = dropped(&to_table)
            .filter(|_| to_here)
            .or_else(|| drops_column(&to_column).filter(|_| to_here && to_table == "videos"))
            .or_else(|| drops_column(&column).filter(|_| from_here && table == "videos"));
        if let Some(step) = in_the_way {
            let place = if from_here { table } else { format!("{database}.{table}") };
            let why = format!(
                "foreign key {name} of table {place} ({column} to {to_table}.{to_column}) uses what it drops"
            );
            let do_what = format!("drop it with ALTER TABLE {place} DROP FOREIGN KEY {name}");
            return Ok(Some(Obstacle::new(step, Direction::Down, why, do_what)));
        }
    }
    Ok(None)
}
