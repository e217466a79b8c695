//! The platform as its ORM makes it: videos with a dozen indexes, their projects, and
//! children that go with them.

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sqlx::{AssertSqlSafe, Executor, MySql, MySqlPool, QueryBuilder};
use uuid::Uuid;

const TABLES: &str = include_str!("../../../tests/assets/orm_platform.sql");
/// Rows in one INSERT.
const ROWS: u32 = 2_000;
/// As in the platform that an ORM made: a page of a project's list then costs the same,
/// however many videos there are.
const VIDEOS_PER_PROJECT: u32 = 1_000;
/// One project in so many is one that the application works on. Nobody but the migration
/// touches the others' videos.
const PROJECTS_PER_ACTIVE: u32 = 10;

/// The ids of the projects that the application works on.
pub const ACTIVE_PROJECTS: &str = "SELECT id FROM projects WHERE status = 'Active'";

/// The constraints by which a child goes with its video.
pub const FOREIGN_KEYS: &str = "SELECT table_name, constraint_name \
     FROM information_schema.referential_constraints \
     WHERE constraint_schema = DATABASE() AND referenced_table_name = 'videos' \
       AND table_name IN ('ground_truth_objects', 'annotations')";

fn project(number: u32) -> String {
    Uuid::from_u128(number.into()).to_string()
}

/// Makes the tables and fills them; the same rows for the same `seed`.
pub async fn create(pool: &MySqlPool, videos: u32, seed: u64) -> Result<()> {
    pool.execute("ALTER DATABASE CHARACTER SET utf8mb4").await?;
    let statements = || TABLES.split(';').filter(|statement| statement.contains("CREATE"));
    let is_index = |statement: &&str| statement.contains("CREATE INDEX");
    for table in statements().filter(|statement| !is_index(statement)) {
        sqlx::raw_sql(table).execute(pool).await.context("is the database empty?")?;
    }
    fill(pool, videos, seed).await.context("cannot fill the platform's tables")?;
    // Indexes afterwards: that takes a fraction of the time.
    for index in statements().filter(is_index) {
        sqlx::raw_sql(index).execute(pool).await?;
    }
    Ok(())
}

/// Takes away every foreign key, for programs that refuse a table with them.
pub async fn drop_foreign_keys(pool: &MySqlPool) -> Result<()> {
    let keys: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name, constraint_name FROM information_schema.referential_constraints \
         WHERE constraint_schema = DATABASE()",
    )
    .fetch_all(pool)
    .await?;
    for (table, key) in keys {
        pool.execute(AssertSqlSafe(format!("ALTER TABLE `{table}` DROP FOREIGN KEY `{key}`")))
            .await?;
    }
    Ok(())
}

async fn fill(pool: &MySqlPool, videos: u32, seed: u64) -> Result<()> {
    let mut insert: QueryBuilder<MySql> =
        QueryBuilder::new("INSERT INTO projects (id, name, status) ");
    let projects = (videos / VIDEOS_PER_PROJECT).max(PROJECTS_PER_ACTIVE);
    insert.push_values(0..projects, |mut row, number| {
        let is_active = number.is_multiple_of(PROJECTS_PER_ACTIVE);
        let status = if is_active { "'Active'" } else { "'Completed'" };
        row.push_bind(project(number)).push_bind(format!("Urban {number}")).push(status);
    });
    insert.build().execute(pool).await?;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut made = 0;
    while made < videos {
        let rows = ROWS.min(videos - made);
        let mut insert: QueryBuilder<MySql> = QueryBuilder::new(
            "INSERT INTO videos (id, filename, file_path, file_size, duration, fps, resolution, \
             status, processing_status, ground_truth_generated, project_id, created_at) ",
        );
        insert.push_values(0..rows, |mut row, number| {
            let id = Uuid::from_u128(rng.random()).to_string();
            let pick = |from: &[&'static str], rng: &mut StdRng| *from.choose(rng).unwrap_or(&"");
            let ending = pick(&["mp4", "avi", "mov", "mkv", "MP4", "webm"], &mut rng);
            row.push_bind(id.clone())
                .push_bind(format!("clip {} é.{ending}", made + number))
                .push_bind(format!("uploads/{id}.{ending}"))
                .push_bind(rng.random_range(1_000..2_000_000_000_i32))
                .push("12.5, 30.0, '1920x1080'")
                .push_bind(pick(&["uploaded", "processing", "completed", "failed"], &mut rng))
                .push_bind(pick(&["pending", "processing", "completed", "failed"], &mut rng))
                .push_bind(rng.random_bool(0.4))
                .push_bind(project(rng.random_range(0..projects)))
                .push("NOW() - INTERVAL ")
                .push_bind_unseparated(rng.random_range(0..30_000_000_i32))
                .push_unseparated(" SECOND");
        });
        insert.build().execute(pool).await?;
        made += rows;
    }
    Ok(())
}

/// A digest of every legacy column of the videos that the application does not touch.
pub async fn untouched_digest(pool: &MySqlPool) -> Result<String> {
    let mut query: QueryBuilder<MySql> = QueryBuilder::new(
        "SELECT CAST(SUM(CAST(CONV(LEFT(SHA2(CONCAT_WS('|', id, QUOTE(filename), \
         QUOTE(file_path), QUOTE(file_size), QUOTE(duration), QUOTE(fps), QUOTE(resolution), \
         QUOTE(status), QUOTE(processing_status), QUOTE(ground_truth_generated), \
         QUOTE(project_id), QUOTE(created_at), QUOTE(updated_at)), 256), 15), 16, 10) \
         AS DECIMAL(40))) AS CHAR) FROM videos WHERE project_id NOT IN (",
    );
    query.push(ACTIVE_PROJECTS).push(")");
    Ok(query.build_query_scalar().fetch_one(pool).await?)
}
