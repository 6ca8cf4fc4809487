//! A server without keys listens to this machine alone, unless somebody has said otherwise in so many
//! words; and foreign pages in this machine's browsers do nothing there.

use reqwest::Method;

use crate::scene::{error_of, key, refusal, rowmill};
use crate::server::{TestServer, client};
use crate::support::TestDatabase;

async fn serves(database: &TestDatabase, arguments: &[&str], environment: &[(&str, &str)]) {
    let home = tempfile::tempdir().unwrap();
    let mut command = TestServer::command(&home);
    command.args(["--listen", "0.0.0.0:0", "--database-url", database.url()]).args(arguments);
    command.envs(environment.iter().copied());
    let server = TestServer::run(command, home).await;
    let port = server.address().rsplit_once(':').unwrap().1.to_owned();
    let health = client().get(format!("http://127.0.0.1:{port}/health")).send().await.unwrap();
    assert_eq!(health.status(), 200);
}

async fn without_keys_it_listens_to_this_machine_alone(database: TestDatabase) {
    for beyond in ["0.0.0.0:0", "[::]:0"] {
        let home = tempfile::tempdir().unwrap();
        let spool = home.path().join("spool").display().to_string();
        let arguments =
            ["serve", "--listen", beyond, "--spool", &spool, "--database-url", database.url()];
        let output = rowmill(&arguments, &[]).await;
        let error = error_of(&output);
        assert_eq!(output.status.code(), Some(2), "{error}");
        for word in ["rowmill key add", "127.0.0.1", "--open-to-anyone"] {
            assert!(error.contains(word), "{error}");
        }
    }
    serves(&database, &["--open-to-anyone"], &[]).await;
    serves(&database, &[], &[("ROWMILL_OPEN_TO_ANYONE", "true")]).await;
    key(&database, "one", "admin").await;
    serves(&database, &[], &[]).await;
}

#[tokio::test]
async fn a_foreign_page_does_nothing_on_a_server_without_keys() {
    let database = TestDatabase::sqlite();
    let server = TestServer::start(database.url()).await;
    let client = client();
    let publish = |site: Option<&str>| {
        let request = client.request(Method::POST, server.url("/topics/rows/messages"));
        let request = request.json(&serde_json::json!({"data": {}}));
        match site {
            Some(site) => request.header("sec-fetch-site", site).send(),
            None => request.send(),
        }
    };
    for own in [None, Some("same-origin"), Some("none")] {
        assert_eq!(publish(own).await.unwrap().status(), 201);
    }
    for foreign in ["cross-site", "same-site"] {
        let refused = refusal(publish(Some(foreign)).await.unwrap()).await;
        assert_eq!(refused, (403, "foreign-page".into()));
    }
}

on_both!(without_keys_it_listens_to_this_machine_alone);
