//! Where differences go: into a file, and into a run that repairs them.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use reelshift_operate::usual_plan;
use reelshift_plan::JobKind;
use reelshift_producer::repair::Repair;
use reelshift_store::comparisons::{ComparedTable, ComparedWindow, FoundDifference};
use reelshift_store::report::FIRST_DIFFERENCES;
use reelshift_store::validation::WindowSink;
use reelshift_store::{SharedStore, StoreError};
use serde::Serialize;
use uuid::Uuid;

use crate::args::validate::ValidateArgs;
use crate::context::by;
use crate::files;

/// Rows that differ, read of a run at once.
const KEYS_PER_READ: u32 = 1_000;

/// The run that repairs, and how many videos it has.
#[derive(Debug, Serialize)]
pub struct Repaired {
    pub run: Uuid,
    pub videos: u64,
}

/// Takes differences as they are found.
pub struct Found {
    store: SharedStore,
    file: Option<(PathBuf, BufWriter<File>)>,
    repair: Option<Repair>,
}

impl Found {
    pub fn new(store: &SharedStore, args: &ValidateArgs) -> Result<Self> {
        let file = match &args.all_keys {
            Some(path) => {
                let file = files::create(path)
                    .with_context(|| format!("{} cannot be written", path.display()))?;
                Some((path.clone(), BufWriter::new(file)))
            }
            None => None,
        };
        let plan = usual_plan(JobKind::Backfill);
        let repair = args.repair.then(|| reelshift_operate::repair(store, &by(None), plan));
        Ok(Self { store: store.clone(), file, repair })
    }

    fn write<'a>(
        &mut self,
        differences: impl IntoIterator<Item = &'a FoundDifference>,
    ) -> Result<(), StoreError> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        for difference in differences {
            serde_json::to_writer(&mut *file, difference)
                .map_err(std::io::Error::from)
                .and_then(|()| file.write_all(b"\n"))
                .map_err(|error| unwritable(path, &error))?;
        }
        Ok(())
    }

    async fn repair(&mut self, ids: impl IntoIterator<Item = String>) -> Result<(), StoreError> {
        match &mut self.repair {
            Some(repair) => repair.add(ids).await,
            None => Ok(()),
        }
    }

    /// Takes what `run` found.
    pub async fn take_run(&mut self, run: Uuid) -> Result<()> {
        if self.file.is_none() && self.repair.is_none() {
            return Ok(());
        }
        let store = self.store.clone();
        for &table in ComparedTable::ALL {
            let mut after: Option<String> = None;
            loop {
                let keys =
                    store.differing_keys(run, table, after.as_deref(), KEYS_PER_READ).await?;
                let Some(last) = keys.last() else { break };
                after = Some(last.clone());
                self.write(&store.differences(run, table, &keys).await?)?;
                if table == ComparedTable::Videos {
                    self.repair(keys).await?;
                }
            }
        }
        Ok(())
    }

    /// Writes what is left, and has the repair begin.
    pub async fn finish(self) -> Result<Option<Repaired>> {
        if let Some((path, mut file)) = self.file {
            file.flush().map_err(|error| unwritable(&path, &error))?;
        }
        let Some(repair) = self.repair else { return Ok(None) };
        let repaired = repair.finish().await?;
        Ok(repaired.map(|(run, added)| Repaired { run: run.id, videos: added.rows }))
    }
}

fn unwritable(path: &std::path::Path, error: &std::io::Error) -> StoreError {
    let message = format!("{} cannot be written: {error}", path.display());
    StoreError::Permanent { code: None, message }
}

#[async_trait]
impl WindowSink for Found {
    fn limit(&self) -> u32 {
        if self.file.is_some() || self.repair.is_some() { u32::MAX } else { FIRST_DIFFERENCES }
    }

    async fn take(&mut self, window: &ComparedWindow) -> Result<(), StoreError> {
        let differences = &window.compared.differences;
        let found: Vec<_> = differences
            .iter()
            .map(|(check, difference)| FoundDifference::new(window.table, check, difference))
            .collect();
        self.write(&found)?;
        if window.table == ComparedTable::Videos {
            self.repair(found.into_iter().map(|difference| difference.key)).await?;
        }
        Ok(())
    }
}
