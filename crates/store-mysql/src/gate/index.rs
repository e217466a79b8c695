//! Building all indexes of a table by one statement.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reelshift_store::StoreError;
use reelshift_store::gate::{IndexBuild, IndexBuilder};
use reelshift_store::schema::Step;
use sqlx::{AssertSqlSafe, Executor, MySqlConnection};

use super::{Bearable, end_long_wait, inside};
use crate::cluster;
use crate::connection::MySqlStore;
use crate::error::Result;
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

/// The one statement, on a session of its own, and what is asked and ended around it.
pub(crate) struct Builder {
    session: MySqlConnection,
    /// The session's number.
    thread: u64,
    /// Ends a wait of the session.
    killer: MySqlConnection,
    question: inside::Question,
    sql: String,
    /// Whether all nodes of a cluster execute it at once: that waits for nobody, and must not
    /// be ended on one of them.
    on_cluster: bool,
}

impl Builder {
    pub(crate) async fn new(store: &MySqlStore, steps: &[&Step]) -> Result<Self> {
        let mut session = store.dedicated_connection().await?;
        let mut statements = Vec::new();
        for step in steps {
            statements.push(schema::statement(store, &mut session, step).await?);
        }
        let sql = combine(&statements)
            .ok_or_else(|| StoreError::Invalid("there is no index to build".to_owned()))?;
        let source = metadata_locks::source(&mut session, store.server.product).await?;
        let tables = super::tables(steps);
        let question =
            inside::Question::new(&mut session, store.server.product, source, &tables).await?;
        let thread = super::number_of(&mut session).await?;
        let on_cluster = cluster::read(&mut session).await?.is_some();
        let killer = store.dedicated_connection().await?;
        Ok(Self { session, thread, killer, question, sql, on_cluster })
    }

    async fn without_waiting(&mut self) -> Result<()> {
        self.session.execute(lock_waits(0)).await?;
        self.session.execute(AssertSqlSafe(self.sql.as_str())).await?;
        Ok(())
    }

    async fn waiting(&mut self, inside: u32, wait: Duration) -> Result<()> {
        self.session.execute(lock_waits(1)).await?;
        let is_waiting = self.question.waiting(self.thread);
        let packet = format!("{}{}", self.question.refusing_above(inside), self.sql);
        let answered = AtomicBool::new(false);
        let building = async {
            let built = self.session.execute(AssertSqlSafe(packet)).await;
            answered.store(true, Ordering::Release);
            built
        };
        let bearable = Bearable { inside: u32::MAX, wait, look_pause: LOOK_PAUSE };
        let killer = &mut self.killer;
        let watching = end_long_wait(killer, &is_waiting, self.thread, bearable, &answered);
        let (built, ended) = tokio::join!(building, watching);
        if ended? {
            // The KILL may have come too late for the build, and meets this.
            if let Err(error) = self.session.execute("DO 0").await {
                tracing::debug!(%error, "the wait of an index build was ended too late");
            }
        }
        built?;
        Ok(())
    }
}

#[async_trait]
impl IndexBuilder for Builder {
    async fn build(&mut self, how: IndexBuild) -> reelshift_store::Result<()> {
        let built = match how {
            IndexBuild::Waiting { inside, wait } if !self.on_cluster => {
                self.waiting(inside, wait).await
            }
            _ => self.without_waiting().await,
        };
        match built {
            Err(error) if inside::is_refusal(&error) || super::is_interrupted(&error) => {
                Err(StoreError::Locked {
                    deadlock: false,
                    code: None,
                    message: "the table is in use".to_owned(),
                })
            }
            built => Ok(built?),
        }
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
