//! The made-up videos: every combination of the legacy columns, awkward names, and real
//! files of which a few are missing or bad on purpose.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use uuid::Uuid;

/// A legacy row, and what its file really is.
#[derive(Debug, Clone)]
pub struct DemoVideo {
    pub id: String,
    pub filename: Option<String>,
    pub file_path: Option<String>,
    pub file_size: Option<i64>,
    pub status: Option<&'static str>,
    pub processing_status: Option<&'static str>,
    pub ground_truth_generated: Option<bool>,
    pub project_id: String,
    /// Days before now.
    pub age_days: u32,
    /// 0 where no file was made.
    pub bytes_on_disk: u64,
}

const STATUSES: [Option<&str>; 5] =
    [Some("uploaded"), Some("processing"), Some("completed"), Some("failed"), None];
const PROCESSING: [Option<&str>; 6] =
    [Some("pending"), Some("processing"), Some("completed"), Some("failed"), Some("queued"), None];
const GROUND_TRUTH: [Option<bool>; 3] = [Some(false), Some(true), None];
const ENDINGS: [&str; 10] =
    [".mp4", ".avi", ".mov", ".mkv", ".MP4", ".AVI", ".MoV", ".MKV", ".webm", ""];
const NAMES: [&str; 8] = [
    "holiday",
    "интервью",
    "会議の録画",
    "O'Brien \"uncut\"",
    "50% off; final",
    "clip\\raw",
    "été à la plage",
    "🎬 trailer",
];

/// What is wrong with a file on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Missing,
    Directory,
    #[cfg(unix)]
    LinkOutside,
    OutsidePath,
}

fn fault(index: u32) -> Fault {
    match index % 200 {
        17 => Fault::Missing,
        71 if index % 400 == 71 => Fault::Directory,
        #[cfg(unix)]
        113 if index % 400 == 113 => Fault::LinkOutside,
        151 if index % 1_000 == 151 => Fault::OutsidePath,
        _ => Fault::None,
    }
}

/// Makes `count` videos whose files take `bytes` together, below `media`.
pub fn make(
    media: &Path,
    count: u32,
    bytes: u64,
    progress: impl Fn(u64),
) -> Result<Vec<DemoVideo>> {
    // The same demo every time: what one person sees, another can look at too.
    let mut rng = StdRng::seed_from_u64(2_026);
    let sizes = sizes(count, bytes, &mut rng);
    let mut content = vec![0_u8; 1 << 20];
    rng.fill_bytes(&mut content);
    let mut videos = Vec::with_capacity(sizes.len());
    for (index, size) in (0_u32..).zip(sizes) {
        videos.push(video(media, index, size, &mut rng, &mut content)?);
        progress(u64::from(index) + 1);
    }
    Ok(videos)
}

/// Sizes as they are on a platform: most files small, a few most of the bytes.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a sum"
)]
fn sizes(count: u32, bytes: u64, rng: &mut StdRng) -> Vec<u64> {
    let weights: Vec<f64> = (0..count).map(|_| (rng.random::<f64>() * 6.0).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / sum * bytes as f64) as u64).collect()
}

fn video(
    media: &Path,
    index: u32,
    size: u64,
    rng: &mut StdRng,
    content: &mut [u8],
) -> Result<DemoVideo> {
    let at = |count: usize| index as usize % count;
    let id = Uuid::from_u128(rng.random()).to_string();
    let ending = ENDINGS[at(ENDINGS.len())];
    let name = format!("{} {index}{ending}", NAMES[at(NAMES.len())]);
    let relative = format!("{:02x}/{id}{}", index % 64, ending.to_lowercase());
    let path = media.join(&relative);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let fault = fault(index);
    // Every 97th row says nothing of its file, as rows of an upload that broke off do.
    let pathless = index % 97 == 96;
    let mut bytes_on_disk = 0;
    match fault {
        _ if pathless => {}
        Fault::Missing | Fault::OutsidePath => {}
        Fault::Directory => fs::create_dir_all(&path)?,
        #[cfg(unix)]
        Fault::LinkOutside => std::os::unix::fs::symlink("/etc/hostname", &path)?,
        Fault::None => {
            write(&path, size, rng, content)?;
            bytes_on_disk = size;
        }
    }
    let file_path = match fault {
        _ if pathless => None,
        Fault::OutsidePath => Some("../../../../etc/hostname".to_owned()),
        _ if index.is_multiple_of(3) => Some(path.display().to_string()),
        _ => Some(relative),
    };
    let file_size = match index % 500 {
        250 => None,
        251 => i64::try_from(size / 2).ok(),
        _ => i64::try_from(size).ok(),
    };
    Ok(DemoVideo {
        id,
        filename: (index % 101 != 100).then_some(name),
        file_path,
        file_size,
        status: STATUSES[at(STATUSES.len())],
        // Counted by the combinations before it, so that all of them come.
        processing_status: PROCESSING[index as usize / STATUSES.len() % PROCESSING.len()],
        ground_truth_generated: GROUND_TRUTH
            [index as usize / (STATUSES.len() * PROCESSING.len()) % GROUND_TRUTH.len()],
        project_id: format!("project-{}", index % 12),
        age_days: rng.random_range(0..400),
        bytes_on_disk,
    })
}

/// A file that no other equals: `content` with its first bytes drawn anew.
fn write(path: &Path, size: u64, rng: &mut StdRng, content: &mut [u8]) -> Result<()> {
    let (head, _) = content.split_at_mut(64);
    rng.fill_bytes(head);
    let mut file =
        fs::File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut left = size;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(content.len());
        file.write_all(&content[..part])
            .with_context(|| format!("cannot write {}", path.display()))?;
        left -= part as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_combinations_and_faults_come() {
        let dir = tempfile::tempdir().expect("a directory");
        let videos = make(dir.path(), 2_000, 1 << 20, |_| {}).expect("videos");
        let combinations: HashSet<_> = videos
            .iter()
            .map(|video| (video.status, video.processing_status, video.ground_truth_generated))
            .collect();
        assert_eq!(combinations.len(), STATUSES.len() * PROCESSING.len() * GROUND_TRUTH.len());
        let faults: HashSet<_> = (0..2_000).map(|index| format!("{:?}", fault(index))).collect();
        assert!(faults.len() >= 4, "{faults:?}");
        assert!(videos.iter().any(|video| video.filename.is_none()));
        let bytes: u64 = videos.iter().map(|video| video.bytes_on_disk).sum();
        assert!(bytes > (1 << 20) * 9 / 10, "{bytes}");
    }
}
