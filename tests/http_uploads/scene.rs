//! A server in this process, with the limits that a test wants, and a worker beside it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use reqwest::{Response, StatusCode};
use rowmill::api::{Data, Page, Problem, Upload, UploadAnswer};
use rowmill::broker::{Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::{Filters, QueueName, Settlement, Verdict};
use rowmill::http::{App, HttpLimits, Parts};
use rowmill::ingest::IngestLimits;
use rowmill::ingest::intake::Intake;
use rowmill::ingest::spool::Spool;
use rowmill::ingest::taken::IntakeSettings;
use rowmill::store::Store;
use rowmill::store::control::NewQueue;
use rowmill::workbook::{PreviewLimits, ReadLimits};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::server::client;
use crate::support::TestDatabase;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    pub(crate) store: Store,
    pub(crate) broker: SqlBroker,
    pub(crate) client: reqwest::Client,
    pub(crate) address: String,
    pub(crate) stop: CancellationToken,
    spool: tempfile::TempDir,
    _database: TestDatabase,
}

impl Scene {
    pub(crate) async fn new(database: TestDatabase) -> Self {
        Self::with(database, HttpLimits::default(), ReadLimits::default()).await
    }

    pub(crate) async fn with(database: TestDatabase, limits: HttpLimits, read: ReadLimits) -> Self {
        let store = database.open(8).await;
        let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
        let topic = store.control.ensure_topic(&"rows".parse().unwrap()).await.unwrap();
        let queue = NewQueue { topic: Some(topic), ..NewQueue::new("rows".parse().unwrap()) };
        store.control.ensure_queue(&queue).await.unwrap();
        let spool = tempfile::tempdir().unwrap();
        let settings = IntakeSettings {
            exe: PathBuf::from(env!("CARGO_BIN_EXE_rowmill")),
            spool: Spool::directory(spool.path().join("spool")),
            read,
            look: PreviewLimits::default(),
            ingest: IngestLimits { batch_rows: 64, ..IngestLimits::default() },
            lease: Duration::from_secs(30),
            claim_every: Duration::from_secs(1),
            reader_wait: PATIENCE,
        };
        let stop = CancellationToken::new();
        let intake = Intake::new(store.clone(), broker.clone(), settings, stop.clone());
        let app = App::new(Parts {
            key: store.control.message_key().await.unwrap(),
            store: store.clone(),
            broker: broker.clone(),
            intake,
            limits,
            stop: stop.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serve = axum::serve(listener, app.router())
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(serve.into_future());
        Self { store, broker, client: client(), address, stop, spool, _database: database }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends files as `POST /file/upload` followed by `query`.
    pub(crate) async fn upload(&self, query: &str, files: &[(&str, Vec<u8>)]) -> Response {
        let mut form = Form::new();
        for (name, bytes) in files {
            form = form.part("files", Part::bytes(bytes.clone()).file_name((*name).to_owned()));
        }
        self.send(query, form).await
    }

    pub(crate) async fn send(&self, query: &str, form: Form) -> Response {
        let url = self.url(&format!("/file/upload{query}"));
        self.client.post(url).multipart(form).send().await.unwrap()
    }

    /// The uploads of an answer in which all were taken.
    pub(crate) async fn taken(&self, answer: Response) -> Vec<Upload> {
        answers(answer)
            .await
            .into_iter()
            .map(|answer| match answer {
                UploadAnswer::Taken(upload) => *upload,
                UploadAnswer::Refused(problem) => panic!("refused: {problem:?}"),
            })
            .collect()
    }

    /// Sends one file and waits until it is published.
    pub(crate) async fn published(&self, name: &str, bytes: Vec<u8>) -> Upload {
        self.taken(self.upload("?wait=true", &[(name, bytes)]).await).await.remove(0)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}: {}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    /// Every page of a resource, `limit` items each, and how many items each had.
    pub(crate) async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        limit: usize,
    ) -> (Vec<T>, Vec<usize>) {
        let (mut all, mut sizes) = (vec![], vec![]);
        let mut after = String::new();
        loop {
            let page: Page<T> = self.get(&format!("{path}?limit={limit}{after}")).await;
            sizes.push(page.data.len());
            all.extend(page.data);
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => return (all, sizes),
            }
        }
    }

    /// A queue beside the first that takes only these rows.
    pub(crate) async fn queue_of_rows(&self, name: &str, rows: &[&str]) {
        self.queue_of(name, "row", rows).await;
    }

    /// A queue beside the first that takes only rows whose attribute has one of these values.
    pub(crate) async fn queue_of(&self, name: &str, attribute: &str, values: &[&str]) {
        let topic = self.store.control.ensure_topic(&"rows".parse().unwrap()).await.unwrap();
        let only = (attribute.to_owned(), values.iter().map(|value| (*value).to_owned()).collect());
        let queue = NewQueue {
            topic: Some(topic),
            filters: Filters([only].into()),
            ..NewQueue::new(name.parse().unwrap())
        };
        self.store.control.ensure_queue(&queue).await.unwrap();
    }

    /// Receives and acks `most` messages of a queue, or fewer if there are no more; answers how many.
    pub(crate) async fn work(&self, queue: &str, most: usize) -> usize {
        let queue: QueueName = queue.parse().unwrap();
        let mut done = 0;
        while done < most {
            let wait = Duration::from_millis(100);
            let leases = self.broker.receive(&queue, most - done, wait).await.unwrap();
            if leases.is_empty() {
                break;
            }
            let settlements = leases.iter().map(|lease| {
                let ack =
                    |position| Settlement { position, verdict: Verdict::Done { output: None } };
                let all = lease.deliveries.iter().map(|delivery| ack(delivery.position)).collect();
                (lease.receipt, all)
            });
            let settled = self.broker.settle(settlements.collect()).await.unwrap();
            done += settled.iter().map(|settled| settled.done as usize).sum::<usize>();
        }
        done
    }

    /// The names of the files in the spool.
    pub(crate) fn spooled(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.spool.path().join("spool")) else { return vec![] };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Looks again and again until something is so.
    pub(crate) async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        let looked = tokio::time::timeout(PATIENCE, async {
            while !so().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        looked.await.unwrap_or_else(|_| panic!("it never came to this: {what}"));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What a 202 says.
pub(crate) async fn answers(answer: Response) -> Vec<UploadAnswer> {
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(status, StatusCode::ACCEPTED, "{text}");
    serde_json::from_str::<Data<UploadAnswer>>(&text).unwrap().data
}

/// What a refusal says, which must be a problem document of its status.
pub(crate) async fn problem(answer: Response) -> Problem {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Problem = answer.json().await.unwrap();
    assert_eq!(problem.status, status, "{problem:?}");
    problem
}

/// A sample workbook of the project.
pub(crate) fn sample(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("resources").join(name)).unwrap()
}

/// A csv file of `rows` rows.
pub(crate) fn csv(rows: u32) -> Vec<u8> {
    (1..=rows).fold("id\n".to_owned(), |csv, id| csv + &format!("{id}\n")).into_bytes()
}

/// The first bytes of a picture.
pub(crate) fn picture() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10\x08\x02\0\0\0".to_vec();
    png.extend((0..4_000_u32).map(|n| (n * 37 % 251) as u8));
    png
}
