//! Settling: a script each, which looks whether a delivery still is what its handle says. What is
//! acked within its deadline need not be looked at, because nobody else can have it.

use std::time::Duration;

use redis::{RedisError, Script, Value};

use super::entry::{Delivery, array, attribute, number};
use super::queue::Queue;
use super::scripts::Call;
use super::wire::fault;
use super::{RedisCarrier, millis};
use crate::broker::carrier::{CarrierError, Each, Failed, Handle, REASON};

/// What settling needs of a kind of it: the script, its keys, what comes before the handles, and
/// what comes after each.
struct Kind<'a, const N: usize, T> {
    script: &'a Script,
    keys: [&'a str; N],
    before: Option<String>,
    /// How many in one call of the script.
    step: usize,
    after: fn(Call<'a>, &T) -> Call<'a>,
}

impl RedisCarrier {
    pub(super) async fn ack_all(
        &self,
        queue: &Queue,
        handles: &[Handle],
    ) -> Result<Vec<Each>, CarrierError> {
        let mut answers = Vec::with_capacity(handles.len());
        for step in handles.chunks(self.limits.step_parcels.max(1)) {
            match self.ack_step(queue, step).await {
                Ok(more) => answers.extend(more),
                Err(error) if answers.is_empty() => return Err(self.fault(error, queue)),
                Err(error) => {
                    not_taken(&mut answers, handles.len(), error, queue);
                    break;
                }
            }
        }
        Ok(answers)
    }

    async fn ack_step(&self, queue: &Queue, step: &[Handle]) -> Result<Vec<Each>, RedisError> {
        if let Some(answers) = self.ack_in_time(queue, step).await? {
            return Ok(answers);
        }
        let kind = Kind {
            script: &self.scripts.ack,
            keys: [&queue.keys.stream, &queue.keys.holds],
            before: None,
            step: step.len(),
            after: |call, ()| call,
        };
        let step: Vec<_> = step.iter().map(|handle| (handle, ())).collect();
        self.settle_step(&kind, &step).await
    }

    /// Acks what nobody else can have yet, which is nearly all there ever is: it costs the server half
    /// of looking at each. `None` when that is not certain of all; nothing was done then.
    async fn ack_in_time(
        &self,
        queue: &Queue,
        step: &[Handle],
    ) -> Result<Option<Vec<Each>>, RedisError> {
        let read = |handle| {
            let Delivery { entry, until_ms, .. } = Delivery::of(handle).ok()?;
            Some((entry, until_ms?))
        };
        let Some(read) = step.iter().map(read).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let Some(first) = read.iter().map(|(_, until)| *until).min() else {
            return Ok(Some(Vec::new()));
        };
        let keys = [&*queue.keys.stream, &queue.keys.holds];
        let mut call = Call::new(&self.scripts.done, keys).arg(first);
        for (entry, _) in &read {
            call = call.arg(entry);
        }
        let answer = self.wire.run(call).await?;
        let each = |stood: &Value| match number(stood) {
            Some(1) => Ok(()),
            // The try whose answer was lost may have done it.
            Some(0) if answer.again => Ok(()),
            _ => Err(Failed::Over),
        };
        Ok(match &answer.value {
            Value::Int(_) => Some(vec![Ok(()); step.len()]),
            Value::Array(stood) => Some(stood.iter().map(each).collect()),
            _ => None,
        })
    }

    pub(super) async fn release_all(
        &self,
        queue: &Queue,
        handles: &[(Handle, Duration)],
    ) -> Result<Vec<Each>, CarrierError> {
        let keys = &queue.keys;
        let kind = Kind {
            script: &self.scripts.release,
            keys: [&*keys.stream, &keys.settings, &keys.delayed, &keys.holds],
            before: None,
            step: self.limits.step_moves,
            after: |call, delay: &Duration| call.arg(millis(*delay)),
        };
        let handles: Vec<_> = handles.iter().map(|(handle, delay)| (handle, *delay)).collect();
        self.settle(queue, kind, &handles).await.map_err(|error| self.fault(error, queue))
    }

    /// Moves deliveries to the dead queue.
    pub(super) async fn bury_all(
        &self,
        queue: &Queue,
        handles: &[(Handle, String)],
    ) -> Result<Vec<Each>, CarrierError> {
        if handles.is_empty() {
            return Ok(Vec::new());
        }
        let mut dead = queue.settings().dead;
        if dead.is_none() {
            // Another process may have said just now where they go.
            let settings = self.read_settings(queue).await;
            dead = settings.map_err(|error| self.fault(error, queue))?.dead;
        }
        let Some(dead) = dead else {
            let why = "the queue was made without a dead queue";
            return Err(CarrierError::Unsupported { what: "to give a message up", why });
        };
        let dead = self.queue(&dead);
        let kind = Kind {
            script: &self.scripts.dead,
            keys: [&*queue.keys.stream, &queue.keys.holds, &dead.keys.stream],
            before: Some(attribute(REASON)),
            step: self.limits.step_moves,
            after: |call, reason: &&String| call.arg(*reason),
        };
        let handles: Vec<_> = handles.iter().map(|(handle, reason)| (handle, reason)).collect();
        self.settle(queue, kind, &handles).await.map_err(|error| {
            let missing = if error.to_string().contains("NODEAD") { &*dead } else { queue };
            self.fault(error, missing)
        })
    }

    pub(super) async fn extend_all(
        &self,
        queue: &Queue,
        handles: &[Handle],
        lasting: Duration,
    ) -> Result<Vec<Each>, CarrierError> {
        let keys = &queue.keys;
        let kind = Kind {
            script: &self.scripts.extend,
            keys: [&*keys.stream, &keys.holds],
            before: Some(millis(lasting).to_string()),
            step: self.limits.step_parcels,
            after: |call, ()| call,
        };
        let handles: Vec<_> = handles.iter().map(|handle| (handle, ())).collect();
        self.settle(queue, kind, &handles).await.map_err(|error| self.fault(error, queue))
    }

    async fn settle<'a, const N: usize, T: Sync>(
        &self,
        queue: &Queue,
        kind: Kind<'a, N, T>,
        handles: &[(&Handle, T)],
    ) -> Result<Vec<Each>, RedisError> {
        let mut answers = Vec::with_capacity(handles.len());
        for step in handles.chunks(kind.step.max(1)) {
            match self.settle_step(&kind, step).await {
                Ok(more) => answers.extend(more),
                Err(error) if answers.is_empty() => return Err(error),
                Err(error) => {
                    not_taken(&mut answers, handles.len(), error, queue);
                    break;
                }
            }
        }
        Ok(answers)
    }

    async fn settle_step<'a, const N: usize, T: Sync>(
        &self,
        kind: &Kind<'a, N, T>,
        step: &[(&Handle, T)],
    ) -> Result<Vec<Each>, RedisError> {
        let mut call = Call::new(kind.script, kind.keys);
        if let Some(before) = &kind.before {
            call = call.arg(before);
        }
        let deliveries: Vec<_> = step.iter().map(|(handle, _)| Delivery::of(handle)).collect();
        for (delivery, (_, more)) in deliveries.iter().zip(step) {
            if let Ok(delivery) = delivery {
                call = (kind.after)(call.arg(&delivery.entry).arg(delivery.count), more);
            }
        }
        let answer = self.wire.run(call).await?;
        let mut stood = array(answer.value).unwrap_or_default().into_iter();
        let each = |delivery: Result<Delivery, Failed>| {
            delivery?;
            match stood.next().as_ref().and_then(number) {
                Some(1) => Ok(()),
                // The try whose answer was lost may have done it.
                Some(0) if answer.again => Ok(()),
                _ => Err(Failed::Over),
            }
        };
        Ok(deliveries.into_iter().map(each).collect())
    }
}

/// What was settled before is known, and is not hidden by what came after.
fn not_taken(answers: &mut Vec<Each>, count: usize, error: RedisError, queue: &Queue) {
    let text = fault(error, &queue.name).to_string();
    answers.resize(count, Err(Failed::NotTaken(text)));
}
