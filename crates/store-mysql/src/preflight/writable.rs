//! Whether the server takes writes: a replica or a demoted primary does not.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::{CheckContext, variable};
use crate::error::Result;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "writable"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        for name in ["read_only", "innodb_read_only"] {
            let value = variable(context.connection, &format!("global.{name}")).await?;
            if is_read_only(value.as_deref()) {
                return Ok(Finding::refusal(
                    format!("the server is read-only ({name} = {})", value.unwrap_or_default()),
                    "connect to the primary",
                ));
            }
        }
        Ok(Finding::ok("the server takes writes"))
    }
}

/// MariaDB 12 knows more values than ON, all of them read-only in some way.
fn is_read_only(value: Option<&str>) -> bool {
    value.is_some_and(|value| !matches!(value, "0" | "OFF"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_off_is_read_only() {
        let values = [None, Some("0"), Some("OFF"), Some("1"), Some("ON"), Some("NO_LOCK")];
        assert_eq!(values.map(is_read_only), [false, false, false, true, true, true]);
    }
}
