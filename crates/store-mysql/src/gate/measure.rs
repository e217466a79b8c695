//! How long a gate is held: its statements executed on empty copies of the tables, under the
//! same kind of lock.

use std::time::{Duration, Instant};

use reelshift_store::patience::Direction;
use reelshift_store::schema::{Object, Schema as _, Step};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};

use super::SETTINGS;
use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::legacy::VideosTable;
use crate::{rollback, schema};

/// In front of every name of a copy: what has it is no part of the platform's schema.
const PREFIX: &str = "reelshift_scratch_";

/// How long the statements of `steps` take; `None` where that cannot be found out, as where
/// this account may not create tables.
pub(crate) async fn measure(
    store: &MySqlStore,
    steps: &[&Step],
    direction: Direction,
) -> Result<Option<Duration>> {
    let mut session = store.dedicated_connection().await?;
    session.execute(SETTINGS).await?;
    let names = names(store, steps);
    let tables = super::tables(steps);
    drop_copies(&mut session, &tables).await?;
    let measured = on_copies(store, &mut session, steps, direction, &tables, &names).await;
    session.execute("UNLOCK TABLES").await?;
    drop_copies(&mut session, &tables).await?;
    session.close().await?;
    match measured {
        Err(error) => {
            tracing::warn!(
                ?error,
                "how long a table is kept from the application cannot be measured"
            );
            Ok(None)
        }
        Ok(measured) => Ok(Some(measured)),
    }
}

async fn on_copies(
    store: &MySqlStore,
    session: &mut MySqlConnection,
    steps: &[&Step],
    direction: Direction,
    tables: &[String],
    names: &[String],
) -> Result<Duration> {
    let videos = VideosTable::read(store, session).await?;
    for table in tables {
        let object = Object::Table(table.clone());
        let copy = if store.exists(&object).await? {
            format!("CREATE TABLE {PREFIX}{table} LIKE {table}")
        } else {
            // A table of an earlier step, which has not been applied yet.
            let step = store.steps.iter().find(|step| step.creates == object);
            renamed(&schema::render(step.map_or("", Step::statement), &videos), names)
        };
        session.execute(AssertSqlSafe(copy)).await?;
    }
    let adds_columns = |step: &&Step| {
        let is_one_of_these = steps.iter().any(|one| one.number == step.number);
        matches!(&step.creates, Object::Column { table, .. } if tables.contains(table))
            && !is_one_of_these
    };
    // A copy has no triggers to put one before.
    let up = |step: &Step| {
        let statement = schema::render(step.statement(), &videos);
        renamed(&statement.replace("{before_others}", ""), names)
    };
    // Of an earlier phase, which has not been applied yet.
    for step in store.steps.iter().filter(adds_columns) {
        if !store.exists(&step.creates).await? {
            session.execute(AssertSqlSafe(up(step))).await?;
        }
    }
    if direction == Direction::Down {
        // A copy has neither triggers nor foreign keys.
        for step in steps.iter().rev() {
            if matches!(step.creates, Object::Trigger(_) | Object::ForeignKey { .. }) {
                session.execute(AssertSqlSafe(up(step))).await?;
            }
        }
    }
    let locks: Vec<_> = tables.iter().map(|table| format!("{PREFIX}{table} WRITE")).collect();
    session.execute(AssertSqlSafe(format!("LOCK TABLES {}", locks.join(", ")))).await?;
    let statements = steps
        .iter()
        .map(|step| match direction {
            Direction::Up => up(step),
            Direction::Down => {
                renamed(&step.down.replace("{ddl_options}", rollback::INSTANT), names)
            }
        })
        .collect();
    let began = Instant::now();
    for planned in super::planned(steps, statements) {
        match session.execute(AssertSqlSafe(planned.sql)).await.map_err(Error::from) {
            // The gate leaves it to a statement of its own.
            Err(error) if error.needs_copy() => break,
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Ok(began.elapsed())
}

/// The names that a copy needs of its own: tables, triggers and foreign keys.
fn names(store: &MySqlStore, steps: &[&Step]) -> Vec<String> {
    let mut names = vec!["videos".to_owned()];
    for step in &*store.steps {
        match &step.creates {
            Object::Table(name) if !name.starts_with("reelshift_") => names.push(name.clone()),
            Object::Trigger(name) | Object::ForeignKey { name, .. }
                if steps.iter().any(|one| one.number == step.number) =>
            {
                names.push(name.clone());
            }
            _ => {}
        }
    }
    names
}

/// The statement over the copies.
fn renamed(statement: &str, names: &[String]) -> String {
    let mut renamed = String::with_capacity(statement.len() + 64);
    let mut word = String::new();
    let put = |word: &mut String, renamed: &mut String| {
        if names.contains(word) {
            renamed.push_str(PREFIX);
        }
        renamed.push_str(word);
        word.clear();
    };
    for c in statement.chars() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
        } else {
            put(&mut word, &mut renamed);
            renamed.push(c);
        }
    }
    put(&mut word, &mut renamed);
    renamed
}

/// Those of this measurement, and of one that was killed.
async fn drop_copies(session: &mut MySqlConnection, tables: &[String]) -> Result<()> {
    let copies: Vec<_> = tables.iter().map(|table| format!("{PREFIX}{table}")).collect();
    let sql = format!("DROP TABLE IF EXISTS {}", copies.join(", "));
    match session.execute(AssertSqlSafe(sql)).await.map_err(Error::from) {
        Err(error) if error.is_denied() => Ok(()),
        dropped => dropped.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_copies_is_replaced_whole() {
        let names = ["videos".to_owned(), "tr_a".to_owned()];
        assert_eq!(
            renamed("CREATE TRIGGER tr_a BEFORE INSERT ON videos -- videos_id", &names),
            "CREATE TRIGGER reelshift_scratch_tr_a BEFORE INSERT ON reelshift_scratch_videos -- videos_id"
        );
    }
}
