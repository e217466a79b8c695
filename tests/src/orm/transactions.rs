//! The transactions of the platform's application: what its ORM makes of a request, several
//! statements at REPEATABLE READ that read a video, then write it or its children.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sqlx::{Connection, MySqlConnection, Row as _};
use uuid::Uuid;

use super::TOUCHED;

/// All columns of a video, as an ORM reads it.
const VIDEO: &str = "SELECT id, filename, file_path, file_size, duration, fps, resolution, status, \
     processing_status, ground_truth_generated, project_id, created_at, updated_at FROM videos";

/// What one thread of the application knows: the videos that it may touch, those that it has
/// uploaded, and the children that it has committed, by video.
#[derive(Debug)]
pub(super) struct Client {
    videos: std::sync::Arc<Vec<String>>,
    uploads: Vec<String>,
    pub(super) children: HashMap<String, Vec<String>>,
    rng: StdRng,
    /// Whether it writes the columns of expand too.
    enhanced: bool,
}

impl Client {
    pub(super) fn new(videos: std::sync::Arc<Vec<String>>, seed: u64, enhanced: bool) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { videos, uploads: Vec::new(), children: HashMap::new(), rng, enhanced }
    }

    /// One request of the mix.
    pub(super) async fn request(&mut self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        match self.rng.random_range(0..20) {
            0..=3 => self.list(connection).await,
            4..=8 => self.process(connection).await,
            9..=10 => self.rename(connection).await,
            11..=12 if self.enhanced => self.write_new_column(connection).await,
            13..=14 => self.retry_several(connection).await,
            15 if !self.uploads.is_empty() => self.delete(connection).await,
            _ => self.upload(connection).await,
        }
    }

    fn video(&mut self) -> String {
        self.videos.choose(&mut self.rng).cloned().unwrap_or_default()
    }

    /// A page of a list.
    async fn list(&mut self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        let mut transaction = connection.begin().await?;
        let page = format!(
            "{VIDEO} WHERE project_id = ? AND status = 'uploaded' ORDER BY created_at DESC LIMIT 20"
        );
        sqlx::query(sqlx::AssertSqlSafe(page)).bind(TOUCHED).fetch_all(&mut *transaction).await?;
        transaction.commit().await
    }

    /// A video is processed: two transactions that read it and then write it, the second with
    /// a child.
    async fn process(&mut self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        let id = self.video();
        let mut transaction = connection.begin().await?;
        read(&mut transaction, &id).await?;
        write_legacy(&mut transaction, &id, "processing", false).await?;
        transaction.commit().await?;

        let state = *["completed", "failed", "odd"].choose(&mut self.rng).unwrap_or(&"odd");
        let child = Uuid::new_v4().to_string();
        let mut transaction = connection.begin().await?;
        read(&mut transaction, &id).await?;
        write_legacy(&mut transaction, &id, state, state == "completed").await?;
        sqlx::query(
            "INSERT INTO ground_truth_objects (id, video_id, timestamp, class_label, bounding_box) \
             VALUES (?, ?, 1.0, 'pedestrian', '[1, 2, 3, 4]')",
        )
        .bind(&child)
        .bind(&id)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        self.children.entry(id).or_default().push(child);
        Ok(())
    }

    async fn rename(&mut self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        let id = self.video();
        let ending = ["mp4", "MKV", "x"][self.rng.random_range(0..3)];
        let name = format!("renamed {}.{ending}", self.rng.random::<u16>());
        let mut transaction = connection.begin().await?;
        read(&mut transaction, &id).await?;
        sqlx::query("UPDATE videos SET filename = ?, updated_at = NOW() WHERE id = ?")
            .bind(name)
            .bind(&id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// A state of the new columns, as the application of tomorrow writes it.
    async fn write_new_column(&mut self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        let id = self.video();
        let states = ["validating", "processing", "failed"];
        let state = *states.choose(&mut self.rng).unwrap_or(&"failed");
        let mut transaction = connection.begin().await?;
        read(&mut transaction, &id).await?;
        sqlx::query("UPDATE videos SET workflow_state = ? WHERE id = ?")
            .bind(state)
            .bind(&id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Several rows are read and then changed in one transaction.
    async fn retry_several(&mut self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        let mut transaction = connection.begin().await?;
        let failed = format!(
            "{VIDEO} WHERE project_id = ? AND processing_status = 'failed' ORDER BY id LIMIT 5"
        );
        let failed = sqlx::query(sqlx::AssertSqlSafe(failed))
            .bind(TOUCHED)
            .fetch_all(&mut *transaction)
            .await?;
        for row in failed {
            write_legacy(&mut transaction, row.try_get("id")?, "pending", false).await?;
        }
        transaction.commit().await
    }

    /// A video with a child.
    async fn upload(&mut self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        let (id, child) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
        let state = *["pending", "processing"].choose(&mut self.rng).unwrap_or(&"pending");
        let mut transaction = connection.begin().await?;
        sqlx::query(
            "INSERT INTO videos (id, filename, file_path, file_size, status, processing_status, \
             ground_truth_generated, project_id) VALUES (?, 'new.MOV', '', 1, 'uploaded', ?, 0, ?)",
        )
        .bind(&id)
        .bind(state)
        .bind(TOUCHED)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("INSERT INTO annotations (id, video_id, frame_number) VALUES (?, ?, 1)")
            .bind(&child)
            .bind(&id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.children.insert(id.clone(), vec![child]);
        self.uploads.push(id);
        Ok(())
    }

    /// A deletion that cascades.
    async fn delete(&mut self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        let id = self.uploads.swap_remove(self.rng.random_range(0..self.uploads.len()));
        // Whatever becomes of the transaction, nothing more is promised of its children.
        self.children.remove(&id);
        let mut transaction = connection.begin().await?;
        read(&mut transaction, &id).await?;
        sqlx::query("DELETE FROM videos WHERE id = ?").bind(&id).execute(&mut *transaction).await?;
        transaction.commit().await
    }
}

async fn read(connection: &mut MySqlConnection, id: &str) -> sqlx::Result<()> {
    let one = format!("{VIDEO} WHERE id = ?");
    sqlx::query(sqlx::AssertSqlSafe(one)).bind(id).fetch_optional(connection).await.map(drop)
}

async fn write_legacy(
    connection: &mut MySqlConnection,
    id: &str,
    state: &str,
    ground_truth: bool,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE videos SET processing_status = ?, ground_truth_generated = ?, updated_at = NOW() \
         WHERE id = ?",
    )
    .bind(state)
    .bind(ground_truth)
    .bind(id)
    .execute(connection)
    .await
    .map(drop)
}
