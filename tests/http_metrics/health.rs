//! `/health/live` and `/health/ready`.

use std::process::Stdio;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};

use crate::scene::Scene;
use crate::server::TestServer;
use crate::support::TestDatabase;

async fn a_server_with_all_it_needs_is_ready(database: TestDatabase) {
    let scene = Scene::with(database, &[]).await;
    assert_eq!(scene.get("/health/live").await, (200, json!({"status": "ok"})));
    let ready = json!({"status": "ok", "warnings": []});
    assert_eq!(scene.get("/health/ready").await, (200, ready));
    assert_eq!(scene.get("/health").await, (200, json!({"status": "ok"})));
}

/// The detail of a refusal by `/health/ready`.
async fn not_ready(scene: &Scene) -> String {
    let (status, problem) = scene.get("/health/ready").await;
    assert_eq!((status, &problem["status"]), (503, &json!(503)), "{problem}");
    problem["detail"].as_str().unwrap().to_owned()
}

async fn every_part_that_fails_is_named(database: TestDatabase) {
    let scene = Scene::with(database, &[]).await;
    let spool = scene.server.home().join("rowmill-spool");
    std::fs::remove_dir(&spool).unwrap();
    assert_eq!(not_ready(&scene).await, "the spool cannot be written: entity not found");

    // As if this server were newer than the tables.
    let store = scene.database.open(2).await;
    let forget =
        "delete from seaql_migrations where version=(select max(version) from seaql_migrations)";
    match (store.postgres_pool(), store.sqlite_pool()) {
        (Some(pool), _) => drop(sqlx::query(forget).execute(pool).await.unwrap()),
        (_, Some(pool)) => drop(sqlx::query(forget).execute(pool).await.unwrap()),
        _ => unreachable!(),
    }
    store.close().await;
    assert_eq!(
        not_ready(&scene).await,
        "the database's tables lack 1 changes; the spool cannot be written: entity not found"
    );
    assert_eq!(scene.get("/health/live").await.0, 200);
    assert_eq!(scene.get("/health").await.0, 200);

    std::fs::create_dir(&spool).unwrap();
    assert_eq!(not_ready(&scene).await, "the database's tables lack 1 changes");
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0, "a look leaves nothing behind");
}

/// An update took the program away under a running server: no file could be read any more.
#[tokio::test]
async fn a_reader_that_cannot_be_started_is_named() {
    let database = TestDatabase::sqlite();
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = home.path().join("rowmill");
    std::fs::hard_link(env!("CARGO_BIN_EXE_rowmill"), &program).unwrap();
    let mut command = tokio::process::Command::new(&program);
    command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", database.url()]);
    command.current_dir(home.path()).stdout(Stdio::null());
    let server = TestServer::run(command, home).await;
    let scene = Scene { server, client: crate::server::client(), database };
    assert_eq!(scene.get("/health/ready").await.0, 200);
    std::fs::remove_file(&program).unwrap();
    assert_eq!(not_ready(&scene).await, "no reader can be started: entity not found");
}

/// The warning of one process of the database.
fn warning_of(ready: &Value, pid: i32) -> Option<&Value> {
    ready["warnings"].as_array().unwrap().iter().find(|warning| warning["pid"] == pid)
}

/// A connection of somebody else's, with a name that needs escaping, and its process's number.
async fn somebody(database: &TestDatabase) -> (PgConnection, i32) {
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let named = r#"set application_name = 're"port\er'"#;
    sqlx::query(named).execute(&mut connection).await.unwrap();
    let pid = sqlx::query("select pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
    (connection, pid.get(0))
}

#[tokio::test]
async fn an_old_transaction_is_named_and_does_no_other_harm() {
    let database = TestDatabase::postgres().await;
    let settings = [("ROWMILL__HTTP__OBSERVE__OLD_TRANSACTION", "1ms")];
    let scene = Scene::with(database, &settings).await;
    // One that wrote, one that looked and may look again, and one that holds nothing at all.
    let (mut writer, writes) = somebody(&scene.database).await;
    let (mut reader, reads) = somebody(&scene.database).await;
    let (mut idler, idles) = somebody(&scene.database).await;
    for statement in ["begin", "select txid_current() as secret"] {
        sqlx::query(statement).execute(&mut writer).await.unwrap();
    }
    for statement in ["begin isolation level repeatable read", "select 1 as secret"] {
        sqlx::query(statement).execute(&mut reader).await.unwrap();
    }
    for statement in ["begin", "select 1"] {
        sqlx::query(statement).execute(&mut idler).await.unwrap();
    }
    let ready = scene
        .until("both are old and idle", async || {
            let (status, ready) = scene.get("/health/ready").await;
            assert_eq!(status, 200, "{ready}");
            let both = [writes, reads].map(|pid| warning_of(&ready, pid).is_some());
            (both == [true, true]).then_some(ready)
        })
        .await;
    for pid in [writes, reads] {
        let warning = warning_of(&ready, pid).unwrap();
        assert_eq!(warning["kind"], "transaction");
        assert_eq!(warning["application_name"], r#"re"port\er"#);
        assert_eq!(warning["state"], "idle in transaction");
        assert!(warning["age_seconds"].as_f64().unwrap() > 0.0);
    }
    assert!(warning_of(&ready, idles).is_none(), "{ready}");
    assert!(!ready.to_string().contains("secret"), "{ready}");

    let scrape = scene.scrape().await;
    let pid = writes.to_string();
    let labels = [
        ("kind", "transaction"),
        ("pid", &pid),
        ("application_name", r#"re"port\er"#),
        ("state", "idle in transaction"),
    ];
    let age = scrape.value("rowmill_database_old_transaction_age_seconds", &labels).unwrap();
    let oldest = scrape.value("rowmill_database_oldest_transaction_age_seconds", &[]).unwrap();
    assert!(age > 0.0 && oldest > 0.0, "{age} {oldest}");

    for connection in [&mut writer, &mut reader] {
        sqlx::query("commit").execute(connection).await.unwrap();
    }
    let (_, ready) = scene.get("/health/ready").await;
    assert!(warning_of(&ready, writes).is_none() && warning_of(&ready, reads).is_none());
    for connection in [writer, reader, idler] {
        connection.close().await.unwrap();
    }
}

/// A transaction of another database holds nothing here; a young one is none of anybody's business.
#[tokio::test]
async fn transactions_elsewhere_and_young_ones_are_not_named() {
    let (here, there) = (TestDatabase::postgres().await, TestDatabase::postgres().await);
    let scene = Scene::with(here, &[]).await;
    let (mut young, _) = somebody(&scene.database).await;
    let (mut elsewhere, _) = somebody(&there).await;
    for connection in [&mut young, &mut elsewhere] {
        for statement in ["begin", "select txid_current()"] {
            sqlx::query(statement).execute(&mut *connection).await.unwrap();
        }
    }
    assert_eq!(scene.get("/health/ready").await.1["warnings"], json!([]));
    // The metric knows the young one, whose age is not of interest to anybody yet.
    let scrape = scene.scrape().await;
    let oldest = scrape.value("rowmill_database_oldest_transaction_age_seconds", &[]).unwrap();
    assert!(oldest > 0.0);
    assert_eq!(scrape.all("rowmill_database_old_transaction_age_seconds").count(), 0);
    for connection in [young, elsewhere] {
        connection.close().await.unwrap();
    }
}

on_both!(a_server_with_all_it_needs_is_ready, every_part_that_fails_is_named);
