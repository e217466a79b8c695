//! What an operator may tune while the fleet works: typed settings with a default each,
//! read from and shown as `KEY=VALUE`.

use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

use crate::chunk::ChunkSizer;
use crate::impact::DEFAULT_PERCENT;
use crate::state::{UnknownName, named};
use crate::window::{WorkWindow, WrongWindow};

/// One setting. The name is stored; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Knob {
    ChunkTarget,
    Concurrency,
    FleetConcurrency,
    Connections,
    ByteRate,
    Throttle,
    Impact,
    ReplicaLag,
    ThreadsRunning,
    HistoryListLength,
    LockWaits,
    FreeDisk,
    WorkWindow,
}

impl Knob {
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

    /// What it does, for people.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::ChunkTarget => "the time that one chunk of a backfill aims at",
            Self::Concurrency => "backfill batches, and files being hashed, at once in each worker",
            Self::FleetConcurrency => "the same for the whole fleet",
            Self::Connections => "connections to the database that the whole fleet opens",
            Self::ByteRate => {
                "bytes that the whole fleet reads from files in a second, in equal parts for its live workers"
            }
            Self::Throttle => "whether the fleet goes by the limits below",
            Self::Impact => "what the fleet may add to the application's median latency",
            Self::ReplicaLag => "the fleet stops above this lag of a replica",
            Self::ThreadsRunning => {
                "the fleet slows down above this many statements at once in the server"
            }
            Self::HistoryListLength => "the fleet slows down above this length of InnoDB's history",
            Self::LockWaits => "the fleet slows down above this many waits for row locks at once",
            Self::FreeDisk => "the fleet stops below this much free disk",
            Self::WorkWindow => "the fleet works in these hours only",
        }
    }

    /// What it accepts, for people.
    #[must_use]
    pub const fn expected(self) -> &'static str {
        match self {
            Self::ChunkTarget => "a time from 1ms to 1s",
            Self::Concurrency => "a number from 1 to 256",
            Self::FleetConcurrency | Self::Connections | Self::ThreadsRunning | Self::LockWaits => {
                "a number from 1 to 100000"
            }
            Self::ByteRate => "bytes in a second, from 64KiB, as 100MiB",
            Self::Throttle => "on or off",
            Self::Impact => "a share from 1% to 1000%, or off",
            Self::ReplicaLag => "a time from 100ms to 1h",
            Self::HistoryListLength => "a number from 1000 to 1000000000",
            Self::FreeDisk => "bytes up to 1PiB, as 10GiB",
            Self::WorkWindow => "times and a zone, as 22:00-06:00 Europe/Berlin",
        }
    }
}

named!(Knob, "setting");

/// Why a `KEY=VALUE` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TuningError {
    #[error("`{0}` is not of the form KEY=VALUE")]
    Form(String),
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    #[error("{knob}=`{value}`: expected {}", knob.expected())]
    Value { knob: Knob, value: String },
    #[error("work_window=`{value}`: {why}")]
    Window { value: String, why: WrongWindow },
    #[error("{0} is given no value: `{0}=default` takes it back to its default")]
    Nothing(Knob),
}

/// One `KEY=VALUE`, checked. `KEY=default` means the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub knob: Knob,
    /// As it was written; `None` is the default.
    pub value: Option<String>,
}

impl FromStr for Assignment {
    type Err = TuningError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| TuningError::Form(text.to_owned()))?;
        let knob = key.trim().parse()?;
        let value = match value.trim() {
            "" => return Err(TuningError::Nothing(knob)),
            value => Some(value).filter(|value| *value != "default"),
        };
        if let Some(value) = value {
            Tuning::default().set(knob, value)?;
        }
        Ok(Self { knob, value: value.map(str::to_owned) })
    }
}

/// All settings, as a worker goes by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// Default 20 ms ([`ChunkSizer::TARGET`]): what an application write can wait for.
    pub chunk_target: Duration,
    /// Of each kind of work in each worker. By default what the worker was started with.
    pub concurrency: Option<u32>,
    /// Of each kind of work in the whole fleet. By default the workers' sum.
    pub fleet_concurrency: Option<u32>,
    /// Connections of the whole fleet. By default half of those that the server accepts, and
    /// fewer where others need them.
    pub connections: Option<u32>,
    /// Bytes in a second, by the whole fleet. By default as fast as can be.
    pub byte_rate: Option<u64>,
    /// Default on. Off is for a quiet hour: what the database suffers is then the
    /// operator's to watch.
    pub throttle: bool,
    /// Percent of the application's median latency that the fleet may add, and in proportion
    /// what it may add to the slowest hundredth; `None` is not measured. Default 25.
    pub impact: Option<u32>,
    pub limits: Limits,
}

/// Where the throttle begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Default 5 s: a reader of a replica notices not much more than that.
    pub replica_lag: Duration,
    /// By default what suits the server, as far as that can be seen.
    pub threads_running: Option<u32>,
    /// Default 1,000,000: beyond it every read of a hot row walks long chains of versions.
    pub history_list_length: u64,
    /// Default 10 at once: short waits are usual, a queue of them is not.
    pub lock_waits: u32,
    /// Bytes. Default 1 GiB: what is left for the application to go on with.
    pub free_disk: u64,
    /// By default at any hour.
    pub work_window: Option<WorkWindow>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            replica_lag: Duration::from_secs(5),
            threads_running: None,
            history_list_length: 1_000_000,
            lock_waits: 10,
            free_disk: bytesize::GIB,
            work_window: None,
        }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            chunk_target: ChunkSizer::TARGET,
            concurrency: None,
            fleet_concurrency: None,
            connections: None,
            byte_rate: None,
            throttle: true,
            impact: Some(DEFAULT_PERCENT),
            limits: Limits::default(),
        }
    }
}

impl Tuning {
    /// The settings with what is stored. A name or a value of another version is passed
    /// over: its default holds.
    #[must_use]
    pub fn of_stored<'a>(stored: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut tuning = Self::default();
        for (name, value) in stored {
            if let Ok(knob) = name.parse() {
                tuning.set(knob, value).unwrap_or_default();
            }
        }
        tuning
    }

    /// Sets one, as written.
    ///
    /// # Errors
    /// `Value` when it cannot be read or is out of range; nothing is set then.
    pub fn set(&mut self, knob: Knob, value: &str) -> Result<(), TuningError> {
        let wrong = || TuningError::Value { knob, value: value.to_owned() };
        let time = |least, most| {
            let time = humantime::parse_duration(value).ok();
            time.filter(|time| (least..=most).contains(time)).ok_or_else(wrong)
        };
        let number = |least: u64, most: u64| {
            let number = value.replace(['_', ','], "").parse().ok();
            number.filter(|number| (least..=most).contains(number)).ok_or_else(wrong)
        };
        let small = |most: u32| number(1, most.into()).map(|n| u32::try_from(n).unwrap_or(most));
        let bytes = |least: u64| {
            let size = value.trim_end_matches("/s").parse::<ByteSize>().ok();
            let size = size.map(|size| size.as_u64());
            size.filter(|size| (least..=bytesize::PIB).contains(size)).ok_or_else(wrong)
        };
        match knob {
            Knob::ChunkTarget => {
                self.chunk_target = time(Duration::from_millis(1), Duration::from_secs(1))?;
            }
            Knob::Concurrency => self.concurrency = Some(small(MAX_CONCURRENCY)?),
            Knob::FleetConcurrency => self.fleet_concurrency = Some(small(100_000)?),
            Knob::Connections => self.connections = Some(small(100_000)?),
            Knob::ByteRate => self.byte_rate = Some(bytes(64 * bytesize::KIB)?),
            Knob::Throttle => {
                self.throttle = match value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(wrong()),
                };
            }
            Knob::Impact => {
                self.impact = match value {
                    "off" => None,
                    _ => {
                        let percent = value.strip_suffix('%').and_then(|n| n.trim().parse().ok());
                        let percent = percent.filter(|percent| (1..=1_000).contains(percent));
                        Some(percent.ok_or_else(wrong)?)
                    }
                };
            }
            Knob::ReplicaLag => {
                self.limits.replica_lag =
                    time(Duration::from_millis(100), Duration::from_hours(1))?;
            }
            Knob::ThreadsRunning => self.limits.threads_running = Some(small(100_000)?),
            Knob::HistoryListLength => {
                self.limits.history_list_length = number(1_000, 1_000_000_000)?;
            }
            Knob::LockWaits => self.limits.lock_waits = small(100_000)?,
            Knob::FreeDisk => self.limits.free_disk = bytes(0)?,
            Knob::WorkWindow => {
                let wrong = |why| TuningError::Window { value: value.to_owned(), why };
                self.limits.work_window = Some(value.parse().map_err(wrong)?);
            }
        }
        Ok(())
    }

    /// The value of one, for people.
    #[must_use]
    pub fn show(&self, knob: Knob) -> String {
        let or = |value: Option<u32>, word: &str| {
            value.map_or_else(|| word.to_owned(), |value| value.to_string())
        };
        let size = |bytes| ByteSize::b(bytes).to_string();
        match knob {
            Knob::ChunkTarget => humantime::format_duration(self.chunk_target).to_string(),
            Knob::Concurrency => or(self.concurrency, "as started"),
            Knob::FleetConcurrency => or(self.fleet_concurrency, "unlimited"),
            Knob::Connections => or(self.connections, "automatic"),
            Knob::ByteRate => {
                self.byte_rate.map_or("unlimited".to_owned(), |rate| format!("{}/s", size(rate)))
            }
            Knob::Throttle => if self.throttle { "on" } else { "off" }.to_owned(),
            Knob::Impact => self.impact.map_or("off".to_owned(), |percent| format!("{percent}%")),
            Knob::ReplicaLag => humantime::format_duration(self.limits.replica_lag).to_string(),
            Knob::ThreadsRunning => or(self.limits.threads_running, "automatic"),
            Knob::HistoryListLength => self.limits.history_list_length.to_string(),
            Knob::LockWaits => self.limits.lock_waits.to_string(),
            Knob::FreeDisk => size(self.limits.free_disk),
            Knob::WorkWindow => self
                .limits
                .work_window
                .map_or_else(|| "any hour".to_owned(), |window| window.to_string()),
        }
    }

    /// How much a worker may do at once that was started with `own` and is the `rank`th
    /// (from 0) of `live` workers: its share of the fleet's, without anybody counting.
    #[must_use]
    pub fn share(&self, own: u32, rank: u32, live: u32) -> u32 {
        let own = self.concurrency.unwrap_or(own);
        let Some(fleet) = self.fleet_concurrency else { return own };
        let live = live.max(1);
        own.min(fleet / live + u32::from(rank < fleet % live))
    }
}

/// The most that [`Knob::Concurrency`] accepts.
const MAX_CONCURRENCY: u32 = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NIGHT: &str = "22:00-06:00 Europe/Berlin";

    #[test]
    fn every_setting_is_read_back() {
        let written = [
            "15ms", "3", "7", "40", "100MiB/s", "off", "40%", "2s", "12", "5000", "4", "20GiB",
            NIGHT,
        ];
        let mut tuning = Tuning::default();
        for (knob, value) in Knob::ALL.iter().copied().zip(written) {
            let text = format!("{knob}={value}");
            let assignment: Assignment = text.parse().expect("an assignment");
            assert_eq!(assignment, Assignment { knob, value: Some(value.to_owned()) });
            tuning.set(knob, value).expect("a value");
        }
        let stored = Knob::ALL.iter().map(Knob::into_str).zip(written);
        assert_eq!(Tuning::of_stored(stored), tuning);
        assert_eq!(tuning.show(Knob::ByteRate), "100.0 MiB/s");
        assert_eq!(tuning.show(Knob::ChunkTarget), "15ms");
        assert_eq!(Tuning::default().show(Knob::ThreadsRunning), "automatic");
    }

    #[test]
    fn nonsense_is_refused_in_one_sentence() {
        for (text, says) in [
            ("chunk_target", "KEY=VALUE"),
            ("warp=9", "expected one of chunk_target"),
            ("chunk_target=0ms", "from 1ms to 1s"),
            ("chunk_target=20", "from 1ms to 1s"),
            ("concurrency=0", "from 1 to 256"),
            ("concurrency=-1", "from 1 to 256"),
            ("connections=0", "from 1 to 100000"),
            ("byte_rate=1", "from 64KiB"),
            ("throttle=maybe", "on or off"),
            ("impact=25", "from 1% to 1000%"),
            ("impact=0%", "from 1% to 1000%"),
            ("impact=-1%", "from 1% to 1000%"),
            ("free_disk=lots", "10GiB"),
            ("work_window=night", "22:00-06:00 Europe/Berlin"),
            ("work_window=22:00-06:00 Berlin", "`Berlin` is no time zone"),
            // As a script writes it whose variable is empty.
            ("byte_rate=", "byte_rate=default"),
        ] {
            let refused = text.parse::<Assignment>().expect_err(text).to_string();
            assert!(refused.contains(says) && !refused.contains('\n'), "{text}: {refused}");
        }
    }

    #[test]
    fn nothing_is_the_default_and_other_versions_are_passed_over() {
        let default: Assignment = "lock_waits= default ".parse().expect("the default");
        assert_eq!(default.value, None);
        let odd = [("lock_waits", "some"), ("warp", "9"), ("pause", "on")];
        assert_eq!(Tuning::of_stored(odd), Tuning::default());
    }

    proptest! {
        #[test]
        fn shares_add_up_to_the_fleets(fleet in 1u32..5_000, live in 1u32..300) {
            let tuning = Tuning { fleet_concurrency: Some(fleet), ..Tuning::default() };
            let sum: u32 = (0..live).map(|rank| tuning.share(100_000, rank, live)).sum();
            prop_assert_eq!(sum, fleet);
            prop_assert!((0..live).all(|rank| tuning.share(3, rank, live) <= 3));
        }
    }
}
