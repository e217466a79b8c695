//! The legacy `videos` table: what new tables take over from it. Whether it can be migrated
//! is in [`crate::preflight`].

use reelshift_store::StoreError;
use sqlx::{MySqlConnection, Row as _};

use crate::error::{Error, Result};

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
        if let Some((says, do_what)) = untimely(connection).await? {
            return Err(refused(format!("{says}: {do_what}")));
        }
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

/// Why the table's times cannot be copied, and what to do about it. A status row's times are
/// TIMESTAMPs, points in time; the server converts any other type to one in the time zone
/// of whichever session writes, which differs between reelshift and the application.
pub(crate) async fn untimely(connection: &mut MySqlConnection) -> Result<Option<(String, String)>> {
    let mut others = Vec::new();
    for column in ["created_at", "updated_at"] {
        let declared = column_type(connection, "videos", column).await?;
        others.extend(declared.filter(|of| !of.starts_with("TIMESTAMP")).map(|of| (column, of)));
    }
    Ok(not_timestamps(&others))
}

fn not_timestamps(others: &[(&str, String)]) -> Option<(String, String)> {
    if others.is_empty() {
        return None;
    }
    let (are, of): (Vec<_>, Vec<_>) =
        others.iter().map(|(name, of)| (format!("videos.{name} is {of}"), *name)).unzip();
    Some((
        format!("{}, whose time zone is not known", are.join(" and ")),
        format!(
            "convert {} to TIMESTAMP, in a session whose time_zone is the one that the application \
             writes in, then run the same command again",
            of.join(" and ")
        ),
    ))
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

fn refused(sentence: impl Into<String>) -> Error {
    Error::Store(StoreError::Refused(sentence.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_no_known_zone_are_named() {
        assert_eq!(not_timestamps(&[]), None);
        let (said, _) =
            not_timestamps(&[("created_at", "DATETIME(6)".to_owned())]).expect("refused");
        assert!(said.starts_with("videos.created_at is DATETIME(6), whose time zone"), "{said}");
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
