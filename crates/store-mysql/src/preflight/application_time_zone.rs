//! The types of `created_at` and `updated_at`, and the time zone of those that are DATETIME.

use async_trait::async_trait;
use reelshift_store::StoreError;
use reelshift_store::preflight::Finding;

use super::CheckContext;
use crate::application_time::ApplicationTimes;
use crate::error::{Error, Result};

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "application_time_zone"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        match ApplicationTimes::read(context.store, context.connection).await {
            Ok(times) => Ok(judge(&times)),
            Err(Error::Store(StoreError::Refused(why))) => Ok(match why.split_once(": ") {
                Some((says, do_what)) => Finding::refusal(says, do_what),
                None => Finding::refusal(why, "connect to the platform's database"),
            }),
            Err(error) => Err(error),
        }
    }
}

fn judge(times: &ApplicationTimes) -> Finding {
    let ApplicationTimes { created_at, updated_at, time_zone } = times;
    let types =
        format!("created_at is {}, updated_at is {}", created_at.declared, updated_at.declared);
    if !times.has_zone() {
        return Finding::ok(format!("{types}: points in time, whatever the time zone"));
    }
    Finding::ok(format!(
        "{types}: a DATETIME stays one and is read in the time zone {}, {}",
        time_zone.name(),
        time_zone.source
    ))
    .advising("if the application writes another zone, name it with --application-time-zone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_and_its_source_are_named() {
        let zoned = judge(&ApplicationTimes::for_test(Some("Europe/Berlin")));
        assert!(zoned.says.contains("time zone Europe/Berlin, given"), "{}", zoned.says);
        assert_eq!(judge(&ApplicationTimes::for_test(None)).do_what, None);
    }
}
