//! What an adapter gives the suite: a fresh database, connections to it, and SQL that
//! does not go through the store.

use async_trait::async_trait;
use reelshift_store::SharedStore;

/// The rows of a query, every column as text.
pub type Rows = Vec<Vec<Option<String>>>;

/// One fresh database that holds the specification's legacy `videos` table and nothing
/// else. Where the dialect lets `updated_at` follow every UPDATE by itself, it does.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// A further, independent connection of the adapter to this database.
    async fn store(&self) -> SharedStore;

    /// Executes one statement outside the store.
    async fn try_execute(&self, sql: &str) -> Result<(), String>;

    /// As [`Self::try_execute`], with foreign keys and enum values not enforced.
    async fn execute_unchecked(&self, sql: &str);

    /// The rows of a query that casts every column to text.
    async fn texts(&self, sql: &str) -> Rows;

    /// Begins a transaction, executes `sql` in it and keeps it
    /// open. Without row locks it holds the whole database against writers.
    async fn hold(&self, sql: &str) -> Box<dyn Held>;

    /// Whether one row can be locked while others are written.
    fn row_locks(&self) -> bool;

    /// Whether `ALTER TABLE` can put a column in its place.
    fn places_columns(&self) -> bool;

    /// A query for name, default and `YES` or `NO` (nullable) of `table`'s columns, in order.
    fn columns_sql(&self, table: &str) -> String;

    /// A query for name, `1` or `0` (unique) and columns (`a,b`) of `table`'s indexes.
    fn indexes_sql(&self, table: &str) -> String;

    /// `CREATE TRIGGER name` that fails an event (`UPDATE ON videos`) of the rows for which
    /// `condition` holds, saying that it is `refused by them`.
    fn refusing(&self, name: &str, event: &str, condition: &str) -> String;

    /// Statements that give a video the `file_path` `a`, a byte FF, `b.mp4`.
    fn path_not_utf8(&self, id: &str) -> Vec<String>;

    /// `text` as a literal.
    fn quoted(&self, text: &str) -> String {
        format!("'{}'", text.replace('\'', "''"))
    }

    /// Drops the database.
    async fn close(&self);

    /// Executes one statement outside the store.
    async fn execute(&self, sql: &str) {
        if let Err(error) = self.try_execute(sql).await {
            panic!("{error}\nin {sql}");
        }
    }

    /// `SELECT columns rest`, every column cast to text (in both dialects by `AS CHAR`).
    async fn rows(&self, columns: &[&str], rest: &str) -> Rows {
        let columns: Vec<_> =
            columns.iter().map(|column| format!("CAST({column} AS CHAR)")).collect();
        self.texts(&format!("SELECT {} {rest}", columns.join(", "))).await
    }

    /// The one value of a query that has one row.
    async fn value(&self, column: &str, rest: &str) -> Option<String> {
        let mut rows = self.rows(&[column], rest).await;
        assert_eq!(rows.len(), 1, "rows of SELECT {column} {rest}");
        rows.remove(0).remove(0)
    }

    /// `SELECT COUNT(*) rest`.
    async fn count(&self, rest: &str) -> u64 {
        let count = self.value("COUNT(*)", rest).await.expect("a count is not NULL");
        count.parse().expect("a count is a number")
    }

    /// Every column of every row of `table`, to see that nothing at all was written.
    async fn contents(&self, table: &str) -> Rows {
        let columns = self.texts(&self.columns_sql(table)).await;
        let columns: Vec<_> = columns
            .into_iter()
            .map(|column| format!("`{}`", column[0].as_deref().expect("a column has a name")))
            .collect();
        assert!(!columns.is_empty(), "there is no table {table}");
        let columns: Vec<_> = columns.iter().map(String::as_str).collect();
        let mut rows = self.rows(&columns, &format!("FROM {table}")).await;
        rows.sort();
        rows
    }
}

/// An open transaction.
#[async_trait]
pub trait Held: Send {
    /// Executes one more statement in it.
    async fn try_execute(&mut self, sql: &str) -> Result<(), String>;

    async fn release(self: Box<Self>);
}
