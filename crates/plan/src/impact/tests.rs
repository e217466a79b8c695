use std::collections::VecDeque;

use super::*;
use crate::throttle::{State, Throttle};

/// A database server as a queue: what an application does takes longer the more chunks run,
/// and the busier the application is by itself.
struct Server {
    /// Seconds that the application's transaction takes on an idle server.
    alone: f64,
    /// How much longer one chunk makes it.
    a_chunk: f64,
    /// Statements of the application at once.
    running: f64,
}

impl Server {
    fn latency(&self, chunks: f64, noise: f64) -> f64 {
        self.alone * (1.0 + self.a_chunk * chunks) * noise
    }
}

/// A fleet beside a server, sampled as a worker does it.
struct Scene {
    server: Server,
    capacity: u32,
    percent: u32,
    throttle: Throttle,
    meter: Meter,
    state: State,
    /// Published states take a second and a half to reach the workers.
    on_their_way: VecDeque<State>,
    millis: i64,
    random: u64,
    /// What the fleet added, at each second.
    added: Vec<f64>,
}

impl Scene {
    fn new(server: Server, capacity: u32, percent: u32) -> Self {
        let mut throttle = Throttle::default();
        let state = throttle.step(Vec::new(), Vec::new(), capacity, Duration::ZERO, time(0));
        Self {
            server,
            capacity,
            percent,
            throttle,
            meter: Meter::default(),
            state,
            on_their_way: VecDeque::new(),
            millis: 0,
            random: 1,
            added: Vec::new(),
        }
    }

    /// Between 0.7 and 1.3, evenly.
    fn noise(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        #[expect(clippy::cast_precision_loss, reason = "a random number")]
        let unit = (self.random >> 40) as f64 / (1u64 << 24) as f64;
        0.7 + 0.6 * unit
    }

    fn seconds(&mut self, seconds: u32) {
        for _ in 0..seconds {
            let end = self.millis + 1_000;
            while self.millis < end {
                let at = time(self.millis);
                let rests = self.state.rhythm.is_some_and(|rhythm| !rhythm.rest_left(at).is_zero());
                let chunks = if rests { 0.0 } else { self.state.chunks };
                let noise = self.noise();
                let took = Duration::from_secs_f64(self.server.latency(chunks, noise));
                let running = Some(self.server.running);
                self.meter.observe(Beat { at, took, running });
                let fast =
                    self.state.rhythm.is_some_and(|rhythm| rhythm.until_counted(at).is_zero());
                self.millis += if fast { 5 } else { 20 };
            }
            let impact = self.meter.impact();
            let readings = impact.map_or_else(Vec::new, |impact| impact.readings("", self.percent));
            self.throttle.measuring = impact.is_none();
            let second = Duration::from_secs(1);
            let now = time(self.millis);
            let mut state = self.throttle.step(readings, Vec::new(), self.capacity, second, now);
            let beside = impact.is_some_and(|impact| impact.has_application());
            if beside && state.chunks > self.state.chunks {
                self.meter.raised(now);
            }
            state.rhythm = Some(self.meter.rhythm());
            state.impact = impact;
            self.on_their_way.push_back(state);
            if self.on_their_way.len() > 1 {
                self.state = self.on_their_way.pop_front().expect("a state");
            }
            let added = self.server.latency(self.state.chunks, 1.0) / self.server.alone - 1.0;
            self.added.push(added);
        }
    }
}

fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_800_000_000_000 + millis).expect("a time")
}

/// Whatever a chunk costs the application and however large the fleet is: it settles at its
/// limit, and what is above twice the limit does not last.
#[test]
fn what_the_fleet_adds_settles_at_the_limit() {
    for a_chunk in [0.01, 0.1, 0.5, 1.5] {
        for capacity in [1, 8, 60, 250] {
            for percent in [25, 50, 100] {
                let server = Server { alone: 0.004, a_chunk, running: 6.0 };
                let mut scene = Scene::new(server, capacity, percent);
                scene.seconds(120);
                let case = format!("{a_chunk} a chunk, {capacity} chunks, {percent} %");
                let limit = f64::from(percent) / 100.0;
                // One chunk is what every fleet begins with.
                let above = |added: &&f64| **added > 2.0 * limit;
                let late = scene.added.iter().skip(12).filter(above).count();
                assert!(late <= 2, "{case}: {late} s above twice the limit: {:?}", scene.added);
                let settled = &scene.added[60..];
                let most = settled.iter().copied().fold(0.0, f64::max);
                assert!(most <= limit * 1.5 + 0.1, "{case}: {most}");
            }
        }
    }
}

#[test]
fn a_fleet_that_nobody_notices_gets_everything() {
    let server = Server { alone: 0.004, a_chunk: 0.001, running: 6.0 };
    let mut scene = Scene::new(server, 40, 25);
    scene.seconds(60);
    assert_eq!(scene.state.share(), 1.0);
    assert_eq!(scene.meter.rhythm(), Rhythm::SELDOM, "the answer is certain");
}

#[test]
fn an_application_that_becomes_busy_is_not_the_fleets_fault() {
    let server = Server { alone: 0.002, a_chunk: 0.002, running: 0.5 };
    let mut scene = Scene::new(server, 8, 25);
    scene.seconds(40);
    assert_eq!(scene.state.share(), 1.0);
    // Four times as slow by itself, with and without the fleet.
    scene.server.alone = 0.008;
    scene.server.running = 12.0;
    scene.seconds(40);
    assert_eq!(scene.state.share(), 1.0, "{:?}", scene.state);
    let impact = scene.state.impact.expect("it was measured");
    assert!(impact.median.without > 0.006, "{impact:?}");
}

#[test]
fn without_an_application_nobody_is_slowed_down() {
    let server = Server { alone: 0.0003, a_chunk: 2.0, running: 0.01 };
    let mut scene = Scene::new(server, 8, 25);
    scene.seconds(60);
    let impact = scene.state.impact.expect("it was measured");
    assert!(!impact.has_application() && impact.readings("", 25).is_empty());
    assert_eq!(scene.state.share(), 1.0);
}

#[test]
fn the_slowest_are_watched_as_well_as_the_middle() {
    let impact = Impact {
        median: Latency { with: 0.0021, without: 0.002 },
        added_error: 0.02,
        p99: Some(Latency { with: 0.032, without: 0.012 }),
        running_without: 4.0,
    };
    let readings = impact.readings("db:3306", 25);
    let texts: Vec<String> = readings.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "application slowed 5 % of 25 % on db:3306",
            "application's slowest 1 % slowed 20 ms > 10 ms on db:3306"
        ]
    );
    assert_eq!(
        impact.text(0.25),
        "application 2.1 ms, 2.0 ms without the fleet (+5 %, limit 25 %); slowest 1 % 32 ms, 12 ms without"
    );
    // In proportion.
    assert!((impact.readings("", 50)[1].limit - 0.02).abs() < 1e-9);
}

#[test]
fn what_no_network_shows_is_not_held_against_the_fleet() {
    let impact = Impact {
        median: Latency { with: 0.0004, without: 0.00025 },
        added_error: 0.0,
        p99: None,
        running_without: 1.0,
    };
    assert!(impact.readings("", 25)[0].pressure() < 1.0, "{impact:?}");
}

#[test]
fn a_rest_is_over_when_it_is_over() {
    let at = |millis: i64| {
        Rhythm::FREQUENT.rest_left(DateTime::from_timestamp_millis(millis).expect("a time"))
    };
    assert_eq!(at(4_000), Rhythm::REST);
    assert_eq!(at(4_100), Duration::from_millis(200));
    assert_eq!((at(4_300), at(5_999)), (Duration::ZERO, Duration::ZERO));
    // Before 1970 the clock has a position too.
    assert_eq!(at(-2_000), Rhythm::REST);
}
