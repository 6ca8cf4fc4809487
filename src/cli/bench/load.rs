//! Messages in bulk, straight on the broker: what the engine does when nothing else is in its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{TryStreamExt, stream};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::error::BenchError;
use super::scene::{Place, Scene};
use crate::broker::{Broker, Publishing, RowBatch, Source, SqlBroker};
use crate::domain::{MessageId, Receipt, Row, RowNumber, Settlement, Verdict};
use crate::store::control::NewUpload;

/// Messages of a published batch.
const PUBLISH_BATCH: usize = 500;
/// Batches that are published at the same time.
const PRODUCERS: usize = 4;
/// How long a consumer that found nothing waits before it looks whether all has been done.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// After so long without any message, something is wrong.
const STALLED: Duration = Duration::from_secs(60);

/// How much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) messages: usize,
    /// Bytes of each.
    pub(super) payload: usize,
    pub(super) consumers: usize,
    /// Messages of a receive, and so of a settle.
    pub(super) batch: usize,
}

/// A lease without its payloads.
pub(super) type InHand = (Receipt, Vec<(u16, MessageId)>);

/// The smallest payload that holds the largest number.
pub(super) const SMALLEST_PAYLOAD: i64 = 40;

fn payload(n: usize, bytes: usize) -> String {
    let head = format!(r#"{{"number":{n},"data":""#);
    let fill = bytes.saturating_sub(head.len() + 2);
    format!(r#"{head}{:x<fill$}"}}"#, "")
}

fn row(n: usize) -> RowNumber {
    RowNumber(u32::try_from(n).unwrap_or(u32::MAX))
}

impl Load {
    /// Publishes all as the rows of one upload, and answers how long it took until the last of them
    /// could be received.
    pub(super) async fn publish(
        self,
        scene: &mut Scene,
        broker: &SqlBroker,
        place: &Place,
    ) -> Result<Duration, BenchError> {
        let new = NewUpload {
            public_id: Uuid::new_v4(),
            run_key: None,
            filename: "bench".into(),
            content_hash: String::new(),
            options: "{}".into(),
            topic: place.topic,
            bytes: 0,
            spool: None,
            stream: false,
            corrects: None,
            lease: None,
        };
        let upload = scene.store.control.create_upload(new).await?;
        scene.made(upload.public_id);
        broker.describe(upload.fence(), r#"[{"index":0,"name":"Sheet1"}]"#).await?;
        let publishing = &Publishing {
            topic: place.topic,
            fence: upload.fence(),
            upload_id: upload.public_id,
            filename: upload.filename.clone(),
            held: true,
        };
        let begun = Instant::now();
        // One after another, because a batch's place is the order of its rows.
        let batches = stream::try_unfold((0, 0), |(from, turn)| async move {
            if from == self.messages {
                return Ok(None);
            }
            let ticket = broker.reserve(PUBLISH_BATCH.min(self.messages - from)).await?;
            let to = from + ticket.room.min(self.messages - from);
            let batch = RowBatch {
                ticket,
                sheet: 0,
                sheet_name: None,
                first_row: row(from + 1),
                last_row: row(to),
                turn,
                rows: (from + 1..=to)
                    .map(|n| Row::new(row(n), payload(n, self.payload).into()))
                    .collect(),
                findings: vec![],
                duplicates: 0,
            };
            Ok::<_, BenchError>(Some((batch, (to, turn.saturating_add(1)))))
        });
        batches
            .try_for_each_concurrent(PRODUCERS, |batch| async move {
                broker.publish(publishing, batch).await?;
                Ok(())
            })
            .await?;
        broker.release(upload.fence(), "{}").await?;
        Ok(begun.elapsed())
    }

    /// Receives all; settles each lease as it comes, or else answers them all.
    pub(super) async fn fetch(
        self,
        broker: &SqlBroker,
        place: &Place,
        settle: bool,
    ) -> Result<(Duration, Vec<InHand>), BenchError> {
        let count = Arc::new(AtomicUsize::new(0));
        let begun = Instant::now();
        let mut consumers = JoinSet::new();
        for _ in 0..self.consumers {
            let (broker, queue, count) = (broker.clone(), place.queue.clone(), Arc::clone(&count));
            consumers.spawn(async move {
                let mut kept = vec![];
                let (mut seen, mut since) = (0, Instant::now());
                loop {
                    let now = count.load(Ordering::Relaxed);
                    if now >= self.messages {
                        return Ok::<_, BenchError>(kept);
                    }
                    if now != seen {
                        (seen, since) = (now, Instant::now());
                    } else if since.elapsed() > STALLED {
                        return Err(BenchError::Wrong(format!("{now} messages came, no more")));
                    }
                    for lease in broker.receive(&queue, self.batch, LOOK_AGAIN).await? {
                        let ids = lease.deliveries.iter().map(|one| (one.position, one.id));
                        let hand: InHand = (lease.receipt, ids.collect());
                        let got = if settle {
                            ack(&broker, hand).await?
                        } else {
                            kept.push(hand);
                            lease.deliveries.len()
                        };
                        count.fetch_add(got, Ordering::Relaxed);
                    }
                }
            });
        }
        let mut all = vec![];
        while let Some(ended) = consumers.join_next().await {
            all.extend(ended??);
        }
        self.all(count.load(Ordering::Relaxed))?;
        Ok((begun.elapsed(), all))
    }

    /// Settles what is in hand, by as many consumers as fetched it.
    pub(super) async fn settle(
        self,
        broker: &SqlBroker,
        mut leases: Vec<InHand>,
    ) -> Result<Duration, BenchError> {
        let each = leases.len().div_ceil(self.consumers).max(1);
        let begun = Instant::now();
        let mut consumers = JoinSet::new();
        while !leases.is_empty() {
            let part = leases.split_off(leases.len().saturating_sub(each));
            let broker = broker.clone();
            consumers.spawn(async move {
                let mut done = 0;
                for lease in part {
                    done += ack(&broker, lease).await?;
                }
                Ok::<_, BenchError>(done)
            });
        }
        let mut done = 0;
        while let Some(ended) = consumers.join_next().await {
            done += ended??;
        }
        self.all(done)?;
        Ok(begun.elapsed())
    }

    fn all(self, count: usize) -> Result<(), BenchError> {
        if count == self.messages {
            return Ok(());
        }
        Err(BenchError::Wrong(format!("{count} messages ended, not {}", self.messages)))
    }
}

/// Acks a lease whole, an output beside each message, and answers how many that ended.
async fn ack(broker: &SqlBroker, (receipt, messages): InHand) -> Result<usize, BenchError> {
    let settlement = |(position, id)| Settlement {
        position,
        verdict: Verdict::Done { output: Some(format!(r#"{{"id":"{id}"}}"#).into()) },
    };
    let settlements = messages.into_iter().map(settlement).collect();
    let settled = broker.settle(vec![(receipt, settlements)]).await?;
    Ok(settled.iter().map(|settled| settled.done as usize).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_as_large_as_asked_and_json() {
        for bytes in [40, 200] {
            let made = payload(1_048_575, bytes);
            assert_eq!(made.len(), bytes);
            serde_json::from_str::<serde_json::Value>(&made).unwrap();
        }
    }
}
