//! A queue's settings, as SQS takes them: whole seconds between its bounds, refused outside.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName as Name;

use super::super::{CarrierError, CarrierQueue};
use super::SqsLimits;

/// The longest delivery, and the longest delay of one that was released.
pub(super) const IN_HANDS_MOST: Duration = Duration::from_secs(12 * 3600);
/// The longest delay of a first delivery.
pub(super) const DELAY_MOST: Duration = Duration::from_secs(900);
/// The shortest retention.
const RETENTION_LEAST: Duration = Duration::from_secs(60);
/// The longest retention.
pub(super) const RETENTION_MOST: Duration = Duration::from_secs(14 * 24 * 3600);
/// After how many deliveries the engine gives a parcel up at the latest, if it ever does.
const DELIVERIES_MOST: u32 = 1_000;

/// What a queue is told to be.
pub(super) type Attributes = HashMap<Name, String>;

/// A time in whole seconds, none shorter than what was asked for.
pub(super) fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The same for a request. Whatever is too long for one was refused before.
pub(super) fn seconds_i32(time: Duration) -> i32 {
    i32::try_from(seconds(time)).unwrap_or(i32::MAX)
}

/// A queue's attributes, but for the redrive policy.
///
/// # Errors
/// [`CarrierError::Unsupported`] for what SQS cannot be.
pub(super) fn attributes(
    queue: &CarrierQueue,
    limits: &SqsLimits,
) -> Result<Attributes, CarrierError> {
    let refuse = |what, why| Err(CarrierError::Unsupported { what, why });
    if queue.capacity.is_some() {
        return refuse("a queue with a capacity", "SQS has no limit to what waits");
    }
    if queue.ack_deadline > IN_HANDS_MOST {
        return refuse("such an ack deadline", "SQS leaves a parcel in hands for 12 hours at most");
    }
    let retention = queue.retention.unwrap_or(RETENTION_MOST);
    if !(RETENTION_LEAST..=RETENTION_MOST).contains(&retention) {
        return refuse("such a retention", "SQS keeps a parcel for one minute to 14 days");
    }
    Ok(HashMap::from([
        (Name::DelaySeconds, "0".to_owned()),
        (Name::VisibilityTimeout, seconds(queue.ack_deadline).max(1).to_string()),
        (Name::MessageRetentionPeriod, seconds(retention).to_string()),
        (Name::MaximumMessageSize, limits.message_bytes.to_string()),
    ]))
}

/// What a dead queue is until somebody says what it is.
pub(super) fn of_a_dead_queue() -> Attributes {
    HashMap::from([(Name::MessageRetentionPeriod, seconds(RETENTION_MOST).to_string())])
}

/// After how many deliveries the engine itself gives up. SQS counts to a thousand; a higher limit is
/// none.
pub(super) fn deliveries(queue: &CarrierQueue) -> Option<u32> {
    queue.deliveries.filter(|most| *most <= DELIVERIES_MOST)
}

/// A redrive policy.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Policy {
    dead_letter_target_arn: String,
    /// Servers write it as a number or as text.
    max_receive_count: serde_json::Value,
}

impl Policy {
    /// The policy that gives up after `most` deliveries.
    pub(super) fn text(arn: &str, most: u32) -> String {
        serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": most.max(1) })
            .to_string()
    }

    /// Reads one; `None` when there is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The engine's name of the dead queue: the last part of its ARN.
    pub(super) fn into_dead(self) -> String {
        let arn = self.dead_letter_target_arn;
        arn.rsplit_once(':').map_or(arn.clone(), |(_, name)| name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> CarrierQueue {
        CarrierQueue {
            name: "q".parse().unwrap(),
            dead: None,
            deliveries: None,
            ack_deadline: Duration::from_millis(1_500),
            retention: None,
            capacity: None,
        }
    }

    #[test]
    fn times_are_never_shorter_than_asked_for() {
        let made = attributes(&queue(), &SqsLimits::default()).unwrap();
        assert_eq!(made[&Name::VisibilityTimeout], "2");
        assert_eq!(made[&Name::MessageRetentionPeriod], "1209600");
        assert_eq!(seconds(Duration::ZERO), 0);
        assert_eq!(seconds(Duration::from_nanos(1)), 1);
    }

    #[test]
    fn what_sqs_cannot_be_is_refused() {
        let day = Duration::from_secs(24 * 3600);
        let minute = Duration::from_secs(60);
        for odd in [
            CarrierQueue { capacity: Some(1), ..queue() },
            CarrierQueue { ack_deadline: day, ..queue() },
            CarrierQueue { retention: Some(minute / 2), ..queue() },
            CarrierQueue { retention: Some(15 * day), ..queue() },
        ] {
            let refused = attributes(&odd, &SqsLimits::default());
            assert!(matches!(refused, Err(CarrierError::Unsupported { .. })), "{odd:?}");
        }
        let given_up = |most| deliveries(&CarrierQueue { deliveries: most, ..queue() });
        assert_eq!(
            [given_up(Some(6)), given_up(Some(1_001)), given_up(None)],
            [Some(6), None, None]
        );
    }

    #[test]
    fn a_policy_names_the_dead_queue() {
        let text = Policy::text("arn:aws:sqs:us-east-1:123456789012:mill-dead", 6);
        assert_eq!(Policy::read(&text).unwrap().into_dead(), "mill-dead");
        assert!(Policy::read("").is_none());
    }
}
