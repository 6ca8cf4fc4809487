//! Fetching results.xlsx of 1,000,000 rows and 6 columns from a server on SQLite, each row with an
//! outcome and a result of its own.
//!
//! The time is from the request until the file is whole on this side: it is built then, from the
//! original and what the database knows. The memory is the peaks of the server and of its child.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rowmill::broker::{Source, SqlBroker, SqlBrokerLimits};
use rowmill::client::{Download, DownloadForm, UploadOptions};
use rowmill::domain::{QueueName, Settlement, Verdict};

use crate::ingest::{ROWS, million, peak_kilobytes};
use crate::server::{Peaks, Server};
use crate::{ROUNDS, median, open};

/// Rows that are settled together, before anything is measured.
const BATCH: usize = 500;

/// How long an empty queue is waited for.
const WAIT: Duration = Duration::from_millis(20);

pub(crate) async fn measure() {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let database = format!("sqlite:{}", home.path().join("rowmill.db").display());
    let server = Server::start_in(home.path(), &database);
    let options = UploadOptions { wait: true, ..UploadOptions::default() };
    let upload = server.client().upload(&million(), &options, &Arc::default()).await.unwrap().id;
    let queue = server.client().queues(0, 2).await.unwrap().remove(0).id;
    drop(server);
    settle_all(&database, &queue.to_string().parse().unwrap()).await;

    let (mut rates, mut memory) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        // Another server, because one keeps what it built for whoever asks next.
        let server = Server::start_in(home.path(), &database);
        let status = server.client().upload_status(upload).await.unwrap();
        assert_eq!(status.counts.done, u64::from(ROWS), "not every row is done");
        let peaks = Peaks::of_children(server.id());
        let file = home.path().join("out.xlsx");
        let begun = Instant::now();
        let fetched = server.client().download(upload, DownloadForm::Xlsx, &file).await.unwrap();
        rates.push(f64::from(ROWS) / begun.elapsed().as_secs_f64());
        assert!(matches!(fetched, Download::Complete));
        memory.push((peaks.end() + peak_kilobytes(&server.id().to_string())) as f64 / 1024.0);
    }
    println!("results.xlsx of {ROWS} rows x 6 columns from a server on SQLite, rows/s:");
    println!("{:>26} {rates:>12.0?}", "built and fetched");
    println!("{:>26} {:>12.0}", "median", median(rates));
    println!("{:>26} {:>9.0} MB", "server and its child", median(memory));
}

/// Every row is done, with a result of its own.
async fn settle_all(database: &str, queue: &QueueName) {
    let store = open(database).await;
    let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
    let mut done = 0;
    while done < ROWS {
        for lease in broker.receive(queue, BATCH, WAIT).await.unwrap() {
            let settlement = |delivery: &rowmill::domain::Delivery| Settlement {
                position: delivery.position,
                verdict: Verdict::Done {
                    output: Some(format!(r#"{{"charge":"{}"}}"#, delivery.id).into()),
                },
            };
            let settlements = lease.deliveries.iter().map(settlement).collect();
            let settled = broker.settle(vec![(lease.receipt, settlements)]).await.unwrap();
            done += settled[0].done;
        }
    }
    store.close().await;
}
