//! Where in the media root a `file_path` points, by its text alone.
//!
//! Nothing here is what keeps a path inside: `..` and symlinks are judged when the file
//! is opened, by the directory handle that cannot be left.

use std::path::{Path, PathBuf};

/// The names of the media root that an absolute `file_path` may begin with.
#[derive(Debug)]
pub(crate) struct RootNames {
    /// As it was given, made absolute, symlinks kept.
    given: PathBuf,
    /// Without symlinks.
    canonical: PathBuf,
    /// What the platform calls it, where that is another name.
    prefix: Option<PathBuf>,
}

impl RootNames {
    /// Fails where the root does not exist.
    pub(crate) fn of(root: &Path, prefix: Option<&Path>) -> std::io::Result<Self> {
        Ok(Self {
            given: std::path::absolute(root)?,
            canonical: root.canonicalize()?,
            prefix: prefix.map(Path::to_path_buf),
        })
    }

    /// As it was given, for messages.
    pub(crate) fn given(&self) -> &Path {
        &self.given
    }

    /// `path` as seen from the root; none if it is absolute and not below it.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        let relative = if path.is_absolute() {
            let names = [Some(&self.given), Some(&self.canonical), self.prefix.as_ref()];
            names.into_iter().flatten().find_map(|name| path.strip_prefix(name).ok())?
        } else {
            path
        };
        Some(if relative.as_os_str().is_empty() { Path::new(".") } else { relative })
    }

    /// Where `relative` leads below the root once all symlinks are followed; none if it
    /// leads out of the root or nowhere.
    pub(crate) fn behind_symlinks(&self, relative: &Path) -> Option<PathBuf> {
        let target = self.canonical.join(relative).canonicalize().ok()?;
        target.strip_prefix(&self.canonical).ok().map(Path::to_path_buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_below_a_name_of_the_root_become_relative() {
        let names = RootNames {
            given: "/media".into(),
            canonical: "/mnt/disk 1/media".into(),
            prefix: Some("/srv/videos".into()),
        };
        let cases = [
            ("a/b.mp4", Some("a/b.mp4")),
            ("../b.mp4", Some("../b.mp4")),
            ("/media/a.mp4", Some("a.mp4")),
            ("//media//./a.mp4", Some("a.mp4")),
            ("/media/../etc/passwd", Some("../etc/passwd")),
            ("/mnt/disk 1/media/a.mp4", Some("a.mp4")),
            ("/srv/videos/b/a.mp4", Some("b/a.mp4")),
            ("/srv/videos/../a.mp4", Some("../a.mp4")),
            ("/srv/videos2/a.mp4", None),
            ("/media", Some(".")),
            ("/media/", Some(".")),
            ("/", None),
            ("/media2/a.mp4", None),
            ("/mnt/media/a.mp4", None),
        ];
        for (path, expected) in cases {
            assert_eq!(names.relative(Path::new(path)), expected.map(Path::new), "{path}");
        }
    }
}
