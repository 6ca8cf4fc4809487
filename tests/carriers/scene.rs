//! Where a case plays: an engine, a driver's connection to it, and short ways to say what is wanted.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use rowmill::broker::carrier::{
    Carrier, CarrierDepth, CarrierError, CarrierQueue, Each, Handle, Parcel, Taken,
};
use rowmill::domain::QueueName;
use tokio::time::{Instant, sleep, timeout};

use crate::engine::Engine;
use crate::proxy::Proxy;

/// How long a case waits for what must come: only a failing one waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A deadline that no case outlasts.
pub(crate) const LONG: Duration = Duration::from_secs(120);
/// A deadline, a delay or a retention that a case waits for; engines that count in seconds have it.
pub(crate) const SHORT: Duration = Duration::from_secs(1);
/// By when a parcel with a delay or deadline of [`SHORT`] is surely there again.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// How long is watched that nothing comes: longer than [`SHORT`].
pub(crate) const WATCH: Duration = Duration::from_secs(2);

/// Where a case plays.
pub(crate) struct Scene<E: Engine> {
    pub(crate) engine: Arc<E>,
    pub(crate) carrier: Arc<E::Carrier>,
    tag: String,
}

impl<E: Engine> Scene<E> {
    /// In a corner of the shared server.
    pub(crate) async fn shared() -> Self {
        Self::on(E::shared().await).await
    }

    /// On a server of its own.
    pub(crate) async fn own() -> Self {
        Self::on(E::own().await).await
    }

    async fn on(engine: E) -> Self {
        let carrier = Arc::new(engine.connect(engine.address()).await.unwrap());
        let engine = Arc::new(engine);
        let tag = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
        Self { engine, carrier, tag }
    }

    /// What another process sees.
    pub(crate) async fn another(&self) -> Arc<E::Carrier> {
        Arc::new(self.engine.connect(self.engine.address()).await.unwrap())
    }

    /// A process of its own that does `work`, until it is killed.
    pub(crate) async fn process<F>(
        &self,
        work: impl FnOnce(Arc<E::Carrier>) -> F + Send + 'static,
    ) -> Process
    where
        F: Future<Output = ()> + Send,
    {
        let wire = Proxy::to(self.engine.address()).await;
        let (engine, at) = (Arc::clone(&self.engine), wire.address());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(async move {
            let carrier = Arc::new(engine.connect(at).await.unwrap());
            work(carrier).await;
        });
        Process { runtime: Some(runtime), wire }
    }

    /// A name that no other case has.
    pub(crate) fn name(&self, name: &str) -> QueueName {
        format!("{name}-{}", self.tag).parse().unwrap()
    }

    /// A queue that was not made yet: a deadline that nobody outlasts, no dead queue, no limits.
    pub(crate) fn plan(&self, name: &str) -> CarrierQueue {
        CarrierQueue {
            name: self.name(name),
            dead: None,
            deliveries: None,
            ack_deadline: LONG,
            retention: None,
            capacity: None,
        }
    }

    /// Such a queue, made.
    pub(crate) async fn queue(&self, name: &str) -> QueueName {
        let plan = self.plan(name);
        self.carrier.ensure(&plan).await.unwrap();
        plan.name
    }

    /// Such a queue whose deliveries end after [`SHORT`].
    pub(crate) async fn hasty_queue(&self, name: &str) -> CarrierQueue {
        let plan = CarrierQueue { ack_deadline: SHORT, ..self.plan(name) };
        self.carrier.ensure(&plan).await.unwrap();
        plan
    }

    /// Such a queue with a dead queue, in this order.
    pub(crate) async fn queue_with_dead(&self, name: &str) -> (QueueName, QueueName) {
        let dead = self.queue(&format!("{name}-dead")).await;
        let plan = CarrierQueue { dead: Some(dead.clone()), ..self.plan(name) };
        self.carrier.ensure(&plan).await.unwrap();
        (plan.name, dead)
    }
}

/// Parcel number `n`, like a row of a spreadsheet.
pub(crate) fn parcel(n: usize) -> Parcel {
    let attributes = [("row", n.to_string()), ("filename", "orders.xlsx".to_owned())];
    Parcel {
        id: format!("parcel-{n}"),
        data: Bytes::from(format!(r#"{{"number":{n},"data":"item {n}"}}"#)),
        attributes: attributes.map(|(name, value)| (name.to_owned(), value)).into(),
        delay: Duration::ZERO,
    }
}

/// Parcels 0, 1, 2, ...
pub(crate) fn parcels(n: usize) -> Vec<Parcel> {
    (0..n).map(parcel).collect()
}

/// What a parcel must be when it comes out again, wherever and however often it was delivered.
pub(crate) fn assert_intact(taken: &Taken, sent: &Parcel) {
    assert_eq!(taken.id.as_ref(), Some(&sent.id));
    assert_eq!(taken.data, sent.data, "the data of {}", sent.id);
    assert_eq!(taken.attributes, sent.attributes, "the attributes of {}", sent.id);
}

/// Handles, in order.
pub(crate) fn handles(taken: &[Taken]) -> Vec<Handle> {
    taken.iter().map(|taken| taken.handle.clone()).collect()
}

/// How often each id came.
pub(crate) fn counted<'a>(taken: impl IntoIterator<Item = &'a Taken>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for one in taken {
        *counts.entry(one.id.clone().unwrap()).or_default() += 1;
    }
    counts
}

/// Sends what must all be taken.
pub(crate) async fn send<C: Carrier>(carrier: &C, queue: &QueueName, parcels: Vec<Parcel>) {
    let n = parcels.len();
    let answers = carrier.send(queue, parcels).await.unwrap();
    assert_eq!(answers, vec![Ok(()); n]);
}

/// Takes `n` parcels, in as many calls as it needs.
pub(crate) async fn take<C: Carrier>(carrier: &C, queue: &QueueName, n: usize) -> Vec<Taken> {
    let (mut taken, until) = (Vec::new(), Instant::now() + PATIENCE);
    while taken.len() < n {
        let left = n - taken.len();
        let more = carrier.take(queue, left, SOON).await.unwrap();
        assert!(more.len() <= left, "{} were asked for, {} came", left, more.len());
        taken.extend(more);
        assert!(Instant::now() < until, "{} of {n} came", taken.len());
    }
    taken
}

/// Takes the one parcel that must come.
pub(crate) async fn take_one<C: Carrier>(carrier: &C, queue: &QueueName) -> Taken {
    take(carrier, queue, 1).await.remove(0)
}

/// Settles what must be settled.
pub(crate) async fn ack<C: Carrier>(carrier: &C, queue: &QueueName, taken: &[Taken]) {
    let answers = carrier.ack(queue, handles(taken)).await.unwrap();
    assert_eq!(answers, vec![Ok(()); taken.len()]);
}

/// Settles one delivery, and answers what became of it.
pub(crate) async fn ack_one<C: Carrier>(carrier: &C, queue: &QueueName, taken: &Taken) -> Each {
    let answers = carrier.ack(queue, vec![taken.handle.clone()]).await.unwrap();
    assert_eq!(answers.len(), 1);
    answers.into_iter().next().unwrap()
}

/// Watches for a while that nothing comes.
pub(crate) async fn assert_nothing<C: Carrier>(carrier: &C, queue: &QueueName, lasting: Duration) {
    let until = Instant::now() + lasting;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let taken = carrier.take(queue, 10, left).await.unwrap();
        assert_eq!(taken, vec![], "nothing was to come");
        if left.is_zero() {
            return;
        }
    }
}

/// Takes and acks until nothing has come for [`WATCH`].
pub(crate) async fn drain<C: Carrier>(carrier: &C, queue: &QueueName) -> Vec<Taken> {
    let mut all = Vec::new();
    loop {
        let taken = carrier.take(queue, 500, WATCH).await.unwrap();
        if taken.is_empty() {
            return all;
        }
        ack(carrier, queue, &taken).await;
        all.extend(taken);
    }
}

/// Waits until a queue stands so: engines count a little behind what they do.
pub(crate) async fn until_depth<C: Carrier>(
    carrier: &C,
    queue: &QueueName,
    is_so: impl Fn(&CarrierDepth) -> bool,
) -> CarrierDepth {
    let until = Instant::now() + PATIENCE;
    loop {
        let depth = carrier.depth(queue).await.unwrap();
        if is_so(&depth) {
            return depth;
        }
        assert!(Instant::now() < until, "it stands at {depth:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Asks again as long as the engine is away.
pub(crate) async fn patiently<T>(
    mut ask: impl AsyncFnMut() -> Result<T, CarrierError>,
) -> Result<T, CarrierError> {
    let asks = async {
        loop {
            match ask().await {
                Err(CarrierError::Outage(_)) => sleep(Duration::from_millis(100)).await,
                answer => return answer,
            }
        }
    };
    timeout(2 * PATIENCE, asks).await.expect("the engine did not come back")
}

/// What a call answers if it is let go on `most` times, and dropped then.
pub(crate) async fn dropped_after<T>(most: usize, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    let mut polls = 0;
    std::future::poll_fn(|context| {
        if polls == most {
            return Poll::Ready(None);
        }
        polls += 1;
        let poll = call.as_mut().poll(context).map(Some);
        if poll.is_pending() && polls == most {
            return Poll::Ready(None);
        }
        poll
    })
    .await
}

/// A process that can be killed: everything a driver does in it stops at once, wherever it stands,
/// and its connections break off.
pub(crate) struct Process {
    runtime: Option<tokio::runtime::Runtime>,
    wire: Proxy,
}

impl Process {
    /// Kills it.
    pub(crate) fn kill(self) {}
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // Some drivers have threads of their own, which no runtime takes along.
        self.wire.end();
    }
}
