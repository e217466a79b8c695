//! The legacy `videos` table: what new columns and tables take over from it. Whether it can be migrated
//! is in [`crate::preflight`].

use reelshift_store::StoreError;
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use crate::application_time::ApplicationTimes;
use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::text::TextColumn;

/// Characters that the specification gives `original_filename` and `storage_location`.
const SPECIFIED_CHARACTERS: u32 = 500;

/// What statements go by, and what new columns and tables take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VideosTable {
    id_type: String,
    filename_type: String,
    file_path_type: String,
    collation: Option<String>,
    pub(crate) times: ApplicationTimes,
    pub(crate) id: TextColumn,
    pub(crate) project_id: TextColumn,
    pub(crate) status: TextColumn,
}

impl VideosTable {
    pub(crate) async fn read(store: &MySqlStore, connection: &mut MySqlConnection) -> Result<Self> {
        let id_type = column_type(connection, "videos", "id").await?.ok_or_else(|| {
            refused(
                "this database has no table `videos` with a column id: check the database in the URL",
            )
        })?;
        let times = ApplicationTimes::read(store, connection).await?;
        let filename = column_type(connection, "videos", "filename").await?;
        let file_path = column_type(connection, "videos", "file_path").await?;
        let collation: Option<String> = sqlx::query_scalar(
            "SELECT CAST(TABLE_COLLATION AS CHAR) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos'",
        )
        .fetch_one(&mut *connection)
        .await?;
        Ok(Self {
            id_type,
            filename_type: copy_type(filename.as_deref()),
            file_path_type: copy_type(file_path.as_deref()),
            collation,
            times,
            id: TextColumn::read(connection, "id").await?,
            project_id: TextColumn::read(connection, "project_id").await?,
            status: TextColumn::read(connection, "status").await?,
        })
    }

    /// A step's statement for this table: every template but those of the server.
    pub(crate) fn render(&self, statement: &str) -> String {
        let ApplicationTimes { created_at, updated_at, .. } = &self.times;
        statement
            .replace("{videos_id_type}", &self.id_type)
            .replace("{filename_type}", &self.filename_type)
            .replace("{file_path_type}", &self.file_path_type)
            .replace("{table_options}", &self.table_options())
            .replace("{created_at_precision}", &created_at.precision())
            .replace("{updated_at_precision}", &updated_at.precision())
            .replace("{time_zone_comment}", &self.times.comment())
            .replace("{new_created_at}", &created_at.timestamp("NEW.created_at"))
            .replace("{new_updated_at}", &updated_at.timestamp("NEW.updated_at"))
            .replace("{created_at_now}", &created_at.now())
    }

    /// The type of `videos.id` with its charset and collation: a foreign key needs the
    /// same, and a comparison needs it to use an index.
    pub(crate) fn id_type(&self) -> String {
        self.id_type.clone()
    }

    /// New tables hold messages and paths of any language, so they are utf8mb4; with the
    /// collation of `videos` where that is of utf8mb4 too. Their keys need more than the 767 bytes
    /// of an older row format, which may be the server's default.
    pub(crate) fn table_options(&self) -> String {
        let collation = self
            .collation
            .as_deref()
            .filter(|collation| {
                collation.starts_with("utf8mb4_") || collation.starts_with("uca1400_")
            })
            .map(|collation| format!(" COLLATE {collation}"))
            .unwrap_or_default();
        format!("ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4{collation}")
    }

    #[cfg(test)]
    pub(crate) fn for_test(column_type: &str, charset: &str, collation: &str) -> Self {
        Self {
            id_type: format!("{column_type} CHARACTER SET {charset} COLLATE {collation}"),
            filename_type: copy_type(None),
            file_path_type: copy_type(None),
            collation: Some(collation.to_owned()),
            times: ApplicationTimes::for_test(None),
            id: TextColumn::default(),
            project_id: TextColumn::default(),
            status: TextColumn::default(),
        }
    }
}

/// The type of a column that takes every value of one of type `source`, and as many
/// characters as the specification gives it.
fn copy_type(source: Option<&str>) -> String {
    let specified = format!("VARCHAR({SPECIFIED_CHARACTERS})");
    let Some(source) = source else { return specified };
    let (name, rest) = source.split_once([' ', '(']).unwrap_or((source, ""));
    let charset = source.find(" CHARACTER SET").map_or("", |at| &source[at..]);
    let length = rest.split_once(')').and_then(|(length, _)| length.parse().ok()).unwrap_or(0);
    let length = SPECIFIED_CHARACTERS.max(length);
    match name {
        "CHAR" | "VARCHAR" => format!("VARCHAR({length}){charset}"),
        "BINARY" | "VARBINARY" => format!("VARBINARY({length})"),
        "TINYTEXT" => format!("{specified}{charset}"),
        "TEXT" | "MEDIUMTEXT" | "LONGTEXT" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" => {
            source.to_owned()
        }
        _ => specified,
    }
}

/// `VARCHAR(36) CHARACTER SET … COLLATE …`, as it would be declared.
/// What `SHOW CREATE TABLE` shows of a table of this database.
pub(crate) async fn definition(connection: &mut MySqlConnection, table: &str) -> Result<String> {
    let show = format!("SHOW CREATE TABLE `{}`", table.replace('`', "``"));
    let row = sqlx::raw_sql(AssertSqlSafe(show)).fetch_one(connection).await?;
    Ok(row.try_get_unchecked(1)?)
}

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

fn refused(sentence: impl Into<String>) -> Error {
    Error::Store(StoreError::Refused(sentence.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_room_of_its_source() {
        let utf8mb4 = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
        for (source, copy) in [
            ("VARCHAR(255)", "VARCHAR(500)"),
            ("CHAR(20)", "VARCHAR(500)"),
            ("VARCHAR(4096)", "VARCHAR(4096)"),
            ("TINYTEXT", "VARCHAR(500)"),
            ("MEDIUMTEXT", "MEDIUMTEXT"),
        ] {
            let source = format!("{source} {utf8mb4}");
            assert_eq!(copy_type(Some(&source)), format!("{copy} {utf8mb4}"));
        }
        assert_eq!(copy_type(Some("VARBINARY(255)")), "VARBINARY(500)");
        assert_eq!(copy_type(Some("LONGBLOB")), "LONGBLOB");
        assert_eq!(copy_type(Some("JSON")), "VARCHAR(500)");
    }

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
