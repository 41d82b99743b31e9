//! An instant as configurations write it: ISO 8601 in the forms Java's readers take, RFC 1123, or milliseconds since the epoch.
//! A time without an offset is UTC, as there. The text is kept as it came and read later, so that one that is no time is found
//! together with the other problems.

use jiff::civil::{Date, DateTime};
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A time as it was written; [`Moment::millis`] reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment(String);

impl Moment {
    /// Milliseconds since the epoch; none when it is no time, or one before 1970.
    pub fn millis(&self) -> Option<u64> {
        let text = self.0.trim();
        if let Ok(millis) = text.parse::<u64>() {
            return Some(millis);
        }
        let utc = |moment: DateTime| moment.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        let timestamp = text
            .parse::<Timestamp>()
            .ok()
            .or_else(|| Zoned::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text).ok().map(|zoned| zoned.timestamp()))
            .or_else(|| rfc2822::parse(text).ok().map(|zoned| zoned.timestamp()))
            .or_else(|| text.parse::<DateTime>().ok().and_then(utc))
            .or_else(|| text.parse::<Date>().ok().and_then(|date| utc(date.at(0, 0, 0, 0))))?;
        u64::try_from(timestamp.as_millisecond()).ok()
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time, or milliseconds since the epoch")
            }

            fn visit_u64<E: Error>(self, millis: u64) -> Result<Moment, E> {
                Ok(Moment(millis.to_string()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
                Ok(Moment(text.to_owned()))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0, "examples": ["2026-01-31T12:00:00Z"] })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Option<u64> {
        serde_json::from_value::<Moment>(text.into()).unwrap().millis()
    }

    #[test]
    fn the_forms_of_a_time() {
        const NOON: u64 = 1_769_860_800_000;
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.000Z",
            "2026-01-31T12:00:00.000+0000",
            "2026-01-31T14:00:00+02:00",
            "2026-01-31T14:00:00.000+0200",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00",
            "Sat, 31 Jan 2026 12:00:00 GMT",
            " 1769860800000 ",
        ] {
            assert_eq!(read(text), Some(NOON), "{text}");
        }
        assert_eq!(read("2026-01-31"), Some(NOON - 12 * 3_600_000));
        assert_eq!(read("2026-01-31T12:00:00.123Z"), Some(NOON + 123));
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "31.01.2026", "1960-01-01T00:00:00Z", "-1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
