//! What stands behind the `?`: each parameter once, each known, and the cursors of pages.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;

use crate::http::ApiError;

/// The parameters of a request that have not been taken yet.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn of(uri: &Uri) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| ApiError::invalid(error.to_string()))?;
        Ok(Self(pairs))
    }

    /// The value of a parameter, if it was given.
    pub(super) fn take<T>(&mut self, name: &str) -> Result<Option<T>, ApiError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let Some(at) = self.0.iter().position(|(known, _)| known == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(at);
        if self.0.iter().any(|(known, _)| known == name) {
            return Err(ApiError::invalid(format!("`{name}` is given more than once")));
        }
        let bad = |error| ApiError::invalid(format!("`{name}` is `{value}`: {error}"));
        value.parse().map(Some).map_err(bad)
    }

    /// How many items a page shall have.
    pub(super) fn limit(&mut self, default: usize, most: usize) -> Result<usize, ApiError> {
        let limit = self.take("limit")?.unwrap_or(default.min(most));
        if (1..=most).contains(&limit) {
            Ok(limit)
        } else {
            Err(ApiError::invalid(format!("`limit` is {limit}: 1 to {most} items make a page")))
        }
    }

    /// Where a page begins: the numbers that an earlier page's `next` holds.
    pub(super) fn after<const N: usize>(&mut self) -> Result<Option<[u64; N]>, ApiError> {
        let Some(text) = self.take::<String>("after")? else { return Ok(None) };
        read_cursor(&text).map(Some).ok_or_else(|| {
            ApiError::invalid(format!("`after` is `{text}`: say what `next` of a page says"))
        })
    }

    /// Refuses what is left.
    pub(super) fn end(self) -> Result<(), ApiError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(ApiError::invalid(format!("there is no parameter `{name}`"))),
        }
    }
}

/// A cursor of these numbers.
pub(super) fn cursor<const N: usize>(numbers: [u64; N]) -> String {
    numbers.map(|number| format!("{number:x}")).join("-")
}

fn read_cursor<const N: usize>(text: &str) -> Option<[u64; N]> {
    let digits = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    // The number is told only of what looks like one: `+f` would be read as well.
    let number = |part: &str| u64::from_str_radix(Some(part).filter(|part| digits(part))?, 16).ok();
    text.split('-').map(number).collect::<Option<Vec<_>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::of(&format!("/uploads?{query}").parse().unwrap()).unwrap()
    }

    #[test]
    fn every_parameter_is_known_and_given_once() {
        let mut some = params("wait=true&sheet=Order%20lines");
        assert_eq!(some.take::<bool>("wait").unwrap(), Some(true));
        assert_eq!(some.take::<String>("sheet").unwrap().as_deref(), Some("Order lines"));
        assert_eq!(some.take::<String>("topic").unwrap(), None);
        some.end().unwrap();
        assert!(params("wait=perhaps").take::<bool>("wait").is_err());
        assert!(params("wait=true&wait=true").take::<bool>("wait").is_err());
        assert!(params("wiat=true").end().is_err());
    }

    #[test]
    fn limits_and_cursors_say_what_a_page_is() {
        assert_eq!(params("").limit(100, 1_000).unwrap(), 100);
        assert_eq!(params("limit=1000").limit(100, 1_000).unwrap(), 1_000);
        for bad in ["limit=0", "limit=1001", "limit=-1", "limit=many"] {
            assert!(params(bad).limit(100, 1_000).is_err(), "{bad}");
        }
        let next = cursor([3, 17, u64::MAX]);
        assert_eq!(params(&format!("after={next}")).after().unwrap(), Some([3, 17, u64::MAX]));
        assert_eq!(params("").after::<1>().unwrap(), None);
        for bad in ["after=", "after=1-2-3", "after=x", "after=-1", "after=%2B1-2", "after=F-1"] {
            assert!(params(bad).after::<2>().is_err(), "{bad}");
        }
    }
}
