//! A message in a consumer's hands, as the API writes it: the same for who asks and for who is sent.

use std::time::Duration;

use super::ApiError;
use super::time::rfc3339;
use crate::api;
use crate::domain::{Delivery, Lease, QueueName};

/// The messages of a lease that was received from `queue` at `now_ms`.
pub(super) fn deliveries(
    lease: Lease,
    queue: &QueueName,
    now_ms: i64,
) -> impl Iterator<Item = Result<api::Delivery, ApiError>> {
    let deadline = lease.deadline;
    lease.deliveries.into_iter().map(move |delivery| answer(delivery, queue, deadline, now_ms))
}

fn answer(
    delivery: Delivery,
    queue: &QueueName,
    deadline: Duration,
    now_ms: i64,
) -> Result<api::Delivery, ApiError> {
    let until = i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX);
    let mut answer = api::Delivery {
        receipt: api::Receipt { lease: delivery.receipt.0, position: delivery.position },
        id: delivery.id.to_string(),
        queue_id: queue.to_string(),
        delivery_attempts: delivery.attempt,
        deadline_seconds: deadline.as_secs_f64(),
        created_at: rfc3339(delivery.created_ms),
        scheduled_at: rfc3339(now_ms.saturating_add(until)),
        expired_at: delivery.expires_ms.map(rfc3339),
        updated_at: rfc3339(now_ms),
        upload_id: None,
        filename: None,
        sheet: None,
        row: None,
        data: super::kept_json(delivery.data)?,
        attributes: delivery.attributes.map(super::kept_json).transpose()?,
    };
    if let Some(origin) = delivery.origin {
        answer.upload_id = Some(origin.upload_id);
        answer.filename = Some(origin.filename.as_ref().to_owned());
        answer.sheet = origin.sheet.as_deref().map(str::to_owned);
        answer.row = Some(origin.row.0);
    }
    Ok(answer)
}
