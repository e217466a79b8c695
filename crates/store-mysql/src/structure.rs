//! What the check `structure` reads of the catalogue, in the words of [`structure`].

use std::collections::HashSet;

use reelshift_store::plans::is_indexed;
use reelshift_store::report::Check;
use reelshift_store::schema::Schema as _;
use reelshift_store::structure::{self, Found};

use crate::connection::MySqlStore;
use crate::error::Result;
use crate::preflight;

const READ_COLUMNS: &str = "SELECT LOWER(CAST(CONCAT(TABLE_NAME, '.', COLUMN_NAME) AS CHAR)) \
     FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()";

const READ_INDEXES: &str = "SELECT LOWER(CAST(CONCAT(TABLE_NAME, '.', IF(NON_UNIQUE = 0, 'unique ', ''), '(', \
       GROUP_CONCAT(COALESCE(COLUMN_NAME, 'an expression') ORDER BY SEQ_IN_INDEX SEPARATOR ', '), ')') AS CHAR)) \
     FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() \
     GROUP BY TABLE_NAME, INDEX_NAME, NON_UNIQUE";

const READ_FOREIGN_KEYS: &str = "SELECT LOWER(CAST(CONCAT(TABLE_NAME, '.foreign key (', COLUMN_NAME, ') to ', \
       REFERENCED_TABLE_NAME, ' (', REFERENCED_COLUMN_NAME, ')') AS CHAR)) \
     FROM information_schema.KEY_COLUMN_USAGE \
     WHERE TABLE_SCHEMA = DATABASE() AND REFERENCED_TABLE_NAME IS NOT NULL";

/// The check, and whether the tables and columns are there that every other check reads.
pub(crate) async fn check(store: &MySqlStore) -> Result<(Check, bool)> {
    let journal = store.journal().await?;
    let found = Found {
        columns: read(store, READ_COLUMNS).await?,
        indexes: read(store, READ_INDEXES).await?,
        foreign_keys: read(store, READ_FOREIGN_KEYS).await?,
        // Who may not see triggers sees none.
        made: if preflight::sees_triggers(store).await? {
            structure::made(store, &journal).await?
        } else {
            Vec::new()
        },
    };
    let indexed = is_indexed(&store.steps, &journal);
    let (mut check, readable) = structure::check(&found, indexed);
    if found.made.is_empty() {
        check.note =
            Some("triggers and views were not looked at: this account lacks TRIGGER".to_owned());
    }
    Ok((check, readable))
}

async fn read(store: &MySqlStore, sql: &'static str) -> Result<HashSet<String>> {
    Ok(sqlx::query_scalar(sql).fetch_all(&store.pool).await?.into_iter().collect())
}
