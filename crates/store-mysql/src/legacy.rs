//! The legacy `videos` table: whether it can be migrated, and what depends on its key.

use reelshift_store::StoreError;
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use crate::connection::MySqlStore;
use crate::error::{Error, Result};

/// The specification's current schema.
const LEGACY_COLUMNS: [&str; 13] = [
    "id",
    "filename",
    "file_path",
    "file_size",
    "duration",
    "fps",
    "resolution",
    "status",
    "processing_status",
    "ground_truth_generated",
    "project_id",
    "created_at",
    "updated_at",
];

/// What new tables take over from `videos`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VideosTable {
    id_type: String,
    collation: Option<String>,
}

impl VideosTable {
    pub(crate) async fn read(connection: &mut MySqlConnection) -> Result<Self> {
        let id_type = column_type(connection, "videos", "id").await?.ok_or_else(|| {
            refused(
                "this database has no table `videos` with a column id: check the database in the URL",
            )
        })?;
        let collation: Option<String> = sqlx::query_scalar(
            "SELECT CAST(TABLE_COLLATION AS CHAR) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos'",
        )
        .fetch_one(connection)
        .await?;
        Ok(Self { id_type, collation })
    }

    /// The type of `videos.id` with its charset and collation: a foreign key needs the
    /// same, and a comparison needs it to use an index.
    pub(crate) fn id_type(&self) -> String {
        self.id_type.clone()
    }

    /// New tables hold messages and paths of any language, so they are utf8mb4; with the
    /// collation of `videos` where that is of utf8mb4 too.
    pub(crate) fn table_options(&self) -> String {
        let collation = self
            .collation
            .as_deref()
            .filter(|collation| {
                collation.starts_with("utf8mb4_") || collation.starts_with("uca1400_")
            })
            .map(|collation| format!(" COLLATE {collation}"))
            .unwrap_or_default();
        format!("ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4{collation}")
    }

    #[cfg(test)]
    pub(crate) fn for_test(column_type: &str, charset: &str, collation: &str) -> Self {
        Self {
            id_type: format!("{column_type} CHARACTER SET {charset} COLLATE {collation}"),
            collation: Some(collation.to_owned()),
        }
    }
}

/// `VARCHAR(36) CHARACTER SET … COLLATE …`, as it would be declared.
pub(crate) async fn column_type(
    connection: &mut MySqlConnection,
    table: &str,
    column: &str,
) -> Result<Option<String>> {
    let row = sqlx::query(
        "SELECT UPPER(CAST(COLUMN_TYPE AS CHAR)) AS column_type, \
                CAST(CHARACTER_SET_NAME AS CHAR) AS charset, CAST(COLLATION_NAME AS CHAR) AS collation_name \
         FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND COLUMN_NAME = ?",
    )
    .bind(table)
    .bind(column)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let mut declared: String = row.try_get("column_type")?;
    if let (Some(charset), Some(collation)) = (
        row.try_get::<Option<String>, _>("charset")?,
        row.try_get::<Option<String>, _>("collation_name")?,
    ) {
        declared.push_str(&format!(" CHARACTER SET {charset} COLLATE {collation}"));
    }
    Ok(Some(declared))
}

/// The legacy table's and the server's fitness, one refusal a condition.
pub(crate) async fn check(store: &MySqlStore) -> Result<()> {
    if !store.server.is_supported() {
        return Err(refused(format!(
            "the server is {}, which cannot skip locked rows or add columns instantly: upgrade it to \
             MariaDB 10.6 or MySQL 8.0.29 or later",
            store.server
        )));
    }
    let mut connection = store.pool.acquire().await?;
    check_writable(&mut connection).await?;
    check_table(&mut connection).await?;
    check_columns(&mut connection).await?;
    check_key(&mut connection).await
}

async fn check_writable(connection: &mut MySqlConnection) -> Result<()> {
    for variable in ["read_only", "innodb_read_only"] {
        let value: String =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT CAST(@@global.{variable} AS CHAR)")))
                .fetch_one(&mut *connection)
                .await?;
        if !matches!(value.as_str(), "0" | "OFF") {
            return Err(refused(format!(
                "the server is read-only ({variable} = {value}): connect to the primary"
            )));
        }
    }
    Ok(())
}

async fn check_table(connection: &mut MySqlConnection) -> Result<()> {
    let row = sqlx::query(
        "SELECT CAST(TABLE_TYPE AS CHAR) AS kind, CAST(ENGINE AS CHAR) AS engine_name \
         FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos'",
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Err(refused("this database has no table `videos`: check the database in the URL"));
    };
    let kind: String = row.try_get("kind")?;
    if kind != "BASE TABLE" {
        return Err(refused(format!(
            "videos is a {}, not a table: connect to the database that holds the table",
            kind.to_lowercase()
        )));
    }
    let engine: Option<String> = row.try_get("engine_name")?;
    if engine.as_deref() != Some("InnoDB") {
        return Err(refused(format!(
            "the engine of table videos is {}, which has no transactions: convert it with ALTER \
             TABLE videos ENGINE=InnoDB",
            engine.as_deref().unwrap_or("unknown")
        )));
    }
    Ok(())
}

async fn check_columns(connection: &mut MySqlConnection) -> Result<()> {
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT LOWER(CAST(COLUMN_NAME AS CHAR)) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos'",
    )
    .fetch_all(connection)
    .await?;
    let missing: Vec<&str> = LEGACY_COLUMNS
        .into_iter()
        .filter(|name| !columns.iter().any(|column| column == name))
        .collect();
    if !missing.is_empty() {
        return Err(refused(format!(
            "table videos lacks {}, which the specification's current schema has: add what is \
             missing, or connect to another database",
            missing.join(", ")
        )));
    }
    Ok(())
}

async fn check_key(connection: &mut MySqlConnection) -> Result<()> {
    let rows = sqlx::query(
        "SELECT LOWER(CAST(COLUMN_NAME AS CHAR)) AS name, CAST(SUB_PART AS SIGNED) AS prefix \
         FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos' AND INDEX_NAME = 'PRIMARY' \
         ORDER BY SEQ_IN_INDEX",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut key = Vec::new();
    for row in &rows {
        let name: String = row.try_get("name")?;
        let prefix: Option<i64> = row.try_get("prefix")?;
        key.push(prefix.map_or(name.clone(), |length| format!("{name}({length})")));
    }
    if key != ["id"] {
        return Err(refused(format!(
            "the primary key of table videos is ({}), but batches need the single whole column id: \
             make id the primary key",
            key.join(", ")
        )));
    }
    let data_type: String = sqlx::query_scalar(
        "SELECT LOWER(CAST(DATA_TYPE AS CHAR)) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos' AND COLUMN_NAME = 'id'",
    )
    .fetch_one(connection)
    .await?;
    // TEXT can be a key by a prefix only, which is refused above.
    if !matches!(data_type.as_str(), "char" | "varchar") {
        return Err(refused(format!(
            "videos.id is of type {data_type}, but reelshift handles ids of type CHAR and VARCHAR: \
             change the column's type"
        )));
    }
    Ok(())
}

fn refused(sentence: impl Into<String>) -> Error {
    Error::Store(StoreError::Refused(sentence.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_tables_take_any_language() {
        let options = |charset, collation| {
            VideosTable::for_test("varchar(36)", charset, collation).table_options()
        };
        assert!(
            options("utf8mb4", "utf8mb4_unicode_ci")
                .ends_with("utf8mb4 COLLATE utf8mb4_unicode_ci")
        );
        assert!(options("latin1", "latin1_swedish_ci").ends_with("CHARACTER SET utf8mb4"));
    }
}
