//! Sending: XADDs in transactions; by a script where parcels wait for their time or a queue has its
//! capacity.
//!
//! A transaction is not there for its all or nothing, but because a server that flushes what it
//! answers flushes once for it, where it flushes a pipeline in as many pieces as it reads it.

use std::ops::Range;

use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::time::{Instant, sleep};

use super::entry::{field_count, fields, number, size};
use super::queue::{Queue, Settings};
use super::scripts::Call;
use super::wire::{self, fault, is_passing};
use super::{RedisCarrier, millis};
use crate::broker::carrier::{CarrierError, Each, Failed, Parcel};

/// The answers, as they come to be known.
struct Answers(Vec<Option<Each>>);

impl Answers {
    /// Those of `range` that were not answered, in their order.
    fn open(&self, range: Range<usize>) -> Vec<usize> {
        range.filter(|n| self.0[*n].is_none()).collect()
    }

    fn set(&mut self, n: usize, answer: Each) {
        self.0[n] = Some(answer);
    }

    /// All of them, when one who is not answered yet is not because of `why`. Without any that was
    /// taken, the call failed as a whole.
    fn end(self, why: CarrierError) -> Result<Vec<Each>, CarrierError> {
        if !self.0.iter().any(|answer| matches!(answer, Some(Ok(())))) {
            return Err(why);
        }
        let why = match why {
            CarrierError::Full(_) => Failed::Full,
            why => Failed::NotTaken(why.to_string()),
        };
        let rest = || Err(why.clone());
        Ok(self.0.into_iter().map(|answer| answer.unwrap_or_else(rest)).collect())
    }
}

/// The commands that add parcels, a pipeline of them.
fn adds(queue: &Queue, parcels: &[Parcel], open: &[usize]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(open.len());
    for n in open {
        let parcel = &parcels[*n];
        // The names of the attributes are not counted; it grows once, if at all.
        let room = queue.keys.stream.len() + 2 * size(parcel);
        let mut cmd = Cmd::with_capacity(4 + field_count(parcel), room);
        cmd.arg("XADD").arg(&queue.keys.stream).arg("NOMKSTREAM").arg("*");
        fields(parcel, |part| _ = cmd.arg(part));
        pipeline.add_command(cmd);
    }
    pipeline
}

impl RedisCarrier {
    pub(super) async fn send_all(
        &self,
        queue: &Queue,
        parcels: &[Parcel],
    ) -> Result<Vec<Each>, CarrierError> {
        let mut answers = Answers(parcels.iter().map(|parcel| self.refusal(parcel)).collect());
        if answers.open(0..parcels.len()).is_empty() {
            return Ok(answers.0.into_iter().flatten().collect());
        }
        let settings = match self.settings(queue).await {
            Ok(settings) => settings,
            Err(error) => return Err(self.fault(error, queue)),
        };
        for step in self.steps(parcels) {
            let sent = self.send_step(queue, &settings, parcels, step, &mut answers).await;
            if let Err(error) = sent {
                return match error {
                    error @ CarrierError::NoQueue(_) => Err(error),
                    error => answers.end(error),
                };
            }
        }
        Ok(answers.0.into_iter().flatten().collect())
    }

    /// Why a parcel is not even tried.
    fn refusal(&self, parcel: &Parcel) -> Option<Each> {
        let (bytes, most) = (size(parcel), self.limits.parcel_bytes);
        if bytes > most {
            return Some(Err(Failed::Refused(format!("{bytes} bytes, where {most} are most"))));
        }
        let (count, most) = (parcel.attributes.len(), self.limits.attributes);
        (count > most)
            .then(|| Err(Failed::Refused(format!("{count} attributes, where {most} are most"))))
    }

    /// Cuts parcels into what is sent in one go.
    fn steps(&self, parcels: &[Parcel]) -> Vec<Range<usize>> {
        let (mut steps, mut first, mut bytes) = (Vec::new(), 0, 0);
        for (n, parcel) in parcels.iter().enumerate() {
            let more = size(parcel);
            let full = n - first == self.limits.step_parcels.max(1)
                || bytes + more > self.limits.step_bytes;
            if n > first && full {
                steps.push(first..n);
                (first, bytes) = (n, 0);
            }
            bytes += more;
        }
        steps.push(first..parcels.len());
        steps
    }

    async fn send_step(
        &self,
        queue: &Queue,
        settings: &Settings,
        parcels: &[Parcel],
        step: Range<usize>,
        answers: &mut Answers,
    ) -> Result<(), CarrierError> {
        let open = answers.open(step.clone());
        let plain = settings.capacity.is_none() && open.iter().all(|n| parcels[*n].delay.is_zero());
        let begun = Instant::now();
        let mut pause = self.limits.pause_first;
        loop {
            let open = answers.open(step.clone());
            if open.is_empty() {
                return Ok(());
            }
            let error = if plain {
                self.add(queue, parcels, &open, answers).await?
            } else {
                self.add_by_script(queue, parcels, &open, answers).await?
            };
            let Some(error) = error else { continue };
            if begun.elapsed() + pause > self.limits.patience {
                return Err(fault(error, &queue.name));
            }
            sleep(pause).await;
            pause = (2 * pause).min(self.limits.pause_most);
        }
    }

    /// Adds parcels in one go. Answers why those that are still open may work later.
    async fn add(
        &self,
        queue: &Queue,
        parcels: &[Parcel],
        open: &[usize],
        answers: &mut Answers,
    ) -> Result<Option<RedisError>, CarrierError> {
        let mut added = self.wire.ask_all(adds(queue, parcels, open).atomic()).await;
        if added.as_ref().is_err_and(wire::is_aborted) {
            // One by one, so that each has an answer of its own.
            added = self.wire.ask_all(&adds(queue, parcels, open)).await;
        }
        let added = added.map_err(|error| self.fault(error, queue))?;
        let mut passing = None;
        for (n, added) in open.iter().zip(added) {
            match added {
                Value::Nil => {
                    self.forget(queue);
                    return Err(CarrierError::NoQueue(queue.name.clone()));
                }
                Value::ServerError(error) => {
                    let error = RedisError::from(error);
                    if is_passing(&error) {
                        passing = Some(error);
                    } else {
                        answers.set(*n, Err(Failed::Refused(error.to_string())));
                    }
                }
                _ => answers.set(*n, Ok(())),
            }
        }
        Ok(passing)
    }

    /// Adds parcels by the script, which knows of room and of delays; waits for room as long as some
    /// comes now and then.
    async fn add_by_script(
        &self,
        queue: &Queue,
        parcels: &[Parcel],
        open: &[usize],
        answers: &mut Answers,
    ) -> Result<Option<RedisError>, CarrierError> {
        let keys = &queue.keys;
        let mut begun = Instant::now();
        let mut left = open;
        loop {
            let mut call =
                Call::new(&self.scripts.send, [&keys.stream, &keys.settings, &keys.delayed]);
            for n in left {
                let parcel = &parcels[*n];
                call = call.arg(millis(parcel.delay)).arg(field_count(parcel));
                fields(parcel, |part| _ = call.cmd.arg(part));
            }
            let taken = match self.wire.run(call).await {
                Ok(answer) => number(&answer.value).and_then(|n| n.try_into().ok()).unwrap_or(0),
                Err(error) if is_passing(&error) => return Ok(Some(error)),
                Err(error) => return Err(self.fault(error, queue)),
            };
            let (done, rest) = left.split_at(left.len().min(taken));
            done.iter().for_each(|n| answers.set(*n, Ok(())));
            if taken > 0 {
                begun = Instant::now();
            }
            left = rest;
            if left.is_empty() {
                return Ok(None);
            }
            if begun.elapsed() >= self.limits.full_wait {
                return Err(CarrierError::Full(queue.name.clone()));
            }
            sleep(self.limits.full_look).await;
        }
    }
}
