//! The wire between a reader's process and its parent: frames of many rows.
//!
//! A frame is its payload's length (u32), its kind (u8) and the payload; numbers are little
//! endian. Head, totals and fault are JSON. A frame of rows is `sheet u16, rows u32, findings
//! u32`, then for each row its number and its length (both u32), then the rows one after another,
//! then the findings as a JSON array of that length: so the parent cuts rows out of the frame
//! without copying or parsing them, and what was found about rows travels with them. Where columns
//! were chosen as attributes, a frame of rows is of another kind: the length (u32) of each row's
//! attributes follows the numbers and lengths of rows, 0 for none, and the attributes, JSON objects
//! one after another, follow the rows.
//!
//! A file that says it corrects an upload is told first. Then the first frame is a head, or the fault that is the file's refusal. The last is the totals, or
//! a fault; of a file that is only looked at, a preview or a fault is all there is. A pipe that ends without either: the reader died.

use bytes::{Buf, Bytes};

use super::sink::{SheetHead, Totals};
use rowmill_domain::{Finding, Problem, Row, RowNumber};

/// Bytes before a payload: its length and its kind.
pub const HEADER_BYTES: usize = 5;

const SHEET: u8 = 1;
const ROWS: u8 = 2;
const END: u8 = 3;
const FAULT: u8 = 4;
const ROWS_WITH_ATTRIBUTES: u8 = 5;
const PREVIEW: u8 = 6;
const CORRECTS: u8 = 7;

/// What a reader says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A sheet with rows begins.
    Sheet(SheetHead),
    /// Rows of it, with what was found about them.
    Rows(RowsFrame),
    /// The file has been read to its end.
    End(Totals),
    /// The file is refused, or a fault was met on the way.
    Fault(Problem),
    /// A look at the whole file: a [`Preview`](super::Preview) as JSON, and the only frame.
    Preview(Bytes),
    /// The file says that it corrects this upload; before the first sheet, if at all.
    Corrects(String),
}

/// Rows side by side in one allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowsFrame {
    /// The sheet's place in the workbook, from 0.
    pub sheet: u16,
    /// The rows; what they hold are slices of the frame.
    pub rows: Vec<Row>,
    /// What was found about these rows.
    pub findings: Vec<Finding>,
}

/// Bytes that are no frame: the reader is broken, or it is not our reader.
#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    /// A kind that does not exist.
    #[error("there is no frame of kind {0}")]
    Kind(u8),
    /// The payload ends before what it announces.
    #[error("a frame of rows is shorter than it says")]
    Short,
    /// A payload that is not the JSON it should be.
    #[error("a frame cannot be understood: {0}")]
    Json(#[from] serde_json::Error),
}

/// The length and the kind in a frame's first bytes.
pub fn split_header(bytes: [u8; HEADER_BYTES]) -> (usize, u8) {
    let [a, b, c, d, kind] = bytes;
    (u32::from_le_bytes([a, b, c, d]) as usize, kind)
}

fn put(kind: u8, payload: &[u8], out: &mut Vec<u8>) {
    // A payload is bounded by the row limit and the frame size, far below four gigabytes.
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(payload);
}

impl Frame {
    /// Appends a frame that is not one of rows; those are made by [`RowsBuffer`].
    ///
    /// # Errors
    /// Never in practice: the types always have a JSON form.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        match self {
            Self::Sheet(head) => put(SHEET, &serde_json::to_vec(head)?, out),
            Self::End(totals) => put(END, &serde_json::to_vec(totals)?, out),
            Self::Fault(problem) => put(FAULT, &serde_json::to_vec(problem)?, out),
            Self::Preview(json) => put(PREVIEW, json, out),
            Self::Corrects(upload) => put(CORRECTS, &serde_json::to_vec(upload)?, out),
            Self::Rows(frame) => {
                let mut buffer = RowsBuffer::default();
                for row in &frame.rows {
                    buffer.push(row.row, &row.data, row.attributes.as_deref());
                }
                frame.findings.iter().for_each(|finding| buffer.note(finding.clone()));
                buffer.drain_into(frame.sheet, out)?;
            }
        }
        Ok(())
    }

    /// Reads a payload of a kind. Rows stay slices of `payload`.
    ///
    /// # Errors
    /// If the bytes are not such a frame.
    pub fn decode(kind: u8, payload: Bytes) -> Result<Self, BadFrame> {
        match kind {
            SHEET => Ok(Self::Sheet(serde_json::from_slice(&payload)?)),
            ROWS => decode_rows(payload, false).map(Self::Rows),
            ROWS_WITH_ATTRIBUTES => decode_rows(payload, true).map(Self::Rows),
            END => Ok(Self::End(serde_json::from_slice(&payload)?)),
            FAULT => Ok(Self::Fault(serde_json::from_slice(&payload)?)),
            PREVIEW => Ok(Self::Preview(payload)),
            CORRECTS => Ok(Self::Corrects(serde_json::from_slice(&payload)?)),
            other => Err(BadFrame::Kind(other)),
        }
    }
}

fn decode_rows(mut payload: Bytes, attributed: bool) -> Result<RowsFrame, BadFrame> {
    if payload.len() < 10 {
        return Err(BadFrame::Short);
    }
    let sheet = payload.get_u16_le();
    let count = payload.get_u32_le() as usize;
    let findings = payload.get_u32_le() as usize;
    let table = count.checked_mul(8).filter(|&n| n <= payload.len()).ok_or(BadFrame::Short)?;
    let mut table = payload.split_to(table);
    let attributes = if attributed { count * 4 } else { 0 };
    if attributes > payload.len() {
        return Err(BadFrame::Short);
    }
    let mut attributes = payload.split_to(attributes);
    let mut rows = Vec::with_capacity(count);
    while table.remaining() >= 8 {
        let row = RowNumber(table.get_u32_le());
        let length = table.get_u32_le() as usize;
        if length > payload.len() {
            return Err(BadFrame::Short);
        }
        rows.push(Row { row, data: payload.split_to(length), attributes: None });
    }
    for row in &mut rows {
        let length = if attributed { attributes.get_u32_le() as usize } else { 0 };
        if length > payload.len() {
            return Err(BadFrame::Short);
        }
        row.attributes = (length > 0).then(|| payload.split_to(length));
    }
    if findings != payload.len() {
        return Err(BadFrame::Short);
    }
    let findings =
        if findings == 0 { Vec::new() } else { serde_json::from_slice(payload.as_ref())? };
    Ok(RowsFrame { sheet, rows, findings })
}

/// Gathers rows until they are worth a frame. Its memory is kept from frame to frame.
#[derive(Debug, Default)]
pub struct RowsBuffer {
    table: Vec<u8>,
    data: Vec<u8>,
    /// The length of each row's attributes; nothing as long as no row had any.
    attributes_table: Vec<u8>,
    attributes: Vec<u8>,
    findings: Vec<Finding>,
}

impl RowsBuffer {
    /// Adds a row and its attributes, if it has any.
    pub fn push(&mut self, row: RowNumber, json: &[u8], attributes: Option<&[u8]>) {
        if attributes.is_some() || !self.attributes_table.is_empty() {
            let attributes = attributes.unwrap_or_default();
            // The rows before the first that has any have none.
            self.attributes_table.resize(self.table.len() / 2, 0);
            self.attributes_table.extend_from_slice(&(attributes.len() as u32).to_le_bytes());
            self.attributes.extend_from_slice(attributes);
        }
        self.table.extend_from_slice(&row.0.to_le_bytes());
        self.table.extend_from_slice(&(json.len() as u32).to_le_bytes());
        self.data.extend_from_slice(json);
    }

    /// Adds a finding.
    pub fn note(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// How many bytes the frame would have, findings not counted.
    pub fn bytes(&self) -> usize {
        self.table.len() + self.data.len() + self.attributes_table.len() + self.attributes.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty() && self.findings.is_empty()
    }

    /// Appends everything gathered as one frame, and forgets it.
    ///
    /// # Errors
    /// Never in practice: findings always have a JSON form.
    pub fn drain_into(&mut self, sheet: u16, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let findings = match self.findings.as_slice() {
            [] => Vec::new(),
            some => serde_json::to_vec(some)?,
        };
        let length = 10 + self.bytes() + findings.len();
        out.reserve(HEADER_BYTES + length);
        out.extend_from_slice(&(length as u32).to_le_bytes());
        let attributed = !self.attributes_table.is_empty();
        out.push(if attributed { ROWS_WITH_ATTRIBUTES } else { ROWS });
        out.extend_from_slice(&sheet.to_le_bytes());
        out.extend_from_slice(&((self.table.len() / 8) as u32).to_le_bytes());
        out.extend_from_slice(&(findings.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.table);
        out.extend_from_slice(&self.attributes_table);
        out.extend_from_slice(&self.data);
        out.extend_from_slice(&self.attributes);
        out.extend_from_slice(&findings);
        self.table.clear();
        self.attributes_table.clear();
        self.data.clear();
        self.attributes.clear();
        self.findings.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowmill_domain::{Address, FindingKind, ProblemKind};

    fn there_and_back(frame: &Frame) -> Frame {
        let mut wire = Vec::new();
        frame.encode(&mut wire).unwrap();
        let (length, kind) = split_header(wire[..HEADER_BYTES].try_into().unwrap());
        assert_eq!(length, wire.len() - HEADER_BYTES);
        Frame::decode(kind, Bytes::from(wire).slice(HEADER_BYTES..)).unwrap()
    }

    fn row(row: u32, data: &'static str, attributes: Option<&'static str>) -> Row {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        Row { row: RowNumber(row), data: bytes(data), attributes: attributes.map(bytes) }
    }

    #[test]
    fn a_row_without_attributes_takes_no_more_than_it_did() {
        let rows = |attributes| {
            let rows = vec![row(7, "{}", attributes), row(8, "{}", None)];
            let mut wire = Vec::new();
            Frame::Rows(RowsFrame { rows, ..RowsFrame::default() }).encode(&mut wire).unwrap();
            (wire[HEADER_BYTES - 1], wire.len() - HEADER_BYTES)
        };
        assert_eq!(rows(None), (ROWS, 10 + 2 * (8 + 2)));
        assert_eq!(rows(Some("{x}")), (ROWS_WITH_ATTRIBUTES, 10 + 2 * (8 + 4 + 2) + 3));
        let mut buffer = RowsBuffer::default();
        let mut wire = Vec::new();
        for attributes in [Some(&b"{x}"[..]), None] {
            wire.clear();
            buffer.push(RowNumber(1), b"{}", attributes);
            buffer.drain_into(0, &mut wire).unwrap();
        }
        assert_eq!(wire[HEADER_BYTES - 1], ROWS, "what was is forgotten");
    }

    #[test]
    fn frames_survive_the_wire() {
        let frames = [
            Frame::Sheet(SheetHead {
                index: 3,
                name: Some("Orders".into()),
                header_row: RowNumber(2),
                first_column: 1,
                columns: vec!["a".into(), "ü".into()],
            }),
            Frame::Rows(RowsFrame {
                sheet: 3,
                rows: vec![row(3, "{}", None), row(9, "", None)],
                findings: vec![Finding {
                    kind: FindingKind::Warning,
                    at: Address::default(),
                    detail: "look".into(),
                }],
            }),
            Frame::Rows(RowsFrame {
                sheet: 0,
                rows: vec![row(2, "{}", None), row(3, "{}", Some("{1}")), row(4, "[]", None)],
                findings: vec![],
            }),
            Frame::Rows(RowsFrame::default()),
            Frame::End(Totals { rows: 7, ..Totals::default() }),
            Frame::Fault(Problem::new(ProblemKind::Encrypted, "locked")),
        ];
        for frame in frames {
            assert_eq!(there_and_back(&frame), frame);
        }
    }

    #[test]
    fn bytes_that_are_no_frame_are_refused() {
        assert!(matches!(Frame::decode(9, Bytes::new()), Err(BadFrame::Kind(9))));
        assert!(matches!(Frame::decode(ROWS, Bytes::from_static(b"xx")), Err(BadFrame::Short)));
        let claims = [&[0, 0][..], &u32::MAX.to_le_bytes(), &[0; 4]].concat();
        assert!(matches!(Frame::decode(ROWS, claims.into()), Err(BadFrame::Short)));
        // One row: no room for its attributes' length, then none for the attributes.
        let one = [&[0, 0][..], &1_u32.to_le_bytes(), &[0; 4], &[0; 8]].concat();
        let long = [&one[..], &5_u32.to_le_bytes()].concat();
        for short in [one, long] {
            let decoded = Frame::decode(ROWS_WITH_ATTRIBUTES, short.into());
            assert!(matches!(decoded, Err(BadFrame::Short)));
        }
    }
}
