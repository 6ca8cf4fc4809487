//! Taking: what was held too long first, then what waits, then waiting for more.

use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, Value};
use tokio::time::{Instant, sleep};

use super::entry::{Delivery, Entry, array, number, text};
use super::queue::{Queue, Settings};
use super::scripts::Call;
use super::{RedisCarrier, wire};
use crate::broker::carrier::{CarrierError, Taken};

/// An entry, and which of its deliveries this is.
type Delivered = (Entry, u32);

fn strange(what: &'static str) -> RedisError {
    (ErrorKind::UnexpectedReturnType, what).into()
}

/// Reads what XREADGROUP answers for one stream: first deliveries, all of them.
fn read_group(value: Value) -> Result<Vec<Delivered>, RedisError> {
    let read = |value| {
        let stream = array(value)?.into_iter().next()?;
        let entries = array(stream)?.into_iter().nth(1)?;
        let first = |entry| Some((Entry::read(entry)?, 1));
        array(entries)?.into_iter().map(first).collect::<Option<Vec<_>>>()
    };
    match value {
        Value::Nil => Ok(Vec::new()),
        value => read(value).ok_or_else(|| strange("no entries")),
    }
}

/// Reads `[id, fields, count]` of each.
fn read_claimed(value: Value) -> Option<Vec<Delivered>> {
    let claimed = array(value)?.into_iter().map(|one| {
        let mut parts = array(one)?.into_iter();
        let entry = Entry::of(parts.next()?, parts.next()?)?;
        Some((entry, number(&parts.next()?)?.try_into().ok()?))
    });
    claimed.collect()
}

impl RedisCarrier {
    pub(super) async fn take_some(
        &self,
        queue: &Queue,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Taken>, CarrierError> {
        let max = max.min(self.limits.step_parcels);
        let until = Instant::now() + wait;
        if max == 0 {
            return Ok(Vec::new());
        }
        // Who waits reads what is there, too: then there is no need to look before.
        let mut waited = false;
        loop {
            let mut taken = Vec::new();
            if let Some(cursor) = queue.tends(self.limits.look_every) {
                let claimed = self.tend(queue, max, &cursor).await;
                let claimed = claimed.map_err(|error| self.fault(error, queue))?;
                taken = self.sort_out(queue, claimed, None).await?;
                waited = false; // what became due is there now
            }
            if taken.len() < max && !waited {
                match self.read(queue, max - taken.len()).await {
                    Ok(more) => taken.extend(more),
                    // What was claimed is worth more than the reason why there is no more.
                    Err(_) if !taken.is_empty() => {}
                    Err(error) => return Err(error),
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if !taken.is_empty() || left.is_zero() {
                return Ok(taken);
            }
            let came = self.wait_for(queue, max, left).await?;
            waited = came.is_some();
            if let Some(taken) = came
                && !taken.is_empty()
            {
                return Ok(taken);
            }
        }
    }

    /// With it, until when what it brings is nobody else's, at least.
    fn read_cmd(queue: &Queue, max: usize, block: Option<Duration>) -> (Cmd, Option<i64>) {
        let mut cmd = redis::cmd("XREADGROUP");
        let deadline_ms = queue.settings().deadline_ms;
        let until_ms = queue.clock().map(|now| now.saturating_add(deadline_ms));
        let consumer = format!("rowmill-{deadline_ms}");
        cmd.arg("GROUP").arg("rowmill").arg(consumer).arg("COUNT").arg(max);
        if let Some(block) = block {
            cmd.arg("BLOCK").arg(block.as_millis().max(1) as u64); // 0 would be for ever
        }
        cmd.arg("STREAMS").arg(&queue.keys.stream).arg(">");
        (cmd, until_ms)
    }

    /// What waits now.
    async fn read(&self, queue: &Queue, max: usize) -> Result<Vec<Taken>, CarrierError> {
        let (cmd, until_ms) = Self::read_cmd(queue, max, None);
        let answer = self.wire.ask(&cmd).await;
        let entries = answer.and_then(read_group).map_err(|error| self.fault(error, queue))?;
        self.sort_out(queue, entries, until_ms).await
    }

    /// What comes before there is something to tend to, and within `left`; `None` when the stream was
    /// not asked.
    async fn wait_for(
        &self,
        queue: &Queue,
        max: usize,
        left: Duration,
    ) -> Result<Option<Vec<Taken>>, CarrierError> {
        let block = left.min(queue.tends_in());
        if block.is_zero() {
            return Ok(None);
        }
        let (cmd, until_ms) = Self::read_cmd(queue, max, Some(block));
        match self.wire.wait(&cmd, block).await {
            None => sleep(block).await,
            Some(Err(error)) if wire::is_passing(&error) => {
                // The next look is patient; this pause is for a server that refuses at once.
                sleep(self.limits.pause_first).await;
            }
            Some(answer) => {
                let entries =
                    answer.and_then(read_group).map_err(|error| self.fault(error, queue))?;
                return self.sort_out(queue, entries, until_ms).await.map(Some);
            }
        }
        Ok(None)
    }

    /// A piece of what must be done now and then; answers up to `most` deliveries that were claimed.
    pub(super) async fn tend(
        &self,
        queue: &Queue,
        most: usize,
        cursor: &str,
    ) -> Result<Vec<Delivered>, RedisError> {
        let keys = &queue.keys;
        let all = [&*keys.stream, &keys.settings, &keys.delayed, &keys.holds];
        let call = Call::new(&self.scripts.tend, all)
            .arg(most)
            .arg(cursor)
            .arg(self.limits.look_at)
            .arg(self.limits.step_parcels)
            .arg(self.limits.step_bytes);
        let answer = self.wire.run(call).await?.value;
        let read = || {
            let mut parts = array(answer)?.into_iter();
            let (clock, next_due) = (number(&parts.next()?)?, number(&parts.next()?)?);
            let cursor = String::from_utf8(text(parts.next()?)?).ok()?;
            let claimed = read_claimed(parts.next()?)?;
            Some((clock, next_due, cursor, claimed, Settings::read(parts.next()?)))
        };
        let (clock, next_due, cursor, claimed, settings) =
            read().ok_or_else(|| strange("not what tending answers"))?;
        let again = u64::try_from(next_due).map_or(self.limits.look_every, Duration::from_millis);
        queue.tended(clock, again.min(self.limits.look_every), cursor);
        queue.learn(settings);
        Ok(claimed)
    }

    /// Gives out what may be given out: what waited too long is dropped, and what was delivered too
    /// often goes to the dead queue. Until `until_ms` nobody else gets any of it.
    async fn sort_out(
        &self,
        queue: &Queue,
        entries: Vec<Delivered>,
        until_ms: Option<i64>,
    ) -> Result<Vec<Taken>, CarrierError> {
        let (settings, clock) = (queue.settings(), queue.clock());
        let too_old = |entry: &Entry| match (settings.retention_ms, clock) {
            (Some(retention), Some(now)) => entry.since.saturating_add(retention) < now,
            _ => false,
        };
        let most = settings.dead.as_ref().and(settings.deliveries);
        let (mut taken, mut expired, mut poison) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, count) in entries {
            let before = entry.attempts.saturating_add(count) - 1;
            if too_old(&entry) {
                expired.push(Delivery { entry: entry.id, count, until_ms }.handle());
            } else if most.is_some_and(|most| before >= most) {
                let reason = format!("delivered {before} times, and never settled");
                poison.push((Delivery { entry: entry.id, count, until_ms }.handle(), reason));
            } else {
                taken.push(entry.taken(count, until_ms));
            }
        }
        // Should either fail, it comes again at its deadline; what may be given out is not held up.
        if !expired.is_empty()
            && let Err(error) = self.ack_all(queue, &expired).await
        {
            tracing::warn!(queue = %queue.name, %error, "what waited too long is not dropped yet");
        }
        if !poison.is_empty()
            && let Err(error) = self.bury_all(queue, &poison).await
        {
            tracing::warn!(queue = %queue.name, %error, "what was delivered too often is not dead yet");
        }
        Ok(taken)
    }
}
