//! A JSON Schema, asked about rows. It fetches nothing: what it refers to is within it (`extent`).
//! Patterns are matched in linear time, because the cells are a stranger's.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::extent;

/// Bytes that a compiled pattern may take.
const PATTERN_BYTES: usize = 1 << 20;
/// Characters of a problem that are told: what a schema says of a cell may hold the cell.
const TOLD_CHARS: usize = 300;

/// A schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schema, at `{}`: {why}", if .path.is_empty() { "/" } else { .path.as_str() })]
pub struct BadSchema {
    /// Where in it: a JSON pointer.
    pub path: String,
    /// Why.
    pub why: String,
}

/// A schema, ready to be asked.
#[derive(Debug)]
pub struct Schema(Validator);

/// Something that is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaProblem {
    /// The key that it is about; none when it is about the whole row.
    pub key: Option<String>,
    /// What.
    pub detail: String,
}

impl Schema {
    /// A schema of rows. `format` is looked at.
    ///
    /// # Errors
    /// [`BadSchema`].
    pub fn compile(schema: &Value) -> Result<Self, BadSchema> {
        extent::check(schema)?;
        jsonschema::options()
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES))
            .should_validate_formats(true)
            .build(schema)
            .map(Self)
            .map_err(|error| BadSchema { path: place(&error), why: short(&error.to_string()) })
    }

    /// All that is wrong with a row, or the first `most` of it.
    pub fn problems(&self, row: &Value, most: usize) -> Vec<SchemaProblem> {
        let mut problems = vec![];
        for error in self.0.iter_errors(row).take(most) {
            tell(&error, &mut problems);
        }
        problems
    }
}

/// Where a schema is wrong: the meta-schema looked at it and says so; of a pattern that is well formed
/// for the meta-schema and cannot be compiled, the path is that of the keyword.
fn place(error: &ValidationError<'_>) -> String {
    let compiled = matches!(error.kind(), ValidationErrorKind::Format { .. });
    let path = error.instance_path();
    if compiled && path.as_str().is_empty() {
        return error.schema_path().to_string();
    }
    path.to_string()
}

fn tell(error: &ValidationError<'_>, problems: &mut Vec<SchemaProblem>) {
    let path = error.instance_path().to_string();
    let mut keys = path.split('/').skip(1);
    if let Some(key) = keys.next() {
        let key = key.replace("~1", "/").replace("~0", "~");
        let detail = short(&error.to_string());
        problems.push(SchemaProblem { key: Some(key), detail });
        return;
    }
    let mut about = |key: &str, detail: &str| {
        problems.push(SchemaProblem { key: Some(key.to_owned()), detail: detail.to_owned() });
    };
    match error.kind() {
        ValidationErrorKind::Required { property: Value::String(key) } => {
            about(key, "the schema requires it, and there is nothing");
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            for key in unexpected {
                about(key, "the schema knows no such key");
            }
        }
        _ => problems.push(SchemaProblem { key: None, detail: short(&error.to_string()) }),
    }
}

/// A text that is not too long to be told.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(TOLD_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: Value, row: Value) -> Vec<(Option<String>, String)> {
        let problems = Schema::compile(&schema).unwrap().problems(&row, 100);
        problems.into_iter().map(|one| (one.key, one.detail)).collect()
    }

    #[test]
    fn every_problem_is_told_with_its_key() {
        let schema = json!({
            "properties": {
                "amount": {"type": "number", "minimum": 0},
                "mail/to": {"format": "email"},
                "code": {"pattern": "^[A-Z]{2}$"},
            },
            "required": ["id"],
            "additionalProperties": false,
        });
        let row = json!({"amount": -1, "mail/to": "nobody", "code": "x".repeat(1_000), "extra": 1});
        let mut told = told(schema, row);
        told.sort();
        let keys: Vec<_> = told.iter().map(|(key, _)| key.as_deref().unwrap()).collect();
        assert_eq!(keys, ["amount", "code", "extra", "id", "mail/to"]);
        assert!(told[0].1.contains("minimum"), "{told:?}");
        assert!(told[1].1.chars().count() <= TOLD_CHARS + 3);
    }

    #[test]
    fn what_is_about_the_whole_row_has_no_key() {
        let told = told(json!({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}), json!({}));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, None);
    }

    #[test]
    fn what_is_no_schema_is_refused_with_its_place() {
        for (schema, path) in [
            (json!({"type": "strin"}), "/type"),
            (json!({"properties": {"a": {"minLength": -1}}}), "/properties/a/minLength"),
            (json!({"properties": {"a": {"pattern": "("}}}), "/properties/a/pattern"),
            // No engine of linear time looks ahead.
            (json!({"properties": {"a": {"pattern": "(?=b)a"}}}), "/properties/a/pattern"),
            (
                json!({"properties": {"a": {"pattern": "(\\w{1000}){1000}"}}}),
                "/properties/a/pattern",
            ),
            (json!({"$schema": "https://example.com/none"}), ""),
        ] {
            let refused = Schema::compile(&schema).unwrap_err();
            assert_eq!(refused.path, path, "{schema}: {refused}");
        }
        assert!(
            Schema::compile(&json!({"$schema": "http://json-schema.org/draft-07/schema#"})).is_ok()
        );
    }
}
