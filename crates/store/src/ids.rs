//! Ids as people give them: whole, or so much of their beginning or end that it is one's only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Result, Store, StoreError};

/// Fewer characters are a typing error rather than an id.
const FEWEST_DIGITS: usize = 4;
/// The hexadecimal digits of an id, and how many of them stand before each dash.
const DIGITS: usize = 32;
const DASHES: [usize; 4] = [8, 12, 16, 20];
/// Ids that are named where one does not suffice.
const MAX_IDS_NAMED: u32 = 5;

/// What has an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    Run,
    Batch,
    Worker,
    Error,
}

impl IdKind {
    /// The table whose column `id` it is.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Run => "reelshift_runs",
            Self::Batch => "reelshift_batches",
            Self::Worker => "reelshift_workers",
            Self::Error => "processing_error_log",
        }
    }
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run",
            Self::Batch => "batch",
            Self::Worker => "worker",
            Self::Error => "error",
        })
    }
}

/// An id, or its first or last characters; dashes may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(pattern = "^[0-9A-Fa-f-]{4,36}$", example = "9015b697"))]
#[serde(try_from = "String", into = "String")]
pub struct IdPart(
    /// Hexadecimal digits, in lower case.
    String,
);

/// What is no part of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no id: give the whole one, or at least {FEWEST_DIGITS} of its first or last hexadecimal \
     digits"
)]
pub struct NoId;

impl FromStr for IdPart {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let digits: String = text
            .chars()
            .filter(|letter| *letter != '-')
            .map(|letter| letter.to_ascii_lowercase())
            .collect();
        let fits = (FEWEST_DIGITS..=DIGITS).contains(&digits.len())
            && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if fits { Ok(Self(digits)) } else { Err(NoId) }
    }
}

impl TryFrom<String> for IdPart {
    type Error = NoId;

    fn try_from(text: String) -> Result<Self, NoId> {
        text.parse()
    }
}

impl From<IdPart> for String {
    fn from(part: IdPart) -> Self {
        part.0
    }
}

impl From<Uuid> for IdPart {
    fn from(id: Uuid) -> Self {
        Self(id.simple().to_string())
    }
}

impl fmt::Display for IdPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl IdPart {
    fn whole(&self) -> Option<Uuid> {
        (self.0.len() == DIGITS).then(|| Uuid::try_parse(&self.0).ok()).flatten()
    }

    /// What an id that begins with this is like, as SQL's LIKE has it.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.dashed(0) + "%"
    }

    /// What an id that ends with this is like.
    #[must_use]
    pub fn suffix(&self) -> String {
        format!("%{}", self.dashed(DIGITS - self.0.len()))
    }

    /// The digits with the dashes that an id has between them, where they begin at `start`.
    fn dashed(&self, start: usize) -> String {
        let mut text = String::with_capacity(DIGITS + DASHES.len());
        for (place, digit) in self.0.chars().enumerate() {
            if place > 0 && DASHES.contains(&(start + place)) {
                text.push('-');
            }
            text.push(digit);
        }
        text
    }
}

/// The one id that `part` stands for. A whole one is not looked up.
///
/// # Errors
/// `Invalid` when there is none, or more than one; otherwise as the store.
pub async fn find(store: &dyn Store, kind: IdKind, part: &IdPart) -> Result<Uuid> {
    if let Some(id) = part.whole() {
        return Ok(id);
    }
    let found = store.ids_like(kind, part, MAX_IDS_NAMED).await?;
    match &found[..] {
        [id] => Ok(*id),
        [] => Err(StoreError::Invalid(format!(
            "no {kind} has an id that begins or ends with {part}: look for it with `reelshift status` \
             or on the dashboard"
        ))),
        [..] => {
            let ids = found.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ");
            Err(StoreError::Invalid(format!(
                "{part} is part of the id of more than one {kind}: give more of it ({ids})"
            )))
        }
    }
}

/// As [`find`], where none may be given.
///
/// # Errors
/// As [`find`].
pub async fn find_given(
    store: &dyn Store,
    kind: IdKind,
    part: Option<&IdPart>,
) -> Result<Option<Uuid>> {
    match part {
        Some(part) => find(store, kind, part).await.map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_stand_where_an_id_has_them() {
        let id = "0198f000-aaaa-7bbb-8ccc-dddddddddddd";
        let part = |text: &str| text.parse::<IdPart>().expect("a part");
        assert_eq!(part("0198F000AAAA").prefix(), "0198f000-aaaa%");
        assert_eq!(part("0198f000-aa").prefix(), "0198f000-aa%");
        assert_eq!(part("0198f000").prefix(), "0198f000%");
        assert_eq!(part("dddddddddddd").suffix(), "%dddddddddddd");
        assert_eq!(part("cccdddddddddddd").suffix(), "%ccc-dddddddddddd");
        assert_eq!(part("8ccc-dddddddddddd").suffix(), "%8ccc-dddddddddddd");
        assert_eq!(part(id).whole().map(|id| id.to_string()).as_deref(), Some(id));
        assert_eq!(part("dddd").whole(), None);
    }

    #[test]
    fn what_is_no_part_of_an_id_is_refused() {
        let long = "0".repeat(33);
        for text in ["", "abc", "foo0", "0198f000%", "a_bc", "----", &long, "０１９８"] {
            assert_eq!(text.parse::<IdPart>(), Err(NoId), "{text}");
        }
    }
}
