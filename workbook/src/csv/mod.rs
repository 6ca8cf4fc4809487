//! Text with delimiters. Such a file says nothing about itself, so encoding, delimiter and quote
//! are found out from its content unless they are told; and it has no types, so every value is
//! text as it stands and an empty field is null. Rows are counted as a spreadsheet program would
//! show them: a blank line is a row, a line break inside quotes is not.

mod dialect;
mod encoding;
mod records;
mod wide;

use std::fs::File;

use super::cell::Value;
use super::date::Epoch;
use super::limits::{ReadLimits, too_large, unreadable};
use super::options::ReadOptions;
use super::rows::Rows;
use super::sheets::{self, Listed};
use super::sink::{Sink, Stop, Totals};
use rowmill_domain::{Address, RowNumber};

use encoding::Decoded;
use records::{Record, Splitter};

/// How much decoded text is looked at to find delimiter and quote.
const SAMPLE_BYTES: usize = 64 << 10;

/// Reads a csv file.
pub(crate) fn read(
    file: File,
    options: &ReadOptions,
    limits: &ReadLimits,
    sink: &mut dyn Sink,
) -> Result<Totals, Stop> {
    // A file without sheets has one, whatever its place; a name cannot be right.
    let listed = [Listed { name: String::new(), hidden: false }];
    sheets::choose(&listed, &options.sheet)?;
    let mut decoded = Decoded::open(file, &options.csv)?;
    let sample = decoded.sample(SAMPLE_BYTES)?;
    let whole = sample.len() < SAMPLE_BYTES;
    let (dialect, skip) = dialect::find(sample, whole, &options.csv)?;
    sheets::read_chosen(&listed, options, limits, sink, |_, index, rows| {
        rows.open_sheet(index, None, Epoch::Y1900);
        let mut splitter = Splitter::new(dialect, limits.row_bytes, limits.columns as usize);
        let mut row = 0_u32;
        let mut skip = skip;
        while let Some(text) = decoded.next()? {
            let taken = text.get(skip..).unwrap_or_default();
            skip = 0;
            splitter.feed(taken, &mut |record| take(record, &mut row, rows))?;
        }
        if let Some(line) = splitter.open_quote() {
            let detail = "a quote that opens in this line is never closed";
            let at = Address { row: Some(RowNumber(line)), ..Address::default() };
            return Err(unreadable(detail).at(at).into());
        }
        splitter.finish(&mut |record| take(record, &mut row, rows))
    })
}

fn take(record: Record<'_>, row: &mut u32, rows: &mut Rows<'_>) -> Result<(), Stop> {
    *row =
        row.checked_add(1).ok_or_else(|| too_large("there are more than 4,294,967,295 lines"))?;
    if record.is_blank() {
        return Ok(());
    }
    rows.begin_row(*row)?;
    if record.too_wide {
        let limit = rows.limits().columns;
        let at = rows.at(*row, None);
        return Err(too_large(format!("the limit is {limit} columns")).at(at).into());
    }
    for (column, field) in (0..).zip(record.fields()) {
        rows.cell(column, Value::Text(field))?;
    }
    if let Some(column) = record.stray_quote {
        let detail = "text follows the closing quote; it was taken as part of the field";
        rows.warn(column as u32, detail)?;
    }
    rows.end_row()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::rows::tests::Kept;
    use super::*;
    use rowmill_domain::ProblemKind;

    fn read_bytes(bytes: &[u8], options: &ReadOptions) -> (Kept, Result<Totals, Stop>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut kept = Kept::default();
        let end = read(file.reopen().unwrap(), options, &ReadLimits::default(), &mut kept);
        (kept, end)
    }

    fn rows(bytes: &[u8]) -> Vec<(u32, String)> {
        let (kept, end) = read_bytes(bytes, &ReadOptions::default());
        end.unwrap();
        kept.rows
    }

    fn one(bytes: &[u8]) -> String {
        let mut rows = rows(bytes);
        assert_eq!(rows.len(), 1);
        rows.remove(0).1
    }

    #[test]
    fn delimiters_are_found() {
        let expected = r#"{"a":"1,5","b":"x"}"#;
        for text in ["a;b\n1,5;x\n", "a\tb\n1,5\tx\n", "a|b\n1,5|x", "sep=;\na;b\n1,5;x"] {
            assert_eq!(one(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(one(b"a,b\r\"1\",\"x,\"\"y\"\r"), r#"{"a":"1","b":"x,\"y"}"#);
        assert_eq!(one(b"a,b\n'1','x,y'\n"), r#"{"a":"1","b":"x,y"}"#);
        assert_eq!(one(b"name\nO'Neill\n"), r#"{"name":"O'Neill"}"#);
    }

    #[test]
    fn encodings_are_found() {
        let utf16 = |text: &str, little: bool, bom: bool| -> Vec<u8> {
            let bom = if bom { "\u{feff}" } else { "" };
            let units = bom.encode_utf16().chain(text.encode_utf16());
            units.flat_map(|u| if little { u.to_le_bytes() } else { u.to_be_bytes() }).collect()
        };
        let text = "name,city\nJosé,Köln\n";
        let expected = r#"{"name":"José","city":"Köln"}"#;
        assert_eq!(one(text.as_bytes()), expected);
        assert_eq!(one(format!("\u{feff}{text}").as_bytes()), expected);
        assert_eq!(one(b"name,city\nJos\xE9,K\xF6ln\n"), expected);
        for little in [true, false] {
            for bom in [true, false] {
                assert_eq!(one(&utf16(text, little, bom)), expected, "{little} {bom}");
            }
        }
    }

    #[test]
    fn utf_32_is_read() {
        for mark in ["", "\u{feff}"] {
            let text = format!("{mark}name,city\nJosé,\u{1F600}\n");
            let little: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
            let big: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
            for bytes in [&little, &big] {
                assert_eq!(one(bytes), "{\"name\":\"José\",\"city\":\"\u{1F600}\"}");
            }
            let (_, end) = read_bytes(&little[..little.len() - 2], &ReadOptions::default());
            assert!(matches!(end, Err(Stop::Problem(p)) if p.detail.contains("UTF-32")));
        }
    }

    #[test]
    fn what_is_told_wins() {
        let mut options = ReadOptions::default();
        options.csv.delimiter = Some(';');
        options.csv.encoding = Some("iso-8859-2".into());
        let (kept, _) = read_bytes(b"a,b;c\n\xB3,1;2\n", &options);
        assert_eq!(kept.rows[0].1, r#"{"a,b":"ł,1","c":"2"}"#);
        options.csv.encoding = Some("utf-8".into());
        let (_, end) = read_bytes(b"a,b;c\n\xB3,1;2\n", &options);
        assert!(matches!(end, Err(Stop::Problem(p)) if p.detail.contains("UTF-8")));
        options.csv.encoding = Some("klingon".into());
        assert!(read_bytes(b"a\n1\n", &options).1.is_err());
    }

    #[test]
    fn rows_are_counted_as_a_spreadsheet_program_shows_them() {
        let text = b"\na,b\n\n\"x\ny\",1\n,\n\n2,\n";
        let (kept, end) = read_bytes(text, &ReadOptions::default());
        let totals = end.unwrap();
        assert_eq!(kept.heads[0].header_row, RowNumber(2));
        let expected = [(4, r#"{"a":"x\ny","b":"1"}"#), (7, r#"{"a":"2","b":null}"#)];
        assert_eq!(kept.rows, expected.map(|(row, json)| (row, json.to_owned())));
        assert_eq!((totals.rows, totals.blank_rows), (2, 3));
    }

    #[test]
    fn leading_zeros_stay_and_ragged_rows_are_told() {
        let (kept, _) = read_bytes(b"id,b\n007\n1,2,3\n", &ReadOptions::default());
        assert_eq!(kept.rows[0].1, r#"{"id":"007","b":null}"#);
        assert_eq!(kept.rows[1].1, r#"{"id":"1","b":"2","C":"3"}"#);
        assert_eq!(kept.findings[0].at.to_string(), "C3");
    }

    #[test]
    fn an_open_quote_is_refused_where_it_opens() {
        let (_, end) = read_bytes(b"a,b\n1,2\n3,\"4\n5,6\n", &ReadOptions::default());
        let Err(Stop::Problem(problem)) = end else { panic!("{end:?}") };
        assert_eq!((problem.kind, problem.at.row), (ProblemKind::Unreadable, Some(RowNumber(3))));
    }

    #[test]
    fn text_after_a_quote_is_kept_and_told() {
        let (kept, _) = read_bytes(b"a,b\n\"1\"x,2\n", &ReadOptions::default());
        assert_eq!(kept.rows[0].1, r#"{"a":"1x","b":"2"}"#);
        assert_eq!(kept.findings[0].at.to_string(), "A2");
    }

    #[test]
    fn no_rows_is_said() {
        for text in ["a,b\n", "\n\n", "\u{feff}", "sep=;\n"] {
            let (_, end) = read_bytes(text.as_bytes(), &ReadOptions::default());
            let Err(Stop::Problem(problem)) = end else { panic!("{text:?}") };
            assert_eq!(problem.kind, ProblemKind::Empty, "{text:?}");
        }
    }
}
