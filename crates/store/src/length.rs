//! The lengths of the text columns that more than one statement writes, and texts cut to them.
//! Adapters cut instead of refusing: a long host name must not lose an error row. SQLite
//! enforces no length, but its rows must fit into every database.

/// The name of a control, of a version.
pub const NAME_CHARACTERS: usize = 64;

/// The value of a control.
pub const VALUE_CHARACTERS: usize = 255;

/// Who did something: `changed_by`, `created_by`, `updated_by`.
pub const BY_CHARACTERS: usize = 255;

/// Who holds a duty, a planner's lease or notifications.
pub const HOLDER_CHARACTERS: usize = 255;

/// `processing_error_log.processing_stage`
pub const STAGE_CHARACTERS: usize = 50;

/// `processing_error_log.error_type`
pub const ERROR_TYPE_CHARACTERS: usize = 100;

/// `processing_error_log.error_code`
pub const ERROR_CODE_CHARACTERS: usize = 50;

/// `processing_error_log.recovery_strategy`
pub const STRATEGY_CHARACTERS: usize = 100;

/// `processing_error_log.correlation_id`
pub const CORRELATION_CHARACTERS: usize = 36;

/// A TEXT column.
pub const TEXT_BYTES: usize = 65_535;

/// The first `characters` of `text`.
#[must_use]
pub fn cut(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

/// The longest beginning of `text` that has at most `bytes` bytes.
#[must_use]
pub fn cut_bytes(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::{cut, cut_bytes};

    #[test]
    fn no_letter_is_cut_in_two() {
        assert_eq!(cut("häßlich", 3), "häß");
        assert_eq!(cut("kurz", 50), "kurz");
        assert_eq!(cut_bytes("häßlich", 4), "hä");
        assert_eq!(cut_bytes("kurz", 50), "kurz");
    }
}
