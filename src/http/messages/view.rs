//! A message as it is answered to those who look at it.

use crate::api;
use crate::domain::{Message, MessageState};
use crate::http::time::rfc3339;
use crate::http::{ApiError, kept_json};

/// A message as it is answered.
pub(in crate::http) fn shown(message: Message) -> Result<api::Message, ApiError> {
    let attributes = message.attributes.unwrap_or_else(|| "{}".into());
    let (upload_id, filename, sheet, row) = match message.origin {
        Some(from) => (
            Some(from.upload_id),
            Some(from.filename.as_ref().to_owned()),
            from.sheet.as_deref().map(str::to_owned),
            Some(from.row.0),
        ),
        None => (None, None, None, None),
    };
    Ok(api::Message {
        id: message.id.to_string(),
        queue_id: message.queue.to_string(),
        state: match message.state {
            MessageState::Waiting => api::MessageState::Waiting,
            MessageState::Held => api::MessageState::Held,
            MessageState::InFlight => api::MessageState::InFlight,
            MessageState::Done => api::MessageState::Done,
            MessageState::Dead => api::MessageState::Dead,
            MessageState::Expired => api::MessageState::Expired,
            MessageState::Cancelled => api::MessageState::Cancelled,
        },
        data: kept_json(message.data)?,
        attributes: kept_json(attributes)?,
        delivery_attempts: message.attempts,
        created_at: rfc3339(message.created_ms),
        scheduled_at: rfc3339(message.scheduled_ms),
        expired_at: message.expires_ms.map(rfc3339),
        updated_at: rfc3339(message.updated_ms),
        upload_id,
        filename,
        sheet,
        row,
        reason: message.reason.map(String::from),
    })
}
