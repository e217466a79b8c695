//! The transactions of the demo's application, of several statements as an ORM makes them: it
//! reads a video before it changes it, and commits a video together with its children.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sqlx::AnyPool;
use uuid::Uuid;

use crate::platform::{LIVE_PROJECT, is_mysql};

/// Uploads that are there before the first is deleted again.
const KEPT_UPLOADS: usize = 10;

/// What the application knows of the platform.
pub struct Videos {
    pool: AnyPool,
    /// What begins a transaction that writes. SQLite ends one that has read and then wants
    /// to write if another has written meanwhile, so it says at once what it is.
    begin_writing: &'static str,
    rng: StdRng,
    ids: Vec<String>,
    uploads: Vec<String>,
    /// Whether it reads and writes the new columns too.
    pub new_columns: bool,
}

impl Videos {
    pub async fn read(pool: AnyPool, url: &str) -> sqlx::Result<Self> {
        let ids = sqlx::query_scalar("SELECT id FROM videos").fetch_all(&pool).await?;
        Ok(Self {
            pool,
            begin_writing: if is_mysql(url) { "BEGIN" } else { "BEGIN IMMEDIATE" },
            rng: StdRng::seed_from_u64(7),
            ids,
            uploads: Vec::new(),
            new_columns: false,
        })
    }

    /// One transaction of the mix: five pages, two videos changed with a child, two uploads
    /// with a child, and one deletion with its children in ten.
    pub async fn transaction(&mut self) -> sqlx::Result<()> {
        match self.rng.random_range(0..10) {
            0..5 => self.page().await,
            5..7 => self.process().await,
            7..9 => self.upload().await,
            _ => self.delete().await,
        }
    }

    async fn page(&mut self) -> sqlx::Result<()> {
        let mut transaction = self.pool.begin().await?;
        let page = if self.new_columns {
            "SELECT id, filename, original_filename, workflow_state FROM videos \
             WHERE project_id = ? AND workflow_state IS NOT NULL ORDER BY created_at DESC LIMIT 20"
        } else {
            "SELECT id, filename, status FROM videos \
             WHERE project_id = ? ORDER BY created_at DESC LIMIT 20"
        };
        sqlx::query(page).bind(LIVE_PROJECT).fetch_all(&mut *transaction).await?;
        sqlx::query("SELECT id, filename, status, processing_status FROM videos WHERE id = ?")
            .bind(self.ids.choose(&mut self.rng))
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Reads a video, changes it and adds what was found in it.
    async fn process(&mut self) -> sqlx::Result<()> {
        let mut transaction = self.pool.begin_with(self.begin_writing).await?;
        let Some(id) = self.ids.choose(&mut self.rng) else { return Ok(()) };
        sqlx::query("SELECT id, processing_status FROM videos WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await?;
        if self.new_columns && self.rng.random() {
            let states = ["validating", "processing", "completed", "failed"];
            let update =
                "UPDATE videos SET workflow_state = ?, updated_at = CURRENT_TIMESTAMP WHERE id = ?";
            let update = sqlx::query(update).bind(states.choose(&mut self.rng)).bind(id);
            update.execute(&mut *transaction).await?;
        } else {
            let states = ["pending", "processing", "completed", "failed"];
            let state = *states.choose(&mut self.rng).unwrap_or(&"pending");
            sqlx::query(
                "UPDATE videos SET processing_status = ?, ground_truth_generated = ?, \
                 updated_at = CURRENT_TIMESTAMP WHERE id = ?",
            )
            .bind(state)
            .bind(i32::from(state == "completed"))
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query(
            "INSERT INTO ground_truth_objects (id, video_id, timestamp, class_label) \
             VALUES (?, ?, 1.0, 'pedestrian')",
        )
        .bind(new_id(&mut self.rng))
        .bind(id)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    async fn upload(&mut self) -> sqlx::Result<()> {
        let id = new_id(&mut self.rng);
        let mut transaction = self.pool.begin_with(self.begin_writing).await?;
        sqlx::query(
            "INSERT INTO videos (id, filename, file_size, status, project_id, created_at, updated_at) \
             VALUES (?, 'upload.mp4', 1000, 'uploaded', ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)",
        )
        .bind(&id)
        .bind(LIVE_PROJECT)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("INSERT INTO annotations (id, video_id, frame_number) VALUES (?, ?, 1)")
            .bind(new_id(&mut self.rng))
            .bind(&id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.uploads.push(id);
        Ok(())
    }

    /// Deletes one of its uploads; the foreign keys delete its children.
    async fn delete(&mut self) -> sqlx::Result<()> {
        if self.uploads.len() < KEPT_UPLOADS {
            return self.page().await;
        }
        let id = self.uploads.swap_remove(self.rng.random_range(0..self.uploads.len()));
        let mut transaction = self.pool.begin_with(self.begin_writing).await?;
        sqlx::query("SELECT id FROM ground_truth_objects WHERE video_id = ?")
            .bind(&id)
            .fetch_all(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM videos WHERE id = ?").bind(&id).execute(&mut *transaction).await?;
        transaction.commit().await
    }
}

fn new_id(rng: &mut StdRng) -> String {
    Uuid::from_u128(rng.random()).to_string()
}
