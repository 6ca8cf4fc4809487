//! Ingestion over the real reader and a real database: exact whatever was committed before, and
//! nothing by a process that has lost the upload.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::sync::Arc;

use rowmill::broker::{Broker, BrokerError, Publishing, RowBatch, SqlBroker, SqlBrokerLimits};
use rowmill::domain::{Filters, ProblemKind, Row, RowNumber};
use rowmill::ingest::reader::Reader;
use rowmill::ingest::{Coverage, IngestError, IngestLimits, Ingested, Job, Progress, ingest};
use rowmill::store::Store;
use rowmill::store::control::{NewQueue, NewUpload, Upload, UploadState};
use rowmill::store::log::{PageAfter, QueueId};
use rowmill::workbook::{ReadLimits, ReadOptions};
use support::TestDatabase;
use tokio_util::sync::CancellationToken;

struct Scene {
    _database: TestDatabase,
    store: Store,
    broker: SqlBroker,
    queue: QueueId,
    upload: Upload,
    file: tempfile::NamedTempFile,
}

impl Scene {
    async fn new(database: TestDatabase, csv: &str) -> Self {
        let store = database.open(8).await;
        let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
        let topic = store.control.ensure_topic(&"t".parse().unwrap()).await.unwrap();
        let queue = NewQueue { topic: Some(topic), ..NewQueue::new("q".parse().unwrap()) };
        let queue = store.control.ensure_queue(&queue).await.unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), csv).unwrap();
        let upload = NewUpload {
            public_id: uuid::Uuid::new_v4(),
            run_key: None,
            filename: "in.csv".into(),
            content_hash: "0".into(),
            options: "{}".into(),
            topic,
            bytes: 0,
            spool: None,
            stream: false,
            corrects: None,
            lease: None,
        };
        let upload = store.control.create_upload(upload).await.unwrap();
        Self { _database: database, store, broker, queue, upload, file }
    }

    fn publishing(&self, upload: &Upload) -> Publishing {
        Publishing {
            topic: upload.topic,
            fence: upload.fence(),
            upload_id: upload.public_id,
            filename: upload.filename.clone(),
            held: true,
        }
    }

    async fn ingest(&self, upload: &Upload) -> Result<Ingested, IngestError> {
        let exe = Path::new(env!("CARGO_BIN_EXE_rowmill"));
        let (options, limits) = (ReadOptions::default(), ReadLimits::default());
        let mut reader = Reader::start(exe, self.file.path(), &options, &limits).unwrap();
        let job = Job {
            publishing: self.publishing(upload),
            first: reader.first_word().await.unwrap(),
            coverage: Coverage::new(self.store.log.covered(upload.id).await.unwrap()),
            sieve: None,
            progress: &Arc::new(Progress::default()),
        };
        let limits = IngestLimits { batch_rows: 64, ..IngestLimits::default() };
        ingest(reader, &self.broker, job, &limits, &CancellationToken::new()).await
    }

    /// Publishes these rows by hand, as an attempt that died later would have left them.
    async fn commit(&self, upload: &Upload, first: u32, last: u32) -> Result<(), BrokerError> {
        let batch = RowBatch {
            ticket: self.broker.reserve(1_000).await.unwrap(),
            sheet: 0,
            sheet_name: None,
            first_row: RowNumber(first),
            last_row: RowNumber(last),
            turn: 0,
            rows: (first..=last).map(|n| Row::new(RowNumber(n), row_json(n - 1).into())).collect(),
            findings: vec![],
            duplicates: 0,
        };
        self.broker.publish(&self.publishing(upload), batch).await.map(drop)
    }

    async fn rows(&self) -> Vec<(u32, String)> {
        let (mut rows, mut after) = (vec![], Some(PageAfter::default()));
        while let Some(page) = after {
            let (more, next) =
                self.store.log.rows(self.upload.id, self.queue, page, 7).await.unwrap();
            rows.extend(more.into_iter().map(|row| (row.row.0, row.data.into_string())));
            after = next;
        }
        rows
    }

    async fn state(&self) -> UploadState {
        self.store.control.upload(self.upload.id).await.unwrap().state
    }
}

fn row_json(id: u32) -> String {
    format!(r#"{{"id":"{id}"}}"#)
}

fn csv(rows: u32) -> String {
    (1..=rows).fold("id\n".to_owned(), |csv, id| csv + &format!("{id}\n"))
}

fn all(rows: u32) -> Vec<(u32, String)> {
    (1..=rows).map(|id| (id + 1, row_json(id))).collect()
}

async fn fills_the_gaps(database: TestDatabase) {
    let scene = Scene::new(database, &csv(1_000)).await;
    for (first, last) in [(2, 2), (10, 20), (21, 21), (500, 900), (1_001, 1_001)] {
        scene.commit(&scene.upload, first, last).await.unwrap();
    }
    let upload = scene.store.control.take_over(scene.upload.id).await.unwrap();
    assert!(matches!(scene.ingest(&upload).await.unwrap(), Ingested::Published(_)));
    assert_eq!(scene.rows().await, all(1_000), "each row once, in order");
    let covered = scene.store.log.covered(upload.id).await.unwrap();
    for pair in covered.windows(2) {
        assert!(pair[0].last_row < pair[1].first_row, "ranges overlap: {pair:?}");
    }
    let depth = scene.store.log.depth(scene.queue).await.unwrap();
    assert_eq!((depth.ready, depth.held), (1_000, 0), "{depth:?}");
    assert_eq!(scene.state().await, UploadState::Published);
}

#[tokio::test(flavor = "multi_thread")]
async fn fills_the_gaps_on_sqlite() {
    fills_the_gaps(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fills_the_gaps_on_postgres() {
    fills_the_gaps(TestDatabase::postgres().await).await;
}

async fn who_lost_the_upload_commits_nothing(database: TestDatabase) {
    let scene = Scene::new(database, &csv(300)).await;
    let old = scene.upload.clone();
    let new = scene.store.control.take_over(old.id).await.unwrap();
    assert!(matches!(scene.commit(&old, 2, 9).await, Err(BrokerError::LeaseLost)));
    let lost = scene.ingest(&old).await;
    assert!(matches!(lost, Err(IngestError::Broker(BrokerError::LeaseLost))), "{lost:?}");
    assert!(scene.store.log.covered(old.id).await.unwrap().is_empty(), "it committed");
    assert!(scene.broker.release(old.fence(), "{}").await.is_err(), "it let the upload go");
    assert!(scene.broker.discard(old.fence(), "{}").await.is_err(), "it took the upload back");
    assert!(matches!(scene.ingest(&new).await.unwrap(), Ingested::Published(_)));
    assert_eq!(scene.rows().await, all(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_the_upload_commits_nothing_on_sqlite() {
    who_lost_the_upload_commits_nothing(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_the_upload_commits_nothing_on_postgres() {
    who_lost_the_upload_commits_nothing(TestDatabase::postgres().await).await;
}

async fn a_fault_takes_everything_back(database: TestDatabase) {
    let scene = Scene::new(database, &(csv(5_000) + "\"never closed\n")).await;
    scene.commit(&scene.upload, 2, 9).await.unwrap();
    let Ingested::Failed(problem) = scene.ingest(&scene.upload).await.unwrap() else {
        panic!("a broken file was published")
    };
    assert_eq!(problem.kind, ProblemKind::Unreadable, "{problem}");
    assert_eq!(scene.state().await, UploadState::Failed);
    assert!(scene.store.log.covered(scene.upload.id).await.unwrap().is_empty());
    let depth = scene.store.log.depth(scene.queue).await.unwrap();
    assert_eq!(depth.total(), 0, "{depth:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_takes_everything_back_on_sqlite() {
    a_fault_takes_everything_back(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_takes_everything_back_on_postgres() {
    a_fault_takes_everything_back(TestDatabase::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_split_an_upload_and_what_none_takes_is_counted() {
    let scene = Scene::new(TestDatabase::sqlite(), &csv(200)).await;
    // The first queue shall take rows 5 and 7 only, from now on: routes that were read before
    // must not be used any more.
    scene.commit(&scene.upload, 2, 2).await.unwrap();
    let only = ("row".to_owned(), vec!["5".to_owned(), "7".to_owned()]);
    let queue = NewQueue {
        topic: Some(scene.upload.topic),
        filters: Filters([only].into()),
        ..NewQueue::new("q".parse().unwrap())
    };
    scene.store.control.ensure_queue(&queue).await.unwrap();
    assert!(matches!(scene.ingest(&scene.upload).await.unwrap(), Ingested::Published(_)));
    let depth = scene.store.log.depth(scene.queue).await.unwrap();
    assert_eq!(depth.ready, 3, "row 2 before the change, 5 and 7 after it");
    let covered = Coverage::new(scene.store.log.covered(scene.upload.id).await.unwrap());
    assert_eq!((covered.messages(), covered.unrouted()), (200, 197));
}

async fn a_deleted_topic_takes_nothing_more_of_an_upload(database: TestDatabase) {
    let scene = Scene::new(database, &csv(200)).await;
    scene.commit(&scene.upload, 2, 2).await.unwrap();
    let control = &scene.store.control;
    assert!(control.delete_topic(&"t".parse().unwrap()).await.unwrap());
    // It goes on to its end, and what it was published to keeps its name.
    assert!(matches!(scene.ingest(&scene.upload).await.unwrap(), Ingested::Published(_)));
    let depth = scene.store.log.depth(scene.queue).await.unwrap();
    assert_eq!(depth.ready, 1, "row 2, which was there before");
    let covered = Coverage::new(scene.store.log.covered(scene.upload.id).await.unwrap());
    assert_eq!((covered.messages(), covered.unrouted()), (200, 199));
    let name = control.topic_name(scene.upload.topic).await.unwrap();
    assert_eq!(name.as_deref(), Some("t"));
    assert_eq!(control.topic(&"t".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_takes_nothing_more_of_an_upload_on_sqlite() {
    a_deleted_topic_takes_nothing_more_of_an_upload(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_takes_nothing_more_of_an_upload_on_postgres() {
    a_deleted_topic_takes_nothing_more_of_an_upload(TestDatabase::postgres().await).await;
}
