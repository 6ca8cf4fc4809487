//! Every operation that the running server describes, and every method that it does not: none is
//! reachable without its scope.

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::scene::{Guarded, refusal};
use crate::support::TestDatabase;

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"];

/// What an operation asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Need {
    Open,
    Scope(String),
    Undescribed,
}

/// A method, a path that matches the template, and what it asks for.
#[derive(Debug)]
struct Case {
    method: Method,
    path: String,
    need: Need,
}

impl Case {
    /// Whether an answer with this status is none of somebody unknown, of another method, or of a
    /// fault. A socket, alone, cannot be asked by HEAD.
    fn is_handled(&self, status: u16) -> bool {
        let by_head = self.method == Method::HEAD && status == 405;
        status != 401 && (status != 405 || by_head) && status < 500
    }

    fn request(&self, guarded: &Guarded) -> RequestBuilder {
        let request = guarded.request(self.method.clone(), &self.path);
        let bodied = matches!(self.method.as_str(), "POST" | "PUT" | "PATCH");
        if bodied { request.json(&serde_json::json!({})) } else { request }
    }
}

/// All of them, from the description that the server itself gives.
async fn cases(guarded: &Guarded) -> Vec<Case> {
    let answer = guarded.request(Method::GET, "/openapi.json").send().await.unwrap();
    let document: Value = answer.json().await.unwrap();
    let mut cases = vec![];
    for (template, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            let described = if method == "HEAD" { "GET" } else { method };
            let operation = &item[described.to_lowercase()];
            let need = if operation.is_null() { Need::Undescribed } else { need(operation) };
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            cases.push(Case { method, path: filled(template), need });
        }
    }
    assert!(cases.len() > 15 * METHODS.len(), "only {} cases", cases.len());
    cases
}

/// Read by itself, not as the server reads it.
fn need(operation: &Value) -> Need {
    let security = operation["security"].as_array().unwrap_or_else(|| panic!("{operation}"));
    if security.iter().any(|one| one == &serde_json::json!({})) {
        return Need::Open;
    }
    let of = |scheme: &str| {
        let one = security.iter().find_map(|one| one.get(scheme)).unwrap();
        one[0].as_str().unwrap().to_owned()
    };
    assert_eq!(of("key"), of("session"), "{operation}");
    Need::Scope(of("key"))
}

/// A path with a sound name of what is not there.
fn filled(template: &str) -> String {
    let first = template.split('/').nth(1).unwrap();
    let name = match first {
        "uploads" | "messages" | "results" => "00000000-0000-4000-8000-000000000000",
        _ => "missing",
    };
    let segment =
        |part: &str| if part.starts_with('{') { name.to_owned() } else { part.to_owned() };
    template.split('/').map(segment).collect::<Vec<_>>().join("/")
}

async fn every_operation_asks_for_its_scope(database: TestDatabase) {
    let guarded = Guarded::on(database).await;
    let mut asked = std::collections::BTreeSet::new();
    for case in cases(&guarded).await {
        let bare = case.request(&guarded).send().await.unwrap();
        let scope = match &case.need {
            Need::Open => {
                let status = bare.status().as_u16();
                assert_ne!(status, 403, "{case:?}");
                // The session's own answers say that there is none.
                assert!(status != 401 || case.path == "/session", "{case:?}");
                continue;
            }
            Need::Undescribed => {
                assert!(matches!(bare.status().as_u16(), 404 | 405), "{case:?} {}", bare.status());
                let admin = case.request(&guarded).bearer_auth(guarded.key("admin"));
                let status = admin.send().await.unwrap().status().as_u16();
                assert!(matches!(status, 404 | 405), "{case:?} {status}");
                continue;
            }
            Need::Scope(scope) => scope,
        };
        asked.insert(scope.clone());
        assert_eq!(bare.status(), 401, "{case:?}");
        assert_eq!(bare.headers()["www-authenticate"], "Bearer");
        let other = case.request(&guarded).basic_auth("a", Some(guarded.key("admin")));
        assert_eq!(other.send().await.unwrap().status(), 401, "{case:?}");
        for (held, key) in &guarded.keys {
            let answer = case.request(&guarded).bearer_auth(key).send().await.unwrap();
            if held == scope || *held == "admin" {
                let status = answer.status().as_u16();
                assert!(status != 403 && case.is_handled(status), "{case:?} {status}");
            } else if case.method == Method::HEAD {
                assert_eq!(answer.status(), 403, "{case:?} with {held}");
            } else {
                assert_eq!(answer.status(), 403, "{case:?} with {held}");
                let problem: Value = answer.json().await.unwrap();
                assert_eq!(problem["type"], "/problems/not-allowed");
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains(&format!("`{scope}`")), "{detail}");
            }
        }
    }
    assert_eq!(asked.len(), 4, "not every scope is asked for: {asked:?}");
}

/// By a session the same, and what is more than looking from this server's pages alone.
async fn a_session_may_what_its_key_may(database: TestDatabase) {
    let guarded = Guarded::on(database).await;
    let mut cookies = vec![];
    for (scope, key) in &guarded.keys {
        cookies.push((*scope, guarded.log_in(key).await));
    }
    for case in cases(&guarded).await {
        let Need::Scope(scope) = &case.need else { continue };
        let looks = matches!(case.method.as_str(), "GET" | "HEAD");
        for (held, cookie) in &cookies {
            let ask = async |header: Option<(&str, &str)>| {
                let mut request = case.request(&guarded).header("cookie", format!("a=b; {cookie}"));
                if let Some((name, value)) = header {
                    request = request.header(name, value);
                }
                let status = request.send().await.unwrap().status().as_u16();
                assert!(case.is_handled(status), "{case:?} {held} {status}");
                status != 403
            };
            let may = held == scope || *held == "admin";
            let origin = format!("http://{}", guarded.server.address());
            for own in
                [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none"), ("origin", &origin)]
            {
                assert_eq!(ask(Some(own)).await, may, "{case:?} by {held} with {own:?}");
            }
            for foreign in [
                None,
                Some(("sec-fetch-site", "cross-site")),
                Some(("origin", "http://evil.example")),
            ] {
                assert_eq!(ask(foreign).await, may && looks, "{case:?} by {held} with {foreign:?}");
            }
        }
    }
}

/// A socket is more than a look, whatever its method.
async fn a_foreign_page_opens_no_socket(database: TestDatabase) {
    let guarded = Guarded::on(database).await;
    let cookie = guarded.log_in(guarded.key("admin")).await;
    let socket = |site: &str| {
        guarded
            .request(Method::GET, "/uploads")
            .header("cookie", &cookie)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-fetch-site", site)
            .send()
    };
    assert_eq!(socket("same-origin").await.unwrap().status(), 200);
    let foreign = socket("same-site").await.unwrap();
    assert_eq!(refusal(foreign).await, (403, "foreign-page".into()));
}

on_both!(
    every_operation_asks_for_its_scope,
    a_session_may_what_its_key_may,
    a_foreign_page_opens_no_socket,
);
