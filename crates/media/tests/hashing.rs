//! Files of every sort below, above and beside a media root.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use reelshift_media::{Class, FileHash, MediaError, MediaRoot};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use sha2::Digest;
use tempfile::TempDir;

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A directory with `media/a.mp4` inside the root and `secret` beside it.
struct Fixture {
    root: MediaRoot,
    base: PathBuf,
    _temp: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("media/sub")).unwrap();
        fs::write(base.join("media/a.mp4"), "abc").unwrap();
        fs::write(base.join("secret"), "secret").unwrap();
        let root = MediaRoot::open(base.join("media")).unwrap();
        Self { root, base, _temp: temp }
    }

    fn media(&self, path: &str) -> PathBuf {
        self.base.join("media").join(path)
    }

    fn hash(&self, file_path: impl AsRef<Path>) -> Result<FileHash, MediaError> {
        let file_path = file_path.as_ref().to_str().unwrap();
        self.root.hash(file_path, &mut |_| ControlFlow::Continue(()))
    }

    /// Hashes while `act` happens once, after the first read.
    fn hash_while(&self, file_path: &str, act: impl FnOnce()) -> Result<FileHash, MediaError> {
        let mut act = Some(act);
        self.root.hash(file_path, &mut |_| {
            if let Some(act) = act.take() {
                act();
            }
            ControlFlow::Continue(())
        })
    }

    #[track_caller]
    fn refuses(&self, file_path: impl AsRef<Path>, error_type: &str, code: Option<&str>) {
        let error = self.hash(file_path.as_ref()).unwrap_err();
        assert_eq!(error.error_type(), error_type, "{error:?}");
        assert_eq!(error.code().as_deref(), code, "{error:?}");
        assert_eq!(error.class(), Class::PermanentForItem, "{error:?}");
    }

    #[track_caller]
    fn accepts_abc(&self, file_path: impl AsRef<Path>) {
        let hash = self.hash(file_path.as_ref()).unwrap();
        assert_eq!((hash.to_hex().as_str(), hash.bytes), (ABC, 3));
    }
}

#[track_caller]
fn assert_changed(result: Result<FileHash, MediaError>, how: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.error_type(), "file_changed", "{error:?}");
    assert_eq!(error.class(), Class::Transient);
    assert!(error.to_string().contains(how), "{error}");
}

#[test]
fn relative_and_absolute_paths_below_the_root_are_hashed() {
    let fixture = Fixture::new();
    fixture.accepts_abc("a.mp4");
    fixture.accepts_abc("./sub/../a.mp4");
    fixture.accepts_abc(fixture.media("a.mp4"));
    fixture.accepts_abc(fixture.media("sub/../a.mp4"));
}

#[test]
fn a_root_behind_a_symlink_has_both_its_names() {
    let fixture = Fixture::new();
    let link = fixture.base.join("link");
    symlink("media", &link).unwrap();
    let fixture = Fixture { root: MediaRoot::open(&link).unwrap(), ..fixture };
    fixture.accepts_abc(link.join("a.mp4"));
    fixture.accepts_abc(fixture.media("a.mp4"));
}

#[test]
fn names_with_spaces_and_other_scripts_are_names() {
    let fixture = Fixture::new();
    for name in [" ", "a b.mp4", "-rf", "видео 🎬.mp4", "a\nb", "s3:x", "a\\b"] {
        fs::write(fixture.media(name), "abc").unwrap();
        fixture.accepts_abc(name);
    }
}

#[test]
fn no_path_leaves_the_root() {
    let fixture = Fixture::new();
    let secret = fixture.base.join("secret");
    for path in ["../secret", "sub/../../secret", "../../../../../../etc/passwd", "..", "/", "//"] {
        fixture.refuses(path, "file_outside_root", None);
    }
    fixture.refuses(&secret, "file_outside_root", None);
    fixture.refuses(fixture.media("../secret"), "file_outside_root", None);
    fixture.refuses("/etc/passwd", "file_outside_root", None);
    // Begins like the root without being below it.
    fs::write(fixture.base.join("media2"), "abc").unwrap();
    fixture.refuses(fixture.base.join("media2"), "file_outside_root", None);
}

#[test]
fn no_symlink_leaves_the_root() {
    let fixture = Fixture::new();
    symlink("../secret", fixture.media("relative")).unwrap();
    symlink(fixture.base.join("secret"), fixture.media("absolute")).unwrap();
    symlink("..", fixture.media("dir")).unwrap();
    symlink(&fixture.base, fixture.media("absolute-dir")).unwrap();
    symlink("relative", fixture.media("twice")).unwrap();
    symlink("/dev/zero", fixture.media("device")).unwrap();
    symlink("/nowhere", fixture.media("dangling-absolute")).unwrap();
    for path in [
        "relative",
        "absolute",
        "dir/secret",
        "absolute-dir/secret",
        "twice",
        "device",
        "dangling-absolute",
    ] {
        fixture.refuses(path, "file_outside_root", None);
        fixture.refuses(fixture.media(path), "file_outside_root", None);
    }
}

#[test]
fn symlinks_that_stay_in_the_root_are_followed() {
    let fixture = Fixture::new();
    symlink("../a.mp4", fixture.media("sub/relative")).unwrap();
    symlink(fixture.media("a.mp4"), fixture.media("absolute")).unwrap();
    symlink(fixture.base.join("media"), fixture.media("sub/root")).unwrap();
    for path in ["sub/relative", "absolute", "sub/root/a.mp4"] {
        fixture.accepts_abc(path);
    }
}

#[test]
fn names_that_no_file_can_have_are_missing_files() {
    let fixture = Fixture::new();
    symlink("loop", fixture.media("loop")).unwrap();
    symlink("nothing", fixture.media("dangling")).unwrap();
    fixture.refuses("b.mp4", "file_missing", Some("ENOENT"));
    fixture.refuses(fixture.media("b.mp4"), "file_missing", Some("ENOENT"));
    fixture.refuses("no/such/directory", "file_missing", Some("ENOENT"));
    fixture.refuses("dangling", "file_missing", Some("ENOENT"));
    fixture.refuses("a.mp4/b", "file_missing", Some("ENOTDIR"));
    fixture.refuses("loop", "file_missing", Some("ELOOP"));
    fixture.refuses("x".repeat(300), "file_missing", Some("ENAMETOOLONG"));
    fixture.refuses("x/".repeat(5_000), "file_missing", Some("ENAMETOOLONG"));
    fixture.refuses("", "file_missing", None);
    fixture.refuses("a.mp4\0", "file_missing", None);
    fixture.refuses("/\0", "file_missing", None);
}

#[test]
fn only_regular_files_are_opened() {
    let fixture = Fixture::new();
    mknodat(CWD, fixture.media("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _listener = UnixListener::bind(fixture.media("socket")).unwrap();
    symlink("pipe", fixture.media("to-pipe")).unwrap();
    for path in ["sub", "sub/", ".", "sub/..", "pipe", "to-pipe", "socket"] {
        fixture.refuses(path, "file_not_regular", None);
    }
    fixture.refuses(fixture.base.join("media"), "file_not_regular", None);
}

#[test]
fn a_file_without_permission_is_unreadable() {
    let fixture = Fixture::new();
    let path = fixture.media("a.mp4");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read everything.
    if File::open(&path).is_ok() {
        fixture.accepts_abc("a.mp4");
    } else {
        fixture.refuses("a.mp4", "file_unreadable", Some("EACCES"));
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_has_no_hash() {
    let fixture = Fixture::new();
    let path = fixture.media("big.mp4");
    let write = || fs::write(&path, vec![7; 3 << 20]).unwrap();
    let reopen_at = |path: &Path| File::options().write(true).open(path).unwrap();
    let reopen = || reopen_at(&path);

    write();
    let grow = || File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    assert_changed(fixture.hash_while("big.mp4", grow), "it grew beyond the 3145728 bytes");

    write();
    let cut = || reopen().set_len(1 << 20).unwrap();
    assert_changed(fixture.hash_while("big.mp4", cut), "it ended after 1048576 of 3145728 bytes");

    write();
    let rewrite = || {
        let mut file = reopen();
        file.write_all(b"new").unwrap();
        // Timestamps of the kernel are as coarse as its tick.
        let later = file.metadata().unwrap().modified().unwrap();
        file.set_modified(later + std::time::Duration::from_millis(1)).unwrap();
    };
    assert_changed(fixture.hash_while("big.mp4", rewrite), "it was written to");

    write();
    let replace = || {
        fs::write(fixture.media("new"), "new").unwrap();
        fs::rename(fixture.media("new"), &path).unwrap();
    };
    assert_changed(fixture.hash_while("big.mp4", replace), "another file took its name");

    write();
    let replace_alike = || {
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(fixture.media("new"), vec![8; 3 << 20]).unwrap();
        reopen_at(&fixture.media("new")).set_modified(modified).unwrap();
        fs::rename(fixture.media("new"), &path).unwrap();
    };
    assert_changed(fixture.hash_while("big.mp4", replace_alike), "another file took its name");

    write();
    let rewrite_alike = || {
        let mut file = reopen();
        let modified = file.metadata().unwrap().modified().unwrap();
        // The kernel's clock may be as coarse as its tick.
        std::thread::sleep(std::time::Duration::from_millis(20));
        file.write_all(b"new").unwrap();
        file.set_modified(modified).unwrap();
    };
    assert_changed(fixture.hash_while("big.mp4", rewrite_alike), "it was written to");

    write();
    let remove = || fs::remove_file(&path).unwrap();
    assert_changed(fixture.hash_while("big.mp4", remove), "it was removed");
}

#[test]
fn a_file_that_never_stops_growing_does_not_keep_its_reader() {
    let fixture = Fixture::new();
    let path = fixture.media("growing.mp4");
    fs::write(&path, vec![7; 1 << 20]).unwrap();
    let mut file = File::options().append(true).open(&path).unwrap();
    let mut hashed = 0;
    let result = fixture.root.hash("growing.mp4", &mut |bytes| {
        hashed += bytes;
        file.write_all(&[7; 1 << 20]).unwrap();
        ControlFlow::Continue(())
    });
    assert_eq!(hashed, 1 << 20, "no more than it had when it was opened");
    assert_changed(result, "it grew");
}

#[test]
fn progress_counts_every_byte_and_can_stop() {
    let fixture = Fixture::new();
    let len = (2 << 20) + 17;
    fs::write(fixture.media("big.mp4"), vec![7; len]).unwrap();
    let mut seen = 0;
    let mut count = |bytes| {
        seen += bytes;
        ControlFlow::Continue(())
    };
    let hash = fixture.root.hash("big.mp4", &mut count).unwrap();
    assert_eq!((hash.bytes, seen), (len as u64, len as u64));

    let error = fixture.root.hash("big.mp4", &mut |_| ControlFlow::Break(())).unwrap_err();
    assert!(matches!(error, MediaError::Interrupted { .. }), "{error:?}");
}

#[test]
fn files_of_every_length_around_a_read_agree_with_sha2() {
    let fixture = Fixture::new();
    let content: Vec<u8> = (0..(2_u32 << 20) + 1).map(|i| (i % 251) as u8).collect();
    for len in [0, 1, 63, 64, 65, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 1] {
        fs::write(fixture.media("file"), &content[..len]).unwrap();
        let hash = fixture.hash("file").unwrap();
        assert_eq!(hash.bytes, len as u64);
        assert_eq!(hash.sha256[..], sha2::Sha256::digest(&content[..len])[..], "{len} bytes");
    }
}

#[test]
fn a_root_that_cannot_be_one_says_what_to_do() {
    let fixture = Fixture::new();
    for (path, code) in [("nowhere", "ENOENT"), ("secret", "ENOTDIR")] {
        let error = MediaRoot::open(fixture.base.join(path)).unwrap_err();
        assert_eq!(error.code().as_deref(), Some(code), "{error:?}");
        assert!(error.to_string().contains("name an existing directory"), "{error}");
    }
}

proptest! {
    /// Whatever the path, nothing panics, and only the file inside is ever hashed.
    #[test]
    fn any_path_is_answered(
        parts in prop::collection::vec(
            prop_oneof![
                Just("..".to_owned()), Just(".".to_owned()), Just(String::new()),
                Just("a.mp4".to_owned()), Just("sub".to_owned()), Just("secret".to_owned()),
                Just("media".to_owned()), any::<String>(),
            ],
            0..6,
        ),
    ) {
        let fixture = Fixture::new();
        if let Ok(hash) = fixture.hash(parts.join("/")) {
            prop_assert_eq!(hash.to_hex(), ABC);
        }
    }
}
