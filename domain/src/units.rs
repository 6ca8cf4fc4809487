//! Times and sizes as people write them: `30s`, `250ms`, `16M`. Limits are written so in the
//! configuration; the modules here are for `#[serde(with = "…")]` on their fields.
//!
//! A time without a unit is refused, because nobody could tell what it is. A size without one is
//! bytes; `K`, `M` and `G` are powers of 1,024.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

/// How "no limit" is written, where there may be none.
pub const NONE: &str = "none";

/// Reads a number of bytes: `1048576`, `500M`, `2G`.
///
/// # Errors
/// What is wrong with the text, for a person.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a number of bytes, such as 1048576, 500M or 2G");
    let number = text.trim_end_matches(['K', 'M', 'G', 'k', 'm', 'g']);
    let unit: u64 = match text[number.len()..].to_ascii_uppercase().as_str() {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(bad)
}

fn parse_time(text: &str) -> Result<std::time::Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a time, such as 30s, 250ms or 10m"))
}

/// A `Duration` as `30s`.
pub mod time {
    use std::time::Duration;

    use super::*;

    #[allow(missing_docs, clippy::missing_errors_doc)] // serde's own contract
    pub fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*time))
    }

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        from.deserialize_any(Time)
    }

    struct Time;

    impl Visitor<'_> for Time {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time with its unit, such as \"30s\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            parse_time(text).map_err(E::custom)
        }
    }
}

/// An `Option<Duration>` as `10m`, or `none`.
pub mod time_or_none {
    use std::time::Duration;

    use super::*;

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::time::serialize(time, to),
            None => to.serialize_str(NONE),
        }
    }

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(from)?;
        if text == NONE { Ok(None) } else { parse_time(&text).map(Some).map_err(D::Error::custom) }
    }
}

/// An `Option<u64>` as a number of one at least, or `none`.
pub mod count_or_none {
    use super::*;

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn serialize<S: Serializer>(count: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match count {
            Some(count) => to.serialize_u64(*count),
            None => to.serialize_str(NONE),
        }
    }

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        from.deserialize_any(Count)
    }

    struct Count;

    impl Visitor<'_> for Count {
        type Value = Option<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of 1 at least, or \"none\"")
        }

        fn visit_u64<E: Error>(self, count: u64) -> Result<Option<u64>, E> {
            if count == 0 {
                return Err(E::custom("it is 1 at least, or \"none\""));
            }
            Ok(Some(count))
        }

        fn visit_i64<E: Error>(self, count: i64) -> Result<Option<u64>, E> {
            self.visit_u64(u64::try_from(count).unwrap_or(0))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Option<u64>, E> {
            if text == NONE {
                return Ok(None);
            }
            self.visit_u64(text.parse().unwrap_or(0))
        }
    }
}

/// A number of bytes (`usize`, `u64`) as `16M`.
pub mod size {
    use std::marker::PhantomData;

    use super::*;

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn serialize<T, S>(size: &T, to: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + TryInto<u64>,
        S: Serializer,
    {
        let bytes: u64 = (*size).try_into().unwrap_or(u64::MAX);
        for (unit, letter) in [(1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')] {
            if bytes > 0 && bytes.is_multiple_of(unit) {
                return to.collect_str(&format_args!("{}{letter}", bytes / unit));
            }
        }
        to.serialize_u64(bytes)
    }

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: TryFrom<u64>,
        D: Deserializer<'de>,
    {
        from.deserialize_any(Size(PhantomData))
    }

    struct Size<T>(PhantomData<T>);

    impl<T: TryFrom<u64>> Visitor<'_> for Size<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of bytes, such as 1048576 or \"16M\"")
        }

        fn visit_u64<E: Error>(self, bytes: u64) -> Result<T, E> {
            T::try_from(bytes).map_err(|_| E::custom("so many bytes are too many here"))
        }

        fn visit_i64<E: Error>(self, bytes: i64) -> Result<T, E> {
            let bytes = u64::try_from(bytes);
            self.visit_u64(bytes.map_err(|_| E::custom("bytes are not less than none"))?)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            self.visit_u64(parse_size(text).map_err(E::custom)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Serialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Limits {
        #[serde(with = "time")]
        wait: Duration,
        #[serde(with = "time_or_none")]
        most: Option<Duration>,
        #[serde(with = "size")]
        bytes: usize,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Bound(#[serde(with = "count_or_none")] Option<u64>);

    #[test]
    fn a_bound_is_a_number_or_none() {
        for (bound, written) in [(None, json!("none")), (Some(7), json!(7))] {
            assert_eq!(serde_json::to_value(Bound(bound)).unwrap(), written);
            assert_eq!(serde_json::from_value::<Bound>(written).unwrap(), Bound(bound));
        }
        assert_eq!(serde_json::from_value::<Bound>(json!("7")).unwrap(), Bound(Some(7)));
        for bad in [json!(0), json!(-1), json!("many"), json!(""), json!(null), json!(1.5)] {
            assert!(serde_json::from_value::<Bound>(bad.clone()).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn sizes_are_said_with_or_without_a_unit() {
        for (text, n) in [("1", 1), ("10k", 10 << 10), ("500M", 500 << 20), ("2G", 2 << 30)] {
            assert_eq!(parse_size(text), Ok(n));
        }
        for bad in ["", "G", "0", "-1", "1GG", "1 G", "1T", "99999999999999G", "é"] {
            assert!(parse_size(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn limits_are_written_and_read_back() {
        for (wait, most, bytes, json) in [
            (30_000, None, 16 << 20, json!({"wait": "30s", "most": "none", "bytes": "16M"})),
            (2, Some(600_000), 1_500, json!({"wait": "2ms", "most": "10m", "bytes": 1_500})),
        ] {
            let millis = Duration::from_millis;
            let limits = Limits { wait: millis(wait), most: most.map(millis), bytes };
            assert_eq!(serde_json::to_value(&limits).unwrap(), json);
            assert_eq!(serde_json::from_value::<Limits>(json).unwrap(), limits);
        }
    }

    #[test]
    fn what_says_no_unit_or_no_number_is_refused() {
        let refused = |field: &str, value: serde_json::Value| {
            let mut json = json!({"wait": "1s", "most": "none", "bytes": 1});
            json[field] = value;
            serde_json::from_value::<Limits>(json).unwrap_err().to_string()
        };
        assert!(refused("wait", json!(30)).contains("a time with its unit"));
        assert!(refused("wait", json!("soon")).contains("`soon` is not a time"));
        assert!(refused("most", json!("never")).contains("`never` is not a time"));
        assert!(refused("bytes", json!(-1)).contains("not less than none"));
        assert!(refused("bytes", json!("16 megs")).contains("`16 megs` is not a number of bytes"));
        assert!(refused("bytes", json!(true)).contains("a number of bytes"));
    }
}
