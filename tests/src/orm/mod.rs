//! The platform as its users have it: the tables that its ORM makes, with their indexes,
//! foreign keys and children, and an application whose transactions hold several statements.
//!
//! - [`application`]: threads of such transactions in Rust, which live through faults.
//! - [`script`]: the ORM's own application, by SQLAlchemy.

pub mod application;
pub mod script;
mod transactions;

use std::collections::HashMap;

use sqlx::Row as _;
use uuid::Uuid;

use crate::Legacy;

/// The tables as the ORM makes them, for MySQL, MariaDB and SQLite alike.
const TABLES: &str = include_str!("../../assets/orm_platform.sql");

/// The names of these tables.
pub const NAMES: [&str; 4] = ["projects", "videos", "ground_truth_objects", "annotations"];

/// What a date and time is to the ORM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dates {
    /// As SQLAlchemy and Django have it.
    DateTime,
    /// As Laravel has it.
    Timestamp,
}

/// The project of the videos that the application leaves alone.
pub const STILL: &str = "still";
/// The project of the videos that the application may touch, and of its uploads.
pub const TOUCHED: &str = "touched";
/// The notes of the children that the platform begins with; the application has no reason to
/// change one.
pub const KEPT: &str = "kept";

/// Rows in one INSERT.
const ROWS: usize = 500;

/// Makes the tables and the two projects.
pub async fn create(legacy: &Legacy, dates: Dates) {
    legacy.execute(&tables(dates)).await;
    legacy
        .execute(&format!(
            "INSERT INTO projects (id, name, status) VALUES ('{STILL}', 'Urban 1', 'Active'), \
             ('{TOUCHED}', 'Urban 2', 'Active')"
        ))
        .await;
}

/// Makes the tables and `videos` videos of mixed states, without files, half of them in
/// each project, each with an annotation.
pub async fn fill(legacy: &Legacy, dates: Dates, videos: usize) {
    create(legacy, dates).await;
    let numbers: Vec<usize> = (0..videos).collect();
    for numbers in numbers.chunks(ROWS) {
        let (mut rows, mut children) = (Vec::new(), Vec::new());
        for number in numbers {
            let id = Uuid::new_v4();
            let ending = ["mp4", "MOV", "webm"][number % 3];
            let state = ["'pending'", "'processing'", "'odd'", "NULL"][number % 4];
            let truth = ["FALSE", "TRUE", "NULL"][number / 4 % 3];
            let project = if id.as_u128().is_multiple_of(2) { STILL } else { TOUCHED };
            rows.push(format!(
                "('{id}', 'video {number} é.{ending}', '', 1, 12.5, 30.0, '1920x1080', 'uploaded', \
                 {state}, {truth}, '{project}', '2024-05-06 07:08:09', '2024-05-07 01:02:03')"
            ));
            children.push(format!("('{}', '{id}', 1, '{KEPT}')", Uuid::new_v4()));
        }
        let videos = format!(
            "INSERT INTO videos (id, filename, file_path, file_size, duration, fps, resolution, \
             status, processing_status, ground_truth_generated, project_id, created_at, updated_at) \
             VALUES {}",
            rows.join(", ")
        );
        legacy.execute(&videos).await;
        let children = children.join(", ");
        legacy
            .execute(&format!(
                "INSERT INTO annotations (id, video_id, frame_number, notes) VALUES {children}"
            ))
            .await;
    }
}

/// The videos that the application may touch.
pub async fn touched(legacy: &Legacy) -> Vec<String> {
    let ids = format!("SELECT id FROM videos WHERE project_id = '{TOUCHED}'");
    legacy.rows(&ids).await.iter().map(|row| row.get("id")).collect()
}

/// A digest of what must stay as it is on MySQL and MariaDB, whatever happens: the legacy
/// columns of the videos that the application leaves alone, and the children that the
/// platform began with.
pub async fn digest(legacy: &Legacy) -> String {
    let rows = legacy
        .rows(&format!(
            "SELECT CAST(SUM(CRC32(CONCAT_WS('|', id, QUOTE(filename), QUOTE(file_path), \
             QUOTE(file_size), QUOTE(status), QUOTE(processing_status), \
             QUOTE(ground_truth_generated), QUOTE(created_at), QUOTE(updated_at)))) AS CHAR) \
             FROM videos WHERE project_id = '{STILL}' \
             UNION ALL SELECT CAST(SUM(CRC32(CONCAT_WS('|', id, video_id, frame_number))) AS CHAR) \
             FROM annotations WHERE notes = '{KEPT}'"
        ))
        .await;
    rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join(" ")
}

/// Every child that the application has committed is there, with its video.
async fn check_children(legacy: &Legacy, report: &application::Report) {
    let rows = legacy
        .rows(
            "SELECT c.id, c.video_id FROM (SELECT id, video_id FROM ground_truth_objects \
             UNION ALL SELECT id, video_id FROM annotations) c \
             JOIN videos v ON v.id = c.video_id",
        )
        .await;
    let there: HashMap<String, String> =
        rows.iter().map(|row| (row.get("id"), row.get("video_id"))).collect();
    for (video, children) in &report.children {
        for child in children {
            assert_eq!(there.get(child), Some(video), "child {child} of video {video} is lost");
        }
    }
}

/// The statements that make the tables.
fn tables(dates: Dates) -> String {
    match dates {
        Dates::DateTime => TABLES.to_owned(),
        Dates::Timestamp => TABLES.replace("DATETIME", "TIMESTAMP NULL"),
    }
}

/// The statements that make the platform's tables and indexes, as the database shows them.
pub async fn definitions(legacy: &Legacy) -> Vec<String> {
    let mut definitions = Vec::new();
    for table in NAMES {
        if legacy.url.starts_with("sqlite") {
            let sql = format!(
                "SELECT COALESCE(sql, name) FROM sqlite_schema WHERE tbl_name = '{table}' ORDER BY name"
            );
            definitions.extend(legacy.rows(&sql).await.iter().map(|row| row.get::<String, _>(0)));
        } else {
            let row = &legacy.rows(&format!("SHOW CREATE TABLE {table}")).await[0];
            definitions.push(row.get(1));
        }
    }
    definitions
}
