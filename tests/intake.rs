//! Files taken in for a server: under a lease, exact after any take-over, withdrawn and deleted
//! without a trace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use rowmill::broker::{Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::{Filters, ProblemKind, QueueName, Settlement, Verdict};
use rowmill::ingest::intake::Intake;
use rowmill::ingest::spool::Spool;
use rowmill::ingest::taken::{
    IntakeSettings, NotTaken, Repeated, Spooled, Stage, TakeOptions, Taken,
};
use rowmill::ingest::{IngestLimits, Ingested};
use rowmill::store::Store;
use rowmill::store::control::{NewQueue, Steering, UploadState};
use rowmill::store::log::{Standing, TopicId};
use rowmill::workbook::{PreviewLimits, ReadLimits, ReadOptions};
use support::TestDatabase;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name(super::Scene::new(super::TestDatabase::sqlite()).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name(super::Scene::new(super::TestDatabase::postgres().await).await).await;
            }
        }
    )*};
}

on_both!(
    a_file_becomes_messages_and_ends_with_them,
    a_refused_file_leaves_nothing,
    another_server_goes_on_with_what_one_let_go,
    who_goes_on_chooses_the_same_attributes,
    a_lease_that_is_kept_is_not_taken,
    what_was_withdrawn_is_gone,
    a_fault_after_the_first_rows_of_a_stream_cancels_what_waits,
);

struct Scene {
    _database: TestDatabase,
    store: Store,
    topic: TopicId,
    spool: TempDir,
}

struct Server {
    intake: Intake<SqlBroker>,
    broker: SqlBroker,
    stop: CancellationToken,
}

impl Scene {
    async fn new(database: TestDatabase) -> Self {
        let store = database.open(8).await;
        let topic = store.control.ensure_topic(&"rows".parse().unwrap()).await.unwrap();
        let queue = NewQueue { topic: Some(topic), ..NewQueue::new(rows()) };
        store.control.ensure_queue(&queue).await.unwrap();
        Self { _database: database, store, topic, spool: tempfile::tempdir().unwrap() }
    }

    async fn server(&self, lease: Duration) -> Server {
        let broker = SqlBroker::new(self.store.clone(), SqlBrokerLimits::default()).await.unwrap();
        let settings = IntakeSettings {
            exe: PathBuf::from(env!("CARGO_BIN_EXE_rowmill")),
            spool: Spool::directory(self.spool.path()),
            read: ReadLimits::default(),
            look: PreviewLimits::default(),
            ingest: IngestLimits { batch_rows: 50, ..IngestLimits::default() },
            lease,
            claim_every: Duration::from_millis(50),
            reader_wait: Duration::from_secs(10),
        };
        let stop = CancellationToken::new();
        let intake = Intake::new(self.store.clone(), broker.clone(), settings, stop.clone());
        Server { intake, broker, stop }
    }

    fn spooled(&self, name: &str, content: &[u8]) -> Spooled {
        let spool = uuid::Uuid::new_v4().to_string();
        std::fs::write(self.spool.path().join(&spool), content).unwrap();
        let bytes = content.len() as u64;
        Spooled { spool, filename: name.into(), content_hash: "0".into(), bytes, local: None }
    }

    fn options(&self, stream: bool) -> TakeOptions {
        TakeOptions {
            read: ReadOptions::default(),
            topic: self.topic.into(),
            stream,
            repeated: Repeated::Anew,
            steering: Steering::default(),
        }
    }

    async fn standing(&self, taken: &Taken) -> Standing {
        self.store.log.standing(taken.upload.id).await.unwrap()
    }

    async fn state(&self, taken: &Taken) -> UploadState {
        self.store.control.upload(taken.upload.id).await.unwrap().state
    }
}

fn rows() -> QueueName {
    "rows".parse().unwrap()
}

fn csv(rows: usize) -> Vec<u8> {
    let mut text = String::from("number,data\n");
    (1..=rows).for_each(|n| text.push_str(&format!("{n},row {n}\n")));
    text.into_bytes()
}

async fn end(taken: &mut Taken) -> Stage {
    let over = taken.stage.wait_for(|stage| *stage != Stage::Running);
    over.await.unwrap().clone()
}

async fn a_file_becomes_messages_and_ends_with_them(scene: Scene) {
    let server = scene.server(Duration::from_secs(15)).await;
    let file = scene.spooled("a.csv", &csv(1_000));
    let mut taken = server.intake.take(file, scene.options(false)).await.unwrap();
    assert!(matches!(end(&mut taken).await, Stage::Ended(Ingested::Published(_))));
    let standing = scene.standing(&taken).await;
    assert_eq!((standing.messages, standing.copies, standing.waiting()), (1_000, 1_000, 1_000));
    assert_eq!(scene.store.log.end_uploads().await.unwrap(), []);
    assert!(!scene.store.log.delete_upload(taken.upload.id).await.unwrap());

    let mut seen = 0;
    while seen < 1_000 {
        let leases = server.broker.receive(&rows(), 300, Duration::ZERO).await.unwrap();
        let handed: u64 = leases.iter().map(|lease| lease.deliveries.len() as u64).sum();
        assert_eq!(scene.standing(&taken).await.in_flight, handed);
        for lease in leases {
            seen += lease.deliveries.len();
            let done = |at: usize| Settlement {
                position: u16::try_from(at).unwrap(),
                verdict: Verdict::Done { output: None },
            };
            let all = (0..lease.deliveries.len()).map(done).collect();
            server.broker.settle(vec![(lease.receipt, all)]).await.unwrap();
        }
    }
    let standing = scene.standing(&taken).await;
    assert_eq!((standing.ended.done, standing.in_flight, standing.waiting()), (1_000, 0, 0));
    assert_eq!(scene.store.log.end_uploads().await.unwrap().len(), 1);
    assert_eq!(scene.state(&taken).await, UploadState::Ended);
    assert!(scene.store.log.delete_upload(taken.upload.id).await.unwrap());
    let found = scene.store.control.upload_by_public_id(taken.upload.public_id).await.unwrap();
    assert!(found.is_none());
    assert_eq!(scene.standing(&taken).await, Standing::default());
}

async fn a_refused_file_leaves_nothing(scene: Scene) {
    let server = scene.server(Duration::from_secs(15)).await;
    let file = scene.spooled("picture.xlsx", b"\x89PNG\r\n\x1a\n not a workbook");
    let path = scene.spool.path().join(&file.spool);
    let refused = server.intake.take(file, scene.options(false)).await;
    let Err(NotTaken::Refused(problem)) = refused else { panic!("{refused:?}") };
    assert_eq!(problem.kind, ProblemKind::WrongKind);
    assert!(!path.exists());
    assert!(scene.store.control.uploads(None, 10).await.unwrap().is_empty());
}

async fn another_server_goes_on_with_what_one_let_go(scene: Scene) {
    let first = scene.server(Duration::from_secs(60)).await;
    let second = scene.server(Duration::from_secs(60)).await;
    let file = scene.spooled("long.csv", &csv(60_000));
    let mut taken = first.intake.take(file, scene.options(false)).await.unwrap();
    let progress = first.intake.progress(taken.upload.id).unwrap();
    while progress.published.load(std::sync::atomic::Ordering::Relaxed) < 200 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.stop.cancel();
    first.intake.run().await;
    assert!(matches!(end(&mut taken).await, Stage::Stopped(_)));
    let before = scene.standing(&taken).await.messages;
    assert!((200..60_000).contains(&before), "{before} rows were published before the stop");

    let intake = second.intake.clone();
    let running = tokio::spawn(async move { intake.run().await });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while scene.state(&taken).await == UploadState::Ingesting {
        assert!(tokio::time::Instant::now() < deadline, "nobody went on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let standing = scene.standing(&taken).await;
    assert_eq!((standing.messages, standing.waiting()), (60_000, 60_000));
    second.stop.cancel();
    running.await.unwrap();
}

async fn who_goes_on_chooses_the_same_attributes(scene: Scene) {
    let even = ("parity".to_owned(), vec!["even".to_owned()]);
    let queue = NewQueue {
        topic: Some(scene.topic),
        filters: Filters([even].into()),
        ..NewQueue::new("even".parse().unwrap())
    };
    scene.store.control.ensure_queue(&queue).await.unwrap();
    let first = scene.server(Duration::from_secs(60)).await;
    let second = scene.server(Duration::from_secs(60)).await;
    let mut content = String::from("number,parity\n");
    (0..30_000).for_each(|n| content.push_str(&format!("{n},even\n{n},odd\n")));
    let file = scene.spooled("long.csv", content.as_bytes());
    let mut options = scene.options(false);
    options.read.attributes = "parity".parse().unwrap();
    let mut taken = first.intake.take(file, options).await.unwrap();
    let progress = first.intake.progress(taken.upload.id).unwrap();
    while progress.published.load(std::sync::atomic::Ordering::Relaxed) < 200 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.stop.cancel();
    first.intake.run().await;
    assert!(matches!(end(&mut taken).await, Stage::Stopped(_)));
    let before = scene.standing(&taken).await.messages;
    assert!((200..60_000).contains(&before), "{before} rows were published before the stop");

    let intake = second.intake.clone();
    let running = tokio::spawn(async move { intake.run().await });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while scene.state(&taken).await == UploadState::Ingesting {
        assert!(tokio::time::Instant::now() < deadline, "nobody went on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let standing = scene.standing(&taken).await;
    assert_eq!((standing.messages, standing.copies), (60_000, 90_000));
    second.stop.cancel();
    running.await.unwrap();
}

async fn a_lease_that_is_kept_is_not_taken(scene: Scene) {
    let lease = Duration::from_millis(600);
    let server = scene.server(lease).await;
    let file = scene.spooled("long.csv", &csv(20_000));
    let mut taken = server.intake.take(file, scene.options(false)).await.unwrap();
    while *taken.stage.borrow() == Stage::Running {
        assert!(scene.store.control.claim(lease).await.unwrap().is_none());
        let _ = tokio::time::timeout(Duration::from_millis(50), taken.stage.changed()).await;
    }
    assert!(matches!(end(&mut taken).await, Stage::Ended(Ingested::Published(_))));
    assert_eq!(scene.store.control.upload(taken.upload.id).await.unwrap().epoch, 1);
}

async fn what_was_withdrawn_is_gone(scene: Scene) {
    let server = scene.server(Duration::from_secs(15)).await;
    // While it is being read: nothing of it stays.
    let file = scene.spooled("long.csv", &csv(60_000));
    let mut taken = server.intake.take(file, scene.options(false)).await.unwrap();
    assert!(scene.store.log.cancel(taken.upload.id).await.unwrap());
    assert!(matches!(end(&mut taken).await, Stage::Stopped(_)));
    assert_eq!(scene.standing(&taken).await, Standing::default());
    assert_eq!(scene.state(&taken).await, UploadState::Cancelled);
    assert!(!scene.store.log.cancel(taken.upload.id).await.unwrap());

    // When it was published: what is in hands stays there, the rest is cancelled.
    let file = scene.spooled("short.csv", &csv(500));
    let mut taken = server.intake.take(file, scene.options(false)).await.unwrap();
    end(&mut taken).await;
    let leases = server.broker.receive(&rows(), 30, Duration::ZERO).await.unwrap();
    assert!(scene.store.log.cancel(taken.upload.id).await.unwrap());
    let standing = scene.standing(&taken).await;
    assert_eq!((standing.in_flight, standing.ended.cancelled, standing.waiting()), (30, 470, 0));
    assert!(!scene.store.log.delete_upload(taken.upload.id).await.unwrap(), "30 are in hands");
    for lease in leases {
        let done = |at: usize| Settlement {
            position: u16::try_from(at).unwrap(),
            verdict: Verdict::Done { output: None },
        };
        let all = (0..lease.deliveries.len()).map(done).collect();
        server.broker.settle(vec![(lease.receipt, all)]).await.unwrap();
    }
    assert!(scene.store.log.delete_upload(taken.upload.id).await.unwrap());
}

async fn a_fault_after_the_first_rows_of_a_stream_cancels_what_waits(scene: Scene) {
    let server = scene.server(Duration::from_secs(15)).await;
    let mut content = csv(20_000);
    // A quote that is never closed.
    content.extend_from_slice(b"20001,\"open");
    let file = scene.spooled("broken.csv", &content);
    let mut taken = server.intake.take(file, scene.options(true)).await.unwrap();
    let leases = server.broker.receive(&rows(), 10, Duration::from_secs(20)).await.unwrap();
    let handed: u64 = leases.iter().map(|lease| lease.deliveries.len() as u64).sum();
    assert!(handed > 0, "a stream is received while it is read");
    assert!(matches!(end(&mut taken).await, Stage::Ended(Ingested::Failed(_))));
    let standing = scene.standing(&taken).await;
    assert_eq!(standing.in_flight, handed);
    assert_eq!(standing.ended.cancelled + handed, standing.copies);
    assert_eq!(standing.waiting(), 0);
    assert_eq!(scene.state(&taken).await, UploadState::Failed);
}
