//! An argument of `--exec` with places for columns: `{id}`, `--id={id}`, `{{literal}}`.
//!
//! A template is parsed once, before anything is published, and can say which columns it needs; so
//! a mistyped column is refused at the start and not once per row. Filling it in never involves a
//! shell: whatever a cell holds stays inside its one argument.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

/// How many column names an error lists; a sheet may have thousands.
const NAMES_SHOWN: usize = 20;

/// Why a text is not a template, or not one for these columns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A `{` without its `}`.
    #[error("`{template}`: the `{{` at character {at} is not closed (a literal one is `{{{{`)")]
    Unclosed {
        /// The whole argument.
        template: String,
        /// The character, from 1.
        at: usize,
    },
    /// A `}` without its `{`.
    #[error("`{template}`: the `}}` at character {at} closes nothing (a literal one is `}}}}`)")]
    Unopened {
        /// The whole argument.
        template: String,
        /// The character, from 1.
        at: usize,
    },
    /// `{}`: no column is named.
    #[error("`{template}`: the `{{}}` at character {at} names no column")]
    Empty {
        /// The whole argument.
        template: String,
        /// The character, from 1.
        at: usize,
    },
    /// The sheet has no such column.
    #[error("`{template}`: there is no column `{column}`; there are: {known}")]
    UnknownColumn {
        /// The whole argument.
        template: String,
        /// The column it asks for.
        column: String,
        /// The columns there are, the first few of them.
        known: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Column(String),
}

/// One argument, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

/// The fields of one row: each column's value as JSON text.
pub(crate) type Fields<'a> = HashMap<String, &'a RawValue>;

impl Template {
    /// Parses an argument. A column's name is everything between the braces, as it stands.
    ///
    /// # Errors
    /// [`TemplateError`]: a brace without its partner, or empty braces.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let template = || source.to_owned();
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = source.chars().enumerate().map(|(n, c)| (n + 1, c)).peekable();
        while let Some((at, c)) = chars.next() {
            let doubled = chars.peek().is_some_and(|(_, next)| *next == c);
            match c {
                '{' | '}' if doubled => {
                    chars.next();
                    literal.push(c);
                }
                '}' => return Err(TemplateError::Unopened { template: template(), at }),
                '{' => {
                    let mut column = String::new();
                    loop {
                        match chars.next() {
                            Some((_, '}')) => break,
                            Some((_, '{')) | None => {
                                return Err(TemplateError::Unclosed { template: template(), at });
                            }
                            Some((_, c)) => column.push(c),
                        }
                    }
                    if column.is_empty() {
                        return Err(TemplateError::Empty { template: template(), at });
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Column(column));
                }
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { source: template(), parts })
    }

    /// The columns it needs, in order of appearance.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Column(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// Whether a sheet with these columns can fill it in.
    ///
    /// # Errors
    /// [`TemplateError::UnknownColumn`].
    pub fn check(&self, columns: &[String]) -> Result<(), TemplateError> {
        let Some(missing) = self.columns().find(|name| !columns.iter().any(|c| c == name)) else {
            return Ok(());
        };
        let mut known = columns.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if columns.len() > NAMES_SHOWN {
            known.push_str(&format!(" and {} more", columns.len() - NAMES_SHOWN));
        }
        Err(TemplateError::UnknownColumn {
            template: self.source.clone(),
            column: missing.to_owned(),
            known,
        })
    }

    /// The argument for one row, or the name of the column that the row does not have.
    pub(crate) fn fill(&self, fields: &Fields<'_>) -> Result<String, &str> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => filled.push_str(text),
                Part::Column(name) => match fields.get(name.as_str()) {
                    Some(value) => filled.push_str(&plain(value.get())),
                    None => return Err(name),
                },
            }
        }
        Ok(filled)
    }
}

/// A JSON value as a person would type it: a string's text, nothing for null, and anything else
/// as it was written, so that no digit of a number is lost on the way.
pub(crate) fn plain(json: &str) -> Cow<'_, str> {
    match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(json).map_or(Cow::Borrowed(json), Cow::Owned),
        Some(b'n') => Cow::Borrowed(""),
        _ => Cow::Borrowed(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, row: &str) -> Result<String, String> {
        let fields: Fields<'_> = serde_json::from_str(row).unwrap();
        Template::parse(template).unwrap().fill(&fields).map_err(str::to_owned)
    }

    #[test]
    fn columns_are_filled_in() {
        let row = r#"{"id":7,"Full Name":"Ö \"x\" $(rm)","gone":null,"ok":true,
                      "big":12345678901234567890.10,"list":[1, 2]}"#;
        for (template, filled) in [
            ("{id}", "7"),
            ("--id={id}", "--id=7"),
            ("{id}-{id}", "7-7"),
            ("{Full Name}", "Ö \"x\" $(rm)"),
            ("<{gone}>", "<>"),
            ("{ok}", "true"),
            ("{big}", "12345678901234567890.10"),
            ("{list}", "[1, 2]"),
            ("plain", "plain"),
            ("", ""),
            ("{{id}}", "{id}"),
            ("{{{id}}}", "{7}"),
            (r#"{{"id":{id}}}"#, r#"{"id":7}"#),
        ] {
            assert_eq!(fill(template, row).as_deref(), Ok(filled), "{template}");
        }
        assert_eq!(fill("{nope}", row), Err("nope".into()));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (template, message) in [
            ("a{id", "`a{id`: the `{` at character 2 is not closed (a literal one is `{{`)"),
            ("{", "`{`: the `{` at character 1 is not closed (a literal one is `{{`)"),
            ("{a{b}", "`{a{b}`: the `{` at character 1 is not closed (a literal one is `{{`)"),
            ("ü}", "`ü}`: the `}` at character 2 closes nothing (a literal one is `}}`)"),
            ("x{}", "`x{}`: the `{}` at character 2 names no column"),
        ] {
            assert_eq!(Template::parse(template).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn unknown_columns_are_refused_before_anything_runs() {
        let template = Template::parse("--x={amout}").unwrap();
        let columns = ["id".to_owned(), "amount".to_owned()];
        assert_eq!(
            template.check(&columns).unwrap_err().to_string(),
            "`--x={amout}`: there is no column `amout`; there are: id, amount"
        );
        assert_eq!(Template::parse("{id}{amount}").unwrap().check(&columns), Ok(()));
        let many: Vec<String> = (0..50).map(|n| format!("c{n}")).collect();
        assert!(template.check(&many).unwrap_err().to_string().ends_with("c19 and 30 more"));
    }
}
