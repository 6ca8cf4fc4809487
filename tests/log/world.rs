//! The real log and the model, driven together.
//!
//! Each operation is done to both and its answers compared; then the tables are read, and each
//! message must be in exactly one place, the one where the model has it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use rowmill::domain::{Filters, RetryPolicy, RowNumber, Settled, Settlement, Verdict};
use rowmill::store::control::{NewQueue, NewUpload};
use rowmill::store::log::{
    BLOCK, Covered, Emptiness, Fence, Log, LogError, NewBatch, NewMessage, NewSegment, PageAfter,
    QueueId, Received, RowsOf, Taken, TopicId, UploadId,
};
use rowmill::store::{Clock, Store};
use uuid::Uuid;

use crate::model::{Content, DEADLINE, Model, Queue, Spot, TICK};
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
    /// The real time at the model's zero.
    began: i64,
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
        let mut model = Model { backoff, ..Model::default() };
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
                retention: [None, Some(10 * TICK + TICK / 2), None, None, None][at],
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
            model.queues.insert(id, terms);
            queues.push(id);
        }
        queues.reverse();
        let routes = control.routes(topic).await?.version;
        let mut world = Self {
            log: breakage(store.log.clone()),
            began: store.clock.now_ms(),
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

    async fn new_upload(&self, held: bool) -> Checked<Upload> {
        let new = NewUpload {
            public_id: Uuid::new_v4(),
            run_key: None,
            filename: "rows.xlsx".into(),
            content_hash: String::new(),
            options: "{}".into(),
            topic: self.topic,
        };
        let upload = self.store.control.create_upload(new).await?;
        let Fence { upload: id, epoch } = upload.fence();
        Ok(Upload { id, epoch, held, turn: 0, next_row: 2, covered: vec![] })
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
            Operation::Receive { queue, max } => {
                self.receive(self.queues[usize::from(*queue)], usize::from(*max)).await.map(drop)
            }
            Operation::Settle { picks, half } => self.settle(picks, *half).await,
            Operation::Extend { picks } => self.extend(picks).await,
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
            Operation::Redrive { last, limit } => self.redrive(*last, u32::from(*limit)).await,
            Operation::Reroute => {
                let route = self.store.control.routes(self.topic).await?.queues.remove(0);
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

    async fn publish(
        &mut self,
        upload: Option<u8>,
        size: u8,
        takes: &[u16; ROUTED],
        at_end: bool,
        fault: Fault,
    ) -> Checked {
        let size = if upload.is_some() { size } else { size.max(1) };
        let first_id = self.ids(i64::from(size), at_end).await?;
        let upload_id = upload.map(|at| self.uploads[usize::from(at)].id.0);
        let mut contents = vec![];
        let first_row = upload.map_or(0, |at| self.uploads[usize::from(at)].next_row);
        // Every third row was blank: covered, and no message.
        let row_of = |offset: u32| first_row + offset + offset / 2;
        for offset in 0..u32::from(size) {
            self.serial += 1;
            contents.push(Content {
                upload: upload_id,
                place: upload.map(|at| (u16::from(at), row_of(offset))),
                data: format!(r#"{{"serial":{}}}"#, self.serial),
                attributes: offset.is_multiple_of(3).then(|| r#"{"a":"b"}"#.to_owned()),
            });
        }
        let offsets = |mask: u16| (0..i16::from(size)).filter(move |at| mask >> at & 1 == 1);
        let segments = takes.iter().zip(&self.queues).filter_map(|(mask, queue)| {
            let terms = &self.model.queues[queue];
            let taken: Vec<i16> = offsets(*mask).collect();
            let taken = match taken.len() {
                0 => return None,
                // Everything may be said in both ways.
                n if n == usize::from(size) && *mask == u16::MAX => Taken::All,
                _ => Taken::Offsets(taken),
            };
            Some(NewSegment {
                queue: QueueId(*queue),
                taken,
                delay: millis(terms.delay),
                retention: terms.retention.map(millis),
            })
        });
        let nobody = (0..size).filter(|at| takes.iter().all(|mask| mask >> at & 1 == 0));
        let unrouted = u32::try_from(nobody.count()).unwrap();
        let last_row = row_of(u32::from(size)) + 1;
        let batch = NewBatch {
            topic: self.topic,
            routes_version: self.routes - i32::from(fault == Fault::OldRoutes),
            first_id,
            messages: contents
                .iter()
                .map(|content| NewMessage {
                    row: content.place.map(|(_, row)| RowNumber(row)),
                    data: Bytes::from(content.data.clone()),
                    attributes: content.attributes.as_deref().map(Into::into),
                })
                .collect(),
            rows: upload.map(|at| {
                let upload = &self.uploads[usize::from(at)];
                RowsOf {
                    fence: upload.fence(fault),
                    sheet: u16::from(at),
                    first_row: RowNumber(first_row),
                    last_row: RowNumber(last_row),
                    turn: upload.turn,
                    held: upload.held,
                    findings: vec![(RowNumber(first_row), format!("{{\"n\":{first_row}}}"))],
                }
            }),
            segments: segments.collect(),
            unrouted,
        };
        let published = self.log.publish(&batch).await;
        match fault {
            Fault::OldRoutes => {
                check!(matches!(published, Err(LogError::RoutesChanged)), "{published:?}");
                return Ok(());
            }
            Fault::OldEpoch if upload.is_some() => {
                check!(matches!(published, Err(LogError::LeaseLost)), "{published:?}");
                return Ok(());
            }
            _ => published?,
        }
        let held = upload.is_some_and(|at| self.uploads[usize::from(at)].held);
        for (offset, content) in (0..).zip(contents) {
            self.model.contents.insert(first_id + offset, content);
        }
        for (mask, queue) in takes.iter().zip(&self.queues) {
            for offset in offsets(*mask) {
                self.model.publish(*queue, first_id + i64::from(offset), held);
            }
        }
        if let Some(at) = upload {
            let upload = &mut self.uploads[usize::from(at)];
            upload.turn += 1;
            upload.next_row = last_row + 1;
            upload.covered.push(Covered {
                sheet: u16::from(at),
                first_row: RowNumber(first_row),
                last_row: RowNumber(last_row),
                messages: u32::from(size),
                unrouted,
            });
        }
        Ok(())
    }

    /// `n` ids within a block: the next of the one in use, the last of it, or the first of another.
    async fn ids(&mut self, n: i64, at_end: bool) -> Checked<i64> {
        // An empty batch has an id too.
        let n = n.max(1);
        if self.used + n > BLOCK {
            self.block = self.log.reserve_block().await?;
            check_eq!(self.block % BLOCK, 0, "the first id of a block");
            self.used = 0;
        }
        let first = if at_end { BLOCK - n } else { self.used };
        self.used = first + n;
        Ok(self.block + first)
    }

    async fn finish(&mut self, at: usize, discard: bool, fault: Fault) -> Checked {
        let upload = &self.uploads[at];
        let (id, held) = (upload.id, upload.held);
        let fence = upload.fence(fault);
        // What was not held is in consumers' hands by now; only what was can be taken back.
        let discard = discard && held;
        let finished = if discard {
            self.log.discard(fence, r#"{"title":"bad"}"#).await
        } else {
            self.log.release(fence, "{}").await
        };
        if fault == Fault::OldEpoch {
            check!(matches!(finished, Err(LogError::LeaseLost)), "{finished:?}");
            return Ok(());
        }
        finished?;
        if discard {
            self.model.discard(id.0);
            self.uploads[at].covered.clear();
        } else {
            self.model.release(id.0);
        }
        self.check_upload(&self.uploads[at], self.queues[0]).await?;
        self.uploads[at] = self.new_upload(held).await?;
        Ok(())
    }

    async fn receive(&mut self, queue: i32, max: usize) -> Checked<Vec<Uuid>> {
        match self.log.receive(QueueId(queue), max).await? {
            Received::Leases(leases) => {
                self.model.receive(queue, max, &leases)?;
                let receipts: Vec<Uuid> = leases.iter().map(|lease| lease.receipt).collect();
                self.receipts.extend(&receipts);
                Ok(receipts)
            }
            Received::Empty(why) => {
                check!(!self.model.anything_due(queue), "nothing came, and something was due");
                let expected = self.model.next_due(queue);
                let Emptiness::Until(due) = why else {
                    return Err(Violation("others had it locked, and there are none".into()));
                };
                let due = due.map(|due| i64::try_from(due.as_millis()).unwrap());
                let near = due.zip(expected).is_none_or(|(a, b)| (0..TICK).contains(&(b - a)));
                check!(
                    near && due.is_some() == expected.is_some(),
                    "the next is due in {due:?}, should be {expected:?}"
                );
                Ok(vec![])
            }
        }
    }

    /// A receipt: most of the time one that still holds something.
    fn pick(&self, pick: u8) -> Option<Uuid> {
        let live: Vec<Uuid> =
            self.receipts.iter().filter(|r| self.model.leases.contains_key(r)).copied().collect();
        let from = if pick.is_multiple_of(4) || live.is_empty() { &self.receipts } else { &live };
        from.get(usize::from(pick / 4) % from.len().max(1)).copied()
    }

    async fn settle(&mut self, picks: &[(u8, Pattern)], half: bool) -> Checked {
        let mut asked = vec![];
        for (pick, pattern) in picks {
            let Some(receipt) = self.pick(*pick) else { continue };
            let n = self.model.leases.get(&receipt).map_or(3, |lease| lease.ids.len());
            let n = u8::try_from(n).unwrap();
            let positions = match pattern {
                Pattern::Whole(by) => (0..n).map(|at| ((at + by % n) % n, Ending::Done)).collect(),
                // One beyond the last is a position that never was.
                Pattern::Some(some) => {
                    some.iter().map(|(at, ending)| (at % (n + 1), *ending)).collect::<Vec<_>>()
                }
            };
            let settlements = positions.into_iter().map(|(at, ending)| {
                self.serial += 1;
                let position = u16::from(at);
                Settlement { position, verdict: verdict(ending, receipt, position, self.serial) }
            });
            asked.push((receipt, settlements.collect()));
        }
        let settled = self.log.settle(&asked, &mut || if half { 0.0 } else { 1.0 }).await?;
        check_eq!(settled, self.model.settle(&asked, half), "settled");
        Ok(())
    }

    async fn extend(&mut self, picks: &[u8]) -> Checked {
        let asked: BTreeSet<Uuid> = picks.iter().filter_map(|pick| self.pick(*pick)).collect();
        let asked: Vec<Uuid> = asked.into_iter().collect();
        let mut extended = self.log.extend(&asked).await?;
        extended.sort_unstable();
        let there = asked.into_iter().filter(|receipt| self.model.leases.contains_key(receipt));
        let expected: Vec<_> = there.map(|receipt| (receipt, millis(DEADLINE))).collect();
        check_eq!(extended, expected, "extended");
        for (receipt, _) in expected {
            self.model.leases.get_mut(&receipt).unwrap().expires = self.model.now + DEADLINE;
        }
        Ok(())
    }

    async fn sweep(&mut self, most: u32) -> Checked {
        let lapsed = self.model.lapsed();
        let swept = self.log.sweep(most).await?;
        check_eq!(swept.len(), lapsed.len().min(most as usize), "leases swept");
        // Which of them is the log's to choose: those that are no longer there.
        let left = self.leases_left().await?;
        let gone = lapsed.into_iter().filter(|receipt| !left.contains(receipt));
        let expected = gone.map(|receipt| self.model.end_lease(receipt, true)).collect();
        check_eq!(sorted(swept), sorted(expected), "what the sweep did");
        Ok(())
    }

    async fn reclaim(&mut self, queue: i32) -> Checked {
        let reclaimed = self.log.reclaim(QueueId(queue)).await?;
        let leases = self.model.leases.iter().filter(|(_, lease)| lease.queue == queue);
        let receipts: Vec<Uuid> = leases.map(|(receipt, _)| *receipt).collect();
        let expected = receipts.into_iter().map(|receipt| self.model.end_lease(receipt, false));
        check_eq!(sorted(reclaimed), sorted(expected.collect()), "what the reclaim did");
        Ok(())
    }

    async fn leases_left(&self) -> Checked<BTreeSet<Uuid>> {
        let places = Tables::read(&self.store).await?.places()?;
        let receipts = places.values().filter_map(|found| match found.place {
            Place::Hands { receipt, .. } => Some(receipt),
            _ => None,
        });
        Ok(receipts.collect())
    }

    async fn redrive(&mut self, last: bool, limit: u32) -> Checked {
        let (dead, queue) = if last { (4, 2) } else { (3, 0) };
        let (queue, dead) = (self.queues[queue], self.queues[dead]);
        let dead = self.model.queues[&queue].dead_queue.unwrap_or(dead);
        let waiting = self.model.waiting(dead);
        let redriven = self.log.redrive(QueueId(dead), QueueId(queue), limit).await?;
        check_eq!(
            usize::try_from(redriven).unwrap(),
            waiting.len().min(limit as usize),
            "redriven"
        );
        let places = Tables::read(&self.store).await?.places()?;
        let stays = |id: &i64| places.contains_key(&(dead, *id));
        let first_left = waiting.iter().filter(|(id, _)| stays(id)).map(|(_, at)| *at).min();
        for (id, available) in waiting.iter().filter(|(id, _)| !stays(id)) {
            check!(
                first_left.is_none_or(|at| *available <= at),
                "{id} was redriven before its turn"
            );
            self.model.redrive(dead, queue, *id);
        }
        Ok(())
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

    /// Every message where the model has it, and none anywhere else.
    fn compare(&self, places: &Places) -> Checked {
        let mut expected = 0;
        for (queue, terms) in &self.model.queues {
            for (id, spot) in &terms.messages {
                expected += 1;
                let Some(found) = places.get(&(*queue, *id)) else {
                    return Err(Violation(format!(
                        "message {id} of queue {queue} is lost; it should be {spot:?}"
                    )));
                };
                check!(
                    self.same(spot, &found.place),
                    "message {id} of queue {queue}:\n  is        {found:?}\n  should be {spot:?}"
                );
                check_eq!(found.upload, self.model.contents[id].upload, "upload of message {id}");
            }
        }
        if places.len() != expected {
            let known = |(queue, id): &&(i32, i64)| {
                self.model.queues.get(queue).is_some_and(|queue| queue.messages.contains_key(id))
            };
            let extra = places.keys().find(|key| !known(key));
            return Err(Violation(format!("in the tables, and should not be: {extra:?}")));
        }
        Ok(())
    }

    fn same(&self, spot: &Spot, place: &Place) -> bool {
        // The real time is the model's, and what the case took so far.
        let at = |real: i64, model: i64| (0..TICK / 2).contains(&(real - self.began - model));
        match (spot, place) {
            (
                Spot::Fresh { held, available, expires, .. },
                Place::Fresh { held: h, available_at, expires_at },
            ) => {
                held == h
                    && at(*available_at, *available)
                    && expires.is_some() == expires_at.is_some()
                    && expires.zip(*expires_at).is_none_or(|(model, real)| at(real, model))
            }
            (
                Spot::Hands { receipt, position, attempt },
                Place::Hands { receipt: r, position: p, attempt: a },
            ) => (receipt, position, attempt) == (r, p, a),
            (
                Spot::Waiting { attempts, available, error },
                Place::Waiting { attempts: a, available_at, error: e },
            ) => (attempts, error) == (a, e) && at(*available_at, *available),
            (
                Spot::Ended { kind, attempts, item },
                Place::Ended { kind: k, attempts: a, item: i },
            ) => {
                let first = u16::from(*kind <= 2);
                (kind, *attempts, item) == (k, a.unwrap_or(first), i)
            }
            _ => false,
        }
    }

    /// What the log tells of an upload and a queue.
    async fn check_upload(&self, upload: &Upload, queue: i32) -> Checked {
        let id = upload.id;
        let counts = self.log.counts(id, QueueId(queue)).await?;
        check_eq!(counts, self.model.counts(id.0, queue), "counts of {id:?} in queue {queue}");
        check_eq!(self.log.covered(id).await?, upload.covered, "rows covered of {id:?}");
        let findings = self.log.findings(id, 1000).await?;
        check_eq!(findings.len(), upload.covered.len(), "findings of {id:?}");
        let mut expected = self
            .model
            .contents
            .iter()
            .filter(|(_, content)| content.upload == Some(id.0))
            .collect::<Vec<_>>();
        expected.sort_by_key(|(_, content)| content.place);
        let mut expected = expected.into_iter();
        let mut after = Some(PageAfter::default());
        while let Some(from) = after {
            let (rows, next) = self.log.rows(id, QueueId(queue), from, 2).await?;
            for row in rows {
                let Some((message, content)) = expected.next() else {
                    return Err(Violation(format!("a row too many: {row:?}")));
                };
                check_eq!(
                    (row.id, Some((row.sheet, row.row.0)), &*row.data),
                    (*message, content.place, content.data.as_str()),
                    "the next row of {id:?}"
                );
                let ended = row.ended.map(|ended| {
                    let item = ended.output.or(ended.error).map(String::from);
                    (ended.kind.number(), ended.attempts, item)
                });
                let should = match self.model.queues[&queue].messages.get(message) {
                    Some(Spot::Ended { kind, attempts, item }) => {
                        Some((*kind, *attempts, item.clone()))
                    }
                    _ => None,
                };
                check_eq!(ended, should, "the end of row {} of {id:?}", row.row);
            }
            after = next;
        }
        check!(expected.next().is_none(), "rows of {id:?} are missing");
        Ok(())
    }

    /// Works off everything, and looks at all outcomes.
    async fn drain(&mut self) -> Checked {
        for at in 0..self.uploads.len() {
            let upload = &self.uploads[at];
            self.log.release(upload.fence(Fault::Nothing), "{}").await?;
            self.model.release(upload.id.0);
        }
        let idle = Operation::Advance { ticks: 9 };
        for round in 0.. {
            check!(round < 50, "the queues do not empty");
            self.apply(&idle).await?;
            while !self.model.lapsed().is_empty() {
                self.sweep(100).await?;
            }
            let mut receipts = vec![];
            for queue in self.queues.clone() {
                loop {
                    let more = self.receive(queue, 100).await?;
                    if more.is_empty() {
                        break;
                    }
                    receipts.extend(more);
                }
            }
            let left: u64 = self.queues.iter().map(|queue| self.model.depth(*queue).total()).sum();
            if left == 0 {
                break;
            }
            for receipt in receipts {
                self.receipts = vec![receipt];
                self.settle(&[(1, Pattern::Whole(1))], false).await?;
            }
            self.apply(&Operation::Expire).await?;
        }
        self.compare(&Tables::read(&self.store).await?.places()?)?;
        for queue in &self.queues {
            for upload in &self.uploads {
                self.check_upload(upload, *queue).await?;
            }
        }
        Ok(())
    }
}

impl Upload {
    fn fence(&self, fault: Fault) -> Fence {
        Fence { upload: self.id, epoch: self.epoch - i32::from(fault == Fault::OldEpoch) }
    }
}

fn verdict(ending: Ending, receipt: Uuid, position: u16, serial: u64) -> Verdict {
    let reason = || format!("no {serial}").into();
    match ending {
        Ending::Done => {
            let output =
                format!(r#"{{"receipt":"{receipt}","position":{position},"serial":{serial}}}"#);
            Verdict::Done { output: Some(output.into()) }
        }
        Ending::DoneWithNothing => Verdict::Done { output: None },
        Ending::Retry => Verdict::Retry { reason: reason(), after: None },
        Ending::RetryAfter(ticks) => {
            Verdict::Retry { reason: reason(), after: Some(millis(i64::from(ticks) * TICK)) }
        }
        Ending::Reject => Verdict::Reject { reason: reason() },
        Ending::Release => Verdict::Release,
    }
}

fn sorted(mut all: Vec<Settled>) -> Vec<Settled> {
    all.sort_by_key(|settled| (settled.done, settled.dead, settled.again));
    all
}

/// Moves a new store's clock to where the old one's was.
fn set_forward(clock: &Clock, to: i64) {
    clock.advance(millis((to - clock.now_ms()).max(0)));
}

async fn empty_the_tables(store: &Store) -> Checked {
    for table in ["batch", "message", "segment", "lease", "redelivery", "outcome", "finding"] {
        let delete = sqlx::AssertSqlSafe(format!("delete from {table}"));
        match (store.postgres_pool(), store.sqlite_pool()) {
            (Some(pool), _) => sqlx::query(delete).execute(pool).await.map(drop)?,
            (None, Some(pool)) => sqlx::query(delete).execute(pool).await.map(drop)?,
            (None, None) => unreachable!("a store is on one of them"),
        }
    }
    Ok(())
}
