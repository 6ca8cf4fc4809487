//! The names of the columns: trimmed, never empty, each once. They become the keys of every row,
//! so two columns must never share one, and a name that a person wrote is never given to another
//! column.

use std::collections::{HashMap, HashSet};

use rowmill_domain::ColumnNumber;

/// The names of a sheet's columns, and those given later to columns beyond the header.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Names written by a person, and names given.
    taken: HashSet<String>,
    /// The next number to try behind a name: this keeps 16,384 equal names linear.
    next: HashMap<String, u32>,
}

impl Names {
    /// Names the columns from the first to the last with text in it. `cells` are in order of
    /// columns. `None` if there is no text at all.
    pub(crate) fn of(cells: &[(u32, String)]) -> Option<(u32, Vec<String>, Self)> {
        let written = || {
            cells.iter().map(|(column, text)| (*column, text.trim())).filter(|(_, t)| !t.is_empty())
        };
        let first = written().next()?.0;
        let last = written().next_back()?.0;
        let mut names = Self {
            taken: written().map(|(_, text)| text.to_owned()).collect(),
            next: HashMap::new(),
        };
        let mut seen = HashSet::new();
        let mut rest = written().peekable();
        let columns = (first..=last)
            .map(|column| match rest.next_if(|(at, _)| *at == column) {
                Some((_, text)) if seen.insert(text) => text.to_owned(),
                Some((_, text)) => names.another(text),
                None => names.of_column(column),
            })
            .collect();
        Some((first, columns, names))
    }

    /// A name for a column without one: its letters, or its letters and a number.
    pub(crate) fn of_column(&mut self, column: u32) -> String {
        let letters = ColumnNumber(column).to_string();
        if self.taken.insert(letters.clone()) { letters } else { self.another(&letters) }
    }

    /// Names that others have.
    pub(crate) fn taken_by(columns: &[String]) -> Self {
        Self { taken: columns.iter().cloned().collect(), next: HashMap::new() }
    }

    /// The name, or another if it is taken.
    pub(crate) fn give(&mut self, name: &str) -> String {
        if self.taken.insert(name.to_owned()) { name.to_owned() } else { self.another(name) }
    }

    /// `name_2`, `name_3` and so on, whichever is free.
    fn another(&mut self, name: &str) -> String {
        let next = self.next.entry(name.to_owned()).or_insert(2);
        loop {
            let candidate = format!("{name}_{next}");
            *next += 1;
            if self.taken.insert(candidate.clone()) {
                return candidate;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn named(texts: &[&str]) -> Vec<String> {
        let cells: Vec<_> = (0..).zip(texts.iter().map(|t| (*t).to_owned())).collect();
        Names::of(&cells).unwrap().1
    }

    #[test]
    fn names_are_trimmed_numbered_and_lettered() {
        assert_eq!(named(&[" a ", "a", "b", "a"]), ["a", "a_2", "b", "a_3"]);
        assert_eq!(named(&["a", "", " ", "d"]), ["a", "B", "C", "d"]);
        assert_eq!(named(&["", "x", ""]), ["x"]);
    }

    #[test]
    fn a_name_that_somebody_wrote_stays_theirs() {
        assert_eq!(named(&["a", "a", "a_2", "a"]), ["a", "a_3", "a_2", "a_4"]);
        assert_eq!(named(&["C", "B", "", "d"]), ["C", "B", "C_2", "d"]);
    }

    #[test]
    fn sixteen_thousand_equal_names_take_no_time() {
        let texts = vec!["n"; 16_384];
        let start = Instant::now();
        let names = named(&texts);
        assert_eq!(names[16_383], "n_16384");
        assert!(start.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn no_text_is_no_header() {
        assert!(Names::of(&[(0, " ".into()), (1, String::new())]).is_none());
    }

    proptest! {
        #[test]
        fn no_two_columns_share_a_name(texts in proptest::collection::vec("[aB]{0,2}(_[23])?", 1..40)) {
            let cells: Vec<_> = (0..).zip(texts).collect();
            if let Some((_, names, mut rest)) = Names::of(&cells) {
                let mut all: HashSet<_> = names.iter().cloned().collect();
                prop_assert_eq!(all.len(), names.len());
                prop_assert!(all.insert(rest.of_column(1)));
            }
        }
    }
}
