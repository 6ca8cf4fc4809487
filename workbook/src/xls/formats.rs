//! A walk over the records of an .xls for what calamine does not tell: the number format of each
//! number that is not plain. Records are a type, a length and that many bytes.

use std::collections::HashMap;

use super::super::limits::{ReadLimits, too_large, unreadable};
use super::super::styled::Styled;
use super::{damaged, encrypted};
use rowmill_domain::Problem;

const FORMULA: u16 = 0x0006;
const END: u16 = 0x000A;
const DATE_CODEPAGE: u16 = 0x0042;
const ENCRYPTED: u16 = 0x002F;
const SHEET: u16 = 0x0085;
const MANY_PACKED: u16 = 0x00BD;
const STYLE: u16 = 0x00E0;
const DIMENSIONS: u16 = 0x0200;
const NUMBER: u16 = 0x0203;
const PACKED: u16 = 0x027E;
const FORMAT: u16 = 0x041E;
const BEGIN: u16 = 0x0809;

/// What a cell costs in calamine's two grids, of values and of formulas, in bytes.
const GRID_BYTES: u64 = 32 + 24;
/// What a cell that a sheet claims costs while the sheet is read.
const CLAIM_BYTES: u64 = 40;

static PLAIN: Styled = Styled::PLAIN;

/// What the walk found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) codepage: Option<u16>,
    /// Whether it is of 1997 or later, when all text became UTF-16.
    pub(super) unicode: bool,
    styles: Vec<Styled>,
    /// Style of the cells whose format is not plain, by sheet, row and column.
    cells: HashMap<(usize, u32, u32), u16>,
}

impl Found {
    /// The format of a number in a sheet.
    pub(super) fn format(&self, sheet: usize, row: u32, column: u32) -> &Styled {
        let style = self.cells.get(&(sheet, row, column));
        style.and_then(|style| self.styles.get(usize::from(*style))).unwrap_or(&PLAIN)
    }
}

struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(u16, &'a [u8]), Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.len() < 4 {
            return None;
        }
        let (kind, length) = (u16_at(self.0, 0), usize::from(u16_at(self.0, 2)));
        match self.0.get(4..4 + length) {
            Some(data) => {
                self.0 = self.0.get(4 + length..).unwrap_or_default();
                Some(Ok((kind, data)))
            }
            None => {
                self.0 = &[];
                Some(Err(damaged(&"it ends in the middle of a record: it is cut short")))
            }
        }
    }
}

/// A number in a record; what is beyond its end counts as zero.
fn u16_at(data: &[u8], at: usize) -> u16 {
    data.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u16::from_le_bytes(*b))
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    data.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

/// Walks the workbook's stream.
pub(super) fn walk(stream: &[u8], limits: &ReadLimits) -> Result<Found, Problem> {
    let mut found = Found::default();
    let mut custom = HashMap::new();
    let mut ids = Vec::new();
    let mut sheets = Vec::new();
    let mut new = true;
    for record in Records(stream) {
        let (kind, data) = record?;
        match kind {
            BEGIN => new = u16_at(data, 0) >= 0x0600,
            // The versions 2 to 4 begin with other records, and have no workbook around sheets.
            0x0009 | 0x0209 | 0x0409 => {
                let detail = "it was written by a version of before 1993; save it as .xlsx";
                return Err(unreadable(detail));
            }
            ENCRYPTED => return Err(encrypted()),
            DATE_CODEPAGE => found.codepage = Some(u16_at(data, 0)),
            FORMAT => {
                custom.insert(u16_at(data, 0), Styled::parse(&format_text(data, new)));
            }
            STYLE => ids.push(u16_at(data, 2)),
            SHEET => sheets.push(u32_at(data, 0) as usize),
            END => break,
            _ => {}
        }
    }
    let format = |id| custom.get(&id).cloned().unwrap_or_else(|| Styled::builtin(u32::from(id)));
    found.styles = ids.into_iter().map(format).collect();
    found.unicode = new;
    let (mut spanned, mut claimed) = (0_u64, 0);
    for (sheet, start) in sheets.into_iter().enumerate() {
        let rest = stream.get(start..).unwrap_or_default();
        let (span, claim) = walk_sheet(sheet, rest, new, &mut found)?;
        (spanned, claimed) = (spanned.saturating_add(span), claim.max(claimed));
        let bytes = spanned.saturating_mul(GRID_BYTES);
        // A fifth is left for texts, styles and everything else.
        let most = limits.memory_bytes / 5 * 4;
        if bytes.saturating_add(claimed.saturating_mul(CLAIM_BYTES)) > most {
            let cells = spanned.max(claimed);
            return Err(too_large(format!(
                "its sheets span {cells} cells, most of them empty perhaps; save it as .xlsx"
            )));
        }
    }
    Ok(found)
}

/// Notes formats of a sheet and answers how many cells it spans, and how many it says it does.
fn walk_sheet(
    sheet: usize,
    stream: &[u8],
    new: bool,
    found: &mut Found,
) -> Result<(u64, u64), Problem> {
    // Charts inside the sheet are nested.
    let mut depth = 0_u32;
    let mut span = Span::default();
    let mut claimed = 0;
    for record in Records(stream) {
        let (kind, data) = record?;
        let (row, column) = (u32::from(u16_at(data, 0)), u32::from(u16_at(data, 2)));
        match kind {
            BEGIN => depth += 1,
            END if depth <= 1 => break,
            END => depth -= 1,
            _ if depth > 1 => {}
            DIMENSIONS => claimed = claimed.max(dimensions(data, new)),
            NUMBER | PACKED | FORMULA => {
                span.add(row, column);
                found.note(sheet, row, column, u16_at(data, 4));
            }
            MANY_PACKED => {
                let count = data.len().saturating_sub(6) / 6;
                for i in 0..count {
                    let column = column + i as u32;
                    span.add(row, column);
                    found.note(sheet, row, column, u16_at(data, 4 + 6 * i));
                }
            }
            // Text, truth values and errors.
            0x00D6 | 0x00FD | 0x0204 | 0x0205 => span.add(row, column),
            _ => {}
        }
    }
    Ok((span.cells(), claimed))
}

impl Found {
    fn note(&mut self, sheet: usize, row: u32, column: u32, style: u16) {
        if self.styles.get(usize::from(style)).is_some_and(|styled| !styled.is_plain()) {
            self.cells.insert((sheet, row, column), style);
        }
    }
}

/// The cells that a sheet says it spans.
fn dimensions(data: &[u8], new: bool) -> u64 {
    let (first, last, columns) = if new {
        (u32_at(data, 0), u32_at(data, 4), 8)
    } else {
        (u32::from(u16_at(data, 0)), u32::from(u16_at(data, 2)), 4)
    };
    let rows = u64::from(last.saturating_sub(first));
    rows * u64::from(u16_at(data, columns + 2).saturating_sub(u16_at(data, columns)))
}

/// The rectangle around the cells met.
#[derive(Default)]
struct Span {
    corners: Option<[u32; 4]>,
}

impl Span {
    fn add(&mut self, row: u32, column: u32) {
        let [top, left, bottom, right] = self.corners.unwrap_or([row, column, row, column]);
        self.corners = Some([top.min(row), left.min(column), bottom.max(row), right.max(column)]);
    }

    fn cells(&self) -> u64 {
        self.corners.map_or(0, |[top, left, bottom, right]| {
            u64::from(bottom - top + 1) * u64::from(right - left + 1)
        })
    }
}

/// A format's text: since 1997 in 16 bits, or in 8 where they do; before, in 8.
fn format_text(data: &[u8], new: bool) -> String {
    if !new {
        let length = usize::from(data.get(2).copied().unwrap_or(0));
        let bytes = data.get(3..3 + length).unwrap_or_default();
        return bytes.iter().map(|b| char::from(*b)).collect();
    }
    let length = usize::from(u16_at(data, 2));
    if data.get(4).is_some_and(|flags| flags & 1 == 1) {
        let bytes = data.get(5..5 + 2 * length).unwrap_or_default();
        return encoding_rs::UTF_16LE.decode_without_bom_handling(bytes).0.into_owned();
    }
    data.get(5..5 + length).unwrap_or_default().iter().map(|b| char::from(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u16, data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u16).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, data].concat()
    }

    #[test]
    fn claims_and_encryption_are_refused() {
        let begin = record(BEGIN, &[0, 6, 5, 0]);
        let locked = [begin.clone(), record(ENCRYPTED, &[1, 0])].concat();
        assert!(walk(&locked, &ReadLimits::default()).is_err());
        let mut sheet = vec![0; 8];
        let globals =
            |sheet: &[u8]| [begin.clone(), record(SHEET, sheet), record(END, &[])].concat();
        let start = globals(&sheet).len() as u32;
        sheet[..4].copy_from_slice(&start.to_le_bytes());
        let mut huge = [0_u8; 14];
        huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        huge[10..12].copy_from_slice(&256_u16.to_le_bytes());
        let body = [begin.clone(), record(DIMENSIONS, &huge), record(END, &[])].concat();
        let problem = walk(&[globals(&sheet), body].concat(), &ReadLimits::default()).unwrap_err();
        assert!(problem.detail.contains("span"), "{problem}");
        let corners = [[0_u8; 14], [255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]];
        let corners = corners.map(|corner| record(NUMBER, &corner)).concat();
        let body = [begin.clone(), corners, record(END, &[])].concat();
        assert!(walk(&[globals(&sheet), body].concat(), &ReadLimits::default()).is_err());
        let cut = [begin, vec![6, 0, 100, 0, 1]].concat();
        assert!(walk(&cut, &ReadLimits::default()).is_err());
    }
}
