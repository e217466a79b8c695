//! Hashing: this product's engine against `tape-sha256` in memory, and against `openssl`,
//! `sha256sum` and the specification's own service on files in the page cache.
//!
//! Of these each is a process of its own, timed alike. "Per CPU" is gigabytes (10⁹) for each second
//! of processor time, reading included.

mod memory;
mod object_store;
mod timed;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rand::RngExt;
use reelshift_media::sha256::Backend;

use self::timed::Timed;

#[derive(Debug, clap::Args)]
pub struct HashArgs {
    /// Where the files are made; several GB, removed afterwards
    #[arg(long, default_value = "reelshift-bench-hash", value_name = "DIR")]
    dir: PathBuf,

    /// Files of 4 KiB for the figure of small files
    #[arg(long, default_value_t = 100_000)]
    small_files: u32,

    /// Also hash the mixed files through an object store, into which they are put:
    /// s3://BUCKET/PREFIX with the AWS_* variables
    #[arg(long, value_name = "URL")]
    s3: Option<String>,
}

/// What hides the SHA extensions from OpenSSL: bit 29 of the feature word that tells.
const WITHOUT_SHA_NI: &str = "OPENSSL_ia32cap=:~0x20000000";
/// Sizes of the mixed files go from this to the next in even steps.
const SMALLEST: u64 = 4 << 10;
const LARGEST: u64 = 256 << 20;

pub async fn run(args: &HashArgs) -> Result<()> {
    fs::create_dir(&args.dir).with_context(|| format!("{} must be new", args.dir.display()))?;
    let measured = measure(args).await;
    fs::remove_dir_all(&args.dir)?;
    measured
}

async fn measure(args: &HashArgs) -> Result<()> {
    let dir = fs::canonicalize(&args.dir)?;
    let hash = std::env::current_exe()?.with_file_name("reelshift");
    if !hash.is_file() {
        bail!("{} is not built: cargo build --release -p reelshift-cli", hash.display());
    }
    let hash = format!("xargs -0 -n 20000 {} hash", hash.display());
    let speeds = [("", "openssl speed"), (WITHOUT_SHA_NI, "openssl speed without SHA-NI")]
        .map(|(env, name)| Ok::<_, anyhow::Error>((name, openssl_speed(env)?)));
    for speed in &speeds {
        let (name, speed) = speed.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        println!("{name:32} {:.2} GB/s", speed / 1e9);
    }
    memory::compare();
    large(&dir, &hash)?;
    mixed(&dir, &hash, args).await?;
    small(&dir, &hash, args.small_files)
}

/// Bytes for each second of processor time, of 1 MiB in memory.
fn openssl_speed(env: &str) -> Result<f64> {
    let script = format!("{env} openssl speed -seconds 2 -evp sha256 -bytes 1048576 2>/dev/null");
    let output = Command::new("bash").args(["-c", &script]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let last = text.split_whitespace().last().context("openssl is needed")?;
    let thousands: f64 = last.trim_end_matches('k').parse().context("no rate of openssl")?;
    Ok(thousands * 1e3)
}

/// One file of 2 GiB.
fn large(dir: &Path, hash: &str) -> Result<()> {
    let file = dir.join("large");
    write(&file, 2 << 30)?;
    let (bytes, list) = list(dir, "large.list", &[file])?;
    println!("\none file of 2 GiB, on one core");
    let mut table = Table::new(bytes);
    table.add("openssl dgst", "taskset -c 0 xargs -0 openssl dgst -sha256", &list)?;
    table.add("reelshift hash", &format!("taskset -c 0 {hash}"), &list)?;
    let without = format!("env {WITHOUT_SHA_NI} taskset -c 0 xargs -0 openssl dgst -sha256");
    table.add("openssl dgst without SHA-NI", &without, &list)?;
    table.add("reelshift hash, avx2", &on(hash, "avx2", "taskset -c 0"), &list)?;
    fs::remove_file(dir.join("large"))?;
    Ok(())
}

/// 64 files of 4 KiB to 256 MiB.
async fn mixed(dir: &Path, hash: &str, args: &HashArgs) -> Result<()> {
    let root = dir.join("mixed");
    fs::create_dir(&root)?;
    let mut files = Vec::new();
    for n in 0..64 {
        let file = root.join(n.to_string());
        write(&file, SMALLEST + (LARGEST - SMALLEST) * n / 63)?;
        files.push(file);
    }
    let (bytes, list) = list(dir, "mixed.list", &files)?;
    println!("\n64 files of 4 KiB to 256 MiB, {:.2} GB, on one core", bytes as f64 / 1e9);
    let mut table = Table::new(bytes);
    // The last of them is for processors without any of this, and slow.
    for backend in Backend::all().filter(|backend| backend.lanes() > 1) {
        let command = on(hash, backend.name(), "taskset -c 0");
        table.add(&format!("reelshift hash, {}", backend.name()), &command, &list)?;
    }
    println!("\nthe same on two cores");
    let mut table = Table::new(bytes);
    table.add("reelshift hash", hash, &list)?;
    table.add("sha256sum, xargs -P2", "xargs -0 -n 8 -P 2 sha256sum", &list)?;
    let script = dir.join("specification.py");
    fs::write(&script, include_str!("hash/specification.py"))?;
    table.add("the specification's service", &format!("python3 {}", script.display()), &list)?;
    if let Some(url) = &args.s3 {
        object_store::compare(&root, url, files.len()).await?;
    }
    fs::remove_dir_all(root)?;
    Ok(())
}

/// Many files of 4 KiB.
fn small(dir: &Path, hash: &str, count: u32) -> Result<()> {
    let root = dir.join("small");
    let mut files = Vec::new();
    for n in 0..count {
        let below = root.join((n / 1_000).to_string());
        fs::create_dir_all(&below)?;
        let file = below.join(n.to_string());
        write(&file, 4_096)?;
        files.push(file);
    }
    let (bytes, list) = list(dir, "small.list", &files)?;
    println!("\n{count} files of 4 KiB");
    let mut table = Table::new(bytes);
    table.files = Some(f64::from(count));
    table.add("sha256sum", "xargs -0 -n 20000 sha256sum", &list)?;
    table.add("sha256sum, xargs -P2", "xargs -0 -n 5000 -P 2 sha256sum", &list)?;
    table.add("reelshift hash", hash, &list)?;
    table.add("reelshift hash, one core", &format!("taskset -c 0 {hash}"), &list)?;
    Ok(())
}

/// The command with a backend of that name, begun by `with`.
fn on(hash: &str, backend: &str, with: &str) -> String {
    format!("env REELSHIFT_HASH_BACKEND={backend} {with} {hash}")
}

fn write(path: &Path, mut len: u64) -> Result<()> {
    let mut block = vec![0; 1 << 20];
    rand::rng().fill(&mut block[..]);
    let mut file = fs::File::create(path)?;
    while len > 0 {
        let part = len.min(block.len() as u64);
        // No two stretches alike.
        block[..8].copy_from_slice(&len.to_le_bytes());
        file.write_all(&block[..part as usize])?;
        len -= part;
    }
    Ok(())
}

/// The files' sizes together, and a file that names them, each ended by a NUL.
fn list(dir: &Path, name: &str, files: &[PathBuf]) -> Result<(u64, PathBuf)> {
    let (mut bytes, mut text) = (0, String::new());
    for file in files {
        bytes += fs::metadata(file)?.len();
        text.push_str(&file.to_string_lossy());
        text.push('\0');
    }
    let path = dir.join(name);
    fs::write(&path, text)?;
    Ok((bytes, path))
}

/// Rows of commands over the same files.
struct Table {
    bytes: f64,
    /// To be told for each second, in place of bytes.
    files: Option<f64>,
}

impl Table {
    fn new(bytes: u64) -> Self {
        Self { bytes: bytes as f64, files: None }
    }

    fn add(&mut self, name: &str, command: &str, list: &Path) -> Result<()> {
        let timed = Timed::best(command, list)?;
        let (amount, unit) = match self.files {
            Some(files) => (files / 1e3, "thousand files/s"),
            None => (self.bytes / 1e9, "GB/s"),
        };
        println!(
            "{name:32} {:6.2} s   {:6.2} {unit}   {:6.2} per CPU-second",
            timed.wall,
            amount / timed.wall,
            amount / timed.cpu
        );
        Ok(())
    }
}
