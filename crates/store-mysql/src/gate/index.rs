//! Building all indexes of a table by one statement.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reelshift_store::gate::IndexBuild;
use reelshift_store::schema::Step;
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::{Bearable, end_long_wait, inside};
use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::metadata_locks;
use crate::schema;

/// What ends each statement about an index.
const ONLINE: &str = ",\n    ALGORITHM=INPLACE, LOCK=NONE";

/// One statement of several that add or drop indexes of one table; `None` of none.
pub(crate) fn combine(statements: &[String]) -> Option<String> {
    let (first, others) = statements.split_first()?;
    let mut sql = first.trim_end().trim_end_matches(ONLINE).to_owned();
    for other in others {
        let other = other.trim_end().trim_end_matches(ONLINE);
        // ALTER TABLE name
        let change = other.splitn(4, ' ').nth(3).unwrap_or(other);
        sql.push_str(",\n    ");
        sql.push_str(change);
    }
    sql.push_str(ONLINE);
    Some(sql)
}

/// Between two looks at whether the build waits: each costs the server some tenths of a
/// millisecond, and a build may take minutes.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

fn lock_waits(seconds: u32) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "SET SESSION lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = 1"
    ))
}

pub(crate) async fn build(store: &MySqlStore, steps: &[&Step], how: IndexBuild) -> Result<()> {
    let mut session = store.dedicated_connection().await?;
    let mut statements = Vec::new();
    for step in steps {
        statements.push(schema::statement(store, &mut session, step).await?);
    }
    let Some(sql) = combine(&statements) else { return Ok(()) };
    let built = match how {
        IndexBuild::WithoutWaiting => {
            session.execute(lock_waits(0)).await?;
            session.execute(AssertSqlSafe(sql)).await
        }
        IndexBuild::Waiting { inside, wait } => {
            session.execute(lock_waits(1)).await?;
            let source = metadata_locks::source(&mut session, store.server.product).await?;
            let tables = super::tables(steps);
            let question =
                inside::Question::new(&mut session, store.server.product, source, &tables).await?;
            let thread = super::number_of(&mut session).await?;
            let is_waiting = question.waiting(thread);
            let mut killer = store.dedicated_connection().await?;
            let answered = AtomicBool::new(false);
            let building = async {
                let packet = format!("{}{sql}", question.refusing_above(inside));
                let built = session.execute(AssertSqlSafe(packet)).await;
                answered.store(true, Ordering::Release);
                built
            };
            let bearable = Bearable { inside: u32::MAX, wait, look_pause: LOOK_PAUSE };
            let watching = end_long_wait(&mut killer, &is_waiting, thread, bearable, &answered);
            let (built, watched) = tokio::join!(building, watching);
            killer.close().await?;
            watched?;
            built
        }
    };
    // The statement's outcome counts; the server ends the session by itself.
    if let Err(error) = session.close().await {
        tracing::debug!(%error, "closing the session of an index build");
    }
    match built.map_err(Error::from) {
        Err(error) if inside::is_refusal(&error) || super::is_interrupted(&error) => {
            Err(Error::Store(reelshift_store::StoreError::Locked {
                deadlock: false,
                code: None,
                message: "the table is in use".to_owned(),
            }))
        }
        built => built.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use reelshift_store::schema::Object;

    use super::*;
    use crate::schema::shipped_steps;

    #[test]
    fn the_shipped_indexes_can_be_combined() {
        let steps = shipped_steps();
        let of_videos = |step: &&Step| matches!(&step.creates, Object::Index { table, .. } if table == "videos");
        let texts = |text: fn(&Step) -> String| -> Vec<String> {
            steps.iter().filter(of_videos).map(text).collect()
        };
        let added = combine(&texts(|step| step.statement().to_owned())).expect("there are some");
        assert_eq!(added.matches("ADD INDEX idx_").count(), 8, "{added}");
        assert_eq!(added.matches("ALTER TABLE").count(), 1, "{added}");
        assert_eq!(added.matches("ALGORITHM=INPLACE, LOCK=NONE").count(), 1, "{added}");
        let dropped = combine(&texts(|step| step.down.clone())).expect("there are some");
        assert_eq!(dropped.matches("DROP INDEX idx_").count(), 8, "{dropped}");
        assert_eq!(combine(&[]), None);
    }
}
