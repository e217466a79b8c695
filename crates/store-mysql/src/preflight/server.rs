//! The server and its version.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::Look;
use crate::error::Result;
use crate::server::Server;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "server"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn look(&self, at: &mut Look<'_>) -> Result<Finding> {
        Ok(judge(&at.store.server))
    }
}

fn judge(server: &Server) -> Finding {
    if server.is_supported() {
        return Finding::ok(format!("the server is {server}"));
    }
    Finding::refusal(
        format!("the server is {server}, which cannot skip locked rows or add columns instantly"),
        "upgrade it to MariaDB 10.6 or MySQL 8.0.29 or later",
    )
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn an_old_server_is_refused() {
        assert_eq!(judge(&Server::parse("8.0.28")).verdict, Verdict::Refusal);
        assert_eq!(judge(&Server::parse("10.11.14-MariaDB")).verdict, Verdict::Ok);
    }
}
