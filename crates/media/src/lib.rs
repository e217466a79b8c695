//! Opening and SHA-256 hashing video files below a media root.
//!
//! A `file_path` comes from the database and is untrusted: whatever it says, and
//! whatever symlinks lie on the way, only regular files below the root are opened, and
//! nothing it names can make the caller wait (a pipe, a tape). Every call blocks; an
//! async caller runs it on a thread for blocking work.
//!
//! This crate knows nothing of the database or of batches: it turns a path into a
//! [`FileHash`] or into a [`MediaError`] that says whether trying again can help.

mod digest;
mod error;
mod location;
mod read;
mod root;

pub use error::{Class, MediaError};
pub use read::FileHash;
pub use root::MediaRoot;
