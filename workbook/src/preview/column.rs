//! What is gathered about one column while its cells go by: how many there are of each kind, and
//! where the first ones of each stand, since which kinds disagree is known only at the end.

use serde::{Deserialize, Serialize};

use super::dates::{DateOrder, Evidence, evidence};
use super::kind::Kind;
use rowmill_domain::{Address, ColumnNumber, RowNumber};

/// A column, looked at from its first cell to its last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnPreview {
    /// Its name: a key of every row.
    pub name: String,
    /// Where it stands, from 0.
    pub column: ColumnNumber,
    /// What most of its cells are; nothing when all are blank.
    pub kind: Option<Kind>,
    /// Cells with something in them.
    pub filled: u64,
    /// Rows that have nothing there.
    pub blank: u64,
    /// Cells of other kinds than the column's.
    pub disagreeing: u64,
    /// The first of these: where each is, and its kind.
    pub disagree: Vec<(Address, Kind)>,
    /// Cells of text that read as numbers, in a column that is otherwise of numbers or of text alone.
    pub numbers_as_text: u64,
    /// Dates written as text: in what order.
    pub dates: Option<Dates>,
}

/// The dates of a column that are written as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dates {
    /// The order, as far as the column gives it away.
    pub order: DateOrder,
    /// How many there are.
    pub cells: u64,
    /// The first cell that only the day first makes a date.
    pub day_first: Option<Address>,
    /// The first that only the month first does.
    pub month_first: Option<Address>,
}

/// A column while it is read.
#[derive(Debug, Default)]
pub(super) struct Column {
    counts: [u64; Kind::COUNT],
    /// Rows of the first cells of each kind.
    first: [Vec<RowNumber>; Kind::COUNT],
    numbers_as_text: u64,
    dates: u64,
    day_first: Option<RowNumber>,
    month_first: Option<RowNumber>,
}

impl Column {
    /// A cell that is no text.
    pub(super) fn value(&mut self, row: RowNumber, kind: Kind, addresses: usize) {
        self.counts[kind as usize] += 1;
        let first = &mut self.first[kind as usize];
        if first.len() < addresses {
            first.push(row);
        }
    }

    /// A cell of text; `csv` when everything is text, so that what it reads as counts.
    pub(super) fn text(&mut self, row: RowNumber, text: &str, csv: bool, addresses: usize) -> Kind {
        let kind = Kind::of_text(text, csv);
        self.value(row, kind, addresses);
        if kind == Kind::Text {
            match evidence(text) {
                None => {}
                Some(says) => {
                    self.dates += 1;
                    match says {
                        Evidence::DayFirst => self.day_first = self.day_first.or(Some(row)),
                        Evidence::MonthFirst => self.month_first = self.month_first.or(Some(row)),
                        Evidence::Either => {}
                    }
                }
            }
            if !csv && matches!(Kind::of_text(text, true), Kind::Integer | Kind::Number) {
                self.numbers_as_text += 1;
            }
        }
        kind
    }

    /// What the column is, now that it was read; `rows` is how many there were.
    pub(super) fn end(
        self,
        name: String,
        column: ColumnNumber,
        sheet: Option<&str>,
        rows: u64,
        addresses: usize,
    ) -> ColumnPreview {
        let count = |kind: Kind| self.counts[kind as usize];
        let filled: u64 = self.counts.iter().sum();
        let numbers = count(Kind::Integer) + count(Kind::Number);
        let number = if count(Kind::Number) > 0 { Kind::Number } else { Kind::Integer };
        let others = Kind::ALL.into_iter().filter(|kind| !is_number(*kind));
        let most = others.map(|kind| (count(kind), kind)).max_by_key(|(n, kind)| {
            // Of as many, text is the kind that would take the others in.
            (*n, *kind == Kind::Text)
        });
        let kind = match most {
            _ if filled == 0 => None,
            Some((n, kind)) if n >= numbers => Some(kind),
            _ => Some(number),
        };
        let at = |row: RowNumber| Address {
            sheet: sheet.map(str::to_owned),
            row: Some(row),
            column: Some(column),
        };
        let agrees =
            |one: Kind| kind.is_none_or(|kind| one == kind || is_number(one) && is_number(kind));
        let mut disagree: Vec<(RowNumber, Kind)> = vec![];
        let mut disagreeing = 0;
        for one in Kind::ALL.into_iter().filter(|one| !agrees(*one)) {
            disagreeing += count(one);
            disagree.extend(self.first[one as usize].iter().map(|row| (*row, one)));
        }
        disagree.sort();
        disagree.truncate(addresses);
        let order = match (self.day_first, self.month_first) {
            (Some(_), Some(_)) => DateOrder::Mixed,
            (Some(_), None) => DateOrder::DayFirst,
            (None, Some(_)) => DateOrder::MonthFirst,
            (None, None) => DateOrder::Ambiguous,
        };
        let dates = (self.dates > 0).then(|| Dates {
            order,
            cells: self.dates,
            day_first: self.day_first.map(at),
            month_first: self.month_first.map(at),
        });
        ColumnPreview {
            name,
            column,
            kind,
            filled,
            blank: rows.saturating_sub(filled),
            disagreeing,
            disagree: disagree.into_iter().map(|(row, kind)| (at(row), kind)).collect(),
            numbers_as_text: self.numbers_as_text,
            dates,
        }
    }
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Integer | Kind::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cells: &[&str], csv: bool) -> ColumnPreview {
        let mut column = Column::default();
        for (row, text) in (2..).zip(cells) {
            match text.parse::<f64>() {
                Ok(n) if !csv => {
                    let kind = if n.fract() == 0.0 { Kind::Integer } else { Kind::Number };
                    column.value(RowNumber(row), kind, 2);
                }
                _ if text.is_empty() => {}
                _ => {
                    column.text(RowNumber(row), text, csv, 2);
                }
            }
        }
        column.end("n".into(), ColumnNumber(2), Some("S"), cells.len() as u64, 2)
    }

    #[test]
    fn most_cells_say_what_a_column_is() {
        let column = of(&["1", "2.5", "", "none", "3", "n/a", "?", "4"], false);
        assert_eq!((column.kind, column.filled, column.blank), (Some(Kind::Number), 7, 1));
        assert_eq!(column.disagreeing, 3);
        let at: Vec<_> = column.disagree.iter().map(|(at, kind)| (at.to_string(), *kind)).collect();
        assert_eq!(at, [("S!C5".into(), Kind::Text), ("S!C7".into(), Kind::Text)]);
        assert_eq!(of(&["1", "2"], false).kind, Some(Kind::Integer));
        assert_eq!(of(&["1", "x"], false).kind, Some(Kind::Text));
        assert_eq!(of(&["", ""], false).kind, None);
        assert_eq!(of(&["1", "2", "x"], true).kind, Some(Kind::Integer));
    }

    #[test]
    fn the_column_gives_the_order_of_dates_away() {
        let order = |cells: &[&str]| of(cells, true).dates.map(|dates| dates.order);
        assert_eq!(order(&["03/04/2026", "13/04/2026"]), Some(DateOrder::DayFirst));
        assert_eq!(order(&["03/04/2026", "04/13/2026"]), Some(DateOrder::MonthFirst));
        assert_eq!(order(&["03/04/2026", "05/06/2026"]), Some(DateOrder::Ambiguous));
        assert_eq!(order(&["13/04/2026", "04/13/2026"]), Some(DateOrder::Mixed));
        assert_eq!(order(&["a", "b"]), None);
        let dates = of(&["x", "13/04/2026", "04/13/2026"], false).dates.unwrap();
        assert_eq!(dates.cells, 2);
        assert_eq!(dates.day_first.unwrap().to_string(), "S!C3");
        assert_eq!(dates.month_first.unwrap().to_string(), "S!C4");
    }
}
