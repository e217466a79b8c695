//! How far each configured replica is behind: the age of the newest beat of the throttle's
//! own duty that has arrived there, by the primary's clock.
//!
//! A replica that stands, or that cannot be asked, is as bad as one that lags: it is not
//! known how far its readers are behind.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use reelshift_plan::throttle::{Reading, Signal};
use reelshift_store::report::throttle::DUTY;
use reelshift_store::signals::Replica;

use super::SignalReading;

/// A beat is this far from the next, so that a replica whose newest beat is the last one
/// or the one before is not behind.
const BETWEEN_BEATS: Duration = Duration::from_secs(1);

/// Asks all `replicas` at once; `now` is the primary's clock. `known` are the replicas that
/// the sampler before this one listened to: one that this worker was not given is missing.
pub(super) async fn sample(
    replicas: &[Box<dyn Replica>],
    known: &[String],
    now: DateTime<Utc>,
    limit: Duration,
) -> Vec<SignalReading> {
    let limit = limit.as_secs_f64();
    if replicas.is_empty() && known.is_empty() {
        let why = "no replica is configured (--replica URL)";
        return vec![SignalReading::unavailable(Signal::ReplicaLag, why)];
    }
    let ask = async |replica: &dyn Replica| {
        let missing = |why| Reading::missing(Signal::ReplicaLag, replica.host(), limit, why);
        match replica.beat_at(DUTY).await {
            Ok(Some(beat)) => {
                Reading::new(Signal::ReplicaLag, replica.host(), behind(now, beat), limit)
            }
            Ok(None) => missing("no heartbeat of the fleet has arrived there yet".to_owned()),
            Err(error) => missing(error.to_string()),
        }
    };
    let mut readings = join_all(replicas.iter().map(|replica| ask(&**replica))).await;
    for host in known.iter().filter(|host| replicas.iter().all(|replica| replica.host() != **host))
    {
        let why = "other workers were given this replica, and this one was not: give all of them \
                   the same, or stop all for 10 s to forget it";
        readings.push(Reading::missing(Signal::ReplicaLag, host, limit, why.to_owned()));
    }
    readings.into_iter().map(SignalReading::Reading).collect()
}

/// Seconds that a replica is behind whose newest beat is `beat`.
fn behind(now: DateTime<Utc>, beat: DateTime<Utc>) -> f64 {
    let age = (now - beat).to_std().unwrap_or_default();
    age.saturating_sub(BETWEEN_BEATS).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use reelshift_store::{Result, StoreError};

    use super::*;

    /// Answers with a beat of so many seconds ago, with none, or not at all.
    #[derive(Debug)]
    struct Fake(&'static str, Option<Option<i64>>);

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
    }

    #[async_trait]
    impl Replica for Fake {
        fn host(&self) -> &str {
            self.0
        }

        async fn beat_at(&self, _: &str) -> Result<Option<DateTime<Utc>>> {
            let Self(_, Some(ago)) = self else {
                return Err(StoreError::Transient { code: None, message: "refused".to_owned() });
            };
            Ok(ago.map(|ago| now() - chrono::Duration::seconds(ago)))
        }
    }

    async fn read(replicas: Vec<Fake>, known: &[&str]) -> Vec<Reading> {
        let replicas: Vec<Box<dyn Replica>> =
            replicas.into_iter().map(|fake| Box::new(fake) as Box<dyn Replica>).collect();
        let known: Vec<String> = known.iter().map(|&host| host.to_owned()).collect();
        let samples = sample(&replicas, &known, now(), Duration::from_secs(5)).await;
        samples
            .into_iter()
            .filter_map(|sample| match sample {
                SignalReading::Reading(reading) => Some(reading),
                SignalReading::Unavailable(_) | SignalReading::Nothing => None,
            })
            .collect()
    }

    #[tokio::test]
    async fn lag_is_the_age_of_the_newest_beat() {
        let lags = read(
            vec![Fake("a", Some(Some(1))), Fake("b", Some(Some(9))), Fake("c", Some(Some(-1)))],
            &["a"],
        )
        .await;
        let values: Vec<_> = lags.iter().map(|lag| (lag.host.as_str(), lag.value)).collect();
        assert_eq!(values, [("a", Some(0.0)), ("b", Some(8.0)), ("c", Some(0.0))]);
    }

    #[tokio::test]
    async fn what_does_not_answer_is_missing() {
        let lags = read(vec![Fake("a", None), Fake("b", Some(None))], &["b", "c"]).await;
        let said: Vec<_> = lags.iter().map(ToString::to_string).collect();
        assert!(lags.iter().all(|lag| lag.value.is_none()));
        assert_eq!(said[0], "replica lag unknown on a: refused");
        assert!(
            said[1].contains("has arrived there yet") && said[2].contains("on c: other workers")
        );
    }

    #[tokio::test]
    async fn none_configured_is_none_expected() {
        assert!(read(Vec::new(), &[]).await.is_empty());
    }
}
