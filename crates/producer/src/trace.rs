//! W3C trace context: every batch is one trace, from enqueue through all its attempts.

/// A new sampled `traceparent`, as in the W3C Trace Context recommendation, version 00.
#[must_use]
pub fn new_traceparent() -> String {
    // Zero ids are invalid; both draws miss zero but for odds of 2^-64.
    format!("00-{:032x}-{:016x}-01", rand::random::<u128>().max(1), rand::random::<u64>().max(1))
}

/// The trace id (32 hex digits) in a `traceparent`: what an error row is correlated by.
#[must_use]
pub fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.split('-').nth(1).filter(|id| id.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_read_back() {
        let parent = new_traceparent();
        assert_eq!(parent.len(), 55);
        assert_eq!(trace_id(&parent).map(str::len), Some(32));
        assert_eq!(trace_id("nonsense"), None);
    }
}
