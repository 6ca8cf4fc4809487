//! Text to records. The csv library leaves out blank lines without a word and takes the end of the
//! file for the end of a quote; both are things that we have to tell, so records are cut here. The
//! text comes in pieces of any size and only one record is held.

use super::super::sink::Stop;
use super::dialect::Dialect;

/// One record.
pub(super) struct Record<'a> {
    text: &'a [u8],
    ends: &'a [usize],
    /// There are more fields with something in them than a sheet may have columns.
    pub(super) too_wide: bool,
    /// The last field with text behind its closing quote.
    pub(super) stray_quote: Option<usize>,
}

impl<'a> Record<'a> {
    /// Whether no field has anything in it.
    pub(super) fn is_blank(&self) -> bool {
        self.text.is_empty() && !self.too_wide
    }

    /// How many fields there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The fields, in order.
    pub(super) fn fields(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let text = self.text;
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let field = text.get(start..*end).unwrap_or_default();
            start = *end;
            // Cut at ASCII characters only, so it is what the decoder made: valid.
            std::str::from_utf8(field).unwrap_or_default()
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first character of a record.
    RecordStart,
    /// Before the first character of a field.
    FieldStart,
    /// In a field without quotes, or behind the closing quote.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote between quotes: the closing one, or the first of two.
    MaybeClosed,
}

/// Cuts text into records.
pub(super) struct Splitter {
    dialect: Dialect,
    max_bytes: usize,
    max_fields: usize,
    state: State,
    text: Vec<u8>,
    ends: Vec<usize>,
    field_start: usize,
    too_wide: bool,
    stray_quote: Option<usize>,
    after_cr: bool,
    line: u32,
    quote_line: u32,
}

impl Splitter {
    /// Of a record longer than `max_bytes` the rest is not kept, and fields beyond `max_fields`
    /// only noticed.
    pub(super) fn new(dialect: Dialect, max_bytes: usize, max_fields: usize) -> Self {
        Self {
            dialect,
            max_bytes,
            max_fields,
            state: State::RecordStart,
            text: Vec::new(),
            ends: Vec::new(),
            field_start: 0,
            too_wide: false,
            stray_quote: None,
            after_cr: false,
            line: 1,
            quote_line: 0,
        }
    }

    /// Takes the next piece of text and hands out the records that it completes.
    pub(super) fn feed(
        &mut self,
        text: &str,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let Dialect { delimiter, quote } = self.dialect;
        let mut bytes = text.as_bytes();
        while let Some(&first) = bytes.first() {
            // Everything up to the next character with a meaning is taken at once.
            let run = match self.state {
                State::Quoted => {
                    bytes.iter().position(|b| *b == quote || matches!(b, b'\n' | b'\r'))
                }
                State::Plain => {
                    bytes.iter().position(|b| *b == delimiter || matches!(b, b'\n' | b'\r'))
                }
                _ => Some(0),
            };
            let run = run.unwrap_or(bytes.len());
            if run > 0 {
                self.after_cr = false;
                let (taken, rest) = bytes.split_at(run);
                self.keep(taken);
                bytes = rest;
                continue;
            }
            bytes = bytes.get(1..).unwrap_or_default();
            let line_feed_of_cr = first == b'\n' && std::mem::take(&mut self.after_cr);
            if matches!(first, b'\n' | b'\r') && !line_feed_of_cr {
                self.line = self.line.saturating_add(1);
            }
            self.after_cr = first == b'\r';
            match (self.state, first) {
                (State::Quoted, b) if b == quote => self.state = State::MaybeClosed,
                (State::Quoted, b) => self.keep(&[b]),
                (State::MaybeClosed, b) if b == quote => {
                    self.keep(&[b]);
                    self.state = State::Quoted;
                }
                // The second half of a line's end.
                (State::RecordStart, b'\n') if line_feed_of_cr => {}
                (_, b'\n' | b'\r') => self.end_record(each)?,
                (_, b) if b == delimiter => self.end_field(State::FieldStart),
                (State::RecordStart | State::FieldStart, b) if b == quote => {
                    self.state = State::Quoted;
                    self.quote_line = self.line;
                }
                (state, b) => {
                    if state == State::MaybeClosed {
                        self.stray_quote = Some(self.ends.len());
                    }
                    self.keep(&[b]);
                    self.state = State::Plain;
                }
            }
        }
        Ok(())
    }

    /// The line in which a quote opened that is open still.
    pub(super) fn open_quote(&self) -> Option<u32> {
        (self.state == State::Quoted).then_some(self.quote_line)
    }

    /// Hands out the last record if the text ended without a line's end.
    pub(super) fn finish(
        &mut self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if self.state == State::RecordStart { Ok(()) } else { self.end_record(each) }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.max_bytes.saturating_sub(self.text.len());
        if bytes.len() <= room {
            self.text.extend_from_slice(bytes);
        } else if room > 0 {
            // Cut between characters; that the row is too long shows by what is kept.
            let cut = (0..=room).rev().find(|i| bytes.get(*i).is_none_or(|b| b & 0xC0 != 0x80));
            self.text.extend_from_slice(bytes.get(..cut.unwrap_or(0)).unwrap_or_default());
            self.text.resize(self.max_bytes, b' ');
        }
    }

    fn end_field(&mut self, next: State) {
        if self.ends.len() < self.max_fields {
            self.ends.push(self.text.len());
        } else if self.text.len() > self.field_start {
            self.too_wide = true;
        }
        self.field_start = self.text.len();
        self.state = next;
    }

    fn end_record(
        &mut self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.end_field(State::RecordStart);
        let done = each(Record {
            text: &self.text,
            ends: &self.ends,
            too_wide: self.too_wide,
            stray_quote: self.stray_quote.take(),
        });
        self.text.clear();
        self.ends.clear();
        self.field_start = 0;
        self.too_wide = false;
        done
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&str]) -> Vec<Vec<String>> {
        let mut splitter =
            Splitter::new(Dialect { delimiter: b',', quote: b'"' }, usize::MAX, usize::MAX);
        let mut all = Vec::new();
        let mut each = |record: Record<'_>| {
            all.push(record.fields().map(str::to_owned).collect());
            Ok(())
        };
        for piece in pieces {
            splitter.feed(piece, &mut each).unwrap();
        }
        assert_eq!(splitter.open_quote(), None);
        splitter.finish(&mut each).unwrap();
        all
    }

    #[test]
    fn line_ends_of_every_kind() {
        assert_eq!(
            split(&["a,b\r\n1,\n\r2,3\r"]),
            [vec!["a", "b"], vec!["1", ""], vec![""], vec!["2", "3"]]
        );
        assert_eq!(split(&["a\r", "\nb"]), [["a"], ["b"]]);
        assert_eq!(split(&["\"a\r\nb\"\r\nc"]), [["a\r\nb"], ["c"]]);
    }

    #[test]
    fn long_records_are_not_kept_whole() {
        let mut splitter = Splitter::new(Dialect { delimiter: b',', quote: b'"' }, 10, 2);
        let mut seen = Vec::new();
        let mut each = |record: Record<'_>| {
            seen.push((record.text.len(), record.len(), record.too_wide));
            Ok(())
        };
        splitter.feed("ééééééééééé,b,c\n,,,,\n,,x\n", &mut each).unwrap();
        assert_eq!(seen, [(10, 2, false), (0, 2, false), (1, 2, true)]);
    }

    proptest! {
        #[test]
        fn what_the_csv_library_writes_is_read_back(
            records in proptest::collection::vec(
                proptest::collection::vec("[a,\"\r\né ]{0,6}", 2..5), 1..6),
            cut in 0_usize..80,
        ) {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            for record in &records {
                writer.write_record(record).unwrap();
            }
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let cut = (0..=cut.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap();
            let (one, two) = text.split_at(cut);
            prop_assert_eq!(split(&[one, two]), records);
        }
    }
}
