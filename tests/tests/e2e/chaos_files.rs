//! Files that vanish, change or turn unreadable while they are hashed.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use reelshift_tests::chaos::files::{Files, poke};
use reelshift_tests::chaos::{Place, Scene, faults};
use reelshift_tests::until;

const BYTES: u64 = 6 << 20;

/// Root reads what nobody may read, unless it is without these capabilities.
fn without_privileges() -> Vec<&'static str> {
    if rustix::process::geteuid().is_root() {
        let drop = "--bounding-set=-dac_override,-dac_read_search";
        vec!["setpriv", "--inh-caps=-dac_override,-dac_read_search", drop]
    } else {
        Vec::new()
    }
}

/// Keeps changing both ends of a file: first the last byte, then the first. A hash of a
/// whole content has both alike, or the last one step ahead.
fn restless(path: PathBuf, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut step = 0;
        while !stop.load(Ordering::Relaxed) {
            step = (step + 1) % 3;
            poke(&path, BYTES - 1, step);
            poke(&path, 0, step);
            std::thread::sleep(Duration::from_millis(1));
        }
        poke(&path, BYTES - 1, 0);
        poke(&path, 0, 0);
    })
}

fn note_every_step(files: &mut Files, name: &str) {
    let path = files.path(name);
    for step in 0..3 {
        poke(&path, BYTES - 1, step);
        poke(&path, 0, step);
        files.note(name);
        poke(&path, BYTES - 1, (step + 1) % 3);
        files.note(name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_vanish_change_or_turn_unreadable() {
    let mut scene = Scene::set(Place::Shared, 600, 21).await;
    let mut files = Files::make(&scene.legacy, &scene.media(), 120, BYTES).await;
    let names = files.names();
    let (restless_names, rest) = names.split_at(2);
    for name in restless_names {
        note_every_step(&mut files, name);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> =
        restless_names.iter().map(|name| restless(files.path(name), Arc::clone(&stop))).collect();

    scene.enqueue(&["hash", "--batch-files", "12"]);
    for _ in 0..2 {
        scene
            .start_worker_with("%", |url, reelshift| {
                reelshift.under(&without_privileges()).database(url)
            })
            .await;
    }
    until("the first hashes", async || {
        scene.legacy.number("SELECT COUNT(*) FROM videos WHERE file_hash IS NOT NULL").await > 0
    })
    .await;
    // From the end of the key range: those come last.
    let unreadable = std::fs::Permissions::from_mode(0o000);
    for (number, name) in rest.iter().rev().enumerate().take(60) {
        let path = files.path(name);
        match number % 3 {
            0 => std::fs::remove_file(&path).expect("a file vanishes"),
            1 => std::fs::set_permissions(&path, unreadable.clone()).expect("a file is closed"),
            _ => {
                // Another content, put in place whole.
                let new = path.with_extension("new");
                std::fs::write(&new, format!("{name} anew")).expect("a new file");
                std::fs::rename(&new, &path).expect("a file is replaced");
                files.note(name);
            }
        }
    }
    let changed = "SELECT COUNT(*) FROM processing_error_log WHERE error_type = 'file_changed'";
    until("a file that changed while it was read", async || scene.legacy.number(changed).await > 0)
        .await;
    faults::kill_worker(&mut scene, &mut StdRng::seed_from_u64(21)).await;
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("a file comes to rest");
    }
    until("the end of the run", async || scene.is_done().await).await;

    let without = files.check(&scene.legacy).await;
    let explained = "SELECT COUNT(*) FROM reelshift_quarantine q JOIN processing_error_log e
        ON e.id = q.error_id AND e.video_id = q.video_id
        WHERE e.error_type IN ('file_missing', 'file_unreadable')";
    assert_eq!(usize::try_from(scene.legacy.number(explained).await), Ok(without));
    assert!(without > 0, "every file was hashed before anything happened to it");

    // Once mended, everything is hashed after all.
    let readable = std::fs::Permissions::from_mode(0o644);
    for name in rest {
        let path = files.path(name);
        if !path.exists() {
            std::fs::write(&path, format!("{name} is back")).expect("a file comes back");
            files.note(name);
        }
        std::fs::set_permissions(&path, readable.clone()).expect("a file is opened");
    }
    scene.run(&["rerun", "--quarantined"]);
    // The rows that the application made, and those without files, want their backfill.
    scene.enqueue(&["backfill", "--batch-size", "100"]);
    let outcome = scene.finish().await;
    assert_eq!(files.check(&outcome.still.legacy).await, 0, "files without a hash");
    outcome.clear().await;
}
