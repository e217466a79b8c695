//! The conformance suite on SQLite: each test in a database file of its own.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use reelshift_store::SharedStore;
use reelshift_store_conformance::{Fixture, Held, Rows};
use reelshift_store_sqlite::{ConnectOptions, connect};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, Row};
use tempfile::TempDir;

/// The specification's table, word for word.
const VIDEOS: &str = r#"CREATE TABLE videos (
    id VARCHAR(36) PRIMARY KEY, filename VARCHAR(255), file_path VARCHAR(500), file_size INTEGER,
    duration FLOAT, fps FLOAT, resolution VARCHAR(50), status VARCHAR(50) DEFAULT "uploaded",
    processing_status VARCHAR(50) DEFAULT "pending", ground_truth_generated BOOLEAN DEFAULT FALSE,
    project_id VARCHAR(36), created_at TIMESTAMP, updated_at TIMESTAMP)"#;

struct SqliteFixture {
    directory: TempDir,
    pool: SqlitePool,
}

impl SqliteFixture {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = SqliteConnectOptions::new().filename(directory.path().join("videos.db"));
        let pool =
            SqlitePool::connect_with(file.create_if_missing(true)).await.expect("a database");
        let fixture = Self { directory, pool };
        fixture.execute(VIDEOS).await;
        fixture
    }
}

#[async_trait]
impl Fixture for SqliteFixture {
    async fn store(&self) -> SharedStore {
        let url = format!("sqlite://{}", self.directory.path().join("videos.db").display());
        let options = ConnectOptions { max_connections: 4, create: true };
        Arc::new(connect(&url, options).await.expect("the adapter connects"))
    }

    async fn try_execute(&self, sql: &str) -> Result<(), String> {
        let mut connection = self.pool.acquire().await.expect("a connection");
        // ALTER TABLE looks at the schema as this connection last read it.
        let read = sqlx::raw_sql("SELECT COUNT(*) FROM sqlite_schema").execute(&mut *connection);
        read.await.expect("the schema is read");
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
        done.map(drop).map_err(|error| error.to_string())
    }

    async fn execute_unchecked(&self, sql: &str) {
        let off = "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON";
        let on = "PRAGMA foreign_keys = ON; PRAGMA ignore_check_constraints = OFF";
        let mut connection = self.pool.acquire().await.expect("a connection");
        for sql in [off, sql, on] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.expect(sql);
        }
    }

    async fn texts(&self, sql: &str) -> Rows {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&self.pool).await.expect(sql);
        rows.iter().map(|row| (0..row.len()).map(|column| row.get(column)).collect()).collect()
    }

    async fn hold(&self, sql: &str) -> Box<dyn Held> {
        let mut transaction =
            self.pool.begin_with("BEGIN IMMEDIATE").await.expect("the database is free");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.expect(sql);
        Box::new(HeldDatabase(transaction))
    }

    fn row_locks(&self) -> bool {
        false
    }

    fn places_columns(&self) -> bool {
        false
    }

    fn columns_sql(&self, table: &str) -> String {
        format!(
            "SELECT name, dflt_value, CASE \"notnull\" WHEN 1 THEN 'NO' ELSE 'YES' END \
             FROM pragma_table_info('{table}') ORDER BY cid"
        )
    }

    fn indexes_sql(&self, table: &str) -> String {
        format!(
            "SELECT l.name, CAST(l.\"unique\" AS CHAR), (SELECT group_concat(name) FROM pragma_index_info(l.name)) \
             FROM pragma_index_list('{table}') l"
        )
    }

    fn path_not_utf8(&self, id: &str) -> Vec<String> {
        vec![format!(
            "UPDATE videos SET file_path = CAST(x'61FF622E6D7034' AS TEXT) WHERE id = '{id}'"
        )]
    }

    /// The text of a statement ends at a NUL.
    fn quoted(&self, text: &str) -> String {
        let bytes: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("CAST(x'{bytes}' AS TEXT)")
    }

    fn refusing(&self, name: &str, event: &str, condition: &str) -> String {
        format!(
            "CREATE TRIGGER {name} BEFORE {event} WHEN {condition} \
             BEGIN SELECT RAISE(ABORT, 'refused by them'); END"
        )
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

struct HeldDatabase(sqlx::Transaction<'static, sqlx::Sqlite>);

#[async_trait]
impl Held for HeldDatabase {
    async fn try_execute(&mut self, sql: &str) -> Result<(), String> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *self.0).await;
        done.map(drop).map_err(|error| error.to_string())
    }

    async fn release(self: Box<Self>) {
        self.0.rollback().await.expect("the transaction ends");
    }
}

fn main() -> ExitCode {
    reelshift_store_conformance::run(SqliteFixture::new)
}
