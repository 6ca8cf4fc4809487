//! A row on its way from the process that reads it to the broker that publishes it.

use bytes::Bytes;

use super::RowNumber;

/// A row of a sheet, as it becomes a message. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it stands in its sheet.
    pub row: RowNumber,
    /// The JSON object to be stored.
    pub data: Bytes,
    /// The attributes that were chosen of it, a JSON object of strings; `None` when there are none.
    pub attributes: Option<Bytes>,
}

impl Row {
    /// A row without attributes.
    pub fn new(row: RowNumber, data: Bytes) -> Self {
        Self { row, data, attributes: None }
    }

    /// Bytes of it that are stored.
    pub fn bytes(&self) -> usize {
        self.data.len() + self.attributes.as_ref().map_or(0, Bytes::len)
    }
}
