//! A small and strict reader of OpenMetrics text.

use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// What a scrape said.
#[derive(Debug)]
pub(crate) struct Scrape {
    samples: Vec<(String, Labels, f64)>,
}

impl Scrape {
    /// Reads a whole exposition. Every sample must belong to the family told of last.
    pub(crate) fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends with its end");
        let (mut samples, mut family, mut families) = (vec![], String::new(), vec![]);
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (what, name, rest) = (words.next(), words.next().unwrap(), words.next());
                match what {
                    Some("HELP") => {
                        assert!(!families.contains(&name.to_owned()), "{name} is told of twice");
                        families.push(name.to_owned());
                        family = name.to_owned();
                        assert!(!rest.unwrap().is_empty());
                    }
                    Some("TYPE" | "UNIT") => assert_eq!(family, name),
                    other => panic!("{other:?} in {line:?}"),
                }
                continue;
            }
            let (name, labels, value) = sample(line);
            assert!(name.starts_with(&family), "{name} is not of {family}");
            samples.push((name, labels, value));
        }
        Self { samples }
    }

    /// The value of the one sample with these labels among its own.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.all(name).filter(|(own, _)| {
            labels.iter().all(|(key, value)| own.get(*key).is_some_and(|own| own == value))
        });
        let value = found.next().map(|(_, value)| value);
        assert!(found.next().is_none(), "{name}{labels:?} is there twice");
        value
    }

    /// The samples of a name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = (&Labels, f64)> {
        self.samples.iter().filter(move |(own, ..)| own == name).map(|(_, l, value)| (l, *value))
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).expect("a sample");
    let (name, mut rest) = line.split_at(end);
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line:?}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            rest = rest.strip_prefix(',').unwrap_or(rest);
            let (key, after) = rest.split_once("=\"").expect("a sample");
            let (value, after) = quoted(after);
            assert!(labels.insert(key.to_owned(), value).is_none(), "{key} twice in {line:?}");
            rest = after;
        }
        rest = &rest[1..];
    }
    (name.to_owned(), labels, rest.trim().parse().expect("a number"))
}

/// The text up to the closing quote, and what is after it.
fn quoted(text: &str) -> (String, &str) {
    let (mut value, mut characters) = (String::new(), text.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => '\n',
                Some(escaped @ ('"' | '\\')) => escaped,
                other => panic!("{other:?} is no escape, in {text:?}"),
            }),
            character => value.push(character),
        }
    }
    panic!("a value without an end: {text:?}");
}
