//! Fetch + settle with outputs recorded, beside the usual table: update to lease, delete to ack.
//!
//! Both sides have the same server, 8 consumers, 100,000 messages of 200 bytes, and hand the
//! payload to the consumer. The table has what such tables have: a primary key, an index on the
//! time of visibility, a fresh vacuum; the server's planner as it comes. Only our side records an
//! output for each message; the table's messages are gone after the ack.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rowmill::broker::{Broker, Publishing, RowBatch, Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::{Row, RowNumber, Settlement, Verdict};
use rowmill::store::Store;
use rowmill::store::control::{NewQueue, NewUpload};
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::{ROUNDS, fresh_database, median, open};

const MESSAGES: usize = 100_000;
const CONSUMERS: usize = 8;

pub(crate) async fn compare() {
    println!(
        "fetch + settle, {MESSAGES} messages of 200 bytes, {CONSUMERS} consumers, messages/s:"
    );
    println!("{:>6} {:>22} {:>14} {:>7}", "batch", "SKIP LOCKED + delete", "rowmill", "ratio");
    let url = fresh_database().await;
    let store = open(&url).await;
    let table = PgPoolOptions::new().max_connections(12).connect(&url).await.unwrap();
    for batch in [50, 500] {
        let (mut theirs, mut ours) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            theirs.push(skip_locked(&table, batch).await);
            ours.push(rowmill(&store, batch).await);
        }
        let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        println!(
            "{batch:>6} {:>22.0} {:>14.0} {:>6.1}x",
            median(theirs),
            median(ours),
            median(ratios)
        );
    }
}

pub(crate) fn payload(n: usize) -> String {
    format!(r#"{{"number":{n},"data":"{}"}}"#, "x".repeat(200 - 24 - n.to_string().len()))
}

async fn skip_locked(pool: &PgPool, batch: usize) -> f64 {
    let prepare = "drop table if exists job;
        create table job(id bigserial primary key, visible_at timestamptz not null default now(),
            attempts int not null default 0, payload text not null);
        create index job_visible on job(visible_at)";
    sqlx::raw_sql(prepare).execute(pool).await.unwrap();
    let payloads: Vec<String> = (0..MESSAGES).map(payload).collect();
    sqlx::query("insert into job(payload) select * from unnest($1::text[])")
        .bind(&payloads)
        .execute(pool)
        .await
        .unwrap();
    sqlx::raw_sql("vacuum analyze job").execute(pool).await.unwrap();
    let acked = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let consumers = (0..CONSUMERS).map(|_| {
        let (pool, acked) = (pool.clone(), Arc::clone(&acked));
        tokio::spawn(async move {
            while acked.load(Ordering::Relaxed) < MESSAGES {
                let jobs: Vec<(i64, i32, String)> = sqlx::query_as(
                    "update job set visible_at=now()+interval '30 s', attempts=attempts+1
                     where id in (select id from job where visible_at<=now() order by id
                       limit $1 for update skip locked)
                     returning id, attempts, payload",
                )
                .bind(i64::try_from(batch).unwrap())
                .fetch_all(&pool)
                .await
                .unwrap();
                let ids: Vec<i64> = jobs.iter().map(|(id, ..)| *id).collect();
                let deleted = sqlx::query("delete from job where id=any($1)")
                    .bind(&ids)
                    .execute(&pool)
                    .await
                    .unwrap();
                let deleted = usize::try_from(deleted.rows_affected()).unwrap();
                acked.fetch_add(deleted, Ordering::Relaxed);
            }
        })
    });
    futures::future::try_join_all(consumers.collect::<Vec<_>>()).await.unwrap();
    MESSAGES as f64 / begun.elapsed().as_secs_f64()
}

async fn rowmill(store: &Store, batch: usize) -> f64 {
    let broker = SqlBroker::new(store.clone(), SqlBrokerLimits::default()).await.unwrap();
    let name = format!("bench-{}", uuid::Uuid::new_v4().simple());
    let queue: rowmill::domain::QueueName = name.parse().unwrap();
    let topic = store.control.ensure_topic(&name.parse().unwrap()).await.unwrap();
    let new = NewQueue { topic: Some(topic), ..NewQueue::new(queue.clone()) };
    store.control.ensure_queue(&new).await.unwrap();
    publish(store, &broker, topic, MESSAGES).await;
    let acked = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let consumers = (0..CONSUMERS).map(|_| {
        let (broker, queue, acked) = (broker.clone(), queue.clone(), Arc::clone(&acked));
        tokio::spawn(async move {
            while acked.load(Ordering::Relaxed) < MESSAGES {
                let wait = Duration::from_millis(20);
                for lease in broker.receive(&queue, batch, wait).await.unwrap() {
                    let settlements: Vec<Settlement> = lease
                        .deliveries
                        .iter()
                        .map(|delivery| Settlement {
                            position: delivery.position,
                            verdict: Verdict::Done {
                                output: Some(format!(r#"{{"id":"{}"}}"#, delivery.id).into()),
                            },
                        })
                        .collect();
                    let settled = broker.settle(vec![(lease.receipt, settlements)]).await.unwrap();
                    acked.fetch_add(settled[0].done as usize, Ordering::Relaxed);
                }
            }
        })
    });
    futures::future::try_join_all(consumers.collect::<Vec<_>>()).await.unwrap();
    let rate = MESSAGES as f64 / begun.elapsed().as_secs_f64();
    assert_eq!(acked.load(Ordering::Relaxed), MESSAGES, "a message was acked twice");
    rate
}

/// Publishes so many messages (a multiple of 500) as the rows of one upload.
pub(crate) async fn publish(
    store: &Store,
    broker: &SqlBroker,
    topic: rowmill::store::log::TopicId,
    messages: usize,
) {
    let upload = NewUpload {
        public_id: uuid::Uuid::new_v4(),
        run_key: None,
        filename: "bench".into(),
        content_hash: String::new(),
        options: "{}".into(),
        topic,
        bytes: 0,
        spool: None,
        stream: false,
        corrects: None,
        lease: None,
    };
    let upload = store.control.create_upload(upload).await.unwrap();
    let sheets = r#"[{"index":0,"name":"Sheet1"}]"#;
    broker.describe(upload.fence(), sheets).await.unwrap();
    let publishing = Publishing {
        topic,
        fence: upload.fence(),
        upload_id: upload.public_id,
        filename: upload.filename.clone(),
        held: true,
    };
    for (turn, first) in (0..messages).step_by(500).enumerate() {
        let row = |n: usize| RowNumber(u32::try_from(n + 1).unwrap());
        let batch = RowBatch {
            ticket: broker.reserve(500).await.unwrap(),
            sheet: 0,
            sheet_name: None,
            first_row: row(first),
            last_row: row(first + 499),
            turn: i32::try_from(turn).unwrap(),
            rows: (first..first + 500).map(|n| Row::new(row(n), payload(n).into())).collect(),
            findings: vec![],
            duplicates: 0,
        };
        broker.publish(&publishing, batch).await.unwrap();
    }
    broker.release(upload.fence(), "{}").await.unwrap();
}
