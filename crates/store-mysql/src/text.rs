//! Comparing the platform's text columns, whose charset is theirs, with any text. The server
//! refuses to compare `latin1` with a text that `latin1` cannot hold (errors 1267 and 3854),
//! where the answer is: nothing equals it. MySQL also refuses to convert such a parameter
//! (3988), but not what an expression makes of it.

use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};

use crate::error::Result;

/// The charset that holds every text that a session of ours can send.
const EVERY_TEXT: &str = "utf8mb4";

/// What a column of text compares in; nothing for a column of another type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TextColumn {
    charset: Option<(String, String)>,
}

impl TextColumn {
    pub(crate) async fn read(connection: &mut MySqlConnection, name: &str) -> Result<Self> {
        let row = sqlx::query(
            "SELECT CAST(CHARACTER_SET_NAME AS CHAR) AS charset, \
               CAST(COLLATION_NAME AS CHAR) AS collation_name FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos' AND COLUMN_NAME = ?",
        )
        .bind(name)
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else { return Ok(Self::default()) };
        let charset: Option<String> = row.try_get("charset")?;
        let collation: Option<String> = row.try_get("collation_name")?;
        Ok(Self { charset: charset.zip(collation) })
    }

    /// Appends `column = text`, which is false for a text that the column cannot hold.
    pub(crate) fn push_equals(&self, query: &mut QueryBuilder<MySql>, column: &str, text: &str) {
        query.push(column).push(" = ");
        self.push_value(query, text);
        if let Some((charset, _)) = self.narrow(text) {
            query.push(" AND CONVERT(CONVERT(CONCAT(").push_bind(text.to_owned());
            query.push(format_args!(", '') USING {charset}) USING {EVERY_TEXT}) = CONVERT("));
            query.push_bind(text.to_owned());
            query.push(format_args!(" USING {EVERY_TEXT}) COLLATE {EVERY_TEXT}_bin"));
        }
    }

    /// Appends `text` as a value to compare the column with; what it cannot hold becomes `?`.
    pub(crate) fn push_value(&self, query: &mut QueryBuilder<MySql>, text: &str) {
        match self.narrow(text) {
            None => query.push_bind(text.to_owned()),
            Some((charset, collation)) => query
                .push("CONVERT(CONCAT(")
                .push_bind(text.to_owned())
                .push(format_args!(", '') USING {charset}) COLLATE {collation}")),
        };
    }

    /// The column's charset and collation, where it may not hold `text`. Every charset holds
    /// ASCII.
    fn narrow(&self, text: &str) -> Option<&(String, String)> {
        self.charset.as_ref().filter(|(charset, _)| charset != EVERY_TEXT && !text.is_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_text_that_may_not_fit_is_converted() {
        let latin1 =
            TextColumn { charset: Some(("latin1".to_owned(), "latin1_swedish_ci".to_owned())) };
        let sql = |column: &TextColumn, text: &str| {
            let mut query = QueryBuilder::<MySql>::new("");
            column.push_equals(&mut query, "v.id", text);
            query.sql().as_str().to_owned()
        };
        assert_eq!(sql(&latin1, "v1"), "v.id = ?");
        assert_eq!(sql(&TextColumn::default(), "\u{1f600}"), "v.id = ?");
        assert!(sql(&latin1, "\u{1f600}").starts_with(
            "v.id = CONVERT(CONCAT(?, '') USING latin1) COLLATE latin1_swedish_ci AND CONVERT(CONVERT("
        ));
    }
}
