//! Opening and SHA-256 hashing video files below a media root, on disk or in an object store.
//!
//! A `file_path` comes from the database and is untrusted: whatever it says, and
//! whatever symlinks lie on the way, only regular files below the root are opened, and
//! nothing it names can make the caller wait (a pipe, a tape).
//!
//! - [`MediaRoot`]: where the files are, and a [`Job`] for one of them.
//! - [`Engine`]: threads that hash many files at a time.
//! - [`sha256`]: the hash function itself, on what the processor has.
//!
//! This crate knows nothing of the database or of batches: it turns a path into a
//! [`FileHash`] or into a [`MediaError`] that says whether trying again can help.

mod bucket;
mod cache;
mod checkpoint;
mod checksum;
mod directory;
mod engine;
mod error;
mod gang;
mod hung;
mod job;
mod local;
mod location;
mod object;
mod observer;
mod pace;
mod profile;
mod provider;
mod remote;
mod root;
pub mod sha256;
mod silence;
mod source;
mod stream;

pub use checkpoint::{Checkpoint, FileVersion};
pub use checksum::VerifySample;
pub use engine::{Engine, EngineOptions};
pub use error::{Class, MediaError, plain};
pub use hung::HungRead;
pub use job::Job;
pub use observer::{FileHash, HashOrigin, Observer};
pub use provider::is_object_url;
pub use remote::RemoteError;
pub use root::{MediaRoot, RootOptions};
pub use stream::hash_stream;
