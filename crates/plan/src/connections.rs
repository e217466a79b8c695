//! The fleet's share of the server's connections: an application that meets error 1040 has no
//! database.

/// The fleet's part of all connections, unless it is tuned: one of so many.
const SHARE_PART: u32 = 2;

/// The part of all connections that stays free: one of so many.
const FREE_PART: u32 = 5;

/// Connections that a worker's pool opens at most: one for each batch of its concurrency, and
/// three for claims, ends, results and looks, which take turns. What `tune concurrency=…` adds
/// takes turns with them.
#[must_use]
pub const fn of_pool(concurrency: u32) -> u32 {
    concurrency.saturating_add(3)
}

/// Connections that a worker opens at most: its pool's, and one for its heartbeats.
#[must_use]
pub const fn of_worker(pool: u32) -> u32 {
    pool.saturating_add(1)
}

/// The server's connections at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// As many as the server accepts.
    pub max: u32,
    /// Those that are open.
    pub open: u32,
    /// Of these, those of the account that asks: the fleet's, and the application's where it
    /// uses the same account.
    pub account: u32,
}

impl Connections {
    #[must_use]
    pub const fn free(self) -> u32 {
        self.max.saturating_sub(self.open)
    }

    /// Those that should stay free.
    #[must_use]
    pub const fn reserve(self) -> u32 {
        self.max.div_ceil(FREE_PART)
    }

    /// Those that the whole fleet may open: as `tuned`, else half; never what others have open
    /// or what should stay free.
    #[must_use]
    pub fn share(self, tuned: Option<u32>) -> u32 {
        let others = self.open.saturating_sub(self.account);
        let left = self.max.saturating_sub(others + self.reserve());
        tuned.unwrap_or(self.max / SHARE_PART).min(left)
    }

    /// Workers that may work, each of which opens `each` connections at most. At least one: a
    /// fleet that stood still beside an application with many connections would never end.
    #[must_use]
    pub fn workers(self, tuned: Option<u32>, each: u32) -> u32 {
        // Where others came faster than the fleet gave back.
        if self.free() < self.reserve() / 2 {
            return 1;
        }
        (self.share(tuned) / each.max(1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEFAULT_MAX: u32 = 151;

    fn beside(others: u32, account: u32) -> Connections {
        Connections { max: DEFAULT_MAX, open: others + account, account }
    }

    #[test]
    fn half_is_the_fleets_unless_others_have_it_or_it_is_tuned() {
        assert_eq!(beside(20, 10).share(None), 75);
        assert_eq!(beside(80, 10).share(None), 40, "a fifth stays free");
        assert_eq!(beside(150, 1).share(None), 0);
        assert_eq!(beside(20, 10).share(Some(12)), 12);
        assert_eq!(beside(80, 10).share(Some(1_000)), 40);
    }

    #[test]
    fn fifty_workers_leave_the_application_its_connections() {
        assert_eq!(beside(20, 50).workers(None, 7), 10);
        assert_eq!(beside(20, 50).workers(Some(15), 7), 2);
        assert_eq!(beside(120, 20).workers(None, 7), 1, "one goes on");
        assert_eq!(beside(140, 1).workers(Some(100), 7), 1);
    }

    proptest! {
        #[test]
        fn those_that_work_keep_within_the_share(
            max in 1u32..5_000,
            others in 0u32..5_000,
            account in 0u32..5_000,
            tuned in proptest::option::of(1u32..5_000),
            each in 1u32..100,
        ) {
            let connections = Connections { max, open: others + account, account };
            let share = connections.share(tuned);
            prop_assert!(share + connections.reserve() + others <= max || share == 0);
            let workers = connections.workers(tuned, each);
            prop_assert!(workers == 1 || workers * each <= share);
        }
    }
}
