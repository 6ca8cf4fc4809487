//! Telling somebody that an upload has ended: a POST of the upload as `GET /uploads/{id}` shows it,
//! signed as Standard Webhooks says (standardwebhooks.com).
//!
//! What is to be told stands beside the upload in the database (`store::control::webhooks`), and comes
//! due with its end, whoever records that. Every server looks for it; one at a time tries it, and
//! records what came of that. So it is told at least once: a server that dies after the other side has
//! taken it leaves it to be told again, under the same `webhook-id`.

mod address;
mod secret;
mod send;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;

use super::App;
use super::uploads;
use crate::broker::Broker;
use crate::domain::{RetryPolicy, units};
use crate::store::control::{Due, UploadState};
pub use address::{Address, BadAddress};
pub use secret::{BadSecret, WebhookSecret};
use send::{Sender, Word};

/// What bounds webhooks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookLimits {
    /// Where the end of an upload is told that says nothing else. Nowhere.
    pub url: String,
    /// Hosts that may be told, wherever they are, with commas between them. While there are none: any
    /// whose address is public.
    pub hosts: String,
    /// Webhooks that a server tells at once. 4.
    pub at_once: usize,
    /// How often it looks for some to be told. 1 s.
    #[serde(with = "units::time")]
    pub look_every: Duration,
    /// How long making a connection may take. 5 s.
    #[serde(with = "units::time")]
    pub connect_timeout: Duration,
    /// How long a try may take. 15 s.
    #[serde(with = "units::time")]
    pub timeout: Duration,
    /// Tries, until it is given up. 12: about a day.
    pub attempts: u32,
    /// The waits between them. From 5 s, four times as long each, up to 3 h.
    pub retry: RetryPolicy,
    /// What they are signed with; told in the environment, and nothing is told without one.
    #[serde(skip)]
    pub secret: Option<WebhookSecret>,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        Self {
            url: String::new(),
            hosts: String::new(),
            at_once: 4,
            look_every: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
            attempts: 12,
            retry: RetryPolicy {
                first: Duration::from_secs(5),
                factor: 4.0,
                most: Duration::from_secs(3 * 3600),
            },
            secret: None,
        }
    }
}

/// Tells what comes due, until the server stops.
pub(super) async fn run<B: Broker + Clone>(app: App<B>) {
    let limits = app.limits.webhook.clone();
    let Some(secret) = limits.secret.clone() else {
        if !limits.url.is_empty() {
            tracing::warn!("http.webhook.url is told nothing: there is no ROWMILL_WEBHOOK_SECRET");
        }
        return;
    };
    let sender = match Sender::new(&limits, secret) {
        Ok(sender) => Arc::new(sender),
        Err(error) => {
            tracing::error!(%error, "no webhook can be sent");
            return;
        }
    };
    let permits = Arc::new(Semaphore::new(limits.at_once.max(1)));
    let tasks = TaskTracker::new();
    let mut every = interval(limits.look_every.max(Duration::from_millis(10)));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = app.stop.cancelled() => break,
        }
        let free = permits.available_permits();
        if free == 0 {
            continue;
        }
        // Longer than a try takes: nobody else tries meanwhile, and somebody does if this server dies.
        let lease = limits.timeout * 2;
        match app.store.control.due_webhooks(free as u64, lease).await {
            Ok(due) => {
                for due in due {
                    let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { break };
                    let (app, sender) = (app.clone(), Arc::clone(&sender));
                    tasks.spawn(async move {
                        tell(&app, &sender, &due).await;
                        drop(permit);
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "webhooks could not be looked for"),
        }
    }
    // Those under way are bounded by their time; a server that is in a hurry leaves them.
    tasks.close();
    tasks.wait().await;
}

async fn tell<B: Broker + Clone>(app: &App<B>, sender: &Sender, due: &Due) {
    let limits = &app.limits.webhook;
    let Some(word) = word(app, due).await else { return };
    let sent = match due.url.parse() {
        Ok(address) => sender.send(&address, &word).await,
        Err(error) => Err(send::Failed::refused(BadAddress::to_string(&error))),
    };
    let tries = due.attempts + 1;
    let (status, error, again) = match sent {
        Ok(status) => (Some(status), None, None),
        Err(failed) => {
            let retry = !failed.for_good && tries < limits.attempts;
            // The nth wait comes after the nth try.
            let attempt = u16::try_from(tries).unwrap_or(u16::MAX);
            let wait = retry.then(|| limits.retry.wait(attempt, fastrand::f64()));
            (failed.status, Some(failed.why), wait)
        }
    };
    let outcome = match (&error, again) {
        (None, _) => "delivered",
        (Some(_), Some(_)) => "tried again",
        (Some(_), None) => "given up",
    };
    tracing::info!(upload = %word.upload, status, error, tries, outcome, "a webhook was tried");
    if let Err(error) = app.store.control.webhook_tried(due, status, error.as_deref(), again).await
    {
        tracing::warn!(%error, "what became of a webhook could not be recorded");
    }
}

/// What is told: nothing of an upload that was deleted, or is at work again.
async fn word<B: Broker + Clone>(app: &App<B>, due: &Due) -> Option<Word> {
    let upload = app.store.control.upload(due.upload).await.ok()?;
    let over = [UploadState::Ended, UploadState::Failed, UploadState::Cancelled];
    if !over.contains(&upload.state) {
        return None;
    }
    let shown = match uploads::view(app, &upload).await {
        // How far its own telling is, is not for whom it is told.
        Ok(shown) => crate::api::Upload { webhook: None, ..shown },
        Err(error) => {
            tracing::warn!(?error, "an upload that is to be told cannot be looked at");
            return None;
        }
    };
    let body = serde_json::to_vec(&shown).ok()?;
    // The same for each try, another for the end after a retry of its dead.
    let ended = upload.ended_at.unwrap_or(0);
    let id = format!("upload_{}_{ended}", upload.public_id.simple());
    Some(Word { id, upload: upload.public_id, body: body.into() })
}
