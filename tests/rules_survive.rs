//! An upload is read by the rules that its topic had at its start: also when the server that read it
//! was killed, the topic has others by then, and another server goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/process.rs"]
mod process;
#[macro_use]
mod support;

use std::time::Duration;

use process::{Server, http};
use reqwest::multipart::{Form, Part};
use rowmill::store::control::UploadState;
use serde_json::{Value, json};
use support::TestDatabase;
use tokio::time::{Instant, sleep};

const ROWS: u32 = 60_000;
/// Every so many rows one is no number.
const BAD: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(120);

fn file() -> String {
    let mut text = String::from("n,when\n");
    for n in 1..=ROWS {
        let (n, bad) = (n.to_string(), n % BAD == 0);
        text.push_str(&format!("{},13/04/2026\n", if bad { "none" } else { n.as_str() }));
    }
    text
}

async fn rules(server: &Server, rules: Value) {
    let url = format!("{}/topics/rows", server.url);
    let changed = http().put(url).json(&json!({"rules": rules})).send().await.unwrap();
    assert_eq!(changed.status(), 200, "{}", changed.text().await.unwrap());
}

async fn rules_of_the_start_hold(database: TestDatabase) {
    let store = database.open(2).await;
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("rowmill.toml");
    // Small batches, so that there is a middle to be killed in; soon taken over.
    let text = "[ingest]\nbatch_rows = 50\nproducers = 1\n\
        [intake]\nlease = \"2s\"\nclaim_every = \"200ms\"\n";
    std::fs::write(&config, text).unwrap();
    let arguments = ["--config", config.to_str().unwrap()];
    let mut server = Server::start(home.path(), database.url(), &arguments).await;
    let typed = json!({"columns": [{"column": "n", "name": "number", "type": "integer"}]});
    rules(&server, typed).await;
    let form = Form::new().part("files", Part::text(file()).file_name("a.csv"));
    let url = format!("{}/file/upload?dates=auto", server.url);
    let taken = http().post(url).multipart(form).send().await.unwrap();
    assert_eq!(taken.status(), 202, "{}", taken.text().await.unwrap());
    rules(&server, json!({"columns": [{"column": "n", "name": "other", "type": "boolean"}]})).await;

    let upload = store.control.uploads(None, 1).await.unwrap().remove(0);
    let until = Instant::now() + PATIENCE;
    while store.log.standing(upload.id).await.unwrap().messages < u64::from(ROWS / 10) {
        assert!(Instant::now() < until, "nothing is published");
        sleep(Duration::from_millis(5)).await;
    }
    server.restart();
    server.ready().await;
    let state = async || store.control.upload(upload.id).await.unwrap();
    while state().await.state == UploadState::Ingesting {
        assert!(Instant::now() < until, "it is not published");
        sleep(Duration::from_millis(50)).await;
    }
    let now = state().await;
    assert_eq!(now.state, UploadState::Published, "{:?}", now.problem);
    assert!(now.epoch > 1, "it was not killed in the middle");
    let url = format!("{}/uploads/{}", server.url, upload.public_id);
    let shown: Value = http().get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(shown["counts"]["published"], ROWS - ROWS / BAD, "{shown}");
    assert_eq!(shown["counts"]["rejected"], ROWS / BAD, "{shown}");
    let queue = store.control.queue(&"rows".parse().unwrap()).await.unwrap().unwrap().id;
    let mut after = Some(rowmill::store::log::PageAfter::default());
    let mut rows = 0_u32;
    while let Some(page) = after {
        let (found, next) = store.log.rows(upload.id, queue, page, 20).await.unwrap();
        for row in found {
            rows += 1;
            let data: Value = serde_json::from_str(&row.data).unwrap();
            let written = json!({"number": row.row.0 - 1, "when": "2026-04-13"});
            assert_eq!(data, written, "the first rules, and the order decided at the start");
        }
        after = next;
    }
    assert_eq!(rows, ROWS - ROWS / BAD);
}

on_both!(rules_of_the_start_hold);
