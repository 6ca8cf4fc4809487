//! What is known here of a queue, and making, reading and removing one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{RedisError, Value};
use tokio::time::Instant;

use super::entry::{array, number, text};
use super::keys::Keys;
use super::scripts::Call;
use super::{RedisCarrier, millis};
use crate::broker::carrier::{CarrierError, CarrierQueue};
use crate::domain::QueueName;

/// A queue, as far as this process knows it.
pub(super) struct Queue {
    pub(super) name: QueueName,
    pub(super) keys: Keys,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    settings: Option<(Settings, Instant)>,
    /// The server's clock in milliseconds, and when it said so.
    clock: Option<(i64, Instant)>,
    /// When there is something to tend to; at once, if nobody did.
    tend_at: Option<Instant>,
    /// Where tending goes on among those pending.
    cursor: Option<String>,
}

/// What a queue was told to be, as far as it is decided here and not by scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// How long a delivery lasts; it keeps what was so when it began.
    pub(super) deadline_ms: i64,
    pub(super) dead: Option<QueueName>,
    pub(super) deliveries: Option<u32>,
    pub(super) retention_ms: Option<i64>,
    pub(super) capacity: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        // As in `lua/common.lua`: a stream that nobody made a queue of.
        Self {
            deadline_ms: 30_000,
            dead: None,
            deliveries: None,
            retention_ms: None,
            capacity: None,
        }
    }
}

impl Settings {
    /// Reads what HGETALL answers.
    pub(super) fn read(value: Value) -> Self {
        let mut settings = Self::default();
        let mut fields = array(value).unwrap_or_default().into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            let n = number(&value);
            match text(name).unwrap_or_default().as_slice() {
                b"dead" => {
                    let name = text(value).and_then(|name| String::from_utf8(name).ok());
                    settings.dead = name.and_then(|name| name.parse().ok());
                }
                b"deadline_ms" => settings.deadline_ms = n.unwrap_or(settings.deadline_ms),
                b"deliveries" => settings.deliveries = n.and_then(|n| n.try_into().ok()),
                b"retention_ms" => settings.retention_ms = n,
                b"capacity" => settings.capacity = n.and_then(|n| n.try_into().ok()),
                _ => {}
            }
        }
        settings
    }
}

impl Queue {
    pub(super) fn new(prefix: &str, name: &QueueName) -> Self {
        Self { name: name.clone(), keys: Keys::new(prefix, name), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings as last heard of, by a caller that heard of them just now.
    pub(super) fn settings(&self) -> Settings {
        self.known().settings.as_ref().map(|(settings, _)| settings.clone()).unwrap_or_default()
    }

    pub(super) fn learn(&self, settings: Settings) {
        self.known().settings = Some((settings, Instant::now()));
    }

    /// The server's clock, in milliseconds; `None` as long as it was not heard of.
    pub(super) fn clock(&self) -> Option<i64> {
        self.known().clock.map(|(then, at)| then + millis(at.elapsed()))
    }

    /// Whether it is time to tend; if so, the one who asked does it, and others do not.
    pub(super) fn tends(&self, again_in: Duration) -> Option<String> {
        let mut known = self.known();
        if known.tend_at.is_some_and(|at| at > Instant::now()) {
            return None;
        }
        known.tend_at = Some(Instant::now() + again_in);
        Some(known.cursor.clone().unwrap_or_else(|| "-".to_owned()))
    }

    /// What tending said: the server's clock, in how long there is something to do, where to go on.
    pub(super) fn tended(&self, clock: i64, again_in: Duration, cursor: String) {
        let now = Instant::now();
        let mut known = self.known();
        known.clock = Some((clock, now));
        known.tend_at = Some(now + again_in);
        known.cursor = Some(cursor);
    }

    /// In how long there is something to tend to.
    pub(super) fn tends_in(&self) -> Duration {
        let at = self.known().tend_at;
        at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }
}

impl RedisCarrier {
    pub(super) async fn make(&self, plan: &CarrierQueue) -> Result<(), CarrierError> {
        let queue = self.queue(&plan.name);
        let deadline = millis(plan.ack_deadline).max(1);
        let mut call = Call::new(&self.scripts.ensure, [&queue.keys.stream, &queue.keys.settings])
            .arg("deadline_ms")
            .arg(deadline);
        if let Some(dead) = &plan.dead {
            call = call.arg("dead").arg(dead.as_str());
        }
        if let Some(deliveries) = plan.deliveries {
            call = call.arg("deliveries").arg(deliveries);
        }
        let retention_ms = plan.retention.map(millis);
        if let Some(retention) = retention_ms {
            call = call.arg("retention_ms").arg(retention);
        }
        let capacity = plan.capacity.or(self.limits.capacity);
        if let Some(capacity) = capacity {
            call = call.arg("capacity").arg(capacity);
        }
        self.wire.run(call).await.map_err(|error| self.fault(error, &queue))?;
        queue.learn(Settings {
            deadline_ms: deadline,
            dead: plan.dead.clone(),
            deliveries: plan.deliveries,
            retention_ms,
            capacity,
        });
        Ok(())
    }

    pub(super) async fn unmake(&self, queue: &Queue) -> Result<(), CarrierError> {
        let keys = &queue.keys;
        let mut cmd = redis::cmd("UNLINK");
        cmd.arg(&[&keys.stream, &keys.settings, &keys.delayed, &keys.holds]);
        self.wire.ask(&cmd).await.map_err(|error| self.fault(error, queue))?;
        self.forget(queue);
        Ok(())
    }

    /// A queue's settings: those known, unless they are old.
    pub(super) async fn settings(&self, queue: &Queue) -> Result<Settings, RedisError> {
        let known = queue.known().settings.clone();
        match known {
            Some((known, at)) if at.elapsed() < self.limits.settings_kept => Ok(known),
            _ => self.read_settings(queue).await,
        }
    }

    /// A queue's settings, as they are now.
    pub(super) async fn read_settings(&self, queue: &Queue) -> Result<Settings, RedisError> {
        let mut cmd = redis::cmd("HGETALL");
        cmd.arg(&queue.keys.settings);
        let settings = Settings::read(self.wire.ask(&cmd).await?);
        queue.learn(settings.clone());
        Ok(settings)
    }
}
