//! Whole numbers as JSON Schema knows them: `60.0` is one, too.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A number that has no fraction, however it is written.
struct Whole(u32);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 0 to {}", u32::MAX)
            }

            fn visit_u64<E: Error>(self, n: u64) -> Result<Whole, E> {
                let wrong = |_| E::invalid_value(Unexpected::Unsigned(n), &self);
                u32::try_from(n).map(Whole).map_err(wrong)
            }

            fn visit_i64<E: Error>(self, n: i64) -> Result<Whole, E> {
                let wrong = |_| E::invalid_value(Unexpected::Signed(n), &self);
                u32::try_from(n).map(Whole).map_err(wrong)
            }

            fn visit_f64<E: Error>(self, n: f64) -> Result<Whole, E> {
                if n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&n) {
                    // Within the type's bounds and without a fraction, so the cast loses nothing.
                    Ok(Whole(n as u32))
                } else {
                    Err(E::invalid_value(Unexpected::Float(n), &self))
                }
            }
        }

        deserializer.deserialize_any(Number)
    }
}

/// For a field that may be such a number.
pub(super) fn maybe<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(Option::<Whole>::deserialize(deserializer)?.map(|whole| whole.0))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_number_without_a_fraction_is_whole() {
        #[derive(serde::Deserialize)]
        struct Asked {
            #[serde(default, deserialize_with = "super::maybe")]
            n: Option<u32>,
        }
        let read = |text: &str| serde_json::from_str::<Asked>(text).ok().map(|asked| asked.n);
        assert_eq!(read("{}"), Some(None));
        assert_eq!(read(r#"{"n":null}"#), Some(None));
        for whole in ["60", "60.0", "6e1"] {
            assert_eq!(read(&format!(r#"{{"n":{whole}}}"#)), Some(Some(60)), "{whole}");
        }
        for no in ["60.5", "-1", "-1.0", "4294967296", "1e20", "\"60\"", "true"] {
            assert_eq!(read(&format!(r#"{{"n":{no}}}"#)), None, "{no}");
        }
    }
}
