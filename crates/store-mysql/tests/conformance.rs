//! The conformance suite on MySQL and MariaDB: each test in a database of its own.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use reelshift_store::SharedStore;
use reelshift_store_conformance::{Fixture, Held, Rows};
use reelshift_store_mysql::{ConnectOptions, connect};
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Row};

/// The specification's table, with the clause by which applications have `updated_at`
/// follow every UPDATE: what the backfill must not do.
const VIDEOS: &str = "CREATE TABLE videos (
    id VARCHAR(36) PRIMARY KEY, filename VARCHAR(255), file_path VARCHAR(500), file_size INTEGER,
    duration FLOAT, fps FLOAT, resolution VARCHAR(50), status VARCHAR(50) DEFAULT 'uploaded',
    processing_status VARCHAR(50) DEFAULT 'pending', ground_truth_generated BOOLEAN DEFAULT FALSE,
    project_id VARCHAR(36), created_at TIMESTAMP NULL,
    updated_at TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP)";

struct MySqlFixture {
    url: String,
    database: String,
    pool: MySqlPool,
}

impl MySqlFixture {
    async fn new() -> Self {
        let server = std::env::var("REELSHIFT_TEST_MYSQL_URL")
            .expect("run `cargo xtask test`, which starts a server");
        let database = format!("reelshift_{}", uuid::Uuid::new_v4().simple());
        let create = format!("CREATE DATABASE {database} CHARACTER SET utf8mb4");
        let admin = MySqlPool::connect(&server).await.expect("the server answers");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&admin).await.expect("a database");
        admin.close().await;
        let url = format!("{}/{database}", server.trim_end_matches('/'));
        let pool = MySqlPoolOptions::new()
            .max_connections(4)
            .connect(&url)
            .await
            .expect("the database is there");
        let fixture = Self { url, database, pool };
        fixture.execute(VIDEOS).await;
        fixture
    }
}

#[async_trait]
impl Fixture for MySqlFixture {
    async fn store(&self) -> SharedStore {
        Arc::new(
            connect(&self.url, ConnectOptions { max_connections: 4, ..ConnectOptions::default() })
                .await
                .expect("the adapter connects"),
        )
    }

    async fn try_execute(&self, sql: &str) -> Result<(), String> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await;
        done.map(drop).map_err(|error| error.to_string())
    }

    async fn execute_unchecked(&self, sql: &str) {
        let off = "SET @mode = @@sql_mode, foreign_key_checks = 0, sql_mode = ''";
        let on = "SET foreign_key_checks = 1, sql_mode = @mode";
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
        let mut transaction = self.pool.begin().await.expect("a transaction");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.expect(sql);
        Box::new(HeldRows(transaction))
    }

    fn row_locks(&self) -> bool {
        true
    }

    fn places_columns(&self) -> bool {
        true
    }

    fn columns_sql(&self, table: &str) -> String {
        format!(
            "SELECT CAST(COLUMN_NAME AS CHAR), CAST(COLUMN_DEFAULT AS CHAR), CAST(IS_NULLABLE AS CHAR) \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{table}' \
             ORDER BY ORDINAL_POSITION"
        )
    }

    fn indexes_sql(&self, table: &str) -> String {
        format!(
            "SELECT CAST(INDEX_NAME AS CHAR), CAST(1 - MIN(NON_UNIQUE) AS CHAR), \
             CAST(GROUP_CONCAT(COLUMN_NAME ORDER BY SEQ_IN_INDEX) AS CHAR) FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{table}' GROUP BY INDEX_NAME"
        )
    }

    fn path_not_utf8(&self, id: &str) -> Vec<String> {
        vec![
            "ALTER TABLE videos MODIFY file_path VARBINARY(500)".to_owned(),
            format!("UPDATE videos SET file_path = x'61FF622E6D7034' WHERE id = '{id}'"),
        ]
    }

    fn refusing(&self, name: &str, event: &str, condition: &str) -> String {
        format!(
            "CREATE TRIGGER {name} BEFORE {event} FOR EACH ROW BEGIN IF {condition} THEN \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused by them'; END IF; END"
        )
    }

    fn quoted(&self, text: &str) -> String {
        format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    }

    async fn close(&self) {
        self.execute(&format!("DROP DATABASE {}", self.database)).await;
        self.pool.close().await;
    }
}

struct HeldRows(sqlx::Transaction<'static, sqlx::MySql>);

#[async_trait]
impl Held for HeldRows {
    async fn try_execute(&mut self, sql: &str) -> Result<(), String> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *self.0).await;
        done.map(drop).map_err(|error| error.to_string())
    }

    async fn release(self: Box<Self>) {
        self.0.rollback().await.expect("the transaction ends");
    }
}

fn main() -> ExitCode {
    reelshift_store_conformance::run(MySqlFixture::new)
}
