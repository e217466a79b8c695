//! `IN` lists of bound values in few shapes: every number of placeholders is a statement
//! of its own to the server, and a connection keeps only so many prepared.

use sqlx::{Encode, MySql, QueryBuilder, Type};

/// Values that one statement names at most. With more, 36 characters each, a statement is
/// longer than one TLS record of 16 KiB, and the driver (which leaves Nagle's algorithm on)
/// sends the rest of it only when the server has acknowledged the first: 40 ms a statement.
pub(crate) const MAX_LISTED_VALUES: usize = 256;

/// `items`, the last repeated until their number is a power of two.
pub(crate) fn padded<T>(items: &[T]) -> impl Iterator<Item = &T> {
    let padding = items.len().next_power_of_two() - items.len();
    items.iter().chain(items.last().into_iter().cycle().take(padding))
}

/// Appends `(?, ?, …)` for `items`, which are not empty.
pub(crate) fn push<T>(query: &mut QueryBuilder<MySql>, items: &[T])
where
    T: Clone + for<'q> Encode<'q, MySql> + Type<MySql>,
{
    query.push("(");
    let mut list = query.separated(", ");
    for item in padded(items) {
        list.push_bind(item.clone());
    }
    query.push(")");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_few_shapes() {
        let items: Vec<usize> = (0..300).collect();
        for length in 1..=300 {
            let padded: Vec<usize> = padded(&items[..length]).copied().collect();
            assert!(padded.len().is_power_of_two());
            assert_eq!(padded[..length], items[..length]);
            assert!(padded[length..].iter().all(|item| *item == length - 1));
        }
    }
}
