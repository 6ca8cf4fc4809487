//! Sending parcels until the carrier has said of each that it keeps it, or why it never will.

use super::Inner;
use crate::broker::carrier::{Carrier, CarrierError, Each, Failed, Parcel};
use crate::broker::error::BrokerError;
use crate::domain::QueueName;

/// Parcels that a carrier refused for good: which of those given, and why.
pub(super) type Refused = Vec<(usize, String)>;

/// What is done about parcels that a full queue has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenFull {
    /// Their sender is told at once.
    Fail,
    /// They are sent again as long as there is room for some now and then. Who would be told sends all
    /// of them again, and what is there already would take the room of what is not.
    GoOn,
}

impl<C: Carrier> Inner<C> {
    /// Sends the parcels that `make` makes of these places. Those that were not taken are sent again
    /// a few times.
    ///
    /// # Errors
    /// [`BrokerError::Full`] or [`BrokerError::Outage`] when some are still not taken; which of the
    /// others were is not told, and asking again sends them all.
    pub(super) async fn send(
        &self,
        queue: &QueueName,
        mut places: Vec<usize>,
        when_full: WhenFull,
        make: impl Fn(usize) -> Option<Parcel>,
    ) -> Result<Refused, BrokerError> {
        let mut refused = vec![];
        let mut tried: u16 = 0;
        loop {
            tried = tried.saturating_add(1);
            let parcels = places.iter().filter_map(|place| make(*place)).collect();
            let each: Vec<Each> = match self.carrier.send(queue, parcels).await {
                Err(CarrierError::Full(_)) => vec![Err(Failed::Full); places.len()],
                each => each.map_err(|error| self.failed(queue, error))?,
            };
            let mut left = vec![];
            let mut why = None;
            if each.len() != places.len() {
                return Err(CarrierError::Failed("it did not answer for each".into()).into());
            }
            let sent = places.len();
            for (place, each) in places.into_iter().zip(each) {
                match each {
                    Ok(()) => {}
                    Err(Failed::Refused(reason)) => refused.push((place, reason)),
                    Err(failed) => {
                        left.push(place);
                        why = Some(failed);
                    }
                }
            }
            let Some(why) = why else { return Ok(refused) };
            let full = why == Failed::Full;
            if full && left.len() < sent {
                tried = 0;
            }
            places = left;
            if full && when_full == WhenFull::Fail {
                return Err(BrokerError::Full(queue.clone()));
            }
            if tried >= self.limits.tries.max(1) {
                let left = places.len();
                tracing::warn!(%queue, left, %why, "a carrier does not take messages");
                return Err(match full {
                    true => BrokerError::Full(queue.clone()),
                    false => BrokerError::Outage(Box::new(why)),
                });
            }
            tokio::time::sleep(self.limits.again.wait(tried.max(1), fastrand::f64())).await;
        }
    }
}
