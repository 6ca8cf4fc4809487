//! Which messages a queue takes: filters on attributes.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// A queue's filters: every attribute named must be present with one of its values. No filters
/// take everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(pub BTreeMap<String, Vec<String>>);

impl Filters {
    /// Whether nothing is filtered, so that messages need not be looked at.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a message whose attributes `value_of` finds is taken.
    pub fn take<'a>(&self, value_of: impl Fn(&str) -> Option<Cow<'a, str>>) -> bool {
        self.0.iter().all(|(name, values)| {
            value_of(name).is_some_and(|value| values.iter().any(|wanted| *wanted == value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filtered_attribute_must_be_there_with_one_of_its_values() {
        let filters = Filters(BTreeMap::from([
            ("country".into(), vec!["DE".into(), "FR".into()]),
            ("kind".into(), vec!["order".into()]),
        ]));
        let take = |country: Option<&'static str>, kind: Option<&'static str>| {
            filters.take(|name| if name == "country" { country } else { kind }.map(Cow::Borrowed))
        };
        assert!(take(Some("FR"), Some("order")));
        assert!(!take(Some("GB"), Some("order")));
        assert!(!take(Some("FR"), None));
        assert!(Filters::default().take(|_| None));
    }
}
