//! A database of a test's own, on the server that `cargo xtask test` has started.

use sqlx::AssertSqlSafe;
use sqlx::mysql::MySqlPool;

use super::{ConnectOptions, MySqlStore, connect};

pub(crate) struct Scratch {
    pub(crate) admin: MySqlPool,
    pub(crate) database: String,
    url: String,
}

impl Scratch {
    /// An empty database.
    pub(crate) async fn create() -> Self {
        let server = std::env::var("REELSHIFT_TEST_MYSQL_URL")
            .expect("run `cargo xtask test`, which starts a server");
        let database = format!("reelshift_{}", uuid::Uuid::new_v4().simple());
        let admin = MySqlPool::connect(&server).await.expect("the server answers");
        let url = format!("{}/{database}", server.trim_end_matches('/'));
        let scratch = Self { admin, database, url };
        let database = &scratch.database;
        scratch.execute(format!("CREATE DATABASE {database} CHARACTER SET utf8mb4")).await;
        scratch
    }

    /// One with the platform's table.
    pub(crate) async fn with_videos() -> Self {
        let scratch = Self::create().await;
        let database = &scratch.database;
        scratch
            .execute(format!(
                "CREATE TABLE {database}.videos (id VARCHAR(36) PRIMARY KEY, filename VARCHAR(255), \
                   file_path VARCHAR(500), file_size INTEGER, duration FLOAT, fps FLOAT, \
                   resolution VARCHAR(50), status VARCHAR(50), processing_status VARCHAR(50), \
                   ground_truth_generated BOOLEAN, project_id VARCHAR(36), \
                   created_at TIMESTAMP NULL, updated_at TIMESTAMP NULL)"
            ))
            .await;
        scratch
    }

    pub(crate) async fn execute(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&self.admin).await.expect(&sql);
    }

    pub(crate) async fn open(&self, options: ConnectOptions) -> MySqlStore {
        connect(&self.url, options).await.expect("it opens")
    }

    pub(crate) async fn drop_database(self) {
        self.execute(format!("DROP DATABASE {}", self.database)).await;
    }
}
