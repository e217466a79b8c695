//! Failed logins, counted by address, in bounded memory: whoever fails too often waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// As many failures at once as somebody makes who mistypes.
const MAX_FAILURES: u32 = 10;
/// Then one in this time: a guesser gets nowhere.
const ONE_IN: Duration = Duration::from_secs(6);
/// Addresses that are remembered. Beyond it the one that failed longest ago is forgotten.
const ADDRESSES: usize = 4_096;

#[derive(Debug, Clone, Copy)]
struct Failed {
    /// What is left of it falls by one in [`ONE_IN`].
    times: u32,
    since: Instant,
}

impl Failed {
    fn at(self, now: Instant) -> Self {
        let steps = now.duration_since(self.since).as_secs() / ONE_IN.as_secs();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        if steps >= self.times {
            return Self { times: 0, since: now };
        }
        Self { times: self.times - steps, since: self.since + ONE_IN * steps }
    }
}

/// Who failed how often.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<IpAddr, Failed>>);

impl Failures {
    /// How long `address` has to wait before it may try again.
    pub(crate) fn wait(&self, address: IpAddr) -> Option<Duration> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let failed = failures.get(&network(address))?.at(now);
        (failed.times >= MAX_FAILURES)
            .then(|| (failed.since + ONE_IN).saturating_duration_since(now))
    }

    /// Counts a failure of `address`.
    pub(crate) fn count(&self, address: IpAddr) {
        let address = network(address);
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if failures.len() >= ADDRESSES && !failures.contains_key(&address) {
            failures.retain(|_, failed| failed.at(now).times > 0);
            let oldest = failures.iter().min_by_key(|(_, failed)| failed.since);
            if let (true, Some(oldest)) = (failures.len() >= ADDRESSES, oldest) {
                let oldest = *oldest.0;
                failures.remove(&oldest);
            }
        }
        let failed = failures.entry(address).or_insert(Failed { times: 0, since: now });
        *failed = failed.at(now);
        failed.times = failed.times.saturating_add(1).min(MAX_FAILURES);
    }
}

/// One subscriber's network: with IPv6 everybody has 2^64 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[tokio::test(start_paused = true)]
    async fn after_ten_failures_one_waits_and_others_do_not() {
        let failures = Failures::default();
        for _ in 0..MAX_FAILURES {
            assert_eq!(failures.wait(address(1)), None);
            failures.count(address(1));
        }
        assert_eq!(failures.wait(address(1)), Some(ONE_IN));
        assert_eq!(failures.wait(address(2)), None);
        tokio::time::advance(ONE_IN).await;
        assert_eq!(failures.wait(address(1)), None, "one more");
        failures.count(address(1));
        assert!(failures.wait(address(1)).is_some());
        tokio::time::advance(ONE_IN * MAX_FAILURES).await;
        for _ in 1..MAX_FAILURES {
            failures.count(address(1));
        }
        assert_eq!(failures.wait(address(1)), None, "all was forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let failures = Failures::default();
        for n in 0..3 * u32::try_from(ADDRESSES).expect("small") {
            failures.count(address(n));
        }
        assert!(failures.0.lock().expect("free").len() <= ADDRESSES);
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let read = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(read("2001:db8::1"), read("2001:db8::ffff:1"));
        assert_ne!(read("2001:db8::1"), read("2001:db8:0:1::1"));
        assert_eq!(read("::ffff:10.0.0.1"), read("10.0.0.1"));
    }
}
