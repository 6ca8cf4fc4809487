//! How a lane writes: consumers that begin and end, and settlements.
//!
//! What is in hands must have a consumer that is *up*: of a node that is killed, a quorum queue takes
//! back only what such consumers hold, and leaves what cancelled ones hold until another node leads it
//! (RabbitMQ 3.10). So a consumer that brought all that it may stays; one that is cancelled begins anew
//! under the same name, and the queue puts the two together: a *keeper*. It is sent nothing, because it
//! asks for no credit (`x-credit`, up to RabbitMQ 3.13) or holds as much as it may (from 4.0 on). An
//! ack would make room for more, so each settlement first ends the consumers of the takes that it
//! touches, and then has keepers for what is left of them. Settlements that are asked for while one is
//! under way go together in the next.
//!
//! Between the one and the other nobody keeps it: when the node dies then, it lies there until the node
//! is back. So what was in hands in that moment is sent anew (see `lost`), if there are other nodes.
//!
//! A queue whose members move may send a keeper something all the same: what is in hands, a second
//! time, which ends with the first; or what came too late, which is given back.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use futures::future::{BoxFuture, FutureExt, join_all, ready};
use lapin::message::{Delivery, DeliveryResult};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions,
    ChannelFlowOptions,
};
use lapin::types::{AMQPValue, DeliveryTag, FieldTable, ShortString};
use lapin::{Channel, Consumer, Result as Said};
use tokio::sync::oneshot;

use super::lane::{Claim, End, Lane};
use super::link::within;
use super::trouble::Trouble;

/// Deliveries to be settled, and who wants to know.
#[derive(Debug)]
pub(super) struct Asked {
    claims: Vec<Claim>,
    end: End,
    tell: oneshot::Sender<Result<(), Trouble>>,
}

/// Keepers to come, by their takes.
type Keepers = Vec<(u64, BoxFuture<'static, Said<Consumer>>)>;

/// A request that is written when this returns; its answer is yet to come.
fn written<T: Send + 'static>(
    asked: impl Future<Output = Said<T>> + Send + 'static,
) -> BoxFuture<'static, Said<T>> {
    let mut asked = asked.boxed();
    match (&mut asked).now_or_never() {
        Some(answer) => ready(answer).boxed(),
        None => asked,
    }
}

/// Writes that a channel closes.
pub(super) fn hang_up(channel: &Channel) {
    let channel = channel.clone();
    drop(written(async move { channel.close(200, ShortString::default()).await }));
}

fn name(take: u64) -> ShortString {
    format!("take-{take}").into()
}

impl Lane {
    /// Writes a consumer of a take that holds no more than `most`.
    pub(super) fn subscribe(
        &self,
        take: u64,
        most: u16,
        arguments: FieldTable,
    ) -> BoxFuture<'static, Said<Consumer>> {
        let (queue, options) = (self.queue.as_str().into(), BasicConsumeOptions::default());
        // The number holds for whichever consumer is next on this channel.
        let mut prefetch = self.prefetch.lock().unwrap_or_else(PoisonError::into_inner);
        let limited = (*prefetch != most).then(|| {
            let channel = self.channel.clone();
            written(async move { channel.basic_qos(most, BasicQosOptions::default()).await })
        });
        *prefetch = most;
        let channel = self.channel.clone();
        let begun =
            written(
                async move { channel.basic_consume(queue, name(take), options, arguments).await },
            );
        drop(prefetch);
        async move {
            if let Some(limited) = limited {
                limited.await?;
            }
            begun.await
        }
        .boxed()
    }

    /// Writes that a take's consumer ends.
    pub(super) fn unsubscribe(&self, take: u64) -> BoxFuture<'static, Said<()>> {
        self.hands().bare(take);
        let channel = self.channel.clone();
        written(
            async move { channel.basic_cancel(name(take), BasicCancelOptions::default()).await },
        )
    }

    /// Writes a consumer for what is left of a take, whose last one has ended.
    pub(super) fn keeper(&self, take: u64, left: usize) -> BoxFuture<'static, Said<Consumer>> {
        let mut credit = FieldTable::default();
        credit.insert("credit".into(), AMQPValue::LongLongInt(0));
        credit.insert("drain".into(), AMQPValue::Boolean(false));
        let mut arguments = FieldTable::default();
        arguments.insert("x-credit".into(), AMQPValue::FieldTable(credit));
        self.subscribe(take, u16::try_from(left).unwrap_or(u16::MAX).max(1), arguments)
    }

    /// Lets a consumer keep what is in hands of its take.
    ///
    /// One that the server ends was of a queue that is gone, and nothing of it is in hands any more. Its
    /// channel is closed: RabbitMQ 3.10 may give such a consumer what comes into another queue of that
    /// name, and nobody would hear of it.
    pub(super) fn let_keep(self: &Arc<Self>, take: u64, consumer: Consumer) {
        let number = self.next_take();
        self.keep(take, number, consumer.clone());
        let lane = Arc::downgrade(self);
        consumer.set_delegate(move |came: DeliveryResult| {
            let lane = lane.clone();
            async move {
                let Some(lane) = lane.upgrade() else { return };
                match came {
                    Ok(Some(delivery)) => lane.surprised(take, delivery).await,
                    Ok(None) if lane.hands().wants(take, number) => {
                        lane.spoil();
                        hang_up(&lane.channel);
                    }
                    _ => {}
                }
            }
        });
    }

    /// A keeper was sent something.
    async fn surprised(self: Arc<Self>, take: u64, delivery: Delivery) {
        if self.came_again(take, &delivery) {
            return;
        }
        let _one = self.settling.lock().await;
        let tag = delivery.delivery_tag;
        tracing::debug!(queue = %self.queue, take, tag, "sent to a consumer that wants no more");
        let ended = self.end_consumer(take);
        let back = self.write(tag, End::Requeue, false);
        let keepers = self.keepers(&BTreeSet::from([take]));
        let read = async {
            ended.await?;
            back.await
        };
        if within(self.wait, read).await.is_err() {
            self.spoil();
        }
        self.install(keepers).await;
    }

    /// Settles deliveries of this lane, and answers when the server has read it.
    ///
    /// Cancellation safety: it is carried through, whoever waits for it.
    ///
    /// # Errors
    /// [`Trouble`]: the lane is no good any more, and its deliveries come again unless they were
    /// settled.
    pub(super) async fn settle(
        self: &Arc<Self>,
        claims: Vec<Claim>,
        end: End,
    ) -> Result<(), Trouble> {
        let (tell, told) = oneshot::channel();
        let asked = Asked { claims, end, tell };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        tokio::spawn(Arc::clone(self).settle_asked());
        // It ends without an answer only with its runtime.
        told.await.unwrap_or(Err(Trouble::Silent(self.wait)))
    }

    async fn settle_asked(self: Arc<Self>) {
        let _one = self.settling.lock().await;
        let all = std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        if all.is_empty() {
            return;
        }
        let (mut acks, mut requeues, mut tells) = (Vec::new(), Vec::new(), Vec::new());
        let mut back = Vec::new();
        for Asked { claims, end, tell } in all {
            for (tag, held) in claims.into_iter().map(Claim::end) {
                let tags = match end {
                    End::Ack => &mut acks,
                    End::Requeue => &mut requeues,
                };
                tags.push(tag);
                tags.extend(held.iter().flat_map(|held| &held.also));
                let take = self.hands().take_of(tag);
                if let (End::Requeue, Some(take), Some(held)) = (end, take, held) {
                    back.push((tag, take, held));
                }
            }
            tells.push(tell);
        }
        acks.sort_unstable();
        requeues.sort_unstable();
        let touched: BTreeSet<u64> = {
            let hands = self.hands();
            acks.iter().chain(&requeues).filter_map(|tag| hands.take_of(*tag)).collect()
        };
        let mut answers: Vec<_> = touched.iter().map(|take| self.end_consumer(*take)).collect();
        let together = {
            let mut hands = self.hands();
            let together = hands.close(&acks, End::Ack);
            hands.close(&requeues, End::Requeue);
            together
        };
        answers.extend(
            together.checked_sub(1).map(|last| self.write(acks[last], End::Ack, together > 1)),
        );
        answers.extend(acks[together..].iter().map(|tag| self.write(*tag, End::Ack, false)));
        answers.extend(requeues.iter().map(|tag| self.write(*tag, End::Requeue, false)));
        // Acks have no answer. What is asked behind them has one.
        let channel = self.channel.clone();
        let read =
            written(async move { channel.channel_flow(ChannelFlowOptions { active: true }).await });
        let keepers = self.keepers(&touched);
        let read = async {
            for answer in join_all(answers).await {
                answer?;
            }
            read.await.map(drop)
        };
        let settled = within(self.wait, read).await;
        if settled.is_err() {
            self.spoil();
            self.put_back(back);
        }
        for tell in tells {
            // Whoever is gone needs no answer.
            drop(tell.send(settled.clone()));
        }
        self.install(keepers).await;
    }

    /// Writes that a take's consumer ends, if it has one or may have.
    fn end_consumer(&self, take: u64) -> BoxFuture<'static, Said<()>> {
        let ended = self.unsubscribe(take);
        // Dropped only now: it would cancel itself otherwise.
        drop(self.hands().dismiss(take));
        ended
    }

    fn keepers(&self, takes: &BTreeSet<u64>) -> Keepers {
        let mut left = Vec::new();
        for take in takes {
            let mut hands = self.hands();
            match hands.left(*take) {
                0 => hands.covered(*take),
                some => left.push((*take, some)),
            }
        }
        left.into_iter().map(|(take, left)| (take, self.keeper(take, left))).collect()
    }

    async fn install(self: &Arc<Self>, keepers: Keepers) {
        for (take, keeper) in keepers {
            match within(self.wait, keeper).await {
                Ok(consumer) => self.let_keep(take, consumer),
                Err(trouble) => {
                    tracing::debug!(%trouble, queue = %self.queue, "nobody keeps what is in hands");
                    self.spoil();
                }
            }
        }
    }

    fn write(&self, tag: DeliveryTag, end: End, multiple: bool) -> BoxFuture<'static, Said<()>> {
        let channel = self.channel.clone();
        match end {
            End::Ack => {
                written(async move { channel.basic_ack(tag, BasicAckOptions { multiple }).await })
            }
            // Told one by one, for servers from 4.3 on count only those as deliveries.
            End::Requeue => written(async move {
                channel.basic_reject(tag, BasicRejectOptions { requeue: true }).await
            }),
        }
    }
}
