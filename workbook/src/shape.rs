//! What a cell was in its file, for who writes the file again: besides the JSON that became of it,
//! whether it was text or a number, the number as the file spells it, and the code of its number
//! format. Kept only for a sink that asks ([`Sink::wants_cells`](super::Sink::wants_cells)).

use super::cell::{Value, Written};
use super::date::{self, Epoch};
use super::format::Format;
use super::styled::of_class;
use rowmill_domain::RowNumber;

/// A row as its file has it.
#[derive(Debug)]
pub struct CellsOfRow<'a> {
    /// Which.
    pub row: RowNumber,
    /// The row as it is stored, or would be.
    pub json: &'a [u8],
    /// Why it is rejected: the column, from 0, and what is wrong.
    pub refused: Option<(Option<u32>, &'a str)>,
    /// Whether its dates are counted from 1904.
    pub dates_from_1904: bool,
    /// The cells with something in them, in order of columns.
    pub cells: Vec<CellOfRow<'a>>,
}

/// A cell as its file has it.
#[derive(Debug, Clone, Copy)]
pub struct CellOfRow<'a> {
    /// Its column, from 0.
    pub column: u32,
    /// What became of it.
    pub json: &'a [u8],
    /// What it was.
    pub shape: Shape<'a>,
}

/// What a cell was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape<'a> {
    /// Text, which is in the JSON.
    Text,
    /// A truth value, which is in the JSON.
    Bool,
    /// An error, whose name is in the JSON.
    Error,
    /// Nothing that has a value.
    Empty,
    /// A number, or a date as a number.
    Number {
        /// As the file spells it, or a spelling that reads back as the same.
        digits: &'a str,
        /// The code of its number format; empty for a plain number.
        code: &'a str,
    },
}

/// The shapes of a row's cells in their order of reading.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    text: String,
    kept: Vec<Kept>,
}

#[derive(Debug, Clone, Copy)]
enum Kept {
    Text,
    Bool,
    Error,
    Empty,
    /// Where digits begin, where they end and the code begins, where it ends.
    Number(usize, usize, usize),
}

impl Shapes {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.kept.clear();
    }

    pub(crate) fn get(&self, nth: usize) -> Shape<'_> {
        match self.kept.get(nth).copied().unwrap_or(Kept::Empty) {
            Kept::Text => Shape::Text,
            Kept::Bool => Shape::Bool,
            Kept::Error => Shape::Error,
            Kept::Empty => Shape::Empty,
            Kept::Number(start, middle, end) => Shape::Number {
                digits: self.text.get(start..middle).unwrap_or_default(),
                code: self.text.get(middle..end).unwrap_or_default(),
            },
        }
    }

    /// Keeps what a cell is, and answers under which number.
    pub(crate) fn push(
        &mut self,
        value: Value<'_>,
        written: Written,
        code: &str,
        epoch: Epoch,
    ) -> usize {
        use std::fmt::Write as _;
        let start = self.text.len();
        let kept = match value {
            Value::Text(_) | Value::Json(_) => Kept::Text,
            Value::Bool(_) => Kept::Bool,
            Value::Error(_) => Kept::Error,
            Value::Uncalculated => Kept::Empty,
            Value::Digits(text, _) => {
                let text = text.trim_matches([' ', '\t', '\r', '\n']);
                if text.parse::<f64>().is_ok_and(f64::is_finite) {
                    self.text.push_str(text);
                    self.number(start, code)
                } else {
                    Kept::Text
                }
            }
            Value::Float(value, _) if value.is_finite() => {
                // Writing to memory does not fail. The shortest spelling reads back as the same.
                let _ = if value.abs() < 1e21 && (value == 0.0 || value.abs() > 1e-7) {
                    write!(self.text, "{value}")
                } else {
                    write!(self.text, "{value:E}")
                };
                self.number(start, code)
            }
            Value::Float(..) => Kept::Text,
            Value::Iso(text) if written == Written::Json => self.iso(text, code, epoch),
            Value::Iso(_) => Kept::Text,
            Value::Span(ms, format) => {
                let _ = write!(self.text, "{}", ms as f64 / 86_400_000.0);
                self.number(start, of_class(format))
            }
        };
        self.kept.push(kept);
        self.kept.len() - 1
    }

    fn number(&mut self, start: usize, code: &str) -> Kept {
        let middle = self.text.len();
        self.text.push_str(code);
        Kept::Number(start, middle, self.text.len())
    }

    /// A date that the file spells out, as a number: that is what other programs calculate with.
    fn iso(&mut self, text: &str, code: &str, epoch: Epoch) -> Kept {
        use std::fmt::Write as _;
        let mut own = Vec::new();
        date::write_iso(&mut own, text);
        let own = String::from_utf8_lossy(&own);
        let Some(serial) = date::serial_of_iso(&own) else { return Kept::Text };
        let (start, dated) = (self.text.len(), own.contains('-'));
        let class = match (dated, own.contains(':')) {
            (true, false) => Format::Date,
            (true, true) => Format::DateTime,
            _ => Format::Time,
        };
        let shift = if dated && epoch == Epoch::Y1904 { 1_462.0 } else { 0.0 };
        let _ = write!(self.text, "{}", serial - shift);
        self.number(start, if code.is_empty() { of_class(&class) } else { code })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(value: Value<'_>, code: &str) -> String {
        let mut shapes = Shapes::default();
        let nth = shapes.push(value, Written::Json, code, Epoch::Y1900);
        match shapes.get(nth) {
            Shape::Number { digits, code } => format!("{digits}|{code}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn numbers_keep_their_digits_and_their_format() {
        assert_eq!(shape(Value::Digits(" 1.50 ", &Format::Plain), "0.00"), "1.50|0.00");
        assert_eq!(shape(Value::Digits("12a", &Format::Plain), "0.00"), "Text");
        assert_eq!(shape(Value::Float(0.1, &Format::Plain), ""), "0.1|");
        assert_eq!(shape(Value::Float(1e300, &Format::Plain), ""), "1E300|");
        assert_eq!(shape(Value::Iso("2020-01-01"), ""), "43831|yyyy\\-mm\\-dd");
        assert_eq!(shape(Value::Iso("12:00:00"), ""), "0.5|hh:mm:ss");
        assert_eq!(shape(Value::Iso("1582-10-15"), ""), "Text");
        assert_eq!(shape(Value::Span(43_200_000, &Format::Duration), ""), "0.5|[h]:mm:ss");
        assert_eq!(shape(Value::Uncalculated, ""), "Empty");
    }
}
