//! A topic, its queues, an upload to be published, and a relay over the tests' carrier.

use std::time::Duration;

use bytes::Bytes;
use rowmill::broker::{
    Broker, BrokerError, Published, Publishing, Relay, RelayLimits, RowBatch, Source,
};
use rowmill::domain::{
    Delivery, Lease, QueueName, Receipt, RetryPolicy, Row, RowNumber, Settled, Settlement, Verdict,
};
use rowmill::store::Store;
use rowmill::store::control::{NewUpload, QueueTerms, Upload};
use rowmill::store::log::{Counts, OutcomeQuery, QueueId, Standing, Whereabouts};

use crate::engine::Engine;
use crate::support::TestDatabase;

/// How long something may take that is under way.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Scene {
    _database: TestDatabase,
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    pub(crate) relay: Relay<Engine>,
    pub(crate) upload: Upload,
}

pub(crate) fn name(name: &str) -> QueueName {
    name.parse().unwrap()
}

/// Two deliveries, no waits, dead ones to `dead`.
pub(crate) fn terms() -> QueueTerms {
    QueueTerms {
        topic: Some("rows".parse().unwrap()),
        dead_queue: Some(name("dead")),
        max_deliveries: Some(2),
        retry: RetryPolicy { first: Duration::ZERO, factor: 1.0, most: Duration::ZERO },
        deadline: Duration::from_secs(60),
        ..QueueTerms::default()
    }
}

impl Scene {
    pub(crate) async fn new(database: TestDatabase) -> Self {
        Self::with(database, terms()).await
    }

    /// With other terms of the queue `rows`.
    pub(crate) async fn with(database: TestDatabase, terms: QueueTerms) -> Self {
        let store = database.open(6).await;
        let topic = store.control.ensure_topic(&"rows".parse().unwrap()).await.unwrap();
        store.control.create_queue(&name("dead"), &QueueTerms::default()).await.unwrap();
        store.control.create_queue(&name("rows"), &terms).await.unwrap();
        let new = NewUpload {
            public_id: uuid::Uuid::new_v4(),
            run_key: None,
            filename: "päckchen.csv".into(),
            content_hash: "0".into(),
            options: "{}".into(),
            topic,
            bytes: 1,
            spool: Some("spool".into()),
            stream: true,
            corrects: None,
            lease: Some(Duration::from_secs(600)),
        };
        let upload = store.control.create_upload(new).await.unwrap();
        let engine = Engine::default();
        let limits = RelayLimits {
            again: RetryPolicy { first: Duration::ZERO, factor: 1.0, most: Duration::ZERO },
            ..RelayLimits::default()
        };
        let relay = Relay::new(engine.clone(), store.clone(), limits).await.unwrap();
        Self { _database: database, store, engine, relay, upload }
    }

    /// Another process on the same database and engine.
    pub(crate) async fn another(&self) -> Relay<Engine> {
        Relay::new(self.engine.clone(), self.store.clone(), RelayLimits::default()).await.unwrap()
    }

    pub(crate) async fn number(&self, queue: &str) -> QueueId {
        self.store.control.queue(&name(queue)).await.unwrap().unwrap().id
    }

    pub(crate) fn publishing(&self) -> Publishing {
        Publishing {
            topic: self.upload.topic,
            fence: self.upload.fence(),
            upload_id: self.upload.public_id,
            filename: self.upload.filename.clone(),
            held: false,
        }
    }

    /// Publishes these rows as one batch.
    pub(crate) async fn publish(&self, rows: &[u32]) -> Result<Published, BrokerError> {
        self.publish_as(&self.publishing(), rows).await
    }

    pub(crate) async fn publish_as(
        &self,
        to: &Publishing,
        rows: &[u32],
    ) -> Result<Published, BrokerError> {
        let row = |row: &u32| Row::new(RowNumber(*row), Bytes::from(format!(r#"{{"n":{row}}}"#)));
        let batch = RowBatch {
            ticket: self.relay.reserve(rows.len()).await.unwrap(),
            sheet: 0,
            sheet_name: None,
            first_row: RowNumber(rows[0]),
            last_row: RowNumber(*rows.last().unwrap()),
            turn: 0,
            rows: rows.iter().map(row).collect(),
            findings: vec![],
            duplicates: 0,
        };
        self.relay.publish(to, batch).await
    }

    /// Lets the upload be published, so that it can end.
    pub(crate) async fn publish_all(&self, rows: &[u32]) {
        self.publish(rows).await.unwrap();
        self.relay.release(self.upload.fence(), "{}").await.unwrap();
    }

    pub(crate) async fn standing(&self) -> Standing {
        self.store.log.standing(self.upload.id).await.unwrap()
    }

    pub(crate) async fn ended(&self) -> Counts {
        self.standing().await.ended
    }

    /// What is recorded of a queue: row, kind, attempts, output or error.
    pub(crate) async fn outcomes(&self, queue: &str) -> Vec<(u32, String, u16, String)> {
        let mut query =
            OutcomeQuery { queue: Some(self.number(queue).await), ..OutcomeQuery::default() };
        let mut all = vec![];
        loop {
            let (found, next) = self.store.log.outcomes(query, 100).await.unwrap();
            for found in found {
                let Whereabouts::Ended(ended) = found.at else { panic!("{found:?}") };
                let said = ended.output.or(ended.error).unwrap_or_default();
                let row = found.row.map_or(0, |row| row.0);
                all.push((row, format!("{:?}", ended.kind), ended.attempts, said.into()));
            }
            match next {
                Some(after) => query.after = Some(after),
                None => return all,
            }
        }
    }

    /// One receive that finds what is there.
    pub(crate) async fn receive(&self, queue: &str) -> Vec<Lease> {
        self.relay.receive(&name(queue), 100, Duration::from_millis(50)).await.unwrap()
    }

    pub(crate) async fn deliveries(&self, queue: &str) -> Vec<Delivery> {
        self.receive(queue).await.into_iter().flat_map(|lease| lease.deliveries).collect()
    }

    /// Settles all of some leases in one way.
    pub(crate) async fn settle(&self, leases: &[Lease], verdict: Verdict) -> Settled {
        let asked = leases.iter().map(|lease| (lease.receipt, all_of(lease, &verdict))).collect();
        sum(self.relay.settle(asked).await.unwrap())
    }
}

pub(crate) fn all_of(lease: &Lease, verdict: &Verdict) -> Vec<Settlement> {
    let position = |delivery: &Delivery| delivery.position;
    let settlement = |position| Settlement { position, verdict: verdict.clone() };
    lease.deliveries.iter().map(position).map(settlement).collect()
}

pub(crate) fn one(receipt: Receipt, position: u16, verdict: Verdict) -> (Receipt, Vec<Settlement>) {
    (receipt, vec![Settlement { position, verdict }])
}

pub(crate) fn sum(all: Vec<Settled>) -> Settled {
    all.into_iter().fold(Settled::default(), |mut sum, one| {
        sum.done += one.done;
        sum.dead += one.dead;
        sum.again += one.again;
        sum.stale.extend(one.stale);
        sum
    })
}

pub(crate) fn done() -> Verdict {
    Verdict::Done { output: Some("7".into()) }
}

pub(crate) fn retry(why: &str) -> Verdict {
    Verdict::Retry { reason: why.into(), after: None }
}
