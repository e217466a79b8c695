//! The image of a static binary: the binary, root certificates and a user, as an archive in the
//! format of the Open Container Initiative.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Architecture, Binary, VERSION, done};
use crate::interrupt::Interrupts;
use crate::tools::UMOCI;

const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// As deploy/Dockerfile has it.
const CONFIG: [(&str, &str); 4] = [
    ("--config.user", "65532:65532"),
    ("--config.workingdir", "/srv/media"),
    ("--config.entrypoint", "/usr/local/bin/reelshift"),
    ("--config.cmd", "--help"),
];
const USERS: &str = "root:x:0:0:root:/:/sbin/nologin\n\
                     nonroot:x:65532:65532:nonroot:/srv/media:/sbin/nologin\n";
const MAX_BYTES: u64 = 60_000_000;
/// As an engine that loads the archive calls it.
pub(crate) const NAME: &str = concat!("reelshift:", env!("CARGO_PKG_VERSION"));

/// Writes the image into `directory`; its file's name.
pub(super) fn write(directory: &Path, binary: &Binary, interrupts: &Interrupts) -> Result<String> {
    let umoci = UMOCI.find_or_install(interrupts)?;
    let work = tempfile::tempdir().context("a directory cannot be made")?;
    let layer = work.path().join("layer.tar");
    pack_layer(work.path(), &layer, binary, interrupts)?;
    let bytes = fs::metadata(&layer).context("the layer has a size")?.len();
    ensure!(bytes <= MAX_BYTES, "the image has {bytes} bytes, more than {MAX_BYTES}");

    let layout = work.path().join("layout");
    let image = format!("{}:{NAME}", layout.display());
    let umoci = |words: &[&str]| done(Command::new(&umoci).args(words), interrupts);
    let place = layout.to_str().context("the path is no UTF-8")?;
    umoci(&["init", "--layout", place])?;
    umoci(&["new", "--image", &image])?;
    umoci(&["raw", "add-layer", "--image", &image, layer.to_str().context("no UTF-8")?])?;
    let architecture = binary.architecture.name();
    let mut config = vec!["config", "--image", &image, "--architecture", architecture];
    config.extend(["--os", "linux"]);
    config.extend(CONFIG.iter().flat_map(|(option, value)| [*option, *value]));
    umoci(&config)?;
    umoci(&["gc", "--layout", place])?;

    let name = file(binary.architecture);
    let mut archive = Command::new("tar");
    archive.arg("--directory").arg(&layout).arg("--create").arg("--file");
    done(archive.arg(directory.join(&name)).arg("."), interrupts)?;
    Ok(name)
}

/// The archive's name.
pub(crate) fn file(architecture: Architecture) -> String {
    format!("reelshift-{VERSION}-{}.oci.tar", architecture.name())
}

/// A new volume that is mounted at `srv/media` belongs to whom that directory belongs to.
fn pack_layer(work: &Path, layer: &Path, binary: &Binary, interrupts: &Interrupts) -> Result<()> {
    let root = work.join("root");
    for directory in ["usr/local/bin", "etc/ssl/certs", "srv/media", "tmp"] {
        fs::create_dir_all(root.join(directory)).context("a directory cannot be made")?;
    }
    fs::copy(&binary.path, root.join("usr/local/bin/reelshift"))
        .context("the binary cannot be copied")?;
    fs::copy(Path::new("/").join(CERTIFICATES), root.join(CERTIFICATES)).with_context(|| {
        format!("/{CERTIFICATES}, which comes with the package ca-certificates, cannot be copied")
    })?;
    fs::write(root.join("etc/passwd"), USERS).context("a file cannot be written")?;
    let pack = |owner: &str, words: &[&str]| {
        let mut tar = Command::new("tar");
        tar.arg("--directory").arg(&root).arg("--numeric-owner");
        tar.args([format!("--owner={owner}"), format!("--group={owner}")]);
        done(tar.arg("--file").arg(layer).args(words), interrupts)
    };
    pack("0", &["--create", "usr", "etc", "tmp"])?;
    pack("65532", &["--append", "srv"])
}
