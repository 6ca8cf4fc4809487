//! Which delimiter and which quote: those under which the first lines come out most alike.

use super::super::limits::unreadable;
use super::super::options::CsvOptions;
use super::records::{Record, Splitter};
use rowmill_domain::Problem;

/// What stands between fields, and around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: u8,
}

/// In order of preference where nothing else decides.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// How many records are compared.
const SAMPLE_RECORDS: usize = 200;

/// The dialect of a sample of the file (the whole of it, or its beginning), and how many bytes of
/// it are a `sep=` line.
pub(super) fn find(
    sample: &str,
    whole: bool,
    options: &CsvOptions,
) -> Result<(Dialect, usize), Problem> {
    let (told_by_file, skip) = sep_line(sample);
    let text = sample.get(skip..).unwrap_or_default();
    let quote = match options.quote {
        Some(told) => ascii("quote", told)?,
        None => find_quote(text),
    };
    let delimiter = match options.delimiter {
        Some(told) => ascii("delimiter", told)?,
        None => told_by_file.unwrap_or_else(|| find_delimiter(text, whole, quote)),
    };
    if delimiter == quote {
        return Err(unreadable("delimiter and quote cannot be the same"));
    }
    Ok((Dialect { delimiter, quote }, skip))
}

fn ascii(what: &str, told: char) -> Result<u8, Problem> {
    match u8::try_from(told) {
        Ok(byte) if byte.is_ascii() && !matches!(byte, b'\r' | b'\n') => Ok(byte),
        _ => Err(unreadable(format!("the {what} must be one ASCII character, not {told:?}"))),
    }
}

/// `sep=;` as the first line is for the reader, and no row.
fn sep_line(text: &str) -> (Option<u8>, usize) {
    let end = text.find(['\r', '\n']).unwrap_or(text.len());
    let (line, rest) = text.split_at(end);
    let line = line.trim_matches('"');
    let told = line.get(..4).filter(|word| word.eq_ignore_ascii_case("sep=")).and(line.get(4..));
    match told.map(str::as_bytes) {
        Some([delimiter]) if delimiter.is_ascii() => {
            let newline = if rest.starts_with("\r\n") { 2 } else { usize::from(!rest.is_empty()) };
            (Some(*delimiter), end + newline)
        }
        _ => (None, 0),
    }
}

/// The usual quote, unless only the other one encloses fields.
fn find_quote(text: &str) -> u8 {
    if text.contains('"') {
        return b'"';
    }
    let bytes = text.as_bytes();
    let edge = |at: Option<&u8>| at.is_none_or(|b| DELIMITERS.contains(b) || b"\r\n".contains(b));
    let (mut opens, mut closes, mut inside) = (0, 0, 0);
    for (i, _) in text.match_indices('\'') {
        let before = edge(i.checked_sub(1).and_then(|i| bytes.get(i)));
        match (before, edge(bytes.get(i + 1))) {
            (true, _) => opens += 1,
            (false, true) => closes += 1,
            (false, false) => inside += 1,
        }
    }
    if opens > 1 && opens == closes && inside * 2 <= opens { b'\'' } else { b'"' }
}

fn find_delimiter(text: &str, whole: bool, quote: u8) -> u8 {
    let mut best = (b',', 0.0);
    for delimiter in DELIMITERS {
        let score = score(&widths(text, whole, Dialect { delimiter, quote }));
        if score > best.1 {
            best = (delimiter, score);
        }
    }
    best.0
}

/// The number of fields of each record that is not blank.
fn widths(text: &str, whole: bool, dialect: Dialect) -> Vec<usize> {
    let mut widths = Vec::new();
    let mut splitter = Splitter::new(dialect, usize::MAX, usize::MAX);
    let mut count = |record: Record<'_>| {
        if !record.is_blank() && widths.len() < SAMPLE_RECORDS {
            widths.push(record.len());
        }
        Ok(())
    };
    // Counting never stops early.
    let _ = splitter.feed(text, &mut count);
    if whole {
        let _ = splitter.finish(&mut count);
    }
    widths
}

/// How well records agree on a width of two or more; wider is more telling, and the header counts
/// for more than any other line: decimal commas begin below it.
fn score(widths: &[usize]) -> f64 {
    let mut counts = std::collections::BTreeMap::new();
    for width in widths {
        *counts.entry(*width).or_insert(0_usize) += 1;
    }
    let usual = counts.iter().max_by_key(|(width, count)| (**count, **width));
    let Some((width, count)) = usual else { return 0.0 };
    let header = widths.first().copied().unwrap_or(0);
    if *width < 2 {
        // Only the header may be split: better than nothing at all.
        return if header > 1 { 0.01 } else { 0.0 };
    }
    let agree = *count as f64 / widths.len() as f64;
    let wide = 1.0 - 1.0 / (*width as f64 + 1.0);
    agree * wide * if header == *width { 1.0 } else { 0.5 }
}
