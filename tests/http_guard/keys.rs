//! Keys come and go while servers run.

use reqwest::Method;
use serde_json::Value;

use crate::scene::{Guarded, PATIENCE, error_of, key, refusal, rowmill, until};
use crate::server::{TestServer, client};
use crate::support::TestDatabase;

async fn list(database: &TestDatabase) -> Vec<Value> {
    let output = rowmill(&["key", "list", "--json", "--database-url", database.url()], &[]).await;
    assert!(output.status.success(), "{}", error_of(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn the_first_key_closes_a_running_server_and_revoking_it_opens_nothing(
    database: TestDatabase,
) {
    let server = TestServer::start(database.url()).await;
    let client = client();
    let bare = async || client.get(server.url("/uploads")).send().await.unwrap();
    let session = client.get(server.url("/session")).send().await.unwrap();
    let session: Value = session.json().await.unwrap();
    assert_eq!(session["name"], Value::Null);
    assert_eq!(session["scopes"], serde_json::json!(["read", "publish", "consume", "admin"]));
    assert_eq!(bare().await.status(), 200);

    let key = key(&database, "first", "read").await;
    let begun = std::time::Instant::now();
    until(401, &bare).await;
    // Trusted for 2 s; the rest is for a busy machine.
    assert!(begun.elapsed().as_secs() < 10, "it took {:?}", begun.elapsed());
    let with = async || client.get(server.url("/uploads")).bearer_auth(&key).send().await.unwrap();
    assert_eq!(with().await.status(), 200);
    assert_eq!(client.get(server.url("/health")).send().await.unwrap().status(), 200);

    let number = list(&database).await[0]["number"].to_string();
    let arguments = ["key", "revoke", &number, "--database-url", database.url()];
    let output = rowmill(&arguments, &[]).await;
    assert!(output.status.success() && error_of(&output).contains("the last"));
    let refused = until(401, &with).await;
    assert_eq!(refusal(refused).await.1, "no-key");
    assert_eq!(bare().await.status(), 401);
}

async fn keys_are_listed_without_themselves(database: TestDatabase) {
    let one = key(&database, "one", "read,publish").await;
    let two = key(&database, "zwei ✓", "admin").await;
    assert_ne!(one, two);
    assert!(one.starts_with("rmk_") && one.len() == 47, "{one}");
    let keys = list(&database).await;
    let said =
        |key: &Value| (key["name"].clone(), key["scopes"].clone(), key["revoked_at"].clone());
    assert_eq!(said(&keys[0]), ("one".into(), serde_json::json!(["read", "publish"]), Value::Null));
    assert_eq!(said(&keys[1]), ("zwei ✓".into(), serde_json::json!(["admin"]), Value::Null));
    let number = keys[1]["number"].to_string();
    for _ in 0..2 {
        let arguments = ["key", "revoke", &number, "--database-url", database.url()];
        assert!(rowmill(&arguments, &[]).await.status.success());
    }
    let revoked = list(&database).await;
    assert!(revoked[0]["revoked_at"].is_null() && revoked[1]["revoked_at"].is_string());
    let table = rowmill(&["key", "list"], &[("ROWMILL_DATABASE_URL", database.url())]).await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(!table.contains(&one[8..]), "{table}");
}

#[tokio::test]
async fn what_is_no_key_is_refused_in_words() {
    let database = TestDatabase::sqlite();
    let url = database.url();
    let nowhere = format!("{url}.not-there");
    for (arguments, says) in [
        (vec!["add", "x", "--scope", "all", "--database-url", url], "`all` is no scope"),
        (vec!["add", "x", "--database-url", url], "--scope"),
        (vec!["add", " ", "--scope", "read", "--database-url", url], "name has 1 to 128"),
        (vec!["add", "a\nb", "--scope", "read", "--database-url", url], "name has 1 to 128"),
        (vec!["revoke", "7", "--database-url", url], "there is no key 7"),
        (vec!["list", "--database-url", &nowhere], "there is no database"),
    ] {
        let output = rowmill(&[vec!["key"], arguments.clone()].concat(), &[]).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(error_of(&output).contains(says), "{arguments:?}: {}", error_of(&output));
    }
}

/// Guesses are answered 401 until there are too many of them; who has a key is not held up.
#[tokio::test]
async fn guesses_are_limited() {
    let guarded = Guarded::on(TestDatabase::sqlite()).await;
    let begun = std::time::Instant::now();
    let mut refused = 0;
    let limited = loop {
        assert!(begun.elapsed() < PATIENCE, "guessing was never limited");
        let answer = guarded.get("/uploads", &format!("rmk_{refused}")).await;
        if answer.status() == 429 {
            break answer;
        }
        assert_eq!(answer.status(), 401);
        refused += 1;
    };
    assert!(refused >= 10, "only {refused} guesses");
    assert_eq!(limited.headers()["retry-after"], "1");
    assert_eq!(refusal(limited).await, (429, "too-many-tries".into()));
    assert_eq!(guarded.get("/uploads", guarded.key("read")).await.status(), 200);
    // As a session, too.
    let guess = serde_json::json!({"key": "rmk_guess"});
    let session =
        async || guarded.request(Method::POST, "/session").json(&guess).send().await.unwrap();
    until(429, session).await;
}

on_both!(
    the_first_key_closes_a_running_server_and_revoking_it_opens_nothing,
    keys_are_listed_without_themselves,
);
