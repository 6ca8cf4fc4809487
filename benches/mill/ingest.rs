//! Reading + publishing a workbook of 1,000,000 rows and 6 columns into PostgreSQL, beside
//! calamine's streaming reader alone on the same file.
//!
//! Each runs in a process of its own. The memory is the greatest sum of the resident sets of the
//! publishing process and its reader, as the system accounts for each at its peak.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use rowmill::broker::{Publishing, SqlBroker, SqlBrokerLimits};
use rowmill::ingest::reader::Reader;
use rowmill::ingest::{Coverage, IngestLimits, Ingested, Job, Progress, ingest};
use rowmill::store::control::{NewQueue, NewUpload};
use rowmill::workbook::{ReadLimits, ReadOptions};
use tokio_util::sync::CancellationToken;

use crate::{ROUNDS, fresh_database, median, open};

pub(crate) const ROWS: u32 = 1_000_000;

/// The workbook, made the first time.
pub(crate) fn million() -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("million.xlsx");
    if !file.exists() {
        let sample = Command::new(env!("CARGO_BIN_EXE_rowmill"))
            .args(["sample", "--rows", &ROWS.to_string(), "--columns", "6"])
            .arg(&file)
            .status();
        assert!(sample.unwrap().success());
    }
    file
}

pub(crate) async fn compare() {
    let file = million();
    let file = file.to_str().unwrap();
    let (mut alone, mut published, mut memory) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        alone.push(calamine_alone(file));
        let url = fresh_database().await;
        let this = std::env::current_exe().unwrap();
        let (rate, kilobytes) = run(&this, &["publish", file, &url]);
        published.push(rate);
        memory.push(kilobytes / 1024.0);
    }
    let ratios = published.iter().zip(&alone).map(|(ours, alone)| ours / alone).collect();
    println!("{ROWS} rows x 6 columns, rows/s:");
    println!("{:>26} {:>12.0}", "calamine's reader alone", median(alone));
    println!("{:>26} {:>12.0}", "read and published", median(published));
    println!("{:>26} {:>12.2}", "ratio", median(ratios));
    println!("{:>26} {:>9.0} MB", "memory of the processes", median(memory));
}

/// Rows/s of calamine's streaming reader alone; `benches/run` has built it.
pub(crate) fn calamine_alone(file: &str) -> f64 {
    let exe = Path::new(env!("CARGO_BIN_EXE_rowmill")).with_file_name("examples/calamine_alone");
    let (rate, _) = run(&exe, &[file]);
    rate
}

/// Runs a program and reads `rows/s` and kilobytes from what it prints.
fn run(exe: &Path, arguments: &[&str]) -> (f64, f64) {
    let output = Command::new(exe).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut words = text.split_whitespace().map(|word| word.parse::<f64>().unwrap());
    (words.next().unwrap(), words.next().unwrap())
}

/// The file into a database, as `rowmill run` does it.
pub(crate) async fn publish(file: &str, url: &str) {
    let store = open(url).await;
    let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
    let topic = store.control.ensure_topic(&"bench".parse().unwrap()).await.unwrap();
    let queue = NewQueue { topic: Some(topic), ..NewQueue::new("bench".parse().unwrap()) };
    store.control.ensure_queue(&queue).await.unwrap();
    let new = NewUpload {
        public_id: uuid::Uuid::new_v4(),
        run_key: None,
        filename: "million.xlsx".into(),
        content_hash: String::new(),
        options: "{}".into(),
        topic,
        bytes: 0,
        spool: None,
        stream: false,
        corrects: None,
        lease: None,
    };
    let upload = store.control.create_upload(new).await.unwrap();

    let begun = Instant::now();
    let exe = Path::new(env!("CARGO_BIN_EXE_rowmill"));
    let (options, limits) = (ReadOptions::default(), ReadLimits::default());
    let mut reader = Reader::start(exe, Path::new(file), &options, &limits).unwrap();
    let child = reader.id().unwrap().to_string();
    let first = reader.first_word().await.unwrap();
    let progress = Arc::new(Progress::default());
    let job = Job {
        publishing: Publishing {
            topic,
            fence: upload.fence(),
            upload_id: upload.public_id,
            filename: upload.filename.clone(),
            held: true,
        },
        coverage: Coverage::default(),
        first,
        sieve: None,
        progress: &progress,
    };
    // The reader's peak, looked at while it lives; it only ever grows.
    let watch = std::thread::spawn(move || {
        let mut peak = 0;
        loop {
            let now = peak_kilobytes(&child);
            if now == 0 {
                return peak;
            }
            peak = now;
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    let stop = CancellationToken::new();
    let ingested = ingest(reader, &broker, job, &IngestLimits::default(), &stop).await.unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let Ingested::Published(totals) = ingested else { panic!("{ingested:?}") };
    assert_eq!(totals.rows, u64::from(ROWS));
    let covered = store.log.covered(upload.id).await.unwrap();
    let messages: u64 = covered.iter().map(|range| u64::from(range.messages)).sum();
    assert_eq!(messages, u64::from(ROWS), "not every row is in the log");
    let memory = watch.join().unwrap() + peak_kilobytes("self");
    println!("{} {memory}", f64::from(ROWS) / seconds);
}

/// The greatest resident set that a process has had, in kB; 0 when it is gone.
pub(crate) fn peak_kilobytes(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
