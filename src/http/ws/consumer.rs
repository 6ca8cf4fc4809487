//! One consumer behind a WebSocket, from its first frame to the hand-back of what it leaves.
//!
//! One task does it all, in turns: it receives as long as there is credit, sends what came, reads
//! what the client says, and tells the broker in one call at a time, so that what arrives together
//! is settled together. While the client does not read, nothing is read from it either, and after
//! [`WsLimits::write`] it is given up.
//!
//! However it ends, verdicts that had arrived are carried out and everything else goes back at once.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, close_code};
use futures::future::{BoxFuture, FutureExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::frame::{self, Refusal, Said};
use super::hands::{Hands, Held};
use super::line::{End, Line};
use super::work::{By, Extended, Judged, Report, Wanted, Work};
use super::{Acks, Terms, WsLimits};
use crate::api::{Pushed, SettledAs};
use crate::broker::{Broker, BrokerError};
use crate::domain::{Lease, MessageId, QueueName, Verdict};
use crate::http::App;
use crate::http::delivery::deliveries;
use crate::http::workers::WorkerName;

/// The pause after the message store did not answer.
const AGAIN: Duration = Duration::from_millis(500);
/// When to look again if nothing else is due: longer than any socket is silent.
const LATER: Duration = Duration::from_secs(60 * 60);
struct Receiving {
    most: usize,
    leases: BoxFuture<'static, Result<Vec<Lease>, BrokerError>>,
}

/// A consumer.
pub(super) struct Consumer<B> {
    app: App<B>,
    limits: WsLimits,
    queue: QueueName,
    line: Line,
    terms: Terms,
    hands: Hands,
    work: Work,
    /// Verdicts of the call that is under way.
    settling: usize,
    receiving: Option<Receiving>,
    working: Option<BoxFuture<'static, Report>>,
    /// When the client was last heard.
    heard: Instant,
    /// The broker is asked for nothing before this, because it did not answer.
    resume: Instant,
    /// Who it is, and what of its hands was told to those who want to know.
    worker: WorkerName,
    told: usize,
}

impl<B: Broker + Clone> Consumer<B> {
    pub(super) fn new(
        app: App<B>,
        queue: QueueName,
        worker: WorkerName,
        terms: Terms,
        socket: WebSocket,
    ) -> Self {
        let now = Instant::now();
        Self {
            line: Line::new(socket, app.limits.ws.write),
            limits: app.limits.ws.clone(),
            app,
            queue,
            terms,
            hands: Hands::default(),
            work: Work::default(),
            settling: 0,
            receiving: None,
            working: None,
            heard: now,
            resume: now,
            worker,
            told: 0,
        }
    }

    /// Serves the client until one of the two, or the server, has had enough.
    ///
    /// Cancellation safety: dropped half-way, what the client holds comes again at its deadline.
    pub(super) async fn run(mut self) {
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        tracing::debug!(queue = %self.queue, ?end, "a consumer leaves");
        self.hand_back(&end).await;
        if let End::Close(code, reason) = end {
            self.line.close(code, &reason).await;
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let mut pings =
            interval_at(Instant::now() + self.limits.ping_every, self.limits.ping_every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.begin_work();
            self.begin_receive();
            let room = self.work.len() < self.app.limits.messages;
            let next = self.next_due();
            tokio::select! {
                () = self.app.stop.cancelled() => {
                    return Err(End::close(close_code::AWAY, "the server stops"));
                }
                frame = self.line.next(), if room => self.frames(frame).await?,
                leases = received(&mut self.receiving) => {
                    self.receiving = None;
                    self.received(leases).await?;
                }
                report = done(&mut self.working) => {
                    self.working = None;
                    self.settling = 0;
                    let answers = self.report(report);
                    self.line.send(answers).await?;
                }
                _ = pings.tick() => self.ping().await?,
                () = sleep_until(next) => self.hands.lapse(Instant::now()),
            }
        }
    }

    /// Deliveries for which the client has given no verdict, or one that has not been settled yet.
    fn unsettled(&self) -> usize {
        self.hands.len() + self.work.verdicts() + self.settling
    }

    /// Tells that so many were sent, or settled.
    fn tell(&mut self, received: usize, settled: usize) {
        let held = (self.told, self.unsettled());
        self.told = held.1;
        let ms = self.app.store.clock.now_ms();
        self.app.workers.socket(&self.worker, &self.queue, (received, settled), held, ms);
    }

    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let resume = Some(self.resume).filter(|resume| *resume > now);
        resume.into_iter().chain(self.hands.next_deadline()).min().unwrap_or(now + LATER)
    }

    fn begin_receive(&mut self) {
        let most = self.terms.credit.saturating_sub(self.unsettled());
        // What a dropped receive has leased is handed back.
        self.receiving.take_if(|receiving| receiving.most > most);
        if most == 0 || self.receiving.is_some() || Instant::now() < self.resume {
            return;
        }
        let (broker, queue, wait) = (self.app.broker.clone(), self.queue.clone(), self.limits.look);
        let leases = async move { broker.receive(&queue, most, wait).await }.boxed();
        self.receiving = Some(Receiving { most, leases });
    }

    fn begin_work(&mut self) {
        if self.working.is_some() || self.work.len() == 0 || Instant::now() < self.resume {
            return;
        }
        let work = std::mem::take(&mut self.work);
        self.settling = work.verdicts();
        self.working = Some(work.carry_out(self.app.broker.clone()).boxed());
    }

    async fn received(&mut self, leases: Result<Vec<Lease>, BrokerError>) -> Result<(), End> {
        match leases {
            Ok(leases) => self.push(leases).await,
            Err(BrokerError::NoQueue(_)) => {
                Err(End::close(close_code::NORMAL, "the queue is gone"))
            }
            Err(BrokerError::Outage(error)) => {
                tracing::warn!(queue = %self.queue, %error, "a consumer waits out an outage");
                self.resume = Instant::now() + AGAIN;
                Ok(())
            }
            Err(error) => {
                tracing::error!(queue = %self.queue, %error, "a consumer met a fault");
                Err(End::close(close_code::ERROR, "the server met a fault of its own"))
            }
        }
    }

    /// Sends what came. It is in the client's hands from before the first byte is written.
    async fn push(&mut self, leases: Vec<Lease>) -> Result<(), End> {
        let now_ms = self.app.store.clock.now_ms();
        let mut sent: Vec<MessageId> = vec![];
        for lease in &leases {
            let until = Instant::now() + lease.deadline;
            for delivery in &lease.deliveries {
                let held = Held {
                    receipt: lease.receipt,
                    position: delivery.position,
                    attempt: delivery.attempt,
                    until,
                };
                self.hands.add(delivery.id, held);
                sent.push(delivery.id);
            }
        }
        self.tell(sent.len(), 0);
        let queue = self.queue.clone();
        for delivery in leases.into_iter().flat_map(|lease| deliveries(lease, &queue, now_ms)) {
            let delivery =
                delivery.map_err(|_| End::close(close_code::ERROR, "a message cannot be read"))?;
            self.line.feed(&Pushed::Message(Box::new(delivery))).await?;
        }
        self.line.flush().await?;
        if self.terms.acks == Acks::ByServer {
            for id in sent {
                if let Some(held) = self.hands.take(id) {
                    let judged = Judged { id, held, by: By::AutoAck };
                    self.work.judge(judged, Verdict::Done { output: None });
                }
            }
        }
        Ok(())
    }

    /// Takes a frame, and those behind it that are here already.
    async fn frames(&mut self, first: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        self.heard = Instant::now();
        let mut next = Some(first);
        let mut answers = vec![];
        let mut taken = 0;
        while let Some(frame) = next.take() {
            match frame {
                None | Some(Ok(Message::Close(_))) => return Err(End::Gone),
                Some(Err(error)) => {
                    let reason = format!("what came cannot be read: {error}");
                    return Err(End::close(close_code::PROTOCOL, reason));
                }
                // A ping is answered below us.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Binary(_))) => {
                    let detail = "frames are text: JSON".to_owned();
                    answers.push(Refusal { detail, id: None }.into());
                }
                Some(Ok(Message::Text(text))) => {
                    let done =
                        frame::read(&text, &self.app.limits).and_then(|said| self.hear(said));
                    answers.extend(done.err().map(Pushed::from));
                }
            }
            taken += 1;
            let most = self.app.limits.messages;
            if taken < most && self.work.len() < most {
                next = self.line.next().now_or_never();
            }
        }
        self.line.send(answers).await
    }

    fn hear(&mut self, said: Said) -> Result<(), Refusal> {
        let refused = |id: MessageId, detail: &str| Refusal {
            detail: detail.to_owned(),
            id: Some(id.to_string()),
        };
        match said {
            Said::Credit(credit) => self.terms.credit = credit,
            Said::Verdict(id, _) | Said::Extend(id, _) if self.terms.acks == Acks::ByServer => {
                return Err(refused(id, "with `auto_ack` the server acks by itself"));
            }
            Said::Verdict(id, verdict) => {
                let held = self.hands.take(id).ok_or_else(|| refused(id, NOT_HELD))?;
                self.work.judge(Judged { id, held, by: By::Client }, verdict);
            }
            Said::Extend(id, wanted) => {
                let held = self.hands.get(id).ok_or_else(|| refused(id, NOT_HELD))?;
                let lasting = self.hands.lasting(held.receipt, wanted, Instant::now());
                self.work.extend(Wanted { id, receipt: held.receipt, lasting });
            }
        }
        Ok(())
    }

    /// What to tell the client of a call that came back.
    fn report(&mut self, report: Report) -> Vec<Pushed> {
        let mut answers = vec![];
        let settled = report.settled.iter().filter(|(_, became)| became.is_some()).count();
        if let Some(error) = report.failure {
            tracing::warn!(queue = %self.queue, %error, "a consumer's verdicts could not be told");
            self.resume = Instant::now() + AGAIN;
        }
        let failed = |id: MessageId| Pushed::Error {
            detail: "the message store does not answer; say it again".to_owned(),
            id: Some(id.to_string()),
        };
        for (judged, became) in report.settled {
            let id = judged.id;
            match (judged.by, became) {
                (By::Client, Some(status)) => {
                    answers.push(Pushed::Settled { id: id.to_string(), status });
                }
                (By::Client, None) => {
                    self.hands.put_back(id, judged.held);
                    answers.push(failed(id));
                }
                (By::AutoAck, Some(_)) => {}
                // Nobody else would say it again. Once its deadline has passed it is void.
                (By::AutoAck, None) if judged.held.until > Instant::now() => {
                    self.work.judge(judged, Verdict::Done { output: None });
                }
                (By::AutoAck, None) => {}
            }
        }
        for (wanted, became) in report.extended {
            let id = wanted.id.to_string();
            answers.push(match became {
                Extended::Until(until) => {
                    self.hands.extended(wanted.receipt, until);
                    let left = until.saturating_duration_since(Instant::now());
                    Pushed::Extended { id, deadline_seconds: left.as_secs_f64() }
                }
                Extended::TooLate => {
                    self.hands.lost(wanted.receipt);
                    Pushed::Settled { id, status: SettledAs::Stale }
                }
                Extended::Open => failed(wanted.id),
            });
        }
        self.tell(0, settled);
        answers
    }

    /// Finds out whether the client is still there: whoever says nothing for two pings is not.
    async fn ping(&mut self) -> Result<(), End> {
        if self.heard.elapsed() > self.limits.ping_every * 2 {
            return Err(End::Gone);
        }
        self.tell(0, 0);
        self.line.ping().await
    }

    /// Carries out what the client said and gives back the rest. A client that is still there is
    /// told of the former.
    async fn hand_back(&mut self, end: &End) {
        // What it has leased by now goes back of itself.
        self.receiving = None;
        let mut answers = match self.working.take() {
            Some(working) => self.report(working.await),
            None => vec![],
        };
        let releases = self.hands.release_all();
        let work = std::mem::take(&mut self.work);
        let broker = self.app.broker.clone();
        // Apart from each other, so that what is wrong with one does not hold up the other.
        let (report, released) = tokio::join!(work.carry_out(broker), async {
            match releases.is_empty() {
                true => Ok(vec![]),
                false => self.app.broker.settle(releases).await,
            }
        });
        if let Err(error) = released {
            let queue = &self.queue;
            tracing::warn!(%queue, %error, "what a consumer left comes at its deadline");
        }
        answers.extend(self.report(report));
        self.tell(0, 0);
        if matches!(end, End::Close(..)) {
            // It is closed next, whether it takes these or not.
            let _ = self.line.send(answers).await;
        }
    }
}

const NOT_HELD: &str = "this socket holds no delivery of that message";

async fn received(receiving: &mut Option<Receiving>) -> Result<Vec<Lease>, BrokerError> {
    match receiving {
        Some(receiving) => (&mut receiving.leases).await,
        None => std::future::pending().await,
    }
}

async fn done(working: &mut Option<BoxFuture<'static, Report>>) -> Report {
    match working {
        Some(working) => working.await,
        None => std::future::pending().await,
    }
}
