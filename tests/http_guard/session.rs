//! A browser's session: its cookie, its servers, its end.

use reqwest::Method;
use serde_json::{Value, json};

use crate::scene::{Guarded, refusal, rowmill, until};
use crate::server::TestServer;
use crate::support::TestDatabase;

#[tokio::test]
async fn the_cookie_is_for_this_server_and_no_script() {
    let guarded = Guarded::on(TestDatabase::sqlite()).await;
    let log_in = async |header: Option<(&str, &str)>| {
        let key = json!({"key": guarded.key("read")});
        let mut request = guarded.request(Method::POST, "/session").json(&key);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 204);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        answer.headers()["set-cookie"].to_str().unwrap().to_owned()
    };
    let plain = log_in(None).await;
    for part in ["rowmill_session=", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(plain.contains(part), "{plain}");
    }
    assert!(!plain.contains("Secure") && !plain.contains(guarded.key("read")), "{plain}");
    assert!(log_in(Some(("x-forwarded-proto", "https"))).await.contains("Secure"));
}

#[tokio::test]
async fn it_says_who_it_is_and_ends() {
    let guarded = Guarded::on(TestDatabase::sqlite()).await;
    let cookie = guarded.log_in(guarded.key("consume")).await;
    let show =
        |cookie: &str| guarded.request(Method::GET, "/session").header("cookie", cookie).send();
    let session: Value = show(&cookie).await.unwrap().json().await.unwrap();
    assert_eq!(session, json!({"name": "may consume", "scopes": ["consume"]}));
    let by_key = guarded.get("/session", guarded.key("admin")).await;
    assert_eq!(by_key.json::<Value>().await.unwrap()["scopes"], json!(["admin"]));
    let nobody = guarded.request(Method::GET, "/session").send().await.unwrap();
    assert_eq!(refusal(nobody).await, (401, "no-key".into()));
    let mut forged = cookie.clone();
    forged.pop();
    assert_eq!(show(&forged).await.unwrap().status(), 401);

    let end = |site: &str| {
        guarded
            .request(Method::DELETE, "/session")
            .header("cookie", &cookie)
            .header("sec-fetch-site", site)
            .send()
    };
    assert_eq!(end("cross-site").await.unwrap().status(), 403);
    let ended = end("same-origin").await.unwrap();
    assert_eq!(ended.status(), 204);
    let cleared = ended.headers()["set-cookie"].to_str().unwrap();
    assert!(cleared.starts_with("rowmill_session=;") && cleared.contains("Max-Age=0"), "{cleared}");
}

#[tokio::test]
async fn no_session_without_a_key() {
    let guarded = Guarded::on(TestDatabase::sqlite()).await;
    let post = async |body: Value| {
        refusal(guarded.request(Method::POST, "/session").json(&body).send().await.unwrap()).await
    };
    assert_eq!(post(json!({"key": "rmk_no"})).await, (401, "no-key".into()));
    assert_eq!(post(json!({"key": ""})).await, (401, "no-key".into()));
    assert_eq!(post(json!({})).await, (422, "invalid-request".into()));
    assert_eq!(post(json!({"key": "x", "more": 1})).await, (422, "invalid-request".into()));
    let foreign = guarded
        .request(Method::POST, "/session")
        .header("origin", "https://evil.example")
        .json(&json!({"key": guarded.key("read")}));
    assert_eq!(refusal(foreign.send().await.unwrap()).await, (403, "foreign-page".into()));
}

/// Every server of a database understands it, and ends it with its key.
async fn a_session_is_good_at_every_server_until_its_key_is_revoked(database: TestDatabase) {
    let guarded = Guarded::on(database).await;
    let other = TestServer::start(guarded.database.url()).await;
    let cookie = guarded.log_in(guarded.key("read")).await;
    let ask =
        async |url: String| guarded.client.get(url).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(ask(other.url("/uploads")).await.status(), 200);
    // The keys were made in the order of the scopes.
    let arguments = ["key", "revoke", "1", "--database-url", guarded.database.url()];
    assert!(rowmill(&arguments, &[]).await.status.success());
    for server in [&guarded.server, &other] {
        until(401, async || ask(server.url("/uploads")).await).await;
    }
}

on_both!(a_session_is_good_at_every_server_until_its_key_is_revoked);
