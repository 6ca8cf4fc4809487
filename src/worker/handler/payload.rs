//! A message as its handler's program reads it: one JSON object, on one line.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::{Attempt, Delivery, RowNumber};

#[derive(Serialize)]
struct Payload<'a> {
    id: String,
    attempt: Attempt,
    upload_id: Option<String>,
    filename: Option<&'a str>,
    sheet: Option<&'a str>,
    row: Option<RowNumber>,
    data: &'a RawValue,
    attributes: &'a RawValue,
}

/// The message as JSON text without a final newline. `data` and `attributes` are copied as they
/// were stored, so numbers keep every digit.
///
/// # Errors
/// The stored data or attributes are not JSON.
pub(super) fn payload(delivery: &Delivery) -> Result<String, serde_json::Error> {
    let origin = delivery.origin.as_ref();
    serde_json::to_string(&Payload {
        id: delivery.id.to_string(),
        attempt: delivery.attempt,
        upload_id: origin.map(|o| o.upload_id.to_string()),
        filename: origin.map(|o| &*o.filename),
        sheet: origin.and_then(|o| o.sheet.as_deref()),
        row: origin.map(|o| o.row),
        data: serde_json::from_str(&delivery.data)?,
        attributes: serde_json::from_str(delivery.attributes.as_deref().unwrap_or("{}"))?,
    })
}
