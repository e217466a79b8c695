//! Servers of other Debian releases, unpacked into a cache and run where they lie.
//!
//! debootstrap chooses, downloads and verifies the packages: a whole release from the
//! C library up. They are unpacked without running anything in them, and started through
//! their own dynamic loader, so that neither root nor a container is needed.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::install::{self, DEBOOTSTRAP};
use crate::interrupt::Interrupts;
use crate::programs::{Programs, option};
use crate::reaper::Sandbox;

/// A server as a release of Debian packages it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) name: &'static str,
    pub(crate) suite: &'static str,
    pub(crate) package: &'static str,
    /// The server's program.
    pub(crate) program: &'static str,
    /// Where its messages and character sets are.
    pub(crate) share: &'static str,
    pub(crate) options: &'static [&'static str],
    /// Files in `share` that make the system tables, for a server that cannot make them
    /// without.
    pub(crate) system_tables: Option<&'static [&'static str]>,
}

/// What of the packages a server needs; the rest, with all that is setuid, is left out.
const LIBRARIES: &str = "usr/lib";

/// Before [`Release::system_tables`]: root has no password and comes by TCP too.
const BEFORE_SYSTEM_TABLES: &str = "CREATE DATABASE IF NOT EXISTS mysql;\n\
                                    USE mysql;\n\
                                    SET @auth_root_socket=NULL;\n";

/// A release's server in a directory of its own.
pub(crate) struct Tree {
    release: &'static Release,
    root: PathBuf,
}

/// The server of `release`: from the cache, or downloaded into it.
pub(crate) fn obtain(release: &'static Release, interrupts: &Interrupts) -> Result<Tree> {
    if !cfg!(target_os = "linux") {
        bail!("{} comes from Debian's packages, which run on Linux only", release.name);
    }
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("{} cannot be made", cache.display()))?;
    let _lock = lock(&cache.join(format!("{}.lock", release.name)), interrupts)?;
    let tree = Tree { release, root: cache.join(release.name) };
    if !tree.root.exists() {
        download(&tree, &cache, interrupts)?;
    }
    Ok(tree)
}

fn cache() -> Result<PathBuf> {
    Ok(caches()?.join("reelshift/servers"))
}

/// The directory for what can be had again.
pub(crate) fn caches() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    caches.context("neither XDG_CACHE_HOME nor HOME says where to keep what is downloaded")
}

/// Held while one process downloads, so that another waits for it.
fn lock(path: &Path, interrupts: &Interrupts) -> Result<File> {
    let file = File::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
            }
            Err(TryLockError::WouldBlock) if !said => {
                eprintln!("xtask: waiting for another process that holds {}", path.display());
                said = true;
            }
            Err(TryLockError::WouldBlock) => interrupts.pause(Duration::from_millis(200))?,
        }
    }
}

/// Either all of the tree is there afterwards, or nothing.
fn download(tree: &Tree, cache: &Path, interrupts: &Interrupts) -> Result<()> {
    let Release { suite, package, .. } = tree.release;
    let tools = install::find_or_install(&DEBOOTSTRAP, interrupts)?;
    let mut sandbox = Sandbox::new_in(cache)?;
    let [packages, unpacked, kept] =
        ["packages", "unpacked", "kept"].map(|name| sandbox.path().join(name));

    eprintln!("xtask: downloading {package} of Debian {suite} into {}", tree.root.display());
    let mut command = Command::new(&tools["debootstrap"]);
    command.args(["--download-only", "--force-check-gpg", "--variant=minbase"]);
    command.arg(format!("--include={package}")).arg(suite).arg(&packages).args(mirror());
    sandbox.run_to_end(&mut command, "debootstrap", interrupts)?;

    fs::create_dir(&unpacked).context("a directory cannot be made")?;
    for archive in archives(&packages.join("var/cache/apt/archives"))? {
        let mut command = Command::new(&tools["dpkg-deb"]);
        command.arg("--extract").arg(archive).arg(&unpacked);
        sandbox.run_to_end(&mut command, "dpkg-deb", interrupts)?;
    }
    for part in [LIBRARIES, tree.release.share, tree.release.program] {
        let place = kept.join(part);
        fs::create_dir_all(place.parent().unwrap_or(&kept))
            .context("a directory cannot be made")?;
        fs::rename(unpacked.join(part), place)
            .with_context(|| format!("{package} of Debian {suite} has no /{part}"))?;
    }

    // Something that debootstrap did not find it depends on would show here.
    let candidate = Tree { release: tree.release, root: kept };
    let words = candidate.words()?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--no-defaults", "--version"]);
    sandbox.run_to_end(&mut command, "version", interrupts)?;
    fs::rename(&candidate.root, &tree.root)
        .with_context(|| format!("{} cannot be put in place", tree.root.display()))
}

fn archives(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).context("debootstrap left no packages")?;
    let paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = paths.context("debootstrap's packages cannot be listed")?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    paths.sort();
    Ok(paths)
}

/// The mirror that this machine gets its own Debian packages from; none elsewhere:
/// debootstrap then uses its own.
pub(crate) fn mirror() -> Option<String> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(ORIGIN)|$(RELEASE)|$(REPO_URI)"]);
    let targets = command.arg("Created-By: Packages").output().ok()?;
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    choose_mirror(&String::from_utf8_lossy(&targets.stdout), &system).map(str::to_owned)
}

/// `targets` has an origin, which is empty before the first `apt-get update`, a release
/// and an address a line.
fn choose_mirror<'a>(targets: &'a str, system: &str) -> Option<&'a str> {
    let of_system = |name| {
        let value = system.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map_or("", |value| value.trim_matches('"'))
    };
    let codename = of_system("VERSION_CODENAME");
    if of_system("ID") != "debian" || codename.is_empty() {
        return None;
    }
    targets.lines().find_map(|line| {
        let (origin, line) = line.split_once('|')?;
        let (release, address) = line.split_once('|')?;
        (["", "Debian"].contains(&origin) && release == codename).then_some(address)
    })
}

impl Tree {
    pub(crate) fn programs(&self) -> Result<Programs> {
        let Release { share, options, system_tables, .. } = *self.release;
        let share = self.root.join(share);
        let installer_options: &[&str] = match system_tables {
            None => &["--initialize-insecure"],
            Some(_) => &["--bootstrap", "--enforce-storage-engine="],
        };
        let read = |files: &[&str]| {
            let mut sql = BEFORE_SYSTEM_TABLES.to_owned();
            for file in files {
                let path = share.join(file);
                let text = fs::read_to_string(&path);
                sql += &text.with_context(|| format!("{} cannot be read", path.display()))?;
                sql.push('\n');
            }
            anyhow::Ok(sql)
        };
        Ok(Programs {
            server: self.words()?,
            installer: self.words()?,
            installer_options: installer_options.iter().map(OsString::from).collect(),
            installer_input: system_tables.map(read).transpose()?,
            places: vec![
                option("--basedir", &self.root.join("usr")),
                option("--lc-messages-dir", &share),
                option("--character-sets-dir", &share.join("charsets")),
            ],
            options,
        })
    }

    /// The server's program in its own loader, with its own libraries.
    fn words(&self) -> Result<Vec<OsString>> {
        let libraries = self.root.join(LIBRARIES);
        let is_loader = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("ld-linux") && name.contains(".so.")
        };
        let directories = fs::read_dir(&libraries)
            .with_context(|| format!("{} cannot be listed", libraries.display()))?;
        // One directory is that of the architecture.
        let (directory, loader) = directories
            .filter_map(|entry| {
                let directory = entry.ok()?.path();
                let mut entries = fs::read_dir(&directory).ok()?;
                let loader =
                    entries.find_map(|entry| Some(entry.ok()?.path()).filter(is_loader))?;
                Some((directory, loader))
            })
            .next()
            .with_context(|| {
                format!(
                    "{} has no dynamic loader: remove it, and run this again",
                    self.root.display()
                )
            })?;
        let words = [loader.as_os_str(), "--library-path".as_ref(), directory.as_os_str()];
        let program = self.root.join(self.release.program).into_os_string();
        Ok(words.into_iter().map(ToOwned::to_owned).chain([program]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "ID=debian\nVERSION_CODENAME=stone\n";

    #[test]
    fn the_mirror_is_the_one_of_this_debian() {
        let targets = "Docker|stone|http://other/\n\
                       Debian|stone-updates|http://updates/\n\
                       Debian|stone|http://mirror/debian/\n";
        assert_eq!(choose_mirror(targets, DEBIAN), Some("http://mirror/debian/"));
        let before_update = "|stone-security|http://security/\n|stone|http://mirror/\n";
        assert_eq!(choose_mirror(before_update, DEBIAN), Some("http://mirror/"));
    }

    #[test]
    fn another_system_has_no_mirror_of_debian() {
        let ubuntu = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=\"noble\"\n";
        assert_eq!(choose_mirror("Ubuntu|noble|http://mirror/\n", ubuntu), None);
        assert_eq!(choose_mirror("|noble|http://mirror/\n", ubuntu), None);
        assert_eq!(choose_mirror("", DEBIAN), None);
        assert_eq!(choose_mirror("Debian||http://mirror/\n", ""), None);
    }
}
