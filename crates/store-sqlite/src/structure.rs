//! What the check `structure` reads of the catalogue, in the words of [`structure`].

use std::collections::HashSet;

use reelshift_store::plans::is_indexed;
use reelshift_store::report::Check;
use reelshift_store::structure::{self, Found};

use crate::SqliteStore;
use crate::error::Result;
use crate::schema::{journal, steps};

const READ_COLUMNS: &str = "SELECT lower(t.name || '.' || c.name)
     FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'";

const READ_INDEXES: &str = "SELECT lower(t.name || '.' || CASE l.\"unique\" WHEN 1 THEN 'unique ' ELSE '' END || '('
         || (SELECT group_concat(name, ', ') FROM (SELECT i.name FROM pragma_index_info(l.name) i ORDER BY i.seqno))
         || ')')
     FROM sqlite_schema t JOIN pragma_index_list(t.name) l WHERE t.type = 'table' AND l.partial = 0";

const READ_FOREIGN_KEYS: &str =
    "SELECT lower(t.name || '.foreign key (' || f.\"from\" || ') to ' || f.\"table\"
         || ' (' || COALESCE(f.\"to\", 'id') || ')')
     FROM sqlite_schema t JOIN pragma_foreign_key_list(t.name) f WHERE t.type = 'table'";

/// The check, and whether the tables and columns are there that every other check reads.
pub(crate) async fn check(store: &SqliteStore) -> Result<(Check, bool)> {
    let journal = journal(store).await?;
    let found = Found {
        columns: read(store, READ_COLUMNS).await?,
        indexes: read(store, READ_INDEXES).await?,
        foreign_keys: read(store, READ_FOREIGN_KEYS).await?,
        made: structure::made(store, &journal).await?,
    };
    let indexed = is_indexed(steps(), &journal);
    Ok(structure::check(&found, indexed))
}

async fn read(store: &SqliteStore, sql: &'static str) -> Result<HashSet<String>> {
    let names: Vec<Option<String>> = sqlx::query_scalar(sql).fetch_all(&store.readers).await?;
    // An index on an expression has no name for it.
    Ok(names.into_iter().flatten().collect())
}
