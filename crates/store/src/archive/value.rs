//! A stored value, and its form in JSON: null, a number, a text, or an object of one key:
//! `{"real":"0.75"}`, `{"blob":"00ff"}`, `{"text":"e9ff"}`.

use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    Null,
    Integer(i64),
    Text(String),
    /// A float, as the shortest decimal that is read back as the same double.
    Real(String),
    /// Bytes. In JSON: hex digits.
    Blob(Vec<u8>),
    /// A text that is not UTF-8, or that UTF-8 cannot express: the bytes of its column.
    Bytes(Vec<u8>),
}

/// What a value takes in a statement beside its content, at most: type and length.
const OVERHEAD: u64 = 16;

impl Value {
    #[must_use]
    pub fn real(value: f64) -> Self {
        Self::Real(format!("{value:?}"))
    }

    /// The text of UTF-8, else the bytes as they are.
    #[must_use]
    pub fn text_of(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|error| Self::Bytes(error.into_bytes()), Self::Text)
    }

    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether the value, of whatever class, is written like this.
    #[must_use]
    pub fn reads(&self, written: &str) -> bool {
        match self {
            Self::Null | Self::Blob(_) | Self::Bytes(_) => false,
            Self::Integer(number) => number.to_string() == written,
            Self::Text(text) | Self::Real(text) => text == written,
        }
    }

    /// Bytes that the value takes in a statement, at most.
    #[must_use]
    pub fn size(&self) -> u64 {
        let content = match self {
            Self::Null | Self::Integer(_) => 0,
            Self::Text(text) | Self::Real(text) => text.len(),
            Self::Blob(bytes) | Self::Bytes(bytes) => bytes.len(),
        };
        OVERHEAD + content as u64
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = |serializer: S, key: &str, value: &str| {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(key, value)?;
            map.end()
        };
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Real(text) => object(serializer, "real", text),
            Self::Blob(bytes) => object(serializer, "blob", &hex::encode(bytes)),
            Self::Bytes(bytes) => object(serializer, "text", &hex::encode(bytes)),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, an integer, a text, or {\"real\"}, {\"blob\"} or {\"text\"}")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Integer).map_err(E::custom)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let unknown = || A::Error::custom("an object that is no value");
        let (key, text): (String, String) = map.next_entry()?.ok_or_else(unknown)?;
        if map.next_key::<String>()?.is_some() {
            return Err(unknown());
        }
        let bytes = |text: &str| hex::decode(text).map_err(A::Error::custom);
        match key.as_str() {
            "real" if text.parse::<f64>().is_ok() => Ok(Value::Real(text)),
            "blob" => Ok(Value::Blob(bytes(&text)?)),
            "text" => Ok(Value::Bytes(bytes(&text)?)),
            _ => Err(unknown()),
        }
    }
}

/// Reads a row of exactly so many values, and takes no memory for more.
#[derive(Debug, Clone, Copy)]
pub struct RowOf(pub usize);

impl<'de> DeserializeSeed<'de> for RowOf {
    type Value = Vec<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Value>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowOf {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {} values, one a column", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Vec<Value>, A::Error> {
        let mut row = Vec::with_capacity(self.0);
        while row.len() < self.0 {
            let value = values.next_element()?;
            row.push(value.ok_or_else(|| A::Error::invalid_length(row.len(), &self))?);
        }
        if values.next_element::<IgnoredAny>()?.is_some() {
            return Err(A::Error::invalid_length(self.0 + 1, &self));
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, columns: usize) -> Result<Vec<Value>, serde_json::Error> {
        RowOf(columns).deserialize(&mut serde_json::Deserializer::from_str(line))
    }

    #[test]
    fn values_are_read_back_as_they_were_written() {
        let row = [
            Value::Null,
            Value::Integer(-9_007_199_254_740_993),
            Value::Integer(i64::MIN),
            Value::Integer(i64::MAX),
            Value::Text("0.75 \"'\u{0} é\n".to_owned()),
            Value::Text("null".to_owned()),
            Value::real(0.1),
            Value::real(-0.0),
            Value::real(f64::INFINITY),
            Value::real(f64::from(0.1_f32)),
            Value::real(5e-324),
            Value::Blob(vec![0, 0xff, b'\n']),
            Value::Bytes(vec![0xe9, 0xff]),
            Value::Blob(Vec::new()),
        ];
        let line = serde_json::to_string(&row).expect("a row is JSON");
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(read(&line, row.len()).expect("a row"), row);
        for columns in [0, row.len() - 1, row.len() + 1] {
            read(&line, columns).expect_err("a row of other columns");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for line in ["[1.5]", "[true]", "[[]]", "[{}]", "[18446744073709551615]"] {
            read(line, 1).expect_err(line);
        }
        for value in
            ["real\":\"x", "blob\":\"0", "text\":\"g0", "other\":\"", "real\":\"1\",\"x\":\""]
        {
            let line = format!("[{{\"{value}\"}}]");
            read(&line, 1).expect_err(&line);
        }
    }
}
