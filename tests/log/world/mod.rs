//! The real log and the model, driven together.
//!
//! Each operation is done to both and its answers compared; then the tables are read, and each
//! message must be in exactly one place, the one where the model has it.

mod compare;
mod consume;
mod look;
mod move_on;
mod publish;
mod steer;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use rowmill::domain::{Filters, RetryPolicy, RowNumber, Settled, Settlement, Verdict};
use rowmill::store::control::{NewQueue, NewUpload};
use rowmill::store::log::{
    BLOCK, Covered, Emptiness, Fence, Log, LogError, NewBatch, NewMessage, NewSegment, PageAfter,
    PausedBy, QueueId, Received, RowsOf, Taken, TopicId, UploadId,
};
use rowmill::store::{Clock, Store};
use uuid::Uuid;

use crate::model::{Content, DEADLINE, Model, Queue, Spot, Steered, TICK};
use crate::operations::{Ending, Fault, Operation, Pattern, QUEUES, ROUTED};
use crate::support::TestDatabase;
use crate::tables::{Place, Places, Tables};
use crate::violation::{Checked, Violation, check, check_eq};

/// An upload that the case publishes.
#[derive(Debug)]
struct Upload {
    id: UploadId,
    epoch: i32,
    held: bool,
    turn: i32,
    next_row: u32,
    covered: Vec<Covered>,
}

pub(crate) struct World<'a> {
    database: &'a TestDatabase,
    store: Store,
    log: Log,
    /// What breaks the log, if this is a test of the checks.
    breakage: fn(Log) -> Log,
    model: Model,
    topic: TopicId,
    routes: i32,
    queues: Vec<i32>,
    uploads: Vec<Upload>,
    /// Every receipt ever seen, except those a crash forgot.
    receipts: Vec<Uuid>,
    block: i64,
    used: i64,
    serial: u64,
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap())
}

impl<'a> World<'a> {
    /// Empty tables, and a topic with queues of this case's own.
    pub(crate) async fn new(
        database: &'a TestDatabase,
        store: Store,
        breakage: fn(Log) -> Log,
    ) -> Checked<Self> {
        empty_the_tables(&store).await?;
        let control = &store.control;
        let name = Uuid::new_v4().simple().to_string();
        let topic = control.ensure_topic(&name.parse().unwrap()).await?;
        let backoff = (2 * TICK, 6 * TICK);
        let mut model = Model { backoff, began: store.clock.now_ms(), ..Model::default() };
        let mut queues = vec![];
        // Dead queues first: the others name them.
        for at in (0..QUEUES).rev() {
            let dead_queue = match at {
                0 => Some(0),
                2 => Some(1),
                _ => None,
            };
            let dead_queue = dead_queue.map(|at: usize| queues[at]);
            let terms = Queue {
                dead_queue,
                max_deliveries: [3, 2, 1, 2, 4][at],
                delay: [0, 2 * TICK, 0, 0, 0][at],
                retention: [Some(15), Some(10), None, Some(6), None][at]
                    .map(|ticks| ticks * TICK + TICK / 2),
                recorded: [true, false, true, false, true][at],
                counted: at < ROUTED,
                deleted: false,
                messages: Default::default(),
            };
            let new = NewQueue {
                topic: (at < ROUTED).then_some(topic),
                dead_queue: dead_queue.map(QueueId),
                filters: Filters::default(),
                deadline: millis(DEADLINE),
                max_deliveries: terms.max_deliveries,
                retry: RetryPolicy {
                    first: millis(backoff.0),
                    factor: 2.0,
                    most: millis(backoff.1),
                },
                delay: millis(terms.delay),
                retention: terms.retention.map(millis),
                ..NewQueue::new(format!("{name}-{at}").parse().unwrap())
            };
            let id = control.ensure_queue(&new).await?.0;
            execute(
                &store,
                &format!("update queue set record_outcomes={} where id={id}", terms.recorded),
            )
            .await?;
            model.queues.insert(id, terms);
            queues.push(id);
        }
        queues.reverse();
        let routes = control.routes(topic).await?.version;
        let mut world = Self {
            log: breakage(store.log.clone()),
            database,
            store,
            breakage,
            model,
            topic,
            routes,
            queues,
            uploads: vec![],
            receipts: vec![],
            block: 0,
            used: BLOCK,
            serial: 0,
        };
        for held in [true, false, true] {
            let upload = world.new_upload(held).await?;
            world.uploads.push(upload);
        }
        Ok(world)
    }

    /// Does the operations, checking after each, and then works off all that is left.
    pub(crate) async fn run(&mut self, operations: &[Operation]) -> Checked {
        for (step, operation) in operations.iter().enumerate() {
            let done = self.step(operation).await;
            done.map_err(|Violation(what)| {
                Violation(format!("step {step}, {operation:?}: {what}"))
            })?;
        }
        self.drain().await.map_err(|Violation(what)| Violation(format!("at the end: {what}")))
    }

    async fn step(&mut self, operation: &Operation) -> Checked {
        self.apply(operation).await?;
        let places = Tables::read(&self.store).await?.places()?;
        self.compare(&places)?;
        self.serial += 1;
        let turn = usize::try_from(self.serial).unwrap();
        let queue = self.queues[turn % QUEUES];
        let depth = self.log.depth(QueueId(queue)).await?;
        check_eq!(depth, self.model.depth(queue), "depth of queue {queue}");
        let upload = &self.uploads[turn / QUEUES % self.uploads.len()];
        self.check_upload(upload, queue).await
    }

    async fn apply(&mut self, operation: &Operation) -> Checked {
        match operation {
            Operation::Publish { upload, size, takes, at_end, fault } => {
                self.publish(*upload, *size, takes, *at_end, *fault).await
            }
            Operation::Finish { upload, discard, fault } => {
                self.finish(usize::from(*upload), *discard, *fault).await
            }
            Operation::TakeOver { upload } => {
                let upload = &mut self.uploads[usize::from(*upload)];
                let taken = self.store.control.take_over(upload.id).await?;
                check_eq!(taken.epoch, upload.epoch + 1, "epoch after a take-over");
                upload.epoch = taken.epoch;
                Ok(())
            }
            Operation::Pause { upload } => self.pause(*upload).await,
            Operation::Resume { upload } => self.resume(self.any_upload(*upload)).await,
            Operation::Receive { queue, max, consumers } => {
                let queue = self.queues[usize::from(*queue)];
                self.receive(queue, usize::from(*max), usize::from(*consumers)).await.map(drop)
            }
            Operation::Settle { picks, half } => self.settle(picks, *half).await,
            Operation::Extend { picks, ticks } => self.extend(picks, *ticks).await,
            Operation::Sweep { most } => self.sweep(u32::from(*most)).await,
            Operation::Expire => {
                check_eq!(self.log.expire(1000).await?, self.model.expire(), "expired");
                Ok(())
            }
            Operation::Advance { ticks } => {
                let by = i64::from(*ticks) * TICK;
                self.store.clock.advance(millis(by));
                self.model.now += by;
                Ok(())
            }
            Operation::Crash => self.crash().await,
            Operation::Reclaim { queue } => self.reclaim(self.queues[usize::from(*queue)]).await,
            Operation::Purge { queue } => {
                let queue = self.queues[usize::from(*queue)];
                let purged = self.log.purge(QueueId(queue)).await?;
                check_eq!(purged, self.model.purge(queue), "purged from queue {queue}");
                Ok(())
            }
            Operation::Redrive { from, to, step } => {
                let (from, to) = (self.queues[usize::from(*from)], self.queues[usize::from(*to)]);
                self.redrive(from, to, u32::from(*step)).await
            }
            Operation::Delete { queue } => self.delete(self.queues[usize::from(*queue)]).await,
            Operation::Remove { most } => self.remove(u32::from(*most)).await.map(drop),
            Operation::Tidy { ticks, most } => self.tidy(*ticks, u32::from(*most)).await,
            Operation::Peek { queue, limit } => {
                self.peek(self.queues[usize::from(*queue)], usize::from(*limit)).await
            }
            Operation::Look { queue, pick } => {
                self.look(self.queues[usize::from(*queue)], *pick).await
            }
            Operation::Reroute => {
                let routes = self.store.control.routes(self.topic).await?.queues;
                let Some(route) = routes.into_iter().next() else { return Ok(()) };
                let queue = &self.model.queues[&route.queue.0];
                let new = NewQueue {
                    topic: Some(self.topic),
                    dead_queue: queue.dead_queue.map(QueueId),
                    deadline: millis(DEADLINE),
                    max_deliveries: queue.max_deliveries,
                    retry: RetryPolicy {
                        first: millis(self.model.backoff.0),
                        factor: 2.0,
                        most: millis(self.model.backoff.1),
                    },
                    delay: route.delay,
                    retention: route.retention,
                    record_outcomes: queue.recorded,
                    ..NewQueue::new(route.name)
                };
                self.store.control.ensure_queue(&new).await?;
                self.routes += 1;
                let version = self.store.control.routes(self.topic).await?.version;
                check_eq!(version, self.routes, "version of the routes");
                Ok(())
            }
            Operation::Holder { queue, pick } => {
                let queue = self.queues[usize::from(*queue)];
                let ids: Vec<i64> = self.model.queues[&queue].messages.keys().copied().collect();
                let id = ids.get(usize::from(*pick) % ids.len().max(1)).copied().unwrap_or(1);
                let holder = self.log.holder(QueueId(queue), id).await?;
                check_eq!(holder, self.model.holder(queue, id), "holder of {id} in {queue}");
                Ok(())
            }
        }
    }

    /// Every consumer is gone, and on SQLite, where the store is in their process, that too.
    async fn crash(&mut self) -> Checked {
        self.receipts.clear();
        if self.store.sqlite_pool().is_some() {
            let now = self.store.clock.now_ms();
            self.store.close().await;
            self.store = self.database.open(4).await;
            set_forward(&self.store.clock, now);
            self.log = (self.breakage)(self.store.log.clone());
        }
        Ok(())
    }

    /// The store, which a crash may have opened anew.
    pub(crate) fn into_store(self) -> Store {
        self.store
    }
}

impl Upload {
    fn fence(&self, fault: Fault) -> Fence {
        Fence { upload: self.id, epoch: self.epoch - i32::from(fault == Fault::OldEpoch) }
    }
}

/// Moves a new store's clock to where the old one's was.
fn set_forward(clock: &Clock, to: i64) {
    clock.advance(millis((to - clock.now_ms()).max(0)));
}

async fn empty_the_tables(store: &Store) -> Checked {
    for table in ["batch", "message", "segment", "lease", "redelivery", "outcome", "finding"] {
        execute(store, &format!("delete from {table}")).await?;
    }
    execute(store, "delete from queue").await
}

/// What the store has no words for.
async fn execute(store: &Store, sql: &str) -> Checked {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    match (store.postgres_pool(), store.sqlite_pool()) {
        (Some(pool), _) => sqlx::query(sql).execute(pool).await.map(drop)?,
        (None, Some(pool)) => sqlx::query(sql).execute(pool).await.map(drop)?,
        (None, None) => unreachable!("a store is on one of them"),
    }
    Ok(())
}
