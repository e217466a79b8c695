//! The made-up platform's own side: its legacy table, in the dialect of its database. It
//! speaks to the database as an application does, not through reelshift's store.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::{Any, AnyPool, QueryBuilder};
use thiserror::Error;

use crate::files::DemoVideo;

/// The specification's current table as an ORM has it, with the tables around it; both
/// dialects take them.
const LEGACY: [&str; 4] = [
    "CREATE TABLE projects (
    id VARCHAR(36) PRIMARY KEY,
    name VARCHAR(255) NOT NULL
)",
    "CREATE TABLE videos (
    id VARCHAR(36) PRIMARY KEY,
    filename VARCHAR(255),
    file_path VARCHAR(500),
    file_size INTEGER,
    duration FLOAT,
    fps FLOAT,
    resolution VARCHAR(50),
    status VARCHAR(50) DEFAULT 'uploaded',
    processing_status VARCHAR(50) DEFAULT 'pending',
    ground_truth_generated BOOLEAN DEFAULT FALSE,
    project_id VARCHAR(36) NOT NULL,
    created_at DATETIME NULL,
    updated_at DATETIME NULL,
    FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE
)",
    "CREATE TABLE ground_truth_objects (
    id VARCHAR(36) PRIMARY KEY,
    video_id VARCHAR(36) NOT NULL,
    timestamp FLOAT NOT NULL,
    class_label VARCHAR(255) NOT NULL,
    FOREIGN KEY (video_id) REFERENCES videos (id) ON DELETE CASCADE
)",
    "CREATE TABLE annotations (
    id VARCHAR(36) PRIMARY KEY,
    video_id VARCHAR(36) NOT NULL,
    frame_number INTEGER,
    FOREIGN KEY (video_id) REFERENCES videos (id) ON DELETE CASCADE
)",
];

/// The project of the videos that are uploaded while the demo runs.
pub const LIVE_PROJECT: &str = "live";

/// Rows in one INSERT: SQLite takes at most 32,766 values in a statement.
const ROWS_PER_INSERT: usize = 500;

/// Why a database cannot be the demo's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PlatformError {
    #[error("the database URL cannot be read: write mysql://USER@HOST/NAME")]
    UnreadableUrl,
    #[error(
        "the database that --database or DATABASE_URL names has a table `videos`: the demo makes \
         its own and touches nobody else's, so name an empty database, or none for a SQLite file"
    )]
    InUse,
}

/// Whether the URL leads to a server.
#[must_use]
pub fn is_mysql(url: &str) -> bool {
    url.starts_with("mysql:") || url.starts_with("mariadb:")
}

/// Connects as an application does.
pub async fn connect(url: &str, connections: u32) -> Result<AnyPool> {
    install_default_drivers();
    let options: AnyConnectOptions = url.parse().map_err(|_| PlatformError::UnreadableUrl)?;
    AnyPoolOptions::new()
        .max_connections(connections)
        .connect_with(options)
        .await
        .context("cannot reach the demo's database")
}

#[derive(Debug)]
pub struct Platform {
    pool: AnyPool,
    mysql: bool,
}

impl Platform {
    /// Connects to a database that may be the demo's.
    ///
    /// # Errors
    /// [`PlatformError::InUse`] when the database has a table `videos`: it may be a real one.
    pub async fn check(url: &str) -> Result<Self> {
        let mysql = is_mysql(url);
        let pool =
            connect(&if mysql { url.to_owned() } else { format!("{url}?mode=rwc") }, 1).await?;
        let tables = if mysql {
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'videos'"
        } else {
            "SELECT COUNT(*) FROM sqlite_master WHERE name = 'videos'"
        };
        let tables: i64 = sqlx::query_scalar(tables).fetch_one(&pool).await?;
        if tables > 0 {
            return Err(PlatformError::InUse.into());
        }
        Ok(Self { pool, mysql })
    }

    /// Makes the legacy tables.
    pub async fn create(&self) -> Result<()> {
        if self.mysql {
            // Names hold any script, whatever the server's default is.
            sqlx::raw_sql("ALTER DATABASE CHARACTER SET utf8mb4").execute(&self.pool).await?;
        }
        for table in LEGACY {
            sqlx::raw_sql(table).execute(&self.pool).await.context("cannot make a legacy table")?;
        }
        // What the application lists by; the foreign keys of MySQL have theirs already.
        for index in [
            "CREATE INDEX idx_video_project_created ON videos (project_id, created_at)",
            "CREATE INDEX ix_ground_truth_objects_video_id ON ground_truth_objects (video_id)",
            "CREATE INDEX ix_annotations_video_id ON annotations (video_id)",
        ] {
            sqlx::raw_sql(index).execute(&self.pool).await.context("cannot make a legacy index")?;
        }
        Ok(())
    }

    /// Inserts the videos as the platform's application would have.
    pub async fn insert(&self, videos: &[DemoVideo]) -> Result<()> {
        let created = if self.mysql {
            ("TIMESTAMPADD(DAY, -", ", CURRENT_TIMESTAMP)")
        } else {
            ("datetime('now', '-' || ", " || ' days')")
        };
        let mut transaction = self.pool.begin().await?;
        let mut projects: BTreeSet<&str> =
            videos.iter().map(|video| video.project_id.as_str()).collect();
        projects.insert(LIVE_PROJECT);
        let mut insert: QueryBuilder<Any> = QueryBuilder::new("INSERT INTO projects (id, name) ");
        insert.push_values(projects, |mut row, id| {
            row.push_bind(id).push_bind(format!("Project {id}"));
        });
        insert.build().execute(&mut *transaction).await.context("cannot insert the projects")?;
        for rows in videos.chunks(ROWS_PER_INSERT) {
            let mut insert: QueryBuilder<Any> = QueryBuilder::new(
                "INSERT INTO videos (id, filename, file_path, file_size, duration, fps, resolution, \
                 status, processing_status, ground_truth_generated, project_id, created_at, updated_at) ",
            );
            insert.push_values(rows, |mut row, video| {
                row.push_bind(&video.id)
                    .push_bind(video.filename.as_deref())
                    .push_bind(video.file_path.as_deref())
                    .push_bind(video.file_size)
                    .push_bind(60.0)
                    .push_bind(25.0)
                    .push_bind("1920x1080")
                    .push_bind(video.status)
                    .push_bind(video.processing_status)
                    .push_bind(video.ground_truth_generated.map(i32::from))
                    .push_bind(&video.project_id);
                for _ in ["created_at", "updated_at"] {
                    row.push(created.0)
                        .push_bind_unseparated(i64::from(video.age_days))
                        .push_unseparated(created.1);
                }
            });
            insert
                .build()
                .execute(&mut *transaction)
                .await
                .context("cannot insert the demo's videos")?;
        }
        transaction.commit().await?;
        Ok(())
    }
}
