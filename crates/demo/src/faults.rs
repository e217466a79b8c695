//! What the demo's page offers to break.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use rand::Rng as _;
use reelshift_operate::{By, Tune};
use reelshift_plan::tuning::Assignment;
use reelshift_server::{Playground, Scene};
use reelshift_store::SharedStore;
use sqlx::AnyPool;
use uuid::Uuid;

use crate::fleet::Fleet;
use crate::platform::{self, LIVE_PROJECT};

/// Videos that one press uploads, and the size of each of their files.
const UPLOADED: usize = 400;
const FILE_BYTES: usize = 200 * 1_024;
/// So that one can watch them being hashed.
const BYTE_RATE: &str = "byte_rate=4MiB";
/// Statements at once that do nothing but be there, and for how long: above what the throttle
/// lets the server execute.
const STATEMENTS: u32 = 24;
const OVERLOAD: Duration = Duration::from_secs(20);
const SLEEP: &str = "SELECT SLEEP(20)";
/// More free disk than there is, for so long.
const MORE_THAN_FREE: &str = "free_disk=1PiB";
const FULL: Duration = Duration::from_secs(30);
/// Videos whose files are not there: too few for a worker to doubt its media root.
const POISONED: usize = 3;

const SCENES: [Scene; 8] = [
    Scene {
        name: "upload",
        title: "Upload 400 videos",
        meaning: "The fleet backfills and hashes them, at 4 MiB/s, so that there is something to \
                  interrupt for a while.",
        page: "/",
    },
    Scene {
        name: "kill-worker",
        title: "Kill a worker",
        meaning: "SIGKILL, in the middle of its work. After 8 s without a heartbeat it is lost, the \
                  others go on from its checkpoints, and another worker comes after 20 s.",
        page: "/workers",
    },
    Scene {
        name: "add-worker",
        title: "Start a worker",
        meaning: "It takes its share of the batches within a second.",
        page: "/workers",
    },
    Scene {
        name: "break-media",
        title: "Take the media root away",
        meaning: "As a network share that is unmounted while 400 new videos are hashed: its \
                  directory is empty. Workers give their batches back instead of calling every file \
                  missing.",
        page: "/workers",
    },
    Scene {
        name: "mend-media",
        title: "Bring the media root back",
        meaning: "Work goes on by itself; what failed meanwhile is marked as recovered.",
        page: "/",
    },
    Scene {
        name: "poison",
        title: "Upload 3 videos without a file",
        meaning: "Each is set aside with its error; the rest of its batch is done. Find them with \
                  cause:file_missing since:5min.",
        page: "/failures?query=is%3Aquarantined+since%3A5min",
    },
    Scene {
        name: "overload",
        title: "Overload the database",
        meaning: "For 20 s the application asks more than it can answer, while 400 new videos are \
                  backfilled. The throttle slows that down, says by which signal, and lets go \
                  afterwards.",
        page: "/controls",
    },
    Scene {
        name: "fill-disk",
        title: "Fill the disk",
        meaning: "For 30 s more free disk is asked for than there is (the setting free_disk), while \
                  400 new videos wait. The fleet stops, as it does before a disk is full, and goes \
                  on afterwards.",
        page: "/controls",
    },
];

/// Breaks things, and mends them.
#[derive(Debug)]
pub struct Faults {
    pub store: SharedStore,
    pub fleet: Arc<Fleet>,
    pub url: String,
    pub media: PathBuf,
    pub pool: AnyPool,
    /// Whose changes to the settings these are.
    pub by: By,
}

#[async_trait]
impl Playground for Faults {
    fn scenes(&self) -> Vec<Scene> {
        let gone = self.away().exists();
        let possible = |scene: &Scene| match scene.name {
            "mend-media" => gone,
            "poison" | "kill-worker" | "add-worker" => true,
            // These upload files.
            _ => !gone,
        };
        SCENES.into_iter().filter(possible).collect()
    }

    async fn play(&self, scene: &str) -> Result<String, String> {
        // A page that was left open offers what has gone meanwhile.
        if !self.scenes().iter().any(|offered| offered.name == scene) {
            return Err("this cannot be done now: look at the page again".to_owned());
        }
        let played = match scene {
            "upload" => self.upload().await,
            "kill-worker" => self.fleet.kill_one().await.map(|pid| {
                format!("The worker with process id {pid} was killed. Look at Workers.")
            }),
            "add-worker" => self.fleet.add().await.map(|pid| format!("Process {pid} is starting.")),
            "break-media" => self.break_media().await,
            "mend-media" => self.mend_media(),
            "fill-disk" => self.fill_disk().await,
            "poison" => self.poison().await,
            "overload" => self.overload().await,
            _ => Err(anyhow::anyhow!("there is no such scene")),
        };
        played.map_err(|error| format!("{error:#}"))
    }
}

/// Moves every entry of one directory to another. The directories stay: a process that has the
/// first one open sees it empty, as a mount point whose share is gone.
fn move_all(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from).context("the media root cannot be read")? {
        let entry = entry.context("the media root cannot be read")?;
        std::fs::rename(entry.path(), to.join(entry.file_name()))
            .with_context(|| format!("{} cannot be moved", entry.path().display()))?;
    }
    Ok(())
}

impl Faults {
    fn away(&self) -> PathBuf {
        self.media.with_extension("away")
    }

    async fn break_media(&self) -> Result<String> {
        self.upload().await?;
        let away = self.away();
        std::fs::create_dir_all(&away).context("there is no place for the files")?;
        move_all(&self.media, &away)?;
        Ok("The media root is gone. Look at Workers.".to_owned())
    }

    fn mend_media(&self) -> Result<String> {
        let away = self.away();
        move_all(&away, &self.media)?;
        std::fs::remove_dir(&away).context("an empty directory stays")?;
        Ok("The media root is back.".to_owned())
    }

    async fn fill_disk(&self) -> Result<String> {
        self.upload().await?;
        let assignment: Assignment =
            MORE_THAN_FREE.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let full = Tune { assignment, expected: None };
        reelshift_operate::tune(&*self.store, &self.by, &[full], Some(FULL)).await?;
        Ok(format!("The disk is full for {} s. Look at Controls.", FULL.as_secs()))
    }

    async fn upload(&self) -> Result<String> {
        let assignment: Assignment =
            BYTE_RATE.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let slow = Tune { assignment, expected: None };
        reelshift_operate::tune(&*self.store, &self.by, &[slow], None).await?;
        let mut content = vec![0_u8; FILE_BYTES];
        let folder = format!("uploads-{}", Uuid::now_v7());
        std::fs::create_dir_all(self.media.join(&folder)).context("no folder can be made")?;
        let mut paths = Vec::with_capacity(UPLOADED);
        for number in 0..UPLOADED {
            // No two files are equal.
            rand::rng().fill_bytes(&mut content[..64]);
            let path = format!("{folder}/{number}.mp4");
            std::fs::write(self.media.join(&path), &content).context("no file can be written")?;
            paths.push(path);
        }
        self.insert(&paths).await?;
        Ok(format!("{UPLOADED} videos were uploaded: within seconds they are enqueued."))
    }

    async fn poison(&self) -> Result<String> {
        let paths: Vec<_> =
            (0..POISONED).map(|_| format!("nowhere/{}.mp4", Uuid::now_v7())).collect();
        self.insert(&paths).await?;
        Ok(format!("{POISONED} videos without a file were uploaded. Look at Failures."))
    }

    /// As the application does: the legacy columns, and nothing else.
    async fn insert(&self, paths: &[String]) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        for path in paths {
            sqlx::query(
                "INSERT INTO videos (id, filename, file_path, file_size, status, \
                   processing_status, ground_truth_generated, project_id, created_at, updated_at) \
                 VALUES (?, ?, ?, ?, 'uploaded', 'pending', 0, ?, CURRENT_TIMESTAMP, \
                   CURRENT_TIMESTAMP)",
            )
            .bind(Uuid::new_v4().to_string())
            .bind(path.rsplit('/').next().unwrap_or_default().to_owned())
            .bind(path.clone())
            .bind(i64::try_from(FILE_BYTES).unwrap_or(i64::MAX))
            .bind(LIVE_PROJECT)
            .execute(&mut *transaction)
            .await
            .context("no video can be uploaded")?;
        }
        transaction.commit().await.context("no video can be uploaded")
    }

    /// Goes on by itself.
    async fn overload(&self) -> Result<String> {
        self.upload().await?;
        let mysql = platform::is_mysql(&self.url);
        let pool = platform::connect(&self.url, if mysql { STATEMENTS } else { 1 }).await?;
        let load = async move {
            if mysql {
                let each = (0..STATEMENTS).map(|_| sqlx::raw_sql(SLEEP).execute(&pool));
                futures::future::join_all(each).await;
            } else {
                // Every writer waits for the one that holds the file.
                let until = tokio::time::Instant::now() + OVERLOAD;
                while tokio::time::Instant::now() < until {
                    let Ok(mut connection) = pool.acquire().await else { return };
                    let held = sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await;
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    if held.is_ok() {
                        sqlx::raw_sql("COMMIT").execute(&mut *connection).await.ok();
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        };
        tokio::spawn(load);
        Ok(format!("The database is busy for {} s. Look at Controls.", OVERLOAD.as_secs()))
    }
}
