//! Whether `processing_status` can hold what the bridge writes into it.

use async_trait::async_trait;
use reelshift_store::preflight::{Finding, status_values};

use super::CheckContext;
use crate::error::Result;
use crate::legacy;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "status_values"
    }

    fn refuses(&self) -> bool {
        false
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let connection = &mut *context.connection;
        let declared = legacy::column_type(connection, "videos", "processing_status").await?;
        let definition = legacy::definition(connection, "videos").await?;
        Ok(status_values(&declared.unwrap_or_default(), &definition))
    }
}
