//! Publishers, consumers, sweepers and those who purge, redrive and change routes, all at once on
//! one log, by the real clock, with deadlines short enough to be missed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use rowmill::domain::{RetryPolicy, RowNumber, Settlement, Verdict};
use rowmill::store::Store;
use rowmill::store::control::{NewQueue, NewUpload};
use rowmill::store::log::{
    BLOCK, Emptiness, Fence, HandedLease, Log, LogError, NewBatch, NewMessage, NewSegment, QueueId,
    Received, RowsOf, Taken, TopicId,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::ledger::{Held, Ledger, Terms};
use crate::tables::Tables;
use crate::violation::{Checked, Violation, check, check_eq};

/// How much goes on, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) publishers: u64,
    pub(crate) consumers: u64,
    pub(crate) sweepers: u64,
    pub(crate) publishing: Duration,
    /// Whether the server may fail under it: then an error is no violation, and its answer unknown.
    pub(crate) failing: bool,
}

const DEADLINE: Duration = Duration::from_millis(250);
/// Before a server that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(5);
/// Rows of a batch of an upload, and batches of an upload.
const ROWS: u32 = 20;
const BATCHES: u32 = 40;

pub(crate) struct Mill {
    store: Store,
    log: Log,
    ledger: Ledger,
    topic: TopicId,
    queues: Vec<Terms>,
    first_queue: NewQueue,
    size: Size,
    /// No more is published; consumers only ack.
    draining: AtomicBool,
    ended: AtomicBool,
}

/// `None` when the server failed and it may: what was asked may have been done or not.
type Answer<T> = Checked<Option<T>>;

impl Mill {
    pub(crate) async fn new(store: Store, log: Log, size: Size) -> Checked<Arc<Self>> {
        let control = &store.control;
        let topic = control.ensure_topic(&"rows".parse().unwrap()).await?;
        let mut queues = vec![];
        let mut first_queue = None;
        // (deliveries, dead queue, purged and redriven, expires)
        for (at, (max_deliveries, dead, tidied, expires)) in
            [(4, true, false, false), (3, true, true, false), (5, false, false, true)]
                .into_iter()
                .enumerate()
        {
            let dead_queue = if dead {
                let new = NewQueue::new(format!("dead-{at}").parse().unwrap());
                Some(control.ensure_queue(&new).await?)
            } else {
                None
            };
            let new = NewQueue {
                topic: Some(topic),
                dead_queue,
                deadline: DEADLINE,
                max_deliveries,
                retry: RetryPolicy {
                    first: Duration::from_millis(20),
                    factor: 2.0,
                    most: Duration::from_millis(100),
                },
                ..NewQueue::new(format!("work-{at}").parse().unwrap())
            };
            let queue = control.ensure_queue(&new).await?.0;
            first_queue.get_or_insert(new);
            queues.push(Terms {
                queue,
                dead_queue: dead_queue.map(|queue| queue.0),
                max_deliveries,
                purged: tidied,
                redriven: tidied,
                expires,
            });
        }
        Ok(Arc::new(Self {
            log,
            ledger: Ledger::new(queues.clone()),
            topic,
            queues,
            first_queue: first_queue.unwrap(),
            size,
            draining: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            store,
        }))
    }

    /// Runs it to the end, or to the first violation. Answers how many outcomes were compared.
    pub(crate) async fn run(self: Arc<Self>, seed: u64) -> Checked<usize> {
        let mut rng = Rng::with_seed(seed);
        let mut publishing = JoinSet::new();
        let mut tasks = JoinSet::new();
        for _ in 0..self.size.publishers {
            publishing.spawn(Arc::clone(&self).publish_small(rng.fork()));
        }
        publishing.spawn(Arc::clone(&self).publish_uploads(rng.fork()));
        for _ in 0..self.size.consumers {
            tasks.spawn(Arc::clone(&self).consume(rng.fork()));
        }
        for _ in 0..self.size.sweepers {
            tasks.spawn(Arc::clone(&self).sweep());
        }
        tasks.spawn(Arc::clone(&self).meddle(rng.fork()));
        tasks.spawn(Arc::clone(&self).watch());
        let mut left = publishing.len();
        // Whoever ends first with a violation ends it for all: dropping the sets aborts the others.
        while left > 0 {
            tokio::select! {
                Some(done) = publishing.join_next() => {
                    done.unwrap()?;
                    left -= 1;
                }
                Some(done) = tasks.join_next() => done.unwrap()?,
            }
        }
        self.draining.store(true, Ordering::SeqCst);
        let watched = Arc::clone(&self);
        tasks.spawn(async move { watched.until_empty().await });
        while let Some(done) = tasks.join_next().await {
            done.unwrap()?;
        }
        self.ledger.check_end(&Tables::read(&self.store).await?.places()?)
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    fn answer<T>(&self, answer: Result<T, LogError>) -> Answer<T> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(LogError::Database(error)) if self.size.failing && is_lost(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn until_empty(&self) -> Checked {
        let began = Instant::now();
        loop {
            let mut left = 0;
            for terms in &self.queues {
                let depth = self.answer(self.log.depth(QueueId(terms.queue)).await)?;
                left += depth.map_or(1, |depth| depth.total());
            }
            if left == 0 {
                break;
            }
            check!(
                began.elapsed() < Duration::from_secs(60),
                "{left} messages are never worked off"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.ended.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Small batches with a part for each queue, some delayed, some that expire.
    async fn publish_small(self: Arc<Self>, mut rng: Rng) -> Checked {
        let until = Instant::now() + self.size.publishing;
        let mut block = (0, BLOCK);
        while Instant::now() < until {
            let n = rng.u32(1..40);
            let (mut batch, keys) = self.batch(n, &mut block, &mut rng).await?;
            loop {
                let routes = self.store.control.routes(self.topic).await;
                let Ok(routes) = routes else {
                    check!(self.size.failing, "no routes: {routes:?}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                batch.routes_version = routes.version;
                self.ledger.trying(&keys);
                match self.log.publish(&batch).await {
                    Err(LogError::RoutesChanged) => {}
                    answer => {
                        if self.answer(answer)?.is_some() {
                            self.ledger.committed(&keys);
                        }
                        break;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(0..20))).await;
        }
        Ok(())
    }

    async fn batch(
        &self,
        n: u32,
        (block, used): &mut (i64, i64),
        rng: &mut Rng,
    ) -> Checked<(NewBatch, Vec<(i32, i64)>)> {
        while *used + i64::from(n) > BLOCK {
            match self.answer(self.log.reserve_block().await)? {
                Some(next) => (*block, *used) = (next, 0),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
        let first_id = *block + *used;
        *used += i64::from(n);
        let mut keys = vec![];
        let mut segments = vec![];
        for (at, terms) in self.queues.iter().enumerate() {
            // The first queue takes all, the others by a filter.
            let all = at == 0;
            let taken: Vec<i16> =
                (0..i16::try_from(n).unwrap()).filter(|_| all || rng.u8(..) < 150).collect();
            if taken.is_empty() {
                continue;
            }
            keys.extend(taken.iter().map(|at| (terms.queue, first_id + i64::from(*at))));
            segments.push(NewSegment {
                queue: QueueId(terms.queue),
                taken: if all { Taken::All } else { Taken::Offsets(taken) },
                delay: Duration::from_millis(if rng.u8(..) < 60 { 80 } else { 0 }),
                retention: (terms.expires && rng.bool()).then_some(Duration::from_millis(400)),
            });
        }
        let message = |id: i64| NewMessage {
            row: None,
            data: Bytes::from(format!(r#"{{"id":{id}}}"#)),
            attributes: None,
        };
        let batch = NewBatch {
            topic: self.topic,
            routes_version: 0,
            first_id,
            messages: (first_id..first_id + i64::from(n)).map(message).collect(),
            rows: None,
            segments,
            unrouted: 0,
        };
        Ok((batch, keys))
    }

    /// Uploads one after another, each taken over from its first publisher while that is at work.
    async fn publish_uploads(self: Arc<Self>, mut rng: Rng) -> Checked {
        let until = Instant::now() + self.size.publishing;
        while Instant::now() < until && !self.size.failing {
            let new = NewUpload {
                public_id: Uuid::new_v4(),
                run_key: None,
                filename: "rows.xlsx".into(),
                content_hash: String::new(),
                options: "{}".into(),
                topic: self.topic,
            };
            let upload = self.store.control.create_upload(new).await?;
            let taken_over = Arc::new(AtomicI64::new(0));
            let mut first = JoinSet::new();
            // Two producers of the first process, side by side.
            for half in 0..2 {
                let (mill, taken_over) = (Arc::clone(&self), Arc::clone(&taken_over));
                let (fence, mut rng) = (upload.fence(), rng.fork());
                first.spawn(async move {
                    for at in (0..BATCHES).filter(|at| at % 2 == half) {
                        let late = taken_over.load(Ordering::SeqCst) == 1;
                        let published = mill.publish_rows(fence, at, &mut rng).await?;
                        check!(!(late && published), "batch {at} was committed after a take-over");
                        if !published {
                            break;
                        }
                    }
                    Ok(())
                });
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(5..60))).await;
            let fence = self.store.control.take_over(upload.id).await?.fence();
            taken_over.store(1, Ordering::SeqCst);
            let covered = self.log.covered(upload.id).await?;
            let there: HashSet<u32> = covered.iter().map(|part| part.first_row.0).collect();
            for at in (0..BATCHES).filter(|at| !there.contains(&(at * ROWS + 2))) {
                check!(self.publish_rows(fence, at, &mut rng).await?, "the successor was refused");
            }
            while let Some(done) = first.join_next().await {
                done.unwrap()?;
            }
            let rows: Vec<u32> =
                self.log.covered(upload.id).await?.iter().map(|part| part.first_row.0).collect();
            let expected: Vec<u32> = (0..BATCHES).map(|at| at * ROWS + 2).collect();
            check_eq!(rows, expected, "the batches of an upload");
            self.log.release(fence, "{}").await?;
        }
        Ok(())
    }

    /// Whether it was committed; not when the upload was taken over.
    async fn publish_rows(&self, fence: Fence, at: u32, rng: &mut Rng) -> Checked<bool> {
        let (mut batch, keys) = self.batch(ROWS, &mut (0, BLOCK), rng).await?;
        let first = at * ROWS + 2;
        for (row, message) in (first..).zip(&mut batch.messages) {
            message.row = Some(RowNumber(row));
        }
        batch.rows = Some(RowsOf {
            fence,
            sheet: 0,
            first_row: RowNumber(first),
            last_row: RowNumber(first + ROWS - 1),
            turn: i32::try_from(at).unwrap(),
            held: true,
            findings: vec![],
        });
        self.ledger.trying(&keys);
        loop {
            batch.routes_version = self.store.control.routes(self.topic).await?.version;
            match self.log.publish(&batch).await {
                Ok(()) => {
                    self.ledger.committed(&keys);
                    return Ok(true);
                }
                Err(LogError::RoutesChanged) => {}
                Err(LogError::LeaseLost) => {
                    self.ledger.refused(&keys);
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn consume(self: Arc<Self>, mut rng: Rng) -> Checked {
        let mut late: Vec<(Instant, Uuid, Vec<Held>)> = vec![];
        while !self.ended() {
            let terms = self.queues[rng.usize(..self.queues.len())];
            let max = rng.usize(1..60);
            let received = self.answer(self.log.receive(QueueId(terms.queue), max).await)?;
            let mut together = vec![];
            match received {
                None => tokio::time::sleep(PAUSE).await,
                Some(Received::Empty(Emptiness::Contended)) => tokio::task::yield_now().await,
                Some(Received::Empty(Emptiness::Until(due))) => {
                    let nap = due.unwrap_or(DEADLINE).min(Duration::from_millis(10));
                    tokio::time::sleep(nap.max(Duration::from_millis(1))).await;
                }
                Some(Received::Leases(leases)) => {
                    for lease in leases {
                        let held = self.hold(terms.queue, &lease)?;
                        let receipt = lease.receipt;
                        match if self.draining() { 0 } else { rng.u8(0..100) } {
                            0..35 => {
                                self.settle(vec![(receipt, held)], true, &mut rng).await?;
                            }

                            35..60 => self.settle_in_parts(receipt, held, &mut rng).await?,
                            60..70 => together.push((receipt, held)),
                            70..80 => late.push((Instant::now() + DEADLINE, receipt, held)),
                            // A crash: nobody knows the receipt any more.
                            80..90 => {}
                            _ => {
                                self.answer(self.log.extend(&[receipt]).await)?;
                                self.settle(vec![(receipt, held)], false, &mut rng).await?;
                            }
                        }
                    }
                }
            }
            if !together.is_empty() {
                self.settle(together, false, &mut rng).await?;
            }
            let now = Instant::now();
            let (over, yet): (Vec<_>, Vec<_>) = late.drain(..).partition(|(at, ..)| *at <= now);
            late = yet;
            for (_, receipt, held) in over {
                self.settle(vec![(receipt, held)], false, &mut rng).await?;
            }
        }
        Ok(())
    }

    fn hold(&self, queue: i32, lease: &HandedLease) -> Checked<Vec<Held>> {
        let held: Vec<Held> = lease
            .messages
            .iter()
            .map(|message| Held {
                queue,
                id: message.id,
                attempt: message.attempt,
                position: message.position,
            })
            .collect();
        for message in &lease.messages {
            check_eq!(*message.data, *format!(r#"{{"id":{}}}"#, message.id), "data");
        }
        self.ledger.handed(lease.receipt, &held)?;
        Ok(held)
    }

    /// Random positions at a time, each part sent once more for good measure.
    async fn settle_in_parts(&self, receipt: Uuid, mut held: Vec<Held>, rng: &mut Rng) -> Checked {
        rng.shuffle(&mut held);
        while !held.is_empty() {
            let part: Vec<Held> = held.split_off(rng.usize(..held.len()));
            self.settle(vec![(receipt, part.clone())], false, rng).await?;
            if rng.bool() {
                let applied = self.settle(vec![(receipt, part)], true, rng).await?;
                check!(applied == 0 || self.size.failing, "a repeated settle was applied");
            }
        }
        Ok(())
    }

    fn verdicts(receipt: Uuid, held: &[Held], all_done: bool, rng: &mut Rng) -> Vec<Settlement> {
        let one = |held: &Held| {
            let reason = || format!("no {}", held.id).into();
            let verdict = match if all_done { 0 } else { rng.u8(0..10) } {
                0..6 => {
                    let (id, attempt) = (held.id, held.attempt);
                    let output = format!(r#"{{"id":{id},"attempt":{attempt},"by":"{receipt}"}}"#);
                    Verdict::Done { output: Some(output.into()) }
                }
                6 | 7 => Verdict::Retry { reason: reason(), after: None },
                8 => Verdict::Reject { reason: reason() },
                _ => Verdict::Release,
            };
            Settlement { position: held.position, verdict }
        };
        held.iter().map(one).collect()
    }

    /// Answers how many positions that ended, or may have.
    async fn settle(
        &self,
        mut leases: Vec<(Uuid, Vec<Held>)>,
        all_done: bool,
        rng: &mut Rng,
    ) -> Checked<usize> {
        let mut applied = 0;
        let mut asked = vec![];
        for (receipt, held) in &mut leases {
            rng.shuffle(held);
            asked.push((*receipt, Self::verdicts(*receipt, held, all_done, rng)));
        }
        let mut dice = rng.fork();
        let answer = self.log.settle(&asked, &mut || dice.f64()).await;
        let answer = self.answer(answer)?;
        for (at, ((_, held), (_, settlements))) in leases.iter().zip(&asked).enumerate() {
            let stale: HashSet<u16> = match &answer {
                Some(answer) => answer[at].stale.iter().copied().collect(),
                None => HashSet::new(),
            };
            for (held, settlement) in held.iter().zip(settlements) {
                if !stale.contains(&held.position) {
                    applied += 1;
                    self.ledger.settled(held, &settlement.verdict, answer.is_some())?;
                }
            }
        }
        Ok(applied)
    }

    async fn sweep(self: Arc<Self>) -> Checked {
        while !self.ended() {
            let swept = self.answer(self.log.sweep(5).await)?;
            self.answer(self.log.expire(3).await)?;
            if swept.is_none_or(|swept| swept.is_empty()) {
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
        Ok(())
    }

    /// Purges, redrives and changes routes now and then.
    async fn meddle(self: Arc<Self>, mut rng: Rng) -> Checked {
        while !self.draining() {
            for terms in &self.queues {
                if terms.redriven
                    && let Some(dead) = terms.dead_queue
                {
                    let (dead, queue) = (QueueId(dead), QueueId(terms.queue));
                    self.answer(self.log.redrive(dead, queue, rng.u32(1..30)).await)?;
                }
                if terms.purged && rng.u8(0..8) == 0 {
                    self.answer(self.log.purge(QueueId(terms.queue)).await)?;
                }
            }
            if rng.u8(0..5) == 0 {
                let changed = self.store.control.ensure_queue(&self.first_queue).await;
                check!(changed.is_ok() || self.size.failing, "routes: {changed:?}");
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(50..200))).await;
        }
        Ok(())
    }

    /// Looks at the tables again and again.
    async fn watch(self: Arc<Self>) -> Checked {
        while !self.ended() {
            let known = self.ledger.known();
            match Tables::read(&self.store).await {
                Ok(tables) => self.ledger.check_snapshot(&known, &tables.places()?)?,
                Err(Violation(_)) if self.size.failing => {}
                Err(violation) => return Err(violation),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

/// Whether an error says no more than that the server went away.
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolTimedOut => true,
        // admin_shutdown, crash_shutdown, cannot_connect_now
        sqlx::Error::Database(error) => {
            matches!(error.code().as_deref(), Some("57P01" | "57P02" | "57P03"))
        }
        _ => false,
    }
}
