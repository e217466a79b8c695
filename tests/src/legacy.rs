//! A legacy database as the platform has it, on SQLite or on the MariaDB that
//! `cargo xtask test` starts.

use std::path::{Path, PathBuf};

use sqlx::any::{AnyPoolOptions, AnyRow, install_default_drivers};
use sqlx::{AnyPool, AssertSqlSafe, Row};
use uuid::Uuid;

use crate::orm::application::is_deadlock;

/// A legacy row of the columns that the migration reads.
#[derive(Debug, Clone)]
pub struct Video {
    pub id: String,
    pub filename: Option<String>,
    pub file_path: Option<String>,
    pub file_size: Option<i64>,
    pub status: Option<String>,
    pub processing_status: Option<String>,
    pub ground_truth: Option<bool>,
}

/// A database of its own, dropped with [`Self::drop_database`] (SQLite: with its directory).
#[derive(Debug)]
pub struct Legacy {
    pub url: String,
    pub pool: AnyPool,
    server: Option<(String, String)>,
}

const TABLE: &str = "CREATE TABLE videos (
    id VARCHAR(36) PRIMARY KEY, filename VARCHAR(255), file_path VARCHAR(500), file_size INTEGER,
    duration FLOAT, fps FLOAT, resolution VARCHAR(50), status VARCHAR(50) DEFAULT 'uploaded',
    processing_status VARCHAR(50) DEFAULT 'pending', ground_truth_generated BOOLEAN DEFAULT FALSE,
    project_id VARCHAR(36), created_at TIMESTAMP NULL, updated_at TIMESTAMP NULL)";

fn test_server() -> String {
    std::env::var("REELSHIFT_TEST_MYSQL_URL").expect(
        "REELSHIFT_TEST_MYSQL_URL is not set: run `cargo xtask test`, which starts a server",
    )
}

impl Legacy {
    /// An SQLite database in `directory` with the legacy table.
    pub async fn sqlite(directory: &Path) -> Self {
        let legacy = Self::empty_sqlite(directory).await;
        legacy.execute(TABLE).await;
        legacy
    }

    /// An SQLite database in `directory` with nothing in it.
    pub async fn empty_sqlite(directory: &Path) -> Self {
        let url = format!("sqlite://{}", directory.join("platform.db").display());
        Self::connect(&url, &format!("{url}?mode=rwc"), None).await
    }

    /// A database that something else has made.
    pub async fn existing(url: &str) -> Self {
        Self::connect(url, url, None).await
    }

    /// A MariaDB database with the legacy table.
    ///
    /// # Panics
    /// Without the server that `cargo xtask test` starts: a missing server is a failure.
    pub async fn mariadb() -> Self {
        Self::on(test_server()).await
    }

    /// A MariaDB database with nothing in it.
    pub async fn empty_mariadb() -> Self {
        Self::empty_on(test_server()).await
    }

    /// A database with the legacy table, on the server at this URL.
    pub async fn on(server: String) -> Self {
        let legacy = Self::empty_on(server).await;
        legacy.execute(&format!("{TABLE} DEFAULT CHARSET = utf8mb4")).await;
        legacy
    }

    /// A database with nothing in it, on the server at this URL.
    pub async fn empty_on(server: String) -> Self {
        let name = format!("e2e_{}", Uuid::new_v4().simple());
        let root = Self::connect(&server, &server, None).await;
        root.execute(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await;
        root.pool.close().await;
        let url = format!("{server}/{name}");
        Self::connect(&url, &url, Some((server, name))).await
    }

    async fn connect(url: &str, open: &str, server: Option<(String, String)>) -> Self {
        install_default_drivers();
        loop {
            match AnyPoolOptions::new().max_connections(4).connect(open).await {
                Ok(pool) => return Self { url: url.to_owned(), pool, server },
                // A node of a cluster may abort the first statement of a new session.
                Err(error) if is_deadlock(&error) => {}
                Err(error) => panic!("the database does not open: {error}"),
            }
        }
    }

    pub async fn execute(&self, sql: &str) {
        // Raw: some statements cannot be prepared on every server.
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub async fn rows(&self, sql: &str) -> Vec<AnyRow> {
        sqlx::query(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub async fn number(&self, sql: &str) -> i64 {
        self.rows(sql).await[0].get(0)
    }

    /// How many transactions of the application may fail in a test for the gates. MySQL cannot
    /// be asked for a lock without waiting: a transaction that begins between the question who
    /// is inside and the lock may fail, now and then where every processor is busy.
    pub async fn victims_of_gates(&self) -> u64 {
        let mysql =
            self.server.is_some() && self.number("SELECT VERSION() LIKE '%MariaDB%'").await == 0;
        if mysql { 3 } else { 0 }
    }

    pub async fn insert(&self, videos: &[Video]) {
        // One transaction: one flush to the disk, not one a row.
        let mut transaction = self.pool.begin().await.expect("a transaction");
        for video in videos {
            sqlx::query(
                "INSERT INTO videos (id, filename, file_path, file_size, status, processing_status, \
                 ground_truth_generated, created_at, updated_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, '2024-05-06 07:08:09', '2024-05-07 01:02:03')",
            )
            .bind(&video.id)
            .bind(video.filename.as_deref())
            .bind(video.file_path.as_deref())
            .bind(video.file_size)
            .bind(video.status.as_deref())
            .bind(video.processing_status.as_deref())
            .bind(video.ground_truth.map(i32::from))
            .execute(&mut *transaction)
            .await
            .expect("a legacy row is inserted");
        }
        transaction.commit().await.expect("the rows are committed");
    }

    /// `count` videos of mixed states, without files.
    pub async fn fill(&self, count: u32) {
        let text = |value: &str| Some(value.to_owned());
        let videos: Vec<Video> = (0..count)
            .map(|index| Video {
                id: Uuid::new_v4().to_string(),
                filename: text(&format!(
                    "video {index}.{}",
                    ["mp4", "MOV", "webm"][index as usize % 3]
                )),
                file_path: None,
                file_size: Some(1),
                status: text("uploaded"),
                processing_status: [text("pending"), text("processing"), text("odd"), None]
                    [index as usize % 4]
                    .clone(),
                ground_truth: [Some(false), Some(true), None][index as usize / 4 % 3],
            })
            .collect();
        self.insert(&videos).await;
    }

    /// Lets all videos have the same small file, in a media root in `directory`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub async fn share_one_file(&self, directory: &Path) -> PathBuf {
        let media = directory.join("media");
        std::fs::create_dir(&media).expect("a media root");
        std::fs::write(media.join("clip.mp4"), "clip").expect("a file");
        self.execute("UPDATE videos SET file_path = 'clip.mp4'").await;
        media
    }

    /// Removes the database (SQLite's goes with its directory).
    pub async fn drop_database(self) {
        self.pool.close().await;
        if let Some((server, name)) = self.server {
            let root = Self::connect(&server, &server, None).await;
            root.execute(&format!("DROP DATABASE {name}")).await;
        }
    }
}
