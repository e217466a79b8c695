//! A legacy `videos` table of any size: random UUID keys, mixed states.

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sqlx::{MySql, MySqlPool, QueryBuilder};
use uuid::Uuid;

/// Rows in one INSERT.
const ROWS: u32 = 2_000;

const CREATE: &str = "CREATE TABLE videos (
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
    project_id VARCHAR(36),
    created_at TIMESTAMP NULL,
    updated_at TIMESTAMP NULL
) DEFAULT CHARSET = utf8mb4";

/// Makes the table and fills it; the same rows for the same `seed`.
pub async fn fill(pool: &MySqlPool, videos: u32, seed: u64) -> Result<()> {
    sqlx::query(CREATE)
        .execute(pool)
        .await
        .context("cannot make `videos`: is the database empty?")?;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut made = 0;
    while made < videos {
        let rows = ROWS.min(videos - made);
        let mut insert: QueryBuilder<MySql> = QueryBuilder::new(
            "INSERT INTO videos (filename, file_path, file_size, status, processing_status, \
             ground_truth_generated, project_id, created_at, updated_at, id) ",
        );
        insert.push_values(0..rows, |mut row, number| {
            let id = Uuid::from_u128(rng.random()).to_string();
            let pick = |from: &[&'static str], rng: &mut StdRng| *from.choose(rng).unwrap_or(&"");
            let ending = pick(&["mp4", "avi", "mov", "mkv", "MP4", "webm"], &mut rng);
            row.push_bind(format!("video {}.{ending}", made + number))
                .push_bind(format!("{}/{id}.{ending}", &id[..2]))
                .push_bind(rng.random_range(1_000..2_000_000_000_i32))
                .push_bind(pick(&["uploaded", "processing", "completed", "failed"], &mut rng))
                .push_bind(pick(&["pending", "processing", "completed", "failed"], &mut rng))
                .push_bind(rng.random_bool(0.3))
                .push_bind(format!("project-{}", rng.random_range(0..100)))
                .push("NOW() - INTERVAL ")
                .push_bind_unseparated(rng.random_range(0..30_000_000_i32))
                .push_unseparated(" SECOND")
                .push("NOW() - INTERVAL ")
                .push_bind_unseparated(rng.random_range(0..30_000_000_i32))
                .push_unseparated(" SECOND")
                .push_bind(id);
        });
        insert.build().execute(pool).await.context("cannot fill `videos`")?;
        made += rows;
    }
    Ok(())
}
