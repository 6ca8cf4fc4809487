//! The page in a real Chromium (`tests/browser`), on the real program: each of the programs in Python
//! beside this file is one person before it. What they saw is below `target/screenshots`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../documented/python.rs"]
mod python;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;

use tokio::process::Command;

use server::{TestServer, client};
use support::TestDatabase;

/// Where pictures go.
const SHOTS: &str = "target/screenshots";

/// Runs one of the programs to its good end.
async fn person(program: &str, arguments: &[&str]) {
    let browser = Command::new(python::file("tests/browser")).output().await.unwrap();
    let said = String::from_utf8_lossy(&browser.stderr);
    assert!(browser.status.success(), "no browser: {said}");
    let mut command = python::program("python").await;
    command
        .arg(python::file("tests/page").join(program))
        .args(arguments)
        .env("PAGE_BROWSER", String::from_utf8(browser.stdout).unwrap().trim())
        .env("PAGE_ROWMILL", env!("CARGO_BIN_EXE_rowmill"))
        .env("PAGE_SHOTS", python::file(SHOTS))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("ROWMILL_API_KEY");
    python::run(command).await;
}

/// Makes a key.
async fn key(database: &TestDatabase, name: &str, scope: &str) -> String {
    let mut add = Command::new(env!("CARGO_BIN_EXE_rowmill"));
    add.args(["key", "add", name, "--scope", scope, "--database-url", database.url()]);
    let made = add.output().await.unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_whole_story() {
    let database = TestDatabase::sqlite();
    let server = TestServer::start(database.url()).await;
    let home = tempfile::tempdir().unwrap();
    person("story.py", &[&server.url(""), home.path().to_str().unwrap()]).await;
}

#[tokio::test]
async fn the_whole_story_with_keys() {
    let database = TestDatabase::sqlite();
    let key = key(&database, "operator", "admin").await;
    let server = TestServer::start(database.url()).await;
    let home = tempfile::tempdir().unwrap();
    person("story.py", &[&server.url(""), home.path().to_str().unwrap(), &key]).await;
}

#[tokio::test]
async fn an_upload_is_steered() {
    let database = TestDatabase::sqlite();
    let server = TestServer::start(database.url()).await;
    let home = tempfile::tempdir().unwrap();
    person("steer.py", &[&server.url(""), home.path().to_str().unwrap()]).await;
}

async fn every_state_is_for_everybody(theme: &str) {
    let database = TestDatabase::sqlite();
    let admin = key(&database, "operator", "admin").await;
    let reader = key(&database, "reader", "read").await;
    let server = TestServer::start(database.url()).await;
    let home = tempfile::tempdir().unwrap();
    let home = home.path().to_str().unwrap();
    person("states.py", &[&server.url(""), home, theme, &admin, &reader]).await;
}

#[tokio::test]
async fn every_state_is_for_everybody_light() {
    every_state_is_for_everybody("light").await;
}

#[tokio::test]
async fn every_state_is_for_everybody_dark() {
    every_state_is_for_everybody("dark").await;
}

#[tokio::test]
async fn a_server_that_goes_away_is_told_of() {
    let home = tempfile::tempdir().unwrap();
    person("restart.py", &[home.path().to_str().unwrap()]).await;
}

/// Also what `tests/screenshots` takes the README's picture from.
#[tokio::test]
async fn the_picture_can_be_taken() {
    let database = TestDatabase::sqlite();
    let server = TestServer::start(database.url()).await;
    let home = tempfile::tempdir().unwrap();
    person("picture.py", &[&server.url(""), home.path().to_str().unwrap()]).await;
    for theme in ["light", "dark"] {
        let picture = python::file(SHOTS).join(format!("picture-{theme}.png"));
        assert!(std::fs::metadata(picture).unwrap().len() > 10_000);
    }
}

#[tokio::test]
async fn a_browser_is_told_how_far_to_trust_it() {
    let database = TestDatabase::sqlite();
    // Where keys are asked for, the page itself is not kept from anybody.
    key(&database, "operator", "admin").await;
    let server = TestServer::start(database.url()).await;
    let page = client().get(server.url("/")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let must = [
        "default-src 'none'",
        "script-src 'self';",
        "style-src 'self';",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ];
    assert!(must.iter().all(|part| policy.contains(part)), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-cache"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(page.headers()[name], value, "{name}");
    }
    let tag = page.headers()["etag"].clone();
    let again = client().get(server.url("/")).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    assert_eq!(again.headers()["content-security-policy"], policy);
    let text = page.text().await.unwrap();
    let app = text.split("src=\"").nth(1).unwrap().split('"').next().unwrap();
    let asset = client().get(server.url(&format!("/{app}"))).header("accept-encoding", "gzip");
    let asset = asset.send().await.unwrap();
    assert_eq!(asset.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(asset.headers()["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(asset.headers()["content-encoding"], "gzip");
    let program = client().get(server.url("/uploads")).send().await.unwrap();
    assert_eq!(program.status(), 401);
}
