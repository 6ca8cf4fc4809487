//! Queues over their lives, at the level of the broker: looked at, moved, changed and deleted while
//! others publish and consume, and kept in order by any number of keepers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod look;
mod routes;
mod upkeep;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rowmill::broker::{Broker, MessageBody, Publishing, RowBatch, SqlBroker};
use rowmill::domain::{QueueName, Row, RowNumber, TopicName};
use rowmill::store::Store;
use rowmill::store::control::{NewQueue, NewUpload, Upload};
use rowmill::store::log::{QueueId, TopicId};
use uuid::Uuid;

fn topic_name() -> TopicName {
    "orders".parse().unwrap()
}

fn name(name: &str) -> QueueName {
    name.parse().unwrap()
}

fn message(n: usize) -> MessageBody {
    let attributes = BTreeMap::from([(
        "parity".into(),
        if n.is_multiple_of(2) { "even" } else { "odd" }.into(),
    )]);
    MessageBody { data: Bytes::from(format!(r#"{{"n":{n}}}"#)), attributes }
}

fn messages(n: usize) -> Vec<MessageBody> {
    (0..n).map(message).collect()
}

async fn queue(store: &Store, new: NewQueue) -> QueueId {
    store.control.ensure_queue(&new).await.unwrap()
}

async fn upload(store: &Store, topic: TopicId, stream: bool) -> Upload {
    let new = NewUpload {
        public_id: Uuid::new_v4(),
        run_key: None,
        filename: "orders.csv".into(),
        content_hash: String::new(),
        options: "{}".into(),
        topic,
        bytes: 0,
        spool: Some("orders".into()),
        stream,
        corrects: None,
        lease: None,
    };
    store.control.create_upload(new).await.unwrap()
}

fn publishing(upload: &Upload) -> Publishing {
    Publishing {
        topic: upload.topic,
        fence: upload.fence(),
        upload_id: upload.public_id,
        filename: upload.filename.clone(),
        held: !upload.stream,
    }
}

/// Publishes batch `turn` of an upload, of so many rows; answers its first id.
async fn publish_rows(broker: &SqlBroker, upload: &Upload, turn: u32, rows: u32) -> i64 {
    let ticket = loop {
        let ticket = broker.reserve(rows as usize).await.unwrap();
        if ticket.room == rows as usize {
            break ticket;
        }
    };
    let first = 2 + turn * rows;
    let batch = RowBatch {
        ticket,
        sheet: 0,
        sheet_name: Some(if turn.is_multiple_of(2) { "even" } else { "odd" }.into()),
        first_row: RowNumber(first),
        last_row: RowNumber(first + rows - 1),
        turn: i32::try_from(turn).unwrap(),
        rows: (first..first + rows)
            .map(|n| Row::new(RowNumber(n), Bytes::from(format!(r#"{{"row":{n}}}"#))))
            .collect(),
        findings: vec![],
        duplicates: 0,
    };
    broker.publish(&publishing(upload), batch).await.unwrap();
    ticket.first_id
}

/// What the store has no words for, in one transaction.
async fn execute(store: &Store, statements: &[String]) {
    macro_rules! run {
        ($pool:expr) => {{
            let mut tx = $pool.begin().await.unwrap();
            for sql in statements {
                sqlx::query(sqlx::AssertSqlSafe(sql.clone())).execute(&mut *tx).await.unwrap();
            }
            tx.commit().await.unwrap();
        }};
    }
    match (store.postgres_pool(), store.sqlite_pool()) {
        (Some(pool), _) => run!(pool),
        (None, Some(pool)) => run!(pool),
        (None, None) => unreachable!("a store is on one of them"),
    }
}

async fn count(store: &Store, sql: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    match (store.postgres_pool(), store.sqlite_pool()) {
        (Some(pool), _) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
        (None, Some(pool)) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
        (None, None) => unreachable!("a store is on one of them"),
    }
}

/// Deletes a queue as the control plane does: under the topic's lock, under another name, tied to
/// nothing; what it holds is left to the keepers.
async fn delete(store: &Store, topic: TopicId, queue: QueueId) {
    let (topic, queue, now) = (topic.0, queue.0, store.clock.now_ms());
    let mut statements = vec![
        format!("update topic set version=version+1 where id={topic}"),
        format!("update queue set dead_queue_id=null where dead_queue_id={queue}"),
        format!(
            "update queue set name=name||'/{queue}', topic_id=null, dead_queue_id=null, \
             deleted_at={now} where id={queue}"
        ),
    ];
    if store.postgres_pool().is_some() {
        statements.insert(0, format!("select pg_advisory_xact_lock(1920102772, {topic})"));
    }
    execute(store, &statements).await;
}

const NO_TIME: Duration = Duration::ZERO;
const MINUTE: Duration = Duration::from_secs(60);
