//! What asking a schema may cost, found out before it is compiled. A row is flat, so its schema has
//! no need to be recursive; one that is would have to be trusted with the stack, and one whose
//! references double with each level with the time, of every process that asks it.

use serde_json::{Map, Value};

use super::schema::BadSchema;

/// Schemas within the schema at most, each as often as it is referred to.
const STEPS: usize = 10_000;
/// How deep they may be within each other, references counted.
const DEPTH: usize = 64;
/// Regular expressions at most, counted likewise.
const PATTERNS: usize = 100;

/// Keywords under which names stand, and a schema under each.
const NAMED: [&str; 7] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
    "dependentRequired",
    "dependencies",
];
/// Keywords under which values stand that are no schemas.
const VALUES: [&str; 4] = ["const", "enum", "default", "examples"];

/// Refuses a schema that is recursive, refers to anything but a part of itself, or is too large.
pub(super) fn check(schema: &Value) -> Result<(), BadSchema> {
    let mut walk = Walk { root: schema, steps: 0, patterns: 0, path: vec![], following: vec![] };
    walk.schema(schema)
}

struct Walk<'a> {
    root: &'a Value,
    steps: usize,
    patterns: usize,
    path: Vec<String>,
    /// References that are being followed.
    following: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    fn bad(&self, keyword: &str, why: impl Into<String>) -> BadSchema {
        let mut path: String = self.path.iter().map(|part| format!("/{part}")).collect();
        if !keyword.is_empty() {
            path = format!("{path}/{keyword}");
        }
        BadSchema { path, why: why.into() }
    }

    fn within(&mut self, part: &str, value: &'a Value) -> Result<(), BadSchema> {
        self.path.push(part.replace('~', "~0").replace('/', "~1"));
        self.schema(value)?;
        self.path.pop();
        Ok(())
    }

    fn schema(&mut self, value: &'a Value) -> Result<(), BadSchema> {
        self.steps += 1;
        if self.steps > STEPS {
            return Err(self.bad("", format!("with its references it has more than {STEPS} parts")));
        }
        if self.path.len() + self.following.len() > DEPTH {
            return Err(self.bad("", format!("it is nested more than {DEPTH} deep")));
        }
        match value {
            Value::Object(keywords) => self.keywords(keywords),
            Value::Array(all) => {
                let mut all = all.iter().enumerate();
                all.try_for_each(|(at, one)| self.within(&at.to_string(), one))
            }
            _ => Ok(()),
        }
    }

    fn keywords(&mut self, keywords: &'a Map<String, Value>) -> Result<(), BadSchema> {
        for (keyword, value) in keywords {
            match (keyword.as_str(), value) {
                ("$ref", Value::String(reference)) => self.follow(reference)?,
                ("$dynamicRef" | "$recursiveRef", _) => {
                    return Err(self.bad(keyword, "a schema refers by `$ref` alone here"));
                }
                ("$id" | "id", Value::String(_)) if !self.path.is_empty() => {
                    return Err(self.bad(keyword, "only the whole schema has an id here"));
                }
                ("pattern", _) => self.patterns(1, keyword)?,
                (name, _) if VALUES.contains(&name) => {}
                (name, Value::Object(named)) if NAMED.contains(&name) => {
                    if name == "patternProperties" {
                        self.patterns(named.len(), keyword)?;
                    }
                    self.path.push(name.to_owned());
                    named.iter().try_for_each(|(name, one)| self.within(name, one))?;
                    self.path.pop();
                }
                _ => self.within(keyword, value)?,
            }
        }
        Ok(())
    }

    fn patterns(&mut self, more: usize, keyword: &str) -> Result<(), BadSchema> {
        self.patterns += more;
        if self.patterns > PATTERNS {
            return Err(self.bad(keyword, format!("it has {PATTERNS} patterns at most")));
        }
        Ok(())
    }

    fn follow(&mut self, reference: &'a str) -> Result<(), BadSchema> {
        if self.following.contains(&reference) {
            return Err(self.bad("$ref", format!("`{reference}` is within itself")));
        }
        // `#` alone is the whole, and so within itself.
        let target = match reference.strip_prefix('#') {
            Some("") => return Err(self.bad("$ref", "`#` is within itself")),
            Some(pointer) if !pointer.contains('%') => self.root.pointer(pointer),
            _ => None,
        };
        let Some(target) = target else {
            let why = format!("`{reference}` is no part of this schema, such as `#/$defs/NAME`");
            return Err(self.bad("$ref", why));
        };
        self.following.push(reference);
        self.schema(target)?;
        self.following.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(schema: Value) -> String {
        check(&schema).unwrap_err().to_string()
    }

    #[test]
    fn what_is_bounded_passes() {
        check(&json!({
            "$id": "https://example.com/order",
            "$defs": {"amount": {"type": "number"}},
            "properties": {
                "a": {"$ref": "#/$defs/amount"},
                "b": {"$ref": "#/$defs/amount"},
                "$ref": {"const": {"$ref": "nowhere"}},
                "id": {"type": "string"},
            },
        }))
        .unwrap();
    }

    #[test]
    fn what_refers_to_itself_or_elsewhere_is_refused() {
        assert!(
            refused(json!({"properties": {"a": {"$ref": "#"}}})).contains("/properties/a/$ref")
        );
        let circle = json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
        assert!(refused(circle).contains("within itself"));
        // A part that holds the reference to itself, under another name.
        let holds = json!({"properties": {"a": {"items": {"$ref": "#/properties/a"}}}});
        assert!(refused(holds).contains("within itself"));
        for other in ["https://example.com/a.json", "file:///etc/passwd", "#a", "#/%24defs", "a"] {
            assert!(refused(json!({"$ref": other})).contains("no part of this schema"), "{other}");
        }
        assert!(refused(json!({"$dynamicRef": "#/a"})).contains("$dynamicRef"));
        assert!(refused(json!({"items": {"$id": "b"}})).contains("/items/$id"));
    }

    #[test]
    fn what_doubles_with_each_level_is_refused() {
        let mut parts = serde_json::Map::new();
        parts.insert("p0".into(), json!({"type": "string"}));
        for n in 1..30 {
            let before = json!({"$ref": format!("#/$defs/p{}", n - 1)});
            parts.insert(format!("p{n}"), json!({"allOf": [before.clone(), before]}));
        }
        assert!(refused(json!({"$defs": parts})).contains("parts"));
        let mut deep = json!({});
        for _ in 0..70 {
            deep = json!({"items": deep});
        }
        assert!(refused(deep).contains("deep"));
        let patterns: Vec<_> = (0..101).map(|_| json!({"pattern": "a"})).collect();
        assert!(refused(json!({"allOf": patterns})).contains("patterns"));
    }
}
