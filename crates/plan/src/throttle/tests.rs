use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).expect("a time")
}

fn lag(value: f64) -> Reading {
    Reading::new(Signal::ReplicaLag, "db-2", value, 5.0)
}

fn threads(value: f64) -> Reading {
    Reading::new(Signal::ThreadsRunning, "db-1", value, 8.0)
}

fn run(throttle: &mut Throttle, readings: &[Reading], capacity: u32, seconds: i64) -> State {
    let mut state = None;
    for second in 0..seconds {
        state = Some(throttle.step(readings.to_vec(), Vec::new(), capacity, SECOND, at(second)));
    }
    state.expect("at least one second")
}

/// A signal, its value in proportion to its limit, or nothing.
fn reading() -> impl Strategy<Value = Reading> {
    let signal = prop::sample::select(vec![
        Signal::ChunkTime,
        Signal::ThreadsRunning,
        Signal::ReplicaLag,
        Signal::HistoryLength,
        Signal::LockWaits,
        Signal::FreeDisk,
    ]);
    (signal, prop::option::weighted(0.95, 0.0..3.0_f64)).prop_map(|(signal, value)| match value {
        Some(value) => Reading::new(signal, "db", value * 10.0, 10.0),
        None => Reading::missing(signal, "db", 10.0, "no answer".to_owned()),
    })
}

proptest! {
    #[test]
    fn the_brake_keeps_its_rules(
        steps in prop::collection::vec((prop::collection::vec(reading(), 0..6), 1u32..50), 1..60),
    ) {
        let mut throttle = Throttle::default();
        let (mut before, mut stopped) = (START_CHUNKS, false);
        for (second, (readings, capacity)) in (0..).zip(steps) {
            let state = throttle.step(readings.clone(), Vec::new(), capacity, SECOND, at(second));
            let most = f64::from(capacity);
            prop_assert!(state.chunks == 0.0 || state.chunks >= MIN_CHUNKS);
            prop_assert!(state.chunks <= most && (0.0..=1.0).contains(&state.share()));
            prop_assert_eq!(state.reason.is_none(), state.level == Level::Free);
            let known = |reading: &&Reading| reading.value.is_some();
            let safety = readings.iter().filter(known).filter(|reading| reading.signal.is_safety());
            let worst_safety = safety.map(Reading::pressure).fold(0.0, f64::max);
            let worst = readings.iter().map(Reading::pressure).fold(0.0, f64::max);
            if worst_safety > 1.0 {
                prop_assert_eq!(state.chunks, 0.0, "a safety signal stops at once");
            }
            if readings.iter().any(|reading| reading.value.is_none()) {
                prop_assert!(state.chunks <= MIN_CHUNKS, "blind is slow");
            }
            if state.chunks > before.max(MIN_CHUNKS) {
                prop_assert!(worst <= CLEAR, "it rises only when all is clear");
                // Of the largest capacity of any step, for as long as is waited.
                let addition = INCREASE * 50.0 * (SETTLE.as_secs_f64() + 1.0);
                prop_assert!(state.chunks <= before + addition + 1e-9, "and by an addition");
            }
            if stopped && worst_safety > CLEAR {
                prop_assert_eq!(state.chunks, 0.0, "a stop ends only when all is clear");
            }
            if worst > 1.0 && before > MIN_CHUNKS {
                let reason = state.reason.as_ref().expect("a reason");
                let least = reason.signal.least_chunks().min(before);
                prop_assert!(state.chunks <= (before * 0.9).max(least));
            }
            (before, stopped) = (state.chunks, state.level == Level::Stopped);
        }
    }

    #[test]
    fn a_calm_server_gets_the_whole_fleet(capacity in 1u32..2_000, calm in 0.0..0.5_f64) {
        let mut throttle = Throttle::default();
        run(&mut throttle, &[lag(6.0)], capacity, 1);
        let state = run(&mut throttle, &[lag(calm)], capacity, 30);
        prop_assert_eq!((state.level, state.share()), (Level::Free, 1.0));
    }

    #[test]
    fn a_strained_server_gets_the_least(capacity in 1u32..2_000, strain in 1.01..9.0_f64) {
        let mut throttle = Throttle::default();
        run(&mut throttle, &[lag(0.0)], capacity, 30);
        let state = run(&mut throttle, &[threads(8.0 * strain)], capacity, 120);
        prop_assert_eq!((state.level, state.chunks), (Level::Slowed, MIN_CHUNKS));
    }
}

#[test]
fn a_signal_near_its_limit_holds() {
    let mut throttle = Throttle::default();
    let before = run(&mut throttle, &[threads(4.0)], 10, 4).chunks;
    let held = run(&mut throttle, &[threads(7.0)], 10, 10);
    assert_eq!((held.level, held.chunks), (Level::Held, before));
}

#[test]
fn what_was_throttled_stays_so_until_it_is_clear() {
    let mut throttle = Throttle::default();
    let slowed = run(&mut throttle, &[threads(9.0)], 10, 3);
    assert_eq!((slowed.level, slowed.since), (Level::Slowed, at(0)));
    let still = throttle.step(vec![threads(7.0)], Vec::new(), 10, SECOND, at(3));
    assert_eq!((still.level, still.since, still.chunks), (Level::Slowed, at(0), slowed.chunks));
    let free = throttle.step(vec![threads(1.0)], Vec::new(), 10, SECOND, at(4));
    assert_eq!((free.level, free.since), (Level::Free, at(4)));
    assert!(free.chunks > slowed.chunks);
}

#[test]
fn no_chunk_is_added_that_would_pass_the_limit() {
    let two_cores = |value| Reading::new(Signal::ThreadsRunning, "db-1", value, 2.0);
    let mut throttle = Throttle::default();
    // One chunk and the application: 1.5 of 2 is clear, and 2.5 would not be.
    let state = run(&mut throttle, &[two_cores(1.5)], 4, 60);
    assert_eq!((at_once(state.chunks), state.level), (1, Level::Held));
    // Alone, a second one is welcome.
    let state = run(&mut Throttle::default(), &[two_cores(0.9)], 4, 8);
    assert_eq!(at_once(state.chunks), 2);
    // A large fleet takes what there is room for, not all at once.
    let state = run(&mut Throttle::default(), &[threads(4.5)], 800, 6);
    assert_eq!((at_once(state.chunks), state.level), (4, Level::Free));
}

#[test]
fn slow_chunks_alone_leave_half_the_time() {
    let slow = Reading::new(Signal::ChunkTime, "", 0.2, 0.04);
    let state = run(&mut Throttle::default(), &[slow], 4, 60);
    assert_eq!((state.level, state.chunks), (Level::Slowed, 0.5));
}

#[test]
fn chunks_are_added_once_the_last_ones_have_shown() {
    let mut throttle = Throttle::default();
    let mut at_each_second = Vec::new();
    for _ in 0..12 {
        at_each_second.push(at_once(run(&mut throttle, &[threads(0.1)], 10, 1).chunks));
    }
    assert_eq!(at_each_second, [1, 1, 1, 1, 3, 3, 3, 3, 3, 6, 6, 6]);
}

#[test]
fn the_worst_signal_is_the_reason() {
    let mut throttle = Throttle::default();
    let state = run(&mut throttle, &[threads(9.0), lag(7.1), lag(6.0)], 4, 1);
    let reason = state.reason.expect("a reason");
    assert_eq!(reason.to_string(), "replica lag 7.1 s > 5.0 s on db-2");
    assert_eq!(threads(8.004).to_string(), "threads running 8.1 > 8.0 on db-1");
    let unknown = Reading::missing(Signal::ReplicaLag, "db-3", 5.0, "no route to host".to_owned());
    let blind = run(&mut Throttle::default(), &[threads(9.0), unknown.clone()], 4, 1);
    assert_eq!((blind.level, blind.chunks), (Level::Blind, MIN_CHUNKS));
    assert_eq!(unknown.to_string(), "replica lag unknown on db-3: no route to host");
    let disk = Reading::new(Signal::FreeDisk, "/data", 1e9, 2e9);
    assert_eq!(disk.to_string(), "free disk 0.93 GiB < 1.86 GiB on /data");
    let slow = Reading::new(Signal::Prometheus, "checkout p99", 0.312, 0.25);
    assert_eq!(slow.to_string(), "Prometheus checkout p99 0.32 > 0.25");
    let closed = Reading::switch(Signal::WorkWindow, "22:00-06:00 UTC", true);
    assert_eq!(closed.to_string(), "work window 22:00-06:00 UTC says stop");
}

#[test]
fn stopped_and_then_blind_stays_stopped() {
    let mut throttle = Throttle::default();
    run(&mut throttle, &[lag(7.0)], 4, 1);
    let gone = Reading::missing(Signal::ReplicaLag, "db-2", 5.0, "connection refused".to_owned());
    let state = run(&mut throttle, &[gone], 4, 5);
    assert_eq!((state.level, state.chunks), (Level::Stopped, 0.0));
}

#[test]
fn a_successor_goes_on_from_there() {
    let mut throttle = Throttle::default();
    let state = run(&mut throttle, &[lag(7.0)], 4, 1);
    let json = serde_json::to_string(&state).expect("it is written");
    let read: State = serde_json::from_str(&json).expect("it is read");
    assert_eq!(read, state);
    let state = Throttle::resume(&read).step(vec![lag(4.5)], Vec::new(), 4, SECOND, at(9));
    assert_eq!((state.level, state.since, state.chunks), (Level::Stopped, at(0), 0.0));
}

#[test]
fn below_one_chunk_the_rest_is_pause() {
    let took = Duration::from_millis(20);
    assert_eq!((at_once(3.9), rest(3.9, took)), (3, Some(Duration::ZERO)));
    assert_eq!((at_once(0.5), rest(0.5, took)), (1, Some(took)));
    assert_eq!(at_once(MIN_CHUNKS), 1);
    assert_eq!((at_once(0.0), rest(0.0, took)), (0, None));
    assert_eq!(rest(MIN_CHUNKS, Duration::from_mins(1)), Some(Duration::from_secs(10)));
}
