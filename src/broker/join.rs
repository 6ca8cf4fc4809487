//! Joins calls of one process that arrive while others of their kind are under way.
//!
//! A statement and its commit cost much the same for one call as for a dozen. So the calls of one
//! kind go through a few *lanes*: a call that finds a lane free goes at once and alone; those that
//! arrive while the lanes are busy wait together, and the next free lane takes as many of them as
//! fit one step. Nobody waits for company: a lone caller is as fast as without this, and the more
//! callers there are, the fewer statements each of them costs.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// How calls of one kind are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JoinLimits {
    /// Steps under way at once.
    pub lanes: usize,
    /// Calls of one step at most.
    pub calls: usize,
    /// Calls that wait for a lane at most; more wait to be let in.
    pub waiting: usize,
}

impl Default for JoinLimits {
    /// One lane: with two, calls alternate between them and half as many come together, which on two
    /// cores cost a fifth of the rate.
    fn default() -> Self {
        Self { lanes: 1, calls: 32, waiting: 1_000 }
    }
}

/// What joined calls do.
pub(super) trait Joined: Send + Sync + 'static {
    /// What a caller asks.
    type Ask: Send + 'static;
    /// What it is answered.
    type Answer: Send + 'static;

    /// Whether `next` can be done in one step with what is in `group`.
    fn fits(&self, group: &[Self::Ask], next: &Self::Ask) -> bool;

    /// Does it, and answers each, in the order asked.
    fn step(&self, group: Vec<Self::Ask>) -> impl Future<Output = Vec<Self::Answer>> + Send;
}

type Waiting<J> = (<J as Joined>::Ask, oneshot::Sender<<J as Joined>::Answer>);

/// Where calls of one kind come together.
#[derive(Debug)]
pub(super) struct Joiner<J: Joined>(mpsc::Sender<Waiting<J>>);

impl<J: Joined> Joiner<J> {
    /// Runs until this is dropped; must be called within a tokio runtime.
    pub(super) fn new(work: J, limits: JoinLimits) -> Self {
        let (sender, inbox) = mpsc::channel(limits.waiting.max(1));
        tokio::spawn(run(Arc::new(work), inbox, limits));
        Self(sender)
    }

    /// Asks, alone or with others. `None` when the step died or the runtime is going down.
    ///
    /// Cancellation safety: a call that is dropped before its step began is not made; later, its
    /// answer is dropped.
    pub(super) async fn ask(&self, ask: J::Ask) -> Option<J::Answer> {
        let (sender, answer) = oneshot::channel();
        self.0.send((ask, sender)).await.ok()?;
        answer.await.ok()
    }
}

async fn run<J: Joined>(work: Arc<J>, mut inbox: mpsc::Receiver<Waiting<J>>, limits: JoinLimits) {
    let lanes = Arc::new(Semaphore::new(limits.lanes.max(1)));
    // Those that did not fit the step before them, in the order in which they came.
    let mut passed_over: VecDeque<Waiting<J>> = VecDeque::new();
    loop {
        if passed_over.is_empty() {
            match inbox.recv().await {
                Some(first) => passed_over.push_back(first),
                None => return,
            }
        }
        // The semaphore is never closed.
        let Ok(lane) = Arc::clone(&lanes).acquire_owned().await else { return };
        // Callers that the last step answered together are about to ask together: they are runnable
        // now, and have asked when this task comes round again.
        tokio::task::yield_now().await;
        let (mut group, mut callers) = (vec![], vec![]);
        let mut rest = VecDeque::new();
        let mut waiting = std::mem::take(&mut passed_over);
        while group.len() < limits.calls.max(1) && rest.len() < limits.waiting.max(1) {
            let Some((ask, caller)) = waiting.pop_front().or_else(|| inbox.try_recv().ok()) else {
                break;
            };
            if caller.is_closed() {
                continue;
            }
            if group.is_empty() || work.fits(&group, &ask) {
                group.push(ask);
                callers.push(caller);
            } else {
                rest.push_back((ask, caller));
            }
        }
        rest.append(&mut waiting);
        passed_over = rest;
        if group.is_empty() {
            continue;
        }
        let work = Arc::clone(&work);
        tokio::spawn(async move {
            let answers = work.step(group).await;
            drop(lane);
            for (caller, answer) in callers.into_iter().zip(answers) {
                // An answer whose caller has gone away is dropped, here or on its way.
                let _ = caller.send(answer);
            }
        });
    }
}
