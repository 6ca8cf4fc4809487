//! The measured comparisons. `benches/run` starts a PostgreSQL and runs this.
//!
//! A figure of a shared machine means nothing alone: what is compared runs in turn, three rounds,
//! and medians and their ratio are printed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod carriers;
mod ingest;
mod latency;
mod live;
mod log;
mod results;
mod server;
mod snapshot;
mod upload;
mod waiting;

use rowmill::store::{Store, StoreOptions};
use sqlx::postgres::PgPoolOptions;

/// Rounds of each comparison.
const ROUNDS: usize = 3;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => runtime.block_on(async {
            log::compare().await;
            ingest::compare().await;
            upload::compare().await;
            results::measure().await;
            latency::measure().await;
            waiting::compare().await;
            snapshot::compare().await;
            live::measure().await;
            carriers::compare(&[]).await;
        }),
        ["log"] => runtime.block_on(log::compare()),
        ["ingest"] => runtime.block_on(ingest::compare()),
        ["upload"] => runtime.block_on(upload::compare()),
        ["results"] => runtime.block_on(results::measure()),
        ["latency"] => runtime.block_on(latency::measure()),
        ["waiting"] => runtime.block_on(waiting::compare()),
        ["snapshot"] => runtime.block_on(snapshot::compare()),
        ["live"] => runtime.block_on(live::measure()),
        ["carriers", ref engines @ ..] => runtime.block_on(carriers::compare(engines)),
        // What `live` starts in a process of its own, to kill it.
        ["hold", url] => runtime.block_on(live::hold(url)),
        ["publish", file, url] => runtime.block_on(ingest::publish(file, url)),
        _ => {
            panic!(
                "say log, ingest, upload, results, latency, live, waiting, snapshot, carriers, or \
                 nothing for all"
            )
        }
    }
}

/// A database of its own on the server that `benches/run` started.
async fn fresh_database() -> String {
    let url = std::env::var("ROWMILL_BENCH_POSTGRES_URL")
        .expect("run this by benches/run, which starts a PostgreSQL");
    let name = format!("bench_{}", uuid::Uuid::new_v4().simple());
    let server = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    let create = format!("create database {name}");
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&server).await.unwrap();
    server.close().await;
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

async fn open(url: &str) -> Store {
    let store = Store::open(url, &StoreOptions::default()).await.unwrap();
    store.migrate().await.unwrap();
    store
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
