//! Numbers and switches of a configuration, with their default and bounds in the type: what is out of bounds cannot be held, and
//! the schema says the bounds. As in Java, both may be written as strings.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// A whole number from `MIN` to `MAX`; `DEFAULT` when it is absent. Read from a number or from its digits in a string.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Whole<const DEFAULT: u64, const MIN: u64, const MAX: u64>(u64);

impl<const DEFAULT: u64, const MIN: u64, const MAX: u64> Whole<DEFAULT, MIN, MAX> {
    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The number as milliseconds.
    pub fn millis(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The number for a place that holds 32 bits; the bounds keep it from being cut.
    pub(super) fn small(self) -> u32 {
        const { assert!(MAX <= u32::MAX as u64, "the bounds must fit in 32 bits") };
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }

    /// The number as a count in memory.
    pub(super) fn count(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Whether it is what it would be without being written.
    pub(super) fn is_default(self) -> bool {
        self.0 == DEFAULT
    }

    fn checked<E: Error>(number: u64) -> Result<Self, E> {
        if (MIN..=MAX).contains(&number) { Ok(Self(number)) } else { Err(E::custom(format!("{number} is not from {MIN} to {MAX}"))) }
    }
}

impl<const DEFAULT: u64, const MIN: u64, const MAX: u64> Default for Whole<DEFAULT, MIN, MAX> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<const DEFAULT: u64, const MIN: u64, const MAX: u64> fmt::Debug for Whole<DEFAULT, MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const DEFAULT: u64, const MIN: u64, const MAX: u64> Serialize for Whole<DEFAULT, MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de, const DEFAULT: u64, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<DEFAULT, MIN, MAX> {
    fn deserialize<R: Deserializer<'de>>(deserializer: R) -> Result<Self, R::Error> {
        struct Reader<const D: u64, const N: u64, const X: u64>;

        impl<const D: u64, const N: u64, const X: u64> Visitor<'_> for Reader<D, N, X> {
            type Value = Whole<D, N, X>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {N} to {X}")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Whole::checked(number)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                u64::try_from(number).map_err(|_| E::custom(format!("{number} is not from {N} to {X}"))).and_then(Whole::checked)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                text.trim().parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self)).and_then(Whole::checked)
            }
        }

        deserializer.deserialize_any(Reader::<DEFAULT, MIN, MAX>)
    }
}

impl<const DEFAULT: u64, const MIN: u64, const MAX: u64> JsonSchema for Whole<DEFAULT, MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("Whole_{MIN}_to_{MAX}").into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// True or false; `DEFAULT` when it is absent. Read from a boolean or from its word in a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch<const DEFAULT: bool>(bool);

impl<const DEFAULT: bool> Switch<DEFAULT> {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self.0
    }
}

impl<const DEFAULT: bool> Default for Switch<DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<const DEFAULT: bool> Serialize for Switch<DEFAULT> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(self.0)
    }
}

impl<'de, const DEFAULT: bool> Deserialize<'de> for Switch<DEFAULT> {
    fn deserialize<R: Deserializer<'de>>(deserializer: R) -> Result<Self, R::Error> {
        struct Reader<const D: bool>;

        impl<const D: bool> Visitor<'_> for Reader<D> {
            type Value = Switch<D>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E: Error>(self, on: bool) -> Result<Self::Value, E> {
                Ok(Switch(on))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                text.trim().to_ascii_lowercase().parse().map(Switch).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Reader::<DEFAULT>)
    }
}

impl<const DEFAULT: bool> JsonSchema for Switch<DEFAULT> {
    fn schema_name() -> Cow<'static, str> {
        "Switch".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn switches_are_read_from_booleans_and_words() {
        for (text, on) in [("true", true), ("\"False\"", false), ("\" true \"", true)] {
            assert_eq!(serde_json::from_str::<Switch<true>>(text).unwrap().is_on(), on, "{text}");
        }
        for text in ["\"yes\"", "1", "\"\""] {
            assert!(serde_json::from_str::<Switch<true>>(text).is_err(), "{text}");
        }
    }

    type Percent = Whole<50, 1, 100>;

    #[test]
    fn numbers_and_their_digits_are_read_within_the_bounds() {
        for (text, number) in [("1", 1), ("100", 100), ("\" 7 \"", 7)] {
            assert_eq!(serde_json::from_str::<Percent>(text).unwrap().get(), number);
        }
        assert_eq!(Percent::default().get(), 50);
        for text in ["0", "101", "-1", "\"0\"", "\"many\"", "1.5", "true", "null"] {
            assert!(serde_json::from_str::<Percent>(text).unwrap_err().to_string().contains("from 1 to 100"), "{text}");
        }
    }
}
