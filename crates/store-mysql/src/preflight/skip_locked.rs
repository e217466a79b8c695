//! SKIP LOCKED, by a statement that reads no row.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::CheckContext;
use crate::error::{Error, Result};

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "skip_locked"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let probed = sqlx::query("SELECT id FROM videos WHERE FALSE FOR UPDATE SKIP LOCKED")
            .fetch_optional(&mut *context.connection)
            .await
            .map_err(Error::from);
        match probed {
            // A syntax error.
            Err(error) if error.number() == Some(1064) => Ok(Finding::refusal(
                "the server does not know SELECT … FOR UPDATE SKIP LOCKED",
                "upgrade it to MariaDB 10.6 or MySQL 8.0.29 or later",
            )),
            // READ COMMITTED sessions cannot lock for a write that the log could not hold.
            Err(error) if error.number() == Some(1665) => Ok(Finding::warning(
                "SKIP LOCKED cannot be probed while binlog_format is STATEMENT",
                "change binlog_format first",
            )),
            // The check `writable` says what to do about it.
            Err(error) if error.number() == Some(1290) => Ok(Finding::warning(
                "SKIP LOCKED cannot be probed on a server that is read-only",
                "connect to the primary first",
            )),
            probed => {
                probed?;
                Ok(Finding::ok("the server knows SKIP LOCKED (probed)"))
            }
        }
    }
}
