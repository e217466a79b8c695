//! The directory of an archive is not trusted: what others could have put there, or could
//! change, is refused with one sentence, and nothing is changed.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use reelshift_tests::{Legacy, Ran, Reelshift};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const FIRST: &str = "videos.00001.jsonl.gz";

fn reelshift(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(&legacy.url).run()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is changed");
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
}

async fn expanded(directory: &Path) -> Legacy {
    let legacy = Legacy::sqlite(directory).await;
    legacy.fill(3).await;
    reelshift(directory, &legacy, &["apply", "expand"]).ok();
    legacy
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_written_into_no_directory_of_others() {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path();
    let legacy = expanded(directory).await;
    let victim = directory.join("victim");
    fs::write(&victim, "precious").expect("a file");
    let made = |name: &str, make: &dyn Fn(&Path)| {
        let path = directory.join(name);
        fs::create_dir(&path).expect("a directory");
        make(&path);
        path
    };
    let cases: [(PathBuf, &str); 9] = [
        (made("writable", &|path| chmod(path, 0o777)), "can be written by others"),
        (made("group", &|path| chmod(path, 0o775)), "can be written by others"),
        (
            made("link", &|path| symlink(&victim, path.join("manifest.json.new")).expect("a link")),
            "a symbolic link",
        ),
        (made("pipe", &|path| fifo(&path.join("manifest.json.new"))), "a pipe"),
        (made("pipes", &|path| fifo(&path.join("manifest.json"))), "a pipe"),
        (
            made("inner", &|path| fs::create_dir(path.join("manifest.json.new")).expect("made")),
            "a directory",
        ),
        (
            made("hard", &|path| {
                fs::hard_link(&victim, path.join("manifest.json.new")).expect("a link")
            }),
            "a hard link",
        ),
        (
            {
                let path = directory.join("elsewhere");
                symlink(made("target", &|_| {}), &path).expect("a link");
                path
            },
            "symbolic link",
        ),
        (victim.clone(), "is no directory"),
    ];
    for (path, expected) in &cases {
        for shown in [path.display().to_string(), format!("{}/", path.display())] {
            let ran = reelshift(directory, &legacy, &["rollback", "--archive", &shown]);
            let said = ran.expect(4).stderr;
            assert!(said.contains(expected), "{shown}: {said}");
            assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        }
    }
    assert_eq!(fs::read_to_string(&victim).expect("it is read"), "precious");
    assert_eq!(
        legacy.number("SELECT COUNT(workflow_state) FROM videos").await,
        3,
        "nothing is undone"
    );
    let started = legacy.number("SELECT COUNT(*) FROM reelshift_rollbacks").await;
    assert_eq!(started, 0, "no rollback has begun");

    // Whatever the umask allows, an archive is its owner's alone.
    Reelshift::new(directory, &["rollback", "--archive", "new/archive"])
        .under(&["sh", "-c", "umask 0; exec \"$0\" \"$@\""])
        .database(&legacy.url)
        .run()
        .ok();
    let archive = directory.join("new/archive");
    assert_eq!(mode(&archive), 0o700);
    for file in fs::read_dir(&archive).expect("a directory") {
        assert_eq!(mode(&file.expect("a file").path()), 0o600);
    }
}

/// An archive that is put together anew for each case.
struct Forgery {
    archive: PathBuf,
    manifest: Value,
    first: Vec<u8>,
}

impl Forgery {
    fn of(archive: PathBuf) -> Self {
        let manifest = fs::read(archive.join("manifest.json")).expect("it is read");
        Self {
            manifest: serde_json::from_slice(&manifest).expect("JSON"),
            first: fs::read(archive.join(FIRST)).expect("it is read"),
            archive,
        }
    }

    fn write(&self, manifest: &Value) {
        let path = self.archive.join("manifest.json");
        fs::write(path, manifest.to_string()).expect("it is written");
    }

    fn mend(&self) {
        let path = self.archive.join(FIRST);
        fs::remove_file(&path).expect("it is removed");
        fs::write(&path, &self.first).expect("it is written");
        chmod(&path, 0o600);
        self.write(&self.manifest);
    }

    /// Puts rows in place of the first file's, with a manifest that fits.
    fn rows(&self, rows: u64, write: impl FnOnce(&mut dyn Write)) {
        let mut file = GzEncoder::new(Vec::new(), Compression::fast());
        write(&mut file);
        let file = file.finish().expect("it is written");
        fs::write(self.archive.join(FIRST), &file).expect("it is written");
        let mut manifest = self.manifest.clone();
        let table = &mut manifest["tables"][0];
        table["rows"] = json!(rows);
        table["files"][0]["rows"] = json!(rows);
        table["files"][0]["bytes"] = json!(file.len());
        table["files"][0]["sha256"] = json!(
            Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        );
        self.write(&manifest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_was_tampered_with_is_not_restored() {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path();
    let legacy = expanded(directory).await;
    reelshift(directory, &legacy, &["rollback", "--archive", "kept"]).ok();
    reelshift(directory, &legacy, &["apply", "expand"]).ok();
    let forgery = Forgery::of(directory.join("kept"));
    let (archive, first) = (forgery.archive.clone(), forgery.archive.join(FIRST));
    // Within 2 GiB of addresses: what an archive says does not decide how much memory is taken.
    let refused = |expected: &str| {
        let said = Reelshift::new(directory, &["restore", "kept"])
            .under(&["sh", "-c", "ulimit -v 2097152; exec \"$0\" \"$@\""])
            .database(&legacy.url)
            .run()
            .expect(4)
            .stderr;
        assert!(said.contains(expected), "{expected}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    };
    let replaced = |make: &dyn Fn(&Path), expected: &str| {
        fs::remove_file(&first).expect("it is removed");
        make(&first);
        refused(expected);
        forgery.mend();
    };
    let outside = directory.join("outside");
    fs::write(&outside, &forgery.first).expect("a file");
    replaced(&|path| symlink(&outside, path).expect("a link"), "a symbolic link");
    replaced(&|path| symlink("/dev/zero", path).expect("a link"), "a symbolic link");
    replaced(&|path| fs::hard_link(&outside, path).expect("a link"), "a hard link");
    replaced(&fifo, "a pipe");
    replaced(
        &|path| {
            fs::write(path, &forgery.first).expect("written");
            chmod(path, 0o666)
        },
        "by others",
    );
    // Of a file of another length nothing is read: this one has no end worth reading to.
    replaced(
        &|path| File::create(path).and_then(|file| file.set_len(1 << 40)).expect("sparse"),
        "length",
    );
    chmod(&archive, 0o777);
    refused("can be written by others");
    chmod(&archive, 0o700);

    for name in ["../outside", "/etc/passwd", "videos.00001.jsonl.gz/../../outside", ""] {
        let mut manifest = forgery.manifest.clone();
        manifest["tables"][0]["files"][0]["name"] = json!(name);
        forgery.write(&manifest);
        refused("no file of such a name");
    }
    let mut manifest = forgery.manifest.clone();
    manifest["tables"][0]["files"] = json!([
        { "name": FIRST, "rows": u64::MAX, "bytes": 1, "sha256": "" },
        { "name": FIRST, "rows": 4, "bytes": 1, "sha256": "" },
    ]);
    forgery.write(&manifest);
    refused("contradicts itself");
    File::create(archive.join("manifest.json"))
        .and_then(|file| file.set_len(1 << 40))
        .expect("sparse");
    refused("longer than any manifest");
    forgery.mend();

    let kib = vec![b'a'; 1024];
    forgery.rows(1, |file| {
        file.write_all(b"[\"").expect("written");
        (0..300 * 1024).for_each(|_| file.write_all(&kib).expect("written"));
        file.write_all(b"\"]\n").expect("written");
    });
    refused("longer than that of any row");
    let nulls = "null,".repeat(1024);
    forgery.rows(1, |file| {
        file.write_all(b"[").expect("written");
        (0..20 * 1024).for_each(|_| file.write_all(nulls.as_bytes()).expect("written"));
        file.write_all(b"null]\n").expect("written");
    });
    refused("values");
    forgery.rows(1, |file| file.write_all(b"[1]\n").expect("written"));
    refused("values");
    forgery.rows(1, |file| file.write_all(&b"[".repeat(100_000)).expect("written"));
    refused("cut off");
    forgery.mend();
    assert_eq!(legacy.number("SELECT COUNT(*) FROM video_processing_status").await, 0);
    reelshift(directory, &legacy, &["restore", "kept"]).ok();
}
