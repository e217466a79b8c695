//! `explicit_defaults_for_timestamp`: off, the first TIMESTAMP of a table changes with
//! every update unless its declaration says otherwise.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::{CheckContext, is_on, variable};
use crate::error::Result;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "explicit_defaults_for_timestamp"
    }

    fn refuses(&self) -> bool {
        false
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let value = variable(context.connection, "explicit_defaults_for_timestamp").await?;
        Ok(judge(is_on(value.as_deref())))
    }
}

fn judge(on: bool) -> Finding {
    let state = if on { "on" } else { "off" };
    Finding::ok(format!(
        "explicit_defaults_for_timestamp is {state}: either will do, every new TIMESTAMP says NULL or \
         NOT NULL itself"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_told() {
        assert!(judge(false).says.contains("is off") && judge(true).says.contains("is on"));
    }
}
