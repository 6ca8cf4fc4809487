//! JSON objects that are nothing else. Derived structs can be read from arrays, too, field by field:
//! a request that says `[]` would be taken for one that says nothing.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A value that is read from an object alone.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}

/// For a field that may be an object.
pub(super) fn maybe<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

/// For a field that is an array of objects.
pub(super) fn each<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let all = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(all.into_iter().map(|object| object.0).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::from_str;

    use super::*;
    use crate::api::{Publish, QueueTerms, Settle};

    #[test]
    fn an_array_is_no_object() {
        let terms = |text: &str| from_str::<Object<QueueTerms>>(text);
        assert!(terms(r#"{"retry_backoff": {"factor": 2}}"#).is_ok());
        for bad in
            ["[]", "null", "7", r#"{"retry_backoff": [1, 2, 3]}"#, r#"{"retry_backoff": []}"#]
        {
            assert!(terms(bad).is_err(), "{bad} was taken");
        }
        let receipt = "00000000000040008000000000000000.0";
        let settle = |acks: &str| from_str::<Object<Settle>>(&format!(r#"{{"acks": [{acks}]}}"#));
        // What is kept as it was written still is.
        let ack = format!(r#"{{"receipt": "{receipt}", "output": {{"a":  1.50}}}}"#);
        let read = settle(&ack).unwrap().0;
        assert_eq!(read.acks[0].output.as_ref().unwrap().get(), r#"{"a":  1.50}"#);
        assert!(settle(&format!(r#"["{receipt}"]"#)).is_err());
        assert!(from_str::<Publish>(r#"{"messages": [[{}]]}"#).is_err());
        assert!(from_str::<Publish>(r#"{"messages": [{"data": {}}]}"#).is_ok());
    }
}
