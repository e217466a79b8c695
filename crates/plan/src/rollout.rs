//! Feature flags: which there are, and for which videos one is on.
//!
//! A video's bucket is `CRC-32(id) mod 100`: the CRC-32 of zlib, gzip and ISO-HDLC
//! (polynomial 0x04C11DB7, reflected) over the id's UTF-8 bytes. Every process and every
//! version computes the same; so does an application, by `zlib.crc32(id.encode()) % 100`
//! in Python or `CRC32(id) % 100` in MySQL and MariaDB. A flag at P percent is on for the
//! buckets below P, so that raising P adds videos and takes none away, and two flags at
//! the same percentage are on for the same videos.

use serde::{Deserialize, Serialize};

use crate::state::{UnknownName, named};

/// The specification's feature flags. The name is stored; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Flag {
    /// Which of the two status readers answers.
    EnhancedVideoProcessing,
    /// Whether triggers queue notifications and the dispatcher delivers them.
    RealtimeNotifications,
    /// Whether readers show error details: recovery strategy, correlation id.
    AdvancedErrorHandling,
    /// Whether the server's load is sampled.
    PerformanceMonitoring,
}

impl Flag {
    pub const ALL: [Self; 4] = [
        Self::EnhancedVideoProcessing,
        Self::RealtimeNotifications,
        Self::AdvancedErrorHandling,
        Self::PerformanceMonitoring,
    ];

    /// What the specification's application rollback switches off: all that changes what
    /// the platform's users see. Monitoring stays, since it is needed most then.
    pub const EMERGENCY: [Self; 3] =
        [Self::EnhancedVideoProcessing, Self::RealtimeNotifications, Self::AdvancedErrorHandling];

    /// The specification's environment variable, which gives the flag's initial value.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::EnhancedVideoProcessing => "ENABLE_ENHANCED_PROCESSING",
            Self::RealtimeNotifications => "ENABLE_REALTIME_NOTIFICATIONS",
            Self::AdvancedErrorHandling => "ENABLE_ADVANCED_ERROR_HANDLING",
            Self::PerformanceMonitoring => "ENABLE_PERFORMANCE_MONITORING",
        }
    }

    /// The initial value, given that of [`Self::variable`]: whether it is `true`, in any
    /// case of letters. Without it only monitoring is on.
    #[must_use]
    pub fn initially(self, variable: Option<&str>) -> bool {
        match variable {
            Some(value) => value.eq_ignore_ascii_case("true"),
            None => self == Self::PerformanceMonitoring,
        }
    }
}

named!(Flag, "flag");

/// Why a flag has the value that it has. The name is stored; it never changes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum FlagAction {
    /// Stored for the first time, from the environment.
    Initial,
    Enable,
    Disable,
    Rollout,
    EmergencyDisable,
}

impl FlagAction {
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
}

named!(FlagAction, "flag action");

/// For which videos a flag is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rollout {
    pub enabled: bool,
    /// 0 to 100; of no effect while the flag is not enabled.
    #[serde(rename = "rollout_percent")]
    pub percent: u8,
}

impl Rollout {
    pub const OFF: Self = Self { enabled: false, percent: 100 };
    pub const ON: Self = Self { enabled: true, percent: 100 };

    /// Whether the flag is on for any video at all: 0 % is off.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.enabled && self.percent > 0
    }

    /// Whether the flag is on for this video.
    #[must_use]
    pub fn includes(self, video_id: &str) -> bool {
        self.enabled && bucket(video_id) < self.percent
    }
}

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// The video's bucket, 0 to 99.
#[must_use]
pub fn bucket(video_id: &str) -> u8 {
    (CRC.checksum(video_id.as_bytes()) % 100) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Computed by Python's `zlib.crc32(id.encode()) % 100`. A change here would move
    /// videos from one reader to the other in the middle of a rollout.
    #[test]
    fn buckets_never_change() {
        for (id, expected) in BUCKETS {
            assert_eq!(bucket(id), expected, "{id}");
        }
    }

    const BUCKETS: [(&str, u8); 5] = [
        ("", 0),
        ("123456789", 62),
        ("test-video-id", 97),
        ("0190b5a4-7c1e-7f3a-9d2b-5e8f6a7c1d20", 56),
        ("vidéo", 27),
    ];

    proptest! {
        #[test]
        fn more_percent_takes_no_video_away(id: String, low in 0u8..=100, high in 0u8..=100) {
            let (low, high) = (low.min(high), low.max(high));
            let at = |percent| Rollout { enabled: true, percent }.includes(&id);
            prop_assert!(!at(low) || at(high));
            prop_assert!(at(100) && !at(0));
        }

        #[test]
        fn a_flag_that_is_not_enabled_includes_nothing(id: String, percent in 0u8..=100) {
            let rollout = Rollout { enabled: false, percent };
            prop_assert!(!rollout.includes(&id) && !rollout.is_on());
        }

        #[test]
        fn a_percentage_is_that_share_of_random_ids(seed: u64, percent in 1u8..100) {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            let included = (0..2_000)
                .map(|_| format!("{:032x}", rng.random::<u128>()))
                .filter(|id| Rollout { enabled: true, percent }.includes(id))
                .count();
            // Six standard deviations of 2,000 draws.
            prop_assert!(included.abs_diff(usize::from(percent) * 20) < 135, "{included}");
        }
    }

    #[test]
    fn ids_that_count_up_fill_every_bucket() {
        let mut buckets = [0_u32; 100];
        for n in 0..100_000 {
            buckets[usize::from(bucket(&format!("video-{n:06}")))] += 1;
        }
        assert!(buckets.iter().all(|count| (800..1_200).contains(count)), "{buckets:?}");
    }

    #[test]
    fn initial_values_are_the_specifications() {
        let without = Flag::ALL.map(|flag| flag.initially(None));
        assert_eq!(without, [false, false, false, true]);
        for flag in Flag::ALL {
            assert!(flag.initially(Some("TRUE")) && flag.initially(Some("true")));
            assert!(!flag.initially(Some("1")) && !flag.initially(Some("")));
        }
    }

    #[test]
    fn an_unknown_flag_is_told_the_four() {
        let unknown = "turbo".parse::<Flag>().expect_err("no flag").to_string();
        assert!(Flag::ALL.iter().all(|flag| unknown.contains(flag.into_str())), "{unknown}");
    }
}
