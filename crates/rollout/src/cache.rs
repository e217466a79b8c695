//! The flags as one process sees them: read at most every second, and never much older
//! than that while the database answers, so that every process sees a change within 2 s.

use std::sync::Arc;
use std::time::Duration;

use reelshift_plan::{Flag, Rollout};
use reelshift_store::{Flags, Result, StoreError};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::initial::{InitialFlags, initialise};

/// How long what was read is used.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// How long a read may take while there are values to go on with; together with
/// [`REFRESH_EVERY`] below the two seconds within which a change is cached.
const READ_TIMEOUT: Duration = Duration::from_millis(900);

/// The flags of one process. Share it: every user of the same cache sees the same values.
#[derive(Debug)]
pub struct FlagCache {
    store: Arc<dyn Flags>,
    initial: InitialFlags,
    by: String,
    cached: Mutex<CachedFlags>,
}

#[derive(Debug, Default)]
struct CachedFlags {
    values: Option<FlagValues>,
    /// The database is not read again before this.
    next_read: Option<Instant>,
}

/// The flags as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagValues {
    rollouts: [Rollout; Flag::ALL.len()],
    read_at: Instant,
    trouble: Option<String>,
}

impl FlagValues {
    #[must_use]
    pub const fn rollout(&self, flag: Flag) -> Rollout {
        self.rollouts[flag as usize]
    }

    /// Whether the flag is on for any video at all.
    #[must_use]
    pub const fn is_on(&self, flag: Flag) -> bool {
        self.rollout(flag).is_on()
    }

    /// Whether the flag is on for this video. The id counts as the database stores it.
    #[must_use]
    pub fn is_on_for(&self, flag: Flag, video_id: &str) -> bool {
        self.rollout(flag).includes(video_id)
    }

    /// How old these values are.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.read_at.elapsed()
    }

    /// Why there are no newer values, when the database was asked and did not answer.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

impl FlagCache {
    /// A cache of the flags in `store`. Flags that are not stored yet are stored at the
    /// first use, with their `initial` values, as written `by` this process.
    #[must_use]
    pub fn new(store: Arc<dyn Flags>, initial: InitialFlags, by: String) -> Self {
        Self { store, initial, by, cached: Mutex::default() }
    }

    /// The flags, at most about a second old. While the database does not answer these are
    /// the last that were read, and they say how old they are and why.
    ///
    /// Where there is no table of flags (before expand, after a rollback) all are off:
    /// what they would switch on is not certain to be there.
    ///
    /// # Errors
    /// As the store, when the flags have never been read yet.
    pub async fn current(&self) -> Result<FlagValues> {
        let mut cached = self.cached.lock().await;
        let began = Instant::now();
        if let (Some(values), Some(next_read)) = (&cached.values, cached.next_read)
            && began < next_read
        {
            return Ok(values.clone());
        }
        let read = match &cached.values {
            None => self.read().await,
            Some(_) => match timeout(READ_TIMEOUT, self.read()).await {
                Ok(read) => read,
                Err(_) => Err(StoreError::Transient {
                    code: None,
                    message: format!("no answer within {} ms", READ_TIMEOUT.as_millis()),
                }),
            },
        };
        match read {
            Ok(rollouts) => {
                if cached.values.as_ref().is_some_and(|values| values.trouble.is_some()) {
                    tracing::info!("feature flags are read again");
                }
                let values = FlagValues { rollouts, read_at: began, trouble: None };
                cached.next_read = Some(began + REFRESH_EVERY);
                cached.values = Some(values.clone());
                Ok(values)
            }
            Err(error) => {
                let Some(values) = &mut cached.values else { return Err(error) };
                if values.trouble.is_none() {
                    tracing::warn!(%error, "feature flags cannot be read: the last values stay");
                }
                values.trouble = Some(error.to_string());
                let values = values.clone();
                // From now on, not from when it began: callers must not queue for one
                // read after the other that does not answer.
                cached.next_read = Some(Instant::now() + REFRESH_EVERY);
                Ok(values)
            }
        }
    }

    async fn read(&self) -> Result<[Rollout; Flag::ALL.len()]> {
        let Some(mut stored) = self.store.flags().await? else {
            return Ok([Rollout::OFF; Flag::ALL.len()]);
        };
        if stored.len() < Flag::ALL.len() {
            initialise(&*self.store, self.initial, &self.by).await?;
            stored = self.store.flags().await?.unwrap_or_default();
        }
        let mut rollouts = [Rollout::OFF; Flag::ALL.len()];
        for stored in stored {
            rollouts[stored.flag as usize] = stored.rollout;
        }
        Ok(rollouts)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use reelshift_plan::FlagAction;
    use reelshift_store::flags::{FlagChange, FlagSetting, StoredFlag};

    use super::*;

    /// What the database does when it is asked.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Mood {
        Answers,
        Fails,
        Hangs,
        NotExpanded,
    }

    #[derive(Debug)]
    struct Database {
        mood: std::sync::Mutex<Mood>,
        flags: std::sync::Mutex<Vec<(Flag, Rollout)>>,
        reads: AtomicU32,
    }

    impl Database {
        fn set(&self, flag: Flag, rollout: Rollout) {
            let mut flags = self.flags.lock().expect("no test panics in it");
            flags.retain(|(stored, _)| *stored != flag);
            flags.push((flag, rollout));
        }

        fn becomes(&self, mood: Mood) {
            *self.mood.lock().expect("no test panics in it") = mood;
        }
    }

    #[async_trait]
    impl Flags for Database {
        async fn flags(&self) -> Result<Option<Vec<StoredFlag>>> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let mood = *self.mood.lock().expect("no test panics in it");
            match mood {
                Mood::Answers => {}
                Mood::NotExpanded => return Ok(None),
                Mood::Hangs => std::future::pending().await,
                Mood::Fails => {
                    return Err(StoreError::Transient { code: None, message: "away".to_owned() });
                }
            }
            let flags = self.flags.lock().expect("no test panics in it");
            let stored = |(flag, rollout): &(Flag, Rollout)| StoredFlag {
                flag: *flag,
                rollout: *rollout,
                updated_by: "ops".to_owned(),
                updated_at: chrono::DateTime::UNIX_EPOCH,
            };
            Ok(Some(flags.iter().map(stored).collect()))
        }

        async fn store_initial_flags(
            &self,
            initial: &[(Flag, bool)],
            _: &str,
        ) -> Result<Vec<Flag>> {
            for (flag, enabled) in initial {
                self.set(*flag, Rollout { enabled: *enabled, percent: 100 });
            }
            Ok(initial.iter().map(|(flag, _)| *flag).collect())
        }

        async fn set_flags(
            &self,
            _: FlagAction,
            _: &[FlagSetting],
            _: Option<&str>,
            _: &str,
        ) -> Result<Vec<FlagChange>> {
            Ok(Vec::new())
        }

        async fn flag_changes(&self, _: u32) -> Result<Vec<FlagChange>> {
            Ok(Vec::new())
        }
    }

    fn cache() -> (Arc<Database>, FlagCache) {
        let database = Arc::new(Database {
            mood: Mood::Answers.into(),
            flags: Vec::new().into(),
            reads: AtomicU32::new(0),
        });
        let initial = InitialFlags::from_variables(|_| None);
        let cache = FlagCache::new(database.clone(), initial, "test".to_owned());
        (database, cache)
    }

    const FLAG: Flag = Flag::EnhancedVideoProcessing;

    #[tokio::test(start_paused = true)]
    async fn missing_flags_are_stored_at_first_use() {
        let (database, cache) = cache();
        let values = cache.current().await.expect("read");
        assert_eq!(
            Flag::ALL.map(|flag| values.is_on(flag)),
            [false, false, false, true],
            "the specification's initial values"
        );
        assert_eq!(database.flags.lock().expect("free").len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_seen_within_two_seconds_and_the_database_asked_once_a_second() {
        let (database, cache) = cache();
        cache.current().await.expect("read");
        database.reads.store(0, Ordering::Relaxed);
        database.set(FLAG, Rollout::ON);
        let changed = Instant::now();
        while !cache.current().await.expect("read").is_on(FLAG) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(changed.elapsed() < Duration::from_secs(2));
        assert_eq!(database.reads.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn in_trouble_the_last_values_stay_and_say_how_old_they_are() {
        let (database, cache) = cache();
        database.set(FLAG, Rollout::ON);
        cache.current().await.expect("read");
        for mood in [Mood::Fails, Mood::Hangs] {
            database.becomes(mood);
            tokio::time::sleep(Duration::from_secs(30)).await;
            let asked = Instant::now();
            let values = cache.current().await.expect("the last values");
            assert!(asked.elapsed() < REFRESH_EVERY, "{mood:?}");
            assert!(values.is_on(FLAG) && values.trouble().is_some(), "{mood:?}: {values:?}");
            assert!(values.age() >= Duration::from_secs(30), "{mood:?}: {:?}", values.age());
            let asked = Instant::now();
            cache.current().await.expect("the last values");
            assert_eq!(asked.elapsed(), Duration::ZERO, "nobody waits for the next read");
        }
        database.becomes(Mood::Answers);
        tokio::time::sleep(REFRESH_EVERY).await;
        let values = cache.current().await.expect("read");
        assert_eq!((values.trouble(), values.age()), (None, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn without_any_values_trouble_is_an_error() {
        let (database, cache) = cache();
        database.becomes(Mood::Fails);
        assert!(cache.current().await.is_err());
        database.becomes(Mood::Answers);
        assert!(cache.current().await.is_ok(), "the next caller asks again at once");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_table_of_flags_all_are_off() {
        let (database, cache) = cache();
        database.becomes(Mood::NotExpanded);
        let values = cache.current().await.expect("read");
        assert!(Flag::ALL.iter().all(|flag| !values.is_on(*flag)));
    }
}
