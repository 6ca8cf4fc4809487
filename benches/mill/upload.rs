//! Uploading a workbook of 1,000,000 rows and 6 columns over HTTP into PostgreSQL, beside
//! calamine's streaming reader alone on the same file.
//!
//! The time is from the first byte sent until the answer that all is published. The memory is the
//! server's peak and its reader's, as the system accounts for each.

use std::sync::Arc;
use std::time::Instant;

use rowmill::client::UploadOptions;

use crate::ingest::{ROWS, calamine_alone, million, peak_kilobytes};
use crate::server::{Peaks, Server};
use crate::{ROUNDS, median};

pub(crate) async fn compare() {
    let file = million();
    let (mut alone, mut uploaded, mut memory) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        alone.push(calamine_alone(file.to_str().unwrap()));
        let (rate, kilobytes) = upload(&file).await;
        uploaded.push(rate);
        memory.push(kilobytes / 1024.0);
    }
    let ratios = uploaded.iter().zip(&alone).map(|(ours, alone)| ours / alone).collect();
    println!("{ROWS} rows x 6 columns over HTTP, rows/s:");
    println!("{:>26} {:>12.0}", "calamine's reader alone", median(alone));
    println!("{:>26} {:>12.0}", "uploaded and published", median(uploaded));
    println!("{:>26} {:>12.2}", "ratio", median(ratios));
    println!("{:>26} {:>9.0} MB", "server and readers", median(memory));
}

async fn upload(file: &std::path::Path) -> (f64, f64) {
    let server = Server::start().await;
    let process = server.id();
    let peaks = Peaks::of_children(process);
    let begun = Instant::now();
    let options = UploadOptions { wait: true, ..UploadOptions::default() };
    let sent = Arc::default();
    let answer = server.client().upload(file, &options, &sent).await.unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let readers = peaks.end();
    let published = server.client().upload_status(answer.id).await.unwrap();
    assert_eq!(published.counts.published, u64::from(ROWS), "not every row is in the log");
    (f64::from(ROWS) / seconds, (readers + peak_kilobytes(&process.to_string())) as f64)
}
