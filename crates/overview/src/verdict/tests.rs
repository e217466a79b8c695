//! What each verdict is given for.

use chrono::TimeDelta;
use reelshift_plan::WorkerState;
use reelshift_plan::throttle::Level;
use reelshift_store::controls::{Control, ON, PAUSE};

use super::super::sample::{at, report, run, worker};
use super::*;

/// The sample without its brake.
fn free() -> LedgerReport {
    LedgerReport { throttle: None, ..report() }
}

fn verdict(report: &LedgerReport) -> Verdict {
    Verdict::compute(report, Some(report.at))
}

#[test]
fn work_that_goes_on_runs() {
    let running = verdict(&free());
    assert_eq!(running.kind, VerdictKind::Running);
    assert_eq!(running.sentence, "1 worker on 12 batches: 310 rows/s.");
    let mut hashing =
        LedgerReport { runs: vec![run(JobKind::Hash, RunState::Running)], ..report() };
    assert_eq!(verdict(&hashing).kind, VerdictKind::Throttled, "a full stop is for all");
    let throttle = hashing.throttle.as_mut().expect("a brake");
    (throttle.level, throttle.at_once) = (Level::Slowed, 1);
    let hashing = verdict(&hashing);
    assert_eq!(hashing.kind, VerdictKind::Running, "to slow down is for backfills");
    assert!(hashing.sentence.ends_with("0 B/s hashed."), "{}", hashing.sentence);
}

#[test]
fn before_a_run_is_enqueued_nothing_stalls() {
    let rested = Some(at("01:00:00"));
    let mut enqueued = free();
    assert_eq!(Verdict::compute(&enqueued, rested).kind, VerdictKind::Stalled);
    enqueued.runs[0].run.created_at = enqueued.at;
    assert_eq!(Verdict::compute(&enqueued, rested).kind, VerdictKind::Running);
}

#[test]
fn a_brake_says_why_and_since_when() {
    let throttled = verdict(&report());
    assert_eq!((throttled.kind, throttled.since), (VerdictKind::Throttled, Some(at("02:58:00"))));
    assert_eq!(throttled.reason.as_deref(), Some("replica lag 7.1 s > 5.0 s on db-2:3306"));
}

#[test]
fn without_anybody_alive_it_is_dead_and_since_the_last_was_seen() {
    let dead = LedgerReport { workers: vec![worker(5, WorkerState::Lost, 94.0)], ..free() };
    let dead = verdict(&dead);
    assert_eq!((dead.kind, dead.since), (VerdictKind::Dead, Some(at("03:10:33"))));
    assert_eq!(dead.next.as_deref(), Some("reelshift work"));
}

#[test]
fn a_fleet_that_was_never_started_is_not_called_silent() {
    let runs = vec![run(JobKind::Hash, RunState::Running)];
    let dead = verdict(&LedgerReport { workers: Vec::new(), runs, ..free() });
    assert_eq!((dead.kind, dead.since), (VerdictKind::Dead, None));
    assert_eq!(dead.reason.as_deref(), Some("no worker was there in the last ten minutes"));
    assert_eq!(dead.next.as_deref(), Some("reelshift work --media-root PATH"), "it reads files");
}

#[test]
fn without_progress_it_stalls_after_a_while() {
    let free = free();
    let ago = |seconds| Some(free.at - TimeDelta::seconds(seconds));
    assert_eq!(Verdict::compute(&free, ago(STALLED_AFTER_SECONDS - 1)).kind, VerdictKind::Running);
    let stalled = Verdict::compute(&free, ago(STALLED_AFTER_SECONDS));
    assert_eq!((stalled.kind, stalled.since), (VerdictKind::Stalled, ago(STALLED_AFTER_SECONDS)));
}

#[test]
fn a_clock_that_was_set_back_is_named() {
    let back =
        |minutes| LedgerReport { at: at("01:00:00") - TimeDelta::minutes(minutes), ..free() };
    let stepped = verdict(&back(59));
    assert_eq!(stepped.kind, VerdictKind::Running);
    let reason = stepped.reason.expect("the clock");
    assert!(reason.starts_with("the database's clock was set back: it gave a time"), "{reason}");
    let dead = LedgerReport { workers: Vec::new(), ..back(59) };
    let reason = verdict(&dead).reason.expect("two reasons");
    assert!(reason.starts_with("no worker") && reason.contains("set back"), "{reason}");
    assert_eq!(verdict(&free()).reason, None);
}

#[test]
fn a_pause_comes_before_everything() {
    let pause = Control {
        name: PAUSE.to_owned(),
        value: ON.to_owned(),
        reason: Some("a backup".to_owned()),
        changed_by: "ops@host".to_owned(),
        changed_at: at("03:00:00"),
        ends_at: None,
    };
    let paused = verdict(&LedgerReport { controls: vec![pause], ..report() });
    assert_eq!((paused.kind, paused.since), (VerdictKind::Paused, Some(at("03:00:00"))));
    assert_eq!(paused.reason.as_deref(), Some("a backup"));
    let held =
        verdict(&LedgerReport { runs: vec![run(JobKind::Backfill, RunState::Paused)], ..free() });
    assert_eq!(held.kind, VerdictKind::Paused);
    assert!(held.next.expect("a command").starts_with("reelshift resume --run "));
}

#[test]
fn at_rest_it_says_what_is_left() {
    let of = |runs: Vec<RunReport>| verdict(&LedgerReport { runs, ..free() });
    assert_eq!(of(Vec::new()).kind, VerdictKind::Idle);
    let mut done = run(JobKind::Backfill, RunState::Done);
    for (failed, aside, sentence) in [
        (0, 3, "Nothing is open, but 3 items are set aside."),
        (1, 0, "Nothing is open, but 1 batch has failed."),
        (2, 1, "Nothing is open, but 2 batches have failed and 1 item is set aside."),
    ] {
        (done.failed_open, done.quarantined) = (failed, aside);
        let verdict = of(vec![done.clone()]);
        assert_eq!((verdict.kind, verdict.sentence.as_str()), (VerdictKind::Attention, sentence));
    }
    (done.failed_open, done.quarantined) = (0, 0);
    done.accepted = 2;
    let accepted = of(vec![done.clone()]);
    assert_eq!(accepted.kind, VerdictKind::Done);
    assert!(accepted.sentence.ends_with("1 run, but for 2 accepted items."), "{accepted:?}");
    done.accepted = 0;
    let mut cancelled = done.clone();
    cancelled.run.state = RunState::Cancelled;
    let cancelled = of(vec![done, cancelled]);
    assert!(cancelled.sentence.ends_with("2 runs, 1 of them cancelled."), "{cancelled:?}");
    assert_eq!(Verdict::not_started(false).kind, VerdictKind::NotStarted);
}
