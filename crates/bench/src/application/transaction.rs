//! The transactions of the platform, as its ORM makes them: it reads a row before it changes
//! it, writes by primary key, and commits what belongs together.

use std::time::Duration;

use anyhow::Result;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use sqlx::Row;
use sqlx::mysql::MySqlDatabaseError;
use uuid::Uuid;

use super::session::Session;
use crate::platform;

/// The columns that the ORM knows, which it names in every statement.
macro_rules! columns {
    () => {
        "id, filename, file_path, file_size, duration, fps, resolution, status, processing_status, \
         ground_truth_generated, project_id, created_at, updated_at"
    };
}

const BY_ID: &str = concat!("SELECT ", columns!(), " FROM videos WHERE id = ?");
const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM videos WHERE project_id = ? AND status = 'uploaded' ORDER BY created_at DESC LIMIT 20"
);
/// As the ORM asks, without an order: with one by id a server takes now this index, now that,
/// and what is measured is its optimizer.
const SOME_FAILED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM videos WHERE project_id = ? AND processing_status = 'failed' LIMIT 5"
);

/// A transaction of the mix.
#[derive(Debug)]
pub(super) enum Kind {
    /// A page of a list.
    Page,
    /// A video's processing begins.
    Process,
    /// The processing of this video has ended: the video and a child of it.
    Complete(String),
    /// A video and a child of it.
    Upload,
    /// A video with its children, by the ORM and by cascade.
    Delete,
    /// Several videos that failed are tried again.
    Retry,
}

impl Kind {
    /// The platform's mix: four pages, two videos processed, two uploads, one deletion and
    /// one retry in ten.
    pub(super) fn draw(rng: &mut StdRng) -> Self {
        match rng.random_range(0..10) {
            0..4 => Self::Page,
            4..6 => Self::Process,
            6..8 => Self::Upload,
            8 => Self::Delete,
            _ => Self::Retry,
        }
    }
}

/// What the application works on: its own projects, the videos that they had at first, and
/// whether the database deletes a video's children by itself.
#[derive(Debug)]
pub(super) struct Videos {
    projects: Vec<String>,
    ids: Vec<String>,
    cascades: bool,
}

impl Videos {
    pub(super) async fn read(session: &mut Session) -> Result<Self> {
        let (mut projects, mut ids) = (Vec::new(), Vec::new());
        for row in session.run(sqlx::query(platform::ACTIVE_PROJECTS)).await? {
            let project: String = row.try_get("id")?;
            let query = sqlx::query("SELECT id FROM videos WHERE project_id = ?").bind(&project);
            for row in session.run(query).await? {
                ids.push(row.try_get("id")?);
            }
            projects.push(project);
        }
        let cascades = session.run(sqlx::query(platform::FOREIGN_KEYS)).await?;
        let cascades = !cascades.is_empty();
        session.take_waited();
        Ok(Self { projects, ids, cascades })
    }

    fn id<'a>(&'a self, rng: &mut StdRng) -> &'a str {
        self.ids.choose(rng).map_or("", String::as_str)
    }

    fn project<'a>(&'a self, rng: &mut StdRng) -> &'a str {
        self.projects.choose(rng).map_or("", String::as_str)
    }
}

/// Runs one transaction, which stays open for `open` between its statements. Returns the one
/// that follows it.
pub(super) async fn run(
    session: &mut Session,
    kind: Kind,
    open: Duration,
    videos: &Videos,
    rng: &mut StdRng,
) -> sqlx::Result<Option<Kind>> {
    let stay = || tokio::time::sleep(open);
    let mut follows = None;
    session.begin().await?;
    match kind {
        Kind::Page => {
            session.run(sqlx::query(PAGE).bind(videos.project(rng))).await?;
            stay().await;
        }
        Kind::Process => {
            let id = videos.id(rng);
            let found = session.run(sqlx::query(BY_ID).bind(id)).await?;
            stay().await;
            if !found.is_empty() && change(session, id, "processing", false).await? {
                follows = Some(Kind::Complete(id.to_owned()));
            }
        }
        Kind::Complete(id) => {
            let found = session.run(sqlx::query(BY_ID).bind(&id)).await?;
            stay().await;
            // Another thread may have deleted it.
            if !found.is_empty() && change(session, &id, "completed", true).await? {
                let insert = sqlx::query(
                    "INSERT INTO ground_truth_objects (id, video_id, timestamp, class_label) \
                     VALUES (?, ?, 1.0, 'pedestrian')",
                );
                session.write(insert.bind(new_id(rng)).bind(&id)).await?;
            }
        }
        Kind::Upload => {
            let id = new_id(rng);
            let insert = sqlx::query(
                "INSERT INTO videos (id, filename, file_path, file_size, status, processing_status, \
                 ground_truth_generated, project_id) \
                 VALUES (?, 'new.MOV', ?, 5, 'uploaded', 'pending', FALSE, ?)",
            );
            let insert = insert.bind(&id).bind(format!("uploads/{id}.mov"));
            session.write(insert.bind(videos.project(rng))).await?;
            stay().await;
            let child = "INSERT INTO annotations (id, video_id, frame_number) VALUES (?, ?, 1)";
            session.write(sqlx::query(child).bind(new_id(rng)).bind(&id)).await?;
        }
        Kind::Delete => {
            let id = videos.id(rng);
            let found = session.run(sqlx::query(BY_ID).bind(id)).await?;
            stay().await;
            if !found.is_empty() {
                delete(session, id, videos.cascades).await?;
            }
        }
        Kind::Retry => {
            let page = sqlx::query(SOME_FAILED).bind(videos.project(rng));
            let failed = session.run(page).await?;
            stay().await;
            for row in failed {
                let states = ["pending", "processing", "failed"];
                let state = states.choose(rng).unwrap_or(&"pending");
                let id: String = row.try_get("id")?;
                change(session, &id, state, false).await?;
            }
        }
    }
    session.commit().await?;
    Ok(follows)
}

/// Whether the video was still there.
async fn change(
    session: &mut Session,
    id: &str,
    processing_status: &str,
    ground_truth: bool,
) -> sqlx::Result<bool> {
    let update = sqlx::query(
        "UPDATE videos SET processing_status = ?, ground_truth_generated = ?, updated_at = now() \
         WHERE id = ?",
    );
    session.write(update.bind(processing_status).bind(ground_truth).bind(id)).await
}

async fn delete(session: &mut Session, id: &str, cascades: bool) -> sqlx::Result<()> {
    let children = "SELECT id FROM ground_truth_objects WHERE video_id = ?";
    for row in session.run(sqlx::query(children).bind(id)).await? {
        let child: String = row.try_get("id")?;
        session
            .write(sqlx::query("DELETE FROM ground_truth_objects WHERE id = ?").bind(child))
            .await?;
    }
    if !cascades {
        session.write(sqlx::query("DELETE FROM annotations WHERE video_id = ?").bind(id)).await?;
    }
    session.write(sqlx::query("DELETE FROM videos WHERE id = ?").bind(id)).await?;
    Ok(())
}

fn new_id(rng: &mut StdRng) -> String {
    Uuid::from_u128(rng.random()).to_string()
}

/// Why a transaction failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn timeout(after: Duration) -> Self {
        Self { code: "no answer".to_owned(), message: format!("no answer within {after:?}") }
    }
}

impl From<&sqlx::Error> for Failure {
    fn from(error: &sqlx::Error) -> Self {
        let server = error
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
        let code =
            server.map_or_else(|| "connection".to_owned(), |error| error.number().to_string());
        Self { code, message: error.to_string() }
    }
}
