//! The one language in which failures are looked for: on pages, on the command line and in the
//! API. `cause:file_missing since:1h worker:8f71 path:missing/ video:1ab0*`

use std::fmt;
use std::ops::{Range, RangeInclusive};

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use reelshift_plan::JobKind;
use reelshift_store::failures::{ErrorSelection, Pattern};
use reelshift_store::ids::{self, IdKind, IdPart};
use reelshift_store::ledger::{RerunSelection, Since};
use reelshift_store::{Result, Store, StoreError};

/// Years that every database can compare with.
const YEARS: RangeInclusive<i32> = 1..=9999;

/// A longer one is no question of a person.
const MAX_CHARACTERS: usize = 4_000;

/// Each that is not whole is looked up. A page of failures has fifty.
const MAX_ERRORS: usize = 100;

/// What a query can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str, serialize_all = "snake_case")]
enum Key {
    Cause,
    Stage,
    Since,
    Run,
    Batch,
    Worker,
    Video,
    Path,
    Text,
    Error,
    Is,
}

impl Key {
    const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
}

/// What became of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str, serialize_all = "snake_case")]
enum Fate {
    /// No later attempt has succeeded.
    Open,
    Recovered,
    Quarantined,
    /// Quarantined, and somebody has said that it stays there.
    Accepted,
}

impl Fate {
    const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
}

/// What is wrong with a query, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the query is wrong at character {}: {why}", place + 1)]
pub struct WrongQuery {
    /// Characters before it.
    pub place: usize,
    pub why: String,
}

/// Failures to be found. Every term must hold; without any, all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    cause: Option<String>,
    stage: Option<JobKind>,
    since: Option<Since>,
    run: Option<IdPart>,
    batch: Option<IdPart>,
    worker: Option<IdPart>,
    video: Option<String>,
    path: Option<String>,
    text: Option<String>,
    errors: Option<Vec<IdPart>>,
    fate: Option<Fate>,
}

impl std::str::FromStr for Query {
    type Err = WrongQuery;

    fn from_str(text: &str) -> Result<Self, WrongQuery> {
        let letters: Vec<char> = text.chars().collect();
        if letters.len() > MAX_CHARACTERS {
            let why = format!("it is longer than {MAX_CHARACTERS} characters");
            return Err(WrongQuery { place: MAX_CHARACTERS, why });
        }
        let mut query = Self::default();
        for term in terms(&letters)? {
            query.add(&letters, term)?;
        }
        Ok(query)
    }
}

/// The stretches between spaces that no quotation marks enclose.
fn terms(letters: &[char]) -> Result<Vec<Range<usize>>, WrongQuery> {
    let mut terms = Vec::new();
    let mut begin = None;
    let mut quoted = None;
    for (place, letter) in letters.iter().enumerate() {
        if *letter == '"' && !is_escaped(letters, place) {
            quoted = if quoted.is_none() { Some(place) } else { None };
        }
        if letter.is_whitespace() && quoted.is_none() {
            terms.extend(begin.take().map(|begin| begin..place));
        } else {
            begin.get_or_insert(place);
        }
    }
    if let Some(place) = quoted {
        let why = "the quotation mark is not closed: add another one".to_owned();
        return Err(WrongQuery { place, why });
    }
    terms.extend(begin.map(|begin| begin..letters.len()));
    Ok(terms)
}

/// Whether a backslash stands before it that is no escaped one itself.
fn is_escaped(letters: &[char], place: usize) -> bool {
    letters[..place].iter().rev().take_while(|letter| **letter == '\\').count() % 2 == 1
}

impl Query {
    /// What failed with this video, whatever letters its id has.
    #[must_use]
    pub fn of_video(id: &str) -> Self {
        let id = Pattern::exactly(id).as_str().to_owned();
        Self { video: Some(id), ..Self::default() }
    }

    fn add(&mut self, letters: &[char], term: Range<usize>) -> Result<(), WrongQuery> {
        let wrong = |place, why: String| WrongQuery { place, why };
        let written = |range: Range<usize>| letters[range].iter().collect::<String>();
        let keys = || Key::ALL.iter().map(Key::into_str).collect::<Vec<_>>().join(", ");
        let Some(colon) = letters[term.clone()].iter().position(|letter| *letter == ':') else {
            let text = written(term.clone());
            let why =
                format!("`{text}` has no key: write KEY:VALUE, where KEY is one of {}", keys());
            return Err(wrong(term.start, why));
        };
        let colon = term.start + colon;
        let name = written(term.start..colon);
        let key = Key::ALL.iter().copied().find(|key| key.into_str() == name).ok_or_else(|| {
            wrong(term.start, format!("there is no key `{name}`: take one of {}", keys()))
        })?;
        let value = (colon + 1..term.end).filter(|place| {
            let next = letters.get(place + 1) == Some(&'"');
            match letters[*place] {
                '"' => is_escaped(letters, *place),
                '\\' => !next || is_escaped(letters, *place),
                _ => true,
            }
        });
        let value: String = value.map(|place| letters[place]).collect();
        if value.is_empty() {
            return Err(wrong(colon + 1, format!("`{name}:` has no value: write {name}:VALUE")));
        }
        if !self.set(key, value).map_err(|why| wrong(colon + 1, why))? {
            let why = format!("`{name}` is given twice: all terms must hold, so give it once");
            return Err(wrong(term.start, why));
        }
        Ok(())
    }

    /// Sets what `key` asks for; `false` where it was set before.
    fn set(&mut self, key: Key, value: String) -> Result<bool, String> {
        fn set<T>(field: &mut Option<T>, value: T) -> bool {
            field.replace(value).is_none()
        }
        let id = |value: &str| value.parse::<IdPart>().map_err(|error| error.to_string());
        Ok(match key {
            Key::Cause => set(&mut self.cause, value),
            Key::Stage => set(&mut self.stage, value.parse().map_err(|error| format!("{error}"))?),
            Key::Since => set(&mut self.since, since(&value)?),
            Key::Run => set(&mut self.run, id(&value)?),
            Key::Batch => set(&mut self.batch, id(&value)?),
            Key::Worker => set(&mut self.worker, id(&value)?),
            Key::Video => set(&mut self.video, value),
            Key::Path => set(&mut self.path, value),
            Key::Text => set(&mut self.text, value),
            Key::Error => {
                let ids: Vec<_> = value.split(',').map(id).collect::<Result<_, _>>()?;
                if ids.len() > MAX_ERRORS {
                    return Err(format!("give at most {MAX_ERRORS} ids"));
                }
                set(&mut self.errors, ids)
            }
            Key::Is => {
                let fate = Fate::ALL.iter().copied().find(|fate| fate.into_str() == value);
                let names = || Fate::ALL.iter().map(Fate::into_str).collect::<Vec<_>>().join(", ");
                set(&mut self.fate, fate.ok_or_else(|| format!("give one of {}", names()))?)
            }
        })
    }

    /// Whether it asks for nothing in particular.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The rows of the error log that it finds.
    ///
    /// # Errors
    /// `Invalid` for an id that is nobody's, or more than one's; otherwise as the store.
    pub async fn selection(&self, store: &dyn Store) -> Result<ErrorSelection> {
        let find = |kind, part: &Option<IdPart>| {
            let part = part.clone();
            async move { ids::find_given(store, kind, part.as_ref()).await }
        };
        let exact = |text: &Option<String>| Pattern::new(text.clone()?).literal();
        let pattern = |text: &Option<String>| {
            text.clone().map(Pattern::new).filter(|pattern| pattern.literal().is_none())
        };
        let mut errors = Vec::new();
        for part in self.errors.iter().flatten() {
            errors.push(ids::find(store, IdKind::Error, part).await?);
        }
        Ok(ErrorSelection {
            ids: errors,
            batch: find(IdKind::Batch, &self.batch).await?,
            run: find(IdKind::Run, &self.run).await?,
            worker: find(IdKind::Worker, &self.worker).await?,
            error_type: exact(&self.cause),
            error_types: pattern(&self.cause),
            processing_stage: self.stage.map(|stage| stage.to_string()),
            video: exact(&self.video),
            videos: pattern(&self.video),
            path: self.path.as_deref().map(Pattern::beginning),
            message: self.text.as_deref().map(Pattern::containing),
            since: self.since,
            recovered: match self.fate {
                Some(Fate::Open) => Some(false),
                Some(Fate::Recovered) => Some(true),
                Some(Fate::Quarantined | Fate::Accepted) | None => None,
            },
            accepted: match self.fate {
                Some(Fate::Quarantined) => Some(false),
                Some(Fate::Accepted) => Some(true),
                Some(Fate::Open | Fate::Recovered) | None => None,
            },
            before: None,
        })
    }

    /// The failed work that it finds, to be enqueued again.
    ///
    /// # Errors
    /// As [`Self::selection`].
    pub async fn rerun(&self, store: &dyn Store, dry_run: bool) -> Result<RerunSelection> {
        if self.fate == Some(Fate::Recovered) {
            let why =
                "is:recovered finds what has succeeded since: there is nothing to rerun or accept";
            return Err(StoreError::Invalid(why.to_owned()));
        }
        Ok(RerunSelection {
            error: if self.is_empty() { None } else { Some(self.selection(store).await?) },
            quarantined_only: matches!(self.fate, Some(Fate::Quarantined | Fate::Accepted)),
            dry_run,
            ..RerunSelection::default()
        })
    }
}

/// A moment: so long ago, or a time.
///
/// # Errors
/// What was expected instead.
pub fn since(text: &str) -> Result<Since, String> {
    let day = || text.parse::<NaiveDate>().map(|day| day.and_time(NaiveTime::MIN).and_utc());
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).or_else(|_| day());
    let time = time.ok().filter(|time| YEARS.contains(&time.year()));
    if let Some(time) = time {
        return Ok(Since::At(time));
    }
    humantime::parse_duration(text).map(Since::Ago).map_err(|_| {
        format!("`{text}` is no time: write 30min, 2h, 2026-01-31 or 2026-01-31T12:00:00Z")
    })
}

/// What [`since`] reads, where anything was given, as a time by the database's clock.
///
/// # Errors
/// Those of the database.
pub async fn time_of(
    store: &dyn Store,
    since: Option<Since>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    Ok(match since {
        None => None,
        Some(Since::At(at)) => Some(at),
        Some(Since::Ago(ago)) => {
            let ago = TimeDelta::from_std(ago).unwrap_or(TimeDelta::MAX);
            let time = store.now().await?.checked_sub_signed(ago);
            Some(time.unwrap_or(DateTime::UNIX_EPOCH))
        }
    })
}

/// The query as it is typed: the terms in one order.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since.map(|since| match since {
            Since::Ago(ago) => humantime::format_duration(ago).to_string().replace(' ', ""),
            Since::At(at) => DateTime::<Utc>::to_rfc3339_opts(&at, SecondsFormat::AutoSi, true),
        });
        let id = |part: &Option<IdPart>| part.as_ref().map(IdPart::to_string);
        let errors = self
            .errors
            .as_ref()
            .map(|ids| ids.iter().map(IdPart::to_string).collect::<Vec<_>>().join(","));
        let values = [
            (Key::Cause, self.cause.clone()),
            (Key::Stage, self.stage.map(|stage| stage.to_string())),
            (Key::Since, since),
            (Key::Run, id(&self.run)),
            (Key::Batch, id(&self.batch)),
            (Key::Worker, id(&self.worker)),
            (Key::Video, self.video.clone()),
            (Key::Path, self.path.clone()),
            (Key::Text, self.text.clone()),
            (Key::Error, errors),
            (Key::Is, self.fate.map(|fate| fate.into_str().to_owned())),
        ];
        let mut separator = "";
        for (key, value) in values {
            let Some(value) = value else { continue };
            let value = value.replace('"', r#"\""#);
            let quote = if value.contains(char::is_whitespace) { "\"" } else { "" };
            write!(f, "{separator}{}:{quote}{value}{quote}", key.into_str())?;
            separator = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(text: &str) -> Query {
        text.parse().unwrap_or_else(|wrong| panic!("{text}: {wrong}"))
    }

    #[test]
    fn every_term_is_read_and_written_as_it_was() {
        let text = "cause:file_missing stage:hash since:1h run:9015b697 batch:be4a worker:8f71 \
                    video:1ab0* path:missing/ text:\"no such file\" error:0198,ab12cd34 is:open";
        let query = read(text);
        assert_eq!(query.since, Some(Since::Ago(Duration::from_hours(1))));
        assert_eq!(query.text.as_deref(), Some("no such file"));
        assert_eq!(query.to_string(), text);
        assert_eq!(read(&query.to_string()), query);
        assert!(read("  ").is_empty() && !query.is_empty());
        assert!(matches!(read("since:2026-01-31").since, Some(Since::At(_))));
        assert_eq!(read("path:a:b").path.as_deref(), Some("a:b"), "the first colon ends the key");
    }

    #[test]
    fn a_video_is_asked_for_whatever_its_id_is() {
        for id in ["a*b", "a\"b", "a \"b\" c", r"a\b", r"a\*b", r#"a\"b"#, "a'b", "7", r"a\"] {
            let query = Query::of_video(id);
            let read = read(&query.to_string());
            assert_eq!(read, query, "{id}: {query}");
            let video = Pattern::new(read.video.expect("a video"));
            assert_eq!(video.literal().as_deref(), Some(id), "{query}");
        }
    }

    #[test]
    fn a_selection_has_an_end() {
        let ids = |count| format!("error:{}", vec!["ab12"; count].join(","));
        assert!(ids(MAX_ERRORS).parse::<Query>().is_ok());
        let wrong = ids(MAX_ERRORS + 1).parse::<Query>().expect_err("too many");
        assert_eq!((wrong.place, wrong.why.as_str()), (6, "give at most 100 ids"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, place, word) in [
            ("file_missing", 0, "`file_missing` has no key: write KEY:VALUE"),
            ("is:open caus:x", 8, "there is no key `caus`: take one of cause, stage"),
            ("cause:", 6, "`cause:` has no value"),
            ("cause:\"\"", 6, "`cause:` has no value"),
            ("cause:a cause:b", 8, "`cause` is given twice"),
            ("since:lately", 6, "`lately` is no time: write 30min"),
            ("worker:xyz", 7, "it is no id"),
            ("is:done", 3, "give one of open, recovered, quarantined, accepted"),
            ("stage:index", 6, "backfill"),
            ("é text:\"a", 7, "the quotation mark is not closed"),
        ] {
            let wrong = text.parse::<Query>().expect_err(text);
            assert_eq!(wrong.place, place, "{text}: {wrong}");
            assert!(wrong.why.contains(word), "{text}: {wrong}");
        }
        assert!("x".repeat(1_001).parse::<Query>().is_err());
        let said = "caus:x".parse::<Query>().expect_err("wrong").to_string();
        assert!(said.starts_with("the query is wrong at character 1: there is no key"), "{said}");
    }
}
