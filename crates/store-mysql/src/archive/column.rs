//! How a column is read so that writing the value back gives the same value.
//!
//! The wire converts texts to UTF-8, which loses what UTF-8 cannot express, and a cast to
//! text loses digits of a FLOAT and bytes of a BLOB. `mysqldump --hex-blob` takes the same
//! care.

use reelshift_store::archive::{Column, Row, VIDEO_TRUTH, Value};
use sqlx::Row as _;
use sqlx::mysql::MySqlRow;

use crate::error;
use crate::mapping::GROUND_TRUTH_STATUS;

/// Types without a character set that are bytes.
const BYTES: [&str; 16] = [
    "binary",
    "bit",
    "blob",
    "geomcollection",
    "geometry",
    "geometrycollection",
    "linestring",
    "longblob",
    "mediumblob",
    "multilinestring",
    "multipoint",
    "multipolygon",
    "point",
    "polygon",
    "tinyblob",
    "varbinary",
];

/// How the server is asked for a value, and what it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reading {
    /// The column's own bytes, which are UTF-8.
    Utf8,
    /// Text and bytes: the text is NULL where it does not say the same as the bytes.
    Transcoded {
        charset: String,
    },
    /// Bytes, with a cast: a name of an ENUM or SET; a VECTOR, whose type the driver does not
    /// know.
    CastBytes,
    Bytes,
    Float,
    Double,
    /// A text that the server reads back as the same value.
    Cast,
}

impl Reading {
    fn of(declared: &str) -> Self {
        let word = declared.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let charset = declared.rsplit_once(" CHARACTER SET ").map(|(_, rest)| rest);
        let charset = charset.and_then(|rest| rest.split(' ').next());
        match (charset, word.to_ascii_lowercase().as_str()) {
            (Some("utf8mb4" | "utf8mb3" | "utf8" | "ascii"), _) => Self::Utf8,
            // MySQL names no character set where that is binary.
            (Some("binary"), _) | (None, "enum" | "set" | "vector") => Self::CastBytes,
            (Some(charset), _) => Self::Transcoded { charset: charset.to_owned() },
            (None, "float") => Self::Float,
            (None, "double" | "real") => Self::Double,
            (None, word) if BYTES.contains(&word) => Self::Bytes,
            (None, _) => Self::Cast,
        }
    }
}

/// Whether the empty name is a member of this ENUM. Where a session that is not strict writes
/// none of the members, the value has the empty name too, and the number 0.
fn has_empty_member(declared: &str) -> bool {
    declared.starts_with("enum(")
        && ["('',", "('')", ",'',", ",'')"].iter().any(|member| declared.contains(member))
}

/// Reads rows of some columns.
pub(super) struct Reader {
    columns: Vec<ReadColumn>,
}

struct ReadColumn {
    name: String,
    reading: Reading,
    /// Whether an extra expression before the value is true where the value is the number 0,
    /// which is no member.
    tells_none: bool,
}

impl Reader {
    /// Of `columns`, of the table named `alias`; of [`VIDEO_TRUTH`], from `videos v`.
    pub(super) fn new(columns: &[Column], alias: &str) -> Self {
        let column = |column: &Column| match column.name.as_str() {
            VIDEO_TRUTH => ReadColumn {
                name: GROUND_TRUTH_STATUS.to_owned(),
                reading: Reading::Cast,
                tells_none: false,
            },
            name => ReadColumn {
                name: format!("{alias}.{}", quoted(name)),
                reading: Reading::of(&column.declared),
                tells_none: has_empty_member(&column.declared),
            },
        };
        Self { columns: columns.iter().map(column).collect() }
    }

    /// What to select.
    pub(super) fn expressions(&self) -> String {
        let value = |column: &str, reading: &Reading| match reading {
            Reading::Utf8 | Reading::CastBytes => format!("CAST({column} AS BINARY)"),
            Reading::Transcoded { charset } => format!(
                "IF(CAST(CONVERT(CONVERT({column} USING utf8mb4) USING {charset}) AS BINARY) \
                    = CAST({column} AS BINARY), CONVERT({column} USING utf8mb4), NULL), \
                 CAST({column} AS BINARY)"
            ),
            Reading::Bytes | Reading::Float | Reading::Double => column.to_owned(),
            Reading::Cast => format!("CAST({column} AS CHAR)"),
        };
        let expression = |ReadColumn { name, reading, tells_none }: &ReadColumn| {
            let first = tells_none.then(|| format!("COALESCE({name} = 0, 0), "));
            first.unwrap_or_default() + &value(name, reading)
        };
        self.columns.iter().map(expression).collect::<Vec<_>>().join(", ")
    }

    /// How many columns are selected.
    pub(super) fn width(&self) -> usize {
        let width = |column: &ReadColumn| {
            let texts = usize::from(matches!(column.reading, Reading::Transcoded { .. }));
            1 + texts + usize::from(column.tells_none)
        };
        self.columns.iter().map(width).sum()
    }

    pub(super) fn row(&self, row: &MySqlRow) -> error::Result<Row> {
        let mut values = Vec::with_capacity(self.columns.len());
        let mut at = 0;
        for ReadColumn { reading, tells_none, .. } in &self.columns {
            let mut is_none = false;
            if *tells_none {
                is_none = row.try_get_unchecked::<i64, _>(at)? != 0;
                at += 1;
            }
            let value = match reading {
                Reading::Utf8 => bytes(row, at)?.map_or(Value::Null, Value::text_of),
                Reading::Transcoded { .. } => {
                    let text: Option<String> = row.try_get_unchecked(at)?;
                    at += 1;
                    text.map(Value::Text)
                        .or(bytes(row, at)?.map(Value::Bytes))
                        .unwrap_or(Value::Null)
                }
                Reading::CastBytes | Reading::Bytes => {
                    bytes(row, at)?.map_or(Value::Null, Value::Blob)
                }
                Reading::Float => {
                    let float: Option<f32> = row.try_get_unchecked(at)?;
                    float.map_or(Value::Null, |float| Value::real(float.into()))
                }
                Reading::Double => {
                    row.try_get_unchecked::<Option<f64>, _>(at)?.map_or(Value::Null, Value::real)
                }
                Reading::Cast => row.try_get_unchecked::<Option<String>, _>(at)?.into(),
            };
            values.push(if is_none { Value::Integer(0) } else { value });
            at += 1;
        }
        Ok(values)
    }
}

fn bytes(row: &MySqlRow, at: usize) -> error::Result<Option<Vec<u8>>> {
    Ok(row.try_get_unchecked(at)?)
}

pub(super) fn quoted(column: &str) -> String {
    format!("`{}`", column.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_says_how_it_is_read() {
        let latin1 = Reading::Transcoded { charset: "latin1".to_owned() };
        for (declared, reading) in [
            ("varchar(36) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", Reading::Utf8),
            ("enum('a CHARACTER SET x') CHARACTER SET latin1 COLLATE latin1_bin", latin1),
            ("enum('a') CHARACTER SET binary COLLATE binary", Reading::CastBytes),
            ("set('a')", Reading::CastBytes),
            ("vector(3)", Reading::CastBytes),
            ("varbinary(3)", Reading::Bytes),
            ("bit(64)", Reading::Bytes),
            ("POINT", Reading::Bytes),
            ("float(7,4) unsigned", Reading::Float),
            ("double", Reading::Double),
            ("decimal(3,2)", Reading::Cast),
            ("bigint(20) unsigned zerofill", Reading::Cast),
            ("timestamp(6)", Reading::Cast),
            ("json", Reading::Cast),
            ("uuid", Reading::Cast),
        ] {
            assert_eq!(Reading::of(declared), reading, "{declared}");
        }
    }
}
