//! An instant as configurations write it: ISO 8601 in the forms Java's readers take, RFC 1123, or milliseconds since the epoch.
//! A time without an offset is UTC, as there.

use jiff::civil::{Date, DateTime};
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Milliseconds since the epoch, read from a date or from a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(u64);

const EXPECTED: &str = "a time like `2026-01-31T12:00:00Z`, or milliseconds since the epoch";

impl Moment {
    /// Milliseconds since the epoch.
    pub fn millis(self) -> u64 {
        self.0
    }

    /// Reads a date or digits; `None` for anything else and for times before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(millis) = text.parse::<u64>() {
            return Some(Self(millis));
        }
        let utc = |moment: DateTime| moment.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        let timestamp = text
            .parse::<Timestamp>()
            .ok()
            .or_else(|| Zoned::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text).ok().map(|zoned| zoned.timestamp()))
            .or_else(|| rfc2822::parse(text).ok().map(|zoned| zoned.timestamp()))
            .or_else(|| text.parse::<DateTime>().ok().and_then(utc))
            .or_else(|| text.parse::<Date>().ok().and_then(|date| utc(date.at(0, 0, 0, 0))))?;
        u64::try_from(timestamp.as_millisecond()).ok().map(Self)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_u64<E: Error>(self, millis: u64) -> Result<Moment, E> {
                Ok(Moment(millis))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
                Moment::parse(text).ok_or_else(|| E::custom(format!("`{text}` is not {EXPECTED}")))
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
            assert_eq!(Moment::parse(text), Some(Moment(NOON)), "{text}");
        }
        assert_eq!(Moment::parse("2026-01-31"), Some(Moment(NOON - 12 * 3_600_000)));
        assert_eq!(Moment::parse("2026-01-31T12:00:00.123Z"), Some(Moment(NOON + 123)));
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "31.01.2026", "1960-01-01T00:00:00Z", "-1"] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }
}
