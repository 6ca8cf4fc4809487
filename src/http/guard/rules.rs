//! What each operation asks for, read from the description of the API: whoever describes a route says
//! who may use it, and there is no second list that could say something else.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use axum::http::Method;
use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::scheme;
use crate::domain::Scope;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Anybody.
    Open,
    /// Whoever holds this scope.
    Scope(Scope),
}

/// What is known of a request's method and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// It is described.
    Operation(Need),
    /// The path is, with these methods.
    OtherMethods(&'a str),
    /// Nobody described it, so nobody may use it.
    Undescribed,
}

#[derive(Debug, Default)]
struct Place {
    operations: HashMap<Method, Need>,
    /// For the header `Allow`.
    methods: String,
}

/// All operations, by path template.
#[derive(Debug, Default)]
pub(super) struct Rules(HashMap<String, Place>);

/// Where the pages that show the description live, which are described by themselves.
const DOCS: &str = "/docs";

impl Rules {
    /// Reads them. What is described without its security, or with one that is not understood, is
    /// told in the log and stays undescribed.
    pub(super) fn of(document: &OpenApi) -> Self {
        let document = serde_json::to_value(document).unwrap_or_default();
        let mut rules = Self::default();
        let Some(paths) = document["paths"].as_object() else { return rules };
        for (path, item) in paths {
            let place = rules.0.entry(plain(path).into_owned()).or_default();
            let mut methods = BTreeMap::new();
            for (name, operation) in item.as_object().into_iter().flatten() {
                let Ok(method) = Method::from_bytes(name.to_ascii_uppercase().as_bytes()) else {
                    continue;
                };
                // An item has other fields than operations.
                if !operation.is_object() {
                    continue;
                }
                match need(&operation["security"]) {
                    Some(need) => drop(methods.insert(method.to_string(), (method, need))),
                    None => tracing::error!(
                        %method, path, "the description does not say who may do this: nobody may"
                    ),
                }
            }
            let mut names: Vec<String> = methods.keys().cloned().collect();
            if methods.contains_key("GET") {
                names.push(Method::HEAD.to_string());
            }
            place.methods = names.join(", ");
            place.operations = methods.into_values().collect();
        }
        rules
    }

    /// What a request to a matched path template asks for.
    pub(super) fn find(&self, method: &Method, template: &str) -> Found<'_> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let place = self.0.get(&*plain(template));
        let operation = place.and_then(|place| place.operations.get(method));
        match (operation, place) {
            (Some(need), _) => Found::Operation(*need),
            (None, Some(place)) if !place.operations.is_empty() => {
                Found::OtherMethods(&place.methods)
            }
            _ if is_docs(template) && method == Method::GET => Found::Operation(Need::Open),
            _ if is_docs(template) => Found::OtherMethods("GET, HEAD"),
            _ => Found::Undescribed,
        }
    }
}

/// Whether a path is of the pages that show the description.
pub(in crate::http) fn is_docs(path: &str) -> bool {
    path.strip_prefix(DOCS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A template as a description has it: it knows no `*`.
fn plain(template: &str) -> Cow<'_, str> {
    match template.contains("{*") {
        true => template.replace("{*", "{").into(),
        false => template.into(),
    }
}

/// What the alternatives of an operation come to; `None` when they say nothing that is understood.
fn need(security: &Value) -> Option<Need> {
    let alternatives = security.as_array()?;
    if alternatives.iter().any(|one| one.as_object().is_some_and(serde_json::Map::is_empty)) {
        return Some(Need::Open);
    }
    let [scope] = alternatives.iter().find_map(|one| one[scheme::KEY].as_array())?.as_slice()
    else {
        return None;
    };
    scope.as_str()?.parse().ok().map(Need::Scope)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(paths: Value) -> Rules {
        let document =
            json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths});
        Rules::of(&serde_json::from_value(document).unwrap())
    }

    fn operation(security: Value) -> Value {
        json!({"responses": {}, "security": security})
    }

    #[test]
    fn an_operation_asks_for_its_scope() {
        let rules = rules(json!({
            "/a/{id}": {
                "get": operation(json!([{"key": ["read"]}, {"session": ["read"]}])),
                "delete": operation(json!([{"key": ["admin"]}])),
            },
            "/open": {"get": operation(json!([{}]))},
        }));
        let find = |method: Method, path: &str| format!("{:?}", rules.find(&method, path));
        assert_eq!(find(Method::GET, "/a/{id}"), "Operation(Scope(Read))");
        assert_eq!(find(Method::HEAD, "/a/{id}"), "Operation(Scope(Read))");
        assert_eq!(find(Method::GET, "/a/{*id}"), "Operation(Scope(Read))");
        assert_eq!(find(Method::DELETE, "/a/{id}"), "Operation(Scope(Admin))");
        assert_eq!(find(Method::PUT, "/a/{id}"), "OtherMethods(\"DELETE, GET, HEAD\")");
        assert_eq!(find(Method::GET, "/open"), "Operation(Open)");
        assert_eq!(find(Method::GET, "/docs/{*rest}"), "Operation(Open)");
        assert_eq!(find(Method::GET, "/docsy"), "Undescribed");
        assert_eq!(find(Method::GET, "/b"), "Undescribed");
    }

    #[test]
    fn what_says_nothing_of_its_security_is_for_nobody() {
        let without = json!({"responses": {}});
        let odd = [
            json!([]),
            json!([{"key": []}]),
            json!([{"key": ["root"]}]),
            json!([{"key": ["read", "admin"]}]),
            json!([{"other": ["read"]}]),
        ];
        for item in std::iter::once(without).chain(odd.map(operation)) {
            let rules = rules(json!({"/a": {"get": item}}));
            assert_eq!(rules.find(&Method::GET, "/a"), Found::Undescribed, "{item}");
        }
    }
}
