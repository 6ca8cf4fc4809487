//! Sending parcels until the carrier has said of each that it keeps it, or why it never will.

use super::Inner;
use crate::broker::carrier::{Carrier, CarrierError, Failed, Parcel};
use crate::broker::contract::BrokerError;
use crate::domain::QueueName;

/// Parcels that a carrier refused for good: which of those given, and why.
pub(super) type Refused = Vec<(usize, String)>;

impl<C: Carrier> Inner<C> {
    /// Sends the parcels that `make` makes of these places. Those that were not taken are sent again
    /// a few times.
    ///
    /// # Errors
    /// [`BrokerError::Outage`] when some are still not taken; which of the others were is not told,
    /// and asking again sends them all.
    pub(super) async fn send(
        &self,
        queue: &QueueName,
        mut places: Vec<usize>,
        make: impl Fn(usize) -> Option<Parcel>,
    ) -> Result<Refused, BrokerError> {
        let mut refused = vec![];
        for tried in 1..=self.limits.tries.max(1) {
            let parcels = places.iter().filter_map(|place| make(*place)).collect();
            let each = self.carrier.send(queue, parcels).await;
            let each = each.map_err(|error| self.failed(queue, error))?;
            let mut left = vec![];
            let mut why = None;
            if each.len() != places.len() {
                return Err(CarrierError::Failed("it did not answer for each".into()).into());
            }
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
            places = left;
            if tried < self.limits.tries {
                tokio::time::sleep(self.limits.again.wait(tried, fastrand::f64())).await;
            } else {
                let left = places.len();
                tracing::warn!(%queue, left, %why, "a carrier does not take messages");
                return Err(BrokerError::Outage(Box::new(why)));
            }
        }
        Ok(refused)
    }
}
