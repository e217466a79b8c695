//! How the program ends: the exit codes, and one sentence for every error.

use reelshift_archive::ArchiveError;
use reelshift_demo::platform::PlatformError;
use reelshift_media::plain;
use reelshift_media::sha256::WrongHash;
use reelshift_store::StoreError;
use reelshift_telemetry::redact::redact;
use reelshift_worker::WorkerError;

/// What a command that did not fail has to say with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 0
    Done,
    /// 3: validation found a difference.
    Difference,
    /// 1: failed, and what failed has been said.
    Failed,
    /// 5: done, with items in quarantine or batches failed.
    Partial,
}

impl Outcome {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Difference => 3,
            Self::Partial => 5,
        }
    }
}

/// The caller used the program wrongly: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Refused for safety, nothing changed: exit code 4.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Done, but not as it should be: exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// SIGINT or SIGTERM ended the command: exit code 130.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: {0}")]
pub struct Interrupted(pub &'static str);

impl Interrupted {
    pub const GOES_ON: Self =
        Self("what was done is kept, and the same command goes on from there");
    pub const BEGINS_ANEW: Self = Self("the same command begins anew");
}

/// The error and its causes in one line; a cause that its error names already is not
/// said twice, and credentials are not said at all.
pub fn sentence(error: &anyhow::Error) -> String {
    let causes = error.chain().map(plain);
    let sentence = causes.fold(String::new(), |said, cause| {
        if said.is_empty() {
            cause
        } else if said.contains(&cause) {
            said
        } else {
            format!("{said}: {cause}")
        }
    });
    redact(&sentence)
}

/// The exit code of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    let store = error.downcast_ref::<StoreError>().or_else(|| {
        error.downcast_ref::<WorkerError>().and_then(|error| match error {
            WorkerError::Store(error) => Some(error),
            WorkerError::Media(_)
            | WorkerError::Backend(_)
            | WorkerError::Threads(_)
            | WorkerError::Unusable(_)
            | WorkerError::RootSuspect(_)
            | WorkerError::Fleet(_)
            | WorkerError::NoRoom(_) => None,
        })
    });
    let archive = error.downcast_ref::<ArchiveError>();
    let store = store.or(match archive {
        Some(ArchiveError::Store(error)) => Some(error),
        _ => None,
    });
    let is = |kind: PlatformError| error.downcast_ref() == Some(&kind);
    match store {
        Some(StoreError::Refused(_) | StoreError::NotExpanded(_) | StoreError::Unusable { .. }) => {
            4
        }
        Some(StoreError::Invalid(_)) => 2,
        Some(_) => 1,
        None if error.is::<Interrupted>() => 130,
        None if error.is::<Usage>() || is(PlatformError::UnreadableUrl) => 2,
        None if error.is::<Refused>() || error.is::<WrongHash>() || is(PlatformError::InUse) => 4,
        None if matches!(
            error.downcast_ref(),
            Some(WorkerError::Backend(_) | WorkerError::RootSuspect(_))
        ) =>
        {
            4
        }
        None if matches!(
            archive,
            Some(ArchiveError::Refused(_) | ArchiveError::Damaged { .. })
        ) =>
        {
            4
        }
        None => 1,
    }
}
