//! What every answer carries.

use reqwest::Method;

use crate::scene::Guarded;
use crate::server::TestServer;
use crate::support::TestDatabase;

#[tokio::test]
async fn every_answer_tells_a_browser_to_be_careful() {
    let guarded = Guarded::on(TestDatabase::sqlite()).await;
    for (method, path, status) in [
        (Method::GET, "/health", 200),
        (Method::GET, "/uploads", 401),
        (Method::GET, "/nowhere", 404),
        (Method::DELETE, "/health", 405),
        (Method::OPTIONS, "/uploads", 405),
    ] {
        let preflight = guarded
            .request(method.clone(), path)
            .header("origin", "https://other.example")
            .header("access-control-request-method", "POST");
        let answer = preflight.send().await.unwrap();
        // What a foreign page may not do at all is told so first.
        let status = if method == Method::DELETE { 405 } else { status };
        assert_eq!(answer.status(), status, "{method} {path}");
        let headers = answer.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control")));
        assert_eq!(headers["x-request-id"].len(), 32);
        if status == 405 {
            assert!(headers["allow"].to_str().unwrap().contains("GET, HEAD"));
        }
    }
}

#[tokio::test]
async fn a_request_has_an_id_in_the_answer_and_in_the_log() {
    let database = TestDatabase::sqlite();
    let home = tempfile::tempdir().unwrap();
    let mut command = TestServer::command(&home);
    command.args(["--listen", "127.0.0.1:0", "--database-url", database.url()]);
    command.env("ROWMILL_LOG", "info");
    let server = TestServer::run(command, home).await;
    let client = crate::server::client();
    let id = async |given: &str| {
        let request = client.get(server.url("/health")).header("x-request-id", given);
        request.send().await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id("probe-7.A").await, "probe-7.A");
    server.logged(&["probe-7.A", "/health", "answered"]).await;
    let (one, two) = (id("no id").await, id("").await);
    assert!(one.len() == 32 && two.len() == 32 && one != two);
    server.logged(&[&one, "answered"]).await;
}
