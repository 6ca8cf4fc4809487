//! Looking at a queue, clearing it, and moving what waits in it.

use redis::{RedisError, Value};

use super::RedisCarrier;
use super::entry::{Entry, array, attribute, number, text};
use super::queue::Queue;
use super::scripts::Call;
use crate::broker::carrier::{CarrierDepth, CarrierError, Parcel, REASON};

/// Numbers that a script answers.
fn numbers<const N: usize>(value: Value) -> Result<[u64; N], RedisError> {
    let read = || {
        let numbers = array(value)?;
        let numbers = numbers.iter().map(|n| u64::try_from(number(n)?).ok());
        numbers.collect::<Option<Vec<_>>>()?.try_into().ok()
    };
    read().ok_or_else(|| (redis::ErrorKind::UnexpectedReturnType, "not those numbers").into())
}

impl RedisCarrier {
    pub(super) async fn depth_of(&self, queue: &Queue) -> Result<CarrierDepth, CarrierError> {
        let keys = [&*queue.keys.stream, &queue.keys.delayed];
        let answer = self.wire.run(Call::new(&self.scripts.depth, keys)).await;
        let [waiting, delayed, in_hands] = answer
            .and_then(|answer| numbers(answer.value))
            .map_err(|error| self.fault(error, queue))?;
        Ok(CarrierDepth { waiting, delayed: Some(delayed), in_hands: Some(in_hands) })
    }

    pub(super) async fn peek_at(
        &self,
        queue: &Queue,
        limit: usize,
    ) -> Result<Vec<Parcel>, CarrierError> {
        let limit = limit.min(self.limits.step_parcels);
        let call = Call::new(&self.scripts.peek, [&queue.keys.stream]).arg(limit);
        let answer = self.wire.run(call).await.map_err(|error| self.fault(error, queue))?;
        let entries = array(answer.value).unwrap_or_default();
        Ok(entries.into_iter().filter_map(Entry::read).map(Entry::parcel).collect())
    }

    pub(super) async fn purge_all(&self, queue: &Queue) -> Result<u64, CarrierError> {
        let keys = [&*queue.keys.stream, &queue.keys.delayed];
        let (mut all, mut last) = (0, Vec::new());
        loop {
            let call = Call::new(&self.scripts.purge, keys)
                .arg(self.limits.step_parcels)
                .arg(self.limits.step_bytes)
                .arg(&last);
            let answer = self.wire.run(call).await.map_err(|error| self.fault(error, queue))?;
            let mut parts = array(answer.value).unwrap_or_default().into_iter();
            let removed = parts.next().as_ref().and_then(number).unwrap_or(0);
            last = parts.next().and_then(text).unwrap_or_default();
            match u64::try_from(removed) {
                Ok(removed) if removed > 0 => all += removed,
                _ => return Ok(all),
            }
        }
    }

    pub(super) async fn redrive_some(
        &self,
        from: &Queue,
        to: &Queue,
        most: usize,
    ) -> Result<u64, CarrierError> {
        let keys = [&*from.keys.stream, &to.keys.stream, &to.keys.settings, &to.keys.delayed];
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        let mut all = 0;
        while all < most {
            let call = Call::new(&self.scripts.redrive, keys)
                .arg(attribute(REASON))
                .arg((most - all).min(self.limits.step_parcels as u64))
                .arg(self.limits.step_bytes);
            let answer = self.wire.run(call).await.and_then(|answer| numbers(answer.value));
            let [moved, full] = answer.map_err(|error| {
                let missing = if error.to_string().contains("NODEAD") { to } else { from };
                self.fault(error, missing)
            })?;
            all += moved;
            if full == 1 && all == 0 {
                return Err(CarrierError::Full(to.name.clone()));
            }
            if moved == 0 {
                break;
            }
        }
        Ok(all)
    }
}
