//! Samples of the migration: kept, read in pages, removed when they are old.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use macro_rules_attribute::apply;
use reelshift_plan::VerdictKind;
use reelshift_store::Sample;

use crate::Fixture;
use crate::arrange::expanded;

const DAY: Duration = Duration::from_hours(24);

/// One of `minutes` before `now`, in milliseconds, as both databases keep times.
fn sample(now: DateTime<Utc>, minutes: i64) -> Sample {
    let now = DateTime::from_timestamp_millis(now.timestamp_millis()).expect("a time");
    Sample {
        at: now - TimeDelta::minutes(minutes),
        rows_per_second: 1_840.25,
        bytes_per_second: 3e12,
        chunk_seconds: None,
        application_seconds: Some(0.0017),
        application_without_seconds: None,
        verdict: VerdictKind::RollingBack,
    }
}

#[apply(behaviour!)]
async fn samples_are_read_as_they_were_kept_oldest_first(db: &dyn Fixture) {
    let store = expanded(db).await;
    let now = store.ledger_report(1).await.expect("a report").at;
    let kept: Vec<Sample> = [3, 2, 1, 0].map(|minutes| sample(now, minutes)).to_vec();
    for sample in kept.iter().rev() {
        store.keep_sample(sample).await.expect("kept");
    }
    let before = now - TimeDelta::minutes(10);
    assert_eq!(store.samples(before, 100).await.expect("read"), kept);
    let page = store.samples(before, 2).await.expect("read");
    assert_eq!(page, kept[..2]);
    assert_eq!(store.samples(page[1].at, 100).await.expect("read"), kept[2..]);
    // One of the same time takes the place of the other.
    let other = Sample { chunk_seconds: Some(0.02), verdict: VerdictKind::Done, ..kept[3] };
    store.keep_sample(&other).await.expect("kept");
    assert_eq!(store.samples(kept[2].at, 100).await.expect("read"), [other]);
}

#[apply(behaviour!)]
async fn old_samples_are_removed_some_at_a_time(db: &dyn Fixture) {
    let store = expanded(db).await;
    let now = store.ledger_report(1).await.expect("a report").at;
    let days = |days: i64| sample(now, days * 24 * 60);
    for one in [days(5), days(4), days(3), days(0)] {
        store.keep_sample(&one).await.expect("kept");
    }
    assert_eq!(store.prunable_samples(DAY).await.expect("counted"), 3);
    let mut removed = Vec::new();
    for _ in 0..3 {
        removed.push(store.prune_samples(DAY, 2).await.expect("removed"));
    }
    assert_eq!(removed, [2, 1, 0]);
    let left = store.samples(days(9).at, 100).await.expect("read");
    assert_eq!(left, [days(0)]);
}

#[apply(behaviour!)]
async fn every_verdict_is_kept_and_one_of_a_later_version_left_out(db: &dyn Fixture) {
    let store = expanded(db).await;
    let now = store.ledger_report(1).await.expect("a report").at;
    let kept: Vec<Sample> = (0..)
        .zip(VerdictKind::ALL)
        .map(|(n, &verdict)| Sample { verdict, ..sample(now, 20 - n) })
        .collect();
    for sample in &kept {
        store.keep_sample(sample).await.expect("kept");
    }
    store.keep_sample(&sample(now, 0)).await.expect("kept");
    db.execute("UPDATE reelshift_samples SET verdict = 'later' WHERE verdict = 'rolling_back'")
        .await;
    let expected: Vec<Sample> =
        kept.into_iter().filter(|sample| sample.verdict != VerdictKind::RollingBack).collect();
    assert_eq!(store.samples(DateTime::UNIX_EPOCH, 100).await.expect("read"), expected);
}

#[apply(behaviour!)]
async fn a_ledger_without_samples_has_none(db: &dyn Fixture) {
    let store = expanded(db).await;
    db.execute("DROP TABLE reelshift_samples").await;
    assert_eq!(store.samples(DateTime::UNIX_EPOCH, 9).await.expect("read"), []);
}
